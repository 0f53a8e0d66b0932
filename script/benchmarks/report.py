"""What a benchmark returns, how runs are timed, and the machine they ran on."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from tempohand.console import text_table


@dataclass
class Report:
    """A table, and the numbers behind it for --json: `ratios` above 1 where ours is faster."""

    header: list[str]
    rows: list[list[str]]
    ratios: dict[str, float]
    details: dict = field(default_factory=dict)
    machine: str = field(default_factory=lambda: machine())

    def text(self) -> str:
        """The table, in Markdown, over the machine's line."""
        table = text_table(self.header, self.rows, left=len(self.header), style="github")
        return f"{self.machine}\n\n{table}"

    def to_json(self) -> dict:
        """What --json writes."""
        return {"ratios": self.ratios, "machine": self.machine, **self.details}


def machine() -> str:
    """Processor, threads, versions: a figure means nothing without them."""
    device = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{platform.machine()}, {os.cpu_count()} CPU cores"
    )
    version = torch.__version__.split("+")[0]
    threads = torch.get_num_threads()
    return f"{device}; torch {version}, {threads} threads, Python {platform.python_version()}"


def time_in_turns(
    functions: dict[str, Callable[[], object]],
    *,
    seconds: float,
    turn: float = 0.03,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds of one call of each function, by `clock` (time.process_time: those of all cores).

    They run in turns of about `turn` seconds of calls one after another, for `seconds` in all, at least five
    turns each; two calls open a turn and do not count, so that neither side finds the other's data in the
    cache.
    """
    calls = {}
    for name, function in functions.items():
        _time(function, 3, clock)
        calls[name] = max(1, int(turn / _time(function, 2, time.perf_counter)))
    taken: dict[str, list[float]] = {name: [] for name in functions}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, taken.values())) < 5:
        for name, function in functions.items():
            _time(function, 2, clock)
            taken[name].append(_time(function, calls[name], clock))
    return {name: statistics.median(values) for name, values in taken.items()}


def _time(function: Callable[[], object], calls: int, clock: Callable[[], float]) -> float:
    """Seconds a call."""
    _synchronise()
    start = clock()
    for _ in range(calls):
        function()
    _synchronise()
    return (clock() - start) / calls


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
