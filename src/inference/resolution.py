"""When pictures of one sequence change their size: the same view at another resolution, or another view.

Two pictures of one shape (width to height, within SHAPE) are taken for the same view, whose pixels have
become smaller or larger: places go on in proportion. Where the shape differs nothing says where things have
gone, and what was known of places in the picture is dropped.
"""

import numpy as np
from jaxtyping import Float

SHAPE = 0.02  # relative: video scaled to whole, even or sixteenfold sizes is one shape still


def scale_between(before: tuple[int, int], after: tuple[int, int]) -> Float[np.ndarray, "2"] | None:
    """How many pixels of a picture of size `after` (W, H) one of size `before` is wide and high; None for
    another shape."""
    scale = np.array(after, np.float64) / before
    return scale if abs(scale[0] / scale[1] - 1) <= SHAPE else None


def rescale(points: Float[np.ndarray, "*n"], scale: Float[np.ndarray, "2"]) -> Float[np.ndarray, "*n"]:
    """Pixel coordinates (x, y, x, y, ...) at another resolution; whole numbers are pixel centres."""
    factor = np.tile(scale, len(points) // 2)
    return (points + 0.5) * factor - 0.5
