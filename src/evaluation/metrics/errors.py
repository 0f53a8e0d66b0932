"""Errors of 3D hands, frame by frame, with validity; nothing is averaged over frames here (see scores.py).

Joints [N, 21, 3] in OP order and vertices [N, 778, 3], mm, camera space (OpenCV). Every error is float64 and
comes as values [N] with a mask of the frames on which it is defined. A frame's error is the mean over its
valid joints (all 21 where all are known, the wrist included, as in DexYCB's and FreiHAND's scripts). What is
invalid may hold anything, nan too. Everything stays on the device of its input.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tempohand.evaluation.metrics.curves import curve_area
from tempohand.geometry import procrustes_align
from tempohand.skeleton import WRIST

AUC_LIMIT_MM = 50.0
AUC_STEPS = 100
AUC_THRESHOLDS_MM = torch.linspace(0, AUC_LIMIT_MM, AUC_STEPS, dtype=torch.float64)
LONGEST_GAP_S = 0.5  # a longer time step is a pause: what moved in it is unknown
MIN_PROCRUSTES_JOINTS = 3  # fewer points do not fix a rotation


class Errors(NamedTuple):
    """One number a frame and whether it means anything."""

    value: Float[Tensor, "n"]
    valid: Bool[Tensor, "n"]


def refuse_not_finite(predicted: Float[Tensor, "n p d"]) -> None:
    """Raises ValueError when a prediction is not finite."""
    if not torch.isfinite(predicted).all():
        bad = int((~torch.isfinite(predicted).all(dim=-1).all(dim=-1)).sum())
        raise ValueError(
            f"{bad} of {len(predicted)} predictions are not finite: the network diverged, or its "
            "checkpoint is damaged"
        )


def point_distance(
    predicted: Float[Tensor, "n p d"], true: Float[Tensor, "n p d"], mask: Bool[Tensor, "n p"]
) -> Float[Tensor, "n p"]:
    """Distances in float64, 0 where invalid."""
    return (predicted.double() - true.double()).norm(dim=-1).masked_fill(~mask, 0.0)


def joint_errors(
    predicted: Float[Tensor, "n p d"], true: Float[Tensor, "n p d"], mask: Bool[Tensor, "n p"]
) -> tuple[Float[Tensor, "n p"], Bool[Tensor, "n p"]]:
    """(`point_distance`, the mask). Raises ValueError when a prediction is not
    finite."""
    assert predicted.shape == true.shape and mask.shape == true.shape[:2], (
        f"{predicted.shape}, {true.shape}, {mask.shape}"
    )
    refuse_not_finite(predicted)
    return point_distance(predicted, true, mask), mask


def frame_mean(distance: Float[Tensor, "n p"], mask: Bool[Tensor, "n p"]) -> Errors:
    """The mean over each frame's valid points; `distance` is 0 where invalid."""
    count = mask.sum(dim=-1)
    return Errors(distance.sum(dim=-1) / count.clamp_min(1), count > 0)


def relative_to_wrist(
    joints: Float[Tensor, "n k 3"], points: Float[Tensor, "n p 3"] | None = None
) -> Float[Tensor, "n _ 3"]:
    """`points` (the joints themselves by default) minus the frame's wrist, the first of the joints."""
    return (joints if points is None else points) - joints[:, WRIST : WRIST + 1]


def mpjpe(
    predicted: Float[Tensor, "n p 3"], true: Float[Tensor, "n p 3"], mask: Bool[Tensor, "n p"]
) -> Errors:
    """Mean joint distance in camera space, mm. `mask` excludes frames without a real camera too."""
    return frame_mean(*joint_errors(predicted, true, mask))


def joint_errors_root(
    predicted: Float[Tensor, "n p 3"], true: Float[Tensor, "n p 3"], mask: Bool[Tensor, "n p"]
) -> tuple[Float[Tensor, "n p"], Bool[Tensor, "n p"]]:
    """Each joint's wrist-relative distance, mm, and whether joint and wrist are known."""
    known = mask & mask[:, WRIST : WRIST + 1]
    return joint_errors(relative_to_wrist(predicted), relative_to_wrist(true), known)


def mpjpe_root(
    predicted: Float[Tensor, "n p 3"], true: Float[Tensor, "n p 3"], mask: Bool[Tensor, "n p"]
) -> Errors:
    """Mean joint distance after each hand's own wrist is subtracted, mm; no rotation, no scale."""
    return frame_mean(*joint_errors_root(predicted, true, mask))


