import json
import math

import pytest
import torch

from tempohand.evaluation import scores
from tempohand.evaluation.evaluator import frames_of_splits
from tempohand.evaluation.hands import Hands, TrueHands
from tempohand.evaluation.metrics.registry import METRICS, frame_errors
from tempohand.evaluation.results import without_nan
from tempohand.evaluation.scores import ScoreBoard
from tempohand.evaluation.splits import CURVE, SPLITS


def sequence(count, seed):
    generator = torch.Generator().manual_seed(seed)
    joints = torch.randn(count, 21, 3, generator=generator) * 40 + torch.tensor([0.0, 0.0, 550.0])
    vertices = torch.randn(count, 778, 3, generator=generator) * 40 + torch.tensor([0.0, 0.0, 550.0])
    hidden = torch.rand(count, generator=generator)
    mask = torch.rand(count, 21, generator=generator) < 0.9
    true = TrueHands(
        joints=joints,
        joints_mask=mask,
        vertices=vertices - joints[:, :1],
        hand_mask=torch.rand(count, generator=generator) < 0.8,
        camera_mask=torch.rand(count, generator=generator) < 0.8,
        hidden=hidden,
        frame=torch.arange(count),
        time=torch.arange(count).double() / 30,
        joints2d=torch.randn(count, 21, 2, generator=generator),
        joints2d_mask=mask,
        focal=torch.full((count, 2), 3.0),
        princpt=torch.zeros(count, 2),
    )
    noise = torch.randn(count, 21, 3, generator=generator) * 15
    return Hands(joints + noise, vertices + 3), true


@pytest.fixture(scope="module")
def sequences():
    return [
        (*pair, frame_errors(*pair))
        for pair in (sequence(count, seed) for seed, count in enumerate([1, 30, 7, 2, 19, 64, 5]))
    ]


def board_of(sequences, share=None):
    board = ScoreBoard(["a"], [*SPLITS, *CURVE], len(sequences))
    for number in range(len(sequences)) if share is None else share:
        _, true, errors = sequences[number]
        board.add("a", number, errors, frames_of_splits(true))
    return board


def test_metrics_are_means_over_the_frames_of_all_sequences(sequences):
    result = board_of(sequences).compute()["a"]
    assert result["all"]["n"] == 128
    for name in (name for name, metric in METRICS.items() if metric.width == 1):
        values = torch.cat([errors[name].value[errors[name].valid] for *_, errors in sequences])
        assert 0 < len(values) <= 128
        assert result["all"][name] == pytest.approx(float(values.mean()), rel=1e-12)
    chosen = torch.cat(
        [
            errors["accel_error"].value[errors["accel_error"].valid & (true.hidden >= 0.5)]
            for _, true, errors in sequences
        ]
    )
    assert result["hidden_50"]["accel_error"] == pytest.approx(float(chosen.mean()), rel=1e-12)


@pytest.mark.parametrize(
    "shares", [[[0, 1, 2, 3, 4, 5, 6]], [[6, 0], [1, 2, 3, 4, 5]], [[5], [], [0, 1, 2], [3, 6, 4], []]]
)
def test_any_shares_of_any_number_of_processes_add_up_to_the_same(sequences, shares):
    whole = board_of(sequences).compute()["a"]
    boards = [board_of(sequences, share) for share in shares]
    states = []
    for board in boards:
        board.reduce(lambda state: states.append(state) or state)
    for board in boards:
        board.reduce(lambda _: torch.stack(states).sum(dim=0))
        for split, expected in whole.items():
            got = board.compute()["a"][split]
            assert got["n"] == expected["n"]
            assert got == pytest.approx(expected, rel=0, abs=0, nan_ok=True)  # not one bit


def test_many_sequences_share_places_and_nothing_is_lost(sequences, monkeypatch):
    whole = board_of(sequences).compute()["a"]
    monkeypatch.setattr(scores, "MAX_CLUSTERS", 3)
    board = board_of(sequences)
    assert len(board.state) == 3 and (board.state[:, 0, 0, 0, 0] > 0).all()
    for split, expected in whole.items():
        assert board.compute()["a"][split] == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_nothing_valid_is_nan_and_in_json_null(sequences):
    board = ScoreBoard(["a"], ["all", "far"], 4)
    result = board.compute()["a"]["far"]
    assert result.pop("n") == 0
    assert set(result) == set(METRICS) and all(math.isnan(value) for value in result.values())
    text = json.dumps(
        without_nan({"far": result, "list": [math.inf, 1, True, "x", None, 0.5]}), allow_nan=False
    )
    assert json.loads(text)["far"]["mpjpe"] is None
    assert json.loads(text)["list"] == [None, 1, True, "x", None, 0.5]


def test_missing_labels_silence_the_metrics_that_need_them_only():
    hands, true = sequence(12, 3)
    true.joints_mask[:] = True
    true.camera_mask[:] = False
    true.hand_mask[:] = False
    board = ScoreBoard(["a"], ["all"], 1)
    board.add("a", 0, frame_errors(hands, true), {"all": torch.ones(12, dtype=torch.bool)})
    result = board.compute()["a"]["all"]
    silent = {name for name in METRICS if math.isnan(result[name])}
    assert silent == {
        "mpjpe",
        "root_error",
        "accel_error",
        "mpvpe_root",
        "jitter",
        "lag_2d",
        "lag_wrist",
    }  # too short for a lag


def test_rows_and_splits_keep_apart(sequences):
    board = ScoreBoard(["a", "b"], [*SPLITS, *CURVE], 7)
    _, true, errors = sequences[5]
    board.add("b", 5, errors, frames_of_splits(true))
    result = board.compute()
    assert result["a"]["all"]["n"] == 0
    assert result["b"]["all"]["n"] == 64
    assert result["b"]["hidden_50"]["n"] == int((true.hidden >= 0.5).sum())
