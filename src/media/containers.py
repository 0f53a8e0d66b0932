"""Whether a video file ends before its own container says: how many bytes are missing."""

import struct
from pathlib import Path
from typing import BinaryIO

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
# Boxes whose size counts: what follows a movie may be anything.
_OF_MOVIES = (b"moov", b"moof", b"mdat")


def missing_bytes(path: Path) -> int:
    """Bytes that an MP4 or QuickTime, a Matroska or WebM, or an AVI file lacks at its end; 0 for a whole
    file, and where none is announced."""
    length = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head.startswith(_EBML):
            return max(0, _end_of_segment(file) - length)
        if head.startswith(b"RIFF") and head[8:] == b"AVI ":
            return max(0, _end_of_riff(file, length) - length)
        return max(0, _end_of_boxes(file, length) - length)


def _end_of_boxes(file: BinaryIO, length: int) -> int:
    place = end = 0
    while place + 8 <= length:
        file.seek(place)
        size, name = struct.unpack(">I4s", file.read(8))
        if size == 1:
            size = int.from_bytes(file.read(8), "big")
        if size < 8 or not name.isascii():  # to the end of the file, or no box
            break
        place += size
        end = place if name in _OF_MOVIES else end
    return end


def _end_of_riff(file: BinaryIO, length: int) -> int:
    """A long AVI is several RIFF chunks; a size of 0 is that of a recording that was never finished."""
    end = 0
    while end + 8 <= length:
        file.seek(end)
        name, size = struct.unpack("<4sI", file.read(8))
        if name != b"RIFF" or size in (0, 0xFFFFFFFF):
            break
        end += 8 + size + size % 2
    return end - 1 if end == length + 1 else end  # some writers leave out the byte that makes the size even


def _end_of_segment(file: BinaryIO) -> int:
    """A live recording's segment announces no size (all its bits are set)."""
    file.seek(4)
    file.seek((_variable(file) or 0), 1)
    if file.read(4) != _SEGMENT:
        return 0
    size = _variable(file)
    return 0 if size is None else file.tell() + size


def _variable(file: BinaryIO) -> int | None:
    """An EBML number of variable length; None when it stands for "unknown"."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0xFF >> (more + 1))]) + file.read(more), "big")
    return None if value == (1 << 7 * (more + 1)) - 1 else value
