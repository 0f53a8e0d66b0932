"""The scores that training watches: sums and counts, so that any sharing out among processes gives the same
means; and the one of them by which the best checkpoint is chosen, which depends on what the validation rows
have labels for."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from tempohand.batch import BoxPrediction, ClipBatch, HandPrediction, HandTarget, Term
from tempohand.boxes import intersection_over_union
from tempohand.evaluation.detections import SHOWN, find_peaks, hand_scores
from tempohand.evaluation.hands import Compared, Hands, TrueHands, in_boxes, labels_of
from tempohand.evaluation.metrics.registry import shown_in
from tempohand.evaluation.paths import Paths
from tempohand.evaluation.scores import Gather, Sums
from tempohand.skeleton import WRIST

BATCH = 64  # clips at most that are validated at once: a number that does not depend on the processes
FOUND = 0.5  # overlap (intersection over union) with the true box from which on a hand is found


class BestScore(NamedTuple):
    """A score by which the best checkpoint can be chosen: the least is best.

    needs: the labels that a validation row needs for it, in words; has: which rows have them, by their masks
    of joints in 3D and in 2D.
    """

    name: str
    words: str
    unit: str  # a format
    needs: str
    has: Callable[[Bool[np.ndarray, "n 21"], Bool[np.ndarray, "n 21"]], Bool[np.ndarray, "n"]]

    def line(self, best: float) -> str:
        """The best score of a run, in words; infinity: there never was one."""
        if not math.isfinite(best):
            return (
                f"no validation had a valid sample for {self.name} ({self.words}): "
                "there is no best checkpoint"
            )
        return f"best {self.words} on validation: " + self.unit.format(best)


class Scores(ABC):
    """Collects the scores of one kind of network, and loss terms.

    expansion: edge of the crops over that of the hands' boxes. sequence (its number), time (s): columns of
    the validation table.
    """

    UNITS: dict[str, str]  # of every score, by its name
    BESTS: tuple[BestScore, ...]  # the first that the labels of validation allow counts

    SILENT: dict[str, str] = {}  # what is to be known of a score for which there was no valid sample

    def __init__(self, expansion: float, sequence: Int[np.ndarray, "rows"], time: Float[np.ndarray, "rows"]):
        self.expansion = expansion
        self.sums = Sums()
        self.paths = Paths(sequence, time)

    @classmethod
    def best(
        cls,
        joints_mask: Bool[np.ndarray, "n 21"],
        joints2d_mask: Bool[np.ndarray, "n 21"],
        preferred: str | None = None,
    ) -> BestScore:
        """The score by which the best checkpoint of a run is chosen: the same in every validation, by what
        its rows have labels for. preferred: the name of the one to choose if they allow it.

        Raises ValueError where they have none that a score can be made of.
        """
        order = sorted(cls.BESTS, key=lambda best: best.name != preferred)
        found = next((best for best in order if best.has(joints_mask, joints2d_mask).any()), None)
        if found is None:
            raise ValueError(
                f"none of the {len(joints_mask):,} validation rows has labels by which a best checkpoint "
                f"could be chosen ({', or '.join(dict.fromkeys(best.needs for best in cls.BESTS))}): "
                "set data.tables.<name>.validation to a split that has"
            )
        return found

    @abstractmethod
    def add(self, prediction: Any, batch: ClipBatch, terms: dict[str, Term]) -> None:
        """Adds one batch."""

    def _add_terms(self, target: HandTarget, terms: dict[str, Term]) -> None:
        self.sums.add_terms(terms)
        everything = torch.ones_like(target.hand_mask[:, 0])
        self.sums.add("n", everything.float(), everything)

    def means(self, gather: Gather, weights: dict[str, float]) -> dict[str, float]:
        """Mean of every score over all processes, which `gather` brings together; nan where nothing is valid.

        `loss` is the weighted sum of the terms (`weights` by name), `n` the number of samples, `processes`
        that of the processes.
        """
        processes = len(gather(None))
        totals = self.sums.totals(gather)
        scores = dict.fromkeys(self.UNITS, float("nan")) | totals.means()
        return scores | {
            "n": totals.get("n", (0, 0))[1],
            "processes": processes,
            "loss": totals.loss(weights),
        }

    @classmethod
    def line(cls, scores: dict[str, float]) -> str:
        """The scores in one line, and for which of them there was no valid sample."""
        line = (
            ", ".join(f"{name} {scores[name]:.2f}{unit}" for name, unit in cls.UNITS.items())
            + f", loss {scores['loss']:.4f}"
        )
        counted = f"Evaluated on {scores['n']} samples from all {scores['processes']} processes: {line}"
        silent = [name + cls.SILENT.get(name, "") for name, value in scores.items() if value != value]
        return counted + (f"; no valid sample for: {', '.join(silent)}" if silent else "")


class Validation(Scores):
    """Of networks that give hands: joint errors, mm; in the picture (error_2d) per cent of the longer edge of
    the hand's box, of which the shorter edge of a crop without augmentation is `expansion` wide; the mean of
    the wrist-relative error and the aligned one (avg_metric), mm; and the lag in the picture (lag.py),
    frames, over rows that follow each other."""

    UNITS = {metric.name: f" {metric.unit.split()[0]}" for metric in shown_in("validation")}
    UNITS |= {"avg_metric": " mm"}
    SILENT = {
        "lag_2d": (
            " (it takes a moving hand in rows that follow each other, "
            "as data.validation_rows=null gives them)"
        )
    }
    BESTS = (
        BestScore(
            "mpjpe_root",
            "wrist-relative MPJPE",
            "{:.2f} mm",
            "3D joints, the wrist and another",
            lambda joints_mask, joints2d_mask: joints_mask[:, WRIST] & (joints_mask.sum(axis=1) > 1),
        ),
        BestScore(
            "error_2d",
            "2D error",
            "{:.2f} % of the box's edge",
            "2D joints",
            lambda joints_mask, joints2d_mask: np.any(joints2d_mask, axis=1),
        ),
        BestScore(
            "avg_metric",
            "mean of wrist-relative MPJPE and PA-MPJPE",
            "{:.2f} mm",
            "3D joints, the wrist and another",
            lambda joints_mask, joints2d_mask: joints_mask[:, WRIST] & (joints_mask.sum(axis=1) > 1),
        ),
    )

    def add(self, prediction: HandPrediction, batch: ClipBatch, terms: dict[str, Term]) -> None:
        """Adds one batch."""
        unknown = torch.zeros_like(
            batch.target.hand_mask[:, 0]
        )  # the true vertices, which nothing here asks for
        vertices = prediction.vertices[:, 0].float()
        true = TrueHands(
            **labels_of(batch, self.expansion),
            vertices=vertices,
            hand_mask=unknown,
            frame=batch.row,
            time=batch.time[:, -1],
        )
        joints2d = in_boxes(prediction.joints2d[:, 0].float(), batch, self.expansion)
        compared = Compared(Hands(prediction.joints[:, 0].float(), vertices), true, joints2d)
        for metric in shown_in("validation"):
            if metric.width == 1:
                self.sums.add(metric.name, *metric.frames(compared))
        self.paths.add(batch.row, compared)
        self._add_terms(batch.labels, terms)

    def means(self, gather: Gather, weights: dict[str, float]) -> dict[str, float]:
        """As of all scores, the mean of the wrist-relative and the aligned error, and the lag."""
        scores = super().means(gather, weights)
        average = (scores["mpjpe_root"] + scores["pa_mpjpe"]) / 2
        return scores | {"avg_metric": average, "lag_2d": self.paths.lag(gather)}


class FinderValidation(Scores):
    """Of the hand finder, over pictures with one labelled hand, a right one, whose centre is in them.

    Only cells of which it is known whether a hand's centre is in them count: those that the loss term
    `centre` is over. The best box is that of the best of them, whatever the side. iou: its overlap with the
    labelled one; missed: the share of hands that it overlaps by less than FOUND; wrong_side: the share of
    wrong sides among those that it overlaps by more. false_positives: peaks above SHOWN a picture, those
    without a hand included, that do so overlap no hand.
    """

    UNITS = dict.fromkeys(("iou", "missed", "wrong_side", "false_positives"), "")
    BESTS = (
        BestScore(
            "missed",
            "share of hands missed",
            "{:.1%}",
            "2D joints, all 21",
            lambda joints_mask, joints2d_mask: np.all(joints2d_mask, axis=1),
        ),
    )

    def add(self, prediction: BoxPrediction, batch: ClipBatch, terms: dict[str, Term]) -> None:
        """Adds one batch."""
        target = batch.labels
        known = terms["centre"].mask
        here = terms["size"].mask[:, 0]
        true, labelled = (part[:, 0] for part in target.box())
        score, is_right = (part.flatten(1) for part in hand_scores(prediction, known))
        cell, clip = score.argmax(dim=-1), torch.arange(len(true), device=true.device)
        box, wrong_side = prediction.box[:, 0].flatten(2)[clip, :, cell], ~is_right[clip, cell]
        iou = intersection_over_union(box, true)
        self.sums.add("iou", iou, here)
        self.sums.add("missed", (iou < FOUND).float(), here)
        self.sums.add("wrong_side", wrong_side.float(), here & (iou >= FOUND))
        peaks = find_peaks(prediction, SHOWN, known)
        wrong = intersection_over_union(peaks.box, true[peaks.picture]) < FOUND
        count = torch.zeros(len(true), device=true.device).index_add(0, peaks.picture, wrong.float())
        self.sums.add("false_positives", count, labelled)
        self._add_terms(target, terms)


# By the class of a network's predictions; another class needs scores of its own here.
SCORES: dict[type, type[Scores]] = {HandPrediction: Validation, BoxPrediction: FinderValidation}


def scores_of(prediction: type) -> type[Scores]:
    """What predictions of this class, or of one that it is derived from, are scored by. Raises ValueError
    where nothing scores them."""
    for kind in prediction.__mro__:
        if kind in SCORES:
            return SCORES[kind]
    raise ValueError(
        f"evaluation/validation.py has no scores for predictions of the class {prediction.__name__}"
    )
