"""Encoded pictures: decoded, or refused with the reason.

What a picture is, wherever one is read (tables, data sets, backgrounds, `tempohand predict`):

- RGB of 8 bits, turned and mirrored as its EXIF (of a HEIF file: its irot and imir boxes) says. Grey is R = G
  = B; of 16 bits the upper 8 count; transparency is left out, and what it hides is seen; CMYK is converted; a
  colour profile is not applied. Pixels are square, whatever density the file names.
- whole: a file that is cut off is none, even where a decoder (OpenCV 4) fills it up with grey.
- one: an animation and a file of several pages are no picture, since nobody says which of theirs is meant.
"""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from tempohand.media import heif

UNDECODABLE = "undecodable picture"
CUT_OFF = "picture cut off"
OTHER_SIZE = "picture of another size"
REASONS = (UNDECODABLE, CUT_OFF, OTHER_SIZE)
HEAD = 32  # bytes of a file's beginning that `is_picture` looks at
PNG, TIFF = b"\x89PNG\r\n\x1a\n", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# What files of formats that OpenCV decodes begin with. Their names are not asked, nor is OpenCV, which
# crashes on a path that is not UTF-8.
_BEGINNINGS = (
    b"\xff\xd8\xff",
    PNG,
    *TIFF,
    b"BM",
    b"\0\0\0\x0cjP  \r\n\x87\n",
    b"\xffO\xffQ",
    *(b"P%d" % kind for kind in range(1, 7)),
)
_NO_WHITE = "its samples are {}, which do not say what is white: save it with 8 or 16 bits a channel"
_SEVERAL = (
    "it holds several pictures (an animation, or pages), and nothing says which is meant: "
    "save each as a file, or all as a video"
)
_SILENT = 0


class BadPicture(ValueError):
    """A picture that cannot be used; `reason` is one of REASONS, the message says more."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


def is_picture(head: bytes) -> bool:
    """Whether a file that begins with these HEAD bytes is of a format of still pictures that `decode_picture`
    reads."""
    webp = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
    return head.startswith(_BEGINNINGS) or webp or heif.brand(head) in heif.STILL


def read_head(path: Path) -> bytes:
    """The file's first HEAD bytes."""
    with path.open("rb") as file:
        return file.read(HEAD)


def is_video(path: Path) -> bool:
    """Whether a file is for media/video.py: what is no picture, and animations but WebP's, which FFmpeg's
    libraries do not play."""
    head = read_head(path)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return False
    return not is_picture(head) or is_animation(path.read_bytes() if head.startswith(PNG) else head)


def decode_picture(data: bytes | None) -> UInt8[np.ndarray, "h w 3"]:
    """An encoded picture, RGB (the rules are above). Raises BadPicture when it does not decode, is cut off,
    or is not one picture."""
    data = data or b""
    if data and cut_off(data):
        raise BadPicture(CUT_OFF, f"its {len(data)} bytes lack the end of the file")
    if is_animation(data):
        raise BadPicture(UNDECODABLE, _SEVERAL)
    if heif.brand(data):
        try:
            return heif.decode_heif(data)
        except heif.DAMAGE as error:
            raise BadPicture(UNDECODABLE, f"its {len(data)} bytes do not decode ({error})") from None
    level = cv2.utils.logging.setLogLevel(_SILENT)  # whoever asked says what is wrong, in one line
    try:
        return _decoded(np.frombuffer(data, np.uint8))
    except cv2.error:  # of no bytes at all, and of some damage
        raise BadPicture(UNDECODABLE, f"its {len(data)} bytes do not decode") from None
    finally:
        cv2.utils.logging.setLogLevel(level)


def cut_off(data: bytes) -> bool:
    """Whether a JPEG, PNG or WebP file lacks its end; False for other formats. What stands behind the end is
    not looked at."""
    if data.startswith(b"\xff\xd8"):
        return _jpeg_is_cut_off(data)
    if data.startswith(PNG[:4]):
        return b"IEND" not in _png_chunks(data)
    return data.startswith(b"RIFF") and len(data) < int.from_bytes(data[4:8], "little") + 8


def is_animation(data: bytes) -> bool:
    """Whether a GIF, PNG, WebP or HEIF file holds a sequence of pictures. Its beginning is enough: of a PNG,
    all before the picture."""
    if data.startswith(PNG):
        return b"acTL" in _png_chunks(data)
    if data.startswith(b"RIFF") and data[8:16] == b"WEBPVP8X":
        return len(data) > 20 and bool(data[20] & 2)
    return data[:6] in (b"GIF87a", b"GIF89a") or heif.brand(data) in heif.SEQUENCE


def _decoded(data: UInt8[np.ndarray, "n"]) -> UInt8[np.ndarray, "h w 3"]:
    if data[:4].tobytes() in TIFF and cv2.imdecodemulti(data, cv2.IMREAD_COLOR_RGB, range=(1, 2))[0]:
        raise BadPicture(UNDECODABLE, _SEVERAL)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    if picture is not None:
        return picture
    unconverted = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if unconverted is not None:
        raise BadPicture(UNDECODABLE, _NO_WHITE.format(unconverted.dtype))
    raise BadPicture(UNDECODABLE, f"its {len(data)} bytes do not decode")


def _jpeg_is_cut_off(data: bytes) -> bool:
    """The picture's own end marker comes after its scan: that of a thumbnail stands in an earlier segment,
    and is stepped over."""
    place = 2
    while data[place : place + 1] == b"\xff":
        marker = data[place + 1 : place + 2]
        if marker == b"\xda":  # the scan: in it a byte ff is followed by 00 or a restart marker
            return data.find(b"\xff\xd9", place) < 0
        place += 1 if marker == b"\xff" else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return place + 1 >= len(data)  # else it is damaged, which is for the decoder to say


def _png_chunks(data: bytes) -> Iterator[bytes]:
    """The names of a PNG's whole chunks, up to the end."""
    place = len(PNG)
    while (end := place + 12 + int.from_bytes(data[place : place + 4], "big")) <= len(data):
        yield data[place + 4 : place + 8]
        place = end
