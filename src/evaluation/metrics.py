"""Errors of 3D hands, frame by frame, with validity; nothing is averaged over frames here (see scores.py).

Joints [N, 21, 3] in OP order and vertices [N, 778, 3], mm, camera space (OpenCV). Every error is float64 and comes as values [N] with a
mask of the frames on which it is defined. A frame's error is the mean over its valid joints (all 21 where all are known, the wrist
included, as in DexYCB's and FreiHAND's scripts). What is invalid may hold anything, nan too.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tempohand.geometry import procrustes_align
from tempohand.skeleton import WRIST

AUC_LIMIT_MM = 50.0
AUC_STEPS = 100
AUC_THRESHOLDS_MM = torch.linspace(0, AUC_LIMIT_MM, AUC_STEPS, dtype=torch.float64)
MIN_PROCRUSTES_JOINTS = 3  # fewer points do not fix a rotation


class Errors(NamedTuple):
    """One number a frame and whether it means anything."""

    value: Float[Tensor, "n"]
    valid: Bool[Tensor, "n"]


def _distance(
    predicted: Float[Tensor, "n p 3"], true: Float[Tensor, "n p 3"], mask: Bool[Tensor, "n p"]
) -> tuple[Float[Tensor, "n p"], Bool[Tensor, "n p"]]:
    """Distances in float64, 0 where invalid. Raises ValueError when a prediction is not finite."""
    assert predicted.shape == true.shape and mask.shape == true.shape[:2], f"{predicted.shape}, {true.shape}, {mask.shape}"
    if not torch.isfinite(predicted).all():
        bad = int((~torch.isfinite(predicted).all(dim=-1).all(dim=-1)).sum())
        raise ValueError(f"{bad} of {len(predicted)} predictions are not finite: the network diverged, or its checkpoint is damaged")
    difference = predicted.double() - true.double().masked_fill(~mask[..., None], 0.0)
    return difference.norm(dim=-1).masked_fill(~mask, 0.0), mask


def _frame_mean(distance: Float[Tensor, "n p"], mask: Bool[Tensor, "n p"]) -> Errors:
    count = mask.sum(dim=-1)
    return Errors(distance.sum(dim=-1) / count.clamp_min(1), count > 0)


def relative_to_wrist(joints: Float[Tensor, "n 21 3"], points: Float[Tensor, "n p 3"] | None = None) -> Float[Tensor, "n p 3"]:
    """`points` (the joints themselves by default) minus the frame's wrist."""
    return (joints if points is None else points) - joints[:, WRIST : WRIST + 1]


def mpjpe(predicted: Float[Tensor, "n p 3"], true: Float[Tensor, "n p 3"], mask: Bool[Tensor, "n p"]) -> Errors:
    """Mean joint distance in camera space, mm. `mask` excludes frames without a real camera too."""
    return _frame_mean(*_distance(predicted, true, mask))


def joint_errors_root(
    predicted: Float[Tensor, "n p 3"], true: Float[Tensor, "n p 3"], mask: Bool[Tensor, "n p"]
) -> tuple[Float[Tensor, "n 21"], Bool[Tensor, "n 21"]]:
    """Each joint's wrist-relative distance, mm, and whether joint and wrist are known."""
    known = mask & mask[:, WRIST : WRIST + 1]
    return _distance(relative_to_wrist(predicted), relative_to_wrist(true), known)


def mpjpe_root(predicted: Float[Tensor, "n p 3"], true: Float[Tensor, "n p 3"], mask: Bool[Tensor, "n p"]) -> Errors:
    """Mean joint distance after each hand's own wrist is subtracted, mm; no rotation, no scale."""
    return _frame_mean(*joint_errors_root(predicted, true, mask))


def pa_mpjpe(
    predicted: Float[Tensor, "n p 3"], true: Float[Tensor, "n p 3"], mask: Bool[Tensor, "n p"], *, allow_reflection: bool = False
) -> Errors:
    """Mean joint distance after the best similarity (scale, rotation, translation) of the prediction, mm.

    The alignment uses the valid joints, at least three. `allow_reflection` is the form of FreiHAND's and HO3D's scripts, which puts no
    det(R) = +1 on the rotation (reported as pa_mpjpe_reflect).
    """
    value = torch.zeros(len(true), dtype=torch.float64)
    valid = mask.sum(dim=-1) >= MIN_PROCRUSTES_JOINTS
    for pattern in torch.unique(mask[valid], dim=0):
        frames = (valid & (mask == pattern).all(dim=-1)).nonzero()[:, 0]
        source, target = predicted[frames][:, pattern].double(), true[frames][:, pattern].double()
        aligned = procrustes_align(source, target, allow_reflection=allow_reflection)
        value[frames] = _distance(aligned, target, torch.ones_like(target[..., 0], dtype=torch.bool))[0].mean(dim=-1)
    return Errors(value, valid)


