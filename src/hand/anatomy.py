"""Anatomical joint axes, ranges of motion and named poses of the 15 finger joints (MANO's order, no wrist).

Angles are degrees, zero in the flat rest pose. Flexion: positive bends toward the palm (the thumb's first
joint: across the palm). Abduction: positive leaves the middle finger (the middle finger: toward the thumb;
the thumb: out of the palm's plane). Twist: right-hand rule about the bone toward the tip. Axes are in the
rest frame of the right hand (fingers -x, back of the hand +y, thumb +z).
"""

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor

from tempohand.hand.pose import need_tensors

FLEXION, ABDUCTION, TWIST = range(3)
NUM_FINGER_JOINTS = 15
MANO_FINGERS = ("index", "middle", "pinky", "ring", "thumb")

# Direction of each straight finger in the rest pose: degrees from -x toward +z (the thumb's side).
AZIMUTH_DEG = {"index": 5.0, "middle": 0.0, "ring": -7.0, "pinky": -15.0}
# Roll of each finger about its bone: degrees by which its back leans toward the thumb's side.
ROLL_DEG = {"index": 5.0, "middle": 2.0, "ring": 2.0, "pinky": -3.0}
# The straight thumb: the direction of its bones, and of its nail's normal.
THUMB_BONE = (-0.66, -0.36, 0.66)
THUMB_BACK = (0.45, 0.30, 0.84)


def _unit(vector) -> np.ndarray:
    vector = np.asarray(vector, dtype=np.float64)
    return vector / np.linalg.norm(vector)


def _finger_frame(finger: str) -> np.ndarray:
    azimuth, roll = np.radians(AZIMUTH_DEG[finger]), np.radians(ROLL_DEG[finger])
    bone = np.array([-np.cos(azimuth), 0.0, np.sin(azimuth)])
    across = np.cross([0.0, 1.0, 0.0], bone)
    back = np.cos(roll) * np.array([0.0, 1.0, 0.0]) + np.sin(roll) * across
    outward = -back if finger in ("ring", "pinky") else back
    return np.stack([np.cross(back, bone), outward, bone])


def _thumb_frame() -> np.ndarray:
    bone, back = _unit(THUMB_BONE), np.asarray(THUMB_BACK)
    back = _unit(back - bone * (bone @ back))
    return np.stack([np.cross(back, bone), back, bone])


def _axes() -> np.ndarray:
    frames = [_finger_frame(finger) for finger in MANO_FINGERS[:-1] for _ in range(3)] + [_thumb_frame()] * 3
    return np.stack(frames)


# [15, 3, 3]: joint, (flexion, abduction, twist), unit vector.
AXES: Float[np.ndarray, "15 3 3"] = _axes()

# Active range of motion in degrees, (least, greatest), after "Normal Range of Motion" in C. Eaton, "The
# Electronic Textbook of Hand Surgery" (eatonhand.com): finger MCP -45/90, PIP 0/100, DIP 0/80; thumb MCP
# -10/55, IP -15/80; thumb base: radial abduction 0/60, palmar abduction 0/45, which are counted here from a
# rest pose that lies at 45 and 20. Finger abduction is 20 each way (American Academy of Orthopaedic
# Surgeons). The thumb's base pronates (negative twist) as it opposes the fingers.
_MCP = ((-45, 90), (-20, 20), (-5, 5))
_PIP = ((0, 100), (0, 0), (0, 0))
_DIP = ((0, 80), (0, 0), (0, 0))
_CMC = ((-15, 45), (-20, 30), (-25, 10))
_THUMB_MCP = ((-10, 55), (-5, 5), (-5, 5))
_THUMB_IP = ((-15, 80), (0, 0), (0, 0))
# [15, 3, 2]: joint, (flexion, abduction, twist), (least, greatest).
RANGE_DEG: Float[np.ndarray, "15 3 2"] = np.array(
    [_MCP, _PIP, _DIP] * 4 + [_CMC, _THUMB_MCP, _THUMB_IP], dtype=np.float64
)


