"""Which share of each loss term's entries had a label, and when a run is warned."""

import pytest
import torch

from tempohand.batch import Term
from tempohand.model.losses import TERMS
from tempohand.training.objective import combine_and_count
from tempohand.training.step_checks import LabelShares


def add_batch(shares, **valid):
    """One batch: {term: valid entries of 4}, or (valid, known) where those differ."""
    terms = {}
    for name, number in valid.items():
        masks = [torch.arange(4) < n for n in (number if isinstance(number, tuple) else (number, number))]
        terms[name] = Term(torch.ones(4), *masks)
    shares.add(combine_and_count(terms, {})[2])


@pytest.fixture
def warnings():
    return []


def test_shares_are_of_all_entries_of_the_interval(warnings):
    shares = LabelShares({"joints": 1.0}, 9, warnings.append)
    add_batch(shares, joints=4, pose=0, heatmap=(1, 2))
    add_batch(shares, joints=1, pose=2, heatmap=(2, 2))
    assert shares.close_interval() == {
        "valid/joints": 5 / 8,
        "valid/pose": 2 / 8,
        "valid/heatmap": 3 / 8,
        "out_of_range/heatmap": 1 / 4,
    }
    add_batch(shares, joints=4)
    assert shares.close_interval() == {"valid/joints": 1.0} and not warnings


def test_nothing_valid_for_some_batches_in_a_row_is_said_once(warnings):
    shares = LabelShares({"pose": 2.0, "shape": 0.0}, 3, warnings.append, TERMS)
    for valid in (0, 0, 4, 0, 0):
        add_batch(shares, pose=valid, shape=0)
    assert not warnings  # two in a row, twice; shape has no weight
    for _ in range(9):
        add_batch(shares, pose=0, shape=0)
    assert warnings == [
        "warning: the loss term 'pose' (weight 2) had no valid entry in 3 batches in a row: the table's "
        "has_hand switch it on"
    ]


def test_a_whole_log_interval_without_a_label_is_said_once(warnings):
    shares = LabelShares({"joints": 1.0}, 50, warnings.append, TERMS)
    for _ in range(2):
        add_batch(shares, joints=0)
        add_batch(shares, joints=0)
        assert shares.close_interval() == {"valid/joints": 0.0}
    assert (
        len(warnings) == 1
        and "'joints'" in warnings[0]
        and "all 2 batches since the last log line" in warnings[0]
        and "joints_mask" in warnings[0]
    )


def test_labels_out_of_range_are_said_once(warnings):
    shares = LabelShares({"heatmap": 1.0}, 50, warnings.append)
    for _ in range(2):
        add_batch(shares, heatmap=(2, 4))
        assert shares.close_interval()["out_of_range/heatmap"] == 0.5
    assert len(warnings) == 1 and "50%" in warnings[0] and "'heatmap'" in warnings[0]


def test_terms_that_the_network_lacks_are_left_alone(warnings):
    shares = LabelShares({"translation": 0.1}, 1, warnings.append)
    add_batch(shares, joints=4)
    assert "valid/translation" not in shares.close_interval() and not warnings


def test_a_limit_below_one_batch_is_refused():
    with pytest.raises(ValueError, match="debug.warn_after=0"):
        LabelShares({}, 0)
