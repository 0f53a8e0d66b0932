import numpy as np
import pytest

from tempohand.synthetic.postprocess import Finish, FinishConfig

OFF = {"smooth_probability": 0.0, "sharpen_probability": 0.0, "small_probability": 0.0, "small": (3.0, 3.0)}
OFF |= {"mosaic_probability": 0.0, "grey_probability": 0.0}


def finish(seed=0, **on):
    return Finish(np.random.default_rng(seed), FinishConfig(**(OFF | on)))


def picture(seed=0):
    rng = np.random.default_rng(seed)
    return (np.clip(rng.normal(120, 30, (64, 64, 3)), 0, 255)).astype(np.uint8)


def test_nothing_asked_for_is_the_picture_itself():
    np.testing.assert_array_equal(finish()(picture()), picture())


@pytest.mark.parametrize("factor", [name for name in OFF if name != "small"])
def test_nothing_moves(factor):
    """A bright spot stays where it is, for every draw."""
    v, u = np.mgrid[:64, :64]
    spot = np.exp(-((u - 30.0) ** 2 + (v - 37.0) ** 2) / 40)
    dark = np.repeat((30 + 200 * spot)[..., None], 3, axis=2).astype(np.uint8)
    for seed in range(20):
        out = finish(seed, **{factor: 1.0})(dark).astype(float)[..., 1]
        weight = np.maximum(out - 60, 0)
        centre = (u * weight).sum() / weight.sum(), (v * weight).sum() / weight.sum()
        np.testing.assert_allclose(centre, (30.0, 37.0), atol=0.3)


def test_each_does_what_its_name_says():
    noisy = picture()
    detail = np.abs(np.diff(noisy.astype(float), axis=1)).mean()
    for seed in range(10):
        smooth, sharp, small = (
            finish(seed, **{f"{name}_probability": 1.0})(noisy) for name in ("smooth", "sharpen", "small")
        )
        colour = noisy.astype(float)[..., 0] - noisy[..., 1]
        assert (smooth.astype(float)[..., 0] - smooth[..., 1]).std() < 0.8 * colour.std()
        assert np.abs(np.diff(sharp.astype(float), axis=1)).mean() > 1.05 * detail
        assert np.abs(np.diff(small.astype(float), axis=1)).mean() < 0.5 * detail
        assert smooth.shape == sharp.shape == small.shape == noisy.shape
