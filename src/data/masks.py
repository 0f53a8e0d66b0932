"""A table with masks: those that it has, and where a row has none one that is made of its picture and 2D
joints (data/grabcut.py). In parallel, and resumable by shards."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm

from tempohand.data.addresses import Place, on_disk
from tempohand.data.grabcut import MIN_BONES, segment
from tempohand.data.ledger import write_list
from tempohand.data.parallel_jobs import LocalPool, claim
from tempohand.data.pictures import BadPicture, decode, encode_mask
from tempohand.data.table import (
    SCHEMA,
    fingerprint,
    read_index,
    resolved,
    shard_batches,
    split_shards,
    to_numpy,
    write_index,
)
from tempohand.writing import whole, write_whole

VERSION = 1  # of the masks: raised when the same table gets other ones
LIST_NAME = "masks.jsonl"
HAD, MADE = "had one", "made"
FEW_JOINTS = f"fewer than {MIN_BONES} bones known in 2D"
IMPLAUSIBLE = "implausible"


def make_masks(
    root: str | Place, out: str | Path | None = None, *, workers: int | None = None, overwrite: bool = False
) -> tuple[Path, Counter]:
    """Writes the table at `root` again at `out` (default: its name and "-masks"), with a mask in every row of
    every split that has 2D joints; returns the folder, and of how many rows what became.

    Rows that get no mask, and those whose mask is implausible and left out, are listed in masks.jsonl there.
    An interrupted run goes on. workers: processes; None: one a core. Raises FileNotFoundError or ValueError:
    no table, or a folder that holds something else, unless `overwrite` is set.
    """
    root = on_disk(root)
    out = on_disk(out) if out else root.with_name(f"{root.name}-masks")
    if workers is not None and workers < 1:
        raise ValueError(f"`workers`={workers}: at least one process has to work")
    index = read_index(root)
    if out.resolve() == root.resolve():
        raise ValueError(f"'{out}' is the table itself: choose another `out`")
    recipe = {"masks_of": fingerprint(root), "version": VERSION}
    if claim(out, recipe, overwrite=overwrite, named=("`out`", "`overwrite`")):
        return out, Counter(read_index(out)["about"]["masks"])
    shards = dict.fromkeys(file for split in index["splits"] for file in split_shards(root, index, split))
    jobs = [(file, out / file.name, index["about"]) for file in shards]
    todo = [job for job in jobs if not _report(job[1]).exists()]
    with tqdm(total=_rows(jobs), initial=_rows(jobs) - _rows(todo), unit="row", desc="masks") as bar:
        for job, _ in LocalPool(workers).map(mask_shard, todo):
            bar.update(_rows([job]))
    return out, _complete(root, out, index, [job[1] for job in jobs])


def _rows(jobs: list[tuple]) -> int:
    return sum(batch.num_rows for job in jobs for batch in shard_batches(job[0]))


def _report(shard: Path) -> Path:
    return shard.with_suffix(".masks.json")


def mask_shard(source: Path, path: Path, about: dict) -> None:
    """Writes a shard again with masks, and then a report: of each row, where it is from and what became."""
    report: list[tuple[str, int, str]] = []
    place = SCHEMA.get_field_index("mask")
    with whole(path) as part, pa.OSFile(str(part), "wb") as file, pa.ipc.new_stream(file, SCHEMA) as stream:
        for batch in shard_batches(source):
            masks, outcomes = zip(*_masks(batch, about))
            stream.write(batch.set_column(place, SCHEMA.field(place), pa.array(masks, pa.binary())))
            sequence, frame = (batch.column(name).to_pylist() for name in ("sequence", "frame"))
            report += zip(sequence, frame, outcomes)
    write_whole(_report(path), json.dumps(report))


def _masks(batch: pa.RecordBatch, about: dict) -> Iterator[tuple[bytes | None, str]]:
    """Of each row its mask, encoded, and how it came to it."""
    names = ("width", "height", "joints2d", "joints2d_mask")
    width, height, joints2d, known = (
        to_numpy(pa.chunked_array([batch.column(name)]), name) for name in names
    )
    for row in range(batch.num_rows):
        if (mask := batch.column("mask")[row].as_py()) is not None:
            yield mask, HAD
            continue
        try:
            data = resolved(batch.column("image")[row].as_py(), about)
            picture = decode(data, int(width[row]), int(height[row]))
        except (BadPicture, FileNotFoundError) as error:
            yield None, getattr(error, "reason", "file missing")
            continue
        found = segment(picture, joints2d[row].astype(float), known[row])
        if found is None:
            yield None, FEW_JOINTS
        elif not found.plausible:
            yield None, IMPLAUSIBLE
        else:
            yield encode_mask(found.mask), MADE


def _complete(root: Path, out: Path, index: dict, shards: list[Path]) -> Counter:
    """Writes what else belongs to a table, and the list of rows without a mask; returns the counts of all."""
    counts: Counter = Counter()
    lacking = []
    for shard in shards:
        for sequence, frame, outcome in json.loads(_report(shard).read_text(encoding="utf-8")):
            counts[outcome] += 1
            if outcome not in (HAD, MADE):
                lacking.append({"sequence": sequence, "frame": frame, "reason": outcome})
    write_list(out / LIST_NAME, lacking)
    for order in root.glob("official_*.json"):
        shutil.copyfile(order, out / order.name)
    write_index(out, index["splits"], index["about"] | {"masks": dict(counts.most_common())})
    for shard in shards:
        _report(shard).unlink()
    return counts
