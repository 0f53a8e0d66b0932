"""Work that many processes share: a folder claimed for one recipe, and what does the jobs, the processes of
this machine or Ray's of many (ray_engine.py)."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import cv2
import torch

from tempohand.data.addresses import on_disk
from tempohand.data.table import INDEX_NAME
from tempohand.writing import write_whole

RECIPE_NAME = "recipe.json"
ENGINES = ("local", "ray")
TRIES = 3  # losses of a worker after which its job is to blame
LOST = (
    f"a worker was lost {TRIES} times over: with too little memory for so many at once? "
    "Give fewer `processes`, the same command goes on."
)


def claim(
    out: str | Path,
    recipe: dict[str, Any],
    *,
    overwrite: bool = False,
    named: tuple[str, str] = ("out=", "overwrite=true"),
) -> bool:
    """Makes `out` the folder of a recipe (JSON values: everything that the rows depend on); True when its
    table is complete already.

    named: what `out` and `overwrite` are called where the user sets them. Raises ValueError for an address,
    and when the folder holds another recipe's table or other files; `overwrite` removes such a table, never
    other files.
    """
    out = on_disk(out)
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


@runtime_checkable
class Engine(Protocol):
    """What does many jobs at once."""

    def map(self, function: Callable, jobs: Iterable[tuple]) -> Iterator[tuple[tuple, Any]]:
        """(job, function(*job)) as they are finished, in any order.

        function: a module's own, which workers import; it runs in one thread of a worker process and may be
        done again where a worker was lost, so what it writes has to appear whole. Its exceptions are raised
        here. Raises ChildProcessError where workers are lost again and again.
        """
        ...


@dataclass(frozen=True)
class LocalPool:
    """Processes of this machine. processes: how many, None for one a core. Raises ValueError for none."""

    processes: int | None = None

    def __post_init__(self):
        if self.processes is not None and self.processes < 1:
            raise ValueError(f"processes={self.processes}: at least one process has to work")

    def map(self, function: Callable, jobs: Iterable[tuple]) -> Iterator[tuple[tuple, Any]]:
        """As `Engine.map`. After an interrupt the jobs in work are finished, and the others not begun."""
        left = dict(enumerate(jobs))
        for _ in range(TRIES):
            try:
                for number, result in self._each(function, left):
                    yield left.pop(number), result
                return
            except BrokenProcessPool:
                pass  # the pool is gone with the worker: another one does what is left
        raise ChildProcessError(LOST)

    def _each(self, function: Callable, jobs: dict[int, tuple]) -> Iterator[tuple[int, Any]]:
        most = max(min(self.processes or os.cpu_count() or 1, len(jobs)), 1)
        context = _context(function.__module__)
        with ProcessPoolExecutor(most, mp_context=context, initializer=_start_process) as pool:
            futures = {pool.submit(function, *job): number for number, job in jobs.items()}
            try:
                for future in as_completed(futures):
                    yield futures.pop(future), future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def __str__(self) -> str:
        count = self.processes or os.cpu_count() or 1
        return f"{count} process{'es' * (count != 1)}"


LOCAL = LocalPool()


def open_engine(name: str, processes: int | None = None, *, gpus: float = 0) -> Engine:
    """The engine of a name: "local", or "ray" where Ray is installed.

    processes: most jobs at once; None: one a core. gpus: that a job takes, where the engine shares them out.
    Raises ValueError for another name, or one that is not installed.
    """
    if name not in ENGINES:
        raise ValueError(f"`engine` is {' or '.join(ENGINES)}, not '{name}'")
    pool = LocalPool(processes)
    if name == "local":
        return pool
    from tempohand.data.ray_engine import RayEngine

    return RayEngine(processes, gpus)


def one_thread() -> None:
    """From now on this process computes in one thread: the processes are the parallelism, and sums do not
    depend on the number of cores."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def need_all(files: Iterable[Path]) -> None:
    """Raises FileNotFoundError for a file that a worker has written and that is not here: the workers'
    machine does not share its folder."""
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(
                f"'{file}' was written by a worker and is not here: all machines must share its folder"
            )


def _context(module: str) -> multiprocessing.context.BaseContext:
    """Processes that are forked from a clean server, which has loaded the module, and not from this process:
    a fork of threads' owner (torch's, say) waits for them forever."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


def _start_process() -> None:
    one_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle
