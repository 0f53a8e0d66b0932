"""What depth is worth to UTNet, and what its refinement is: short trainings of one budget each, and every row
scored on the same frames in one pass.

    python script/prepare.py --config-name=synthetic-rgbd out=data/rgbd
    python script/utnet_figures.py

One training after the other, one process of one thread each. Interrupted, it goes on where it was.
"""

import argparse
from pathlib import Path

from steps import Steps, training

from tempohand.console import run_clearly

ROOT = Path("outputs/utnet-figures")
DATA = Path("data/rgbd")
STEPS = 600
# Run -> its configuration, and what it has of its own.
RUNS = {
    "rgbd": ["utnet-tiny"],
    "rgb": ["utnet-tiny", "network.fusion.dropout=1"],
    "coarse": ["utnet-tiny", "network.refinement.kind=null"],
    "max": ["utnet-tiny", "network.refinement.kind=max"],
    # PoseNet on the same frozen backbone, as many pixels, about as large, in the same views.
    "posenet": [
        "stage1-small",
        "data=table",
        "tokens=online",
        *(f"network.spatial.{size}" for size in ("width=128", "decoder.dim=128", "decoder.mlp=256")),
        *("network.spatial.heatmap.upright=false", "network.spatial.side=false"),
        *(f"view.augmentation.{name}" for name in ("upright=0", "roll=10", "scale=0.15", "shift=0.06")),
        *("view.augmentation.mirror=0", "view.augmentation.photometric.probability=0.25"),
    ],
}


def train(steps: Steps, count: int) -> None:
    """Every run, `count` steps of 16 crops each."""
    shared = [f"data.root={DATA}", "data.workers=1", "data.validation_rows=240", "optim.batch_size=16"]
    budget = [f"optim.steps={count}", f"optim.warmup={count // 10}", "optim.ema=0.99"]
    often = [f"log.validate_every={count // 2}", f"log.checkpoint_every={count // 2}"]
    for name, (config, *own) in RUNS.items():
        settings = [*shared, *budget, *often, f"out={ROOT / name}", *own]
        steps.run(name, *training(config, *settings, precision="no", processes=1))


@run_clearly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--steps", type=int, default=STEPS, help="of each training (default %(default)s)")
    arguments = parser.parse_args()
    ROOT.mkdir(parents=True, exist_ok=True)
    train(Steps(ROOT / "steps.json", "the figures"), arguments.steps)


if __name__ == "__main__":
    main()
