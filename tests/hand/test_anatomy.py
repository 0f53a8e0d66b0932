"""Angles, axes and named poses: fingers bend where and as far as fingers do."""

import numpy as np
import pytest
import torch
from penetration import penetration_depth

from tempohand.hand.anatomy import (
    ABDUCTION,
    AXES,
    FLEXION,
    POSES,
    RANGE_DEG,
    TWIST,
    angles_to_pose,
    clamp_angles,
)
from tempohand.hand.layer import HandLayer


@pytest.fixture(scope="module")
def layer():
    return HandLayer()


def joints_of(layer, joint, kind, degrees):
    angles = torch.zeros(15, 3)
    angles[joint, kind] = degrees
    return layer(angles_to_pose(angles), torch.zeros(10)).joints


def tip_of(joint):
    return (8, 12, 20, 16, 4)[joint // 3]


def test_axes_are_orthonormal_frames_and_bones_lie_along_them(layer):
    np.testing.assert_allclose(
        np.einsum("jac,jbc->jab", AXES, AXES), np.tile(np.eye(3), (15, 1, 1)), atol=1e-12
    )
    joints = layer(torch.zeros(48), torch.zeros(10)).joints.numpy()
    for joint in range(15):
        op = tip_of(joint) - 3 + joint % 3
        bone = joints[op + 1] - joints[op]
        assert bone @ AXES[joint, TWIST] / np.linalg.norm(bone) > 0.98


@pytest.mark.parametrize("joint", range(12))
def test_flexion_brings_fingertips_toward_the_palm(layer, joint):
    flat = joints_of(layer, joint, FLEXION, 0.0)
    tip = tip_of(joint)
    assert joints_of(layer, joint, FLEXION, 40.0)[tip, 1] < flat[tip, 1] - 5
    bent = joints_of(layer, joint, FLEXION, 40.0)
    assert (bent - flat)[
        [i for i in range(21) if not tip - 3 < i <= tip]
    ].abs().max() < 1e-3  # nothing else moves


def test_abduction_spreads_the_fingers(layer):
    flat = joints_of(layer, 0, ABDUCTION, 0.0)
    for joint, sign in ((0, 1), (3, 1), (6, -1), (9, -1)):
        moved = joints_of(layer, joint, ABDUCTION, 15.0)
        assert sign * (moved - flat)[tip_of(joint), 2] > 10


def test_thumb_opposes(layer):
    flat = joints_of(layer, 12, FLEXION, 0.0)
    assert joints_of(layer, 12, FLEXION, 30.0)[4, 2] < flat[4, 2] - 20  # across the palm
    assert joints_of(layer, 12, ABDUCTION, 30.0)[4, 1] < flat[4, 1] - 20  # out of the palm's plane
    pinch = layer(angles_to_pose(torch.tensor(POSES["pinch"], dtype=torch.float32)), torch.zeros(10)).joints
    assert (pinch[4] - pinch[8]).norm() < 25


@pytest.mark.parametrize("name", POSES)
def test_named_poses_are_possible(layer, name):
    """Within the range of motion, and no finger deeper than 2 mm in the palm or another finger, for small and
    large hands too."""
    low, high = RANGE_DEG[..., 0], RANGE_DEG[..., 1]
    assert (POSES[name] >= low).all() and (POSES[name] <= high).all()
    for size in (-2.0, 0.0, 2.0):
        betas = torch.zeros(10)
        betas[0] = size
        vertices = layer(angles_to_pose(torch.tensor(POSES[name], dtype=torch.float32)), betas).vertices
        assert penetration_depth(vertices.numpy(), layer.faces.numpy(), layer.weights.numpy()).max() < 2


def test_clamp_keeps_what_is_possible_and_stops_at_the_limits():
    angles = torch.tensor(np.stack(list(POSES.values())))
    assert torch.equal(clamp_angles(angles), angles)
    limits = torch.tensor(RANGE_DEG)
    assert torch.equal(clamp_angles(torch.full((15, 3), 500.0, dtype=torch.float64)), limits[..., 1])
    assert torch.equal(clamp_angles(torch.full((15, 3), -500.0, dtype=torch.float64)), limits[..., 0])


def test_any_batch_and_finite_gradients_at_zero():
    angles = torch.zeros(2, 3, 15, 3, requires_grad=True)
    pose = angles_to_pose(angles, torch.ones(2, 3, 3))
    assert pose.shape == (2, 3, 48) and (pose[..., :3] == 1).all() and pose[..., 3:].abs().max() == 0
    pose.sum().backward()
    assert angles.grad.isfinite().all()


def test_one_angle_is_a_turn_about_its_axis():
    for kind in (FLEXION, ABDUCTION, TWIST):
        angles = torch.zeros(15, 3, dtype=torch.float64)
        angles[:, kind] = 30
        turns = angles_to_pose(angles)[3:].unflatten(-1, (15, 3)).numpy()
        np.testing.assert_allclose(turns, np.radians(30) * AXES[:, kind], atol=1e-9)
