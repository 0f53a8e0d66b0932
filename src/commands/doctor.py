"""`tempohand doctor`: script/doctor.py."""

import argparse

from tempohand.commands.scripts import TRAINED, configurations, describe_settings

DESCRIPTION = """Checks the data and the network of a training run before hours are spent on it: under a
minute for small networks. Give it the configuration and the settings that `tempohand train` is about to
get. Exit code 1 when a check FAILED. docs/doctor.md explains each check.

configurations (--config-name):
"""
KEYS = {
    "data=FOLDER": "a frame table, or the name of a data set or of a mixture of them",
    "init_from=FOLDER": "a checkpoint to start from; Stage 2 needs one of Stage 1",
    "--json FILE": "write the results here, too",
}
EXAMPLES = """examples:
  tempohand doctor --config-name=stage1-tiny data=data/demo
  tempohand doctor --config-name=stage2-tiny data=data/demo init_from=outputs/stage1-tiny/checkpoint/best"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The page that `tempohand doctor --help` prints."""
    names = "\n".join(f"  {name}" for name in configurations(TRAINED))
    describe_settings(parser, description=DESCRIPTION + names, keys=KEYS, examples=EXAMPLES)
