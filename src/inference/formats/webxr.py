"""WebXR's 25 hand joints (W3C, WebXR Hand Input Module, XRHandJoint), as JSON; xr_joints.py has the axes."""

from pathlib import Path

from tempohand.inference.formats.predictions import Predictions
from tempohand.inference.formats.xr_joints import write_joints

_THUMB = ("metacarpal", "phalanx-proximal", "phalanx-distal", "tip")
_FINGER = ("metacarpal", "phalanx-proximal", "phalanx-intermediate", "phalanx-distal", "tip")
NAMES = ["wrist", *(f"thumb-{part}" for part in _THUMB)]
NAMES += [f"{finger}-finger-{part}" for finger in ("index", "middle", "ring", "pinky") for part in _FINGER]


def write(predictions: Predictions, out: Path) -> list[str]:
    """Raises OSError."""
    write_joints(predictions, out, "webxr-hand-joints", NAMES, skip=1)  # WebXR has no palm
    return []
