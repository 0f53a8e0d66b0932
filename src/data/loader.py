"""Clips as samples, and the order in which training and evaluation see them.

A training position p (0, 1, 2, ...) decides everything about its sample: the row (a permutation per epoch) and every random draw. So the
samples of optimizer step k are the same whatever the number of processes and workers, and a run resumes by its step alone.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tempohand.batch import ClipBatch, HandTarget
from tempohand.data.clips import ClipPlan, Clips, ClipSampling
from tempohand.data.table import LABELS, FrameTable
from tempohand.data.view import Placement, View, ViewDraw, place_labels


class ClipDataset(Dataset):
    """Clips of a table's split as samples; `collate` makes ClipBatches of them.

    `dataset[position, row]` is a training sample for TrainingOrder's (position, row) pairs; `clip(row)` is the evaluation clip of a row:
    plain crop (whatever the view's augmentation), full history. With `views` training draws from so many fixed views of each sequence, as
    it does with cached tokens (data/tokens.py); without, each sample has a view of its own.
    """

    def __init__(
        self,
        table: FrameTable,
        view: View,
        num_frame: int,
        sampling: ClipSampling | None = None,
        seed: int = 0,
        views: int | None = None,
    ):
        self.table, self.view, self.plain = table, view, View(view.size, view.expansion)
        self.clips = Clips(table.sequence_starts(), num_frame, sampling, seed, views)
        self.collate = collate

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, key: tuple[int, int]) -> "Sample":
        plan = self.clips.training(*key)
        if self.clips.views:
            return self.in_view(plan)
        first, last = int(plan.rows[0]), int(plan.rows[-1])
        draw = self.view.draw(np.random.default_rng([plan.view, first]), last - first + 1)
        return self._sample(plan, self.view, draw[plan.rows - first])

    def in_view(self, plan: ClipPlan) -> "Sample":
        """A plan's frames in the fixed view of its number, which is drawn for the whole sequence."""
        first, end = self.clips.sequence(int(plan.rows[0]))
        draw = self.view.draw(np.random.default_rng([plan.view, first]), end - first)
        return self._sample(plan, self.view, draw[plan.rows - first])

    def in_plain_view(self, plan: ClipPlan) -> "Sample":
        """A plan's frames as evaluation and inference see them."""
        return self._sample(plan, self.plain, self.plain.draw(np.random.default_rng(0), len(plan.rows)))

    def clip(self, row: int) -> "Sample":
        """The evaluation clip that ends at `row`; collate([clip]) is its batch."""
        return self.in_plain_view(self.clips.evaluation(row))

    def _sample(self, plan: ClipPlan, view: View, draw: ViewDraw) -> "Sample":
        pictures = [self.table.image(int(row)) for row in plan.rows]
        labels = {name: torch.from_numpy(value) for name, value in self.table.labels(plan.rows).items()}
        width, is_right = int(labels["width"][-1]), bool(labels["is_right"][-1])
        placement = view.place(draw, width, labels["focal"], labels["princpt"], labels["box"], is_right)
        return Sample(plan, labels, placement, view.warp(pictures, placement, draw), view.size)


@dataclass(frozen=True)
class Sample:
    """A plan's frames in one view; `collate` makes a batch of many."""

    plan: ClipPlan
    labels: dict[str, Tensor]
    placement: Placement
    image: UInt8[Tensor, "n 3 h w"]
    size: int


def collate(samples: list[Sample]) -> ClipBatch:
    """One batch of every clip of every sample; labels go through their views all at once."""
    counts = [len(sample.plan.rows) for sample in samples]
    labels = {name: torch.cat([sample.labels[name] for sample in samples]) for name in LABELS}
    placements = [sample.placement for sample in samples]
    moved = place_labels(
        labels,
        homography=torch.cat([placement.homography for placement in placements]),
        rotation=torch.cat([placement.rotation.expand(count, 3, 3) for placement, count in zip(placements, counts)]),
        mirrored=~labels["is_right"],
        size=samples[0].size,
    )
    target = HandTarget(
        **{name: value[:, None] for name, value in moved.items()},
        shape=labels["shape"][:, None],
        joints2d_mask=labels["joints2d_mask"][:, None],
        joints_mask=labels["joints_mask"][:, None],
        hand_mask=labels["has_hand"][:, None],
        camera_mask=labels["has_camera"][:, None],
        hidden=labels["hidden"][:, None],
    )
    frames = {
        "image": torch.cat([sample.image for sample in samples]),
        "focal": torch.cat([placement.focal for placement in placements]),
        "princpt": torch.cat([placement.princpt for placement in placements]),
    }
    plans = [sample.plan for sample in samples]
    return ClipBatch(**clip_fields(plans, labels["time"], frames, labels["is_right"], target))


def clip_fields(
    plans: list[ClipPlan], time: Tensor, frames: dict[str, Tensor], is_right: Tensor, target: HandTarget
) -> dict[str, Tensor | HandTarget]:
    """The fields of every clip of every plan, from those of the plans' frames, which lie one plan after the other."""
    offsets = np.cumsum([0] + [len(plan.rows) for plan in plans])
    frame = torch.from_numpy(np.concatenate([plan.clips + offset for plan, offset in zip(plans, offsets)]))
    first = torch.from_numpy(np.concatenate([np.arange(len(plan.clips)) == 0 for plan in plans]))
    last = frame[:, -1]
    return {
        **{name: value[frame] for name, value in frames.items()},
        "time": (time[frame] - time[last][:, None]).float(),  # float64 before the cast
        "frame_mask": torch.from_numpy(np.concatenate([plan.mask for plan in plans])),
        "is_right": is_right[last],
        "row": torch.from_numpy(np.concatenate([plan.rows for plan in plans]))[last],
        "previous": torch.where(first, -1, torch.arange(len(first)) - 1),
        "frame": frame,
        "target": target[last],
    }


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


def training_batches(dataset: Dataset, order: TrainingOrder, workers: int) -> Iterable[ClipBatch]:
    """Batches without end of a dataset of clips (from pictures or from tokens), read by worker processes."""
    return _loader(dataset, dataset.collate, workers, batch_sampler=order)


def evaluation_batches(dataset: Dataset, rows: Int[np.ndarray, "n"], batch_size: int, workers: int = 0) -> Iterable[ClipBatch]:
    """The evaluation clips of `rows` in their order, each once, the last batch as short as it comes."""
    return _loader(_EvaluationClips(dataset, rows), dataset.collate, workers, batch_size=batch_size)


def frame_batches(chunks: list[tuple[ClipDataset, int | None, Int[np.ndarray, "_"]]], workers: int = 0) -> Iterable[ClipBatch]:
    """Single frames as clips of one frame, one batch a chunk: its rows in the fixed view of its number, or plain where that is None."""
    return _loader(_Frames(chunks), _collate_frames, workers, batch_size=1)


class _Frames(Dataset):
    def __init__(self, chunks):
        self.chunks = chunks

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, place: int) -> list[Sample]:
        dataset, view, rows = self.chunks[place]
        sequences = np.split(rows, np.flatnonzero(np.diff(dataset.clips.starts[rows])) + 1)
        see = dataset.in_plain_view if view is None else dataset.in_view
        return [see(ClipPlan.single_frames(part, view or 0)) for part in sequences]


def _collate_frames(chunks: list[list[Sample]]) -> ClipBatch:
    return collate(chunks[0])


class _EvaluationClips(Dataset):
    def __init__(self, dataset, rows):
        self.dataset, self.rows = dataset, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> object:
        return self.dataset.clip(int(self.rows[place]))


def _loader(dataset: Dataset, collate_fn, workers: int, **options) -> DataLoader:
    return DataLoader(
        dataset,
        collate_fn=collate_fn,
        num_workers=workers,
        worker_init_fn=_quiet_worker,
        prefetch_factor=4 if workers else None,
        generator=torch.Generator(),  # samples draw for themselves: the run's own generator is left as it is
        **options,
    )


def _quiet_worker(_: int) -> None:
    """One thread a worker: the processes are the parallelism."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
