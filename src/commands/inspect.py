"""`tempohand inspect`: a page of random rows of a frame table."""

import argparse

from tempohand.commands.scripts import CONFIGS, TABLE_HELP

DESCRIPTION = """Writes a page of random rows of a frame table: each picture with its box and 2D joints,
with heat maps of the joints, with the 3D joints projected into it, and with the mesh that its hand parameters
make; depth and mask where it has some. Labels that are wrong are seen at a glance; by how much they disagree
is written beside each. With --checkpoint also what a network says of it: joints, mesh, its outline beside the
labelled mask, and the network's own heat maps."""

EXAMPLES = """examples:
  tempohand inspect data/demo
  tempohand inspect data/demo --split test --checkpoint outputs/hand3d-tiny/checkpoint/best
  tempohand inspect data/ho3d_v3 --split fit --rows 60 --hand models --out ho3d.html"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tempohand inspect`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("table", metavar="TABLE", help=TABLE_HELP)
    parser.add_argument(
        "--split", action="append", metavar="NAME", help="a split to show, may be given again (default: all)"
    )
    parser.add_argument(
        "--rows", type=int, default=24, metavar="N", help="rows to draw from each split (default: 24)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="which rows are drawn (default: 0)")
    parser.add_argument(
        "--hand",
        metavar="FILE",
        help="file or folder of the hand model that the labels were made with (default: the open hand)",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="DIR",
        help="checkpoint directory of a trained network, or the name of one that comes with the package",
    )
    parser.add_argument(
        "--out", metavar="FILE", help="the page (default: inspect.html in the table's folder)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Writes the page and says where."""
    from tempohand.data.arguments import table_folder
    from tempohand.doctor.inspect_table import inspect_table

    options = {
        "rows": arguments.rows,
        "seed": arguments.seed,
        "hand": arguments.hand,
        "out": arguments.out,
        "checkpoint": arguments.checkpoint,
    }
    table = table_folder(arguments.table, CONFIGS)
    print(f"wrote '{inspect_table(table, arguments.split, **options)}'")
