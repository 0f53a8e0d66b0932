"""The console command `tempohand`. Each of its commands is a module of commands/, imported when asked for.

The module has add_arguments(parser) and run(arguments). What takes long to import it imports in `run` alone,
so that --help is instant. For a command that is a script it has add_arguments alone, which fills the page
that --help prints: the script reads its arguments itself.
"""

import argparse
import importlib
import sys
from typing import NamedTuple, NoReturn

from tempohand.commands.scripts import run_script
from tempohand.console import USER_ERRORS, in_flags, run_clearly

HELP = ("-h", "--help")


class Command(NamedTuple):
    """What the console command can be asked for."""

    summary: str  # one line for the list of commands
    module: str | None = None  # None: a script that prints its own --help
    script: str | None = None  # name in script/ of what the command runs


COMMANDS = {
    "predict": Command("3D hands in a video, a picture or a folder", "tempohand.commands.predict"),
    "export": Command("write predictions as glb, bvh, csv and more", "tempohand.commands.export"),
    "live": Command("3D hands in what a camera sees, in a browser", "tempohand.commands.live"),
    "onnx": Command("write a network as ONNX graphs, to run it without torch", "tempohand.commands.onnx"),
    "web": Command("a page on which a browser finds hands by itself", "tempohand.commands.web"),
    "view": Command("predictions in 3D, in a browser", "tempohand.commands.view"),
    "calibrate": Command("make the certainty of joints a probability", "tempohand.commands.calibrate"),
    "compare": Command(
        "compare predictions with another run's or another tool's", "tempohand.commands.compare"
    ),
    "detector-model": Command(
        "make the model file of predict --detect from a mediapipe wheel", "tempohand.commands.detector_model"
    ),
    "prepare": Command(
        "make a frame table of a data set or of synthetic hands", "tempohand.commands.prepare", "prepare"
    ),
    "check-data": Command("find bad pictures and labels in a frame table", "tempohand.commands.check_data"),
    "masks": Command("make the masks of hands that a frame table lacks", "tempohand.commands.masks"),
    "export-json": Command(
        "write a frame table as pictures and one JSON file", "tempohand.commands.export_json"
    ),
    "table": Command("copy a frame table, or write it as Parquet and back", "tempohand.commands.table"),
    "inspect": Command("a page of random rows of a frame table", "tempohand.commands.inspect"),
    "doctor": Command("check data and network before a training run", "tempohand.commands.doctor", "doctor"),
    "train": Command("train a network", "tempohand.commands.train", "train"),
    "evaluate": Command("evaluate networks on a frame table", "tempohand.commands.evaluate", "evaluate"),
    "bench": Command("measure speed and accuracy, beside other ways to compute the same", None, "bench"),
    "triangulate": Command(
        "joints in space out of several calibrated views", "tempohand.commands.triangulate"
    ),
    "hand": Command("check and convert hand model files, fit hands to joints", "tempohand.commands.hand"),
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
        if each == name and command.module:
            importlib.import_module(command.module).add_arguments(added)
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
    command = COMMANDS.get(argv[0]) if argv else None
    if command and command.script and not (command.module and set(HELP) & set(argv)):
        run_script(command.script, argv[1:])
        return
    arguments = make_parser(next((word for word in argv if word in COMMANDS), None)).parse_args(argv)
    try:
        chosen = COMMANDS[arguments.command].module
        assert chosen is not None, "what has no module is a script"
        importlib.import_module(chosen).run(arguments)
    except USER_ERRORS as error:
        if len(error.args) == 1:
            error.args = (in_flags(str(error.args[0]), arguments.flags),)
        raise


if __name__ == "__main__":
    main()
