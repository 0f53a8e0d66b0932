"""The fisheye model: against a plain transcription of its formula, its limits, and pinhole pictures against
points."""

import math

import numpy as np
import pytest

from tempohand.data.convert.fisheye import Fisheye624, pinhole_picture, pinhole_places
from tempohand.data.convert.frame import Camera, Unusable

PARAMETERS = [
    300.0,
    351.5,
    347.2,
    0.04,
    -0.02,
    0.005,
    -0.002,
    3e-4,
    -2e-5,
    1e-3,
    -2e-3,
    2e-3,
    -5e-4,
    -1.5e-3,
    3e-4,
]


def project(parameters, point):
    """One point, term by term."""
    (f, cx, cy), k, (p0, p1), s = parameters[:3], parameters[3:9], parameters[9:11], parameters[11:]
    x, y, z = point
    angle = math.atan2(math.hypot(x, y), z)
    bent = angle + sum(coefficient * angle ** (2 * power + 3) for power, coefficient in enumerate(k))
    direction = math.atan2(y, x)
    u, v = bent * math.cos(direction), bent * math.sin(direction)
    r = u**2 + v**2
    du = p0 * (2 * u**2 + r) + 2 * p1 * u * v + s[0] * r + s[1] * r**2
    dv = p1 * (2 * v**2 + r) + 2 * p0 * u * v + s[2] * r + s[3] * r**2
    return f * (u + du) + cx, f * (v + dv) + cy


def test_points_land_where_the_formula_says():
    points = np.random.default_rng(0).normal(0, 1, (50, 3)) + (0, 0, 1.5)
    pixels = Fisheye624.of_parameters(PARAMETERS).project(points)
    seen = np.isfinite(pixels[:, 0])
    assert seen.sum() > 40
    np.testing.assert_allclose(
        pixels[seen], [project(PARAMETERS, point) for point in points[seen]], atol=1e-9
    )
    np.testing.assert_allclose(
        Fisheye624.of_parameters(PARAMETERS).project(np.array([[0.0, 0.0, 2.0]])), [PARAMETERS[1:3]]
    )


def test_two_focal_lengths_scale_each_axis():
    point = np.array([[0.3, -0.4, 1.0]])
    one = Fisheye624.of_parameters(PARAMETERS).project(point) - PARAMETERS[1:3]
    two = Fisheye624.of_parameters([300.0, 150.0, *PARAMETERS[1:]]).project(point) - PARAMETERS[1:3]
    np.testing.assert_allclose(two, one * (1, 0.5))


def test_beyond_the_angle_where_the_model_folds_nothing_is_seen():
    folding = [300.0, 350.0, 350.0, -0.3, *[0.0] * 11]  # angle - 0.3 angle^3 grows until 1 / sqrt(0.9)
    fisheye = Fisheye624.of_parameters(folding)
    assert fisheye.limit == pytest.approx(1 / math.sqrt(0.9), abs=0.01)
    angles = np.array([0.9, 1.03, 1.08, 1.5])
    pixels = fisheye.project(np.stack([np.sin(angles), 0 * angles, np.cos(angles)], axis=-1))
    assert np.isfinite(pixels).all(1).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    "parameters", [PARAMETERS[:14], [-1.0, *PARAMETERS[1:]], [math.nan, *PARAMETERS[1:]]]
)
def test_parameters_of_another_model_are_no_camera(parameters):
    with pytest.raises(Unusable, match="no camera"):
        Fisheye624.of_parameters(parameters)


def test_a_pinhole_picture_shows_each_direction_where_it_is():
    """The picture's own coordinates as colours: what a pinhole pixel shows says which fisheye pixel it
    was."""
    fisheye = Fisheye624.of_parameters(PARAMETERS)
    ramp = np.linspace(0, 255, 700)
    picture = (
        np.stack([*np.broadcast_arrays(ramp[None], ramp[:, None]), np.full((700, 700), 128.0)], axis=-1)
        .round()
        .astype(np.uint8)
    )
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    camera = Camera(np.array([200.0, 210.0]), np.array([60.0, 40.0]))
    view = pinhole_picture(picture, fisheye, camera, turn, 101)
    for u, v in ((0, 0), (60, 40), (100, 20), (33, 90)):
        ray = turn.T @ ((u - 60) / 200, (v - 40) / 210, 1)
        np.testing.assert_allclose(view[v, u, :2], np.array(project(PARAMETERS, ray)) * 255 / 699, atol=1)


def test_beyond_the_fisheyes_picture_and_its_limit_the_edge_is_repeated():
    """A wide pinhole camera beside a small fisheye picture that is bright all over: nothing of what it shows
    is black."""
    folding = [80.0, 49.5, 49.5, -0.3, *[0.0] * 11]
    fisheye, picture = Fisheye624.of_parameters(folding), np.full((100, 100, 3), 90, np.uint8)
    picture[:, -1] = 200
    camera = Camera(np.array([40.0, 40.0]), np.array([60.0, 60.0]))
    slopes = (np.arange(121) - 60) / 40
    rays = np.stack([*np.meshgrid(slopes, slopes), np.ones((121, 121))], axis=-1)
    assert np.isnan(fisheye.project(rays)).any(), "some directions lie beyond the limit"
    view = pinhole_picture(picture, fisheye, camera, np.eye(3), 121)
    assert view.min() == 90 and (view[60, 110:] == 200).all() and (view[60, :10] == 90).all()
    behind = pinhole_picture(picture, fisheye, camera, np.diag([-1.0, 1.0, -1.0]), 121)
    assert behind.min() >= 90


@pytest.mark.parametrize("edge", [90, 91, 92, 93])
def test_places_between_the_computed_ones_are_right_to_a_hundredth_of_a_pixel(edge):
    """A hand near the camera and far from its axis: the shortest focal length, the strongest bend."""
    fisheye = Fisheye624.of_parameters(PARAMETERS)
    camera, turn = Camera(np.array([180.0, 180.0]), np.array([-200.0, 45.0])), np.eye(3)
    places = pinhole_places(fisheye, camera, turn, edge)
    assert places.shape == (edge, edge, 2)
    np.testing.assert_allclose(places, pinhole_places(fisheye, camera, turn, edge, step=1), atol=0.02)
    np.testing.assert_allclose(
        places[33, edge - 1], project(PARAMETERS, ((edge + 199) / 180, (33 - 45) / 180, 1)), atol=0.02
    )