def pa_mpjpe(
    predicted: Float[Tensor, "n p 3"],
    true: Float[Tensor, "n p 3"],
    mask: Bool[Tensor, "n p"],
    *,
    allow_reflection: bool = False,
) -> Errors:
    """Mean joint distance after the best similarity (scale, rotation, translation) of the prediction, mm.

    The alignment uses the valid joints, at least three. `allow_reflection` is the form of FreiHAND's and
    HO3D's scripts, which puts no det(R) = +1 on the rotation (reported as pa_mpjpe_reflect).
    """
    refuse_not_finite(predicted)
    # In place of an unknown joint stands the mean of the known ones, which changes neither the mean nor the
    # covariances.
    source, target = (_unknown_at_mean(points.double(), mask) for points in (predicted, true))
    aligned = procrustes_align(source, target, allow_reflection=allow_reflection)
    return Errors(
        frame_mean(*joint_errors(aligned, target, mask)).value, mask.sum(dim=-1) >= MIN_PROCRUSTES_JOINTS
    )


def _unknown_at_mean(points: Float[Tensor, "n p 3"], mask: Bool[Tensor, "n p"]) -> Float[Tensor, "n p 3"]:
    known = points.masked_fill(~mask[..., None], 0.0)
    mean = known.sum(dim=1, keepdim=True) / mask.sum(dim=1)[:, None, None].clamp_min(1)
    return torch.where(mask[..., None], known, mean)


def mpvpe_root(
    predicted: Float[Tensor, "n p 3"], true: Float[Tensor, "n p 3"], valid: Bool[Tensor, "n"]
) -> Errors:
    """Mean distance of vertices that are relative to each hand's own wrist joint, mm."""
    return frame_mean(*joint_errors(predicted, true, valid[:, None].expand(true.shape[:2])))


def root_error(
    predicted: Float[Tensor, "n p 3"], true: Float[Tensor, "n p 3"], mask: Bool[Tensor, "n p"]
) -> Errors:
    """Distance between predicted and true wrist in camera space, mm."""
    wrist = slice(WRIST, WRIST + 1)
    return frame_mean(*joint_errors(predicted[:, wrist], true[:, wrist], mask[:, wrist]))


def refuse_falling_time(time: Float[Tensor, "n"]) -> None:
    """Raises ValueError when time does not rise."""
    if not (time[1:] > time[:-1]).all():
        raise ValueError("the time stamps of a sequence must rise from frame to frame")


def median_step(time: Float[Tensor, "n"]) -> float:
    """Seconds that one frame takes, the median over the sequence; 0 where there is but one."""
    return float((time[1:] - time[:-1]).median()) if len(time) > 1 else 0.0


def error_2d(
    predicted: Float[Tensor, "n p 2"], true: Float[Tensor, "n p 2"], mask: Bool[Tensor, "n p"]
) -> Errors:
    """Mean distance of projected joints in the picture, in the unit of the points (reported in per cent of
    the edge of the hand's box)."""
    return frame_mean(*joint_errors(predicted, true, mask))


def derivative(
    points: Float[Tensor, "n p d"], time: Float[Tensor, "n"], order: int
) -> Float[Tensor, "m p d"]:
    """The `order`-th time derivative over every order + 1 frames of ONE sequence, mm/s^order, float64; m = n
    - order, at least 0.

    order! times Newton's divided difference, which is exact for polynomials of that degree whatever the time
    between frames: a dropped or late frame makes no motion. Raises ValueError when time does not rise.
    """
    time, result = time.double(), points.double()
    refuse_falling_time(time)
    for k in range(1, order + 1):
        result = k * (result[1:] - result[:-1]) / (time[k:] - time[:-k])[: len(result[1:]), None, None]
    return result


def unbroken(time: Float[Tensor, "n"], order: int) -> Bool[Tensor, "m"]:
    """Whether each order + 1 successive frames have no pause (LONGEST_GAP_S) between them: `derivative` says
    something of them."""
    close = time[1:] - time[:-1] <= LONGEST_GAP_S
    return close.unfold(0, order, 1).all(dim=-1) if len(close) >= order else close[:0]


