"""The square around a hand that the published data of Boukhayma et al. (CVPR 2019, boukhayma/3dhand's
crop.py) are cut to: 2.2 times the extent of its known 2D joints, moved into the picture, EDGE pixels wide."""

import numpy as np
from jaxtyping import Float

EDGE = 320  # px
EXTENTS = 2.2  # edge of the square in extents of the hand


def released_crop(
    points: Float[np.ndarray, "n 2"], size: tuple[int, int], edge: int = EDGE
) -> Float[np.ndarray, "3 3"]:
    """The homography from a picture's pixels to the square's, which has `edge` of them a side; it serves the
    picture and its labels alike. points: the known 2D joints; size: (W, H) of the picture.

    The square spans a whole number of pixels, from the centre of its first one to that of its last one, and
    is no larger than the picture. Where it would reach beyond the picture it is moved, not cut. Raises
    ValueError for points without an extent, and for a picture of a single row or column.
    """
    low, high = points.min(0), points.max(0)
    span = min(float(_rounded(EXTENTS * (high - low).max())), min(size) - 1)
    if span < 1:
        raise ValueError(f"no square around {len(points)} points of one place in a picture of {size}")
    most = np.array(size) - 1 - span
    start = np.minimum(_rounded(np.maximum((low + high) / 2 - span / 2, 0)), most)
    scale = (edge - 1) / span
    return np.array([[scale, 0, -scale * start[0]], [0, scale, -scale * start[1]], [0, 0, 1.0]])


def moved(
    homography: Float[np.ndarray, "3 3"], points: Float[np.ndarray, "*n 2"]
) -> Float[np.ndarray, "*n 2"]:
    """Pixels in the square (a scale and a shift)."""
    return points * homography[[0, 1], [0, 1]] + homography[:2, 2]


def _rounded(values):
    """To whole numbers, halves up, as Python 2's `round` does it with positive ones."""
    return np.floor(np.asarray(values) + 0.5)
