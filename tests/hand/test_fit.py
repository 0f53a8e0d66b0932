"""Fitting hands to joints: what the solver rests on is exact, and it finds hands again, whatever way they
lie."""

import numpy as np
import pytest
import roma
import torch
from tests_support import noise_hand

from tempohand.geometry import mirror_points, mirror_pose, project, rotate_pose
from tempohand.hand.anatomy import POSES, RANGE_DEG, angles_to_pose
from tempohand.hand.fit import fit_hands, fit_hands_2d, fit_landmarks
from tempohand.hand.fit_solver import MeasuredPixels, Solver
from tempohand.hand.initial_guess import FitState, starts_from_picture
from tempohand.hand.jacobian import JointModel
from tempohand.hand.layer import HandLayer
from tempohand.hand.prior import AnglePrior
from tempohand.synthetic.motion import sample_key_pose

DOUBLE = torch.float64


@pytest.fixture(scope="module")
def layer():
    return HandLayer().double()


def random_hands(count, seed=0):
    """Poses as synthetic data has them, any orientation, shapes of unit variance, half a metre away."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    angles = torch.from_numpy(np.stack([sample_key_pose(rng) for _ in range(count)]))
    quaternion = torch.nn.functional.normalize(
        torch.randn(count, 4, generator=generator, dtype=DOUBLE), dim=-1
    )
    betas, away = (torch.randn(count, width, generator=generator, dtype=DOUBLE) for width in (10, 3))
    return (
        angles_to_pose(angles, roma.unitquat_to_rotvec(quaternion)),
        betas,
        away * 50 + torch.tensor([0.0, 0.0, 500.0]),
    )


@pytest.fixture(scope="module")
def hands(layer):
    """Random hands with their joints, and the fit to these."""
    truth = random_hands(24)
    output = layer(*truth)
    return truth, output, fit_hands(layer, output.joints)


def cameras(count):
    focal, princpt = torch.tensor([700.0, 705.0], dtype=DOUBLE), torch.tensor([320.0, 240.0], dtype=DOUBLE)
    return focal.expand(count, 2), princpt.expand(count, 2)


def same(ours, wanted, length=1e-2, angle=1e-3):
    """Two fits agree: lengths in mm, poses as rotations."""
    torch.testing.assert_close(ours.joints, wanted.joints, atol=length, rtol=0)
    torch.testing.assert_close(ours.trans, wanted.trans, atol=length, rtol=0)
    torch.testing.assert_close(ours.shape, wanted.shape, atol=angle, rtol=0)
    matrices = (roma.rotvec_to_rotmat(fit.pose.unflatten(-1, (16, 3))) for fit in (ours, wanted))
    torch.testing.assert_close(*matrices, atol=angle, rtol=0)
    assert torch.equal(ours.converged, wanted.converged)


@pytest.fixture(scope="module")
def noise_layer(tmp_path_factory):
    """A hand model whose fingertips hang on every joint and swell with every pose."""
    path = tmp_path_factory.mktemp("model") / "MANO_RIGHT.npz"
    np.savez(path, **noise_hand())
    return HandLayer(path).double()


def test_joints_and_their_derivatives_equal_the_layers(noise_layer):
    generator = torch.Generator().manual_seed(0)
    pose, betas, trans = (torch.randn(2, width, generator=generator, dtype=DOUBLE) for width in (48, 10, 3))
    rotations = roma.rotvec_to_rotmat(pose.unflatten(-1, (16, 3)))
    posed = JointModel(noise_layer).derived(rotations, betas, trans)
    torch.testing.assert_close(posed.joints, noise_layer(rotations, betas, trans).joints, atol=1e-4, rtol=0)
    for hand in range(2):

        def joints(turn, betas, hand=hand):
            return noise_layer(rotations[hand] @ roma.rotvec_to_rotmat(turn), betas, trans[hand]).joints

        wanted = torch.autograd.functional.jacobian(joints, (torch.zeros(16, 3, dtype=DOUBLE), betas[hand]))
        torch.testing.assert_close(posed.by_rotation[hand], wanted[0], atol=1e-4, rtol=0)
        torch.testing.assert_close(posed.by_betas[hand], wanted[1], atol=1e-4, rtol=0)


def test_angles_undo_angles_to_pose_and_their_derivatives_equal_autograd():
    prior, generator = AnglePrior(), torch.Generator().manual_seed(0)
    low, high = torch.from_numpy(RANGE_DEG).unbind(-1)
    angles = low + torch.rand(8, 15, 3, generator=generator, dtype=DOUBLE) * (high - low)
    rotations = roma.rotvec_to_rotmat(angles_to_pose(angles)[:, 3:].unflatten(-1, (15, 3)))
    torch.testing.assert_close(torch.rad2deg(prior.angles(rotations)), angles, atol=1e-6, rtol=0)

    errors, rates = prior.derived(rotations)
    torch.testing.assert_close(errors, prior.errors(rotations))
    turn = torch.zeros(8, 15, 3, dtype=DOUBLE)
    # A joint's errors depend on its own rotation alone, so that sums over hands and joints have all
    # derivatives.
    wanted = torch.autograd.functional.jacobian(
        lambda turn: prior.errors(rotations @ roma.rotvec_to_rotmat(turn)).sum(dim=(0, 1)), turn
    )
    torch.testing.assert_close(rates, wanted.permute(1, 2, 0, 3))


def test_normal_equations_lead_down_the_cost(layer):
    pose, betas, trans = random_hands(3)
    camera = cameras(3)
    pixels = project(layer(*random_hands(3, seed=1)).joints, *camera)
    measured = MeasuredPixels(pixels, torch.linspace(0.1, 2, 63, dtype=DOUBLE).view(3, 21), *camera)
    solver, rotations = (
        Solver(JointModel(layer), AnglePrior()),
        roma.rotvec_to_rotmat(pose.unflatten(-1, (16, 3))),
    )

    def cost(turn, betas, trans):
        return solver.cost(FitState(rotations @ roma.rotvec_to_rotmat(turn), betas, trans), measured).sum()

    gradients = torch.autograd.functional.jacobian(cost, (torch.zeros(3, 16, 3, dtype=DOUBLE), betas, trans))
    _, vector = solver.normal_equations(FitState(rotations, betas, trans), measured)
    torch.testing.assert_close(
        -2 * vector, torch.cat([gradient.flatten(1) for gradient in gradients], dim=1), rtol=1e-6, atol=1e-3
    )


def test_a_picture_of_a_named_pose_starts_near_it(layer):
    orient = torch.tensor([[0.4, -1.2, 0.8]], dtype=DOUBLE)
    pose, trans = (
        angles_to_pose(torch.from_numpy(POSES["point"])[None], orient),
        torch.tensor([[900.0, -500.0, 2500.0]], dtype=DOUBLE),
    )
    camera, model = cameras(1), JointModel(layer)
    pixels = project(layer(pose, torch.zeros(1, 10, dtype=DOUBLE), trans).joints, *camera)
    start = starts_from_picture(model, pixels, torch.ones(1, 21, dtype=DOUBLE), *camera)[
        list(POSES).index("point")
    ]
    turn = roma.rotmat_geodesic_distance(start.rotations[:, 0], roma.rotvec_to_rotmat(orient))
    assert torch.rad2deg(turn) < 12 and (start.trans - trans).norm() < 150


def test_finds_hands_again(layer, hands):
    truth, output, fitted = hands
    assert fitted.converged.all()
    assert fitted.residual.max() < 0.5 and fitted.residual.mean() < 0.1
    vertices = layer(fitted.pose, fitted.shape, fitted.trans)
    torch.testing.assert_close(vertices.joints, fitted.joints, atol=1e-4, rtol=0)
    errors = (vertices.vertices - output.vertices).norm(dim=-1)
    assert errors.mean() < 0.6 and errors.max() < 10
    torch.testing.assert_close(fitted.residual, (fitted.joints - output.joints).norm(dim=-1))


def test_finds_extreme_poses_again(layer):
    angles = torch.from_numpy(np.stack([*POSES.values(), RANGE_DEG[..., 0], RANGE_DEG[..., 1]]))
    joints = layer(angles_to_pose(angles), torch.zeros(len(angles), 10, dtype=DOUBLE)).joints
    fitted = fit_hands(layer, joints)
    assert fitted.converged.all() and fitted.residual.max() < 0.5


def test_a_turned_and_moved_hand_gives_the_turned_and_moved_fit(layer, hands):
    _, output, fitted = hands
    turn = roma.rotvec_to_rotmat(torch.tensor([1.0, -2.0, 0.5], dtype=DOUBLE))
    shift = torch.tensor([100.0, -50.0, 800.0], dtype=DOUBLE)
    moved = fit_hands(layer, output.joints @ turn.mT + shift)
    wanted = fitted._replace(
        pose=rotate_pose(turn, fitted.pose),
        trans=fitted.trans @ turn.mT + shift,
        joints=fitted.joints @ turn.mT + shift,
    )
    same(moved, wanted)


def test_left_hands_are_mirrored_right_hands(layer, hands):
    _, output, fitted = hands
    right = torch.arange(len(output.joints)) % 2 == 0
    mixed = fit_hands(
        layer, torch.where(right[:, None, None], output.joints, mirror_points(output.joints)), is_right=right
    )
    wanted = fitted._replace(
        pose=mirror_pose(fitted.pose), trans=mirror_points(fitted.trans), joints=mirror_points(fitted.joints)
    )
    wanted = type(fitted)(
        *(torch.where(right.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(fitted, wanted))
    )
    same(mixed, wanted)
    torch.testing.assert_close(mixed.residual, fitted.residual)


def test_a_hand_alone_is_as_in_the_batch(layer, hands):
    _, output, fitted = hands
    for row in (0, 11, 23):
        alone = fit_hands(layer, output.joints[row : row + 1])
        same(alone, type(fitted)(*(field[row : row + 1] for field in fitted)), length=1e-6, angle=1e-6)
    assert fit_hands(layer, output.joints[:0]).pose.shape == (0, 48)


def test_missing_joints_count_for_nothing(layer, hands):
    _, output, _ = hands
    mask = torch.rand(output.joints.shape[:2], generator=torch.Generator().manual_seed(2)) > 0.25
    fitted = fit_hands(layer, output.joints, mask)
    assert fitted.residual[mask].max() < 0.5 and fitted.residual[~mask].isnan().all()
    spoiled = torch.where(mask[..., None], output.joints, torch.nan)
    same(fit_hands(layer, spoiled), fitted, length=1e-9, angle=1e-9)
    # What is hidden is guessed: the hidden joints of a hand of usual pose are not far from where they were.
    assert (fitted.joints - output.joints).norm(dim=-1)[~mask].median() < 15


def test_too_few_joints_are_nan_and_leave_the_others_alone(layer, hands):
    _, output, fitted = hands
    joints = output.joints[:4].clone()
    joints[1, 3:] = torch.nan
    some = fit_hands(layer, joints)
    assert not some.converged[1] and all(field[1].isnan().all() for field in some[:-1])
    kept = torch.tensor([0, 2, 3])
    same(
        type(some)(*(field[kept] for field in some)),
        type(some)(*(field[kept] for field in fitted)),
        length=1e-6,
        angle=1e-6,
    )


@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_noise_on_joints_does_not_break_the_hand(layer, hands, noise):
    truth, output, _ = hands
    generator = torch.Generator().manual_seed(4)
    fitted = fit_hands(
        layer,
        output.joints + 3 * torch.randn(output.joints.shape, generator=generator, dtype=DOUBLE),
        noise=noise,
    )
    # 63 coordinates of noise have a length of 4.8 mm a joint; some of it is fitted.
    assert 1.5 < fitted.residual.mean() < 4.8
    errors = (layer(fitted.pose, fitted.shape, fitted.trans).vertices - output.vertices).norm(dim=-1).mean()
    assert errors < (8.0 if noise < 1 else 4.0)
    assert fitted.shape.abs().max() < (15 if noise < 1 else 4)


def test_the_prior_decides_what_joints_do_not_show(layer):
    """A straight finger may twist about its bone; fits of flat hands do not."""
    angles = torch.zeros(1, 15, 3, dtype=DOUBLE)
    joints = layer(angles_to_pose(angles), torch.zeros(1, 10, dtype=DOUBLE)).joints
    fitted = fit_hands(layer, joints)
    found = torch.rad2deg(
        AnglePrior().angles(roma.rotvec_to_rotmat(fitted.pose[:, 3:].unflatten(-1, (15, 3))))
    )
    assert found.abs().max() < 2


def test_finds_hands_in_a_picture(layer, hands):
    truth, output, _ = hands
    camera = cameras(len(output.joints))
    pixels = project(output.joints, *camera)
    fitted = fit_hands_2d(layer, pixels, *camera)
    assert fitted.residual.median() < 0.5 and (fitted.residual.amax(dim=1) < 2).float().mean() > 0.8
    torch.testing.assert_close(fitted.residual, (project(fitted.joints, *camera) - pixels).norm(dim=-1))
    relative = (fitted.joints - fitted.joints[:, :1]) - (output.joints - output.joints[:, :1])
    assert (
        relative.norm(dim=-1).mean(dim=1).median() < 10
    )  # hand sizes differ by 6 % and a picture does not tell
    assert (fitted.trans[:, 2] / output.joints[:, 0, 2] - 1).abs().median() < 0.06

    left = torch.zeros(4, dtype=torch.bool)
    focal, princpt = (field[:4] for field in camera)
    mirrored = fit_hands_2d(
        layer, project(mirror_points(output.joints[:4]), focal, princpt), focal, princpt, is_right=left
    )
    torch.testing.assert_close(mirrored.joints, mirror_points(fitted.joints[:4]), atol=1e-4, rtol=0)


def test_results_have_the_inputs_type(layer, hands):
    single = fit_hands(HandLayer(), hands[1].joints[:2].float())
    assert {field.dtype for field in single[:-1]} == {torch.float32} and single.residual.max() < 0.5


def test_bad_input_is_named(layer, hands):
    with pytest.raises(ValueError, match="noise is a standard deviation, a positive number, not 0"):
        fit_hands(layer, hands[1].joints, noise=0)
    with pytest.raises(ValueError, match="right hand's model"):
        fit_hands(HandLayer(side="left"), hands[1].joints)


def landmarks_of(output, count):
    """What a faultless landmark network says of hands: pixels, joints from another origin, the camera."""
    focal, princpt = cameras(count)
    return project(output.joints, focal, princpt), output.joints - 77.0, focal, princpt


def test_landmarks_give_the_hand_again(layer, hands):
    truth, output, _ = hands
    count = len(output.joints)
    joints2d, relative, focal, princpt = landmarks_of(output, count)
    noise = torch.full((count,), 0.3, dtype=DOUBLE)
    fit = fit_landmarks(layer, joints2d, relative, focal, princpt, noise=noise, relative_noise=0.3)
    assert fit.converged.all()
    assert (fit.joints - output.joints).norm(dim=-1).mean() < 1.0
    assert fit.residual.max() < 1.0


def test_landmarks_of_left_hands_and_gaps(layer, hands):
    truth, output, _ = hands
    count = len(output.joints)
    joints2d, relative, focal, princpt = landmarks_of(output, count)
    noise = torch.full((count,), 0.5, dtype=DOUBLE)
    right = fit_landmarks(layer, joints2d, relative, focal, princpt, noise=noise, relative_noise=2.0)
    mirrored2d = 2 * princpt[:, None] * torch.tensor([1.0, 0.0], dtype=DOUBLE) + joints2d * torch.tensor(
        [-1.0, 1.0], dtype=DOUBLE
    )
    left = fit_landmarks(
        layer,
        mirrored2d,
        mirror_points(relative),
        focal,
        princpt,
        is_right=torch.zeros(count, dtype=torch.bool),
        noise=noise,
        relative_noise=2.0,
    )
    torch.testing.assert_close(mirror_points(left.joints), right.joints, atol=1e-3, rtol=0)
    relative = relative.clone()
    relative[:, 8] = torch.nan
    gaps = fit_landmarks(layer, joints2d, relative, focal, princpt, noise=noise, relative_noise=2.0)
    assert gaps.residual[:, 8].isnan().all() and gaps.joints.isfinite().all()


def test_landmark_noise_is_shared_out_between_picture_and_space(layer, hands):
    """Of two measurements that contradict each other the surer one wins."""
    _, output, _ = hands
    count = len(output.joints)
    joints2d, relative, focal, princpt = landmarks_of(output, count)
    wrong = joints2d + torch.tensor([1.0, -1.0], dtype=DOUBLE) * (torch.arange(21) % 2)[:, None] * 8

    def root_relative(pixels, spatial):
        noise = torch.full((count,), pixels, dtype=DOUBLE)
        fit = fit_landmarks(layer, wrong, relative, focal, princpt, noise=noise, relative_noise=spatial)
        return ((fit.joints - fit.joints[:, :1]) - (output.joints - output.joints[:, :1])).norm(dim=-1).mean()

    assert root_relative(20.0, 0.5) < 1.5 < root_relative(0.5, 20.0)
