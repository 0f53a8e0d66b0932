"""PoseNet's losses: pure functions from a prediction and a batch to unreduced terms with their masks.
Averages and weights come later.

Every term is [B, 1, ...] against a mask [B, 1, ...] that broadcasts over its last axes; lengths inside terms
are in mm, 2D in crop widths.
"""

from dataclasses import replace

import roma
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tempohand.batch import ClipBatch, HandPrediction, HandTarget, Term
from tempohand.geometry import denormalise_pixels, hand_size
from tempohand.model.heads import DEPTH_RANGE, HEATMAP_SIGMA, JOINT_DEPTH_RANGE_MM, UV_RANGE, depth_prior
from tempohand.skeleton import HAND_SIZE_CHAIN, WRIST

# PoseNet's loss terms -> what switches their labels on; columns of the frame table (docs/data.md).
TERMS = {
    "orientation": "has_hand",
    "pose": "has_hand",
    "shape": "has_hand",
    "uv": "joints2d_mask of the wrist",
    "depth": "has_hand and has_camera",
    "joints": "joints_mask, of the wrist too",
    "joints2d": "joints2d_mask",
    "heatmap": "joints2d_mask",
    "joint_depth": "joints_mask, of the wrist too",
    "translation": "has_hand and has_camera",
    "landmarks": "joints2d_mask",
    "side": "is_right, and view.augmentation.mirror,",
    "velocity": "joints_mask of neighbouring frames, of the wrist too",
    "wrist_velocity": "has_hand and has_camera of neighbouring frames",
    "velocity2d": "joints2d_mask of neighbouring frames",
}


def l1(prediction: Tensor, target: Tensor) -> Tensor:
    """|prediction - target|; shapes must be equal, nothing is broadcast."""
    assert prediction.shape == target.shape, (
        f"prediction {tuple(prediction.shape)} against target {tuple(target.shape)}"
    )
    return (prediction - target).abs()


def squared(prediction: Tensor, target: Tensor) -> Tensor:
    """(prediction - target)^2, under the same rule."""
    assert prediction.shape == target.shape, (
        f"prediction {tuple(prediction.shape)} against target {tuple(target.shape)}"
    )
    return (prediction - target).square()


