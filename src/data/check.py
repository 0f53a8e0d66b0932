"""Checks every row of a frame table, its picture and its labels, in parallel processes."""

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from tempohand.console import text_table
from tempohand.data.addresses import Place, on_disk
from tempohand.data.consistency import HandModels, describe, faults, measure
from tempohand.data.depth_consistency import depth_faults
from tempohand.data.ledger import write_list
from tempohand.data.mixture import hand_of
from tempohand.data.parallel_jobs import LocalPool
from tempohand.data.pictures import BadPicture, decode, decode_depth, decode_mask
from tempohand.data.table import (
    COLUMNS,
    LABELS,
    LATER,
    OPTIONAL,
    is_complete,
    read_index,
    resolved,
    split_shards,
    to_numpy,
)

BATCHES_PER_TASK = 8  # record batches: some 2,000 rows, a second's work
UNREADABLE = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowKeyError, OSError)
SHARD = "damaged shard"  # a reason beside BOUNDS, DEPTH_BOUNDS and pictures.REASONS


@dataclass(frozen=True)
class BadRow:
    """What is wrong with a row (None: with a whole shard, which `detail` names)."""

    split: str
    row: int | None
    sequence: str | None
    frame: int | None
    source: str | None
    reason: str
    detail: str


# ----- one process ------------------------------------------------------------------------------------------


@cache
def _hands(root: Path, path: str | None) -> HandModels | None:
    """The hand model of a table's parameters; None where they belong to a MANO file that was not given: then
    poses are not judged."""
    return None if path is None and hand_of(_about(root)) == "mano" else HandModels(path)


@cache
def _about(root: Path) -> dict:
    return read_index(root)["about"]


@dataclass(frozen=True)
class Part:
    """Some record batches of a shard: one process's task. `first_row` is the split's row that the shard
    begins with."""

    file: Path
    split: str
    first_row: int
    batches: range
    rows: int


def _record_batches(file: Path) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as stream:
        yield from stream


def check_part(part: Part, hand: str | None) -> list[BadRow]:
    """What is wrong with the rows of a part."""
    found, row = [], part.first_row
    for number, batch in enumerate(_record_batches(part.file)):
        if number in part.batches:
            found += _check_batch(batch, part.file, part.split, row, hand)
        if number == part.batches[-1]:
            break
        row += batch.num_rows
    return found


def _check_batch(
    batch: pa.RecordBatch, shard: Path, split: str, first_row: int, hand: str | None
) -> list[BadRow]:
    try:
        batch.validate(full=True)  # a damaged one may not be looked into
    except UNREADABLE as error:
        return [_damaged(split, shard.name, f"rows {first_row} to {first_row + batch.num_rows - 1}: {error}")]
    labels = {name: to_numpy(pa.chunked_array([batch.column(name)]), name) for name in LABELS}
    optional = [name for name in OPTIONAL if name in batch.schema.names]
    measures = measure(labels, _hands(shard.parent, hand))
    found = []
    for place, (image, wrong) in enumerate(zip(batch.column("image"), faults(measures))):
        reasons = [(name, describe(name, measures[name][place])) for name in wrong]
        label = {name: column[place] for name, column in labels.items()}
        encoded = {name: batch.column(name)[place].as_py() for name in optional}
        try:
            _decoded(resolved(image.as_py(), _about(shard.parent)), decode, label)
            _decoded(encoded.get("mask"), decode_mask, label)
            depth = _decoded(encoded.get("depth"), decode_depth, label)
            if depth is not None and not wrong:
                reasons += depth_faults(depth, label)
        except BadPicture as error:
            reasons.insert(0, (error.reason, str(error)))
        sequence, frame, source = (
            batch.column(name)[place].as_py() for name in ("sequence", "frame", "source")
        )
        found += [BadRow(split, first_row + place, sequence, frame, source, *reason) for reason in reasons]
    return found


def _decoded(data: bytes | None, decoder: Callable, label: dict) -> np.ndarray | None:
    return None if data is None else decoder(data, int(label["width"]), int(label["height"]))


# ----- all of them ------------------------------------------------------------------------------------------


