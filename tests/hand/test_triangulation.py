"""Triangulation: points that OpenCV projects, through its own lenses, come back, whatever a few views say."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from tempohand.hand.triangulation import PlacedCamera, triangulate

SIZE = np.array([1280, 720])
LENSES = {
    "pinhole": ([], False),
    "opencv": ([-0.3, 0.1, 0.002, -0.001, 0.05], False),
    "rational": ([0.1, -0.05, 0.001, 0.002, 0.01, 0.12, -0.02, 0.005], False),
    "fisheye": ([0.05, -0.01, 0.004, -0.001], True),
}


def rig(count: int, lens: str = "opencv", spread: float = 0.5, seed: int = 0) -> list[PlacedCamera]:
    """Cameras around a place half a metre before them, `spread` radians from one to the next."""
    rng = np.random.default_rng(seed)
    coefficients, fisheye = LENSES[lens]
    cameras = []
    for number in range(count):
        turn = cv2.Rodrigues(np.array([rng.normal(0, 0.1), spread * number, rng.normal(0, 0.1)]))[0]
        focal = 900 + 60 * number
        matrix = np.array([[focal, 0, 645.3], [0, focal * 1.01, 352.1], [0, 0, 1]])
        place = np.array([rng.normal(0, 20), rng.normal(0, 20), 500 + 30 * number])
        cameras.append(PlacedCamera(matrix, np.array(coefficients, float), turn, place, fisheye))
    return cameras


def seen_by_opencv(cameras, points) -> np.ndarray:
    """Pixels [v, n, 2], by OpenCV's projection."""
    found = []
    for camera in cameras:
        turn = cv2.Rodrigues(camera.rotation)[0]
        lens = camera.distortion if len(camera.distortion) else np.zeros(4)
        project = cv2.fisheye.projectPoints if camera.fisheye else cv2.projectPoints
        pixels, _ = project(points[:, None], turn, camera.translation, camera.matrix, lens)
        found.append(pixels.reshape(-1, 2))
    return np.stack(found)


@pytest.fixture
def points():
    return np.random.default_rng(3).normal(0, 60, (60, 3))


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("count", [2, 4])
def test_exact_views_give_the_points_back(points, lens, count):
    cameras = rig(count, lens)
    pixels = seen_by_opencv(cameras, points)
    found = triangulate(cameras, pixels)
    np.testing.assert_allclose(found.points, points, atol=1e-3)
    assert found.used.all() and np.nanmax(found.error) < 1e-3
    for camera, expected in zip(cameras, pixels):
        np.testing.assert_allclose(camera.project(points), expected, atol=1e-6)


def test_views_that_err_do_not_count(points):
    cameras = rig(4)
    pixels = seen_by_opencv(cameras, points)
    rng = np.random.default_rng(1)
    wrong = rng.integers(4, size=len(points))  # one view of each point shows another
    off = rng.choice([-1, 1], (60, 2)) * rng.uniform(40, 300, (60, 2))
    pixels[wrong, np.arange(60)] += off
    found = triangulate(cameras, pixels)
    np.testing.assert_allclose(found.points, points, atol=1e-3)
    assert (found.used == (np.arange(4)[:, None] != wrong)).all()
    assert (found.error[wrong, np.arange(60)] > 40).all()


def test_noise_is_spread_to_the_least_reprojection_error(points):
    """No point nearby is seen nearer, and more views are more exact."""
    errors = []
    for count in (2, 3, 6):
        cameras = rig(count, "pinhole", spread=0.4)
        pixels = seen_by_opencv(cameras, points) + np.random.default_rng(2).normal(0, 1, (count, 60, 2))
        found = triangulate(cameras, pixels)
        best = np.square(np.linalg.norm(seen_by_opencv(cameras, found.points) - pixels, axis=2)).sum(0)
        for step in 0.3 * np.random.default_rng(4).normal(size=(20, 3)):
            moved = seen_by_opencv(cameras, found.points + step)
            assert (np.square(np.linalg.norm(moved - pixels, axis=2)).sum(0) > best - 0.02).all()
        errors.append(np.linalg.norm(found.points - points, axis=1).mean())
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.6


def test_what_is_not_seen_twice_is_not_known(points):
    cameras = rig(3)
    pixels = seen_by_opencv(cameras, points)
    pixels[0, :20] = np.nan
    pixels[1:, 10:30] = np.nan
    found = triangulate(cameras, pixels)
    known = np.isfinite(found.points).all(1)
    assert (known == np.r_[[True] * 10, [False] * 20, [True] * 30]).all()
    np.testing.assert_allclose(found.points[known], points[known], atol=1e-3)
    assert not found.used[:, ~known].any() and np.isnan(found.error[:, ~known]).all()


def test_points_behind_a_camera_and_parallel_rays_are_refused(points):
    (camera,) = rig(1)
    close = [camera, replace(camera, translation=camera.translation + [2.0, 0, 0])]  # 2 mm apart
    assert np.isnan(triangulate(close, seen_by_opencv(close, points)).points).all()
    cameras = rig(2)
    crossed = np.stack([np.full((1, 2), 100.0), np.full((1, 2), 1200.0)])  # their rays meet behind
    assert np.isnan(triangulate(cameras, crossed).points).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"matrix": np.diag([-1.0, 1, 1])}, "is no camera's"),
        ({"distortion": np.zeros(3)}, "3 coefficients of lens distortion, OpenCV has 0 or 4"),
        ({"distortion": np.zeros(5), "fisheye": True}, "5 coefficients of lens distortion, OpenCV has 4"),
        ({"rotation": np.eye(3) * 2}, "is no rotation"),
        ({"rotation": np.diag([1.0, 1, -1])}, "is no rotation"),
        ({"translation": np.full(3, np.nan)}, "t is"),
    ],
)
def test_what_is_no_camera_is_refused(change, message):
    values = {"matrix": np.diag([900.0, 900, 1]), "distortion": np.zeros(5)}
    values |= {"rotation": np.eye(3), "translation": np.zeros(3)}
    with pytest.raises(ValueError, match=message):
        PlacedCamera(**values | change)


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="two views or more, not 1"):
        triangulate(rig(1), np.zeros((1, 2, 2)))
    with pytest.raises(ValueError, match="`outlier` is a positive number"):
        triangulate(rig(2), np.zeros((2, 2, 2)), outlier=0)
