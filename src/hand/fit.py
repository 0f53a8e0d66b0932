"""Hand parameters of given joints: pose, shape and wrist whose hand has its 21 joints where they were
measured, in 3D or in a picture.

The most probable hand under Gaussian noise on the joints and Gaussian priors on shape and joint angles, found
by Levenberg-Marquardt (Marquardt, "An Algorithm for Least-Squares Estimation of Nonlinear Parameters", 1963)
on the manifold of rotations, all hands at once, each with its own damping. Joints do not show the twist of a
straight finger about its own bone, nor all of the shape: there the priors decide.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm import tqdm

from tempohand.geometry import mirror_points, mirror_pose
from tempohand.hand.fit_solver import (
    CHUNK,
    LEAST_JOINTS,
    FittedHands,
    Measured,
    MeasuredLandmarks,
    MeasuredPixels,
    MeasuredPoints,
    Solver,
    centred,
)
from tempohand.hand.jacobian import JointModel
from tempohand.hand.layer import HandLayer
from tempohand.hand.one_shape import share_shape
from tempohand.hand.pose import need_tensors
from tempohand.hand.prior import AnglePrior

NOISE_MM = 0.3
NOISE_PX = 1.0


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
    measured = _points(joints, mask, is_right, noise)
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
    measured = _pixels(joints2d, (focal, princpt), mask, is_right, noise)
    return _fit(layer, measured, is_right, joints2d.dtype, progress)


def fit_one_shape(
    layer: HandLayer,
    joints: Float[Tensor, "n 21 c"],
    mask: Bool[Tensor, "n 21"] | None = None,
    *,
    camera: tuple[Float[Tensor, "n 2"], Float[Tensor, "n 2"]] | None = None,
    is_right: Bool[Tensor, "n"] | None = None,
    person: Int[Tensor, "n"] | None = None,
    noise: float,
    progress: bool = False,
) -> FittedHands:
    """As `fit_hands`, or with a `camera` (focal, princpt, px) as `fit_hands_2d`, with one shape for all hands
    of a person and side: what hides the shape in one frame is seen in another.

    person: whose each hand is, any whole numbers; without it all are one's. Raises ValueError as `fit_hands`.
    """
    need_tensors(person=person)
    if camera is None:
        measured = _points(joints, mask, is_right, noise)
    else:
        measured = _pixels(joints, camera, mask, is_right, noise)
    nobody = torch.zeros(len(joints), dtype=torch.long, device=joints.device)
    whose = torch.stack([nobody if x is None else x.long() for x in (person, is_right)], dim=1)
    group = whose.unique(dim=0, return_inverse=True)[1]
    return _fit(layer, measured, is_right, joints.dtype, progress, group)


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
    measured = MeasuredLandmarks(*pixels, centred(relative, given), noise / relative_noise)
    return _fit(layer, measured, is_right, joints2d.dtype)


def _points(joints: Tensor, mask: Tensor | None, is_right: Tensor | None, noise: float) -> MeasuredPoints:
    need_tensors(joints=joints, mask=mask, is_right=is_right)
    given = _given(joints, mask)
    points = _right(torch.where(given[..., None], joints, 0.0).double(), is_right)
    return MeasuredPoints(points, given.double() / _positive(noise))


def _pixels(
    joints2d: Tensor,
    camera: tuple[Tensor, Tensor],
    mask: Tensor | None,
    is_right: Tensor | None,
    noise: float,
) -> MeasuredPixels:
    focal, princpt = camera
    need_tensors(joints2d=joints2d, focal=focal, princpt=princpt, mask=mask, is_right=is_right)
    given = _given(joints2d, mask)
    return MeasuredPixels(*_right_pixels(joints2d, focal, princpt, given, is_right, _positive(noise)))


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
    layer: HandLayer,
    measured: Measured,
    is_right: Tensor | None,
    dtype: torch.dtype,
    progress: bool = False,
    group: Int[Tensor, "n"] | None = None,
) -> FittedHands:
    """group: hands of one number get one shape."""
    if layer.side != "right":
        raise ValueError(
            "hands are fitted with a right hand's model (left hands mirrored), this layer is a left "
            "hand's: HandLayer(..., side='right')"
        )
    solver = Solver(JointModel(layer), AnglePrior(measured.points.device))
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
    if group is not None and len(usable):
        part = type(measured)(*(field[usable] for field in measured))
        alone = FittedHands(*(field[usable] for field in result))
        numbered = group[usable].unique(return_inverse=True)[1]
        for field, values in zip(result, share_shape(solver, part, alone, numbered)):
            field[usable] = values
    if is_right is not None:
        right = is_right[:, None]
        mirrored = torch.where(right, result.pose, mirror_pose(result.pose))
        result = result._replace(
            pose=mirrored, trans=_right(result.trans, is_right), joints=_right(result.joints, is_right)
        )
    return FittedHands(*(field.to(dtype) for field in result[:-1]), result.converged)
