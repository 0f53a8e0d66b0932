"""What a picture is: the rules of media/pictures.py, on files written here."""

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from tempohand.media.pictures import (
    HEAD,
    BadPicture,
    cut_off,
    decode_picture,
    is_animation,
    is_picture,
    is_video,
)

PICTURE = cv2.resize(
    np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8), (60, 40), interpolation=cv2.INTER_CUBIC
)


def encoded(extension: str, picture: np.ndarray = PICTURE) -> bytes:
    bgr = picture[..., [2, 1, 0, *range(3, picture.shape[2])]] if picture.ndim == 3 else picture
    return cv2.imencode(extension, bgr)[1].tobytes()


def saved(form: str, *pictures: np.ndarray, **options) -> bytes:
    """By Pillow, which writes what OpenCV does not; several pictures as an animation or as pages."""
    images, file = [Image.fromarray(picture) for picture in pictures], io.BytesIO()
    more = {"save_all": True, "append_images": images[1:], "duration": 100} if len(images) > 1 else {}
    images[0].save(file, form, **more, **options)
    return file.getvalue()


@pytest.mark.parametrize("extension", [".png", ".jpg", ".webp", ".bmp", ".tiff", ".jp2", ".ppm", ".avif"])
def test_formats_are_told_by_their_beginning(extension, tmp_path):
    data = encoded(extension)
    assert is_picture(data[:HEAD]) and not is_animation(data)
    assert np.abs(decode_picture(data).astype(float) - PICTURE).mean() < 8
    (tmp_path / "named.mp4").write_bytes(data)
    assert not is_video(tmp_path / "named.mp4")


def test_what_is_no_picture_is_not_taken_for_one():
    for head in (b"", b"\0\0\0\x20ftypisom", b"\x1a\x45\xdf\xa3", b"RIFF\0\0\0\0AVI ", b"GIF89a", b"text"):
        assert not is_picture(head)


def test_grey_deep_and_transparent_pictures_are_rgb_of_8_bits():
    grey = PICTURE[..., 0]
    assert np.array_equal(decode_picture(encoded(".png", grey)), np.repeat(grey[..., None], 3, axis=2))
    deep = PICTURE.astype(np.uint16) * 256 + 255
    assert np.array_equal(decode_picture(encoded(".png", deep)), PICTURE)
    clear = np.concatenate([PICTURE, np.zeros_like(PICTURE[..., :1])], axis=2)
    assert np.array_equal(decode_picture(saved("png", clear)), PICTURE)
    few = Image.fromarray(PICTURE).quantize(16)
    file = io.BytesIO()
    few.save(file, "png")
    assert np.array_equal(decode_picture(file.getvalue()), np.asarray(few.convert("RGB")))


@pytest.mark.parametrize("form", ["jpeg", "png", "tiff", "webp"])
def test_one_channel_and_three_equal_ones_are_the_same_picture(form):
    grey = np.repeat(PICTURE[..., :1], 3, axis=2)
    options = {"lossless": True} if form == "webp" else {"quality": 95} if form == "jpeg" else {}
    shown = [decode_picture(saved(form, picture, **options)).astype(int) for picture in (grey[..., 0], grey)]
    assert np.abs(shown[0] - shown[1]).max() <= (form == "jpeg")
    assert all((picture == picture[..., :1]).all() for picture in shown)


def test_printers_colours_are_converted():
    file = io.BytesIO()
    Image.fromarray(PICTURE).convert("CMYK").save(file, "jpeg", quality=98)
    assert np.abs(decode_picture(file.getvalue()).astype(float) - PICTURE).mean() < 6


@pytest.mark.parametrize("form", ["jpeg", "png", "webp", "tiff", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_and_mirrored_as_their_exif_says(form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain = decode_picture(saved(form, PICTURE, quality=90))
    turned = {1: plain, 2: plain[:, ::-1], 3: plain[::-1, ::-1], 4: plain[::-1]}
    across = plain.transpose(1, 0, 2)
    turned |= {5: across, 6: across[:, ::-1], 7: across[::-1, ::-1], 8: across[::-1]}
    shown = decode_picture(saved(form, PICTURE, quality=90, exif=exif))
    assert np.array_equal(shown, turned[orientation])


def test_floating_point_samples_are_called_that():
    for kind in (np.float32, np.float64):
        with pytest.raises(
            BadPicture,
            match=(
                f"its samples are {np.dtype(kind)}, which do not say what is white: save it with 8 or 16 bits"
            ),
        ):
            decode_picture(encoded(".tiff", (PICTURE[..., 0] / 255).astype(kind)))


@pytest.mark.parametrize("form", ["png", "webp", "avif", "tiff", "gif"])
def test_several_pictures_in_a_file_are_not_one(form, tmp_path):
    frames = [np.roll(PICTURE, 7 * shift, axis=1) for shift in range(3)]
    data = saved(form, *frames)
    with pytest.raises(BadPicture, match="it holds several pictures"):
        decode_picture(data)
    (tmp_path / "file").write_bytes(data)
    assert is_video(tmp_path / "file") == (form in ("png", "avif", "gif"))
    if form != "gif":
        assert decode_picture(saved(form, frames[0])).shape == PICTURE.shape


def test_what_stands_behind_the_end_is_no_fault():
    """Phones append a film to a photograph."""
    for extension in (".jpg", ".png"):
        assert np.array_equal(
            decode_picture(encoded(extension) + bytes(9999)), decode_picture(encoded(extension))
        )


@pytest.mark.parametrize("progressive", [False, True])
def test_a_thumbnails_end_is_not_the_pictures(progressive):
    thumbnail = encoded(".jpg", PICTURE[:8, :8])
    data = saved("jpeg", PICTURE, progressive=progressive)
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(thumbnail)) + thumbnail + data[2:]
    assert not cut_off(data)
    for length in (3, 30, len(thumbnail) + 20, len(data) - 300, len(data) - 1):
        assert cut_off(data[:length])
