"""Sums of errors per recording, split and predictor, however the sequences are shared out between processes.

Only sums and counts in float64 are kept, each recording in its own place: shares of any size, none included,
add up to the same, and the bootstrap (bootstrap.py) draws recordings from them. A metric with nothing to say
is nan, never 0 and never inf; in JSON it is null.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tempohand.evaluation.metrics import errors as metrics
from tempohand.evaluation.metrics.lag import LEAST_MOTION_2D, SHIFTS, along_picture, lag, lag_curves
from tempohand.geometry import project
from tempohand.skeleton import NUM_JOINTS, WRIST

# Means over frames, mm (error_2d: per cent of the box's edge, accel_*: mm/frame^2, jitter*: m/s^3); on top
# come auc_50, between 0 and 1, and lags in frames.
MEAN_METRICS = (
    "mpjpe",
    "mpjpe_root",
    "pa_mpjpe",
    "pa_mpjpe_reflect",
    "mpvpe_root",
    "root_error",
    "error_2d",
    "accel_error",
    "accel_error_root",
    "jitter",
    "jitter_root",
)
# Of the joints' paths in the picture (per cent of the box's edge), and of the wrist's path in camera space
# (mm): how far the truth must move.
LAGS = {"lag_2d": LEAST_MOTION_2D, "lag_wrist": 5.0}
METRICS = (*MEAN_METRICS, "auc_50", *LAGS)
# What is summed: the frames themselves, the means, each joint's area under the curve, and the curves of the
# lags.
CHANNELS = 1 + len(MEAN_METRICS) + NUM_JOINTS + SHIFTS * len(LAGS)
MAX_CLUSTERS = 2048  # beyond so many recordings, neighbours share a place: 400 MB for 7 rows and 32 splits


@dataclass
class Hands:
    """What a predictor says of some frames, camera space, mm."""

    joints: Float[Tensor, "n 21 3"]
    vertices: Float[Tensor, "n 778 3"]


@dataclass
class TrueHands:
    """What is known of the frames of one sequence, in the order of time."""

    joints: Float[Tensor, "n 21 3"]
    joints_mask: Bool[Tensor, "n 21"]
    vertices: Float[Tensor, "n 778 3"]
    vertices_joints: Float[Tensor, "n 21 3"]  # the joints of the same hand parameters as the vertices
    hand_mask: Bool[Tensor, "n"]
    camera_mask: Bool[Tensor, "n"]
    hidden: Float[Tensor, "n"]  # nan: unknown
    frame: Int[Tensor, "n"]
    time: Float[Tensor, "n"]  # s, float64
    # In the picture, from the middle of the crop; 1 is the edge of the box that the crop was made of (its
    # longer one).
    joints2d: Float[Tensor, "n 21 2"]
    joints2d_mask: Bool[Tensor, "n 21"]
    focal: Float[Tensor, "n 2"]
    princpt: Float[Tensor, "n 2"]

    def __len__(self) -> int:
        return len(self.frame)

    def in_picture(self, joints: Float[Tensor, "n 21 3"]) -> Float[Tensor, "n 21 2"]:
        """Joints of the frames as their cameras see them, where `joints2d` are."""
        return project(joints.double(), self.focal.double(), self.princpt.double())


@dataclass
class FrameErrors:
    """Every metric of one sequence, frame by frame."""

    errors: dict[str, metrics.Errors]
    joint_area: Float[Tensor, "n 21"]  # wrist-relative, of auc_50
    joint_mask: Bool[Tensor, "n 21"]
    curves: dict[str, tuple[Float[Tensor, "n shifts"], Bool[Tensor, "n"]]]  # of LAGS

    def channels(self) -> tuple[Float[Tensor, "n c"], Bool[Tensor, "n c"]]:
        """Values, 0 where invalid, and validity, in the order in which they are summed."""
        means = [self.errors[name] for name in MEAN_METRICS]
        everything = torch.ones_like(self.joint_mask[:, :1])
        curves = [self.curves[name] for name in LAGS]
        shifts = [valid[:, None].expand_as(value) for value, valid in curves]
        valid = torch.cat(
            [everything, torch.stack([errors.valid for errors in means], dim=1), self.joint_mask, *shifts],
            dim=1,
        )
        value = torch.stack([errors.value for errors in means], dim=1)
        value = torch.cat(
            [everything.double(), value, self.joint_area, *(value for value, _ in curves)], dim=1
        )
        return value.masked_fill(~valid, 0.0), valid


def frame_errors(predicted: Hands, true: TrueHands) -> FrameErrors:
    """Every metric of the frames of one sequence. Camera-space ones need a real camera, wrist-relative ones
    do not."""
    known, placed = true.joints_mask, true.joints_mask & true.camera_mask[:, None]
    joints = predicted.joints, true.joints
    relative = tuple(metrics.relative_to_wrist(j) for j in joints)
    rooted = known & known[:, :1]
    distance, mask = metrics.joint_errors_root(*joints, known)
    places, wrist = (true.in_picture(predicted.joints), true.joints2d), slice(WRIST, WRIST + 1)
    paths = {
        "lag_2d": (
            *(along_picture(points, true.focal, true.princpt) for points in places),
            true.joints2d_mask,
        ),
        "lag_wrist": (*(points[:, wrist] for points in joints), placed[:, wrist]),
    }
    return FrameErrors(
        {
            "mpjpe": metrics.mpjpe(*joints, placed),
            "mpjpe_root": metrics.mpjpe_root(*joints, known),
            "pa_mpjpe": metrics.pa_mpjpe(*joints, known),
            "pa_mpjpe_reflect": metrics.pa_mpjpe(*joints, known, allow_reflection=True),
            "mpvpe_root": metrics.mpvpe_root(
                predicted.joints, predicted.vertices, true.vertices_joints, true.vertices, true.hand_mask
            ),
            "root_error": metrics.root_error(*joints, placed),
            "error_2d": metrics.error_2d(*(100 * points for points in places), true.joints2d_mask),
            "accel_error": metrics.accel_error(*joints, placed, true.time),
            "accel_error_root": metrics.accel_error(*relative, rooted, true.time),
            "jitter": metrics.jitter(joints[0], true.camera_mask, true.time),
            "jitter_root": metrics.jitter(relative[0], torch.ones_like(true.camera_mask), true.time),
        },
        metrics.auc_area(distance),
        mask,
        {name: lag_curves(*path, true.time, LAGS[name]) for name, path in paths.items()},
    )


class ScoreBoard:
    """Scores of several rows (predictors) over several splits, for each of `recordings` recordings by
    itself."""

    def __init__(self, rows: list[str], splits: list[str], recordings: int):
        self.rows = list(rows)
        self.splits = list(splits)
        self.recordings = recordings
        # [cluster of recordings, row, split, channel; sum, count]
        self.state = torch.zeros(
            min(recordings, MAX_CLUSTERS), len(rows), len(splits), CHANNELS, 2, dtype=torch.float64
        )

    def add(
        self, row: str, recording: int, errors: FrameErrors, splits: dict[str, Bool[Tensor, "n"]]
    ) -> None:
        """Adds the errors of one sequence of a recording on each split's chosen frames; of accelerations
        those of the triples whose middle frame is chosen."""
        assert list(splits) == self.splits, f"{list(splits)} for {self.splits}"
        value, valid = errors.channels()
        chosen = torch.stack(list(splits.values())).double()
        place = recording * len(self.state) // self.recordings
        self.state[place, self.rows.index(row)] += torch.stack(
            [chosen @ value, chosen @ valid.double()], dim=-1
        )

    def reduce(self, total: Callable[[Tensor], Tensor]) -> None:
        """Replaces the sums by those of all processes; `total` adds a float64 tensor up over processes."""
        self.state = total(self.state.flatten()).view_as(self.state)

    def compute(self) -> dict[str, dict[str, dict[str, float]]]:
        """row -> split -> metric of METRICS (nan where nothing was valid) and `n`, the number of frames."""
        state = self.state.sum(dim=0)
        values, frames = means(state), state[..., 0, 0]
        return {
            row: {
                split: dict(zip(METRICS, values[i, j].tolist())) | {"n": int(frames[i, j])}
                for j, split in enumerate(self.splits)
            }
            for i, row in enumerate(self.rows)
        }


def means(state: Float[Tensor, "*batch channels 2"]) -> Float[Tensor, "*batch metrics"]:
    """The metrics of METRICS behind sums and counts; nan where nothing was valid. auc_50 is the mean over the
    joints that were seen."""
    total, count = state.unbind(dim=-1)
    mean = total / torch.where(count > 0, count, torch.nan)
    _, averages, areas, *curves = mean.split(
        [1, len(MEAN_METRICS), NUM_JOINTS, *[SHIFTS] * len(LAGS)], dim=-1
    )
    lags = [lag(curve)[..., None] for curve in curves]
    return torch.cat([averages, areas.nanmean(dim=-1, keepdim=True), *lags], dim=-1)


def without_nan(value):
    """The same nest of dicts and lists with None for numbers that are not finite: what strict JSON can
    say."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    if (
        isinstance(value, float)
        and value not in (float("inf"), float("-inf"))
        and value == value
        or not isinstance(value, float)
    ):
        return value
    return None
