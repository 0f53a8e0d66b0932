import cv2
import numpy as np
import pytest

from tempohand.synthetic.texture import (
    background,
    colour,
    grain,
    list_photos,
    noise,
    noise_fields,
    pattern,
    photo_background,
)


def test_noise_has_zero_mean_unit_variance_and_growing_smoothness():
    fields = noise_fields()
    np.testing.assert_allclose(fields.mean((1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(fields.std((1, 2)), 1, atol=1e-4)
    roughness = np.abs(np.diff(fields, axis=2)).mean((1, 2))
    assert (np.diff(roughness) < 0).all()
    np.testing.assert_allclose(
        np.abs(fields[:, :, 0] - fields[:, :, -1]).mean(1), roughness, rtol=0.3
    )  # periodic
    assert abs(grain().std() - 1) < 0.01 and noise(np.random.default_rng(0), 37, 2, 3.0).shape == (37, 37)


def test_backgrounds_and_patterns_are_pictures_with_structure():
    stds = []
    for seed in range(20):
        picture = background(np.random.default_rng(seed), 64, 14, (0.0, 0.03))
        np.testing.assert_array_equal(picture, background(np.random.default_rng(seed), 64, 14, (0.0, 0.03)))
        assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8
        stds.append(picture.std((0, 1)).mean())
        assert np.isfinite(pattern(np.random.default_rng(seed), 40)).all()
    assert np.median(stds) > 15
    colours = np.stack([colour(np.random.default_rng(seed)) for seed in range(300)])
    assert colours.min() >= 0 and colours.max() <= 255 and colours.std(0).min() > 30


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
