"""Hand parameters of given joints: pose, shape and wrist whose hand has its 21 joints where they were
measured, in 3D or in a picture.

The most probable hand under Gaussian noise on the joints and Gaussian priors on shape and joint angles, found
by Levenberg-Marquardt (Marquardt, "An Algorithm for Least-Squares Estimation of Nonlinear Parameters", 1963)
on the manifold of rotations, all hands at once, each with its own damping. Joints do not show the twist of a
straight finger about its own bone, nor all of the shape: there the priors decide.
"""

from typing import NamedTuple

import roma
import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import tqdm

from tempohand.geometry import MIN_DEPTH_MM, mirror_points, mirror_pose, project
from tempohand.hand.initial_guess import FitState, place_by_rays, start_from_points, starts_from_picture
from tempohand.hand.jacobian import JointModel
from tempohand.hand.layer import HandLayer
from tempohand.hand.pose import need_tensors, rotmat_to_pose
from tempohand.hand.prior import AnglePrior
from tempohand.skeleton import NUM_BETAS, NUM_MANO_JOINTS, POSE_DIM

NOISE_MM = 0.3
NOISE_PX = 1.0
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


class _Points(NamedTuple):
    """Joints measured in space; weight is 1 / noise, 0 where not measured."""

    points: Float[Tensor, "n 21 3"]
    weight: Float[Tensor, "n 21"]

    def starts(self, model: JointModel) -> list[FitState]:
        return [start_from_points(model, *self)]

    def errors(self, joints: Tensor) -> Tensor:
        return joints - self.points

    def derived(self, joints: Tensor, change: Tensor) -> Tensor:
        return change


class _Pixels(NamedTuple):
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


class _Landmarks(NamedTuple):
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
        return torch.cat([self._pixels.errors(joints), in_space * self.ratio[..., None]], dim=-1)

    def derived(self, joints: Tensor, change: Tensor) -> Tensor:
        in_space = self._centred(change.flatten(2)).view_as(change) * self.ratio[..., None, None]
        return torch.cat([self._pixels.derived(joints, change), in_space], dim=-2)

    def _centred(self, x: Float[Tensor, "n 21 c"]) -> Float[Tensor, "n 21 c"]:
        return centred(x, self.weight > 0)

    @property
    def _pixels(self) -> _Pixels:
        return _Pixels(self.points, self.weight, self.focal, self.princpt)


_Measured = _Points | _Pixels | _Landmarks


def centred(x: Float[Tensor, "n 21 c"], given: Bool[Tensor, "n 21"]) -> Float[Tensor, "n 21 c"]:
    """Less the mean over the given joints."""
    share = given.to(x) / given.sum(dim=1, keepdim=True).clamp_min(1)
    return x - einsum(share, x, "n p, n p c -> n c")[:, None]


