"""`tempohand hand check`: what a hand model file is, whether it works, and how it looks."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tempohand hand check`."""
    parser.add_argument(
        "path",
        metavar="PATH",
        nargs="?",
        help="a hand model file, or a folder that holds MANO_RIGHT.pkl (default: the open hand)",
    )
    parser.add_argument(
        "--picture",
        metavar="FILE",
        help="where to draw it (default: PATH's name with _check.png, in the working directory)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Prints the report and writes the picture."""
    from tempohand.commands.hand_picture import write_picture
    from tempohand.hand.file_report import report
    from tempohand.hand.files import find_hand_file

    path = find_hand_file(arguments.path)
    for name, value in report(path).items():
        print(f"{name:<17} {value}")
    print(f"{'picture':<17} {write_picture(path, arguments.picture or f'{path.stem}_check.png')}")
