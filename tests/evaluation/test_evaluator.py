import json

import numpy as np
import pytest
import torch

from tempohand.batch import ClipBatch, Frames, HandPrediction, HandTarget
from tempohand.evaluation.evaluator import (
    ROW,
    PerFrame,
    Temporal,
    TruthKeeper,
    cut_into_sequences,
    predict_sequences,
    score_sequences,
)
from tempohand.evaluation.filters import OneEuro
from tempohand.evaluation.hands import Hands
from tempohand.evaluation.metrics.registry import METRICS
from tempohand.evaluation.report.strips import StripKeeper, choose_strips
from tempohand.evaluation.results import format_tables, to_json, write_json
from tempohand.evaluation.tuning import KALMAN, ONE_EURO, HandFilter
from tempohand.hand.layer import HandLayer

LENGTHS = [5, 1, 12, 3]
SEQUENCE = np.repeat(np.arange(4), LENGTHS)
SIZE = 32


@pytest.fixture(scope="module")
def hand():
    return HandLayer()


@pytest.fixture(scope="module")
def table(hand):
    """A whole split as one batch, and its columns frame and time."""
    count = sum(LENGTHS)
    generator = torch.Generator().manual_seed(0)
    pose = (0.3 * torch.randn(48, generator=generator)).expand(count, -1).clone()
    shape = 0.5 * torch.randn(count, 10, generator=generator)
    trans = torch.arange(count)[:, None] * torch.tensor([2.0, -1.0, 1.5]) + torch.tensor([0.0, 0.0, 500.0])
    everything = torch.ones(count, 1, dtype=torch.bool)
    target = HandTarget(
        joints2d=torch.zeros(count, 1, 21, 2),
        joints2d_mask=everything[..., None].expand(-1, 1, 21),
        joints=hand(pose, shape, trans).joints[:, None],
        joints_mask=everything[..., None].expand(-1, 1, 21).clone(),
        pose=pose[:, None],
        shape=shape[:, None],
        trans=trans[:, None],
        hand_mask=everything.clone(),
        camera_mask=everything.clone(),
        hidden=torch.rand(count, 1, generator=generator),
    )
    batch = ClipBatch(
        frames=Frames(
            size=(SIZE, SIZE),
            image=torch.zeros(count, 3, SIZE, SIZE, dtype=torch.uint8),
            focal=torch.rand(count, 2, generator=generator) + 100,
            princpt=torch.rand(count, 2, generator=generator) + 16,
            time=torch.zeros(count, dtype=torch.float64),
        ),
        index=torch.arange(count)[:, None],
        frame_mask=everything,
        is_right=everything[:, 0],
        row=torch.arange(count),
        target=target,
    )
    frame = np.concatenate([np.arange(length) for length in LENGTHS])
    return batch, frame, frame / 30.0 + 1e6


def batches_of(batch, size):
    return [
        batch[torch.arange(start, min(start + size, len(batch.row)))]
        for start in range(0, len(batch.row), size)
    ]


def noisy(batch):
    """A per-frame predictor: the truth and an error that only its row decides."""
    offset = torch.sin(batch.row.float() * 1.7)[:, None, None] * torch.tensor([9.0, 4.0, -7.0])
    joints = batch.target.joints[:, 0] + offset + batch.row[:, None, None] % 3
    return Hands(joints, joints.repeat(1, 38, 1)[:, :778])


def run(hand, table, size, filters=None):
    batch, frame, time = table
    filters = filters or {}
    sequences = predict_sequences(
        batches_of(batch, size), {"noisy": PerFrame(noisy)}, TruthKeeper(hand, 2.0), SEQUENCE, frame, time
    )
    return score_sequences(sequences, ["noisy", *filters], filters, SEQUENCE, len(LENGTHS))


@pytest.mark.parametrize("size", [1, 4, 7, 21])
def test_batches_may_cross_sequences_and_the_numbers_do_not_move(hand, table, size):
    expected = run(hand, table, 5).compute()["noisy"]
    assert expected["all"]["n"] == 21 and expected["all"]["accel_error"] > 1
    for split, metrics in run(hand, table, size).compute()["noisy"].items():
        assert metrics == pytest.approx(expected[split], rel=1e-6, nan_ok=True)


