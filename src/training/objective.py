"""The one place where loss terms are masked, averaged, weighed and counted."""

from collections.abc import Callable

import torch
from torch import Tensor

from tempohand.batch import Term
from tempohand.training.tally import Count, Tally

# Terms that exist only under some settings (heat maps by config, motion when a batch holds neighbouring
# clips).
OPTIONAL = frozenset({"heatmap", "joint_depth", "translation", "side", "velocity", "wrist_velocity"})


def combine(
    terms: dict[str, Term],
    weights: dict[str, float],
    sum_over_processes: Callable[[Tensor], Tensor] | None = None,
    processes: int = 1,
    tally: Tally | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of each term's mean over its valid entries, and every mean (raw) by name; a term with
    nothing valid counts nothing.

    Over several processes the means are over all valid entries of all of them, and the raw ones are the same
    on each. The loss is to be differentiated: gradients are averaged later, so each process contributes its
    sum times `processes` over the global count. Terms without a weight are reported and not trained on.
    `tally` is given how much was valid, over all processes. Raises ValueError when a weight names no term.
    """
    unknown = sorted(
        name for name, weight in weights.items() if weight and name not in terms and name not in OPTIONAL
    )
    if unknown:
        raise ValueError(f"loss: no term is called {unknown}, this network has {sorted(terms)}")
    names = sorted(
        OPTIONAL | terms.keys()
    )  # the same on every process, also when a term has no entry on this one
    nothing = next(iter(terms.values())).value.new_zeros((), dtype=torch.float32)
    sums, counts = [], []
    for name in names:
        if name not in terms:
            sums.append(nothing)
            counts.append(nothing.new_zeros(3))
            continue
        term = terms[name]
        sums.append(torch.where(term.mask, per_entry(term), nothing).sum())
        known = term.mask if term.known is None else term.known
        counts.append(
            torch.stack(
                [term.mask.sum(), known.sum(), known.new_full((), known.numel(), dtype=torch.int64)]
            ).float()
        )
    local = torch.cat([torch.stack(sums).detach()[:, None], torch.stack(counts)], dim=1)
    total = sum_over_processes(local) if sum_over_processes else local
    shares = {name: entry * processes / n for name, entry, n in zip(names, sums, total[:, 1].clamp_min(1))}
    loss = sum((weights[name] * share for name, share in shares.items() if weights.get(name)), nothing)
    total = total.cpu()  # the one wait for the device
    if tally is not None:
        tally.add({name: Count(*row[1:]) for name, row in zip(names, total.tolist())})
    return loss, {name: row[0] / row[1] for name, row in zip(names, total) if row[1] > 0}


def weighted_sum(raw: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """The loss over all processes, of the means that `combine` returns: what is logged."""
    return sum((weights[name] * value for name, value in raw.items() if weights.get(name)), torch.zeros(()))


def per_entry(term: Term) -> Tensor:
    """A term's value in the shape of its mask, float32: the mean over the axes that the mask lacks."""
    value = term.value.float()
    return value.flatten(term.mask.ndim).mean(dim=-1) if value.ndim > term.mask.ndim else value
