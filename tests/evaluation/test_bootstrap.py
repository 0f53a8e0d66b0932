import numpy as np
import pytest
import torch

from tempohand.evaluation.bootstrap import MIN_RECORDINGS, Bootstrap
from tempohand.evaluation.metrics.bends import SLOPE_SUMS
from tempohand.evaluation.metrics.registry import BEND_SLOPES, METRICS
from tempohand.evaluation.scores import ScoreBoard

ERROR = 1 + list(METRICS).index("mpjpe_root")  # its channel
ROWS = ("stage1", "stage2", "constant", "unrelated")


def board(sequences: int = 60, seed: int = 0) -> ScoreBoard:
    """Sequences of unequal length whose difficulty stage1 and stage2 share; "constant" is stage1 + 3 in every
    frame."""
    rng = np.random.default_rng(seed)
    result = ScoreBoard(list(ROWS), ["all", "rare"], sequences)
    for number in range(sequences):
        frames = int(rng.integers(5, 40))
        difficulty, other = rng.normal(30, 8), rng.normal(30, 8)
        first = difficulty + rng.normal(0, 1, frames)
        rows = {
            "stage1": first,
            "stage2": first - 1 + rng.normal(0, 1, frames),
            "constant": first + 3,
            "unrelated": other + 0 * first,
        }
        for place, row in enumerate(ROWS):
            result.state[number, place, 0, ERROR] = torch.tensor([rows[row].sum(), frames])
            if number < MIN_RECORDINGS - 1:
                result.state[number, place, 1, ERROR] = result.state[number, place, 0, ERROR]
    return result


def width(bounds) -> float:
    return bounds[1] - bounds[0]


def value(board, row) -> float:
    return board.compute()[row]["all"]["mpjpe_root"]


def test_the_interval_of_a_constant_difference_is_that_constant():
    drawn = Bootstrap(board())
    np.testing.assert_allclose(
        drawn.interval("constant", "all", "mpjpe_root", than="stage1"), [3, 3], atol=1e-9
    )
    np.testing.assert_allclose(
        drawn.interval("stage1", "all", "mpjpe_root", than="stage1"), [0, 0], atol=1e-12
    )


def test_pairing_removes_what_both_rows_share():
    scored = board()
    drawn = Bootstrap(scored)
    paired = drawn.interval("stage2", "all", "mpjpe_root", than="stage1")
    unpaired = drawn.interval("unrelated", "all", "mpjpe_root", than="stage1")
    alone = drawn.interval("stage1", "all", "mpjpe_root")
    assert width(paired) < 0.2 * width(alone) < width(unpaired)
    assert paired[0] < value(scored, "stage2") - value(scored, "stage1") < paired[1] < 0
    there, back = paired, drawn.interval("stage1", "all", "mpjpe_root", than="stage2")
    np.testing.assert_allclose(back, [-there[1], -there[0]])


def test_sequences_are_drawn_and_not_frames():
    """The same frames in one sequence each would give a much narrower interval; a naive loop gives this
    one."""
    scored = board(20, seed=3)
    sums = scored.state[:, 0, 0, ERROR].numpy()
    rng = np.random.default_rng(5)
    naive = []
    for _ in range(4000):
        chosen = sums[rng.integers(0, len(sums), len(sums))]
        naive.append(chosen[:, 0].sum() / chosen[:, 1].sum())
    drawn = Bootstrap(scored, resamples=4000)
    np.testing.assert_allclose(
        drawn.interval("stage1", "all", "mpjpe_root"), np.quantile(naive, [0.025, 0.975]), atol=0.25
    )


def test_more_sequences_narrow_the_interval_and_the_seed_fixes_it():
    few, many = (Bootstrap(board(n)).interval("stage1", "all", "mpjpe_root") for n in (30, 270))
    assert width(many) == pytest.approx(width(few) / 3, rel=0.35)
    assert Bootstrap(board(30)).interval("stage1", "all", "mpjpe_root") == few
    assert Bootstrap(board(30), seed=1).interval("stage1", "all", "mpjpe_root") != few


def test_coverage_is_about_what_it_says():
    """Of intervals from 30 sequences about 95 % hold the truth of the process (a mean difference of -1)."""
    hits = 0
    for seed in range(20):
        low, high = Bootstrap(board(30, seed=seed), resamples=400).interval(
            "stage2", "all", "mpjpe_root", than="stage1"
        )
        hits += low <= -1 <= high
    assert hits >= 16


def test_too_few_sequences_say_nothing():
    drawn = Bootstrap(board())
    assert drawn.interval("stage1", "rare", "mpjpe_root") is None
    assert drawn.interval("stage2", "rare", "mpjpe_root", than="stage1") is None
    assert drawn.interval("stage1", "all", "jitter") is None  # nothing valid
    assert Bootstrap(ScoreBoard(["a"], ["all"], 1)).interval("a", "all", "mpjpe") is None


def test_every_metric_has_its_interval():
    scored = board(10)
    scored.state[..., 1] = 4.0
    scored.state[..., 0] = torch.rand_like(scored.state[..., 0])
    scored.state[..., 2 - SLOPE_SUMS * len(BEND_SLOPES) :: SLOPE_SUMS, 0] += (
        20  # mean squares above squared means
    )
    drawn, result = Bootstrap(scored), scored.compute()
    for name in METRICS:
        low, high = drawn.interval("stage2", "rare", name)
        assert low <= result["stage2"]["rare"][name] <= high and (
            low < high or "lag" in name
        )  # random curves have theirs at an end
