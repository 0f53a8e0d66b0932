"""Tokens: what a frozen network makes of each frame, computed once and trained from many times.

Stage 2's spatial network never changes, so its features of a frame in a view are made once for each of K
fixed views of every sequence, and once in the plain view for validation. A frame's record holds those
features and all else that a clip takes of it (camera, time, placed labels), or why the frame cannot be used:
training reads no picture and no table. Clips are drawn as from pictures (data/clips.py), position by position
the same.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from tempohand.batch import ClipBatch, Frames, HandTarget
from tempohand.data.bad_rows import REASONS, BadRows, LeftOut, training_sample
from tempohand.data.clips import MAX_GAP_S, ClipPlan, Clips
from tempohand.data.consistency import BOUNDS
from tempohand.data.loader import ClipDataset, clip_batch, frame_batches
from tempohand.data.token_store import ALONE, Processes, TokenStore, weights_hash
from tempohand.data.view import View

FORMAT = 5
CHUNK = 64  # frames the network sees at once; shards are the same whoever makes them because their chunks are
SHARD_FRAMES = 4096  # at least, in whole sequences: a few seconds' work, which an interruption may cost
MOST_SHARDS = 64  # a view: each is an open file
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
TARGET_FIELDS = tuple(field.name for field in fields(HandTarget))

Encode = Callable[[Frames], Tensor]  # frames -> features [n, f], on the CPU


def token_key(
    network: dict, weights: dict[str, Tensor], view: View, data: dict[str, str], *, precision: str, dtype: str
) -> dict:
    """All that tokens depend on: the settings and weights of the frozen part of a network, the view, the rows
    of both splits (`Mixture.contents`), which rows are bad and where a sequence is cut, the precision they
    were computed in and the type that they are stored in."""
    return {
        "format": FORMAT,
        "network": network,
        "weights": weights_hash(weights),
        "view": {
            **view.settings(),
            "augmentation": view.augmentation and asdict(view.augmentation),
        },
        "data": data,
        "reasons": list(REASONS),
        "bounds": {name: [bound.low, bound.high] for name, bound in BOUNDS.items()},
        "pause": MAX_GAP_S,
        "precision": precision,
        "dtype": dtype,
    }


class TokenSample(NamedTuple):
    """A plan's frames as records, and the rows that were met on the way and are no part of it."""

    plan: ClipPlan
    records: np.ndarray
    bad: BadRows


class TokenDataset(Dataset):
    """Clips as samples, from memory-mapped records: the counterpart of ClipDataset.

    `views` are the shards of each view, cut at `bounds` (rows, from 0 to the table's end); `clip(row)` reads
    the first view.
    """

    def __init__(
        self,
        clips: Clips,
        size: tuple[int, int],
        dtype: str,
        bounds: Int[np.ndarray, "s"],
        views: list[list[np.ndarray]],
    ):
        self.clips = clips
        self.size = size
        self.dtype = DTYPES[dtype]
        self.bounds = bounds
        self.record = views[0][0].dtype
        self.reason = self.record.fields["reason"][1]  # where its byte is
        # As plain bytes: picking rows of a matrix is a copy each, picking records walks through their fields.
        self.views = [[shard.view(np.uint8).reshape(len(shard), -1) for shard in shards] for shards in views]

    def __len__(self) -> int:
        return int(self.bounds[-1])

    def __getitem__(self, key: tuple[int, int]) -> TokenSample:
        return training_sample(self.clips, *key, self._read)

    def clip(self, row: int) -> TokenSample | LeftOut:
        """The evaluation clip that ends at `row`."""
        return self._read(self.clips.evaluation(row))

    def _read(self, plan: ClipPlan) -> TokenSample | LeftOut:
        shard = int(np.searchsorted(self.bounds, plan.rows[0], side="right")) - 1
        records = self.views[plan.view][shard][plan.rows - self.bounds[shard]]
        reasons = records[:, self.reason]
        if not reasons.any():
            return TokenSample(plan, records, {})
        bad = {int(row): REASONS[reason - 1] for row, reason in zip(plan.rows, reasons) if reason}
        usable = plan.without(bad)
        if usable is None:
            return LeftOut(bad)
        return TokenSample(usable, records[np.isin(plan.rows, usable.rows)], bad)

    def collate(self, samples: list[TokenSample]) -> ClipBatch:
        """One batch of every clip of every sample: frames with features and without pictures."""
        plans = [sample.plan for sample in samples]
        records = np.concatenate([sample.records for sample in samples]).view(self.record)[:, 0]
        names = self.record.names or ()
        column = {name: torch.from_numpy(np.ascontiguousarray(records[name])) for name in names}
        target = HandTarget(**{name: column[name][:, None] for name in TARGET_FIELDS})
        frames = Frames(
            size=self.size,
            features=column["features"].view(self.dtype).float(),
            focal=column["focal"],
            princpt=column["princpt"],
            time=column["time"],
        )
        return clip_batch(plans, frames, column["is_right"], column["shows_right"], target)


