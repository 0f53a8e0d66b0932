"""The pictures of a table: encoded, and of a known size."""

import cv2
from jaxtyping import UInt8
from numpy import ndarray

from tempohand.media.pictures import CUT_OFF, OTHER_SIZE, REASONS, UNDECODABLE, BadPicture, decode_picture

__all__ = ["CUT_OFF", "OTHER_SIZE", "REASONS", "REFERENCE", "UNDECODABLE", "BadPicture", "decode"]
# what a table holds in place of a picture that stays where it is, before the file's name below the data set's
# folder
REFERENCE = b"path:"
# what a crop shows beyond its picture, wherever one is made: the picture's edge, repeated
BEYOND = cv2.BORDER_REPLICATE


def decode(data: bytes | None, width: int, height: int) -> UInt8[ndarray, "h w 3"]:
    """`decode_picture` of `width` x `height` px. Raises BadPicture when it has another size, too."""
    picture = decode_picture(data)
    if picture.shape[:2] != (height, width):
        swapped = ": width and height are swapped" if picture.shape[:2] == (width, height) else ""
        raise BadPicture(
            OTHER_SIZE,
            f"it is {picture.shape[1]} x {picture.shape[0]} px, its row says {width} x {height}{swapped}",
        )
    return picture
