import pytest
import torch

from tempohand.batch import Term
from tempohand.training.objective import combine
from tempohand.training.tally import Tally


def batch(tally, **valid):
    """One batch: {term: valid entries of 4}, or (valid, known) where those differ."""
    terms = {}
    for name, number in valid.items():
        masks = [torch.arange(4) < n for n in (number if isinstance(number, tuple) else (number, number))]
        terms[name] = Term(torch.ones(4), *masks)
    combine(terms, {}, tally=tally)


@pytest.fixture
def said():
    return []


def test_shares_are_of_all_entries_of_the_interval(said):
    tally = Tally({"joints": 1.0}, 9, said.append)
    batch(tally, joints=4, pose=0, heatmap=(1, 2))
    batch(tally, joints=1, pose=2, heatmap=(2, 2))
    shares = tally.close_interval()
    assert shares == {
        "valid/joints": 5 / 8,
        "valid/pose": 2 / 8,
        "valid/heatmap": 3 / 8,
        "out_of_range/heatmap": 1 / 4,
    }
    batch(tally, joints=4)
    assert tally.close_interval() == {"valid/joints": 1.0} and not said


def test_nothing_valid_for_some_batches_in_a_row_is_said_once(said):
    tally = Tally({"pose": 2.0, "shape": 0.0}, 3, said.append)
    for valid in (0, 0, 4, 0, 0):
        batch(tally, pose=valid, shape=0)
    assert not said  # two in a row, twice; shape has no weight
    for _ in range(9):
        batch(tally, pose=0, shape=0)
    assert said == [
        "warning: the loss term 'pose' (weight 2) had no valid entry in 3 batches in a row: the table's has_hand switch it on"
    ]


def test_a_whole_log_interval_without_a_label_is_said_once(said):
    tally = Tally({"joints": 1.0}, 50, said.append)
    for _ in range(2):
        batch(tally, joints=0)
        batch(tally, joints=0)
        assert tally.close_interval() == {"valid/joints": 0.0}
    assert (
        len(said) == 1
        and "'joints'" in said[0]
        and "all 2 batches since the last log line" in said[0]
        and "joints_mask" in said[0]
    )


def test_labels_out_of_range_are_said_once(said):
    tally = Tally({"heatmap": 1.0}, 50, said.append)
    for _ in range(2):
        batch(tally, heatmap=(2, 4))
        assert tally.close_interval()["out_of_range/heatmap"] == 0.5
    assert len(said) == 1 and "50%" in said[0] and "'heatmap'" in said[0]


def test_terms_that_the_network_lacks_are_left_alone(said):
    tally = Tally({"translation": 0.1}, 1, said.append)
    batch(tally, joints=4)
    assert "valid/translation" not in tally.close_interval() and not said


def test_a_limit_below_one_batch_is_refused():
    with pytest.raises(ValueError, match="debug.warn_after=0"):
        Tally({}, 0)
