"""Sums of what frames say and how many said it, in float64, added up over batches, sequences and processes:
whoever saw which frames, the same means come out. A mean of nothing is nan, never 0 and never inf.

`ScoreBoard` keeps each recording in a place of its own, from which the bootstrap (bootstrap.py) draws; `Sums`
keeps what a network is watched by, by name.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tempohand.batch import ClipBatch, HandPrediction, Term
from tempohand.evaluation.metrics.registry import METRICS, FrameErrors

MAX_CLUSTERS = 2048  # beyond so many recordings, neighbours share a place: 700 MB for 8 rows and 35 splits
RAW = "raw/"  # before the name of a loss term

Gather = Callable[[object], list]  # every process's object, in their order


def channels(errors: dict[str, FrameErrors]) -> tuple[Float[Tensor, "n c"], Bool[Tensor, "n c"]]:
    """Values, 0 where invalid, and validity, in the order in which they are summed: 1 for the frame itself,
    then every metric's."""
    frames = len(next(iter(errors.values()))[1])
    columns = [(torch.ones(frames, 1).double(), torch.ones(frames, 1, dtype=torch.bool))]
    for name, metric in METRICS.items():
        value, valid = errors[name]
        columns.append((value.view(frames, metric.width), valid.view(frames, -1).expand(-1, metric.width)))
    value, valid = (torch.cat(parts, dim=1) for parts in zip(*columns))
    return value.masked_fill(~valid, 0.0), valid


def figures(state: Float[Tensor, "*batch channels 2"]) -> Float[Tensor, "*batch metrics"]:
    """The metrics behind sums and counts of their channels; nan where nothing was valid."""
    widths = [metric.width for metric in METRICS.values()]
    means = (state[..., 1:, 0] / state[..., 1:, 1]).split(widths, dim=-1)
    return torch.stack([metric.figure(mean) for metric, mean in zip(METRICS.values(), means)], dim=-1)


def spoken(state: Float[Tensor, "*batch channels 2"]) -> Bool[Tensor, "*batch metrics"]:
    """Which metrics anything valid speaks for, be it not enough for a figure."""
    widths = [metric.width for metric in METRICS.values()]
    return torch.stack([count.gt(0).any(dim=-1) for count in state[..., 1:, 1].split(widths, dim=-1)], dim=-1)


class ScoreBoard:
    """Scores of several rows (predictors) over several splits, for each of `recordings` recordings by
    itself."""

    def __init__(self, rows: list[str], splits: list[str], recordings: int):
        self.rows = list(rows)
        self.splits = list(splits)
        self.recordings = recordings
        places, count = min(recordings, MAX_CLUSTERS), 1 + sum(metric.width for metric in METRICS.values())
        # [cluster of recordings, row, split, channel; sum, count]
        self.state = torch.zeros(places, len(rows), len(splits), count, 2, dtype=torch.float64)

    def add(
        self,
        row: str,
        recording: int,
        errors: dict[str, FrameErrors],
        splits: dict[str, Bool[Tensor, "n"]],
    ) -> None:
        """Adds the errors of one sequence of a recording on each split's chosen frames; of accelerations
        those of the triples whose middle frame is chosen."""
        assert list(splits) == self.splits, f"{list(splits)} for {self.splits}"
        value, valid = channels(errors)
        chosen = torch.stack(list(splits.values())).double()
        place = recording * len(self.state) // self.recordings
        self.state[place, self.rows.index(row)] += torch.stack(
            [chosen @ value, chosen @ valid.double()], dim=-1
        )

    def reduce(self, total: Callable[[Tensor], Tensor]) -> None:
        """Replaces the sums by those of all processes; `total` adds a float64 tensor up over processes."""
        self.state = total(self.state.flatten()).view_as(self.state)

    def compute(self) -> dict[str, dict[str, dict[str, float]]]:
        """row -> split -> metric of METRICS (nan where nothing was valid) and `n`, the number of frames."""
        state = self.state.sum(dim=0)
        values, frames = figures(state), state[..., 0, 0]
        return {
            row: {
                split: dict(zip(METRICS, values[i, j].tolist())) | {"n": int(frames[i, j])}
                for j, split in enumerate(self.splits)
            }
            for i, row in enumerate(self.rows)
        }


class Totals(dict[str, tuple[float, int]]):
    """name -> (sum, count) over all processes."""

    def means(self) -> dict[str, float]:
        """name -> mean; nan where nothing was valid."""
        return {name: total / count if count else math.nan for name, (total, count) in self.items()}

    def loss(self, weights: dict[str, float]) -> float:
        """The weighted sum of the means of the loss terms. As in training a term for which nothing was valid
        counts nothing; nan where none has anything."""
        weighted = [
            (name, weights[name.removeprefix(RAW)])
            for name in self
            if name.startswith(RAW) and weights.get(name.removeprefix(RAW))
        ]
        means = self.means()
        spoken = [weight * means[name] for name, weight in weighted if self[name][1]]
        return sum(spoken) if spoken else math.nan


class Sums:
    """Collects values with their masks on one process."""

    def __init__(self):
        self.entries: dict[str, Tensor] = {}

    def add(self, name: str, value: Float[Tensor, "*n"], mask: Bool[Tensor, "*n"]) -> None:
        """Adds the values where the mask holds; elsewhere they may be anything. Sums are float64."""
        entry = torch.stack([value.double().masked_fill(~mask, 0.0).sum(), mask.sum().double()])
        self.entries[name] = self.entries.get(name, 0) + entry

    def add_terms(self, terms: dict[str, Term]) -> None:
        """Adds loss terms, each entry the mean over the axes that its mask lacks."""
        for name, term in terms.items():
            value = term.value.double()
            self.add(
                RAW + name,
                value.flatten(term.mask.ndim).mean(dim=-1) if value.ndim > term.mask.ndim else value,
                term.mask,
            )

    def totals(self, gather: Gather) -> Totals:
        """Of all processes, some of which may have seen nothing; call it on all of them at once."""
        values = (
            torch.stack(list(self.entries.values())).tolist() if self.entries else []
        )  # one wait for the device
        parts = gather(dict(zip(self.entries, values)))
        names = sorted({name for part in parts for name in part})
        columns = {name: [part[name] for part in parts if name in part] for name in names}
        return Totals(
            {
                name: (math.fsum(total for total, _ in column), int(sum(count for _, count in column)))
                for name, column in columns.items()
            }
        )


class LossOverFrames:
    """The loss terms of a network (model/network.py) over all frames, added up by `watch`."""

    def __init__(self, network: Any):
        self.network, self.sums = network, Sums()

    def watch(self, prediction: HandPrediction, batch: ClipBatch) -> None:
        """Adds the terms of one batch."""
        self.sums.add_terms(self.network.criterion(prediction, batch))
