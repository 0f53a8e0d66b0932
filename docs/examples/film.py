"""What the examples work on, drawn by the package: film.mp4 (two hands, 36 frames), its first frame
frame.png, and film/, a frame table that knows where the right hand is.

    python docs/examples/film.py        # in a folder of its own
"""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from tempohand.data.table import FrameTable
from tempohand.inference.overlay import VideoOverlay
from tempohand.inference.source import SourceFrame

SETTINGS = [
    *("--config-name=synthetic-film", "out=film", "seed=16", "frames_test=36", "processes=1"),
    *("camera.image_size=480", "camera.window=1.9", "occluder.probability=0"),
    *("person.right_probability=1", "person.both_probability=1"),
]


def make_film(*settings: str) -> None:
    """Draws the film into the working folder. settings: of synthetic-film, over SETTINGS."""
    subprocess.run([sys.executable, "-m", "tempohand.cli", "prepare", *SETTINGS, *settings], check=True)
    table = FrameTable("film", "test")
    with VideoOverlay(Path("film.mp4"), Fraction(30)) as video:
        for row, time in enumerate(table.labels(np.arange(len(table)))["time"]):
            picture = table.image(row)
            video.write(SourceFrame(row, float(time), picture, ""), picture)
    cv2.imwrite("frame.png", table.image(0)[..., ::-1])


if __name__ == "__main__":
    make_film(*sys.argv[1:])
