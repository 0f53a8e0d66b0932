"""`tempohand evaluate`: script/evaluate.py."""

import argparse

from tempohand.commands.scripts import describe_settings

DESCRIPTION = """Evaluates Stage 1, Stage 2 or both on a split of a frame table, beside a constant hand and
classical filters; or by the official protocol of a public data set. docs/evaluation.md and
docs/protocols.md explain the figures."""
KEYS = {
    "stage1=FOLDER": "a checkpoint of Stage 1 (default: the one inside Stage 2)",
    "stage2=FOLDER": "a checkpoint of Stage 2",
    "data=FOLDER": "a frame table, or the name of a data set",
    "split=NAME": "default: test, or the protocol's official split",
    "out=FOLDER": "where metrics.json goes (default: outputs/eval)",
    "protocol=NAME": "print what the data set's official script prints: freihand, ho3d_v2, dexycb, ...",
    "submission=FILE": "also write the file that the data set's server takes",
}
EXAMPLES = """examples:
  tempohand evaluate stage2=outputs/stage2-tiny/checkpoint/best data=data/demo
  tempohand evaluate protocol=freihand stage1=run/checkpoint/best data=data/freihand submission=pred.zip"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The page that `tempohand evaluate --help` prints."""
    describe_settings(parser, description=DESCRIPTION, keys=KEYS, examples=EXAMPLES)
