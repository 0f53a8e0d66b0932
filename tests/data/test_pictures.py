import cv2
import numpy as np
import pytest

from tempohand.data.pictures import CUT_OFF, OTHER_SIZE, UNDECODABLE, BadPicture, decode

PICTURE = np.random.default_rng(0).integers((180, 80, 0), (240, 140, 60), (48, 64, 3), np.uint8)  # reddish


def encoded(extension):
    return cv2.imencode(extension, PICTURE[..., ::-1])[1].tobytes()


@pytest.mark.parametrize("extension", [".png", ".jpg", ".webp", ".bmp"])
def test_whole_pictures_decode_to_rgb(extension):
    picture = decode(encoded(extension), 64, 48)
    assert picture.shape == (48, 64, 3)
    if extension in (".png", ".bmp"):
        np.testing.assert_array_equal(picture, PICTURE)
    else:
        assert np.corrcoef(picture.ravel(), PICTURE.ravel())[0, 1] > 0.7


@pytest.mark.parametrize("extension", [".png", ".jpg", ".webp"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.99])
def test_cut_off_pictures_are_refused_and_called_that(extension, share):
    data = encoded(extension)
    with pytest.raises(BadPicture) as caught:
        decode(data[: int(share * len(data))], 64, 48)
    assert caught.value.reason == CUT_OFF


def test_padding_behind_the_end_is_no_fault():
    assert decode(encoded(".jpg") + bytes(500), 64, 48).shape == (48, 64, 3)


@pytest.mark.parametrize(
    "data, size, reason, words",
    [
        (b"", (64, 48), UNDECODABLE, "its 0 bytes do not decode"),
        (None, (64, 48), UNDECODABLE, "its 0 bytes"),
        (b"words", (64, 48), UNDECODABLE, "its 5 bytes"),
        (
            encoded(".png"),
            (48, 64),
            OTHER_SIZE,
            "it is 64 x 48 px, its row says 48 x 64: width and height are swapped",
        ),
        (encoded(".png"), (64, 50), OTHER_SIZE, "it is 64 x 48 px, its row says 64 x 50"),
    ],
)
def test_the_reason_is_given(data, size, reason, words):
    with pytest.raises(BadPicture, match=words) as caught:
        decode(data, *size)
    assert caught.value.reason == reason


def test_a_damaged_png_is_undecodable():
    data = bytearray(encoded(".png"))
    data[len(data) // 2] ^= 4  # its chunks have checksums
    with pytest.raises(BadPicture) as caught:
        decode(bytes(data), 64, 48)
    assert caught.value.reason == UNDECODABLE
