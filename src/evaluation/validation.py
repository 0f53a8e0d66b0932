"""The scores that training watches: sums and counts, so that any sharing out among processes gives the same means."""

from abc import ABC, abstractmethod

import torch

from tempohand.batch import BoxPrediction, HandPrediction, HandTarget, Term
from tempohand.evaluation import metrics
from tempohand.evaluation.detections import SHOWN, find_peaks, hand_scores, overlap
from tempohand.evaluation.sums import Gather, Sums

BATCH = 64  # clips at most that are validated at once: a number that does not depend on the processes
FOUND = 0.5  # overlap (intersection over union) with the true box from which on a hand is found


class Scores(ABC):
    """Collects the scores of one kind of network, and loss terms."""

    SCORES: tuple[str, ...]
    BEST: str  # the score by which the best checkpoint is chosen: the least
    UNIT = ""

    def __init__(self):
        self.sums = Sums()

    @abstractmethod
    def add(self, prediction: object, target: HandTarget, terms: dict[str, Term]) -> None:
        """Adds one batch."""

    def _add_terms(self, target: HandTarget, terms: dict[str, Term]) -> None:
        self.sums.add_terms(terms)
        everything = torch.ones_like(target.hand_mask[:, 0])
        self.sums.add("n", everything.float(), everything)

    def means(self, gather: Gather, weights: dict[str, float]) -> dict[str, float]:
        """Mean of every score over all processes, which `gather` brings together; nan where nothing is valid.

        `loss` is the weighted sum of the terms (`weights` by name), `n` the number of samples, `processes` that of the processes.
        """
        processes = len(gather(None))
        totals = self.sums.totals(gather)
        scores = dict.fromkeys(self.SCORES, float("nan")) | totals.means()
        return scores | {"n": totals.get("n", (0, 0))[1], "processes": processes, "loss": totals.loss(weights)}

    @classmethod
    def line(cls, scores: dict[str, float]) -> str:
        """The scores in one line, and for which of them there was no valid sample."""
        line = ", ".join(f"{name} {scores[name]:.2f}{cls.UNIT}" for name in cls.SCORES) + f", loss {scores['loss']:.4f}"
        counted = f"Evaluated on {scores['n']} samples from all {scores['processes']} processes: {line}"
        silent = [name for name, value in scores.items() if value != value]
        return counted + (f"; no valid sample for: {', '.join(silent)}" if silent else "")

    @staticmethod
    @abstractmethod
    def best_line(best: float) -> str:
        """The best score in words."""


class Validation(Scores):
    """Of networks that give hands: joint errors, mm."""

    SCORES = ("mpjpe", "mpjpe_root", "pa_mpjpe")
    BEST, UNIT = "mpjpe_root", " mm"

    def add(self, prediction: HandPrediction, target: HandTarget, terms: dict[str, Term]) -> None:
        """Adds one batch."""
        joints, mask = (prediction.joints[:, 0].float(), target.joints[:, 0]), target.joints_mask[:, 0]
        self.sums.add("mpjpe", *metrics.mpjpe(*joints, mask & target.camera_mask))
        self.sums.add("mpjpe_root", *metrics.mpjpe_root(*joints, mask))
        self.sums.add("pa_mpjpe", *metrics.pa_mpjpe(*joints, mask))
        self._add_terms(target, terms)

    @staticmethod
    def best_line(best: float) -> str:
        """The best score in words."""
        return f"best wrist-relative MPJPE on validation: {best:.2f} mm"


class FinderValidation(Scores):
    """Of the hand finder, over pictures with one labelled hand, a right one, whose centre is in them.

    Only cells of which it is known whether a hand's centre is in them count: those that the loss term `centre` is over. The best box is that
    of the best of them, whatever the side. iou: its overlap with the labelled one; missed: the share of hands that it overlaps by less than
    FOUND; wrong_side: the share of wrong sides among those that it overlaps by more. false_positives: peaks above SHOWN a picture, those
    without a hand included, that do so overlap no hand.
    """

    SCORES = ("iou", "missed", "wrong_side", "false_positives")
    BEST = "missed"

    def add(self, prediction: BoxPrediction, target: HandTarget, terms: dict[str, Term]) -> None:
        """Adds one batch."""
        known, here, (true, labelled) = terms["centre"].mask, terms["size"].mask[:, 0], (part[:, 0] for part in target.box())
        score, is_right = (part.flatten(1) for part in hand_scores(prediction, known))
        cell, clip = score.argmax(dim=-1), torch.arange(len(true), device=true.device)
        box, wrong_side = prediction.box[:, 0].flatten(2)[clip, :, cell], ~is_right[clip, cell]
        iou = overlap(box, true)
        self.sums.add("iou", iou, here)
        self.sums.add("missed", (iou < FOUND).float(), here)
        self.sums.add("wrong_side", wrong_side.float(), here & (iou >= FOUND))
        peaks = find_peaks(prediction, SHOWN, known)
        wrong = overlap(peaks.box, true[peaks.picture]) < FOUND
        count = torch.zeros(len(true), device=true.device).index_add(0, peaks.picture, wrong.float())
        self.sums.add("false_positives", count, labelled)
        self._add_terms(target, terms)

    @staticmethod
    def best_line(best: float) -> str:
        """The best score in words."""
        return f"best share of hands missed on validation: {best:.1%}"


VALIDATIONS: dict[str, type[Scores]] = {"posenet": Validation, "finder": FinderValidation}  # by the network's name
