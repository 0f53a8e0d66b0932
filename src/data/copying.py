"""A frame table copied file by file, from wherever it lies to this machine."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from tempohand.data.addresses import Address, Place, on_disk, place, size_of
from tempohand.data.parallel_jobs import RECIPE_NAME
from tempohand.data.table import INDEX_NAME, read_index, split_shards
from tempohand.writing import whole

AT_ONCE = 8  # files on their way


def copy_table(root: str | Place, out: str | Path) -> list[Path]:
    """Copies the table at `root` to the folder `out`: its shards, the official orders of its splits and its
    recipe where it has them, and last table.json, so that a folder without it is not whole. Returns the
    files.

    An interrupted copy goes on: shards that are there in the same size stay. Raises FileNotFoundError or
    ValueError where there is no table, or a shard of it is missing, ValueError where `out` is a table
    already or an address, and ConnectionError where an address is not to be had.
    """
    source, out = place(root), on_disk(out)
    index = read_index(source)
    if (out / INDEX_NAME).exists():
        raise ValueError(f"'{out}' is a table already: choose another `out`")
    shards = dict.fromkeys(file for split in index["splits"] for file in split_shards(source, index, split))
    names = [RECIPE_NAME, *(f"official_{split}.json" for split in index["splits"])]
    beside = [source / name for name in names]
    files = [*shards, *(file for file in beside if file.is_file())]
    with (
        ThreadPoolExecutor(AT_ONCE) as pool,
        tqdm(total=len(files), unit="file", desc="copying") as bar,
    ):
        jobs = [pool.submit(_copy, file, out / file.name) for file in files]
        try:
            for job in jobs:
                job.result()
                bar.update()
        finally:
            pool.shutdown(cancel_futures=True)
    with whole(out / INDEX_NAME) as part:
        part.write_text(json.dumps(index, indent=1), encoding="utf-8")
    return [out / file.name for file in files] + [out / INDEX_NAME]


def _copy(file: Place, path: Path) -> None:
    if path.is_file() and path.suffix == ".arrow" and path.stat().st_size == size_of(file):
        return
    with whole(path) as part:
        if isinstance(file, Address):
            file.copy_to(part)
        else:
            shutil.copyfile(file, part)
