"""The pictures of a table, and the depth and mask that belong to them: encoded, and of a known size."""

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from tempohand.media.pictures import (
    CUT_OFF,
    OTHER_SIZE,
    REASONS,
    UNDECODABLE,
    BadPicture,
    cut_off,
    decode_picture,
)

__all__ = [
    "CUT_OFF",
    "OTHER_SIZE",
    "REASONS",
    "REFERENCE",
    "UNDECODABLE",
    "BadPicture",
    "decode",
    "decode_depth",
    "decode_mask",
    "encode_depth",
    "encode_mask",
]
# what a table holds in place of a picture that stays where it is, before the file's name below the data set's
# folder
REFERENCE = b"path:"
# what a crop shows beyond its picture, wherever one is made: the picture's edge, repeated
BEYOND = cv2.BORDER_REPLICATE
# Of a table's depth, a PNG of 16 bits. It reaches 16.4 m, and rounding to it (0.07 mm) is below what any
# depth camera resolves.
DEPTH_UNIT_MM = 0.25


def decode(data: bytes | None, width: int, height: int) -> UInt8[ndarray, "h w 3"]:
    """`decode_picture` of `width` x `height` px. Raises BadPicture when it has another size, too."""
    picture = decode_picture(data)
    _check_size(picture, width, height, "it")
    return picture


def encode_depth(depth: Float[ndarray, "h w"]) -> bytes:
    """Depth, mm, as a table's PNG. Not a measurement (0 in it) is what is not finite, not positive or beyond
    the range of 16 bits."""
    units = np.nan_to_num(depth / DEPTH_UNIT_MM, nan=0.0, posinf=0.0, neginf=0.0) + 0.5
    inside = (units >= 1) & (units < 2**16)
    return _png(np.where(inside, units, 0).astype(np.uint16))


def decode_depth(data: bytes, width: int, height: int) -> Float[ndarray, "h w"]:
    """A table's depth of a picture of `width` x `height` px: mm along the optical axis, 0 where nothing was
    measured. Raises BadPicture when it does not decode, is no PNG of 16 bits, or has another size."""
    stored = _decoded(data, "depth")
    if stored.dtype != np.uint16 or stored.ndim != 2:
        raise BadPicture(
            UNDECODABLE, f"its depth is a picture of {_kind(stored)}, not one channel of 16 bits"
        )
    _check_size(stored, width, height, "its depth")
    return stored.astype(np.float32) * np.float32(DEPTH_UNIT_MM)


def encode_mask(mask: Bool[ndarray, "h w"]) -> bytes:
    """A mask as a table's PNG of 1 bit."""
    return _png(mask.astype(np.uint8) * 255, cv2.IMWRITE_PNG_BILEVEL, 1)


def decode_mask(data: bytes, width: int, height: int) -> Bool[ndarray, "h w"]:
    """A table's mask of a picture of `width` x `height` px. Raises BadPicture when it does not decode, has
    several channels, or another size."""
    stored = _decoded(data, "mask")
    if stored.ndim != 2:
        raise BadPicture(UNDECODABLE, f"its mask is a picture of {_kind(stored)}, not one channel")
    _check_size(stored, width, height, "its mask")
    return stored > 0


def _png(values: ndarray, *options: int) -> bytes:
    done, data = cv2.imencode(".png", values, options)
    assert done, "PNG encoding failed"
    return data.tobytes()


def _decoded(data: bytes, what: str) -> ndarray:
    if cut_off(data):
        raise BadPicture(CUT_OFF, f"the {len(data)} bytes of its {what} lack the end of the file")
    try:
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # of no bytes at all
        stored = None
    if stored is None:
        raise BadPicture(UNDECODABLE, f"the {len(data)} bytes of its {what} do not decode")
    return stored


def _kind(stored: ndarray) -> str:
    return f"{1 if stored.ndim == 2 else stored.shape[2]} x {8 * stored.itemsize} bits"


def _check_size(picture: ndarray, width: int, height: int, what: str) -> None:
    if picture.shape[:2] != (height, width):
        swapped = ": width and height are swapped" if picture.shape[:2] == (width, height) else ""
        raise BadPicture(
            OTHER_SIZE,
            f"{what} is {picture.shape[1]} x {picture.shape[0]} px, its row says {width} x {height}{swapped}",
        )
