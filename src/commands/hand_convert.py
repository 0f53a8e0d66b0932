"""`tempohand hand convert`: a hand model file as .npz or .safetensors."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tempohand hand convert`."""
    parser.add_argument(
        "input",
        metavar="IN",
        help="a hand model file (.pkl, .npz, .safetensors), or a folder that holds MANO_RIGHT.pkl",
    )
    parser.add_argument("output", metavar="OUT", help="the file to write: .npz or .safetensors")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")


def run(arguments: argparse.Namespace) -> None:
    """Writes the tables exactly as the input holds them."""
    from tempohand.hand.files import find_hand_file, read_tables, write_hand_file

    tables = read_tables(find_hand_file(arguments.input))
    written = write_hand_file(tables, arguments.output, overwrite=arguments.overwrite)
    print(
        f"wrote {written} (a {tables.side} hand, {written.stat().st_size / 1000:.0f} kB); the licence is "
        f"still that of {arguments.input}"
    )
