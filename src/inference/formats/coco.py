"""COCO-WholeBody's key points of hands (Jin et al., ECCV 2020; jin-s13/COCO-WholeBody, data_format.md): an
annotation per hand, in pixels of the picture, OpenPose's order.

Which hands are one person's is not known, so every hand is a person whose body, face, feet and other hand are
not labelled. A joint is labelled, as visible (2), where it lies in the picture: hidden ones are not told.
"""

import json
from pathlib import Path

import numpy as np

from tempohand.inference.formats.predictions import Predictions
from tempohand.writing import write_whole

_BODY = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle"),
)
_OTHERS = {"foot": 6, "face": 68, "lefthand": 21, "righthand": 21}  # part -> number of points
_VISIBLE = 2
_DIGITS = 3


def write(predictions: Predictions, out: Path) -> list[str]:
    """Raises OSError."""
    annotations = [_annotation(predictions, row) for row in range(len(predictions.frame))]
    frames, first = np.unique(predictions.frame, return_index=True)
    content = {
        "info": {"description": f"hands in {predictions.source}, predicted by tempohand"},
        "images": [_image(predictions, frame, row) for frame, row in zip(frames.tolist(), first.tolist())],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person", "supercategory": "person", "keypoints": list(_BODY)}],
    }
    write_whole(out, json.dumps(content, allow_nan=False))
    return []


def _image(predictions: Predictions, frame: int, row: int) -> dict:
    """A folder's pictures by their names, a video's frames as `ffmpeg -i VIDEO -start_number 0 STEM_%06d.png`
    names them."""
    name = f"{Path(predictions.source).stem}_{frame:06d}.png"
    if frame < len(predictions.names):
        name = predictions.names[frame]
    elif predictions.num_frames == 1:
        name = predictions.source
    width, height = predictions.image_size[row].tolist()
    return {"id": frame, "file_name": name, "width": width, "height": height}


def _annotation(predictions: Predictions, row: int) -> dict:
    x0, y0, x1, y1 = predictions.box[row].astype(float).round(_DIGITS).tolist()
    box, side = [x0, y0, x1 - x0, y1 - y0], "righthand" if predictions.is_right[row] else "lefthand"
    points = predictions.joints2d[row].astype(float).round(_DIGITS)
    inside = ((points >= -0.5) & (points <= predictions.image_size[row] - 0.5)).all(axis=1)
    labelled = np.where(inside[:, None], np.column_stack([points, np.full(len(points), _VISIBLE)]), 0.0)
    annotation = {
        "id": row + 1,
        "image_id": int(predictions.frame[row]),
        "category_id": 1,
        "iscrowd": 0,
        "bbox": box,
        "area": box[2] * box[3],
        "keypoints": [0] * 3 * len(_BODY),
        "num_keypoints": 0,
        "track_id": int(predictions.hand_id[row]),
    }
    for part, count in _OTHERS.items():
        ours = part == side
        annotation[f"{part}_kpts"] = labelled.ravel().tolist() if ours else [0] * 3 * count
        annotation[f"{part}_valid"] = ours
        if part != "foot":
            annotation[f"{part}_box"] = box if ours else [0.0] * 4
    return annotation
