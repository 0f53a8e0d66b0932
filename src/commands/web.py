"""`tempohand web`: a page on which a browser finds and predicts hands by itself."""

import argparse

from tempohand.inference.settings import NETWORK

DESCRIPTION = """Writes a page with a network's ONNX graphs: a browser that opens it finds hands in a video or
in what its camera sees, and draws them in 3D. It needs a web server of files and nothing else; no picture
leaves the browser's machine.

docs/web.md has how exact and how fast it is."""

EXAMPLES = """examples:
  tempohand web --out page
  tempohand web --out page --ort package/dist      without the address of a third party
  python -m http.server --directory page           then open http://localhost:8000/"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tempohand web`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("--out", metavar="DIR", required=True, help="folder to write")
    parser.add_argument(
        "--checkpoint",
        metavar="DIR",
        default=NETWORK,
        help="checkpoint directory of a trained network, or the name of one that comes with the package "
        "(default %(default)s)",
    )
    parser.add_argument(
        "--ort",
        metavar="DIR",
        help="the folder dist of npm's package onnxruntime-web, of which three files are copied "
        "(default: the page takes them from jsdelivr.net)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Writes the folder and says how to open it."""
    from tempohand.inference.web_page import write_page

    for one in write_page(arguments.out, arguments.checkpoint, arguments.ort):
        print(one.line())
    print(f"wrote {arguments.out}/index.html: python -m http.server --directory {arguments.out}")
