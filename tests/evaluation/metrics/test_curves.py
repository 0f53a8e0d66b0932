"""Areas and curves against the plain reading of their definition, and against figures computed from published
curves."""

import numpy as np
import pytest
import torch

from tempohand.evaluation.metrics.curves import curve_area, pck_curve

WHOLE = torch.arange(0, 51).double()


@pytest.mark.parametrize(
    "thresholds", [torch.linspace(0, 50, 100), torch.arange(20, 51).double(), torch.tensor([0.0, 1.0, 10.0])]
)
def test_the_area_is_the_trapezoid_of_the_mean_curve(thresholds):
    rng = np.random.default_rng(0)
    distance = rng.gamma(2, 9, (40, 5))
    distance[0, 0], distance[1, 1], distance[2, 2] = 0.0, float(thresholds[1]), 1e4
    areas = curve_area(torch.from_numpy(distance), thresholds)
    t = thresholds.double().numpy()
    curves = (distance[..., None] <= t).mean(axis=0)
    expected = np.trapezoid(curves, t, axis=-1) / (t[-1] - t[0])
    np.testing.assert_allclose(areas.mean(dim=0), expected, rtol=1e-12)


def test_bounds_of_an_area():
    assert curve_area(torch.tensor([0.0, 1e-9, 50.0, 50.1, 1e6]), WHOLE).tolist() == pytest.approx(
        [1.0, 0.99, 0.01, 0.0, 0.0]
    )


def test_curves_are_of_every_column_and_then_their_mean():
    distance = torch.tensor([[1.0, 9.0, 9.0], [3.0, 2.0, 9.0], [9.0, 9.0, 9.0]])
    mask = torch.tensor([[True, True, False], [True, False, False], [True, False, False]])
    expected = [(0 / 3 + 0) / 2, (1 / 3 + 0) / 2, (2 / 3 + 0) / 2, (1 + 1) / 2]
    assert pck_curve(distance, mask, torch.tensor([0.0, 1.0, 3.0, 9.0])).tolist() == pytest.approx(expected)
    pooled = pck_curve(distance.reshape(-1, 1), mask.reshape(-1, 1), torch.tensor([3.0]))
    assert pooled.tolist() == pytest.approx([2 / 4])
