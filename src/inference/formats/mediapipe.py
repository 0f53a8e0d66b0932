"""MediaPipe's hand landmarks: a JSON object a line, for every frame with a hand, named and meant as in its
HandLandmarkerResult.

hand_landmarks: x and y over the picture's width and height, its corners (0, 0) and (1, 1); z is depth behind
the wrist in the scale of x at the wrist's distance. hand_world_landmarks: metres, x right, y down, z away
from the camera, from the mean of the 21 joints.
"""

import json
from pathlib import Path

import numpy as np

from tempohand.hand.layer import MM_PER_METRE
from tempohand.inference.formats.predictions import Predictions
from tempohand.skeleton import WRIST
from tempohand.writing import whole

_DIGITS = 7


def write(predictions: Predictions, out: Path) -> list[str]:
    """Raises OSError."""
    picture, world = _picture(predictions), _world(predictions)
    with whole(out) as part, part.open("w", encoding="utf-8") as file:
        for frame in np.unique(predictions.frame):
            rows = _rows(predictions.frame, int(frame))
            sides = ["Right" if predictions.is_right[row] else "Left" for row in rows]
            result = {
                "frame": int(frame),
                "timestamp_ms": round(float(predictions.time[rows[0]]) * 1000, 3),
                "hand_id": predictions.hand_id[rows].tolist(),
                "handedness": [[{"category_name": side}] for side in sides],
                "hand_landmarks": [_landmarks(picture[row]) for row in rows],
                "hand_world_landmarks": [_landmarks(world[row]) for row in rows],
            }
            file.write(json.dumps(result, allow_nan=False) + "\n")
    return []


def _rows(frames: np.ndarray, frame: int) -> range:
    """Those of a frame: rows are in the order of frames."""
    return range(*np.searchsorted(frames, [frame, frame + 1]).tolist())


def _landmarks(points: np.ndarray) -> list[dict[str, float]]:
    return [dict(zip("xyz", point)) for point in points.tolist()]


def _picture(predictions: Predictions) -> np.ndarray:
    size, joints = predictions.image_size[:, None].astype(np.float64), predictions.joints.astype(np.float64)
    places = (predictions.joints2d + 0.5) / size  # a pixel's centre is a half from its corner
    depth = joints[..., 2] - joints[:, WRIST, None, 2]
    scale = predictions.focal[:, :1] / (joints[:, WRIST, 2:] * size[:, 0, :1])  # widths of the picture per mm
    return np.concatenate([places, (depth * scale)[..., None]], axis=-1).round(_DIGITS)


def _world(predictions: Predictions) -> np.ndarray:
    joints = predictions.joints.astype(np.float64)
    return ((joints - joints.mean(axis=1, keepdims=True)) / MM_PER_METRE).round(_DIGITS)
