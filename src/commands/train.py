"""`tempohand train`: script/train.py."""

import argparse

from tempohand.commands.scripts import TRAINED, configurations, describe_settings

DESCRIPTION = """Trains Stage 1 (a network of single frames), Stage 2 (a temporal encoder over a frozen
Stage 1) or a hand finder. docs/training.md explains every setting.

configurations (--config-name):
"""
KEYS = {
    "data=FOLDER": "a frame table, or the name of a data set or of a mixture of them",
    "out=FOLDER": "where the run goes (default: outputs/NAME)",
    "init_from=FOLDER": "a checkpoint to start from; Stage 2 needs one of Stage 1",
    "resume=auto": "go on from the newest whole checkpoint in `out`",
    "optim.steps=N": "optimizer steps",
    "optim.batch_size=N": "samples of a step, over all processes",
    "mixed_precision=no": "bf16, fp16 or no",
}
EXAMPLES = """examples:
  tempohand prepare --config-name=synthetic-demo out=data/demo
  tempohand train --config-name=stage1-tiny data=data/demo
  tempohand train --config-name=stage2-tiny data=data/demo init_from=outputs/stage1-tiny/checkpoint/best
on several processes or GPUs:
  accelerate launch -m tempohand.script.train --config-name=stage1-tiny data=data/demo
  accelerate launch script/train.py --config-name=stage1-tiny data=data/demo       the same, in a checkout"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The page that `tempohand train --help` prints."""
    names = "\n".join(f"  {name}" for name in configurations(TRAINED))
    describe_settings(parser, description=DESCRIPTION + names, keys=KEYS, examples=EXAMPLES)
