"""Encoded pictures: decoded, or refused with the reason. A picture that is cut off is none, even where a decoder (OpenCV 4) fills it up with grey."""

import cv2
import numpy as np
from jaxtyping import UInt8

UNDECODABLE, CUT_OFF, OTHER_SIZE = REASONS = ("undecodable picture", "picture cut off", "picture of another size")
REFERENCE = b"path:"  # what a table holds in place of a picture that stays where it is, before the file's name below the data set's folder
TAIL = 1024  # bytes in which the end marker lies: some writers pad behind it


class BadPicture(ValueError):
    """A picture that cannot be used; `reason` is one of REASONS, the message says more."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


def decode(data: bytes | None, width: int, height: int) -> UInt8[np.ndarray, "h w 3"]:
    """An encoded picture of `width` x `height` px, RGB. Raises BadPicture when it does not decode, is cut off or has another size."""
    if data and cut_off(data):
        raise BadPicture(CUT_OFF, f"its {len(data)} bytes lack the end of the file")
    try:
        picture = cv2.imdecode(np.frombuffer(data or b"", np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:  # of no bytes at all
        picture = None
    if picture is None:
        raise BadPicture(UNDECODABLE, f"its {len(data or b'')} bytes do not decode")
    if picture.shape[:2] != (height, width):
        swapped = ": width and height are swapped" if picture.shape[:2] == (width, height) else ""
        raise BadPicture(OTHER_SIZE, f"it is {picture.shape[1]} x {picture.shape[0]} px, its row says {width} x {height}{swapped}")
    return picture


def cut_off(data: bytes) -> bool:
    """Whether a JPEG, PNG or WebP file lacks its end; False for other formats."""
    if data.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in data[-TAIL:]
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-TAIL:]
    return data.startswith(b"RIFF") and len(data) < int.from_bytes(data[4:8], "little") + 8
