"""Jobs for tests of what does jobs (data/test_engines.py): workers import them from here."""

import os
import signal
import time
from pathlib import Path

import cv2
import torch


def square(number: int) -> int:
    return number**2


def place_and_threads() -> tuple[str, int, int]:
    return os.getcwd(), torch.get_num_threads(), cv2.getNumThreads()


def fail(number: int) -> int:
    if number == 2:
        raise ValueError(f"number {number} is of no use")
    return number


def die_later(mark: Path, number: int) -> int:
    """The last of three jobs ends its process the first time, after the results of the others have come."""
    if number == 2 and not mark.exists():
        time.sleep(1)
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_at_first(mark: Path, number: int) -> int:
    """Ends its process without a word if it is the first to come here; `mark` is what is left of that."""
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return number
    os.kill(os.getpid(), signal.SIGKILL)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
