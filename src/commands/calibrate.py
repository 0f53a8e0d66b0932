"""`tempohand calibrate`: what a network's certainty of joints means."""

import argparse
from pathlib import Path

from tempohand.commands.scripts import CONFIGS, TABLE_HELP

DESCRIPTION = """Makes a network's certainty of each joint a probability: that the joint lies within a tenth
of its hand's box of its true place in the picture. It is fitted on one split of a table with true labels and
tested on another, and kept in the checkpoint's config.json; predictions have it as `confidence` from then
on."""

EXAMPLES = """examples:
  tempohand calibrate outputs/stage2-tiny/checkpoint/best --data data/demo
  tempohand calibrate outputs/stage2-tiny/checkpoint/best --data freihand --fit fit --test val --rows 5000"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tempohand calibrate`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("checkpoint", metavar="DIR", help="checkpoint directory of a trained network")
    parser.add_argument("--data", metavar="TABLE", required=True, help=TABLE_HELP)
    parser.add_argument("--fit", metavar="SPLIT", default="val", help="split to fit on (default: val)")
    parser.add_argument("--test", metavar="SPLIT", default="test", help="split to test on (default: test)")
    parser.add_argument(
        "--rows", type=int, default=2400, metavar="N", help="rows of each, in whole sequences (default: 2400)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Fits, prints the reliability on the other split, and keeps the calibration."""
    from tabulate import tabulate

    from tempohand.data.arguments import table_folder
    from tempohand.data.table import FrameTable
    from tempohand.inference.calibrate import calibrate, certainty_and_truth, chosen_rows, keep_calibration
    from tempohand.model.confidence import reliability
    from tempohand.model.registry import load_network

    if not Path(arguments.checkpoint).is_dir():
        raise ValueError(
            f"'{arguments.checkpoint}' is no checkpoint directory: give outputs/<run>/checkpoint/best"
        )
    if arguments.rows < 1:
        raise ValueError(f"`rows` is at least 1, not {arguments.rows}")
    folder = table_folder(arguments.data, CONFIGS)
    fitted, tested = (FrameTable(folder, split) for split in (arguments.fit, arguments.test))
    network = load_network(arguments.checkpoint)
    calibration = calibrate(network, fitted, arguments.rows)
    certainty, right = certainty_and_truth(network, tested, chosen_rows(tested, arguments.rows))
    curve, error = reliability(calibration(certainty), right)
    print(tabulate(curve, ["confidence", "within a tenth of the box", "joints"], floatfmt=".3f"))
    print(f"expected calibration error on '{arguments.test}': {error:.3f} ({len(right):,} joints)")
    print(f"kept in '{keep_calibration(arguments.checkpoint, calibration)}'")
