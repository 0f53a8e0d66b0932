"""The networks that come with the package: data, training, figures, release. `make weights` runs it: five
hours on two CPU cores, and the real pictures (docs/datasets.md, Real hands) in a folder. Real pictures are
labelled twice: by the teacher alone, then by the network that learnt from that, too. The head learns first,
most of the backbone after it; the hand finder learns from the same real pictures.

Each step is a command that anyone can run by hand; it is printed before it runs, and interrupted work goes on
where it stopped. --quick does all of it in small, to see that it runs: what it makes is not released.
"""

import argparse
from pathlib import Path

from steps import Steps, training

from tempohand.console import run_clearly
from tempohand.inference.settings import BESIDE, NETWORK, PICTURE_FINDER
from tempohand.model.weights import MEDIAPIPE

REPOSITORY = Path(__file__).parents[1]
NOTICES = [str(MEDIAPIPE / "LICENSE"), str(REPOSITORY / "docs" / "NOTICE")]
NOTE = "drawn hands, and real pictures under a teacher's labels"
BESIDE_PALMS = PICTURE_FINDER.removeprefix(BESIDE)
CC0 = {"skins": "photographed skins", "panoramas": "panoramas for light and background"}
# Settings of the tables and of the trainings.
WHOLE = {"data": [], "long": [], "find": ["num_train=8000", "frames_train=2"], "real": [], "train": []}
QUICK = {
    "data": ["num_train=48", "num_val=8", "num_test=8"],
    "long": ["num_train=12", "num_val=4", "num_test=4"],
    "find": ["num_train=16", "num_val=8", "num_test=8"],
    "real": ["max_units=1"],
    "train": ["optim.steps=20", "optim.warmup=2", "log.validate_every=20", "log.checkpoint_every=20"],
}


@run_clearly
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--real", default="data/real", help="folder of the real pictures (default: %(default)s)"
    )
    for name, what in CC0.items():
        parser.add_argument(
            f"--{name}", help=f"{what}, folder or tar (docs/synthetic.md; default: drawn ones only)"
        )
    parser.add_argument("--quick", action="store_true", help="everything in small, without a release")
    options = parser.parse_args()
    if not Path(options.real).is_dir():
        raise FileNotFoundError(
            f"--real: '{options.real}' is no folder of real pictures (docs/datasets.md, Real hands)"
        )
    size = QUICK if options.quick else WHOLE
    root = Path("outputs/weights-quick" if options.quick else "outputs/weights")
    root.mkdir(parents=True, exist_ok=True)
    hands, long, find = (root / name for name in ("hands", "hands-long", "find"))
    real, again = (root / name for name in ("real_hands", "real_hands2"))
    steps = Steps(root / "steps.json", "the training of the weights")

    def prepare(out: Path, *settings: str) -> None:
        steps.run(f"data {out.name}", "script/prepare.py", *settings, f"out={out}")

    def train(name: str, config: str, *settings: str) -> Path:
        # Depthwise convolutions in bfloat16 are slow on CPUs.
        settings = (f"out={root / name}", *settings, *size["train"])
        steps.run(name, *training(config, *settings, precision="no"))
        return root / name / "checkpoint" / "best"

    pictures = [f"{name}={path}" for name, path in vars(options).items() if name in CC0 and path]
    prepare(hands, "--config-name=synthetic-hands", *pictures, *size["data"])
    prepare(long, "--config-name=synthetic-hands-long", *pictures, *size["long"])
    prepare(find, "--config-name=synthetic-find", *pictures, *size["find"])
    labelled = ("dataset=real_hands", f"root={options.real}", *size["real"])
    prepare(real, *labelled)
    first = train("first-round", "stage1-small", f"data.drawn={hands}", f"data.real={real}")
    prepare(again, *labelled, f"options={{labels: {real}-labels, network: {first}}}")
    tables = f"data.drawn={hands}", f"data.real={again}"
    head = train("stage1-small", "stage1-small", *tables)
    one = train("stage1-small-unfrozen", "stage1-small-unfrozen", *tables, f"init_from={head}")
    two = train("stage2-small", "stage2-small", f"data.root={long}", f"init_from={one}")
    finder = train("find-small", "find-small", f"data.drawn={find}", f"data.real={again}")
    network = str(two)
    if not options.quick:
        network = NETWORK
        for name, checkpoint in ((NETWORK, two), (BESIDE_PALMS, finder)):
            notes = ("--note", NOTE, "--notice", *NOTICES)
            steps.run(f"release {name}", "script/release.py", name, str(checkpoint), *notes)
    # Of the released file, in half precision.
    figures = (f"stage2={network}", f"data={long}", f"out={root / 'figures'}")
    steps.run("figures", "script/evaluate.py", *figures)


if __name__ == "__main__":
    main()
