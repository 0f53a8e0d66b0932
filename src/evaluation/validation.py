"""The scores that training watches: sums and counts, so that any sharing out among processes gives the same means."""

import torch

from tempohand.batch import HandPrediction, HandTarget, Term
from tempohand.evaluation import metrics
from tempohand.evaluation.sums import Gather, Sums

SCORES = ("mpjpe", "mpjpe_root", "pa_mpjpe")
BATCH = 64  # clips at most that are validated at once: a number that does not depend on the processes


class Validation:
    """Collects errors, mm, and loss terms."""

    def __init__(self):
        self.sums = Sums()

    def add(self, prediction: HandPrediction, target: HandTarget, terms: dict[str, Term]) -> None:
        """Adds one batch."""
        joints, mask = (prediction.joints[:, 0].float(), target.joints[:, 0]), target.joints_mask[:, 0]
        self.sums.add("mpjpe", *metrics.mpjpe(*joints, mask & target.camera_mask))
        self.sums.add("mpjpe_root", *metrics.mpjpe_root(*joints, mask))
        self.sums.add("pa_mpjpe", *metrics.pa_mpjpe(*joints, mask))
        self.sums.add_terms(terms)
        everything = torch.ones(len(mask), dtype=torch.bool, device=mask.device)
        self.sums.add("n", everything.float(), everything)

    def means(self, gather: Gather, weights: dict[str, float]) -> dict[str, float]:
        """Mean of every score over all processes, which `gather` brings together; nan where nothing is valid.

        `loss` is the weighted sum of the terms (`weights` by name), `n` the number of samples, `processes` that of the processes.
        """
        processes = len(gather(None))
        totals = self.sums.totals(gather)
        scores = dict.fromkeys(SCORES, float("nan")) | totals.means()
        return scores | {"n": totals.get("n", (0, 0))[1], "processes": processes, "loss": totals.loss(weights)}

    @staticmethod
    def line(scores: dict[str, float]) -> str:
        """The scores in one line, and for which of them there was no valid sample."""
        line = ", ".join(f"{name} {scores[name]:.2f} mm" for name in SCORES) + f", loss {scores['loss']:.4f}"
        counted = f"Evaluated on {scores['n']} samples from all {scores['processes']} processes: {line}"
        silent = [name for name, value in scores.items() if value != value]
        return counted + (f"; no valid sample for: {', '.join(silent)}" if silent else "")
