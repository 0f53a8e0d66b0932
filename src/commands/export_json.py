"""`tempohand export-json`: a frame table as pictures and one JSON file."""

import argparse

from tempohand.commands.scripts import CONFIGS, TABLE_HELP

DESCRIPTION = """Writes a frame table as the training data of Boukhayma et al. (CVPR 2019) are kept: squares
of 2.2 extents of the hand, 320 px, left hands mirrored into right ones, masks where the table has some, and
one annotations.json with 2D and 3D joints in that work's order, the camera, and the 23 numbers that its
network predicts. docs/data.md has the file's form."""

EXAMPLES = """examples:
  tempohand export-json data/stb-masks --out json/stb
  tempohand export-json data/hand3d --out json/hand3d --whole"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tempohand export-json`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("table", metavar="TABLE", help=TABLE_HELP)
    parser.add_argument("--out", metavar="FOLDER", required=True, help="the folder to write, or to replace")
    parser.add_argument(
        "--hand",
        metavar="FILE",
        help="the hand model that the labels were made with (default: the open hand)",
    )
    parser.add_argument(
        "--whole", action="store_true", help="pictures as they are stored, not cut to squares"
    )


def run(arguments: argparse.Namespace) -> None:
    """Writes the folder and says what became of the rows."""
    from tempohand.assemble.export_json import export_json
    from tempohand.data.arguments import table_folder

    table = table_folder(arguments.table, CONFIGS)
    path, counts = export_json(table, arguments.out, hand=arguments.hand, whole=arguments.whole)
    for name, count in counts.most_common():
        print(f"{count:9,}  {name}")
    print(f"wrote '{path}'")
