import numpy as np
import pytest
import roma
import torch

from tempohand.hand.anatomy import RANGE_DEG
from tempohand.synthetic.motion import (
    BACK_TO_CAMERA,
    PALM_TO_CAMERA,
    finger_motion,
    rotation_vectors,
    rotations_of,
    sample_camera,
    sample_key_pose,
    wrist_path,
    wrist_rotation,
)

TIMES = np.arange(40) / 30


@pytest.fixture
def motion(settings):
    return settings().motion


def test_every_angle_stays_in_its_range_of_motion(motion):
    rng = np.random.default_rng(0)
    for k in range(60):
        angles = finger_motion(rng, TIMES, motion, holding=k % 5 == 0)
        assert (angles >= RANGE_DEG[..., 0] - 1e-9).all() and (angles <= RANGE_DEG[..., 1] + 1e-9).all()


def test_key_poses_are_varied():
    rng = np.random.default_rng(0)
    poses = np.stack([sample_key_pose(rng) for _ in range(300)])
    bend = poses[:, 1::3, 0]  # the middle joints
    assert (bend.std(0) > 10).all(), "every finger both bends and stretches"
    assert np.linalg.norm(poses[:, None] - poses[None], axis=(2, 3))[np.triu_indices(300, 1)].min() > 5


def test_motion_is_smooth(motion):
    # The fastest move there can be, 120 degrees in 0.3 s by minimum jerk, accelerates by 5.77 * 120 / 0.3^2 =
    # 7,700 degrees/s^2.
    rng = np.random.default_rng(1)
    for _ in range(30):
        angles = finger_motion(rng, TIMES, motion)
        assert np.abs(np.diff(angles, 2, axis=0)).max() * 900 < 10_000
        rotation = wrist_rotation(rng, TIMES, motion)
        camera = sample_camera(rng, TIMES, motion, (0.7, 1.6))
        path = wrist_path(rng, TIMES, motion, camera, rotation)
        assert np.abs(np.diff(path, axis=0)).max() * 30 < 2_500, "mm/s"
        assert np.abs(np.diff(path, 2, axis=0)).max() * 900 < 30_000, "mm/s^2: some three times gravity"
        assert np.abs(path[0] - path[-1]).max() > 0.1


def test_a_facing_hand_stays_within_its_view_limits(motion):
    rng = np.random.default_rng(2)
    sides = set()
    for _ in range(40):
        rotation = wrist_rotation(rng, TIMES, motion)
        back = rotation[:, 2, 1]  # z of the back's direction: toward or away from the camera
        side = np.sign(back[0])
        sides.add(side)
        base = PALM_TO_CAMERA if side > 0 else BACK_TO_CAMERA
        turned = rotation @ base.T
        # turned = roll @ pitch @ yaw: the Euler angles come back out of it.
        roll = np.degrees(np.arctan2(-turned[:, 0, 1], turned[:, 1, 1]))
        pitch = np.degrees(np.arcsin(np.clip(turned[:, 2, 1], -1, 1)))
        yaw = np.degrees(np.arctan2(-turned[:, 2, 0], turned[:, 2, 2]))
        limit_yaw, limit_pitch, limit_roll = motion.yaw_pitch_roll
        assert (
            np.abs(yaw).max() <= limit_yaw + 1e-6
            and np.abs(pitch).max() <= limit_pitch + 1e-6
            and np.abs(roll).max() <= limit_roll + 1e-6
        )
    assert sides == {-1.0, 1.0}


def test_any_view_covers_the_sphere(settings):
    motion, rng = settings("synthetic-wide", "motion.view=any").motion, np.random.default_rng(3)
    rotations = np.stack([wrist_rotation(rng, TIMES[:2], motion)[0] for _ in range(400)])
    assert np.abs(rotations.mean(0)).max() < 0.12, "no direction is preferred"


