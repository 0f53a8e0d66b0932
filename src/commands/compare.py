"""`tempohand compare`: the predictions of a hand beside those of another run or another tool."""

import argparse
import json

from tempohand.writing import write_whole

DESCRIPTION = """Compares the predictions of one hand in a video with those of another run or another tool,
frame by frame: joints after the best similarity, joints in the picture, and how much either trembles.
Neither is taken for the truth."""

EXAMPLES = """examples:
  tempohand compare out/predictions.npz mediapipe.npz
  tempohand compare one/predictions.npz two/predictions.npz --json compared.json

FILE is a predictions.npz, or an .npz with one row a frame: joints_3d_mm [N, 21, 3] in any frame of its own,
joints_2d [N, 21, 2] px, box_xyxy [N, 4] px, and detected [N]; joints in OpenPose order."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tempohand compare`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("predictions", metavar="FILE", help="the predictions that are looked at")
    parser.add_argument("other", metavar="OTHER", help="the second opinion")
    parser.add_argument(
        "--hand", type=int, metavar="ID", help="the hand_id to take (default: the one with most frames)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures, and each frame's, here")


def run(arguments: argparse.Namespace) -> None:
    """Prints the figures and, with --json, writes them."""
    from tempohand.inference.compare import Opinion, compare, lines

    figures = compare(Opinion.read(arguments.predictions, arguments.hand), Opinion.read(arguments.other))
    print("\n".join(lines(figures)))
    if arguments.json:
        write_whole(arguments.json, json.dumps(figures, indent=1))
        print(f"wrote '{arguments.json}'")
