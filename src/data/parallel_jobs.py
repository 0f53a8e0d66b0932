"""Tables that are made by many processes: a folder claimed for one recipe, jobs done in parallel, and those
done before not done again."""

import json
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import cv2
import torch

from tempohand.data.table import INDEX_NAME
from tempohand.writing import write_whole

RECIPE_NAME = "recipe.json"


def claim(
    out: str | Path,
    recipe: dict[str, Any],
    *,
    overwrite: bool = False,
    named: tuple[str, str] = ("out=", "overwrite=true"),
) -> bool:
    """Makes `out` the folder of a recipe (JSON values: everything that the rows depend on); True when its
    table is complete already.

    named: what `out` and `overwrite` are called where the user sets them. Raises ValueError when the folder
    holds another recipe's table or other files; `overwrite` removes such a table, never other files.
    """
    out = Path(out)
    path = out / RECIPE_NAME
    if overwrite and (path.is_file() or (out / INDEX_NAME).is_file()):
        for pattern in ("*.arrow", "*.part", "*.json", "rejected.jsonl", "masks.jsonl"):
            for old in out.glob(pattern):
                old.unlink(missing_ok=True)
    elif path.is_file():
        old = json.loads(path.read_text(encoding="utf-8"))
        if old != recipe:
            differs = ", ".join(sorted(key for key in {*old, *recipe} if old.get(key) != recipe.get(key)))
            raise ValueError(
                f"'{out}' holds a table made with other settings ({differs}): choose another {named[0]} or "
                f"pass {named[1]}"
            )
        return (out / INDEX_NAME).is_file()
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(
            f"'{out}' is not a table made by tempohand prepare and not empty: choose another {named[0]}"
        )
    out.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(recipe, indent=1))
    return False


def in_parallel(
    function: Callable, jobs: list[tuple], processes: int, module: str
) -> Iterator[tuple[tuple, Any]]:
    """(job, function(*job)) as they are finished. module: the function's, loaded once before processes are
    forked.

    One thread a process: the processes are the parallelism, and sums do not depend on the number of cores.
    After an interrupt the jobs in work are finished, and the others not begun.
    """
    with ProcessPoolExecutor(
        max(min(processes, len(jobs)), 1), mp_context=_context(module), initializer=_start_process
    ) as pool:
        futures = {pool.submit(function, *job): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures.pop(future), future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _context(module: str) -> multiprocessing.context.BaseContext:
    """Processes that are forked from a clean server, not from this process: a fork of threads' owner
    (torch's, say) waits for them forever."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


def _start_process() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle
