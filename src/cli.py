"""The console command `tempohand`: what a user of a trained network types. Sub-commands are modules, imported
when they are run.

A sub-command's arguments module has add_arguments(parser) and imports nothing heavy; its run module has
run(arguments).
"""

import argparse
import importlib
import sys
from typing import NamedTuple, NoReturn

from tempohand.console import USER_ERRORS, in_flags, run_clearly


class Command(NamedTuple):
    """A sub-command: one line for the list, the module with its add_arguments, the module with its run."""

    summary: str
    arguments: str
    run: str


COMMANDS = {
    "predict": Command(
        "3D hands in a video, a picture or a folder",
        "tempohand.inference.arguments",
        "tempohand.inference.command",
    ),
    "compare": Command(
        "compare predictions with another run's or another tool's",
        "tempohand.inference.compare_arguments",
        "tempohand.inference.compare",
    ),
    "detector-model": Command(
        "make the model file of predict --detect from a mediapipe wheel",
        "tempohand.inference.detector",
        "tempohand.inference.detector",
    ),
    "check-data": Command(
        "find bad pictures and labels in a frame table",
        "tempohand.data.check_arguments",
        "tempohand.data.check",
    ),
    "inspect": Command(
        "a page of random rows of a frame table",
        "tempohand.doctor.inspect_arguments",
        "tempohand.doctor.inspect_table",
    ),
    "doctor": Command(
        "check data and network before a training run",
        "tempohand.doctor.arguments",
        "tempohand.doctor.arguments",
    ),
    "hand": Command(
        "check and convert hand model files, fit hands to joints",
        "tempohand.hand.arguments",
        "tempohand.hand.commands",
    ),
}


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")


def make_parser(name: str | None = None) -> argparse.ArgumentParser:
    """The command's parser; of the sub-commands only `name` gets its arguments, the others are listed."""
    parser = _Parser(
        prog="tempohand",
        description="3D hands from ordinary video.",
        epilog="tempohand COMMAND --help has a command's arguments and examples.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for each, command in COMMANDS.items():
        added = commands.add_parser(
            each,
            help=command.summary,
            description=command.summary,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if each == name:
            importlib.import_module(command.arguments).add_arguments(added)
            added.set_defaults(flags=_flags(added))
    return parser


def _flags(parser: argparse.ArgumentParser) -> dict[str, str]:
    """The library's names of a parser's arguments, and of its sub-commands', with the flags that a user
    types."""
    flags = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                flags |= _flags(each)
        elif action.option_strings:
            flags[action.dest] = action.option_strings[-1]
    return flags


@run_clearly
def main(argv: list[str] | None = None) -> None:
    """Entry point. Bad input leaves one line on stderr and exit code 2."""
    argv = sys.argv[1:] if argv is None else argv
    arguments = make_parser(next((word for word in argv if word in COMMANDS), None)).parse_args(argv)
    try:
        importlib.import_module(COMMANDS[arguments.command].run).run(arguments)
    except USER_ERRORS as error:
        if len(error.args) == 1:
            error.args = (in_flags(str(error.args[0]), arguments.flags),)
        raise


if __name__ == "__main__":
    main()
