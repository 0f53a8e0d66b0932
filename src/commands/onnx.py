"""`tempohand onnx`: a network as ONNX graphs, to run it without torch."""

import argparse

from tempohand.inference.settings import NETWORK

DESCRIPTION = """Writes a network as ONNX graphs: encode.onnx (crops to features), decode.onnx (features of a
history to a hand), palms.onnx and landmarks.onnx (which find hands), and tempohand.json, which says what
goes in and comes out. Each is held against torch first.

docs/onnx.md has how to run them. tempohand predict --runtime onnx makes its own and needs no files."""

EXAMPLES = """examples:
  tempohand onnx --out graphs
  tempohand onnx --checkpoint outputs/run/checkpoint/best --out graphs"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tempohand onnx`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("--out", metavar="DIR", required=True, help="folder to write")
    parser.add_argument(
        "--checkpoint",
        metavar="DIR",
        default=NETWORK,
        help="checkpoint directory of a trained network, or the name of one that comes with the package "
        "(default %(default)s)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Writes the folder and says how exact the graphs are."""
    from tempohand.inference.onnx_files import ABOUT, write_graphs

    for one in write_graphs(arguments.checkpoint, arguments.out):
        print(one.line())
    print(f"wrote {arguments.out}/{ABOUT}")
