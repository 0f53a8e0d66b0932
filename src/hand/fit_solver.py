"""The solver behind fit.py: hands of measured joints by Levenberg-Marquardt (Marquardt, "An Algorithm for
Least-Squares Estimation of Nonlinear Parameters", 1963) on the manifold of rotations, all at once, each
with its own damping.
"""

from typing import NamedTuple

import roma
import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from tempohand.geometry import MIN_DEPTH_MM, project
from tempohand.hand.initial_guess import FitState, place_by_rays, start_from_points, starts_from_picture
from tempohand.hand.jacobian import JointModel
from tempohand.hand.pose import rotmat_to_pose
from tempohand.hand.prior import AnglePrior
from tempohand.skeleton import NUM_BETAS, NUM_MANO_JOINTS, POSE_DIM

LEAST_JOINTS = 4  # fewer seen than this say nothing about a hand
MAX_ITERATIONS = 100
ROUGH_ITERATIONS = 10  # from every start, before the best is followed
# A hand is done when a step promises less than this, in squared standard deviations.
TOLERANCE = 1e-4
_FIRST_DAMPING = 1e-2
_LEAST_DAMPING = 1e-9
_DAMPING_STEP = 5.0
CHUNK = 256  # hands whose derivatives lie in memory at once


class FittedHands(NamedTuple):
    """Fitted hands in the frame of the given joints (mm); nan where fewer than 4 of a hand's joints were
    given.

    pose is absolute axis-angle, shape is betas, trans the wrist, joints the fitted hand's own. residual:
    distance of each given joint to the fitted hand's, in the unit given (mm, or px in a picture), nan where a
    joint was not given. A left hand's values are those of the left hand. converged: the solver came to rest.
    """

    pose: Float[Tensor, "n 48"]
    shape: Float[Tensor, "n 10"]
    trans: Float[Tensor, "n 3"]
    joints: Float[Tensor, "n 21 3"]
    residual: Float[Tensor, "n 21"]
    converged: Bool[Tensor, "n"]


class MeasuredPoints(NamedTuple):
    """Joints measured in space; weight is 1 / noise, 0 where not measured."""

    points: Float[Tensor, "n 21 3"]
    weight: Float[Tensor, "n 21"]

    def starts(self, model: JointModel) -> list[FitState]:
        return [start_from_points(model, *self)]

    def errors(self, joints: Tensor) -> Tensor:
        return joints - self.points

    def derived(self, joints: Tensor, change: Tensor) -> Tensor:
        return change


class MeasuredPixels(NamedTuple):
    """Joints measured in a picture."""

    points: Float[Tensor, "n 21 2"]
    weight: Float[Tensor, "n 21"]
    focal: Float[Tensor, "n 2"]
    princpt: Float[Tensor, "n 2"]

    def starts(self, model: JointModel) -> list[FitState]:
        return starts_from_picture(model, *self)

    def errors(self, joints: Tensor) -> Tensor:
        return project(joints, self.focal, self.princpt) - self.points

    def derived(self, joints: Tensor, change: Tensor) -> Tensor:
        depth = joints[..., 2:].clamp_min(MIN_DEPTH_MM)
        along = change[..., :2, :] - change[..., 2:, :] * (joints[..., :2] / depth)[..., None]
        return along * (self.focal[:, None] / depth)[..., None]


class MeasuredLandmarks(NamedTuple):
    """Joints measured in a picture and, from an unknown origin, in space: what landmark networks give.

    relative: mm, their mean over the given joints at zero; ratio: the pixels' noise over theirs (px / mm).
    """

    points: Float[Tensor, "n 21 2"]
    weight: Float[Tensor, "n 21"]
    focal: Float[Tensor, "n 2"]
    princpt: Float[Tensor, "n 2"]
    relative: Float[Tensor, "n 21 3"]
    ratio: Float[Tensor, "n 1"]

    def starts(self, model: JointModel) -> list[FitState]:
        start = start_from_points(model, self.relative, self.weight)
        joints = model.posed(*start)
        rays = (self.points - self.princpt[:, None]) / self.focal[:, None]
        trans = place_by_rays(joints - start.trans[:, None], rays, self.weight)
        return [start._replace(trans=trans)]

    def errors(self, joints: Tensor) -> Tensor:
        in_space = self._centred(joints) - self.relative
        return torch.cat([self._in_picture.errors(joints), in_space * self.ratio[..., None]], dim=-1)

    def derived(self, joints: Tensor, change: Tensor) -> Tensor:
        in_space = self._centred(change.flatten(2)).view_as(change) * self.ratio[..., None, None]
        return torch.cat([self._in_picture.derived(joints, change), in_space], dim=-2)

    def _centred(self, x: Float[Tensor, "n 21 c"]) -> Float[Tensor, "n 21 c"]:
        return centred(x, self.weight > 0)

    @property
    def _in_picture(self) -> MeasuredPixels:
        return MeasuredPixels(self.points, self.weight, self.focal, self.princpt)


Measured = MeasuredPoints | MeasuredPixels | MeasuredLandmarks


def centred(x: Float[Tensor, "n 21 c"], given: Bool[Tensor, "n 21"]) -> Float[Tensor, "n 21 c"]:
    """Less the mean over the given joints."""
    share = given.to(x) / given.sum(dim=1, keepdim=True).clamp_min(1)
    return x - einsum(share, x, "n p, n p c -> n c")[:, None]


