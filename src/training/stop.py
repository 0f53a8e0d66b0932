"""Stopping by a signal: SIGTERM (a scheduler) and SIGINT (Ctrl-C) ask for a checkpoint at the end of the
step, on all processes alike."""

import signal
import time
from collections.abc import Callable

import torch
from torch import Tensor

SIGNALS = (signal.SIGTERM, signal.SIGINT)
ONE_PRESS = 1.0  # seconds: launchers pass a terminal's Ctrl-C on to processes that had it already


class StopRequest:
    """Context in which the signals only leave a note, which `agreed` reads. A second Ctrl-C interrupts at
    once."""

    def __init__(self, device: torch.device | str = "cpu"):
        self.received = dict.fromkeys(SIGNALS, 0.0)
        self.device = device

    def __enter__(self) -> "StopRequest":
        self.before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _) -> None:
        now = time.monotonic()
        received = signal.Signals(number)
        first = self.received[received]
        if number == signal.SIGINT and first and now - first > ONE_PRESS:
            raise KeyboardInterrupt
        self.received[received] = first or now

    def agreed(self, sum_over_processes: Callable[[Tensor], Tensor]) -> signal.Signals | None:
        """The signal that any process has had, or None: the same answer on every process."""
        notes = torch.tensor([float(self.received[number] > 0) for number in SIGNALS], device=self.device)
        totals = sum_over_processes(notes).tolist()
        return next((number for number, total in zip(SIGNALS, totals) if total), None)
