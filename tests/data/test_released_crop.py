"""The square of the published data, beside a plain reading of its script."""

import numpy as np
import pytest

from tempohand.data.released_crop import EDGE, moved, released_crop


def half_up(value: float) -> float:
    return float(int(value + 0.5))


def by_the_script(points: np.ndarray, width: int, height: int) -> np.ndarray:
    """The points in the 320 px crop, branch by branch as boukhayma/3dhand's crop.py has it (Python 2's
    round)."""
    (left, top), (right, bottom) = points.min(0), points.max(0)
    edge = half_up(2.2 * max(right - left, bottom - top))
    across, down = left + (right - left) / 2, top + (bottom - top) / 2
    us, ue, vs, ve = 0.0, width - 1.0, 0.0, height - 1.0
    smaller = min(width, height)

    def along(middle: float, extent: int, edge: float) -> tuple[float, float]:
        start = half_up(max(0.0, middle - edge / 2))
        end = start + edge
        if end > extent - 1:
            start, end = start - (end - (extent - 1)), float(extent - 1)
        return start, end

    if edge < smaller - 1:
        us, ue = along(across, width, edge)
        vs, ve = along(down, height, edge)
    else:
        edge = smaller - 1.0
        if width == smaller:
            vs, ve = along(down, height, edge)
        if height == smaller:
            us, ue = along(across, width, edge)
    return np.stack(
        [(points[:, 0] - us) * (319.0 / (ue - us)), (points[:, 1] - vs) * (319.0 / (ve - vs))], axis=1
    )


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
