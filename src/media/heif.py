"""Still pictures in HEIF files (HEIC, AVIF), as phones write them: one coded picture, or a grid of tiles;
cropped, turned and mirrored.

FFmpeg's libraries show every coded picture of the file as a stream of its own, whose id is the item's. Which
of them is meant, and how they are put together, is said by the boxes of ISO/IEC 23008-12 and 14496-12, read
here.
"""

import io
import struct
from collections.abc import Iterator
from typing import NamedTuple

import av
import numpy as np
from jaxtyping import UInt8

from tempohand.media.upright import UNTURNED, Upright

STILL = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2", b"miaf", b"avif")  # major brands
SEQUENCE = (b"hevc", b"hevx", b"msf1", b"avis")
CODED = (b"hvc1", b"av01", b"avc1", b"jpeg")
DAMAGE = (ValueError, IndexError, KeyError, struct.error, av.error.FFmpegError)


def brand(head: bytes) -> bytes:
    """The major brand of an ISO base media file that begins with these bytes; empty for other files."""
    return head[8:12] if head[4:8] == b"ftyp" else b""


def decode_heif(data: bytes) -> UInt8[np.ndarray, "h w 3"]:
    """The file's primary picture, RGB. Raises one of DAMAGE when the file is damaged or of a kind that is not
    read."""
    items = _Items(data)
    kind = items.kinds[items.primary]
    if kind == b"grid":
        tiles, grid = items.references[items.primary], _Numbers(items.data_of(items.primary))
        picture = _assembled(_decoded(data, tiles), tiles, grid)
    elif kind in CODED:
        picture = _decoded(data, [items.primary])[items.primary]
    else:
        raise ValueError(f"its picture is of the kind '{kind.decode('latin1')}'")
    for name, body in items.properties(items.primary):
        picture = _transformed(picture, name, body)
    return np.ascontiguousarray(picture)


def size_and_exif(data: bytes) -> tuple[tuple[int, int], bytes]:
    """(W, H) of the primary picture as shown, and the file's EXIF block (a TIFF file; empty where there is
    none). Nothing is decoded. Raises one of DAMAGE when the file is damaged."""
    items = _Items(data)
    size = None
    for name, body in items.properties(items.primary):
        if name == b"ispe":
            size = struct.unpack(">II", body[4:12])
        elif name == b"irot" and body[0] & 1:
            size = size[::-1]
    block = [items.data_of(item) for item, kind in items.kinds.items() if kind == b"Exif"]
    if size is None:
        raise ValueError("its size is not told")
    # behind the distance to the block's own beginning
    return size, block[0][4 + int.from_bytes(block[0][:4], "big") :] if block else b""


class _Numbers:
    """Reads big-endian numbers of so many bytes, one after the other."""

    def __init__(self, data: bytes):
        self.data, self.place = data, 0

    def __call__(self, size: int) -> int:
        return int.from_bytes(self.bytes(size), "big")

    def bytes(self, size: int) -> bytes:
        part = self.data[self.place : self.place + size]
        if len(part) < size:
            raise ValueError("a box ends too early")
        self.place += size
        return part

    def full(self) -> tuple[int, int]:
        """Version and flags, with which a full box begins."""
        return self(1), self(3)


class _Extent(NamedTuple):
    in_idat: bool
    offset: int
    length: int


