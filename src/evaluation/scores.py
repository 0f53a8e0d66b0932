"""Sums of errors per sequence, split and predictor, exact however the sequences are shared out between processes.

Only sums and counts in float64 are kept, each sequence in its own place: shares of any size, none included, add up to the same bits, and
the bootstrap (bootstrap.py) draws sequences from them. A metric with nothing to say is nan, never 0 and never inf; in JSON it is null.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tempohand.evaluation import metrics
from tempohand.skeleton import NUM_JOINTS

# Means over frames, mm (accel_*: mm/frame^2, jitter*: m/s^3); auc_50 comes on top, between 0 and 1.
MEAN_METRICS = (
    "mpjpe",
    "mpjpe_root",
    "pa_mpjpe",
    "pa_mpjpe_reflect",
    "mpvpe_root",
    "root_error",
    "accel_error",
    "accel_error_root",
    "jitter",
    "jitter_root",
)
METRICS = (*MEAN_METRICS, "auc_50")
# What is summed: the frames themselves, the means, and each joint's area under the curve.
CHANNELS = 1 + len(MEAN_METRICS) + NUM_JOINTS
MAX_CLUSTERS = 2048  # beyond so many sequences, neighbours share a place: 130 MB for 5 rows and 32 splits


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

    def __len__(self) -> int:
        return len(self.frame)


@dataclass
class FrameErrors:
    """Every metric of one sequence, frame by frame."""

    errors: dict[str, metrics.Errors]
    joint_area: Float[Tensor, "n 21"]  # wrist-relative, of auc_50
    joint_mask: Bool[Tensor, "n 21"]

    def channels(self) -> tuple[Float[Tensor, "n c"], Bool[Tensor, "n c"]]:
        """Values, 0 where invalid, and validity, in the order in which they are summed."""
        means = [self.errors[name] for name in MEAN_METRICS]
        everything = torch.ones_like(self.joint_mask[:, :1])
        valid = torch.cat([everything, torch.stack([errors.valid for errors in means], dim=1), self.joint_mask], dim=1)
        value = torch.cat([everything.double(), torch.stack([errors.value for errors in means], dim=1), self.joint_area], dim=1)
        return value.masked_fill(~valid, 0.0), valid


def frame_errors(predicted: Hands, true: TrueHands) -> FrameErrors:
    """Every metric of the frames of one sequence. Camera-space ones need a real camera, wrist-relative ones do not."""
    known, placed = true.joints_mask, true.joints_mask & true.camera_mask[:, None]
    joints = predicted.joints, true.joints
    relative = tuple(metrics.relative_to_wrist(j) for j in joints)
    rooted = known & known[:, :1]
    distance, mask = metrics.joint_errors_root(*joints, known)
    return FrameErrors(
        {
            "mpjpe": metrics.mpjpe(*joints, placed),
            "mpjpe_root": metrics.mpjpe_root(*joints, known),
            "pa_mpjpe": metrics.pa_mpjpe(*joints, known),
            "pa_mpjpe_reflect": metrics.pa_mpjpe(*joints, known, allow_reflection=True),
            "mpvpe_root": metrics.mpvpe_root(predicted.joints, predicted.vertices, true.vertices_joints, true.vertices, true.hand_mask),
            "root_error": metrics.root_error(*joints, placed),
            "accel_error": metrics.accel_error(*joints, placed, true.time),
            "accel_error_root": metrics.accel_error(*relative, rooted, true.time),
            "jitter": metrics.jitter(joints[0], true.camera_mask, true.time),
            "jitter_root": metrics.jitter(relative[0], torch.ones_like(true.camera_mask), true.time),
        },
        metrics.auc_area(distance),
        mask,
    )


class ScoreBoard:
    """Scores of several rows (predictors) over several splits, for each of `sequences` sequences by itself."""

    def __init__(self, rows: list[str], splits: list[str], sequences: int):
        self.rows, self.splits, self.sequences = list(rows), list(splits), sequences
        # [cluster of sequences, row, split, channel; sum, count]
        self.state = torch.zeros(min(sequences, MAX_CLUSTERS), len(rows), len(splits), CHANNELS, 2, dtype=torch.float64)

    def add(self, row: str, sequence: int, errors: FrameErrors, splits: dict[str, Bool[Tensor, "n"]]) -> None:
        """Adds one sequence's errors on each split's chosen frames; for accelerations, the triples whose middle frame is chosen."""
        assert list(splits) == self.splits, f"{list(splits)} for {self.splits}"
        value, valid = errors.channels()
        chosen = torch.stack(list(splits.values())).double()
        place = sequence * len(self.state) // self.sequences
        self.state[place, self.rows.index(row)] += torch.stack([chosen @ value, chosen @ valid.double()], dim=-1)

    def reduce(self, total: Callable[[Tensor], Tensor]) -> None:
        """Replaces the sums by those of all processes; `total` adds a float64 tensor up over processes."""
        self.state = total(self.state.flatten()).view_as(self.state)

    def compute(self) -> dict[str, dict[str, dict[str, float]]]:
        """row -> split -> metric of METRICS (nan where nothing was valid) and `n`, the number of frames."""
        state = self.state.sum(dim=0)
        values, frames = means(state), state[..., 0, 0]
        return {
            row: {split: dict(zip(METRICS, values[i, j].tolist())) | {"n": int(frames[i, j])} for j, split in enumerate(self.splits)}
            for i, row in enumerate(self.rows)
        }


def means(state: Float[Tensor, "*batch channels 2"]) -> Float[Tensor, "*batch metrics"]:
    """The metrics of METRICS behind sums and counts; nan where nothing was valid. auc_50 is the mean over the joints that were seen."""
    total, count = state.unbind(dim=-1)
    mean = total / torch.where(count > 0, count, torch.nan)
    first = 1 + len(MEAN_METRICS)
    return torch.cat([mean[..., 1:first], mean[..., first:].nanmean(dim=-1, keepdim=True)], dim=-1)


def without_nan(value):
    """The same nest of dicts and lists with None for numbers that are not finite: what strict JSON can say."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    if isinstance(value, float) and value not in (float("inf"), float("-inf")) and value == value or not isinstance(value, float):
        return value
    return None
