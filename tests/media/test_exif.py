"""Focal lengths out of EXIF, written by Pillow: those of a camera whose pixels are known."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from tests_support import load_file

from tempohand.media.exif import read_file

HEIF = load_file(Path(__file__).with_name("test_heif.py"))
# A phone's camera: 4032 x 3024 px of 1.9 um, a lens of 5.1 mm.
SIZE = (4032, 3024)
FOCAL = 5.1 / 0.0019
EQUIVALENT = FOCAL / math.hypot(*SIZE) * math.hypot(36, 24)
TAGS = ExifTags.Base


def picture(size=SIZE, form="JPEG", orientation=None, shrink=16, **exif) -> bytes:
    """A picture of 1 / shrink of the camera's size, whose EXIF is that of the whole."""
    head = Image.Exif()
    head[TAGS.Make] = "phone"  # Pillow takes a head without tags for none
    if orientation:
        head[TAGS.Orientation] = orientation
    told = {"ExifImageWidth": SIZE[0], "ExifImageHeight": SIZE[1]} | exif
    head.get_ifd(ExifTags.IFD.Exif).update({TAGS[name]: value for name, value in told.items()})
    small = Image.fromarray(np.zeros((size[1] // shrink, size[0] // shrink, 3), np.uint8))
    file = io.BytesIO()
    small.save(file, form, exif=head)
    return file.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("shrink", [16, 48])
def test_the_equivalent_focal_length_is_that_of_the_picture_at_any_size(form, shrink):
    told = read_file(picture(form=form, shrink=shrink, FocalLengthIn35mmFilm=round(EQUIVALENT)))
    assert told.size == (SIZE[0] // shrink, SIZE[1] // shrink)
    assert told.focal == pytest.approx(FOCAL / shrink, rel=0.02)  # it is told in whole mm


@pytest.mark.parametrize(("unit", "per_mm"), [(2, 25.4), (3, 10.0), (4, 1.0)])
def test_sensor_and_lens_do_as_well(unit, per_mm):
    density = per_mm / 0.0019
    exif = {"FocalPlaneXResolution": density, "FocalPlaneResolutionUnit": unit, "FocalLength": 5.1}
    assert read_file(picture(**exif)).focal == pytest.approx(FOCAL / 16, rel=1e-3)
    assert read_file(picture(FocalLength=5.1)).focal is None
    assert read_file(picture(**exif | {"FocalPlaneXResolution": 0})).focal is None


def test_a_turned_picture_is_told_as_it_is_shown():
    told = read_file(picture(orientation=6, FocalLengthIn35mmFilm=28))
    assert told.size == (3024 // 16, 4032 // 16)
    assert told.focal == pytest.approx(read_file(picture(FocalLengthIn35mmFilm=28)).focal)


def test_a_picture_that_was_cut_tells_none():
    assert read_file(picture(size=(3024, 3024), FocalLengthIn35mmFilm=28)).focal is None
    assert read_file(picture(size=(3024, 4032), FocalLengthIn35mmFilm=28)).focal is not None


@pytest.mark.parametrize("exif", [{}, {"FocalLengthIn35mmFilm": 0}, {"FocalLengthIn35mmFilm": 65535}])
def test_what_is_not_told_is_none(exif):
    told = read_file(picture(**exif))
    assert told.size == (252, 189) and (told.focal is None) == (exif.get("FocalLengthIn35mmFilm") != 65535)


def test_what_is_no_picture_tells_nothing():
    whole = picture(FocalLengthIn35mmFilm=28)
    for data in (b"", b"no picture", whole[:40], b"\0\0\0\x20ftypheic" + bytes(20)):
        assert read_file(data) == (None, None)
    place = whole.index(b"Exif")
    damaged = whole[: place + 8] + bytes(30) + whole[place + 38 :]
    assert read_file(damaged).focal is None


def test_a_heif_file_tells_it_as_its_camera_wrote_it():
    """A phone's HEIC: shown upright by irot, its EXIF an item of its own."""
    exif = Image.Exif()
    told = {TAGS.ExifImageWidth: 120, TAGS.ExifImageHeight: 60, TAGS.FocalLengthIn35mmFilm: 26}
    exif.get_ifd(ExifTags.IFD.Exif).update(told)
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    turn = HEIF.box(b"irot", b"\x01")
    found = read_file(HEIF.heif(HEIF.smooth(60, 120), turn, columns=2, exif=block))
    assert found.size == (60, 120) and found.focal == pytest.approx(26 / 43.2666 * math.hypot(120, 60), 1e-4)
    assert read_file(HEIF.heif(HEIF.smooth(60, 120), columns=2)) == ((120, 60), None)
