"""`tempohand export`: predictions in the format of another program."""

import argparse

from tempohand.inference.formats.registry import FORMATS, export_predictions

DESCRIPTION = """Writes the predictions of tempohand predict in another program's format.

docs/export.md has what each format holds, its axes and units, and what is lost."""

EXAMPLES = """examples:
  tempohand export clip-hands/predictions.npz --to glb
  tempohand export clip-hands/predictions.npz --to bvh --out motion/
  tempohand export hands/predictions.npz --to mano --hand models/MANO_RIGHT.pkl

formats:
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tempohand export`."""
    formats = "\n".join(f"  {name:10} {form.summary}" for name, form in FORMATS.items())
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES + formats
    parser.add_argument("predictions", metavar="PREDICTIONS", help="a predictions.npz of tempohand predict")
    parser.add_argument("--to", metavar="FORMAT", required=True, help=f"one of {', '.join(FORMATS)}")
    parser.add_argument(
        "--out",
        metavar="PATH",
        help="the file, or folder (bvh, robot, lerobot), to write (default: predictions.FORMAT beside them)",
    )
    parser.add_argument(
        "--pictures",
        metavar="PATH",
        help="for lerobot: the video or folder that they are of (default: the file of that name beside the "
        "predictions or their folder, if there is one)",
    )
    parser.add_argument(
        "--hand",
        metavar="PATH",
        help="the hand model file that the network was trained with (default: the open hand)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Writes the file and says what it is."""
    exported = export_predictions(
        arguments.predictions, arguments.to, arguments.out, arguments.hand, arguments.pictures
    )
    print("\n".join(exported.lines()))