def test_cutting_keeps_order_and_skips_what_was_left_out():
    sequence = np.array([0, 1, 1, 1, 1, 1, 1, 2, 2, 3])
    pieces = [{ROW: torch.tensor(rows)} for rows in ([0, 1, 3], [4], [5, 6, 9])]
    found = list(cut_into_sequences(pieces, sequence))
    assert [cut[ROW].tolist() for cut in found] == [[0], [1, 3, 4, 5, 6], [9]]
    assert all(
        cut[ROW].untyped_storage().nbytes() == cut[ROW].nbytes for cut in found
    )  # no batch is kept for a frame of it
    assert list(cut_into_sequences([], sequence)) == []


def clips_of_stream(rows, num_frame):
    """Clips of frames one after the other; a frame that is not among the rows is missing."""
    wanted = rows[:, None] - np.arange(num_frame - 1, -1, -1)
    places = np.searchsorted(rows, wanted)
    real = rows[places] == wanted
    earliest = np.take_along_axis(places, real.argmax(axis=1)[:, None], axis=1)
    return np.where(real, places, earliest), real


def test_a_temporal_predictor_sees_the_history_of_its_own_sequence(table):
    batch, _, time = table
    seen = []

    def encode(batch):
        return batch.row[:, None].float()

    def predict(clips):
        tokens = clips.frames.features[clips.index]
        seen.append((tokens[..., 0].clone(), clips))
        joints = tokens[:, -1:, :, None].expand(-1, 1, 21, 3)
        rest = (torch.zeros(len(tokens), 1, *shape) for shape in ((48,), (16, 3, 3), (10,), (3,)))
        return HandPrediction(
            *rest, joints, joints.repeat(1, 1, 38, 1)[:, :, :778], torch.zeros(len(tokens), 1, 21, 2)
        )

    predictor = Temporal(encode, predict, clips_of_stream, 4, chunk=5)
    rows = torch.arange(6, 18)
    kept = predictor.observe(batch[rows]) | {"row": rows}
    hands = predictor.conclude(kept, torch.from_numpy(time)[rows])
    assert hands.joints[:, 0, 0].tolist() == rows.tolist()
    tokens, clips = torch.cat([part for part, _ in seen]), [part for _, part in seen]
    assert (
        tokens[0].tolist() == [6, 6, 6, 6]
        and tokens[2].tolist() == [6, 6, 7, 8]
        and tokens[11].tolist() == [14, 15, 16, 17]
    )
    mask = torch.cat([part.frame_mask for part in clips])
    assert mask[2].tolist() == [False, True, True, True] and mask[11].all()
    # Relative in float64 before the cast: float32 seconds of 1e6 would be all equal.
    torch.testing.assert_close(
        torch.cat([part.time for part in clips])[11], torch.arange(-3, 1) / 30, atol=1e-6, rtol=0
    )
    torch.testing.assert_close(torch.cat([part.focal for part in clips])[:, -1], batch.focal[6:18, 0])
    assert clips[0].frames.size == (SIZE, SIZE)
    seen.clear()  # a frame that was left out is missing from the histories of those after it
    left = torch.tensor([0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11])
    predictor.conclude(
        {name: value[left] for name, value in kept.items()}, torch.from_numpy(time)[rows[left]]
    )
    tokens, mask = torch.cat([part for part, _ in seen]), torch.cat([part.frame_mask for _, part in seen])
    assert tokens[2].tolist() == [6, 7, 6, 9] and mask[2].tolist() == [
        True,
        True,
        False,
        True,
    ]  # its place is taken by the earliest
    assert tokens[5].tolist() == [9, 10, 11, 12] and mask[5].all()


def test_filtered_rows_use_the_filter_within_sequences(hand, table):
    smooth = HandFilter(*[OneEuro(0.5, 0.0)] * 3)
    result = run(hand, table, 6, {"smooth": ("noisy", smooth)}).compute()
    assert result["smooth"]["all"]["accel_error"] < 0.8 * result["noisy"]["all"]["accel_error"]
    assert result["smooth"]["all"]["n"] == 21