def mpvpe_root(
    predicted_joints: Float[Tensor, "n 21 3"],
    predicted_vertices: Float[Tensor, "n 778 3"],
    true_joints: Float[Tensor, "n 21 3"],
    true_vertices: Float[Tensor, "n 778 3"],
    valid: Bool[Tensor, "n"],
) -> Errors:
    """Mean vertex distance after each hand's own wrist joint is subtracted, mm."""
    predicted = relative_to_wrist(predicted_joints, predicted_vertices)
    true = relative_to_wrist(true_joints, true_vertices)
    return _frame_mean(*_distance(predicted, true, valid[:, None].expand(true.shape[:2])))


def root_error(predicted: Float[Tensor, "n p 3"], true: Float[Tensor, "n p 3"], mask: Bool[Tensor, "n p"]) -> Errors:
    """Distance between predicted and true wrist in camera space, mm."""
    wrist = slice(WRIST, WRIST + 1)
    return _frame_mean(*_distance(predicted[:, wrist], true[:, wrist], mask[:, wrist]))


def consecutive_triples(frame: Int[Tensor, "n"]) -> Bool[Tensor, "n"]:
    """Whether each frame of ONE sequence stands in the middle of three consecutive ones.

    Consecutive means one step apart, a step being the smallest difference of frame numbers in the sequence (a table that keeps every
    third frame of a video has steps of 3).
    """
    middle = torch.zeros(len(frame), dtype=torch.bool)
    if len(frame) >= 3:
        step = frame[1:] - frame[:-1]
        assert (step > 0).all(), "the frames of a sequence come in the order of time"
        middle[1:-1] = (step[1:] == step.min()) & (step[:-1] == step.min())
    return middle


def accel_error(
    predicted: Float[Tensor, "n p 3"], true: Float[Tensor, "n p 3"], mask: Bool[Tensor, "n p"], frame: Int[Tensor, "n"]
) -> Errors:
    """Mean over joints of |a_predicted - a_true| with a_t = x_{t-1} - 2 x_t + x_{t+1}, in mm/frame^2 (VIBE's unit: not divided by dt^2).

    Of ONE sequence in the order of time, in the space the joints are given in (reported in camera space as accel_error, wrist-relative
    as accel_error_root). The value of a triple stands at its middle frame; a triple counts where its frames are consecutive, and in it
    the joints that are valid in all three frames.
    """
    triple = torch.zeros_like(mask)
    triple[1:-1] = mask[:-2] & mask[1:-1] & mask[2:]
    triple &= consecutive_triples(frame)[:, None]
    return _frame_mean(*_distance(_second_difference(predicted), _second_difference(true), triple))


def _second_difference(points: Float[Tensor, "n p 3"]) -> Float[Tensor, "n p 3"]:
    points = points.double()
    result = torch.zeros_like(points)
    result[1:-1] = points[:-2] - 2 * points[1:-1] + points[2:]
    return result


def auc(hits: Float[Tensor, "21 100"], count: Float[Tensor, "21"]) -> float:
    """Area under the curve of correct joints over thresholds of 0 to 50 mm, between 0 and 1; nan without joints.

    hits: for each joint how many frames lie within each of AUC_THRESHOLDS_MM (d <= threshold); count: of how many. The trapezoid rule per
    joint, then the mean over joints, as in FreiHAND's script.
    """
    seen = count > 0
    if not seen.any():
        return float("nan")
    curve = hits[seen] / count[seen, None]
    return float(torch.trapezoid(curve, AUC_THRESHOLDS_MM, dim=-1).mean() / AUC_LIMIT_MM)


def pck_hits(distance: Float[Tensor, "n 21"], mask: Bool[Tensor, "n 21"]) -> tuple[Float[Tensor, "21 100"], Float[Tensor, "21"]]:
    """What `auc` takes, of some frames."""
    within = (distance[..., None] <= AUC_THRESHOLDS_MM) & mask[..., None]
    return within.sum(dim=0).double(), mask.sum(dim=0).double()