def posenet_terms(
    prediction: HandPrediction, batch: ClipBatch, expansion: float, norm_by_hand: bool
) -> dict[str, Term]:
    """Every term that PoseNet can be trained with.

    orientation, pose: L1 and squared difference of rotation matrices' entries, which are continuous
    everywhere, unlike axis-angle's under a full roll (L1 learns the orientation faster; for fingers its least
    is at the median, which is mostly straight, where the square's is at the mean of what a finger may be
    doing); shape: L1 of betas; uv, depth: the wrist in the crop and log depth around the prior (under
    norm_by_hand in true hand sizes); joints: wrist-relative L1, mm; joints2d: reprojection; heatmap,
    joint_depth: cross-entropy of the joints' heat maps and of their depths relative to the wrist;
    landmarks: L1 of where the backbone itself sees the joints, so that one that learns goes on seeing them;
    translation: that of the heat-map translation head; side: binary cross-entropy of whether the crop shows a
    right hand; velocity, wrist_velocity: L1 of the motion since the previous frame, between clips of the
    batch that follow each other, mm; velocity2d: the same in the picture, in widths of the last crop.
    """
    target = without_unknown(batch.labels)
    truth = roma.rotvec_to_rotmat(target.pose.unflatten(-1, (16, 3)))
    uv, log_depth = wrist_targets(replace(batch, target=target), expansion, norm_by_hand)
    known_wrist = target.hand_mask & target.camera_mask
    known_depth = (
        known_wrist & target.joints_mask[..., HAND_SIZE_CHAIN].all(dim=-1) if norm_by_hand else known_wrist
    )
    relative = [joints - joints[..., WRIST : WRIST + 1, :] for joints in (prediction.joints, target.joints)]
    joints_mask = target.joints_mask & target.joints_mask[..., WRIST : WRIST + 1]
    terms = {
        "orientation": Term(l1(prediction.rotation[..., 0, :, :], truth[..., 0, :, :]), target.hand_mask),
        "pose": Term(squared(prediction.rotation[..., 1:, :, :], truth[..., 1:, :, :]), target.hand_mask),
        "shape": Term(l1(prediction.shape, target.shape), target.hand_mask),
        "uv": Term(l1(prediction.terms["uv"], uv), target.joints2d_mask[..., WRIST]),
        "depth": Term(l1(prediction.terms["log_depth"], log_depth), known_depth),
        "joints": Term(l1(*relative), joints_mask),
        "joints2d": Term(l1(prediction.joints2d, target.joints2d).clamp(max=2.0), target.joints2d_mask),
    }
    if "translation_logits" in prediction.terms:
        place = torch.cat([uv / UV_RANGE, log_depth[..., None] / DEPTH_RANGE], dim=-1)
        value, within = bins_cross_entropy(prediction.terms["translation_logits"], place)
        terms["translation"] = Term(
            value, within & known_depth[..., None], known_depth[..., None].expand_as(within)
        )
    if "heatmaps" in prediction.terms:
        terms |= _heatmap_terms(prediction, target, relative[1][..., 2].detach(), joints_mask)
    if "landmarks" in prediction.terms:
        places = prediction.terms["landmarks"].float()
        terms["landmarks"] = Term(l1(places, target.joints2d).clamp(max=2.0), target.joints2d_mask)
    if "side_logit" in prediction.terms:
        logit = prediction.terms["side_logit"]
        is_right = (
            torch.ones_like(logit) if batch.shows_right is None else batch.shows_right[:, None].to(logit)
        )
        terms["side"] = Term(
            F.binary_cross_entropy_with_logits(logit, is_right, reduction="none"),
            torch.ones_like(logit, dtype=torch.bool),
        )
    if batch.previous is not None:
        terms |= _motion_terms(
            [prediction.joints, target.joints], relative, joints_mask, known_wrist, batch.previous
        )
        terms["velocity2d"] = _motion2d([prediction.joints2d, target.joints2d], target.joints2d_mask, batch)
    return terms


def _heatmap_terms(
    prediction: HandPrediction,
    target: HandTarget,
    depth: Float[Tensor, "b 1 21"],
    joints_mask: Bool[Tensor, "b 1 21"],
) -> dict[str, Term]:
    """heatmap and joint_depth. depth: the joints' true ones from the wrist, mm, valid where `joints_mask`."""
    value, within = heatmap_cross_entropy(prediction.terms["heatmaps"], target.joints2d)
    terms = {"heatmap": Term(value, within & target.joints2d_mask, target.joints2d_mask)}
    value, within = bins_cross_entropy(prediction.terms["joint_depth_logits"], depth / JOINT_DEPTH_RANGE_MM)
    return terms | {"joint_depth": Term(value, within & joints_mask, joints_mask)}


def _motion_terms(
    joints: list[Float[Tensor, "b 1 21 3"]],
    relative: list[Float[Tensor, "b 1 21 3"]],
    joints_mask: Bool[Tensor, "b 1 21"],
    wrist_mask: Bool[Tensor, "b 1"],
    previous: Int[Tensor, "b"],
) -> dict[str, Term]:
    """velocity and wrist_velocity. joints, relative: the predicted and the true ones, mm, in camera space and
    from the wrist; previous: the place in the batch of the clip one frame before, negative where there is
    none."""
    follows = previous >= 0
    before = previous.clamp_min(0)
    steps = [places - places[before] for places in relative]
    wrist_steps = [places[..., WRIST, :] - places[before][..., WRIST, :] for places in joints]
    return {
        "velocity": Term(l1(*steps), joints_mask & joints_mask[before] & follows[:, None, None]),
        "wrist_velocity": Term(l1(*wrist_steps), wrist_mask & wrist_mask[before] & follows[:, None]),
    }