@dataclass(frozen=True)
class Shard:
    """Whole sequences of a split in one view; `view` None is the plain one."""

    dataset: ClipDataset
    view: int | None
    first: int
    end: int

    @property
    def name(self) -> str:
        """File name."""
        view = "plain" if self.view is None else f"view{self.view}"
        return f"{self.dataset.table.split}-{view}-{self.first:09d}-{self.end:09d}.npy"


def shard_bounds(starts: Int[np.ndarray, "rows"], shard_frames: int = SHARD_FRAMES) -> Int[np.ndarray, "s"]:
    """Where shards of about `shard_frames` rows begin, at beginnings of sequences, and the table's end."""
    sequences = np.append(np.unique(starts), len(starts))
    wanted = np.arange(0, len(starts), max(shard_frames, -(-len(starts) // MOST_SHARDS)))
    return np.unique(np.append(sequences[np.searchsorted(sequences, wanted)], len(starts)))


@dataclass(frozen=True)
class Encoder:
    """How tokens are made: `encode` is the frozen part of a network, `dtype` (one of DTYPES) the type in
    which its features are stored, `workers` the number of processes that read pictures."""

    encode: Encode
    dtype: str
    workers: int = 0

    def records(self, batch: ClipBatch, time: np.ndarray) -> np.ndarray:
        """One record a frame, of a batch of clips of one frame. `reason` is 0 for a frame that can be used,
        else 1 + its place in REASONS. Raises ValueError for features that the type cannot hold."""
        features = self.encode(batch.frames).to(DTYPES[self.dtype])
        if not features.isfinite().all():
            raise ValueError(
                f"features of rows {batch.row.tolist()[:8]}... do not fit tokens.dtype={self.dtype}: "
                "take bf16 or fp32"
            )
        stored = features.view(torch.int16) if self.dtype == "bf16" else features  # NumPy has no bfloat16
        columns = {
            "features": stored,
            "focal": batch.frames.focal,
            "princpt": batch.frames.princpt,
            "time": torch.from_numpy(time),
            "is_right": batch.is_right,
            "shows_right": batch.shows_right,
            **{name: getattr(batch.target, name)[:, 0] for name in TARGET_FIELDS},
            "reason": torch.zeros(len(features), dtype=torch.uint8),
        }
        columns = {name: value.contiguous().numpy() for name, value in columns.items()}
        records = np.empty(
            len(features), [(name, value.dtype, value.shape[1:]) for name, value in columns.items()]
        )
        for name, value in columns.items():
            records[name] = value
        return records

    def kind_of_record(self, shards: list[Shard]) -> np.dtype:
        """What a record holds, which the first frame that can be used shows. Raises ValueError where there is
        none."""
        frames = (
            (shard.dataset, shard.view, np.array([row]))
            for shard in shards
            for row in range(shard.first, shard.end)
        )
        for frame in frames:
            for batch, _ in frame_batches([frame]):
                if batch is not None:
                    return self.records(batch, np.zeros(1)).dtype
        raise ValueError(
            f"no frame of '{shards[0].dataset.table.root}' can be used: "
            "look at the table with tempohand check-data"
        )

    def shards(self, shards: list[Shard], kind: np.dtype, *, show: bool) -> Iterator[tuple[str, np.ndarray]]:
        """(name, records) of each shard in turn; with a progress bar if `show`."""
        chunks = [
            (shard, np.arange(first, min(first + CHUNK, shard.end)))
            for shard in shards
            for first in range(shard.first, shard.end, CHUNK)
        ]
        batches = frame_batches([(shard.dataset, shard.view, rows) for shard, rows in chunks], self.workers)
        total = sum(len(rows) for _, rows in chunks)
        done = []
        with tqdm(
            total=total, desc="tokens", unit="frame", disable=not show or not total, mininterval=1.0
        ) as bar:
            for (shard, rows), (batch, bad) in zip(chunks, batches):
                records = np.zeros(len(rows), kind)
                for row, reason in bad.items():
                    records["reason"][row - rows[0]] = 1 + REASONS.index(reason)
                if batch is not None:
                    usable = batch.row.numpy()
                    time = shard.dataset.table.labels(usable)["time"]
                    records[usable - rows[0]] = self.records(batch, time)
                done.append(records)
                bar.update(len(rows))
                if rows[-1] + 1 == shard.end:
                    yield shard.name, np.concatenate(done)
                    done = []


def cached(
    store: TokenStore,
    training: ClipDataset,
    held_out: ClipDataset,
    encoder: Encoder,
    processes: Processes = ALONE,
    shard_frames: int = SHARD_FRAMES,
) -> tuple[TokenDataset, TokenDataset]:
    """Training and validation clips from tokens; what the store lacks is made first, shared among
    `processes`.

    Raises ValueError when the disk is too small, a shard is damaged, features do not fit the encoder's type,
    or a setting makes no sense.
    """
    if not training.clips.views or encoder.dtype not in DTYPES:
        raise ValueError(
            f"tokens: views is a number of at least 1 and dtype one of {sorted(DTYPES)}, "
            f"got {training.clips.views} and {encoder.dtype}"
        )
    kinds = [(training, list(range(training.clips.views))), (held_out, [None])]
    bounds = [shard_bounds(dataset.clips.starts, shard_frames) for dataset, _ in kinds]
    shards = [
        [[Shard(dataset, view, *map(int, pair)) for pair in zip(cut[:-1], cut[1:])] for view in views]
        for (dataset, views), cut in zip(kinds, bounds)
    ]
    every = [shard for views in shards for parts in views for shard in parts]
    _complete(store, every, encoder, processes)
    processes.gather(None)
    store.verify([shard.name for shard in processes.share(every)])
    cached_training, cached_held_out = (
        TokenDataset(
            dataset.clips,
            dataset.view.size,
            encoder.dtype,
            cut,
            [[store.read(shard.name) for shard in parts] for parts in views],
        )
        for (dataset, _), cut, views in zip(kinds, bounds, shards)
    )
    return cached_training, cached_held_out


def _complete(store: TokenStore, every: list[Shard], encoder: Encoder, processes: Processes) -> None:
    """Makes the shards that the store lacks."""
    with store.making(processes):
        names = set(store.missing(shard.name for shard in every))
        missing = [shard for shard in every if shard.name in names]
        processes.gather(None)  # all have the same list before the first shard is added to the folder
        if missing:
            kind = encoder.kind_of_record(missing)
            if processes.is_first:
                frames = sum(shard.end - shard.first for shard in missing)
                views = len({shard.view for shard in every} - {None})
                room = store.require_space(frames * kind.itemsize)
                processes.say(
                    f"tokens: {frames:,} frames to encode ({views} views), "
                    f"{kind.itemsize:,} bytes each: {room}"
                )
            for name, records in encoder.shards(processes.share(missing), kind, show=processes.is_first):
                store.write(name, records)
        processes.gather(None)
        if processes.is_first:
            store.finish(names)
