"""Frames become rows: what a row says of pixels is where the stored picture shows it."""

import cv2
import numpy as np
import pytest
from jaxtyping import config

from tempohand.data.convert.convert import unit_rows
from tempohand.data.convert.frame import Camera, Converter, Frame, HandLabels, Recording, Unit
from tempohand.data.convert.mano import ManoParameters
from tempohand.data.convert.rows import Rejected, Storage, rows_of

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


FINE = {
    "joints": np.ones((21, 3)),
    "joints2d": np.random.default_rng(0).uniform(9, 90, (21, 2)),
    "box": np.arange(4.0),
}
PARAMETERS = {"pose": np.zeros(48), "shape": np.zeros(10), "wrist": np.zeros(3)}


class OneWrong(Converter):
    """Three pictures, the second one with the labels `wrong`."""

    name = "wrong"
    wrong: dict

    def find_units(self):
        return [Unit("all", 3, ("train",))]

    def open(self, unit):
        def frame(number: int) -> Frame:
            labels = {"joints2d": FINE["joints2d"]} | (self.wrong if number == 1 else {})
            parameters = ManoParameters(**labels.pop("mano")) if "mano" in labels else None
            picture = np.zeros((99, 99, 3), np.uint8)
            return Frame(picture, "s", "s", number, [HandLabels(True, **labels, parameters=parameters)], None)

        return Recording(range(3), frame)


@pytest.mark.parametrize("name", [*FINE, *PARAMETERS])
def test_labels_of_a_wrong_shape_cost_their_frame_alone(tmp_path, name, monkeypatch):
    """A joint or number too many is counted as damage, by the name of what is wrong."""
    monkeypatch.setattr(config, "jaxtyping_disable", True)  # as in use: nothing else looks at shapes
    values = FINE | PARAMETERS
    wrong = {name: np.concatenate([values[name], values[name][:1]])}
    wrong = wrong if name in FINE else {"mano": PARAMETERS | wrong}
    rejected: list[Rejected] = []
    converter = OneWrong(tmp_path)
    converter.wrong = wrong
    (unit,) = converter.units()
    assert [row["frame"] for row in unit_rows(converter, unit, Storage(), rejected)] == [0, 2]
    (only,) = rejected
    assert (only.number, only.reason) == (1, "damaged annotation")
    assert only.detail.startswith(f"ValueError: {name} has shape ({len(values[name]) + 1},")
