"""OpenXR's 26 hand joints (XR_EXT_hand_tracking, XrHandJointEXT), as JSON; xr_joints.py has the axes."""

from pathlib import Path

from tempohand.inference.formats.predictions import Predictions
from tempohand.inference.formats.xr_joints import write_joints

_THUMB = ("metacarpal", "proximal", "distal", "tip")
_FINGER = ("metacarpal", "proximal", "intermediate", "distal", "tip")
NAMES = ["palm", "wrist", *(f"thumb_{part}" for part in _THUMB)]
NAMES += [f"{finger}_{part}" for finger in ("index", "middle", "ring", "little") for part in _FINGER]


def write(predictions: Predictions, out: Path) -> list[str]:
    """Raises OSError."""
    write_joints(predictions, out, "openxr-hand-joints", NAMES, skip=0)
    return []
