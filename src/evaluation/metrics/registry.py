"""The metrics of an evaluation, one record each, in the order of the tables. metrics.json, intervals,
differences, tables, report and validation follow from these records."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tempohand.evaluation.hands import Compared, Hands, TrueHands
from tempohand.evaluation.metrics import errors
from tempohand.evaluation.metrics.bends import SLOPE_SUMS, bend_slope, slope_sums
from tempohand.evaluation.metrics.lag import LEAST_WRIST_MM, SHIFTS, lag, lag_curves, lag_curves_2d
from tempohand.skeleton import FINGERS, NUM_JOINTS, WRIST

Place = Literal["terminal", "report", "validation"]
FrameErrors = tuple[Float[Tensor, "n *width"], Bool[Tensor, "n *#width"]]


@dataclass(frozen=True)
class Metric:
    """A figure of metrics.json; the nearer to `ideal` the better.

    name: its key. label: the head of its column. frames: what every frame says, and whether it means
    anything: one number a frame, or `width` of them. figure: makes the figure of their means over the frames
    [*, width]; by default the mean of those that are known. shown: where, besides in metrics.json; a
    training's validation sees frames in any order, so only a metric of single frames can be shown there
    (`lag_2d`, over the rows that follow each other, is evaluation/paths.py's).
    """

    name: str
    label: str
    frames: Callable[[Compared], FrameErrors]
    shown: tuple[Place, ...] = ()
    unit: str = "mm"
    ideal: float = 0.0
    width: int = 1
    figure: Callable[[Float[Tensor, "*batch width"]], Float[Tensor, "*batch"]] = lambda means: means.nanmean(
        dim=-1
    )


EVERYWHERE: tuple[Place, ...] = ("terminal", "report", "validation")
TABLES = EVERYWHERE[:2]
_WRIST = slice(WRIST, WRIST + 1)

# fmt: off
_METRICS = (
    Metric("mpjpe_root", "root-rel. MPJPE", lambda c: errors.mpjpe_root(*c.joints, c.known), EVERYWHERE),
    Metric("pa_mpjpe", "PA-MPJPE", lambda c: errors.pa_mpjpe(*c.joints, c.known), EVERYWHERE),
    Metric("pa_mpjpe_reflect", "PA-MPJPE (refl.)",
           lambda c: errors.pa_mpjpe(*c.joints, c.known, allow_reflection=True)),
    Metric("mpvpe_root", "root-rel. MPVPE",
           lambda c: errors.mpvpe_root(*c.relative_vertices, c.meshed), ("report",)),
    Metric("mpjpe", "MPJPE", lambda c: errors.mpjpe(*c.joints, c.placed), EVERYWHERE),
    Metric("root_error", "root error", lambda c: errors.root_error(*c.joints, c.placed), TABLES),
    Metric("error_2d", "2D error",
           lambda c: errors.error_2d(*(100 * places for places in c.places), c.true.joints2d_mask),
           EVERYWHERE, "% of the box's edge"),
    Metric("accel_error", "accel. error",
           lambda c: errors.accel_error(*c.joints, c.placed, c.true.time), TABLES, "mm/frame^2"),
    Metric("accel_error_root", "root-rel. accel.",
           lambda c: errors.accel_error(*c.relative, c.rooted, c.true.time), (), "mm/frame^2"),
    Metric("jitter", "jitter",
           lambda c: errors.jitter(c.joints[0], c.true.camera_mask, c.true.time), TABLES, "m/s^3"),
    Metric("jitter_root", "root-rel. jitter",
           lambda c: errors.jitter(c.relative[0], torch.ones_like(c.true.camera_mask), c.true.time),
           (), "m/s^3"),
    Metric("lag_2d", "lag",
           lambda c: lag_curves_2d(*c.places, c.true.joints2d_mask, c.true.focal, c.true.princpt,
                                   c.true.time),
           EVERYWHERE, "frames", width=SHIFTS, figure=lag),
    Metric("lag_wrist", "wrist's lag",
           lambda c: lag_curves(*(joints[:, _WRIST] for joints in c.joints), c.placed[:, _WRIST], c.true.time,
                                LEAST_WRIST_MM),
           (), "frames", width=SHIFTS, figure=lag),
    Metric("auc_50", "AUC 0-50 mm", lambda c: errors.auc_areas(*c.joints, c.known), ("report",), "1",
           ideal=1.0, width=NUM_JOINTS),
    *(Metric(f"bend_slope_{finger}", f"bend slope, {finger}",
             lambda c, finger=finger: slope_sums(*c.bends, c.known, finger), unit="1", ideal=1.0,
             width=SLOPE_SUMS, figure=bend_slope) for finger in FINGERS),
)
# fmt: on
METRICS = {metric.name: metric for metric in _METRICS}
BEND_SLOPES = {finger: f"bend_slope_{finger}" for finger in FINGERS}  # tables of their own show them


def shown_in(place: Place) -> list[Metric]:
    """The metrics that are shown in a place, in their order."""
    return [metric for metric in METRICS.values() if place in metric.shown]


def frame_errors(predicted: Hands, true: TrueHands) -> dict[str, FrameErrors]:
    """What the frames of one sequence say of every metric. Camera-space ones need a real camera,
    wrist-relative ones do not."""
    compared = Compared.of(predicted, true)
    return {name: metric.frames(compared) for name, metric in METRICS.items()}
