"""By how many frames a prediction lags behind the truth: the shift in time with which the truth's path fits
the predicted one best.

A prediction p(t) that repeats the truth x(t) d seconds later is nearest to x(t - d). Here the squared
distance between p(t) and x(t - s) is taken for shifts s of -REACH to REACH frames, and the least of this
curve is found between the frames by a parabola through its lowest three points (as in sub-sample estimation
of delays; exact for the curve of a sinusoid up to third order). Curves are sums over frames, so sequences,
splits and resamples are added up before the least is looked for, and fast motion, which shows lag, weighs
most.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tempohand.evaluation.metrics.errors import median_step

REACH = 6  # frames either way that are tried: a lag of 6 says "at least 6"
SHIFTS = 2 * REACH + 1
# How far the truth must move: joints in the picture (per cent of the box's edge), the wrist in camera space.
LEAST_MOTION_2D = 5.0
LEAST_WRIST_MM = 5.0
FEWEST_FRAMES = 4  # of which all shifts can be seen: a sequence needs 2 * REACH + FEWEST_FRAMES frames
LONGEST_STEP = 2.5  # usual steps between two frames at most, if the path between them is to be known


def lag_curves_2d(
    predicted: Float[Tensor, "n p 2"],
    true: Float[Tensor, "n p 2"],
    mask: Bool[Tensor, "n p"],
    focal: Float[Tensor, "n 2"],
    princpt: Float[Tensor, "n 2"],
    time: Float[Tensor, "n"],
) -> tuple[Float[Tensor, "n shifts"], Bool[Tensor, "n"]]:
    """`lag_curves` of points in the picture of ONE sequence, in edges of the hand's box in each frame.

    Crops follow the hand, so the points are measured from the camera's axis; the curves are in per cent of
    the edge of the middle box.
    """
    focal = focal.double()
    unit = 100 / focal[:, None] * focal.median(dim=0).values
    return lag_curves(
        *((points.double() - princpt.double()[:, None]) * unit for points in (predicted, true)),
        mask,
        time,
        LEAST_MOTION_2D,
    )


def lag_curves(
    predicted: Float[Tensor, "n p d"],
    true: Float[Tensor, "n p d"],
    mask: Bool[Tensor, "n p"],
    time: Float[Tensor, "n"],
    least: float,
) -> tuple[Float[Tensor, "n shifts"], Bool[Tensor, "n"]]:
    """(each frame's squared distance for each shift of -REACH to REACH frames, mean over its points; the
    frames on which it is known).

    Of ONE sequence in the order of time (s); a frame is its median step. The true path is linear between
    frames. What differs by a constant over the sequence (a point labelled elsewhere, a wrong depth) is no
    lag: the mean difference of each point is taken out, for each shift. A frame counts with the points whose
    true place is known at all shifts of it. No frame counts where fewer than FEWEST_FRAMES do, or where the
    truth moves so little that a shift could not be told: by less than `least` (root mean square over frames
    and points, in the unit of the points) between a shift of 0 and any other. Motion at a constant velocity
    is the same as a constant difference.
    """
    count = len(time)
    nothing = torch.zeros(count, SHIFTS, dtype=torch.float64), torch.zeros(count, dtype=torch.bool)
    if count < 2 * REACH + FEWEST_FRAMES:
        return nothing
    shifted, known = _shifted(true.double().masked_fill(~mask[..., None], 0.0), mask, time.double())
    usable = known.all(dim=1)
    usable &= usable.sum(dim=0) >= FEWEST_FRAMES
    valid = usable.any(dim=1)
    if not valid.any() or _squared(shifted[:, REACH], shifted, usable)[valid].mean(dim=0).max() < least**2:
        return nothing
    return _squared(predicted.double(), shifted, usable), valid


def lag(curve: Float[Tensor, "*batch shifts"]) -> Float[Tensor, "*batch"]:
    """Frames of the least of the curves, positive: the prediction comes late. +-REACH where it lies at the
    end; nan of a curve without any (nan, or the same everywhere)."""
    place = curve.nan_to_num(torch.inf).argmin(dim=-1, keepdim=True)
    middle = place.clamp(1, SHIFTS - 2)
    before, least, after = (curve.gather(-1, middle + step)[..., 0] for step in (-1, 0, 1))
    bend = before - 2 * least + after
    between = (before - after) / (2 * torch.where(bend > 0, bend, torch.nan))
    found = torch.where(place == middle, between[..., None] + middle, place.double())[..., 0] - REACH
    return found.where(curve.amax(dim=-1) > curve.amin(dim=-1), torch.nan)


def _shifted(
    true: Float[Tensor, "n p d"], mask: Bool[Tensor, "n p"], time: Float[Tensor, "n"]
) -> tuple[Float[Tensor, "n shifts p d"], Bool[Tensor, "n shifts p"]]:
    """The true points at each frame's time minus each shift, and whether they are known there."""
    step = median_step(time)
    when = time[:, None] - step * torch.arange(-REACH, REACH + 1, dtype=torch.float64)
    near = 0.01 * step  # a sum of steps may differ from a frame's time in the last bits
    inside = (when > time[0] - near) & (when < time[-1] + near)
    first = (torch.searchsorted(time, when, right=True) - 1).clamp(0, len(time) - 2)
    gap = time[first + 1] - time[first]
    # On a frame its neighbour does not matter: it may be unknown, or far.
    on_first, on_second = (when - time[first]).abs() < near, (when - time[first + 1]).abs() < near
    part = torch.where(on_first, 0.0, torch.where(on_second, 1.0, (when - time[first]) / gap)).clamp(0, 1)[
        ..., None
    ]
    close = (gap <= LONGEST_STEP * step) | on_first | on_second
    known = (mask[first] | on_second[..., None]) & (mask[first + 1] | on_first[..., None])
    path = true[first] * (1 - part[..., None]) + true[first + 1] * part[..., None]
    return path, known & (inside & close)[..., None]


def _squared(
    points: Float[Tensor, "n p d"], shifted: Float[Tensor, "n shifts p d"], usable: Bool[Tensor, "n p"]
) -> Float[Tensor, "n shifts"]:
    """Squared distances after each point's mean difference is taken out, mean over the usable points of each
    frame; 0 where none is."""
    chosen = usable[:, None, :, None]
    difference = (points[:, None] - shifted).masked_fill(~chosen, 0.0)
    difference = difference - difference.sum(dim=0) / chosen.sum(dim=0).clamp_min(1)
    squared = difference.square().sum(dim=-1).masked_fill(~usable[:, None], 0.0)
    return squared.sum(dim=-1) / usable.sum(dim=-1, keepdim=True).clamp_min(1)
