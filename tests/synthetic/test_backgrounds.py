import cv2
import numpy as np
import pytest

from tempohand.synthetic.backgrounds import background, list_photos, photo_background


def test_backgrounds_are_pictures_with_structure():
    stds = []
    for seed in range(20):
        picture = background(np.random.default_rng(seed), 64, 14, (0.0, 0.03))
        np.testing.assert_array_equal(picture, background(np.random.default_rng(seed), 64, 14, (0.0, 0.03)))
        assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8
        stds.append(picture.std((0, 1)).mean())
    assert np.median(stds) > 15


def test_photos(tmp_path):
    with pytest.raises(ValueError, match="there is no such folder"):
        list_photos(tmp_path / "absent")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match="none of its 1 files named as pictures .* can be read"):
        list_photos(tmp_path)
    (tmp_path / "deep").mkdir()
    photo = np.zeros((50, 80, 3), np.uint8)
    photo[..., 0] = 200  # red
    cv2.imwrite(str(tmp_path / "deep" / "red.png"), photo[..., ::-1])
    photos = list_photos(str(tmp_path))
    assert [path.name for path in photos] == ["red.png"]
    square = photo_background(np.random.default_rng(0), photos, 40)
    assert square.shape == (40, 40, 3) and (square == [200, 0, 0]).all()
    (tmp_path / "deep" / "red.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    with pytest.raises(ValueError, match="red.png' does not decode"):
        photo_background(np.random.default_rng(0), photos, 40)
