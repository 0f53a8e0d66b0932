"""HEIF files written here box by box, of AV1 tiles: what is shown is the whole grid, cropped, turned and
mirrored as the file says."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from tempohand.media.pictures import BadPicture, decode_picture, is_picture

TILE = 64  # px
NEAR = 6.0  # mean absolute difference of 8-bit values that coding makes


def smooth(height: int, width: int) -> np.ndarray:
    """A picture whose corners all differ."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    return np.stack([255 * x, 255 * y, 200 - 150 * x * y], axis=-1).astype(np.uint8)


def coded(picture: np.ndarray) -> bytes:
    """One AV1 key frame."""
    encoder = av.CodecContext.create(
        "libaom-av1" if "libaom-av1" in av.codecs_available else "libsvtav1", "w"
    )
    encoder.height, encoder.width = picture.shape[:2]
    encoder.pix_fmt, encoder.time_base, encoder.options = "yuv420p", Fraction(1, 30), {"crf": "10"}
    packets = [*encoder.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")), *encoder.encode(None)]
    return b"".join(map(bytes, packets))


def box(name: bytes, *parts: bytes, version: int | None = None) -> bytes:
    body = (b"" if version is None else struct.pack(">I", version << 24)) + b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), name) + body


def heif(
    picture: np.ndarray,
    *transforms: bytes,
    rows: int = 1,
    columns: int = 1,
    primary: bytes = b"grid",
    exif: bytes = b"",
) -> bytes:
    """A file whose primary item, number 1, is a grid of tiles of TILE px with `transforms`; rows and columns
    of tiles cover the picture. exif: a TIFF file, kept behind the grid."""
    height, width = picture.shape[:2]
    padded = np.pad(picture, ((0, rows * TILE - height), (0, columns * TILE - width), (0, 0)), mode="edge")
    tiles = [
        coded(padded[y * TILE :][:TILE, x * TILE :][:, :TILE]) for y in range(rows) for x in range(columns)
    ]
    numbers = range(2, 2 + len(tiles))
    grid = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)
    kinds = [(1, primary), *((number, b"av01") for number in numbers)]
    entries = [
        box(b"infe", struct.pack(">HH4s", number, 0, kind), b"\0", version=2) for number, kind in kinds
    ]
    block = struct.pack(">I", 6) + b"Exif\0\0" + exif if exif else b""
    if exif:
        entries.append(box(b"infe", struct.pack(">HH4s", 99, 0, b"Exif"), b"\0", version=2))
    shared = [box(b"av1C", b"\x81\x00\x0c\x00"), box(b"ispe", struct.pack(">II", TILE, TILE), version=0)]
    shown = [box(b"ispe", struct.pack(">II", width, height), version=0), *transforms]
    own = struct.pack(">HB", 1, len(shown)) + bytes(range(3, 3 + len(shown)))
    theirs = b"".join(struct.pack(">HBBB", number, 2, 0x81, 2) for number in numbers)

    def meta(offset: int) -> bytes:
        places = [struct.pack(">HHHHII", 1, 1, 0, 1, 0, len(grid))]
        for number, tile in zip(numbers, tiles):
            places.append(struct.pack(">HHHHII", number, 0, 0, 1, offset, len(tile)))
            offset += len(tile)
        if exif:
            places.append(struct.pack(">HHHHII", 99, 1, 0, 1, len(grid), len(block)))
        return box(
            b"meta",
            box(b"hdlr", struct.pack(">I4s13x", 0, b"pict"), version=0),
            box(b"pitm", struct.pack(">H", 1), version=0),
            box(b"iinf", struct.pack(">H", len(entries)), *entries, version=0),
            box(b"iref", box(b"dimg", struct.pack(f">HH{len(tiles)}H", 1, len(tiles), *numbers)), version=0),
            box(
                b"iprp",
                box(b"ipco", *shared, *shown),
                box(b"ipma", struct.pack(">I", len(kinds)), own, theirs, version=0),
            ),
            box(b"iloc", b"\x44\x00", struct.pack(">H", len(places)), *places, version=1),
            box(b"idat", grid, block),
            version=0,
        )

    begin = box(b"ftyp", b"avif", bytes(4), b"avifmif1miaf")
    return begin + meta(len(begin) + len(meta(0)) + 8) + box(b"mdat", *tiles)


def difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(float) - second).mean())


def test_a_grid_of_tiles_is_one_picture():
    picture = smooth(100, 160)
    data = heif(picture, rows=2, columns=3)
    shown = decode_picture(data)
    assert is_picture(data) and shown.shape == picture.shape and difference(shown, picture) < NEAR


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirror", [None, 0, 1])
def test_a_grid_is_turned_and_mirrored_in_the_order_of_its_properties(grids, turns, mirror):
    stored, patched = grids
    expected = np.rot90(stored, turns)
    if mirror is not None:
        expected = expected[::-1] if mirror == 0 else expected[:, ::-1]
    assert np.array_equal(decode_picture(patched(turns, mirror)), expected)


@pytest.fixture(scope="module")
def grids():
    """The stored picture, and the file with other transforms: coded once."""
    marks = box(b"irot", b"\x00"), box(b"imir", b"\x00")
    data = heif(smooth(60, 100), *marks, columns=2)

    def patched(turns: int, mirror: int | None) -> bytes:
        mirrored = box(b"free", b"\x00") if mirror is None else box(b"imir", bytes([mirror]))
        return data.replace(marks[0], box(b"irot", bytes([turns]))).replace(marks[1], mirrored)

    return decode_picture(patched(0, None)), patched


def test_a_clean_aperture_is_cut_out():
    picture = smooth(60, 100)
    # 40 x 20 px, its centre 10 px right of and 5 px above the picture's
    aperture = box(b"clap", struct.pack(">8i", 40, 1, 20, 1, 10, 1, -5, 1))
    shown = decode_picture(heif(picture, aperture, columns=2))
    assert shown.shape == (20, 40, 3) and difference(shown, picture[15:35, 40:80]) < NEAR


def test_what_is_damaged_or_unknown_is_refused():
    data = heif(smooth(60, 100), columns=2)
    for broken in (
        data[:-400],
        data[:200],
        data.replace(b"pitm", b"free"),
        data.replace(b"grid\0", b"iovl\0"),
        data[:40] + bytes(600),
    ):
        with pytest.raises(BadPicture, match="do not decode"):
            decode_picture(broken)
    with pytest.raises(BadPicture, match=r"its tiles do not cover the picture"):
        decode_picture(
            data.replace(
                struct.pack(">BBBBHH", 0, 0, 0, 1, 100, 60), struct.pack(">BBBBHH", 0, 0, 0, 1, 100, 65)
            )
        )
