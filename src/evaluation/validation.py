"""The scores that training watches: sums and counts, so that any sharing out among processes gives the same means."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from tempohand.batch import HandPrediction, HandTarget, Term
from tempohand.evaluation import metrics

SCORES = ("mpjpe", "mpjpe_root", "pa_mpjpe")


def evenly_spread(rows: int, wanted: int | None) -> Int[np.ndarray, "n"]:
    """`wanted` rows out of 0 .. rows - 1, evenly spread, always the same; None: all."""
    return np.arange(rows) if wanted is None or wanted >= rows else np.linspace(0, rows - 1, wanted).round().astype(int)


class Validation:
    """Collects errors, mm, and loss terms."""

    def __init__(self):
        self.sums: dict[str, Tensor] = {}

    def _add(self, name: str, value: Tensor, mask: Tensor) -> None:
        entry = torch.stack([torch.where(mask, value, 0.0).sum().double(), mask.sum().double()])
        self.sums[name] = self.sums.get(name, 0) + entry

    def add(self, prediction: HandPrediction, target: HandTarget, terms: dict[str, Term]) -> None:
        """Adds one batch."""
        joints, mask = (prediction.joints[:, 0].float(), target.joints[:, 0]), target.joints_mask[:, 0]
        self._add("mpjpe", *metrics.mpjpe(*joints, mask & target.camera_mask))
        self._add("mpjpe_root", *metrics.mpjpe_root(*joints, mask))
        self._add("pa_mpjpe", *metrics.pa_mpjpe(*joints, mask))
        for name, term in terms.items():
            value = term.value.float()
            self._add(f"raw/{name}", value.flatten(term.mask.ndim).mean(dim=-1) if value.ndim > term.mask.ndim else value, term.mask)
        everything = torch.ones(len(mask), dtype=torch.bool, device=mask.device)
        self._add("n", everything.float(), everything)

    def means(self, sum_over_processes: Callable[[Tensor], Tensor], weights: dict[str, float]) -> dict[str, float]:
        """Mean of every score over all processes; nan where nothing is valid. `loss` is the weighted sum of the terms, `n` the samples."""
        names = sorted(self.sums)
        totals = sum_over_processes(torch.stack([self.sums[name] for name in names]))
        scores = {name: (total / count).item() if count > 0 else float("nan") for name, (total, count) in zip(names, totals)}
        scores["n"] = totals[names.index("n"), 1].item()
        scores["loss"] = sum(
            weights[name[4:]] * value for name, value in scores.items() if name.startswith("raw/") and weights.get(name[4:])
        )
        return scores

    @staticmethod
    def line(scores: dict[str, float]) -> str:
        """The scores in one line."""
        return ", ".join(f"{name} {scores[name]:.2f} mm" for name in SCORES) + f", loss {scores['loss']:.4f}"
