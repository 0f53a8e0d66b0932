"""What is shown of a decoded frame: known content, and the ffmpeg command where it is installed."""

import gc
import io
import shutil
import subprocess
from fractions import Fraction
from itertools import product

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image

from tempohand.media.upright import UNTURNED, Upright, filters, orientation, right_angled
from tempohand.media.video import Video

TURNS = [matrix for a, b in product((1, -1), repeat=2) for matrix in ((a, 0, 0, b), (0, a, b, 0))]
ASPECTS = [Fraction(1), Fraction(2), Fraction(8, 9), Fraction(1, 2)]
# Kr, Kb of Y = Kr R + (1 - Kr - Kb) G + Kb B, ITU-R BT.601, BT.709 and BT.2020
LUMA = {"smpte170m": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("matrix", TURNS)
def test_every_pixel_goes_where_the_display_matrix_sends_it(matrix):
    a, b, c, d = matrix
    stored = noise(6, 9)
    shown = Upright(None, matrix)(av.VideoFrame.from_ndarray(stored, format="rgb24"))
    y, x = np.mgrid[:6, :9]
    to_x, to_y = a * x + c * y, b * x + d * y
    assert shown.shape == ((9, 6, 3) if b else (6, 9, 3))
    assert np.array_equal(shown[to_y - to_y.min(), to_x - to_x.min()], stored)


@pytest.mark.parametrize("matrix", TURNS)
def test_a_display_matrix_may_have_any_scale_and_lean_by_a_rounding_error(matrix):
    assert right_angled(65536 * np.array(matrix) + [3, -9, 5, 0]) == matrix
    assert right_angled(np.array(matrix)) == matrix


def test_other_display_matrices():
    assert right_angled(np.zeros(4, int)) == UNTURNED and right_angled(np.array([1, 0, 0, 0])) == UNTURNED
    for degrees in (5, 30, 45, 100):
        cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        with pytest.raises(ValueError, match="no multiple of 90 degrees"):
            right_angled((65536 * np.array([cosine, sine, -sine, cosine])).astype(int))


@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize("turned", [False, True])
def test_pixels_become_square(aspect, turned):
    """A disc as it was filmed is round again, whatever the pixels' aspect, and colours stay in their
    places."""
    y, x = np.mgrid[:90, :120]
    disc = 255 * (((x - 60) * float(aspect)) ** 2 + (y - 45) ** 2 < 25**2)
    frame = av.VideoFrame.from_ndarray(np.repeat(disc[..., None], 3, axis=2).astype(np.uint8), format="rgb24")
    shown = Upright(aspect, (0, 1, -1, 0) if turned else UNTURNED)(frame)[..., 0] > 127
    high, wide = (np.ptp(np.flatnonzero(shown.any(axis=axis))) for axis in (1, 0))
    assert abs(high - wide) <= 2
    assert shown.shape == ((120, int(90 / aspect)) if turned else (90, int(120 * aspect)))


@pytest.mark.parametrize(
    ("exif", "matrix"), [(1, UNTURNED), (3, (-1, 0, 0, -1)), (6, (0, 1, -1, 0)), (8, (0, -1, 1, 0))]
)
def test_an_angle_is_known_where_side_data_has_no_name(exif, matrix):
    """PyAV 18 has no name for the EXIF of a JPEG, and then refuses to list a frame's side data at all."""
    assert orientation(turned_frame(exif)) == matrix


def turned_frame(exif: int) -> av.VideoFrame:
    """A picture that its EXIF turns."""
    file, tag = io.BytesIO(), Image.Exif()
    tag[0x0112] = exif
    Image.fromarray(noise(16, 32)).save(file, "jpeg", exif=tag)
    file.seek(0)
    with av.open(file) as container:
        return next(container.decode(video=0))


def test_a_film_may_be_turned_midway():
    upright = Upright(None)
    for exif in (1, 6, 6, 3, 8, 1):
        assert np.array_equal(upright(turned_frame(exif)), Upright(None)(turned_frame(exif)))


def test_an_aspect_that_no_camera_has_is_refused():
    for aspect in (Fraction(17), Fraction(1, 200)):
        with pytest.raises(ValueError, match="pixel aspect ratio"):
            Upright(aspect)
    assert Upright(Fraction(0)).aspect == Upright(None).aspect == 1


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("space", LUMA)
@pytest.mark.parametrize("bits", [8, 10])
def test_colours_follow_the_frames_matrix_range_and_depth(space, full, bits):
    kr, kb = LUMA[space]
    red, green, blue = 200, 90, 40
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    chroma = (blue - luma) / 2 / (1 - kb), (red - luma) / 2 / (1 - kr)
    scale, offset, chroma_scale = (1, 0, 1) if full else (219 / 255, 16, 224 / 255)
    depth = 2 ** (bits - 8)
    values = [
        round((offset + scale * luma) * depth),
        *(round((128 + chroma_scale * value) * depth) for value in chroma),
    ]
    planes = np.stack([np.full((16, 16), value) for value in values]).astype(
        np.uint8 if bits == 8 else np.uint16
    )
    frame = av.VideoFrame(16, 16, "yuv444p" if bits == 8 else "yuv444p10le")
    for plane, content in zip(frame.planes, planes):
        rows = np.zeros((16, plane.line_size // content.itemsize), content.dtype)
        rows[:, :16] = content
        plane.update(rows.tobytes())
    frame.colorspace = {"smpte170m": 6, "bt709": 1, "bt2020": 9}[space]
    frame.color_range = ColorRange.JPEG if full else ColorRange.MPEG
    np.testing.assert_allclose(Upright(None)(frame)[8, 8].astype(int), (red, green, blue), atol=3)


def test_frames_may_change_midway():
    upright = Upright(None)
    for picture in (noise(6, 9), noise(20, 10), noise(6, 9)):
        assert np.array_equal(upright(av.VideoFrame.from_ndarray(picture, format="rgb24")), picture)
    grey = noise(8, 8)[..., 0]
    assert np.array_equal(
        upright(av.VideoFrame.from_ndarray(grey, format="gray")), np.repeat(grey[..., None], 3, axis=2)
    )


@pytest.fixture(scope="module")
def by_ffmpeg():
    """by_ffmpeg(path) -> the frames as the ffmpeg command shows them, as raw bytes."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("the ffmpeg command is not installed")

    def shown(path) -> bytes:
        command = [
            "ffmpeg",
            "-v",
            "error",
            "-i",
            path,
            "-vf",
            "scale=iw*sar:ih",
            "-f",
            "rawvideo",
            "-pix_fmt",
            "rgb24",
            "-",
        ]
        return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout

    return shown


def turn(path, matrix) -> None:
    """Writes a display matrix into an MP4 file."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40  # a version 0 header's matrix
    for offset, value in zip((0, 4, 12, 16), matrix):
        data[place + offset : place + offset + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(data)


def test_frames_of_a_turned_video_do_not_stay(tmp_path, video_tools):
    """Each carries its display matrix, and PyAV's list of such data and its frame hold each other: an hour
    of a turned film would wait in memory for Python to look for circles."""
    moving_pictures, write_video = video_tools
    path = write_video(tmp_path / "clip.mp4", moving_pictures(40), codec="libx264", pix_fmt="yuv420p")
    turn(path, (0, 1, -1, 0))
    gc.collect()
    gc.disable()
    try:
        number = sum(1 for _ in Video(path).pictures())
        left = sum(type(each) is av.VideoFrame for each in gc.get_objects())
    finally:
        gc.enable()
    assert number == 40 and left <= 3  # the first of those that were read


@pytest.mark.parametrize("aspect", [Fraction(1), Fraction(2), Fraction(8, 9)])
def test_turned_and_stretched_videos_are_ffmpegs_own(tmp_path, video_tools, by_ffmpeg, aspect):
    moving_pictures, write_video = video_tools
    path = write_video(
        tmp_path / "clip.mp4", moving_pictures(2), codec="libx264", pix_fmt="yuv420p", aspect=aspect
    )
    for matrix in TURNS:
        turn(path, matrix)
        assert b"".join(picture.tobytes() for _, picture in Video(path).pictures()) == by_ffmpeg(path)


@pytest.mark.parametrize(
    "pixels", ["yuv420p", "yuv422p", "yuv420p10le", "yuv444p16le", "gray", "gray16le", "bgr0", "yuva420p"]
)
def test_formats_of_pixels_are_ffmpegs_own(tmp_path, video_tools, by_ffmpeg, pixels):
    moving_pictures, write_video = video_tools
    path = write_video(tmp_path / "clip.mkv", moving_pictures(2), codec="ffv1", pix_fmt=pixels)
    assert b"".join(picture.tobytes() for _, picture in Video(path).pictures()) == by_ffmpeg(path)


def test_nothing_is_done_where_nothing_is_needed():
    assert filters(UNTURNED, Fraction(1)) == []
    assert Colorspace.ITU709 == 1  # what frame.colorspace is in the tests above
