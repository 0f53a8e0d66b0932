"""Sums of errors over frames, splits and predictors, exact however the frames are shared out between processes.

Only sums and counts in float64 are kept, so that shares of any size, none included, add up to the same metrics. A metric with nothing to
say is nan, never 0 and never inf; in JSON it is null.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tempohand.evaluation import metrics
from tempohand.skeleton import NUM_JOINTS

# Means over frames, mm (accel_*: mm/frame^2); auc_50 comes on top, between 0 and 1.
MEAN_METRICS = (
    "mpjpe",
    "mpjpe_root",
    "pa_mpjpe",
    "pa_mpjpe_reflect",
    "mpvpe_root",
    "root_error",
    "accel_error",
    "accel_error_root",
)
METRICS = (*MEAN_METRICS, "auc_50")


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
    joint_distance: Float[Tensor, "n 21"]  # wrist-relative
    joint_mask: Bool[Tensor, "n 21"]


def frame_errors(predicted: Hands, true: TrueHands) -> FrameErrors:
    """Every metric of the frames of one sequence. Camera-space ones need a real camera, wrist-relative ones do not."""
    known, placed = true.joints_mask, true.joints_mask & true.camera_mask[:, None]
    joints = predicted.joints, true.joints
    relative = tuple(metrics.relative_to_wrist(j) for j in joints)
    rooted = known & known[:, :1]
    return FrameErrors(
        {
            "mpjpe": metrics.mpjpe(*joints, placed),
            "mpjpe_root": metrics.mpjpe_root(*joints, known),
            "pa_mpjpe": metrics.pa_mpjpe(*joints, known),
            "pa_mpjpe_reflect": metrics.pa_mpjpe(*joints, known, allow_reflection=True),
            "mpvpe_root": metrics.mpvpe_root(predicted.joints, predicted.vertices, true.vertices_joints, true.vertices, true.hand_mask),
            "root_error": metrics.root_error(*joints, placed),
            "accel_error": metrics.accel_error(*joints, placed, true.frame),
            "accel_error_root": metrics.accel_error(*relative, rooted, true.frame),
        },
        *metrics.joint_errors_root(*joints, known),
    )


class Scores:
    """The sums behind one row's metrics on one split: a view of a flat float64 state that processes can add up."""

    SIZE = 1 + 2 * len(MEAN_METRICS) + NUM_JOINTS * (metrics.AUC_STEPS + 1)

    def __init__(self, state: Float[Tensor, "size"] | None = None):
        self.state = torch.zeros(self.SIZE, dtype=torch.float64) if state is None else state
        assert self.state.shape == (self.SIZE,) and self.state.dtype == torch.float64, f"{self.state.shape} {self.state.dtype}"
        frames, means, hits, seen = self.state.split([1, 2 * len(MEAN_METRICS), NUM_JOINTS * metrics.AUC_STEPS, NUM_JOINTS])
        self.frames, self.means = frames, means.view(len(MEAN_METRICS), 2)
        self.hits, self.seen = hits.view(NUM_JOINTS, metrics.AUC_STEPS), seen

    def add(self, errors: FrameErrors, chosen: Bool[Tensor, "n"]) -> None:
        """Adds the chosen frames; for accelerations, the triples whose middle frame is chosen."""
        self.frames += chosen.sum()
        for sums, name in zip(self.means, MEAN_METRICS):
            counted = errors.errors[name].valid & chosen
            sums[0] += errors.errors[name].value[counted].sum()
            sums[1] += counted.sum()
        hits, seen = metrics.pck_hits(errors.joint_distance[chosen], errors.joint_mask[chosen])
        self.hits.add_(hits)
        self.seen.add_(seen)

    @property
    def count(self) -> int:
        """How many frames were added."""
        return int(self.frames)

    def compute(self) -> dict[str, float]:
        """Every metric of METRICS (nan where nothing was valid) and `n`, the number of frames."""
        result = {name: float(total / count) if count > 0 else float("nan") for name, (total, count) in zip(MEAN_METRICS, self.means)}
        return {**result, "auc_50": metrics.auc(self.hits, self.seen), "n": self.count}


class ScoreBoard:
    """Scores of several rows (predictors) over several splits."""

    def __init__(self, rows: list[str], splits: list[str]):
        self.rows, self.splits = list(rows), list(splits)
        self._state = torch.zeros(len(rows), len(splits), Scores.SIZE, dtype=torch.float64)

    def __getitem__(self, key: tuple[str, str]) -> Scores:
        row, split = key
        return Scores(self._state[self.rows.index(row), self.splits.index(split)])

    def add(self, row: str, errors: FrameErrors, splits: dict[str, Bool[Tensor, "n"]]) -> None:
        """Adds one sequence's errors to each split's chosen frames."""
        for split, chosen in splits.items():
            self[row, split].add(errors, chosen)

    def reduce(self, total: Callable[[Tensor], Tensor]) -> None:
        """Replaces the sums by those of all processes; `total` adds a float64 tensor up over processes."""
        self._state = total(self._state.flatten()).view_as(self._state)

    def compute(self) -> dict[str, dict[str, dict[str, float]]]:
        """row -> split -> metric -> number."""
        return {row: {split: self[row, split].compute() for split in self.splits} for row in self.rows}


def without_nan(value):
    """The same nest of dicts and lists with None for numbers that are not finite: what strict JSON can say."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    if isinstance(value, float) and value not in (float("inf"), float("-inf")) and value == value or not isinstance(value, float):
        return value
    return None
