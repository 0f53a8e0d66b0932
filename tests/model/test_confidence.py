"""Certainty as a probability."""

import numpy as np
import pytest

from tempohand.model.confidence import Calibration, reliability


@pytest.fixture
def drawn():
    """Certainties, and joints that are right with a probability that rises with them, from .1 to .9."""
    rng = np.random.default_rng(0)
    certainty = rng.uniform(0.2, 0.6, 40_000)
    true = 0.1 + 0.8 * np.clip((certainty - 0.3) / 0.2, 0, 1)
    return certainty, rng.uniform(size=len(true)) < true, true


def test_it_finds_the_probability(drawn):
    certainty, right, true = drawn
    said = Calibration.fit(certainty, right)(certainty)
    assert np.abs(said - true).max() < 0.05
    curve, error = reliability(said, right)
    assert error < 0.02 and sum(count for _, _, count in curve) == len(right)


def test_more_certainty_is_never_less_confidence(drawn):
    certainty, right, _ = drawn
    rng = np.random.default_rng(1)
    few = rng.choice(len(right), 300, replace=False)
    calibration = Calibration.fit(certainty[few], right[few])
    said = calibration(np.linspace(-1, 2, 1000))
    assert (np.diff(said) >= 0).all() and said.min() >= 0 and said.max() <= 1
    assert said[0] == calibration.share[0] and said[-1] == calibration.share[-1]


def test_the_error_of_who_is_too_sure():
    right = np.arange(1000) % 2 == 0
    curve, error = reliability(np.full(1000, 0.9), right)
    assert error == pytest.approx(0.4) and curve == [(pytest.approx(0.9), 0.5, 1000)]
    assert reliability(np.full(1000, 0.5), right)[1] == pytest.approx(0.0)
    mixed = np.where(right, 0.95, 1.0)
    assert [count for _, _, count in reliability(mixed, right)[0]] == [1000]  # 1 is in the last bin


def test_it_goes_through_a_configuration(drawn):
    certainty, right, _ = drawn
    calibration = Calibration.fit(certainty, right)
    again = Calibration.of({"confidence": calibration.to_config()})
    np.testing.assert_allclose(again(certainty), calibration(certainty), atol=2e-3)
    assert Calibration.of({}) is None


def test_few_joints_are_refused():
    with pytest.raises(ValueError, match="99 joints are too few"):
        Calibration.fit(np.ones(99), np.ones(99, bool))
