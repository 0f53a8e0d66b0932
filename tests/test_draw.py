import numpy as np
import pytest

from tempohand.draw import draw_heatmaps, draw_skeleton, finger_colours, gaussian_maps
from tempohand.skeleton import BONES, FINGER_COLOURS


@pytest.fixture
def joints():
    finger, step = np.divmod(np.arange(20), 4)
    fingers = np.stack([20.0 + 20.0 * finger, 80.0 - 15.0 * step], axis=1)
    return np.concatenate([[[60.0, 110.0]], fingers])


def blank():
    return np.full((128, 128, 3), 127, np.uint8)


def test_joints_and_bones_show_their_colours(joints):
    picture = draw_skeleton(blank(), joints, thickness=3)
    colours = finger_colours()
    for joint, (x, y) in enumerate(joints):
        assert tuple(picture[int(y), int(x)]) == colours[joint]
    for parent, child in BONES:
        if parent:  # the bones of the palm cross one another
            x, y = (joints[parent] + joints[child]) / 2
            assert np.abs(picture[int(y), int(x)].astype(int) - colours[child]).max() < 80


def test_it_draws_in_place_and_near_the_skeleton_only(joints):
    picture = blank()
    assert draw_skeleton(picture, joints, (255, 0, 0)) is picture
    changed = (picture != 127).any(axis=-1)
    assert 200 < changed.sum() < 0.4 * changed.size
    assert not changed[:25].any() and not changed[:, :8].any()


def test_half_a_pixel_is_seen(joints):
    assert (draw_skeleton(blank(), joints) != draw_skeleton(blank(), joints + 0.5)).any()


def test_joints_without_a_place_are_left_out(joints):
    hidden = np.zeros(21, bool)
    assert (draw_skeleton(blank(), joints, mask=hidden) == 127).all()
    assert (draw_skeleton(blank(), np.full((21, 2), np.nan)) == 127).all()
    assert (draw_skeleton(blank(), np.full((21, 2), 1e12)) == 127).all()
    some = joints.copy()
    some[4] = np.inf
    visible = np.ones(21, bool)
    visible[4] = False
    assert (draw_skeleton(blank(), some) == draw_skeleton(blank(), joints, mask=visible)).all()


def test_a_view_that_cannot_be_drawn_into_is_refused(joints):
    with pytest.raises(ValueError, match="contiguous"):
        draw_skeleton(blank()[:, ::-1], joints)


def test_heat_maps_are_brightest_at_their_joints_in_their_fingers_colours(joints):
    maps = gaussian_maps(joints, (120, 128), 2.0)
    assert maps.shape == (21, 128, 120) and maps.max() <= 1
    for joint, heat in enumerate(maps):
        v, u = np.unravel_index(heat.argmax(), heat.shape)
        assert np.abs(joints[joint] - (u, v)).max() <= 0.5 + 1e-6
    assert not gaussian_maps(np.full((21, 2), np.nan), (12, 10), 2.0).any()
    one = np.where(np.arange(21)[:, None, None] == 8, maps, 0.0)
    picture = draw_heatmaps(np.full((128, 120, 3), 90, np.uint8), one)
    u, v = np.rint(joints[8]).astype(int)
    assert np.abs(picture[v, u].astype(int) - FINGER_COLOURS["index"]).max() < 25
    assert (picture[0, 0] == 30).all()
