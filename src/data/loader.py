"""Clips as samples, and the order in which training and evaluation see them.

A training position p (0, 1, 2, ...) decides everything about its sample: the row (a permutation per epoch) and every random draw. So the
samples of optimizer step k are the same whatever the number of processes and workers, and a run resumes by its step alone.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tempohand.batch import ClipBatch, HandTarget
from tempohand.data.clips import clip_rows, eligible_rows
from tempohand.data.table import LABELS, FrameTable
from tempohand.data.view import Placement, View, ViewDraw, place_labels


@dataclass(frozen=True)
class ClipSampling:
    """How training clips vary in time: shortest history (frames kept), largest frame gap, and clips per sample.

    With `consecutive` = c a sample is c clips, each one frame after the other, in one view: a velocity loss compares neighbours, and the
    frames that they share are encoded once.
    """

    min_history: int = 1
    max_gap: int = 1
    consecutive: int = 1


class ClipDataset(Dataset):
    """Clips of a table's split as samples; `collate` makes ClipBatches of them.

    `dataset[position]` is a training sample for TrainingOrder's (position, row) pairs; `clip(row)` is the evaluation clip of a row: plain
    crop (whatever the view's augmentation), full history.
    """

    def __init__(self, table: FrameTable, view: View, num_frame: int, sampling: ClipSampling | None = None, seed: int = 0):
        self.table, self.view, self.num_frame, self.seed = table, view, num_frame, seed
        self.sampling = sampling or ClipSampling()
        self.starts = table.sequence_starts()
        self.plain = View(view.size, view.expansion)

    def training_rows(self) -> Int[np.ndarray, "n"]:
        """Rows on which a training clip can end. Raises ValueError where sequences are too short for this num_frame."""
        full = self.num_frame + self.sampling.consecutive - 1
        eligible_rows(self.starts, full)  # somewhere a whole clip must exist
        return eligible_rows(self.starts, self.sampling.consecutive)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, key: tuple[int, int]) -> "Sample":
        position, row = key
        rng = np.random.default_rng([self.seed, position])
        count, start = self.sampling.consecutive, int(self.starts[row])
        largest_gap = min(self.sampling.max_gap, (row - start) // (count - 1)) if count > 1 else self.sampling.max_gap
        gap = int(rng.integers(1, largest_gap + 1))
        rows, real = clip_rows(start, row, self.num_frame + count - 1, gap)
        history = int(rng.integers(self.sampling.min_history, self.num_frame + 1)) if self.num_frame > 1 else 1
        return self._clips(rows, real, history, self.view, self.view.draw(rng, len(rows)))

    def clip(self, row: int) -> "Sample":
        """The evaluation clip that ends at `row`; collate([clip]) is its batch."""
        rows, real = clip_rows(int(self.starts[row]), row, self.num_frame)
        return self._clips(rows, real, self.num_frame, self.plain, self.plain.draw(np.random.default_rng(0), len(rows)))

    def _clips(self, rows: np.ndarray, real: np.ndarray, history: int, view: View, draw: ViewDraw) -> "Sample":
        """Every clip of num_frame frames inside the given ones, oldest first, as one sample."""
        unique, where = np.unique(rows, return_inverse=True)
        pictures = [self.table.image(int(row)) for row in unique]
        labels = {name: torch.from_numpy(value[where]) for name, value in self.table.labels(unique).items()}
        width, is_right = int(labels["width"][-1]), bool(labels["is_right"][-1])
        placement = view.place(draw, width, labels["focal"], labels["princpt"], labels["box"], is_right)
        image = view.warp([pictures[i] for i in where], placement, draw.photometric)
        return Sample(rows, real, history, self.num_frame, labels, placement, image, view.size)


@dataclass(frozen=True)
class Sample:
    """Frames in one view, and the clips of `num_frame` frames in them; `collate` makes a batch of many."""

    rows: Int[np.ndarray, "n"]
    real: Bool[np.ndarray, "n"]
    history: int
    num_frame: int
    labels: dict[str, Tensor]
    placement: Placement
    image: UInt8[Tensor, "n 3 h w"]
    size: int


def collate(samples: list[Sample]) -> ClipBatch:
    """One batch of every clip of every sample; labels of the last frames go through their views all at once."""
    clips = {name: [] for name in ("image", "focal", "princpt", "time", "frame_mask", "is_right", "row", "frame", "previous")}
    frames = 0
    labels, placed = {name: [] for name in LABELS}, {name: [] for name in ("homography", "rotation", "mirrored")}
    for sample in samples:
        span = sample.num_frame
        for first in range(len(sample.rows) - span + 1):
            cut, last = slice(first, first + span), first + span - 1
            time = sample.labels["time"][cut]
            clips["image"].append(sample.image[cut])
            clips["focal"].append(sample.placement.focal[cut])
            clips["princpt"].append(sample.placement.princpt[cut])
            clips["time"].append((time - time[-1]).float())  # float64 before the cast
            clips["frame_mask"].append(torch.from_numpy(sample.real[cut] & (np.arange(span) >= span - sample.history)))
            clips["is_right"].append(sample.labels["is_right"][last])
            clips["row"].append(torch.tensor(int(sample.rows[last])))
            clips["frame"].append(torch.arange(frames + first, frames + first + span))
            clips["previous"].append(torch.tensor(len(clips["previous"]) - 1 if first else -1))
            for name in LABELS:
                labels[name].append(sample.labels[name][last])
            placed["homography"].append(sample.placement.homography[last])
            placed["rotation"].append(sample.placement.rotation)
            placed["mirrored"].append(torch.tensor(sample.placement.mirrored))
        frames += len(sample.rows)
    stacked = {name: torch.stack(values) for name, values in labels.items()}
    moved = place_labels(stacked, **{name: torch.stack(values) for name, values in placed.items()}, size=samples[0].size)
    target = HandTarget(
        **{name: value[:, None] for name, value in moved.items()},
        shape=stacked["shape"][:, None],
        joints2d_mask=stacked["joints2d_mask"][:, None],
        joints_mask=stacked["joints_mask"][:, None],
        hand_mask=stacked["has_hand"][:, None],
        camera_mask=stacked["has_camera"][:, None],
        hidden=stacked["hidden"][:, None],
    )
    return ClipBatch(**{name: torch.stack(values) for name, values in clips.items()}, target=target)


class TrainingOrder:
    """Batches of (position, row) for one process, from optimizer micro-step `start` on, without end.

    Global micro-batch k holds positions [k * P * B, (k + 1) * P * B); process r of P takes its r-th part.
    """

    def __init__(self, rows: Int[np.ndarray, "n"], batch_size: int, *, rank: int = 0, world: int = 1, seed: int = 0, start: int = 0):
        self.rows, self.batch_size, self.rank, self.world, self.seed, self.start = rows, batch_size, rank, world, seed, start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order, step = -1, self.rows, self.start
        while True:
            first = (step * self.world + self.rank) * self.batch_size
            batch = []
            for position in range(first, first + self.batch_size):
                if position // len(self.rows) != epoch:
                    epoch = position // len(self.rows)
                    order = np.random.default_rng([self.seed, epoch]).permutation(self.rows)
                batch.append((position, int(order[position % len(self.rows)])))
            yield batch
            step += 1


def training_batches(dataset: ClipDataset, order: TrainingOrder, workers: int, pin_memory: bool = False) -> Iterable[ClipBatch]:
    """Batches without end, decoded by worker processes."""
    return DataLoader(
        dataset,
        batch_sampler=order,
        collate_fn=collate,
        num_workers=workers,
        worker_init_fn=_quiet_worker,
        pin_memory=pin_memory,
        prefetch_factor=4 if workers else None,
    )


class _EvaluationClips(Dataset):
    def __init__(self, dataset: ClipDataset, rows):
        self.dataset, self.rows = dataset, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Sample:
        return self.dataset.clip(int(self.rows[place]))


def evaluation_batches(dataset: ClipDataset, rows: Int[np.ndarray, "n"], batch_size: int, workers: int = 0) -> Iterable[ClipBatch]:
    """The evaluation clips of `rows` in their order, each once, the last batch as short as it comes."""
    return DataLoader(
        _EvaluationClips(dataset, rows), batch_size=batch_size, collate_fn=collate, num_workers=workers, worker_init_fn=_quiet_worker
    )


def _quiet_worker(_: int) -> None:
    """One thread a worker: the processes are the parallelism."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