class Solver:
    """Levenberg-Marquardt for many hands: 48 numbers of rotation (increments on the right of each joint's
    matrix), 10 of shape, 3 of the wrist."""

    def __init__(self, model: JointModel, prior: AnglePrior):
        self.model = model
        self.prior = prior

    def best(self, measured: Measured) -> FittedHands:
        """The likeliest of the hands that the measurements' starts lead to."""
        n, starts = len(measured.points), measured.starts(self.model)
        all_starts = FitState(*(torch.cat(fields) for fields in zip(*starts)))
        repeated = type(measured)(*(field.repeat(len(starts), *[1] * (field.ndim - 1)) for field in measured))
        rough, cost, _ = self.solve(all_starts, repeated, ROUGH_ITERATIONS)
        choice = cost.unflatten(0, (len(starts), n)).argmin(dim=0) * n + torch.arange(n, device=cost.device)
        start = rough.at(choice)
        hands, _, converged = self.solve(start, measured, MAX_ITERATIONS)
        return self.result(hands, measured, converged)

    def result(self, hands: FitState, measured: Measured, converged: Bool[Tensor, "n"]) -> FittedHands:
        """Hands with their joints and residuals."""
        joints = self.model.posed(*hands)
        errors = measured.errors(joints)[..., : measured.points.shape[-1]]
        residual = errors.norm(dim=-1).where(measured.weight > 0, torch.nan)
        return FittedHands(
            rotmat_to_pose(hands.rotations), hands.betas, hands.trans, joints, residual, converged
        )

    def cost(self, hands: FitState, measured: Measured) -> Float[Tensor, "n"]:
        """Squared errors of joints and priors, in standard deviations."""
        errors = measured.errors(self.model.posed(*hands)) * measured.weight[..., None]
        priors = self.prior.errors(hands.rotations[:, 1:])
        return (
            errors.square().sum(dim=(1, 2))
            + priors.square().sum(dim=(1, 2))
            + hands.betas.square().sum(dim=1)
        )

    def normal_equations(
        self, hands: FitState, measured: Measured
    ) -> tuple[Float[Tensor, "n 61 61"], Float[Tensor, "n 61"]]:
        """J^T J and -J^T r of the errors that `cost` squares."""
        posed = self.model.derived(*hands)
        n = len(posed.joints)
        by_trans = torch.eye(3, dtype=posed.joints.dtype, device=posed.joints.device).expand(n, 21, 3, 3)
        jacobian = torch.cat([posed.by_rotation.flatten(-2), posed.by_betas, by_trans], dim=-1)
        jacobian = measured.derived(posed.joints, jacobian) * measured.weight[..., None, None]
        errors = measured.errors(posed.joints) * measured.weight[..., None]
        jacobian, errors = jacobian.flatten(1, 2), errors.flatten(1)
        matrix = jacobian.mT @ jacobian
        vector = -einsum(jacobian, errors, "n r k, n r -> n k")

        errors, rates = self.prior.derived(hands.rotations[:, 1:])
        joint = torch.arange(1, NUM_MANO_JOINTS, device=matrix.device)
        blocks = (
            matrix[:, :POSE_DIM, :POSE_DIM]
            .unflatten(1, (NUM_MANO_JOINTS, 3))
            .unflatten(3, (NUM_MANO_JOINTS, 3))
        )
        blocks[:, joint, :, joint] += rearrange(rates.mT @ rates, "n j a b -> j n a b")
        vector[:, 3:POSE_DIM] -= einsum(rates, errors, "n j e a, n j e -> n j a").flatten(1)
        shape = slice(POSE_DIM, POSE_DIM + NUM_BETAS)
        matrix.diagonal(dim1=1, dim2=2)[:, shape] += 1.0
        vector[:, shape] -= hands.betas
        return matrix, vector

    def solve(
        self, hands: FitState, measured: Measured, max_iterations: int
    ) -> tuple[FitState, Tensor, Tensor]:
        """(hands, cost [N], converged [N]) after at most that many steps; a hand that came to rest costs
        nothing further."""
        hands = FitState(*(field.clone() for field in hands))
        cost = self.cost(hands, measured)
        damping = torch.full_like(cost, _FIRST_DAMPING)
        active = torch.arange(len(cost), device=cost.device)
        for _ in range(max_iterations):
            here, seen = hands.at(active), type(measured)(*(field[active] for field in measured))
            matrix, vector = self.normal_equations(here, seen)
            lift = damping[active, None] * matrix.diagonal(dim1=1, dim2=2).clamp_min(1e-9)
            step = torch.linalg.solve(matrix + torch.diag_embed(lift), vector)
            promise = (step * (vector + lift * step)).sum(dim=1)
            there = _moved(here, step)
            reached = self.cost(there, seen)
            better = reached < cost[active]
            winners = active[better]
            for field, new in zip(hands, there):
                field[winners] = new[better]
            cost[winners] = reached[better]
            factor = torch.where(better, 1 / _DAMPING_STEP, _DAMPING_STEP)
            damping[active] = (damping[active] * factor).clamp_min(_LEAST_DAMPING)
            active = active[promise > TOLERANCE]
            if len(active) == 0:
                break
        converged = torch.ones_like(cost, dtype=torch.bool)
        converged[active] = False
        return hands, cost, converged


def _moved(hands: FitState, step: Float[Tensor, "n 61"]) -> FitState:
    turn, shape, shift = step.split([POSE_DIM, NUM_BETAS, 3], dim=1)
    turn = roma.rotvec_to_rotmat(rearrange(turn, "n (j c) -> n j c", c=3))
    return FitState(hands.rotations @ turn, hands.betas + shape, hands.trans + shift)
