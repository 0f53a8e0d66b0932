"""Hand3D's losses: of its numbers, where they are known (pretraining); of 2D joints and masks, which are weak
labels; of 3D joints, whose size and camera another hand model has. Pure functions from a prediction and a
batch to unreduced terms with their masks.

Lengths in the picture are px of the frame of 256 px that the numbers are in (hand3d_parameters.py).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tempohand.batch import ClipBatch, HandPrediction, HandTarget, Term
from tempohand.geometry import normalise_pixels, project
from tempohand.hand.layer import MM_PER_METRE, HandLayer
from tempohand.model.hand3d_parameters import FRAME, LEAST_SCALE, WeakHand, framed, weak_hand
from tempohand.model.losses import l1, squared, without_unknown
from tempohand.model.sampling import sample

PARTS = ("scale", "translation", "rotation", "pose", "shape")
# Hand3D's loss terms -> what switches their labels on; columns of the frame table (docs/data.md).
TERMS = {
    **dict.fromkeys(PARTS, "has_hand"),
    **{f"{part}_l1": "has_hand" for part in PARTS},
    "joints2d": "joints2d_mask",
    "mask": "mask",
    "pose_prior": "nothing (it is always on)",
    "shape_prior": "nothing (it is always on)",
    "joints3d_weak_perspective": "joints_mask",
    "joints3d_normalised": "joints_mask",
    "joints3d_normalised_not_detached": "joints_mask",
}
LEAST_SPREAD_MM = 1.0  # of joints along an axis that z-scores divide by
LEAST_JOINTS = 4  # of a hand whose joints are compared in 3D


def hand3d_terms(prediction: HandPrediction, batch: ClipBatch, layer: HandLayer) -> dict[str, Term]:
    """Every term that Hand3D can be trained with.

    scale to shape: squared differences of the numbers, `*_l1`: absolute ones; joints2d: L1, px; mask: the
    share of the mesh's vertices that lie outside the hand's mask; pose_prior, shape_prior: mean squares of
    the components and betas; joints3d_*: mean-centred 3D joints, compared in three ways.
    """
    target = without_unknown(batch.labels)
    said = prediction.terms["numbers"]
    terms = _of_numbers(said, target, batch, layer)
    width_height = batch.frames.size[::-1]
    apart = FRAME * l1(prediction.joints2d, target.joints2d)
    terms["joints2d"] = Term(apart, target.joints2d_mask)
    mask = batch.frames.mask
    if mask is not None:
        mask = mask[: len(batch)]
        pixels = project(prediction.vertices, batch.focal[:, -1:].float(), batch.princpt[:, -1:].float())
        places = normalise_pixels(pixels, width_height)[:, 0]
        inside = sample(mask.float(), places, batch.frames.size)[:, None, :, 0]
        terms["mask"] = Term(1 - inside, mask.flatten(1).any(dim=1, keepdim=True))
    always = torch.ones_like(target.hand_mask)
    numbers = WeakHand.unpacked(said)
    terms["pose_prior"] = Term(numbers.pose.square(), always)
    terms["shape_prior"] = Term(numbers.shape.square(), always)
    return terms | _of_joints(prediction.joints, numbers.scale, target, batch)


def _of_numbers(
    said: Float[Tensor, "b 1 n"], target: HandTarget, batch: ClipBatch, layer: HandLayer
) -> dict[str, Term]:
    """Of scale, translation, rotation, pose and shape against those of the labelled hand in this view."""
    ours = WeakHand.unpacked(said)
    camera = framed(batch.focal[:, -1:], batch.princpt[:, -1:], batch.edge)
    components = ours.pose.shape[-1]
    true = weak_hand(layer, target.pose, target.shape, target.trans, *camera, components=components)
    pairs = {part: (getattr(ours, part), getattr(true, part)) for part in PARTS}
    pairs["rotation"] = (ours.rotation, nearest_turn(true.rotation, ours.rotation))
    terms = {part: Term(squared(*pair), target.hand_mask) for part, pair in pairs.items()}
    return terms | {f"{part}_l1": Term(l1(*pair), target.hand_mask) for part, pair in pairs.items()}


def nearest_turn(
    rotvec: Float[Tensor, "*batch 3"], to: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch 3"]:
    """Of the axis-angle vectors of a rotation, the one up to half a turn and the one beyond, that which is
    nearer to another vector: without the second a prediction slightly past half a turn is the farthest from
    its truth."""
    angle = rotvec.norm(dim=-1, keepdim=True)
    beyond = rotvec * (1 - 2 * torch.pi / angle.clamp_min(1e-6))
    nearer = (beyond - to).norm(dim=-1, keepdim=True) < (rotvec - to).norm(dim=-1, keepdim=True)
    return torch.where(nearer & (angle > 1e-6), beyond, rotvec).detach()


def _of_joints(
    joints: Float[Tensor, "b 1 21 3"], scale: Float[Tensor, "b 1"], target: HandTarget, batch: ClipBatch
) -> dict[str, Term]:
    """The three ways. Labels may be in another hand's size, and in the distance of another camera:

    weak_perspective brings the truth into the hand model's metres by the predicted scale s: truth * f / (z *
    s), f and z being the crop's focal length and the truth's mean depth; the gradient reaches s. normalised:
    z-scores along each axis, whose mean and deviation get no gradient; not_detached: they do, so the hand's
    place and extents along the axes are left alone.
    """
    known = target.joints_mask[..., None].float()
    here = target.joints_mask & (target.joints_mask.sum(dim=-1, keepdim=True) >= LEAST_JOINTS)
    focal, _ = framed(batch.focal[:, -1:], batch.princpt[:, -1:], batch.edge)
    depth = _mean(target.joints, known)[..., 0, 2].clamp_min(1.0)
    to_metres = focal.log().mean(dim=-1).exp() / (depth * scale.clamp_min(LEAST_SCALE))
    true = to_metres[..., None, None] * (target.joints - _mean(target.joints, known))
    ours = (joints - _mean(joints, known)) / MM_PER_METRE
    score = z_scores(target.joints, target.joints_mask)
    detached = z_scores(joints, target.joints_mask, detach=True)
    attached = z_scores(joints, target.joints_mask)
    return {
        "joints3d_weak_perspective": Term(squared(ours, true), here),
        "joints3d_normalised": Term(squared(detached, score), here),
        "joints3d_normalised_not_detached": Term(squared(attached, score), here),
    }


def z_scores(
    joints: Float[Tensor, "*batch n 3"], mask: Bool[Tensor, "*batch n"], *, detach: bool = False
) -> Float[Tensor, "*batch n 3"]:
    """Joints (mm) less their mean, over their standard deviation, of each axis by itself and of the joints in
    `mask`; detach: as if mean and deviation were constants."""
    known = mask[..., None].float()
    mean = _mean(joints, known)
    spread = _mean((joints - mean).square(), known).clamp_min(LEAST_SPREAD_MM**2).sqrt()
    if detach:
        mean, spread = mean.detach(), spread.detach()
    return (joints - mean) / spread


def _mean(values: Float[Tensor, "*batch n 3"], known: Float[Tensor, "*batch n 1"]) -> Tensor:
    return (values * known).sum(dim=-2, keepdim=True) / known.sum(dim=-2, keepdim=True).clamp_min(1.0)
