"""The network that comes with the package: data, training, figures, release. `make weights` runs it; hours on
two CPU cores.

Each step is a command that anyone can run by hand; it is printed before it runs, and interrupted work goes on
where it stopped. Training goes on from what the package has already, unless --from-scratch is given.
"""

import argparse
from pathlib import Path

from steps import Steps, training

from tempohand.console import run_clearly
from tempohand.inference.settings import NETWORK
from tempohand.model.weights import WEIGHTS_NAME

ROOT = Path("outputs/weights")
PALMS = Path("data/palms")
WIDE = Path("data/wide")
LONG = Path("data/wide-long")


@run_clearly
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--from-scratch", action="store_true", help="begin at random weights")
    parser.add_argument(
        "--precision",
        default="bf16",
        choices=("no", "bf16"),
        help="of training; 'no' is faster where a CPU's bfloat16 is slow",
    )
    options = parser.parse_args()
    ROOT.mkdir(parents=True, exist_ok=True)
    steps = Steps(ROOT / "steps.json", "the training of the weights")

    def prepare(config: str, out: Path, *more: str) -> None:
        steps.run(f"data {out.name}", "script/prepare.py", f"--config-name={config}", f"out={out}", *more)

    def train(config: str, *settings: str) -> Path:
        steps.run(config, *training(config, f"out={ROOT / config}", *settings, precision=options.precision))
        return ROOT / config / "checkpoint" / "best"

    prepare("synthetic-wide", WIDE)
    prepare("synthetic-wide", LONG, "seed=1", "num_train=1500", "frames_train=24", "num_test=0")
    start = NETWORK
    if options.from_scratch:
        prepare("synthetic-palms", PALMS)
        start = str(train("stage1-tiny-palms") / WEIGHTS_NAME)
    one = train("stage1-tiny-wide", f"init_from={start}")
    two = train("stage2-tiny-wide", f"init_from={one}")
    how = "from scratch" if options.from_scratch else "going on from the release before"
    note = f"synthetic-wide, {how}"
    steps.run("release", "script/release.py", NETWORK, str(two), "--note", note)
    # Of the released file, in half precision.
    steps.run("figures", "script/evaluate.py", f"stage2={NETWORK}", f"data={WIDE}", f"out={ROOT}")


if __name__ == "__main__":
    main()
