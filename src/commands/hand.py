"""`tempohand hand ACTION`. The module of an action has what the module of a command has (cli.py)."""

import argparse
import importlib
from typing import NamedTuple


class Action(NamedTuple):
    """What can be done with a hand model: one line for the list, and the action's module."""

    summary: str
    module: str


ACTIONS = {
    "check": Action("say what a hand model file is, try it, and draw it", "tempohand.commands.hand_check"),
    "convert": Action("write a hand model file as .npz or .safetensors", "tempohand.commands.hand_convert"),
    "fit": Action(
        "find the pose, shape and wrist of hands whose joints are given", "tempohand.commands.hand_fit"
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tempohand hand`: its actions with theirs."""
    parser.epilog = (
        "tempohand hand ACTION --help has an action's arguments. docs/hand_files.md says which files "
        "are read."
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, action in ACTIONS.items():
        added = actions.add_parser(
            name,
            help=action.summary,
            description=action.summary,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        importlib.import_module(action.module).add_arguments(added)


def run(arguments: argparse.Namespace) -> None:
    """Runs the action that the arguments name."""
    importlib.import_module(ACTIONS[arguments.action].module).run(arguments)
