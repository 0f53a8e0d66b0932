"""The stored window: how much of the surroundings of a hand it shows, and where the hand is in it."""

import numpy as np
import pytest

from tempohand.skeleton import NUM_VERTICES
from tempohand.synthetic.forearm import RINGS_MM
from tempohand.synthetic.generate import film_sequence
from tempohand.synthetic.scene import compose


def composed(settings, kit, count=40, *overrides):
    config = settings(
        "synthetic-find",
        "person.both_probability=0",
        "occluder.probability=0",
        "camera.window_jitter=0",
        *overrides,
    )
    return [compose(np.random.default_rng([seed, 3]), kit, 3, config) for seed in range(count)]


def bounds(scene):
    """Low and high corner of the middle frame's hand box, in windows."""
    uv = (scene.joints2d()[2] + 0.5) / 48
    return uv.min(0), uv.max(0)


@pytest.fixture(scope="module")
def scenes(settings, kit):
    return composed(settings, kit)


def test_windows_are_three_to_nine_boxes_wide(scenes):
    share = np.array([(high - low).max() for low, high in map(bounds, scenes)])
    assert (
        1 / 9.6 < share.min() < 1 / 7 and 1 / 4 < share.max() < 1 / 2.8
    )  # the window is smoothed over the frames
    assert (
        0.2 < (share < 1 / 5.2).mean() < 0.8
    )  # log-uniform: the middle is at the square root of 27, less where a lens is not wide enough


def test_hands_are_anywhere_in_the_window_and_inside_it(scenes):
    corners = np.array([bounds(scene) for scene in scenes])
    assert corners.min() > -0.03 and corners.max() < 1.03
    centre = corners.mean(1)
    assert (
        (centre < 0.3).any(0).all()
        and (centre > 0.7).any(0).all()
        and np.abs(centre.mean(0) - 0.5).max() < 0.15
    )


def test_no_window_is_wider_than_the_widest_lens(scenes, settings):
    least = settings("synthetic-find").camera.focal_per_width[0]
    focal = np.array([scene.focal[2].min() / 48 for scene in scenes])
    boxes = np.array([1 / (high - low).max() for low, high in map(bounds, scenes)])
    assert (focal[boxes > 3.3] > 0.9 * least).all()


def test_the_window_changes_the_intrinsics_and_nothing_of_the_scene(settings, kit):
    far = composed(settings, kit, 6)
    near = composed(settings, kit, 6, "camera.window_factor=[1,1]", "camera.window_place=0")
    for a, b in zip(far, near):
        np.testing.assert_array_equal(a.vertices, b.vertices)
        np.testing.assert_array_equal(a.pose, b.pose)
        low, high = bounds(b)
        np.testing.assert_allclose((low + high) / 2, 0.5, atol=0.03)
        assert (high - low).max() == pytest.approx(1 / 3, rel=0.1)


def test_the_pictures_beside_it_do_not_change_with_the_windows_draw(settings):
    """Other windows, the same film: noise, light and wall come from generators that the window does not
    touch."""
    rows = [
        next(
            film_sequence(
                settings("synthetic-find", f"camera.window_factor={factor}", "camera.window_place=0"),
                "train",
                1,
            )
        )
        for factor in ("[1,1]", "[1.0,1.0000001]")
    ]
    assert rows[0]["image"] == rows[1]["image"]


def test_the_arm_reaches_as_far_as_it_is_said(settings, kit):
    for length in (320.0, 900.0):
        scene = composed(settings, kit, 1, f"person.arm={length}", "person.elbow=[0,0]")[0]
        end, wrist = scene.vertices[2, scene.body_faces.max()], scene.joints[2, 0]
        assert scene.body_faces.max() == NUM_VERTICES + (len(RINGS_MM) + 1) * 16
        assert np.linalg.norm(end - wrist) == pytest.approx(length, rel=0.15)


def test_elbows_bend_as_far_as_they_are_said(settings, kit):
    straight, bent = (composed(settings, kit, 4, f"person.elbow=[{angle},{angle}]") for angle in (0, 100))
    for a, b in zip(straight, bent):
        np.testing.assert_array_equal(a.joints, b.joints)
        rings = [
            scene.vertices[2, NUM_VERTICES : scene.body_faces.max()].reshape(-1, 16, 3).mean(1)
            for scene in (a, b)
        ]
        np.testing.assert_allclose(rings[0][:-2], rings[1][:-2], atol=1e-3)
        forearm, upper = rings[0][-2] - rings[0][-3], rings[1][-1] - rings[1][-2]
        cosine = forearm @ upper / np.linalg.norm(forearm) / np.linalg.norm(upper)
        assert np.degrees(np.arccos(cosine)) == pytest.approx(100, abs=3)
