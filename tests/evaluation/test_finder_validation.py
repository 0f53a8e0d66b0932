"""The hand finder's scores: what is found, what is missed, which side, and what is seen where nothing is."""

import math

import numpy as np
import pytest
import torch
from tests_support import random_batch

from tempohand.batch import BoxPrediction, Term
from tempohand.evaluation.validation import FinderValidation, scores_of

GRID = 8


def scored(change=lambda logits, box: None, outside=False):
    """Scores of four pictures with a hand in cell (3, 4), of a prediction that is right of all until
    `change`."""
    batch = random_batch(4, 1, 64)
    true = torch.tensor([0.0, -0.2, 0.2, 0.0]) + (1.0 if outside else 0.0)
    within = torch.rand(4, 1, 21, 2)
    within[:, :, 0], within[:, :, 1] = 0.0, 1.0
    batch.target.joints2d = true[:2] + within * (true[2:] - true[:2])
    logits, box = torch.full((4, 1, 2, GRID, GRID), -5.0), torch.full((4, 1, 4, GRID, GRID), -0.3)
    box[:, :, 2:] = -0.25
    logits[:, 0, 0, 3, 4] = 3.0
    box[:, 0, :, 3, 4] = true
    known = torch.ones(4, 1, 2, GRID, GRID, dtype=torch.bool)
    known[:, :, 1] = False
    known[:, :, 1, 3:5, 3:6] = True
    change(logits, box)
    has_centre = torch.full((4, 1), not outside)
    terms = {"centre": Term(logits, known), "size": Term(torch.zeros(4, 1, 2), has_centre)}
    validation = FinderValidation(2.0, np.zeros(4, int), np.arange(4) / 30)
    for part in (slice(0, 1), slice(1, 4)):
        share = {name: Term(term.value[part], term.mask[part]) for name, term in terms.items()}
        validation.add(BoxPrediction(logits[part], box[part]), batch[part], share)
    return validation.means(lambda x: [x], {"centre": 1.0})


def test_all_right():
    scores = scored()
    assert [scores[name] for name in FinderValidation.UNITS] == pytest.approx([1, 0, 0, 0], abs=1e-6)
    assert FinderValidation.line(scores).startswith(
        "Evaluated on 4 samples from all 1 processes: iou 1.00, missed 0.00, wrong_side"
    )


def test_a_wrong_side_is_counted_and_not_missed():
    def change(logits, box):
        logits[0, 0, 1, 3, 4] = 4.0

    scores = scored(change)
    assert scores["missed"] == 0 and scores["wrong_side"] == 0.25 and scores["iou"] == pytest.approx(1)
    assert scores["false_positives"] == 0  # the box is the hand's


def test_a_better_box_elsewhere_is_a_miss_and_a_false_positive():
    def change(logits, box):
        logits[1:3, 0, 0, 6, 0] = 5.0

    scores = scored(change)
    assert scores["missed"] == 0.5 and scores["wrong_side"] == 0 and scores["false_positives"] == 0.5
    assert scores["iou"] == pytest.approx(0.5)


def test_what_is_said_where_nothing_is_known_does_not_count():
    def change(logits, box):
        logits[:, 0, 1, 0, 0] = 9.0  # another hand, perhaps

    assert scored(change) | {"loss": 0, "raw/centre": 0} == scored() | {"loss": 0, "raw/centre": 0}


def test_a_hand_outside_is_not_missed_but_may_be_imagined():
    scores = scored(outside=True)
    assert all(math.isnan(scores[name]) for name in ("iou", "missed", "wrong_side")) and scores["n"] == 4
    assert "no valid sample for: iou, missed, wrong_side" in FinderValidation.line(scores)

    def change(logits, box):
        box[:, 0, :, 3, 4] = torch.tensor([0.0, -0.2, 0.2, 0.0])

    assert scored(change, outside=True)["false_positives"] == 1


def test_every_network_has_its_scores_and_a_best_one():
    from tempohand.model.registry import NETWORKS, network_class

    for name in NETWORKS:
        validation = scores_of(network_class({"name": name}).prediction)
        for best in validation.BESTS:
            assert best.name in validation.UNITS and "on validation: " in best.line(0.25)
            nothing = f"no validation had a valid sample for {best.name} ({best.words})"
            assert best.line(math.inf) == f"{nothing}: there is no best checkpoint"
