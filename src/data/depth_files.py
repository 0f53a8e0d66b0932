"""Depth pictures as cameras' recorders write them: PNG of one channel of 16 bits, 0 where nothing was
measured."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float

from tempohand.media.pictures import cut_off

NEAREST_MM = 30.0  # no camera sees a whole picture nearer than this: its numbers are metres


class BadDepth(ValueError):
    """A depth picture that cannot be used; `reason` in a few words, the message says more."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


def read_depth(path: Path, unit_mm: float, say: str) -> Float[np.ndarray, "h w"]:
    """A depth picture, mm along the optical axis. unit_mm: of the numbers in the file; say: what a message
    asks for where these cannot be millimetres.

    Raises BadDepth in one line that names the file: it is damaged, of another kind, or in metres; and
    FileNotFoundError.
    """
    data = path.read_bytes()
    stored = None if not data or cut_off(data) else cv2.imdecode(np.frombuffer(data, np.uint8), -1)
    if stored is None:
        raise BadDepth("picture damaged", f"'{path.name}' does not decode")
    if stored.dtype != np.uint16 or stored.ndim != 2:
        raise BadDepth("depth of another format", f"'{path.name}' is no PNG of one channel of 16 bits")
    depth = stored.astype(np.float32) * np.float32(unit_mm)
    if in_metres(depth):
        raise BadDepth(
            "depth in metres",
            f"'{path.name}' goes from 0 to {stored.max()} units, {depth.max():g} mm: is it in metres? Write "
            f"millimetres, or say {say}",
        )
    return depth


def in_metres(depth: np.ndarray) -> bool:
    """Whether depth that should be mm goes no farther than metres would."""
    return bool(0 < depth.max() < NEAREST_MM)
