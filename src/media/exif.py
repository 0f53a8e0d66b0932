"""What a picture's file says of the camera: the focal length in pixels, as phones and cameras write it into
EXIF (CIPA DC-008, Exif 2.32)."""

import io
import math
import struct
import warnings
from typing import NamedTuple

from PIL import ExifTags, Image

from tempohand.media import heif

FULL_FRAME_MM = math.hypot(36.0, 24.0)  # diagonal of 35 mm film, which equivalent focal lengths refer to
_UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # FocalPlaneResolutionUnit
_TURNED = range(5, 9)  # EXIF orientations that exchange width and height
_SAME_SHAPE = 0.02  # by how much the ratio of edges may differ from the camera's own before it was cropped
_DAMAGE = (OSError, ValueError, SyntaxError, KeyError, TypeError, ZeroDivisionError, struct.error)


class PictureFile(NamedTuple):
    """What a picture's file says without being decoded."""

    size: tuple[int, int] | None  # (W, H) as shown; None: not told
    focal: float | None  # px of the picture as it is, square pixels; None: not told


def read_file(data: bytes) -> PictureFile:
    """Of an encoded picture. Focal lengths of pictures that were cut since are not told: the ratio of their
    edges is another than the camera's. What cannot be read is not told either; nothing is raised."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures: nothing is decoded here
            shown, ifd = _heif(data) if heif.brand(data) else _other(data)
    except (*_DAMAGE, *heif.DAMAGE, Image.DecompressionBombError):
        return PictureFile(None, None)
    try:
        return PictureFile(shown, _focal(ifd, shown))
    except _DAMAGE:
        return PictureFile(shown, None)


def _heif(data: bytes) -> tuple[tuple[int, int], dict]:
    shown, block = heif.size_and_exif(data)
    exif = Image.Exif()
    if block:
        exif.load(block)
    return shown, exif.get_ifd(ExifTags.IFD.Exif)


def _other(data: bytes) -> tuple[tuple[int, int], dict]:
    with Image.open(io.BytesIO(data)) as picture:
        exif = picture.getexif()
        turned = exif.get(ExifTags.Base.Orientation) in _TURNED
        ifd = exif.get_ifd(ExifTags.IFD.Exif)  # of a TIFF file it is read now
        return picture.size[::-1] if turned else picture.size, ifd


def _focal(ifd: dict, size: tuple[int, int]) -> float | None:
    """From the equivalent focal length, or the focal length and the sensor's pixels. size: px of the
    picture."""
    width, height = ifd.get(ExifTags.Base.ExifImageWidth), ifd.get(ExifTags.Base.ExifImageHeight)
    if width and height and abs(_shape((width, height)) / _shape(size) - 1) > _SAME_SHAPE:
        return None
    equivalent = float(ifd.get(ExifTags.Base.FocalLengthIn35mmFilm) or 0)
    if equivalent > 0:
        return equivalent / FULL_FRAME_MM * math.hypot(*size)
    length = float(ifd.get(ExifTags.Base.FocalLength) or 0)
    density = float(ifd.get(ExifTags.Base.FocalPlaneXResolution) or 0)
    unit = _UNIT_MM.get(ifd.get(ExifTags.Base.FocalPlaneResolutionUnit, 2))
    if not (length > 0 and density > 0 and unit and width and height):
        return None
    focal = length * density / unit * max(size) / max(width, height)
    return focal if math.isfinite(focal) else None


def _shape(size: tuple[int, int]) -> float:
    return max(size) / min(size)
