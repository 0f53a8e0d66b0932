"""Rows that cannot be used, and clips without them.

A row is bad when its picture does not decode, is cut off or has another size than the row says
(data/pictures.py), or when its labels contradict each other (data/consistency.py, all that needs no hand
model). A bad frame in a clip's history is a missing frame; a clip whose last frame is bad does not exist.
Training takes another row in its place, which the position decides; what is left out is counted
(data/ledger.py).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

from tempohand.data import pictures
from tempohand.data.clips import ClipPlan, Clips
from tempohand.data.consistency import BOUNDS, faults, measure
from tempohand.data.table import FrameTable

# Every reason there is; the token cache notes places in it.
REASONS = (*pictures.REASONS, *BOUNDS)
CHUNK = 16384  # rows measured at once
MOST_REPLACEMENTS = 100

BadRows = dict[int, str]  # row -> reason


@dataclass(frozen=True)
class LeftOut:
    """What reading a plan comes to when none of its clips can be used."""

    bad: BadRows


def inconsistent_rows(table: FrameTable) -> BadRows:
    """The rows of a table whose labels contradict each other, each with its first fault: 12 s for a million
    rows."""
    bad = {}
    for first in range(0, len(table), CHUNK):
        rows = np.arange(first, min(first + CHUNK, len(table)))
        bad |= {int(row): found[0] for row, found in zip(rows, faults(measure(table.labels(rows)))) if found}
    return bad


@runtime_checkable
class ReadClips(Protocol):
    """What was read of a plan, without bad rows, and the bad ones."""

    @property
    def plan(self) -> ClipPlan: ...

    @property
    def bad(self) -> BadRows: ...


S = TypeVar("S", bound=ReadClips)


def training_sample(clips: Clips, position: int, row: int, read: Callable[[ClipPlan], S | LeftOut]) -> S:
    """The sample of a training position, whose last clip ends at `row`, or at the first of the position's
    replacements whose clips can all be used; `sample.bad` holds every bad row met on the way.

    Raises ValueError when nothing but bad rows is found.
    """
    plan = clips.training(position, row)
    sample = read(plan)
    if not isinstance(sample, LeftOut) and not sample.bad:
        return sample
    bad, others = {}, islice(replacements(clips, position), MOST_REPLACEMENTS)
    while True:
        bad |= sample.bad
        if not isinstance(sample, LeftOut) and len(sample.plan.clips) == len(plan.clips):
            sample.bad.update(bad)
            return sample
        other = next(others, None)
        if other is None:
            raise ValueError(
                f"row {row} is bad ({bad.get(row, 'its neighbour is')}), and so are {MOST_REPLACEMENTS} rows "
                "drawn in its place: look at the table with tempohand check-data"
            )
        plan = clips.training(position, other)
        sample = read(plan)


def replacements(clips: Clips, position: int) -> Iterator[int]:
    """Rows to take in the place of a bad one, without end: drawn by the seed and the position, among all on
    which a training clip can end."""
    rng = np.random.default_rng([clips.seed, position, 1])
    while True:
        row = int(rng.integers(len(clips.starts)))
        if clips.can_end(np.array([row]))[0]:
            yield row