def test_vertices_of_another_hand_model_are_no_truth(hand, table):
    batch, frame, time = table
    kept = TruthKeeper(hand, 2.0).observe(batch)
    assert kept["hand_mask"].all()
    moved = batch[torch.arange(21)]
    moved.target.joints[3, 0, 1:] += 10
    moved.target.hand_mask[5] = False
    moved.target.pose[5] = float("nan")
    kept = TruthKeeper(hand, 2.0).observe(moved)
    assert kept["hand_mask"].tolist() == [row not in (3, 5) for row in range(21)]
    assert torch.isfinite(kept["vertices"]).all()


def test_metrics_json_is_strict_whole_and_has_stable_keys(hand, table, tmp_path):
    board = run(hand, table, 6, {"smooth": ("noisy", ONE_EURO), "stage2": ("noisy", KALMAN)})
    content = to_json(board, processes=1)
    write_json(tmp_path / "sub" / "metrics.json", content)
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["metrics.json"]

    def refuse(constant):
        raise AssertionError(constant)

    read = json.loads((tmp_path / "sub" / "metrics.json").read_text(), parse_constant=refuse)
    assert read == content
    assert read["n"] == 21 and read["processes"] == 1
    for row in read["rows"].values():
        assert {*METRICS, "n", "hidden_50", "splits"} == set(row)
        assert {*METRICS, "n"} == set(row["hidden_50"])
        assert row["splits"]["far_700mm_up"]["mpjpe"] is None and row["splits"]["far_700mm_up"]["n"] == 0
    assert sum(read["hidden_curve"]["n"]) == 21
    assert read["intervals"]["noisy"]["all"]["mpjpe"] is None and read["bootstrap"]["number"] == 4  # too few
    difference = read["differences"]["stage2 - noisy"]["hidden_50"]["mpjpe"]
    assert difference["value"] == pytest.approx(
        read["rows"]["stage2"]["hidden_50"]["mpjpe"] - read["rows"]["noisy"]["hidden_50"]["mpjpe"]
    )
    assert (
        set(read["differences"]) == {"stage2 - noisy", "stage2 - smooth"}
        and difference["low"] is difference["high"] is None
    )
    text = format_tables(content)
    assert "noisy" in text and "far_700mm_up" in text and f"{read['rows']['smooth']['mpjpe']:.2f}" in text


def test_the_clearest_occlusions_become_strips():
    hidden = np.concatenate(
        [np.full(40, 0.8), np.where(np.abs(np.arange(40) - 30) < 4, 0.7, 0.0), np.zeros(40)]
    )
    starts = np.repeat([0, 40, 80], 40)
    names = np.repeat(["always", "passing", "never"], 40)
    chosen = choose_strips(hidden, starts, names, 2, reach=8)
    assert chosen[0].sequence == "passing"
    assert chosen[0].rows[0] == 40 + 27 - 8 and chosen[0].rows[-1] == 40 + 27 + 8
    unknown = choose_strips(np.full(120, np.nan), starts, names, 5, reach=8)
    assert [choice.sequence for choice in unknown] == ["always", "passing", "never"]


def test_strips_hold_the_frames_and_what_was_said_of_them(hand, table, tmp_path):
    batch, frame, time = table
    choices = choose_strips(
        batch.target.hidden[:, 0].numpy(),
        np.repeat([0, 5, 6, 18], LENGTHS),
        np.repeat(list("abcd"), LENGTHS),
        2,
        reach=3,
    )
    keeper = StripKeeper(choices, tmp_path)
    batches = keeper.watching(batches_of(batch, 4))
    sequences = predict_sequences(
        batches, {"noisy": PerFrame(noisy)}, TruthKeeper(hand, 2.0), SEQUENCE, frame, time
    )
    score_sequences(sequences, ["noisy"], {}, SEQUENCE, len(LENGTHS), keeper.watch)
    for number, choice in enumerate(choices):
        with np.load(tmp_path / f"strip_{number}.npz") as strip:
            assert str(strip["sequence"]) == choice.sequence
            assert strip["image"].shape == (len(choice.rows), 3, SIZE, SIZE)
            np.testing.assert_array_equal(strip["true_joints"], batch.target.joints[choice.rows, 0])
            np.testing.assert_array_equal(strip["joints"][0], noisy(batch).joints[choice.rows])
            np.testing.assert_array_equal(strip["focal"], batch.focal[choice.rows, 0])
            assert strip["mpjpe_root"].shape == (1, len(choice.rows)) and list(strip["rows"]) == ["noisy"]
