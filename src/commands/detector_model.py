"""`tempohand detector-model`: makes the hand model file that `tempohand predict --detect` needs."""

import argparse

from tempohand.inference.settings import DETECTOR_MODEL, DETECTOR_WHEEL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tempohand detector-model`."""
    parser.add_argument(
        "out",
        metavar="OUT.task",
        help=f"the model file to write; predict --detect looks for {DETECTOR_MODEL}",
    )
    parser.add_argument(
        "--wheel",
        required=True,
        metavar="FILE.whl",
        help=f"a wheel of mediapipe 0.10.21: {DETECTOR_WHEEL}".replace("%", "%%"),
    )


def run(arguments: argparse.Namespace) -> None:
    """Writes the file and says how large it is."""
    from tempohand.inference.detector import build_model

    path = build_model(arguments.wheel, arguments.out)
    print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