def joint_acceleration_errors(
    predicted: Float[Tensor, "n p d"],
    true: Float[Tensor, "n p d"],
    mask: Bool[Tensor, "n p"],
    time: Float[Tensor, "n"],
) -> tuple[Float[Tensor, "n p"], Bool[Tensor, "n p"]]:
    """(each point's |a_predicted - a_true| at the middle frame of three, mm/frame^2, 0 where invalid; where
    it is valid): see `accel_error`."""
    triple = torch.zeros_like(mask)
    if len(time) >= 3:
        triple[1:-1] = mask[:-2] & mask[1:-1] & mask[2:] & unbroken(time, 2)[:, None]
    acceleration = []
    for points in (predicted, true.masked_fill(~mask[..., None], 0.0)):
        whole = torch.zeros_like(points, dtype=torch.float64)
        whole[1:-1] = median_step(time) ** 2 * derivative(points, time, 2)
        acceleration.append(whole)
    return joint_errors(*acceleration, triple)


def accel_error(
    predicted: Float[Tensor, "n p 3"],
    true: Float[Tensor, "n p 3"],
    mask: Bool[Tensor, "n p"],
    time: Float[Tensor, "n"],
) -> Errors:
    """Mean over joints of |a_predicted - a_true|, a being the second derivative by real time, in mm/frame^2.

    Of ONE sequence in the order of time (s), in the space the joints are given in (reported in camera space
    as accel_error, wrist-relative as accel_error_root). A frame is the sequence's median time step, so that
    evenly timed frames give VIBE's x_{t-1} - 2 x_t + x_{t+1} (Kocabas et al., CVPR 2020). The value of a
    triple stands at its middle frame; a triple counts where no pause is in it, and in it the joints that are
    valid in all three frames.
    """
    return frame_mean(*joint_acceleration_errors(predicted, true, mask, time))


def jitter(predicted: Float[Tensor, "n p 3"], valid: Bool[Tensor, "n"], time: Float[Tensor, "n"]) -> Errors:
    """Mean over joints of |jerk|, the third derivative by real time, in m/s^3: what the motion itself looks
    like, without a truth.

    As in TransPose (Yi et al., SIGGRAPH 2021), after Flash and Hogan (1985). Over every four frames of ONE
    sequence without a pause between them, all `valid`; the value stands at the last of the four. Real motion
    has jerk too: compare with the true hands' own.
    """
    value, counted = torch.zeros_like(time, dtype=torch.float64), torch.zeros_like(valid)
    jerk = derivative(predicted, time, 3).norm(dim=-1).mean(dim=-1) / 1000
    value[3:], counted[3:] = jerk, unbroken(time, 3)
    for late in range(min(4, len(time))):
        counted[late:] &= valid[: len(time) - late]
    return Errors(value.masked_fill(~counted, 0.0), counted)


def speed(
    points: Float[Tensor, "n p 3"], mask: Bool[Tensor, "n p"], time: Float[Tensor, "n"]
) -> Float[Tensor, "n"]:
    """How fast the points of ONE sequence move, mm/s: the mean over its known points and the steps before and
    after; nan where unknown."""
    total, count = torch.zeros_like(time, dtype=torch.float64), torch.zeros_like(time, dtype=torch.float64)
    if len(time) >= 2:
        known = mask[1:] & mask[:-1] & unbroken(time, 1)[:, None]
        step = (
            derivative(points.masked_fill(~mask[..., None], 0.0), time, 1)
            .norm(dim=-1)
            .masked_fill(~known, 0.0)
            .sum(dim=-1)
        )
        for frames in (slice(None, -1), slice(1, None)):
            total[frames] += step
            count[frames] += known.sum(dim=-1)
    return total / count


def auc_areas(
    predicted: Float[Tensor, "n 21 3"], true: Float[Tensor, "n 21 3"], mask: Bool[Tensor, "n 21"]
) -> tuple[Float[Tensor, "n 21"], Bool[Tensor, "n 21"]]:
    """Each joint's share of the area under the curve of correct wrist-relative joints over thresholds of 0 to
    50 mm, between 0 and 1, and whether it is known.

    FreiHAND's script takes the trapezoid rule of each joint's mean curve over AUC_THRESHOLDS_MM (correct: d
    <= threshold), then the mean over joints. The rule is linear, so a joint's area is the mean of its frames'
    areas.
    """
    distance, known = joint_errors_root(predicted, true, mask)
    return curve_area(distance, AUC_THRESHOLDS_MM), known