def test_a_mixed_view_shows_palm_and_back_more_often_and_everything_else_as_well(settings):
    motion, rng = settings("synthetic-wide", "motion.view=mixed").motion, np.random.default_rng(3)
    rotations = np.stack([wrist_rotation(rng, TIMES[:2], motion)[0] for _ in range(400)])
    facing, up = np.abs(rotations[:, 2, 1]), rotations[:, 1, 0]
    # Of directions spread evenly over the sphere 40 % have a cosine above 0.6 along one axis, either way, and
    # a half lies above it.
    assert 0.5 < (facing > 0.6).mean() < 0.9 and 0.1 < (up < 0).mean() < 0.45


def test_an_ordinary_hand_shows_a_side_within_its_limits_its_fingers_up_or_sideways(settings):
    motion, rng = settings("synthetic-hands").motion, np.random.default_rng(3)
    views = [motion.of_ordinary_hand(rng) for _ in range(300)]
    assert {view.roll for view in views} == {-90.0, 0.0, 90.0}
    assert 0.05 < np.mean([view.margin < motion.margin for view in views]) < 0.3
    turned = np.stack([wrist_rotation(rng, TIMES[:2], view)[0] for view in views])
    yaw, pitch, roll = np.cos(np.radians(motion.ordinary.yaw_pitch_roll))
    assert (np.abs(turned[:, 2, 1]) > yaw * pitch - 1e-6).all(), "palm or back to the camera"
    upright = np.array([view.roll == 0 for view in views])
    assert (turned[upright, 1, 0] > min(pitch, yaw) * roll - 1e-6).all()
    assert (np.abs(turned[~upright, 0, 0]) > 0.3).mean() > 0.8
    depths = [
        wrist_path(rng, TIMES, view, sample_camera(rng, TIMES, view, (0.7, 1.6)), np.stack([turn] * 40))[:, 2]
        for view, turn in zip(views[:40], turned)
    ]
    assert np.min(depths) > 250 - 120 and np.max(depths) < 800 + 120


def test_camera_space_is_a_rigid_change_of_the_world(motion):
    rng = np.random.default_rng(4)
    for _ in range(10):
        camera = sample_camera(rng, TIMES, motion, (0.7, 1.6))
        assert 0.69 < camera.focal[0] / camera.width < 1.61
        points = rng.normal(0, 300, (len(TIMES), 6, 3))
        moved = camera.to_camera(points)
        back = moved @ camera.rotation.transpose(0, 2, 1) + camera.position[:, None]
        np.testing.assert_allclose(back, points, atol=1e-9)


def test_the_hand_stays_at_its_distances(motion):
    rng = np.random.default_rng(5)
    depths = []
    for _ in range(60):
        rotation = wrist_rotation(rng, TIMES, motion)
        camera = sample_camera(rng, TIMES, motion, (0.7, 1.6))
        depths.append(wrist_path(rng, TIMES, motion, camera, rotation)[:, 2])
    assert np.min(depths) > motion.distance[0] - 120 and np.max(depths) < motion.distance[1] + 120
    assert np.min(depths) < 350 and np.max(depths) > 950


def test_rotation_helpers_are_inverse():
    vectors = np.random.default_rng(6).normal(size=(20, 3))
    np.testing.assert_allclose(
        rotation_vectors(rotations_of(vectors)),
        roma.rotmat_to_rotvec(roma.rotvec_to_rotmat(torch.tensor(vectors))),
    )


def test_the_same_seed_moves_alike(motion):
    for seed in (0, 1):
        a, b = (finger_motion(np.random.default_rng(seed), TIMES, motion) for _ in range(2))
        np.testing.assert_array_equal(a, b)


def test_an_unknown_view_is_refused(settings):
    motion = settings("synthetic-demo", "motion.view=sideways").motion
    with pytest.raises(ValueError, match="motion.view is 'sideways', it can be facing, any or mixed"):
        wrist_rotation(np.random.default_rng(0), TIMES, motion)
