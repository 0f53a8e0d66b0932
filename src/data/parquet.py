"""Frame tables as Parquet, which DuckDB, Spark, Ray and pandas read, and back.

<folder>/split=<split>/<shard>.parquet, with the columns of a table, and about.json: what made it.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tempohand.data.addresses import Place, on_disk
from tempohand.data.remote_shards import fetched
from tempohand.data.table import (
    INPUTS,
    ROWS_PER_BATCH,
    SCHEMA,
    read_index,
    shard_batches,
    split_shards,
    write_index,
)
from tempohand.writing import whole_folder, write_whole

ABOUT_NAME = "about.json"
PREFIX = "split="
GROUP = 8  # record batches of a row group, some 2,000 rows


def to_parquet(root: str | Place, out: str | Path) -> dict[str, int]:
    """Writes the table at `root` into the folder `out`, which it replaces; returns the rows of each split.

    Shard by shard, so the table may be larger than memory; a shard of several splits is written for each.
    Raises FileNotFoundError or ValueError: no table, a damaged shard, or an address as `out`.
    """
    index, out = read_index(root), on_disk(out)
    with whole_folder(out) as part:
        counts = dict.fromkeys(index["splits"], 0)
        for split in index["splits"]:
            (part / f"{PREFIX}{split}").mkdir()
            for shard in split_shards(root, index, split):
                path = part / f"{PREFIX}{split}" / f"{Path(shard.name).stem}.parquet"
                with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
                    for rows in _groups(shard):
                        writer.write_table(rows)
                        counts[split] += len(rows)
        write_whole(part / ABOUT_NAME, json.dumps(index["about"], indent=1))
    return counts


def _groups(shard: Place) -> Iterator[pa.Table]:
    """Rows of a shard, with their pictures wherever these lie."""
    batches = shard_batches(shard)
    for start in range(0, len(batches), GROUP):
        rows = pa.Table.from_batches(batches[start : start + GROUP])
        for name in INPUTS:
            values = map(fetched, rows.column(name).to_pylist())
            number = SCHEMA.get_field_index(name)
            rows = rows.set_column(number, SCHEMA.field(number), pa.array(values, pa.binary()))
        yield rows


def from_parquet(folder: str | Path, out: str | Path) -> dict[str, int]:
    """Makes a frame table at `out` of such a folder, whoever wrote its files; returns the rows of each split.

    Raises FileNotFoundError or ValueError, one line: no such folder, other columns, rows of a sequence that
    do not follow each other in the order of time in one file, or an `out` that is there already.
    """
    folder, out = on_disk(folder), on_disk(out)
    splits = {path.name.removeprefix(PREFIX): path for path in sorted(folder.glob(f"{PREFIX}*"))}
    about = folder / ABOUT_NAME
    if not splits or not about.is_file():
        raise FileNotFoundError(
            f"'{folder}' has no {PREFIX}<name> folders with Parquet files and {ABOUT_NAME} beside them"
        )
    if out.exists():
        raise ValueError(f"'{out}' is there already: choose another `out`")
    counts, shards = {}, {}
    with whole_folder(out) as part:
        for split, files in splits.items():
            counts[split], shards[split] = 0, []
            seen: set[str] = set()
            for file in sorted(files.glob("*.parquet")):
                shards[split].append(f"{split}-{file.stem.removeprefix(f'{split}-')}.arrow")
                counts[split] += _shard(file, part / shards[split][-1], seen)
        write_index(part, shards, json.loads(about.read_text(encoding="utf-8")))
    return counts


def _shard(file: Path, path: Path, seen: set[str]) -> int:
    """Writes a file's rows as a shard; `seen`: the split's sequences so far, to which its are added."""
    count, last = 0, ("", -np.inf)
    try:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as stream:
            for batch in pq.ParquetFile(file).iter_batches(ROWS_PER_BATCH, columns=SCHEMA.names):
                rows = pa.Table.from_batches([batch]).select(SCHEMA.names).cast(SCHEMA)
                for name, time in zip(rows["sequence"].to_pylist(), rows["time"].to_pylist()):
                    if name != last[0] and name in seen or name == last[0] and time < last[1]:
                        raise ValueError(
                            f"rows of sequence '{name}' in '{file}' do not follow each other in time, or are "
                            "in two places: write them with ORDER BY sequence, time"
                        )
                    seen.add(name)
                    last = (name, time)
                stream.write_table(rows)
                count += len(rows)
    except (pa.ArrowException, KeyError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"'{file}' has not the columns of a frame table (docs/data.md): {said}") from None
    return count
