"""The square of the published data, beside a plain reading of its script."""

import numpy as np
import pytest
from hand3d_data_support import by_the_script

from tempohand.data.released_crop import EDGE, moved, released_crop


def test_labels_are_the_scripts_to_the_last_digit():
    rng = np.random.default_rng(0)
    for _ in range(500):
        width, height = (int(extent) for extent in rng.integers(60, 700, 2))
        extent = rng.uniform(5, 1.2 * min(width, height))
        points = rng.uniform(0, 1, (21, 2)) * extent + rng.uniform(-0.1, 0.9, 2) * (width, height)
        ours = moved(released_crop(points, (width, height)), points)
        assert np.abs(ours - by_the_script(points, width, height)).max() < 1e-9


def test_the_square_lies_in_the_picture_and_is_2_2_extents_wide():
    rng = np.random.default_rng(1)
    for _ in range(200):
        points = rng.uniform(0, 80, (21, 2)) + rng.uniform(0, 300, 2)
        matrix = released_crop(points, (640, 480))
        corners = np.linalg.solve(matrix, np.array([[0, 0, 1], [EDGE - 1, EDGE - 1, 1.0]]).T).T[:, :2]
        assert (corners > -1e-9).all() and (corners <= np.array([639, 479]) + 1e-9).all()
        assert abs(np.diff(corners, axis=0) - 2.2 * np.ptp(points, axis=0).max()).max() <= 0.5 + 1e-9
        inside = moved(matrix, points)
        assert (inside >= -1e-9).all() and (inside <= EDGE - 1 + 1e-9).all()


def test_one_place_is_no_hand():
    with pytest.raises(ValueError, match="no square around 21 points"):
        released_crop(np.full((21, 2), 5.0), (100, 100))
