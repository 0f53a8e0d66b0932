"""Sums and counts by name: whatever samples are shared out among processes and batches, the same means come
out."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tempohand.batch import ClipBatch, HandPrediction, Term

Gather = Callable[[object], list]  # every process's object, in their order
RAW = "raw/"  # before the name of a loss term


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
    """The loss terms of a network over all frames, added up by `watch`."""

    def __init__(self, network: torch.nn.Module):
        self.network, self.sums = network, Sums()

    def watch(self, prediction: HandPrediction, batch: ClipBatch) -> None:
        """Adds the terms of one batch."""
        self.sums.add_terms(self.network.criterion(prediction, batch))
