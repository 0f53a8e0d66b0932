"""One shape for all hands of a person and side: it is the most probable one, and nearer to the true one than
those of single hands."""

import numpy as np
import pytest
import roma
import torch

from tempohand.geometry import mirror_points, mirror_pose, project
from tempohand.hand.anatomy import angles_to_pose
from tempohand.hand.fit import fit_hands, fit_one_shape
from tempohand.hand.fit_solver import MeasuredPoints, Solver
from tempohand.hand.initial_guess import FitState
from tempohand.hand.jacobian import JointModel
from tempohand.hand.layer import HandLayer
from tempohand.hand.prior import AnglePrior
from tempohand.synthetic.motion import sample_key_pose

DOUBLE = torch.float64
NOISE = 3.0
COUNT = 20


@pytest.fixture(scope="module")
def layer():
    return HandLayer().double()


@pytest.fixture(scope="module")
def film(layer):
    """Poses of one hand, its shape, joints with noise, and some that are not seen."""
    rng, generator = np.random.default_rng(5), torch.Generator().manual_seed(5)
    angles = torch.from_numpy(np.stack([sample_key_pose(rng) for _ in range(COUNT)]))
    turns = torch.nn.functional.normalize(torch.randn(COUNT, 4, generator=generator, dtype=DOUBLE), dim=1)
    pose = angles_to_pose(angles, roma.unitquat_to_rotvec(turns))
    shape = torch.randn(10, generator=generator, dtype=DOUBLE)
    place = torch.randn(COUNT, 3, generator=generator, dtype=DOUBLE) * 40 + torch.tensor([0.0, 0.0, 500.0])
    joints = layer(pose, shape.expand(COUNT, 10), place).joints
    noisy = joints + NOISE * torch.randn(joints.shape, generator=generator, dtype=DOUBLE)
    return pose, shape, joints, noisy, torch.rand(COUNT, 21, generator=generator) > 0.2


def test_the_shape_is_one_and_nearer_to_the_true_one(layer, film):
    _, shape, joints, noisy, mask = film
    alone = fit_hands(layer, noisy, mask, noise=NOISE)
    shared = fit_one_shape(layer, noisy, mask, noise=NOISE)
    assert (shared.shape == shared.shape[0]).all() and shared.converged.all()

    def error(fitted):
        """Of the vertices of the flat hand, which the shape alone makes, mm."""
        flat = torch.zeros(len(fitted.shape), 48, dtype=DOUBLE)
        true = layer(flat, shape.expand_as(fitted.shape)).vertices
        return (layer(flat, fitted.shape).vertices - true).norm(dim=-1).mean(1)

    assert error(shared)[0] < 0.5 * error(alone).mean()
    off = [(fitted.joints - joints).norm(dim=-1).mean() for fitted in (shared, alone)]
    assert off[0] < off[1]


def test_it_is_the_most_probable_one(layer, film):
    """The posterior of all hands together is flat there: along every beta with poses held, and no hand wants
    another pose."""
    *_, noisy, mask = film
    shared = fit_one_shape(layer, noisy, mask, noise=NOISE)
    solver = Solver(JointModel(layer), AnglePrior())
    weight = mask.double() / NOISE
    measured = MeasuredPoints(torch.where(mask[..., None], noisy, 0.0), weight)
    state = FitState(roma.rotvec_to_rotmat(shared.pose.unflatten(1, (16, 3))), shared.shape, shared.trans)

    def cost(betas):
        hands = state._replace(betas=betas.expand(COUNT, 10))
        return float(solver.cost(hands, measured).sum() - (COUNT - 1) * betas.square().sum())

    here, step = cost(shared.shape[0]), 0.02
    for each in torch.eye(10, dtype=DOUBLE) * step:
        up, down = cost(shared.shape[0] + each) - here, cost(shared.shape[0] - each) - here
        assert up > 0 and down > 0 and abs(up - down) < 0.1 * (up + down)
    _, vector = solver.normal_equations(state, measured)
    assert vector[:, [*range(48), *range(58, 61)]].abs().max() < 0.5


def test_persons_and_sides_have_shapes_of_their_own(layer, film):
    *_, noisy, mask = film
    person = torch.arange(COUNT) % 2
    is_right = torch.arange(COUNT) < COUNT // 2
    given = torch.where(is_right[:, None, None], noisy, mirror_points(noisy))
    both = fit_one_shape(layer, given, mask, is_right=is_right, person=person, noise=NOISE)
    assert len(both.shape.unique(dim=0)) == 4
    for whose in (0, 1):
        for right in (True, False):
            rows = (person == whose) & (is_right == right)
            own = fit_one_shape(layer, noisy[rows], mask[rows], noise=NOISE)
            torch.testing.assert_close(both.shape[rows], own.shape, atol=2e-3, rtol=0)
            wanted = own.joints if right else mirror_points(own.joints)
            torch.testing.assert_close(both.joints[rows], wanted, atol=0.05, rtol=0)
            pose = own.pose if right else mirror_pose(own.pose)
            torch.testing.assert_close(both.pose[rows], pose, atol=5e-3, rtol=0)


def test_a_group_of_one_is_that_hand(layer, film):
    *_, noisy, mask = film
    alone = fit_hands(layer, noisy[:6], mask[:6], noise=NOISE)
    each = fit_one_shape(layer, noisy[:6], mask[:6], person=torch.tensor([9, 3, 4, -1, 70, 2]), noise=NOISE)
    torch.testing.assert_close(each.shape, alone.shape, atol=0.02, rtol=0)
    torch.testing.assert_close(each.joints, alone.joints, atol=0.2, rtol=0)


def test_pictures_do_as_well_and_hands_with_too_few_joints_stay_unknown(layer, film):
    _, shape, joints, *_ = film
    focal = torch.tensor([700.0, 705.0], dtype=DOUBLE).expand(8, 2)
    princpt = torch.tensor([320.0, 240.0], dtype=DOUBLE).expand(8, 2)
    mask = torch.ones(8, 21, dtype=torch.bool)
    mask[3, 3:] = False
    pixels = project(joints[:8], focal, princpt)
    found = fit_one_shape(layer, pixels, mask, camera=(focal, princpt), noise=1.0)
    known = torch.arange(8) != 3
    assert found.pose[3].isnan().all() and not found.converged[3]
    assert (found.shape[known] == found.shape[0]).all() and found.residual[known].median() < 1.0
