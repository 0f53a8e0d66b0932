"""The one place where loss terms are masked, averaged and weighed."""

from collections.abc import Callable

import torch
from torch import Tensor

from tempohand.batch import Term


def combine(
    terms: dict[str, Term], weights: dict[str, float], sum_over_processes: Callable[[Tensor], Tensor] | None = None, processes: int = 1
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of each term's mean over its valid entries, and every mean (raw) by name; a term with nothing valid counts nothing.

    Over several processes the means are over all valid entries of all of them: gradients are averaged later, so each process contributes
    its sum times `processes` over the global count. Terms without a weight are reported and not trained on.
    Raises ValueError when a weight names no term.
    """
    unknown = sorted(name for name, weight in weights.items() if weight and name not in terms and name not in OPTIONAL)
    if unknown:
        raise ValueError(f"loss: no term is called {unknown}, this network has {sorted(terms)}")
    names = sorted(OPTIONAL | terms.keys())  # the same on every process, also when a term has no entry on this one
    sums, counts = [], []
    for name in names:
        if name not in terms:
            device = next(iter(terms.values())).value.device
            sums.append(torch.zeros((), device=device))
            counts.append(torch.zeros((), device=device))
            continue
        value, mask = terms[name].value.float(), terms[name].mask
        value = value.flatten(mask.ndim).mean(dim=-1) if value.ndim > mask.ndim else value
        sums.append(torch.where(mask, value, torch.zeros_like(value)).sum())
        counts.append(mask.sum().float())
    count = torch.stack(counts).detach()
    total_count = sum_over_processes(count) if sum_over_processes else count
    means = {name: entry * processes / n.clamp_min(1) for name, entry, n in zip(names, sums, total_count)}
    loss = sum(weights[name] * means[name] for name in names if weights.get(name))
    present = {name for name, n in zip(names, total_count.tolist()) if n > 0}
    return loss, {name: mean.detach() for name, mean in means.items() if name in present}


# Terms that exist only under some settings (heat maps by config, motion when a batch holds neighbouring clips).
OPTIONAL = frozenset({"heatmap", "joint_depth", "translation", "velocity", "wrist_velocity"})