def angles_to_pose(
    angles: Float[Tensor, "*batch 15 3"], global_orient: Float[Tensor, "*batch 3"] | None = None
) -> Float[Tensor, "*batch 48"]:
    """Axis-angle pose [*, 48] of angles [*, 15, 3] in degrees (flexion, abduction, twist); differentiable.

    Each joint's rotation is flexion after abduction after twist: the abduction and twist axes move with the
    flexed bone. global_orient: [*, 3] axis-angle of the wrist; zero if not given.
    """
    need_tensors(angles=angles, global_orient=global_orient)
    axes = torch.as_tensor(AXES, dtype=angles.dtype, device=angles.device)
    flexion, abduction, twist = roma.rotvec_to_unitquat(torch.deg2rad(angles).unsqueeze(-1) * axes).unbind(-2)
    turn = roma.quat_product(roma.quat_product(flexion, abduction), twist)
    rotvecs = roma.unitquat_to_rotvec(turn).flatten(-2)
    if global_orient is None:
        global_orient = rotvecs.new_zeros(*rotvecs.shape[:-1], 3)
    return torch.cat([global_orient, rotvecs], dim=-1)


def clamp_angles(angles: Float[Tensor, "*batch 15 3"]) -> Float[Tensor, "*batch 15 3"]:
    """Angles in degrees, each brought into its range of motion."""
    need_tensors(angles=angles)
    low, high = torch.as_tensor(RANGE_DEG, dtype=angles.dtype, device=angles.device).unbind(-1)
    return torch.minimum(torch.maximum(angles, low), high)


def _pose(index, middle, ring, pinky, thumb, spread=(0,) * 4, thumb_out=0, thumb_twist=0) -> np.ndarray:
    """Angles [15, 3] from each finger's flexions, abductions (index, middle, ring, pinky) and the abduction
    and twist of the thumb's first joint."""
    angles = np.zeros((NUM_FINGER_JOINTS, 3))
    for start, flexion in zip(range(0, NUM_FINGER_JOINTS, 3), (index, middle, pinky, ring, thumb)):
        angles[start : start + 3, FLEXION] = flexion
    for joint, abduction in zip((0, 3, 9, 6), spread):
        angles[joint, ABDUCTION] = abduction
    angles[12, ABDUCTION], angles[12, TWIST] = thumb_out, thumb_twist
    return angles


# Named poses, angles [15, 3] in degrees. The thumb's in fist, point, pinch, ok and victory were searched for
# contact without penetration.
_FLAT, _BENT_BACK, _UNSPREAD = (0, 0, 0), (-5, 0, 0), (0, 0, 0, 0)
_FOLDED = ((78, 95, 60), (78, 92, 55), (76, 88, 55))
POSES: dict[str, Float[np.ndarray, "15 3"]] = {
    "flat": _pose(*[_FLAT] * 5),
    "rest": _pose((18, 25, 12), (22, 28, 14), (25, 30, 14), (28, 28, 14), (8, 8, 12), thumb_out=4),
    "fist": _pose((72, 98, 58), *_FOLDED, (20, 18, 78), (6, 0, 2, 1), 28, -7),
    "point": _pose((5, 5, 3), *_FOLDED, (27, 24, 40), (0, 0, 2, 1), 19, -23),
    "pinch": _pose((45, 45, 26), (30, 35, 15), (22, 28, 12), (15, 22, 10), (35, 12, 2), _UNSPREAD, 19, -22),
    "grasp": _pose((35, 40, 25), (38, 42, 25), (42, 45, 25), (45, 42, 25), (25, 12, 18), _UNSPREAD, 22, -18),
    "spread": _pose(*[_BENT_BACK] * 4, (-12, 0, -5), (12, 0, 10, 14)),
    "thumb_up": _pose((75, 95, 60), *_FOLDED, (-14, -9, -10), (5, 0, 2, 1)),
    "ok": _pose((43, 56, 38), (20, 15, 8), (10, 10, 5), (3, 8, 4), (34, 11, 14), (0, 0, 4, 8), 26, -21),
    "victory": _pose((0, 2, 2), (0, 2, 2), *_FOLDED[1:], (43, 25, 37), (12, -6, 1, 1), 17, -24),
    "hook": _pose((5, 92, 55), (5, 95, 58), (5, 92, 56), (5, 88, 54), (2, 30, 30), thumb_twist=-5),
}
