"""The command line of `tempohand hand`: one action per line of the table. Imports nothing heavy, so that
--help is instant.

An action's module has add_arguments(parser) and run(arguments). It is imported for its arguments, so it
imports nothing heavy before it runs.
"""

import argparse
import importlib
from typing import NamedTuple


class Action(NamedTuple):
    """What can be done with a hand model: one line for the list, and the module with its add_arguments and
    run."""

    summary: str
    module: str


ACTIONS = {
    "check": Action("say what a hand model file is, try it, and draw it", "tempohand.hand.check"),
    "convert": Action("write a hand model file as .npz or .safetensors", "tempohand.hand.convert"),
    "fit": Action(
        "find the pose, shape and wrist of hands whose joints are given", "tempohand.hand.fit_command"
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tempohand hand`: its actions with theirs."""
    parser.epilog = "tempohand hand ACTION --help has an action's arguments. docs/hand_files.md says which files are read."
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, action in ACTIONS.items():
        added = actions.add_parser(
            name,
            help=action.summary,
            description=action.summary,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        importlib.import_module(action.module).add_arguments(added)
