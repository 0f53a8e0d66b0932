"""Joint poses of OpenXR (XR_EXT_hand_tracking) and WebXR (hand input): positions and orientations in a view
space, metres, x right, y up, z backward; the camera is the origin.

Every joint's -z axis points along its bone toward the tip, a tip's as that of the bone before it; y out of
the hand's back, x completes a right-handed frame, of left hands, too. Joints that the hand model has not are
invented from those that it has, and named as such in the file.
"""

import json
from pathlib import Path

import numpy as np
import torch

from tempohand.hand.anatomy import AXES, FLEXION, TWIST
from tempohand.hand.layer import MM_PER_METRE
from tempohand.hand.pose import global_rotations
from tempohand.inference.formats.predictions import Predictions
from tempohand.inference.formats.rig import Y_UP, quaternions, rotation_matrices
from tempohand.skeleton import FINGERS, JOINT_NAMES, MANO_JOINT_NAMES
from tempohand.writing import whole

METACARPAL_BASE = 0.25  # of the way from the wrist to a finger's knuckle
INVENTED = {
    "palm": "the middle between the middle finger's metacarpal base and its knuckle",
    "metacarpals of index to little finger": "a quarter of the way from the wrist to the knuckle",
    "wrist": "its orientation: along the palm, to the middle finger's knuckle",
}
CONVENTIONS = (
    "Positions in metres and orientations (unit quaternions x, y, z, w) in the camera's view space: x right, "
    "y up, z backward. Of every joint -z points toward the tip and y out of the hand's back. No radii."
)
_DIGITS = 7
_MIRROR = np.array([-1.0, 1.0, 1.0])
# The rest pose's directions out of the back of a right hand: of the palm, and of MANO's finger joints.
_BACK_OF_PALM = np.array([0.0, 1.0, 0.0])
_BACKS = np.cross(AXES[:, TWIST], AXES[:, FLEXION])


def joint_poses(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Positions [n, 26, 3] and orientations [n, 26, 4] in OpenXR's order: palm, wrist, four joints of the
    thumb and five of each finger."""
    places = predictions.joints.astype(np.float64) * Y_UP / MM_PER_METRE
    turns = global_rotations(torch.from_numpy(rotation_matrices(predictions.pose))).numpy()
    sides = np.where(predictions.is_right[:, None], 1.0, _MIRROR)
    palm_back = (turns[:, 0] @ (_BACK_OF_PALM * sides)[..., None])[..., 0] * Y_UP
    wrist = places[:, 0]
    points, aims, backs = ([] for _ in range(3))
    for number, finger in enumerate(FINGERS):
        chain = places[:, 1 + 4 * number : 5 + 4 * number]
        first = MANO_JOINT_NAMES.index(f"{finger}_1")
        rest = _BACKS[first - 1 : first + 2] * sides[:, None]
        back = (turns[:, first : first + 3] @ rest[..., None])[..., 0] * Y_UP
        if finger != "thumb":  # the thumb's first joint is that of its metacarpal
            base = wrist + METACARPAL_BASE * (chain[:, 0] - wrist)
            chain = np.concatenate([base[:, None], chain], axis=1)
            back = np.concatenate([palm_back[:, None], back], axis=1)
        aim = np.diff(chain, axis=1)
        points.append(chain)
        aims.append(np.concatenate([aim, aim[:, -1:]], axis=1))
        backs.append(np.concatenate([back, back[:, -1:]], axis=1))
    middle = points[FINGERS.index("middle")]
    palm, ahead = (middle[:, 0] + middle[:, 1]) / 2, middle[:, 1] - wrist
    points = np.concatenate([np.stack([palm, wrist], axis=1), *points], axis=1)
    aims = np.concatenate([np.stack([ahead, ahead], axis=1), *aims], axis=1)
    backs = np.concatenate([np.stack([palm_back, palm_back], axis=1), *backs], axis=1)
    return points, quaternions(_frames(aims, backs))


def _frames(aim: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Rotation matrices [..., 3, 3] whose -z is along `aim`, and y as near to `back` as that leaves."""
    z = -_unit(aim)
    x = _unit(np.cross(back, z))
    return np.stack([x, np.cross(z, x), z], axis=-1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def write_joints(predictions: Predictions, out: Path, format_name: str, names: list[str], skip: int) -> None:
    """The poses but the first `skip`, under these names, as one JSON object. Raises OSError."""
    points, turns = (values[:, skip:].round(_DIGITS) for values in joint_poses(predictions))
    head = {
        "format": format_name,
        "conventions": CONVENTIONS,
        "source": predictions.source,
        "joints": names,
        "invented": INVENTED if not skip else {key: how for key, how in INVENTED.items() if key != "palm"},
        "hands": [],
    }
    assert points.shape[1] == len(names) and len(JOINT_NAMES) + 5 == len(names) + skip
    with whole(out) as part, part.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head).removesuffix("]}"))
        for row in range(len(points)):
            hand = {
                "frame": int(predictions.frame[row]),
                "time": float(predictions.time[row]),
                "hand_id": int(predictions.hand_id[row]),
                "handedness": "right" if predictions.is_right[row] else "left",
                "positions": points[row].tolist(),
                "orientations": turns[row].tolist(),
            }
            file.write((",\n" if row else "\n") + json.dumps(hand, allow_nan=False))
        file.write("\n]}\n")
