"""Jobs done by the workers of a Ray cluster, or of one that is started on this machine for them."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tempohand.data.parallel_jobs import LOST, TRIES, one_thread

AHEAD = 2  # jobs handed out for each core: one in work, and one that is there when it ends


@dataclass(frozen=True)
class RayEngine:
    """Workers of the cluster that RAY_ADDRESS names, else of one that `ray start` has started here, else of
    one that ends with this process.

    processes: most jobs handed out at once; None: twice as many as the cluster has cores, also when it grows.
    gpus: that a job takes, also a share of one. All machines need this package, and the folders that jobs
    read and write under the same names.
    """

    processes: int | None = None
    gpus: float = 0

    def map(self, function: Callable, jobs: Iterable[tuple]) -> Iterator[tuple[tuple, Any]]:
        """As `Engine.map`. Jobs are taken one by one as there is room; after an interrupt those handed out
        are taken back unless they are in work. Raises ValueError where Ray is not installed, ConnectionError
        where its cluster does not answer."""
        ray = _connected()
        task = ray.remote(num_cpus=1, num_gpus=self.gpus, max_retries=TRIES - 1)(_do)
        waiting, here = iter(jobs), os.getcwd()
        handed: dict[Any, tuple] = {}
        try:
            while True:
                for job in islice(waiting, max(self._room(ray) - len(handed), 0)):
                    handed[task.remote(function, job, here)] = job
                if not handed:
                    return
                (done, *_), _ = ray.wait(list(handed))
                yield handed.pop(done), _result(ray, done)
        finally:
            for one in handed:
                ray.cancel(one)

    def _room(self, ray: Any) -> int:
        return self.processes or AHEAD * max(int(ray.cluster_resources().get("CPU", 1)), 1)

    def __str__(self) -> str:
        return "Ray" if self.processes is None else f"Ray, {self.processes} at once"


def _connected() -> Any:
    """The module `ray`, connected to a cluster."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise ValueError("`engine` ray needs Ray: pip install 'tempohand[ray]'") from None
    if not ray.is_initialized():
        ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    return ray


def _do(function: Callable, job: tuple, folder: str) -> Any:
    """A job, in a worker: paths count from the folder that they were given in."""
    if not Path(folder).is_dir():
        raise FileNotFoundError(
            f"'{folder}' is not there on {os.uname().nodename}: all machines must share the folder of work"
        )
    os.chdir(folder)
    one_thread()
    return function(*job)


def _result(ray: Any, done: Any) -> Any:
    """What a job gave, or the exception that it ended with."""
    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise ChildProcessError(f"{LOST} Ray: {str(error).splitlines()[0]}") from None
