"""Frames become rows: what a row says of pixels is where the stored picture shows it."""

import cv2
import numpy as np
import pytest

from tempohand.data.convert.frame import Camera, Frame, HandLabels
from tempohand.data.convert.rows import Storage, rows_of

SIGMA = 14.0  # px of the spots


def spotted(joints: np.ndarray, width: int, height: int) -> np.ndarray:
    """A dark picture with a soft spot at every joint."""
    v, u = np.mgrid[:height, :width]
    canvas = np.zeros((height, width))
    for x, y in joints:
        canvas += np.exp(-((u - x) ** 2 + (v - y) ** 2) / 2 / SIGMA**2)
    return np.repeat((20 + 200 * canvas).clip(0, 255).round().astype(np.uint8)[..., None], 3, axis=2)


def centre(image: np.ndarray, near: np.ndarray, reach: float) -> np.ndarray:
    """The centre of mass of the spot near a place, px."""
    x0, y0 = np.floor(near - reach).astype(int)
    x1, y1 = np.ceil(near + reach).astype(int) + 1
    weight = np.maximum(image[y0:y1, x0:x1].astype(float) - 30, 0)
    v, u = np.mgrid[y0:y1, x0:x1]
    return np.array([(weight * u).sum(), (weight * v).sum()]) / weight.sum()


@pytest.mark.parametrize("edge", [1000, 448, 300, 128])
def test_a_shrunk_crop_shows_everything_where_its_row_says(tmp_path, edge):
    """Pixel centres are at integers: shrinking by s takes u to (u + 0.5) s - 0.5, and not to u s, which is
    half a pixel off where s is small."""
    places = np.array([(x, y) for y in (330.3, 420.7, 510.2) for x in np.linspace(301.4, 900.6, 7)])
    picture = spotted(places, 1240, 870)
    camera = Camera(np.array([900.0, 905.0]), places[10])
    frame = Frame(picture, "s", "s", 0, [HandLabels(True, joints2d=places)], camera)
    (row,) = rows_of(frame, tmp_path, "test", Storage(margin=1.3, max_edge=edge, quality=98))
    image = cv2.imdecode(np.frombuffer(row["image"], np.uint8), cv2.IMREAD_GRAYSCALE)
    assert max(image.shape) <= edge and (row["width"], row["height"]) == image.shape[::-1]
    scale = row["focal"][0] / 900.0
    assert scale == pytest.approx(min(1.0, edge / 780), rel=0.02)
    found = np.array([centre(image, place, 2.5 * SIGMA * scale) for place in row["joints2d"]])
    np.testing.assert_allclose(found, row["joints2d"], atol=0.06)
    np.testing.assert_allclose(row["princpt"], row["joints2d"][10], atol=1e-6)
    np.testing.assert_allclose(row["box"], [*row["joints2d"].min(0), *row["joints2d"].max(0)], atol=1e-6)