def check_table(
    root: str | Place, splits: list[str] | None = None, *, workers: int | None = None, hand: str | None = None
) -> tuple[dict[str, int], list[BadRow]]:
    """Checks a table; returns the rows checked by split, and what is wrong, in the order of splits and rows.

    splits: None for all. workers: processes, 0 for none but this one, None for one a core. hand: the hand
    model of pose and shape. Raises FileNotFoundError where there is no table or shard, ValueError for an
    unknown split or a negative number of workers.
    """
    root = on_disk(root)
    index = read_index(root)
    workers = os.cpu_count() or 1 if workers is None else workers
    if workers < 0:
        raise ValueError(f"`workers` is at least 0, not {workers}")
    wanted = list(dict.fromkeys(splits or index["splits"]))
    shards = {split: [on_disk(file) for file in split_shards(root, index, split)] for split in wanted}
    _hands(root, hand)  # a missing hand file is reported here, not by every process
    counts = dict.fromkeys(wanted, 0)
    parts: list[Part] = []
    found: list[BadRow] = []
    for split in wanted:
        for file in shards[split]:
            sizes, complaint = _batch_sizes(file)
            if complaint:
                found.append(_damaged(split, file.name, complaint))
            for start in range(0, len(sizes), BATCHES_PER_TASK):
                batches = range(start, min(start + BATCHES_PER_TASK, len(sizes)))
                rows = sum(sizes[start : batches[-1] + 1])
                parts.append(Part(file, split, counts[split], batches, rows))
            counts[split] += sum(sizes)
    with tqdm(total=sum(counts.values()), unit="row", desc="checking") as bar:
        for part, bad in _checked(parts, hand, workers):
            found += bad
            bar.update(part.rows)
    return counts, sorted(
        found, key=lambda bad: (wanted.index(bad.split), -1 if bad.row is None else bad.row)
    )


def _checked(parts: list[Part], hand: str | None, workers: int) -> Iterator[tuple[Part, list[BadRow]]]:
    if not workers:
        return ((part, check_part(part, hand)) for part in parts)
    done = LocalPool(workers).map(check_part, [(part, hand) for part in parts])
    return ((part, found) for (part, _), found in done)


def _batch_sizes(file: Path) -> tuple[list[int], str | None]:
    """Rows of each record batch that can be read, and why it ends before the file's end, if it does."""
    sizes: list[int] = []
    try:
        for batch in _record_batches(file):
            if lacking := sorted(set(COLUMNS) - set(LATER) - set(batch.schema.names)):
                return [], f"it lacks the column '{lacking[0]}'"
            sizes.append(batch.num_rows)
    except UNREADABLE as error:
        return sizes, f"it reads to row {sum(sizes)} only ({error})"
    return sizes, None if is_complete(file) else f"it ends too early, after row {sum(sizes)}"


def _damaged(split: str, shard: str, complaint: str) -> BadRow:
    detail = f"{shard}: {' '.join(complaint.split())}: copy it again, or prepare the table again"
    return BadRow(split, row=None, sequence=None, frame=None, source=None, reason=SHARD, detail=detail)


def summary(counts: dict[str, int], found: list[BadRow]) -> str:
    """What was checked and found: a line per split, source and reason, and the first bad rows in full."""
    bad_rows = len({(bad.split, bad.row) for bad in found})
    checked = ", ".join(f"{split}: {rows:,} rows" for split, rows in counts.items())
    text = f"{checked}; {bad_rows or 'nothing'} inconsistent or unreadable"
    if not found:
        return text
    kinds: dict[tuple[str, ...], list[BadRow]] = {}
    for bad in found:
        kinds.setdefault((bad.split, bad.source or "-", bad.reason), []).append(bad)
    lines = []
    for kind, (first, *others) in sorted(kinds.items(), key=lambda item: -len(item[1])):
        place = "" if first.row is None else f"row {first.row} ({first.sequence}, frame {first.frame}): "
        lines.append([*kind, f"{1 + len(others):,}", place + first.detail])
    head = ("split", "source", "reason", "rows", "first")
    return f"{text}\n{text_table(head, lines, left=len(head))}"


def write_rows(found: list[BadRow], path: str | Path) -> None:
    """One JSON object a line for every bad row and reason, appearing when whole."""
    write_list(Path(path), [asdict(bad) for bad in found])
