"""A table of text, a row per hand and frame. The head names each column with its unit: mm of OpenCV's camera
space (x right, y down, z forward), px of the picture (integers are pixel centres), rad of axis-angle."""

from pathlib import Path

import numpy as np

from tempohand.inference.formats.predictions import Predictions
from tempohand.skeleton import JOINT_NAMES, MANO_JOINT_NAMES, NUM_BETAS
from tempohand.writing import whole

_CAMERA = ("focal_x_px", "focal_y_px", "princpt_x_px", "princpt_y_px")
_BOX = ("box_x0_px", "box_y0_px", "box_x1_px", "box_y1_px")
_HEAD = [
    *("frame", "time_s", "hand_id", "side"),
    *(f"{joint}_{axis}_mm" for joint in JOINT_NAMES for axis in "xyz"),
    *(f"{joint}_{axis}_px" for joint in JOINT_NAMES for axis in "uv"),
    *(f"pose_{joint}_{axis}_rad" for joint in MANO_JOINT_NAMES for axis in "xyz"),
    *(f"shape_{number}" for number in range(NUM_BETAS)),
    *(*_BOX, *_CAMERA),
]
_NUMBERS = ("joints", "joints2d", "pose", "shape", "box", "focal", "princpt")


def write(predictions: Predictions, out: Path) -> list[str]:
    """Raises OSError."""
    columns = [getattr(predictions, name).reshape(len(predictions.frame), -1) for name in _NUMBERS]
    values = np.concatenate(columns, axis=1)
    line = ",".join(["%d,%.6f,%d,%s", *["%.7g"] * values.shape[1]]) + "\n"
    with whole(out) as part, part.open("w", encoding="utf-8") as file:
        file.write(",".join(_HEAD) + "\n")
        for row, numbers in enumerate(values):
            side = "right" if predictions.is_right[row] else "left"
            about = (predictions.frame[row], predictions.time[row], predictions.hand_id[row], side)
            file.write(line % (*about, *numbers.tolist()))
    return []
