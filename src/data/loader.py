"""Clips as samples, and batches of them, read by worker processes.

A training position (training_order.py) decides everything about its sample: the row and every random draw. So
the samples of optimizer step k are the same whatever the number of processes and workers, and a run resumes
by its step alone.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tempohand.batch import ClipBatch, Frames, HandTarget, frames_in_order
from tempohand.data.bad_rows import BadRows, LeftOut, inconsistent_rows, training_sample
from tempohand.data.clips import ClipPlan, Clips, ClipSampling, join_clips
from tempohand.data.depth_view import depth_crops, mask_crops
from tempohand.data.ledger import Ledger
from tempohand.data.pictures import BadPicture
from tempohand.data.table import LABELS, FrameTable
from tempohand.data.training_order import TrainingOrder
from tempohand.data.view import Placement, View, ViewDraw, place_labels, turned_upright


@runtime_checkable
class ClipReader(Protocol):
    """What batches are made of: a dataset of clips, from pictures (ClipDataset) or from tokens."""

    def __len__(self) -> int: ...

    def clip(self, row: int) -> Any:
        """The evaluation clip that ends at `row`, or LeftOut."""
        ...

    @property
    def collate(self) -> Callable[[list], ClipBatch]:
        """Makes a batch of samples."""
        ...


class ClipDataset(Dataset):
    """Clips of a table's split as samples; `collate` makes ClipBatches of them.

    `dataset[position, row]` is a training sample for TrainingOrder's (position, row) pairs; `clip(row)` is
    the evaluation clip of a row: plain crop (whatever the view's augmentation), full history. With `views`
    training draws from so many fixed views of each sequence, as it does with cached tokens (data/tokens.py);
    without, each sample has a view of its own. `inputs` are what is read of a frame (table.INPUTS): depth and
    mask of no frame where the table has none, and else all unknown in a row without. Rows that cannot be used
    are no part of a sample (data/bad_rows.py); `inconsistent` are those that the labels alone give away.
    """

    def __init__(
        self,
        table: FrameTable,
        view: View,
        num_frame: int,
        sampling: ClipSampling | None = None,
        seed: int = 0,
        views: int | None = None,
        inputs: tuple[str, ...] = ("image",),
    ):
        self.table = table
        self.view = view
        self.plain = View(view.size, view.expansion)
        self.inputs = tuple(name for name in inputs if name in table.inputs)
        self.clips = Clips(table.sequence_starts(), table.column("time"), num_frame, sampling, seed, views)
        self.inconsistent = inconsistent_rows(table)
        self.collate = collate

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, key: tuple[int, int]) -> "Sample":
        return training_sample(self.clips, *key, self.in_view if self.clips.views else self.in_a_new_view)

    def in_view(self, plan: ClipPlan) -> "Sample | LeftOut":
        """A plan's frames in the fixed view of its number, which is drawn for the whole sequence."""
        first, end = self.clips.sequence(int(plan.rows[0]))
        return self._sample(plan, self.view, np.random.default_rng([plan.view, first]), first, end)

    def in_a_new_view(self, plan: ClipPlan) -> "Sample | LeftOut":
        """A plan's frames in a view of their own."""
        first, last = int(plan.rows[0]), int(plan.rows[-1])
        return self._sample(plan, self.view, np.random.default_rng([plan.view, first]), first, last + 1)

    def in_plain_view(self, plan: ClipPlan) -> "Sample | LeftOut":
        """A plan's frames as evaluation and inference see them."""
        first, last = int(plan.rows[0]), int(plan.rows[-1])
        return self._sample(plan, self.plain, np.random.default_rng(0), first, last + 1)

    def clip(self, row: int) -> "Sample | LeftOut":
        """The evaluation clip that ends at `row`; collate([clip]) is its batch."""
        return self.in_plain_view(self.clips.evaluation(row))

    def _sample(
        self, plan: ClipPlan, view: View, rng: np.random.Generator, first: int, end: int
    ) -> "Sample | LeftOut":
        """The plan's frames in a view that `rng` draws for the rows from `first` to before `end`, used or
        not."""
        pictures, bad = self._read(plan.rows)
        if bad:
            usable = plan.without(bad)
            if usable is None:
                return LeftOut(bad)
            plan = usable
        draw = view.draw(rng, end - first)[plan.rows - first]
        labels = {name: torch.from_numpy(value) for name, value in self.table.labels(plan.rows).items()}
        is_right = bool(labels["is_right"][-1])
        if draw.upright:
            draw = self._turned_upright(draw, first, is_right)
        placement = view.place(
            draw, labels["width"], labels["focal"], labels["princpt"], labels["box"], is_right
        )
        warps = {
            "image": lambda images: view.warp(images, placement, draw),
            "depth": lambda depths: depth_crops(depths, placement, view.size),
            "mask": lambda masks: mask_crops(masks, placement, view.size),
        }
        crops = {
            name: warps[name]([pictures[row][name] for row in plan.rows.tolist()]) for name in self.inputs
        }
        return Sample(plan, labels, placement, crops, view.size, bad)

    def _turned_upright(self, draw: ViewDraw, row: int, is_right: bool) -> ViewDraw:
        """By the hand of the row that a view is drawn from; a hand that is not known stays as it is."""
        labels = self.table.labels(np.array([row]))
        if not labels["joints2d_mask"].all():
            return draw
        return turned_upright(draw, torch.from_numpy(labels["joints2d"])[0], is_right)

    def _read(self, rows: Int[np.ndarray, "n"]) -> tuple[dict[int, dict[str, np.ndarray | None]], BadRows]:
        """What is read of the rows that can be used, by the names of `inputs`, and why the others cannot."""
        pictures, bad = {}, {}
        for row in rows.tolist():
            if row in self.inconsistent:
                bad[row] = self.inconsistent[row]
                continue
            try:
                pictures[row] = {name: getattr(self.table, name)(row) for name in self.inputs}
            except BadPicture as error:
                bad[row] = error.reason
        return pictures, bad


@dataclass(frozen=True)
class Sample:
    """A plan's frames in one view; `collate` makes a batch of many. `crops`: what was read of them, by its
    name in `Frames`. `bad`: rows that were met on the way and are no part of it."""

    plan: ClipPlan
    labels: dict[str, Tensor]
    placement: Placement
    crops: dict[str, Tensor]
    size: tuple[int, int]  # of the crops, (height, width)
    bad: BadRows = field(default_factory=dict)


def collate(samples: list[Sample]) -> ClipBatch:
    """One batch of every clip of every sample; labels go through their views all at once."""
    labels = {name: torch.cat([sample.labels[name] for sample in samples]) for name in LABELS}
    placements = [sample.placement for sample in samples]
    counts = torch.tensor([len(sample.plan.rows) for sample in samples])
    mirrored = torch.tensor([placement.mirrored for placement in placements]).repeat_interleave(counts)
    rotation = torch.stack([placement.rotation for placement in placements])
    shows_right = labels["is_right"] != mirrored
    moved = place_labels(
        labels,
        homography=torch.cat([placement.homography for placement in placements]),
        rotation=rotation.repeat_interleave(counts, dim=0),
        mirrored=mirrored,
        size=samples[0].size,
    )
    target = HandTarget(
        **{name: value[:, None] for name, value in moved.items()},
        shape=labels["shape"][:, None],
        joints2d_mask=(labels["joints2d_mask"] & shows_right[:, None])[:, None],
        joints_mask=(labels["joints_mask"] & shows_right[:, None])[:, None],
        hand_mask=(labels["has_hand"] & shows_right)[:, None],
        camera_mask=labels["has_camera"][:, None],
        hidden=labels["hidden"][:, None],
    )
    frames = Frames(
        size=samples[0].size,
        **{name: torch.cat([sample.crops[name] for sample in samples]) for name in samples[0].crops},
        focal=torch.cat([placement.focal for placement in placements]),
        princpt=torch.cat([placement.princpt for placement in placements]),
        time=labels["time"],
    )
    plans = [sample.plan for sample in samples]
    return clip_batch(plans, frames, labels["is_right"], shows_right, target)


def clip_batch(
    plans: list[ClipPlan],
    frames: Frames,
    is_right: Bool[Tensor, "n"],
    shows_right: Bool[Tensor, "n"],
    target: HandTarget,
) -> ClipBatch:
    """The batch of every clip of every plan. Frames, sides and labels are those of the plans' frames, which
    lie one plan after the other."""
    clips, mask = map(torch.from_numpy, join_clips(plans))
    order, index = frames_in_order(clips)
    last = clips[:, -1]
    first = torch.from_numpy(np.concatenate([np.arange(len(plan.clips)) == 0 for plan in plans]))
    return ClipBatch(
        frames=frames[order],
        index=index,
        frame_mask=mask,
        is_right=is_right[last],
        row=torch.from_numpy(np.concatenate([plan.rows for plan in plans]))[last],
        target=target[last],
        previous=None if first.all() else torch.where(first, -1, torch.arange(len(first)) - 1),
        shows_right=shows_right[last],
    )


def training_batches(
    dataset: ClipReader,
    order: TrainingOrder,
    workers: int,
    ledger: Ledger | None = None,
    *,
    pinned: bool = False,
) -> Iterator[ClipBatch]:
    """Batches without end of a dataset of clips (from pictures or from tokens), read by worker processes.

    `ledger` is told how many frames were read for each batch and which of them left out. Without one a bad
    row is a ValueError. pinned: in page-locked memory, which is what a copy to a GPU with non_blocking needs.
    """
    collate_fn = partial(_collate_training, dataset.collate)
    loader = _loader(dataset, collate_fn, workers, batch_sampler=order, pin_memory=pinned)
    return _told(loader, ledger)


def evaluation_batches(
    dataset: ClipReader,
    rows: Int[np.ndarray, "n"],
    batch_size: int,
    workers: int = 0,
    ledger: Ledger | None = None,
    *,
    rank: int = 0,
    world: int = 1,
) -> Iterator[ClipBatch]:
    """The evaluation clips of `rows` in their order, each once, the last batch as short as it comes.

    Process `rank` of `world` has every `world`-th batch: which clips make up a batch depends on nothing else,
    and so does, to the bit, what a network says of them. `ledger` is told how many rows were asked for and
    which left out. Without one a bad row is a ValueError.
    """
    return listed_batches(dataset, cut(rows, batch_size)[rank::world], workers, ledger)


def listed_batches(
    dataset: ClipReader, batches: list[Int[np.ndarray, "_"]], workers: int = 0, ledger: Ledger | None = None
) -> Iterator[ClipBatch]:
    """The evaluation clips of the rows of each batch; rows that cannot be used are left out, and batches of
    which nothing is left."""
    clips = _Read(range(len(dataset)), dataset.clip)
    collate_fn = partial(_collate_evaluation, dataset.collate)
    loader = _loader(clips, collate_fn, workers, batch_sampler=[rows.tolist() for rows in batches])
    return _told(loader, ledger)


def cut(rows: Int[np.ndarray, "n"], size: int) -> list[Int[np.ndarray, "_"]]:
    """Rows in pieces of `size`, the last one as short as it comes."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


@dataclass(frozen=True)
class _Arrival:
    """What comes from a worker: a batch (None: nothing could be used), and what goes into the ledger."""

    batch: ClipBatch | None
    entry: Ledger

    def pin_memory(self) -> "_Arrival":
        """For DataLoader, which asks what it does not know."""
        return self if self.batch is None else replace(self, batch=self.batch.pin_memory())


def _bad(samples: list) -> BadRows:
    return {row: reason for sample in samples for row, reason in sample.bad.items()}


def _collate_training(collate: Callable, samples: list) -> _Arrival:
    left_out = sum(len(sample.bad) for sample in samples)
    read = sum(len(sample.plan.rows) for sample in samples) + left_out
    return _Arrival(collate(samples), Ledger(read, left_out, _bad(samples)))


def _collate_evaluation(collate: Callable, samples: list) -> _Arrival:
    usable = [sample for sample in samples if not isinstance(sample, LeftOut)]
    entry = Ledger(len(samples), len(samples) - len(usable), _bad(samples))
    return _Arrival(collate(usable) if usable else None, entry)


def _told(arrivals: Iterable[_Arrival], ledger: Ledger | None) -> Iterator[ClipBatch]:
    for arrival in arrivals:
        if ledger is not None:
            ledger.add(arrival.entry)
        elif arrival.entry.bad:
            row, reason = next(iter(arrival.entry.bad.items()))
            raise ValueError(
                f"row {row} cannot be used ({reason}): look at the table with tempohand check-data"
            )
        if arrival.batch is not None:
            yield arrival.batch


def frame_batches(
    chunks: list[tuple[ClipDataset, int | None, Int[np.ndarray, "_"]]], workers: int = 0
) -> Iterator[tuple[ClipBatch | None, BadRows]]:
    """Single frames as clips of one frame, one batch a chunk: its rows in the fixed view of its number, or
    plain where that is None.

    Rows that cannot be used come beside the batch, which is None where no other are left.
    """
    loader = _loader(_Read(chunks, _single_frames), _collate_single_frames, workers, batch_size=1)
    return ((arrival.batch, arrival.entry.bad) for arrival in loader)


def _single_frames(chunk: tuple[ClipDataset, int | None, Int[np.ndarray, "_"]]) -> list[Sample | LeftOut]:
    dataset, view, rows = chunk
    sequences = np.split(rows, np.flatnonzero(np.diff(dataset.clips.starts[rows])) + 1)
    see = dataset.in_plain_view if view is None else dataset.in_view
    return [see(ClipPlan.single_frames(part, view or 0)) for part in sequences]


def _collate_single_frames(chunks: list[list[Sample | LeftOut]]) -> _Arrival:
    return _collate_evaluation(collate, chunks[0])


class _Read(Dataset):
    """What `read` makes of each of `items`."""

    def __init__(self, items: Sequence, read: Callable):
        self.items, self.read = items, read

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: int) -> object:
        return self.read(self.items[place])


def _loader(dataset: Any, collate_fn: Callable, workers: int, **options) -> DataLoader:
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
    _outlive_signals()


def _outlive_signals() -> None:
    """Signals to stop are for the training process, which still has a step to finish: a worker ends when that
    process says so, not before.

    A terminal and many schedulers send them to workers, too.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def listen(parent: int) -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
            pass
        os._exit(0)

    threading.Thread(target=listen, args=(os.getppid(),), daemon=True).start()
