import numpy as np

from tempohand.synthetic.texture import colour, grain, noise, noise_fields, pattern


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


def test_patterns_are_pictures_and_colours_spread():
    for seed in range(20):
        assert np.isfinite(pattern(np.random.default_rng(seed), 40)).all()
    colours = np.stack([colour(np.random.default_rng(seed)) for seed in range(300)])
    assert colours.min() >= 0 and colours.max() <= 255 and colours.std(0).min() > 30
