import json
import math

import pytest
import torch

from tempohand.evaluation.scores import METRICS, Hands, ScoreBoard, Scores, TrueHands, frame_errors, without_nan
from tempohand.evaluation.splits import SPLITS, split_frames


def sequence(count, seed):
    generator = torch.Generator().manual_seed(seed)
    joints = torch.randn(count, 21, 3, generator=generator) * 40 + torch.tensor([0.0, 0.0, 550.0])
    vertices = torch.randn(count, 778, 3, generator=generator) * 40 + torch.tensor([0.0, 0.0, 550.0])
    hidden = torch.rand(count, generator=generator)
    mask = torch.rand(count, 21, generator=generator) < 0.9
    true = TrueHands(
        joints=joints,
        joints_mask=mask,
        vertices=vertices,
        vertices_joints=joints,
        hand_mask=torch.rand(count, generator=generator) < 0.8,
        camera_mask=torch.rand(count, generator=generator) < 0.8,
        hidden=hidden,
        frame=torch.arange(count),
        time=torch.arange(count).double() / 30,
    )
    noise = torch.randn(count, 21, 3, generator=generator) * 15
    return Hands(joints + noise, vertices + 3), true


def splits_of(true):
    return split_frames(true.hidden, true.joints[:, 0, 2])


@pytest.fixture(scope="module")
def sequences():
    return [(*pair, frame_errors(*pair)) for pair in (sequence(count, seed) for seed, count in enumerate([1, 30, 7, 2, 19, 64, 5]))]


def board_of(sequences):
    board = ScoreBoard(["a"], list(SPLITS))
    for _, true, errors in sequences:
        board.add("a", errors, splits_of(true))
    return board


def test_metrics_are_means_over_the_frames_of_all_sequences(sequences):
    result = board_of(sequences).compute()["a"]
    assert result["all"]["n"] == 128
    for name in METRICS[:-1]:
        values = torch.cat([errors.errors[name].value[errors.errors[name].valid] for *_, errors in sequences])
        assert 0 < len(values) <= 128
        assert result["all"][name] == pytest.approx(float(values.mean()), rel=1e-12)
    chosen = torch.cat(
        [errors.errors["accel_error"].value[errors.errors["accel_error"].valid & (true.hidden >= 0.5)] for _, true, errors in sequences]
    )
    assert result["hidden_50"]["accel_error"] == pytest.approx(float(chosen.mean()), rel=1e-12)


@pytest.mark.parametrize("shares", [[[0, 1, 2, 3, 4, 5, 6]], [[6, 0], [1, 2, 3, 4, 5]], [[5], [], [0, 1, 2], [3, 6, 4], []]])
def test_any_shares_of_any_number_of_processes_add_up_to_the_same(sequences, shares):
    whole = board_of(sequences).compute()["a"]
    boards = [board_of([sequences[i] for i in share]) for share in shares]
    states = []
    for board in boards:
        board.reduce(lambda state: states.append(state) or state)
    for board in boards:
        board.reduce(lambda _: torch.stack(states).sum(dim=0))
        for split, expected in whole.items():
            got = board.compute()["a"][split]
            assert got["n"] == expected["n"]
            assert got == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_nothing_valid_is_nan_and_in_json_null(sequences):
    board = ScoreBoard(["a"], ["all", "far"])
    result = board.compute()["a"]["far"]
    assert result.pop("n") == 0
    assert set(result) == set(METRICS) and all(math.isnan(value) for value in result.values())
    text = json.dumps(without_nan({"far": result, "list": [math.inf, 1, True, "x", None, 0.5]}), allow_nan=False)
    assert json.loads(text)["far"]["mpjpe"] is None
    assert json.loads(text)["list"] == [None, 1, True, "x", None, 0.5]


def test_missing_labels_silence_the_metrics_that_need_them_only():
    hands, true = sequence(12, 3)
    true.joints_mask[:] = True
    true.camera_mask[:] = False
    true.hand_mask[:] = False
    scores = Scores()
    scores.add(frame_errors(hands, true), torch.ones(12, dtype=torch.bool))
    result = scores.compute()
    silent = {name for name in METRICS if math.isnan(result[name])}
    assert silent == {"mpjpe", "root_error", "accel_error", "mpvpe_root"}


def test_rows_and_splits_keep_apart(sequences):
    board = ScoreBoard(["a", "b"], list(SPLITS))
    _, true, errors = sequences[5]
    board.add("b", errors, splits_of(true))
    result = board.compute()
    assert result["a"]["all"]["n"] == 0
    assert result["b"]["all"]["n"] == 64
    assert result["b"]["hidden_50"]["n"] == int((true.hidden >= 0.5).sum())