def _motion2d(
    joints2d: list[Float[Tensor, "b 1 21 2"]], mask: Bool[Tensor, "b 1 21"], batch: ClipBatch
) -> Term:
    """velocity2d. joints2d: the predicted and the true ones in the crops, which move with the hand: motion is
    that of the joints' directions from the camera, which all crops of a view share."""
    focal, princpt = batch.focal[:, -1:, None].float(), batch.princpt[:, -1:, None].float()
    before = batch.previous.clamp_min(0)
    steps = []
    for places in joints2d:
        direction = (denormalise_pixels(places, batch.frames.size[::-1]) - princpt) / focal
        steps.append((direction - direction[before]) * focal / batch.edge)
    follows = (batch.previous >= 0)[:, None, None]
    return Term(l1(*steps).clamp(max=2.0), mask & mask[before] & follows)


def without_unknown(target: HandTarget) -> HandTarget:
    """The same labels with 0 in place of those that are masked out, which may hold anything.

    Masking a term's value is not enough: a nan that is left out of a mean still makes the gradient of what it
    was computed with nan.
    """
    masks = {"joints2d": target.joints2d_mask, "joints": target.joints_mask}
    masks |= dict.fromkeys(("pose", "shape", "trans"), target.hand_mask)
    known = {name: getattr(target, name).where(mask[..., None], 0.0) for name, mask in masks.items()}
    return replace(target, **known)


def wrist_targets(
    batch: ClipBatch, expansion: float, norm_by_hand: bool
) -> tuple[Float[Tensor, "b 1 2"], Float[Tensor, "b 1"]]:
    """True wrist uv in the crop, and the log of its depth over the prior.

    Under norm_by_hand the depth is in units of the true hand's size; nothing else ever sees that size.
    """
    target = batch.target
    size = batch.edge
    focal = batch.focal[:, -1:]
    depth = target.trans[..., 2].clamp_min(1.0)
    if norm_by_hand:
        depth = depth / hand_size(target.joints).clamp_min(1.0)
    log_depth = (depth / depth_prior(focal, size, expansion, norm_by_hand=norm_by_hand)).log()
    return target.joints2d[..., WRIST, :], log_depth


def heatmap_cross_entropy(
    logits: Float[Tensor, "b 1 21 h w"], joints2d: Float[Tensor, "b 1 21 2"]
) -> tuple[Float[Tensor, "b 1 21"], Bool[Tensor, "b 1 21"]]:
    """Cross-entropy against a normalised Gaussian around the joint, and which joints lie in the crop (others
    have no place in the map)."""
    height, width = logits.shape[-2:]
    place = denormalise_pixels(joints2d, (width, height)) - 0.5  # in bins, centres at integers
    u, v = (
        F.softmax(
            -((torch.arange(bins, device=logits.device) - place[..., axis, None]) ** 2)
            / (2 * HEATMAP_SIGMA**2),
            dim=-1,
        )
        for axis, bins in enumerate((width, height))
    )
    log_probability = logits.flatten(-2).log_softmax(dim=-1).view_as(logits)
    value = -torch.einsum("bjkv,bjkvu,bjku->bjk", v, log_probability, u)
    return value, (joints2d.abs() <= 0.5).all(dim=-1)


def bins_cross_entropy(
    logits: Float[Tensor, "*batch n"], place: Float[Tensor, "*batch"]
) -> tuple[Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
    """Cross-entropy over n bins from -1 to 1 against a normalised Gaussian around `place`, and which places
    the bins cover."""
    bins = logits.shape[-1]
    where = (place + 1) / 2 * (bins - 1)
    distance = torch.arange(bins, device=logits.device) - where[..., None]
    target = F.softmax(-(distance**2) / (2 * HEATMAP_SIGMA**2), dim=-1)
    return -(target * logits.log_softmax(dim=-1)).sum(dim=-1), place.abs() <= 1
