"""The published rule of hand3d's data, read plainly, for the tests of ours."""

import numpy as np

# "MANO order" of the 2019 work from OpenPose's, as it was recorded from its released labels.
OP_TO_HAND3D = (0, 5, 6, 7, 8, 9, 10, 11, 12, 17, 18, 19, 20, 13, 14, 15, 16, 1, 2, 3, 4)


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
