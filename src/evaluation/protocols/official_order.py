"""The official order of an evaluation set's samples, as a converter leaves it beside the table."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from tempohand.evaluation.samples import Prediction

Key = tuple[str, int]  # sequence (its hand's side included), frame
# Writes an official file whole or not at all, and returns how many samples are in it: (path, official order,
# keys of the predicted samples, keys in the table, prediction) -> number.
Submission = Callable[[str | Path, Sequence[Key], Sequence[Key], set[Key], Prediction], int]


@runtime_checkable
class File(Protocol):
    """What is read of a file, wherever it lies."""

    def is_file(self) -> bool: ...

    def read_text(self, encoding: str) -> str: ...


def order_name(split: str) -> str:
    """What the official order of a split is called in a table's folder."""
    return f"official_{split}.json"


def read_order(path: File) -> list[Key]:
    """A split's samples in the official order, those that the table has no row for included.

    Raises FileNotFoundError without the file, ValueError when it is damaged or names a sample twice.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"'{path}' is missing: the converter writes the official order beside the table, copy it there, "
            "or prepare the table again"
        )
    try:
        order = [
            (str(sequence), int(frame))
            for sequence, frame in json.loads(path.read_text(encoding="utf-8"))["order"]
        ]
    except (ValueError, TypeError, KeyError):
        raise ValueError(
            f"'{path}' is damaged: expected {{'order': [[sequence, frame], ...]}}, prepare the table again"
        ) from None
    if len(set(order)) < len(order):
        raise ValueError(f"'{path}' names a sample twice: prepare the table again")
    return order


def places_in_order(keys: Sequence[Key], order: Sequence[Key]) -> list[int]:
    """Each sample's place in the official order. Raises ValueError naming the first sample that is not in
    it."""
    place = {key: number for number, key in enumerate(order)}
    strange = [key for key in keys if key not in place]
    if strange:
        sequence, frame = strange[0]
        raise ValueError(
            f"{len(strange)} of {len(keys)} samples are not in the official order, first '{sequence}' "
            f"frame {frame}"
        )
    return [place[key] for key in keys]


def places_of_order(order: Sequence[Key], keys: Sequence[Key]) -> list[int]:
    """The place of each sample of the order among `keys`. Raises ValueError counting those that have no
    prediction."""
    place = {key: number for number, key in enumerate(keys)}
    missing = [key for key in order if key not in place]
    if missing:
        sequence, frame = missing[0]
        raise ValueError(
            f"{len(missing)} of {len(order)} samples of the official order have no prediction, "
            f"first '{sequence}' frame {frame}: "
            "prepare the table of the whole official split (tempohand check-data names bad rows)"
        )
    return [place[key] for key in order]
