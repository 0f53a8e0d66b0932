"""Runs `tempohand hand ACTION`."""

import argparse
import importlib

from tempohand.hand.arguments import ACTIONS


def run(arguments: argparse.Namespace) -> None:
    """Runs the action that the arguments name."""
    importlib.import_module(ACTIONS[arguments.action].module).run(arguments)
