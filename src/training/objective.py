"""The one place where loss terms are masked, averaged, weighed and counted."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tempohand.batch import Term

# Terms that exist only under some settings (heat maps by config, motion when a batch holds neighbouring
# clips).
OPTIONAL = frozenset({"heatmap", "joint_depth", "translation", "side", "velocity", "wrist_velocity"})


@dataclass(frozen=True)
class LabelCount:
    """How many entries a term had over all processes: with a label that it can represent (what its mean is
    over), with a label at all, and altogether."""

    valid: float = 0.0
    known: float = 0.0
    entries: float = 0.0

    def __add__(self, other: "LabelCount") -> "LabelCount":
        return LabelCount(self.valid + other.valid, self.known + other.known, self.entries + other.entries)


def combine(
    terms: dict[str, Term],
    weights: dict[str, float],
    sum_over_processes: Callable[[Tensor], Tensor] | None = None,
    processes: int = 1,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of each term's mean over its valid entries, and every mean (raw) by name; a term with
    nothing valid counts nothing.

    Over several processes the means are over all valid entries of all of them, and the raw ones are the same
    on each. The loss is to be differentiated: gradients are averaged later, so each process contributes its
    sum times `processes` over the global count. Terms without a weight are reported and not trained on.
    Raises ValueError when a weight names no term.
    """
    loss, means, _ = combine_and_count(terms, weights, sum_over_processes, processes)
    return loss, means


def combine_and_count(
    terms: dict[str, Term],
    weights: dict[str, float],
    sum_over_processes: Callable[[Tensor], Tensor] | None = None,
    processes: int = 1,
) -> tuple[Tensor, dict[str, Tensor], dict[str, LabelCount]]:
    """What `combine` returns, and how many entries each term had, over all processes."""
    unknown = sorted(
        name for name, weight in weights.items() if weight and name not in terms and name not in OPTIONAL
    )
    if unknown:
        raise ValueError(f"loss: no term is called {unknown}, this network has {sorted(terms)}")
    # the same names on every process, also when a term has no entry on this one
    names = sorted(OPTIONAL | terms.keys())
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
