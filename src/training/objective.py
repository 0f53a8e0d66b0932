"""The one place where loss terms are masked, averaged, weighed and counted."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tempohand.batch import Term


@dataclass(frozen=True)
class LabelCount:
    """How many entries a term had over all processes: with a label that it can represent (what its mean is
    over), with a label at all, and altogether."""

    valid: float = 0.0
    known: float = 0.0
    entries: float = 0.0

    def __add__(self, other: "LabelCount") -> "LabelCount":
        return LabelCount(self.valid + other.valid, self.known + other.known, self.entries + other.entries)


# What a configuration says of a loss term.
Weight = float | Mapping[str, float] | Sequence | str | None


def weights_at(loss: Mapping[str, Weight], step: int, steps: int) -> dict[str, float]:
    """The weights of the loss terms in the step that follows `step` of a run's `steps` optimizer steps.

    Each is a number (None: 0), changes with the step, or says which of several terms counts:
    {start: 5.0, end: 1.0, from: 0, to: 2000} goes evenly from one weight to another, `start` up to the step
    `from`, `end` from the step `to` on; [[0.0, 100.0], [0.5, 10.0]] is 100 at first and 10 from half of the
    run on; and joints3d: normalised leaves of the terms `joints3d_...` only joints3d_normalised its weight.
    """

    def weight(value: Weight) -> float:
        if isinstance(value, Mapping):
            share = (step - value["from"]) / (value["to"] - value["from"])
            return value["start"] + min(max(share, 0.0), 1.0) * (value["end"] - value["start"])
        if isinstance(value, Sequence):
            return [later for share, later in value if share * steps <= step][-1]
        return value or 0.0

    choices = {name: way for name, way in loss.items() if isinstance(way, str)}
    off = {
        other
        for name, way in choices.items()
        for other in loss
        if other.startswith(f"{name}_") and other != f"{name}_{way}"
    }
    return {
        name: 0.0 if name in off else weight(value) for name, value in loss.items() if name not in choices
    }


def check_weights(loss: Mapping[str, Weight], terms: Collection[str]) -> None:
    """Raises ValueError for the weight of a term that is not one of the network's `terms`, for a schedule
    that is none, and for a choice that the network does not have."""
    choices = {name: way for name, way in loss.items() if isinstance(way, str)}
    unknown = sorted(
        name for name, value in loss.items() if value and name not in choices and name not in terms
    )
    if unknown:
        raise ValueError(f"loss: no term is called {unknown}, this network has {sorted(terms)}")
    for name, way in choices.items():
        if f"{name}_{way}" not in terms or f"{name}_{way}" not in loss:
            ways = [term.removeprefix(f"{name}_") for term in terms if term.startswith(f"{name}_")]
            raise ValueError(
                f"loss.{name}={way} is no choice, this network has {ways or 'none of that name'}"
            )
    for name, value in loss.items():
        if name not in choices and not _is_weight(value):
            raise ValueError(
                f"loss.{name}={value} is no weight: give a number, or "
                "{start: 5.0, end: 1.0, from: 0, to: 2000}, from start to end between two steps, or "
                "[[0.0, 100.0], [0.5, 10.0]], pairs of a share of the run, the first 0, and the weight from "
                "there"
            )


def _is_weight(value: Weight) -> bool:
    if isinstance(value, Mapping):
        return value.keys() == {"start", "end", "from", "to"} and value["from"] < value["to"]
    if isinstance(value, Sequence):
        if not value or not all(isinstance(pair, Sequence) and len(pair) == 2 for pair in value):
            return False
        shares = [share for share, _ in value]
        return shares[0] == 0 and shares == sorted(set(shares)) and shares[-1] < 1
    return True


def combine(
    terms: dict[str, Term],
    weights: dict[str, float],
    sum_over_processes: Callable[[Tensor], Tensor] | None = None,
    processes: int = 1,
    names: Collection[str] = (),
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of each term's mean over its valid entries, and every mean (raw) by name; a term with
    nothing valid counts nothing.

    Over several processes the means are over all valid entries of all of them, and the raw ones are the same
    on each. The loss is to be differentiated: gradients are averaged later, so each process contributes its
    sum times `processes` over the global count. names: of all terms that there may be (the network's
    `terms`), since one process may have a term that another has not. Terms without a weight are reported and
    not trained on.
    """
    loss, means, _ = combine_and_count(terms, weights, sum_over_processes, processes, names)
    return loss, means


def combine_and_count(
    terms: dict[str, Term],
    weights: dict[str, float],
    sum_over_processes: Callable[[Tensor], Tensor] | None = None,
    processes: int = 1,
    names: Collection[str] = (),
) -> tuple[Tensor, dict[str, Tensor], dict[str, LabelCount]]:
    """What `combine` returns, and how many entries each term had, over all processes."""
    names = sorted({*names, *terms})
    nothing = next(iter(terms.values())).value.new_zeros((), dtype=torch.float32)
    sums = [_sum(terms[name]) if name in terms else nothing for name in names]
    counts = [_count(terms[name]) if name in terms else nothing.new_zeros(3) for name in names]
    local = torch.cat([torch.stack(sums).detach()[:, None], torch.stack(counts)], dim=1)
    total = sum_over_processes(local) if sum_over_processes else local
    shares = {name: own * processes / n for name, own, n in zip(names, sums, total[:, 1].clamp_min(1))}
    loss = sum((weights[name] * share for name, share in shares.items() if weights.get(name)), nothing)
    total = total.cpu()  # the one wait for the device
    means = {name: row[0] / row[1] for name, row in zip(names, total) if row[1] > 0}
    return loss, means, {name: LabelCount(*row[1:]) for name, row in zip(names, total.tolist())}


def weighted_sum(raw: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """The loss over all processes, of the means that `combine` returns: what is logged."""
    return sum((weights[name] * value for name, value in raw.items() if weights.get(name)), torch.zeros(()))


def per_entry(term: Term) -> Tensor:
    """A term's value in the shape of its mask, float32: the mean over the axes that the mask lacks."""
    value = term.value.float()
    return value.flatten(term.mask.ndim).mean(dim=-1) if value.ndim > term.mask.ndim else value


def _sum(term: Term) -> Tensor:
    entries = per_entry(term)
    return torch.where(term.mask, entries, entries.new_zeros(())).sum()


def _count(term: Term) -> Tensor:
    """The numbers of a LabelCount, float32 [3]."""
    known = term.mask if term.known is None else term.known
    entries = known.new_full((), known.numel(), dtype=torch.int64)
    return torch.stack([term.mask.sum(), known.sum(), entries]).float()