class _Solver:
    """Levenberg-Marquardt for many hands: 48 numbers of rotation (increments on the right of each joint's
    matrix), 10 of shape, 3 of the wrist."""

    def __init__(self, model: JointModel, prior: AnglePrior):
        self.model = model
        self.prior = prior

    def best(self, measured: _Measured) -> FittedHands:
        """The likeliest of the hands that the measurements' starts lead to."""
        n, starts = len(measured.points), measured.starts(self.model)
        all_starts = FitState(*(torch.cat(fields) for fields in zip(*starts)))
        repeated = type(measured)(*(field.repeat(len(starts), *[1] * (field.ndim - 1)) for field in measured))
        rough, cost, _ = self.solve(all_starts, repeated, ROUGH_ITERATIONS)
        choice = cost.unflatten(0, (len(starts), n)).argmin(dim=0) * n + torch.arange(n, device=cost.device)
        start = rough.at(choice)
        hands, _, converged = self.solve(start, measured, MAX_ITERATIONS)
        joints = self.model.posed(*hands)
        errors = measured.errors(joints)[..., : measured.points.shape[-1]]
        residual = errors.norm(dim=-1).where(measured.weight > 0, torch.nan)
        return FittedHands(
            rotmat_to_pose(hands.rotations), hands.betas, hands.trans, joints, residual, converged
        )

    def cost(self, hands: FitState, measured: _Measured) -> Float[Tensor, "n"]:
        """Squared errors of joints and priors, in standard deviations."""
        errors = measured.errors(self.model.posed(*hands)) * measured.weight[..., None]
        priors = self.prior.errors(hands.rotations[:, 1:])
        return (
            errors.square().sum(dim=(1, 2))
            + priors.square().sum(dim=(1, 2))
            + hands.betas.square().sum(dim=1)
        )

    def normal_equations(
        self, hands: FitState, measured: _Measured
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
        self, hands: FitState, measured: _Measured, max_iterations: int
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


def fit_hands(
    layer: HandLayer,
    joints: Float[Tensor, "n 21 3"],
    mask: Bool[Tensor, "n 21"] | None = None,
    *,
    is_right: Bool[Tensor, "n"] | None = None,
    noise: float = NOISE_MM,
    progress: bool = False,
) -> FittedHands:
    """Fits hands to joints in space (mm, any right-handed frame).

    joints: OpenPose order; a joint is missing where `mask` is False or a coordinate is not finite. is_right:
    left hands are mirrored for the fit and their results back; without it all are right. noise: standard
    deviation of a joint's coordinates (mm), which weighs the joints against the priors. Raises ValueError for
    the layer of a left hand and for a noise that is not positive.
    """
    need_tensors(joints=joints, mask=mask, is_right=is_right)
    given = _given(joints, mask)
    points = _right(torch.where(given[..., None], joints, 0.0).double(), is_right)
    measured = _Points(points, given.double() / _positive(noise))
    return _fit(layer, measured, is_right, joints.dtype, progress)


def fit_hands_2d(
    layer: HandLayer,
    joints2d: Float[Tensor, "n 21 2"],
    focal: Float[Tensor, "n 2"],
    princpt: Float[Tensor, "n 2"],
    mask: Bool[Tensor, "n 21"] | None = None,
    *,
    is_right: Bool[Tensor, "n"] | None = None,
    noise: float = NOISE_PX,
    progress: bool = False,
) -> FittedHands:
    """Fits hands to joints in a picture: pixels and the camera (focal, princpt) that saw them. As
    `fit_hands`, with `noise` in px.

    One picture does not tell a near small hand from a far large one, nor always which way a finger bends:
    there the priors decide.
    """
    need_tensors(joints2d=joints2d, focal=focal, princpt=princpt, mask=mask, is_right=is_right)
    given = _given(joints2d, mask)
    measured = _Pixels(*_right_pixels(joints2d, focal, princpt, given, is_right, _positive(noise)))
    return _fit(layer, measured, is_right, joints2d.dtype, progress)


def fit_landmarks(
    layer: HandLayer,
    joints2d: Float[Tensor, "n 21 2"],
    relative: Float[Tensor, "n 21 3"],
    focal: Float[Tensor, "n 2"],
    princpt: Float[Tensor, "n 2"],
    *,
    is_right: Bool[Tensor, "n"] | None = None,
    noise: Float[Tensor, "n"],
    relative_noise: float,
) -> FittedHands:
    """Fits hands to what a landmark network gives: joints in a picture (px, seen by the camera focal,
    princpt), and in space from an origin of no meaning (`relative`: mm, camera axes).

    The pixels say where a hand is, the bone lengths of the hand model how far away, `relative` which way
    fingers bend. A joint of which any coordinate is not finite is missing. noise: standard deviation of each
    hand's pixels, px (a share of its box, say); relative_noise: of `relative`, mm. Residuals are px. Raises
    ValueError as `fit_hands`.
    """
    need_tensors(joints2d=joints2d, relative=relative, focal=focal, princpt=princpt, is_right=is_right)
    given = _given(torch.cat([joints2d, relative], dim=-1), None)
    for value in (relative_noise, float(noise.min()), float(noise.max())):
        _positive(value)
    noise = noise.double()[:, None]
    pixels = _right_pixels(joints2d, focal, princpt, given, is_right, noise)
    relative = _right(torch.where(given[..., None], relative.double(), 0.0), is_right)
    measured = _Landmarks(*pixels, centred(relative, given), noise / relative_noise)
    return _fit(layer, measured, is_right, joints2d.dtype)


def _right_pixels(
    joints2d: Tensor,
    focal: Tensor,
    princpt: Tensor,
    given: Tensor,
    is_right: Tensor | None,
    noise: float | Float[Tensor, "n 1"],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Joints (mirrored about the principal point for left hands: the picture keeps its camera), weights and
    cameras, in double precision."""
    princpt = princpt.double()
    offset = torch.where(given[..., None], joints2d.double() - princpt[:, None], 0.0)
    if is_right is not None:
        offset = torch.where(is_right[:, None, None], offset, offset * offset.new_tensor([-1.0, 1.0]))
    return offset + princpt[:, None], given.double() / noise, focal.double(), princpt


def _given(points: Tensor, mask: Tensor | None) -> Bool[Tensor, "n 21"]:
    finite = points.isfinite().all(dim=-1)
    return finite if mask is None else finite & mask


def _positive(noise: float) -> float:
    if not 0 < noise < float("inf"):
        raise ValueError(f"noise is a standard deviation, a positive number, not {noise}")
    return noise


def _right(points: Tensor, is_right: Tensor | None) -> Tensor:
    """Points of left hands mirrored; does the same on the way back."""
    if is_right is None:
        return points
    return torch.where(is_right.reshape(-1, *[1] * (points.ndim - 1)), points, mirror_points(points))


def _fit(
    layer: HandLayer, measured: _Measured, is_right: Tensor | None, dtype: torch.dtype, progress: bool = False
) -> FittedHands:
    if layer.side != "right":
        raise ValueError(
            "hands are fitted with a right hand's model (left hands mirrored), this layer is a left "
            "hand's: HandLayer(..., side='right')"
        )
    solver = _Solver(JointModel(layer), AnglePrior(measured.points.device))
    n, device = len(measured.points), measured.points.device
    result = FittedHands(
        *(
            torch.full((n, *shape), torch.nan, dtype=torch.float64, device=device)
            for shape in ((48,), (10,), (3,), (21, 3), (21,))
        ),
        torch.zeros(n, dtype=torch.bool, device=device),
    )
    usable = ((measured.weight > 0).sum(dim=1) >= LEAST_JOINTS).nonzero().squeeze(1)
    with tqdm(total=len(usable), unit="hand", disable=not progress) as bar:
        for rows in usable.split(CHUNK):
            part = type(measured)(*(field[rows] for field in measured))
            for field, values in zip(result, solver.best(part)):
                field[rows] = values
            bar.update(len(rows))
    if is_right is not None:
        right = is_right[:, None]
        mirrored = torch.where(right, result.pose, mirror_pose(result.pose))
        result = result._replace(
            pose=mirrored, trans=_right(result.trans, is_right), joints=_right(result.joints, is_right)
        )
    return FittedHands(*(field.to(dtype) for field in result[:-1]), result.converged)