class _Items:
    """The items of a file's meta box: kinds, references, properties and data."""

    def __init__(self, data: bytes):
        self._file = data
        meta = dict(_boxes(dict(_boxes(data))[b"meta"][4:]))
        numbers = _Numbers(meta[b"pitm"])
        self.primary = numbers(4 if numbers.full()[0] else 2)
        self.kinds = _kinds(meta[b"iinf"])
        self.references = _references(meta.get(b"iref", bytes(4)))
        self._idat = meta.get(b"idat", b"")
        self._extents = _extents(meta[b"iloc"])
        properties = dict(_boxes(meta[b"iprp"]))
        self._all, self._of = list(_boxes(properties[b"ipco"])), _associations(properties[b"ipma"])

    def properties(self, item: int) -> list[tuple[bytes, bytes]]:
        """(name, body) of an item's properties, in the order in which they are applied."""
        return [self._all[index - 1] for index in self._of.get(item, []) if index]

    def data_of(self, item: int) -> bytes:
        """What the file holds of an item."""
        return b"".join(
            (self._idat if one.in_idat else self._file)[one.offset :][: one.length or None]
            for one in self._extents[item]
        )


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, body) of the boxes that follow each other in `data`."""
    place = 0
    while place + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        begin = place + 8
        if size == 1:
            size, begin = struct.unpack_from(">Q", data, begin)[0], place + 16
        end = place + size if size else len(data)
        if end < begin:
            raise ValueError("a box has no length")
        yield name, data[begin:end]
        place = end


def _kinds(body: bytes) -> dict[int, bytes]:
    numbers, kinds = _Numbers(body), {}
    numbers(2 if numbers.full()[0] == 0 else 4)
    for _, entry in _boxes(body[numbers.place :]):
        entry = _Numbers(entry)
        version, _ = entry.full()
        if version >= 2:
            item, _ = entry(4 if version > 2 else 2), entry(2)
            kinds[item] = entry.bytes(4)
    return kinds


def _references(body: bytes) -> dict[int, list[int]]:
    """Item -> the items that it is made of, in order."""
    size, made_of = 4 if body[0] else 2, {}
    for name, entry in _boxes(body[4:]):
        if name == b"dimg":
            numbers = _Numbers(entry)
            item = numbers(size)
            made_of[item] = [numbers(size) for _ in range(numbers(2))]
    return made_of


def _associations(body: bytes) -> dict[int, list[int]]:
    numbers = _Numbers(body)
    version, flags = numbers.full()
    wide = flags & 1
    associations = {}
    for _ in range(numbers(4)):
        item = numbers(4 if version else 2)
        associations[item] = [numbers(2) & 0x7FFF if wide else numbers(1) & 0x7F for _ in range(numbers(1))]
    return associations


def _extents(body: bytes) -> dict[int, list[_Extent]]:
    numbers, extents = _Numbers(body), {}
    version, _ = numbers.full()
    sizes, more = numbers(1), numbers(1)  # two sizes of four bits each
    offset_size, length_size = sizes >> 4, sizes & 15
    base_size, index_size = more >> 4, (more & 15) * (version > 0)
    for _ in range(numbers(4 if version == 2 else 2)):
        item = numbers(4 if version == 2 else 2)
        in_idat = version > 0 and numbers(2) & 15 == 1
        numbers(2)
        base, parts = numbers(base_size), []
        for _ in range(numbers(2)):
            numbers(index_size)
            parts.append(_Extent(in_idat, base + numbers(offset_size), numbers(length_size)))
        extents[item] = parts
    return extents


def _decoded(data: bytes, items: list[int]) -> dict[int, UInt8[np.ndarray, "h w 3"]]:
    """The coded pictures of these items, as they are stored."""
    pictures, upright = {}, Upright(None, UNTURNED)
    with av.open(io.BytesIO(data)) as container:
        streams = [stream for stream in container.streams.video if stream.id in items]
        for packet in container.demux(streams):
            for frame in packet.decode():
                assert isinstance(frame, av.VideoFrame)
                pictures.setdefault(packet.stream.id, upright(frame))
    if missing := [item for item in items if item not in pictures]:
        raise ValueError(f"{len(missing)} of its {len(items)} parts do not decode")
    return pictures


def _assembled(
    pictures: dict[int, np.ndarray], tiles: list[int], numbers: _Numbers
) -> UInt8[np.ndarray, "h w 3"]:
    """Tiles row by row, of one size; what reaches beyond the grid's own size is cut away."""
    _, flags = numbers(1), numbers(1)
    rows, columns = numbers(1) + 1, numbers(1) + 1
    width, height = (numbers(4 if flags & 1 else 2) for _ in range(2))
    if len(tiles) != rows * columns:
        raise ValueError(f"its grid of {columns} x {rows} tiles has {len(tiles)}")
    whole = np.concatenate(
        [
            np.concatenate([pictures[tile] for tile in tiles[row * columns :][:columns]], axis=1)
            for row in range(rows)
        ]
    )
    if whole.shape[0] < height or whole.shape[1] < width:
        raise ValueError("its tiles do not cover the picture")
    return whole[:height, :width]


def _transformed(picture: np.ndarray, name: bytes, body: bytes) -> np.ndarray:
    if name == b"irot":  # quarter turns, counter-clockwise
        return np.rot90(picture, body[0] & 3)
    if name == b"imir":  # 0: top and bottom are exchanged, 1: left and right
        return picture[:, ::-1] if body[0] & 1 else picture[::-1]
    if name == b"clap":  # size, and offset of the shown part's centre from the picture's, as fractions
        values = struct.unpack(">8i", body)
        width, height, right, down = (top / bottom for top, bottom in zip(values[::2], values[1::2]))
        left = round((picture.shape[1] - width) / 2 + right)
        top = round((picture.shape[0] - height) / 2 + down)
        fits = 0 < width <= picture.shape[1] - left and 0 < height <= picture.shape[0] - top
        if min(left, top) < 0 or not fits:
            raise ValueError("its clean aperture reaches beyond the picture")
        return picture[top : top + round(height), left : left + round(width)]
    return picture
