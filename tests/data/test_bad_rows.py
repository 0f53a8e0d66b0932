"""Rows that cannot be used: which they are, clips without them, what takes their place, and how they are
counted."""

import json

import numpy as np
import pytest
import torch
from tests_support import hand_rows, pictures_of_clips, write_table

from tempohand.data.bad_rows import LeftOut, replacements
from tempohand.data.clips import ClipPlan, Clips, ClipSampling, lookback, see_clips
from tempohand.data.ledger import BadRowWatch, Ledger, by_source, in_words, left_out_line
from tempohand.data.loader import ClipDataset, collate, evaluation_batches, training_batches
from tempohand.data.table import FrameTable
from tempohand.data.token_store import TokenStore
from tempohand.data.tokens import Encoder, cached
from tempohand.data.training_order import TrainingOrder
from tempohand.data.view import Augmentation, View
from tempohand.training.debug.not_finite import named_tensors

SAMPLING = ClipSampling(min_history=3, max_gap=2, consecutive=2, drop=0.1)


def cut(row):
    row["image"] = row["image"][: len(row["image"]) // 2]


def scribble(row):
    row["image"] = b"no picture at all"


def lie_about_size(row):
    row["width"] += 2


def forget_a_number(row):
    row["joints"] = np.where(np.arange(63).reshape(21, 3) == 7, np.nan, row["joints"])


def step_behind_the_camera(row):
    row["joints"], row["trans"] = row["joints"] * [1, 1, -1], row["trans"] * [1, 1, -1]


def fold_the_box(row):
    row["box"] = row["box"][[2, 3, 0, 1]]


# Row of the training split -> what is done to it, and the reason that is given for leaving it out. Rows 20,
# 21 and 22 open a sequence.
PLANTED = {
    4: (cut, "picture cut off"),
    5: (scribble, "undecodable picture"),
    13: (lie_about_size, "picture of another size"),
    20: (forget_a_number, "not_finite"),
    33: (step_behind_the_camera, "depth"),
    34: (fold_the_box, "box_side"),
    59: (cut, "picture cut off"),
}
REASONS = {row: reason for row, (_, reason) in PLANTED.items()}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    splits = {}
    for split in ("train", "val"):
        sequences = [hand_rows(f"{split}-{k}", 20, 10 * k + 3, is_right=k != 1) for k in range(3)]
        rows = [row for sequence in sequences for row in sequence]
        for number, row in enumerate(rows):
            row["source"] = "studio" if number < 40 else "street"
        for row, (spoil, _) in PLANTED.items():
            spoil(rows[row])
        splits[split] = sequences
    return write_table(tmp_path_factory.mktemp("bad") / "table", splits)


def dataset(root, num_frame=7, views=None, split="train"):
    return ClipDataset(
        FrameTable(root, split),
        View(64, 2.0, Augmentation()),
        num_frame,
        SAMPLING if num_frame > 1 else None,
        3,
        views,
    )


def read(dataset, steps, workers=0, batch_size=6, **share):
    """The first batches of a training, and the ledger."""
    ledger = Ledger()
    order = TrainingOrder(dataset.clips.training_rows(), batch_size, seed=1, **share)
    batches = training_batches(dataset, order, workers, ledger)
    return [next(batches) for _ in range(steps)], ledger


def same(first, second) -> bool:
    """Whether two batches hold the same clips, of pictures or of features."""
    inputs = ("frames.image", "frames.features")
    one, other = ({k: v for k, v in named_tensors(batch) if k not in inputs} for batch in (first, second))
    return one.keys() == other.keys() and all(value.equal(other[name]) for name, value in one.items())


def test_exactly_the_planted_rows_are_left_out_of_an_epoch(root):
    batches, ledger = read(dataset(root, num_frame=1), 10)
    rows = torch.cat([batch.row for batch in batches]).tolist()
    assert ledger.bad == REASONS and len(rows) == 60 and set(rows) <= set(range(60)) - set(REASONS)
    assert {row: rows.count(row) >= 1 for row in range(60)} == {row: row not in REASONS for row in range(60)}
    assert ledger.read == 60 + ledger.left_out and ledger.left_out >= len(
        PLANTED
    )  # a replacement may be bad, too


def test_a_clip_never_shows_a_bad_frame(root):
    clips = dataset(root)
    missing = 0
    for position in range(150):
        sample = clips[position, int(np.random.default_rng(position).choice(clips.clips.training_rows()))]
        plan = sample.plan
        assert (
            plan.clips.shape == (2, 7)
            and plan.mask[:, -1].all()
            and not set(plan.rows.tolist()) & set(REASONS)
        )
        assert (np.diff(plan.rows) > 0).all() and set(plan.clips.ravel()) == set(range(len(plan.rows)))
        assert {row: REASONS[row] for row in sample.bad} == sample.bad
        missing += bool(sample.bad)
    assert 20 < missing < 150
    assert isinstance(clips.clip(5), LeftOut) and clips.clip(6).bad == {4: REASONS[4], 5: REASONS[5]}
    whole = clips.clips.evaluation(6)
    assert (
        collate([clips.clip(6)]).frame_mask.tolist()
        == (whole.mask & ~np.isin(whole.rows[whole.clips], (4, 5))).tolist()
    )


def test_without_bad_rows_is_the_plan_that_never_knew_them():
    """Against clips that were told from the start which frames are shown."""
    rng, rows, time = np.random.default_rng(0), np.arange(100, 116), np.arange(116) / 30
    places = np.arange(13, 16)[:, None] - lookback(7)

    def plan_of(shown, history):
        shown = shown[places] & (np.arange(7) >= 7 - history)
        return ClipPlan.of(*see_clips(rows[places], shown, time))

    whole = plan_of(np.ones(16, bool), 7)
    last = whole.rows[whole.clips[:, -1]]
    for _ in range(300):
        shown, history = rng.random(16) > 0.2, int(rng.integers(1, 8))
        bad = {int(row): "bad" for row in rows[rng.random(16) > 0.7] if row not in last}
        plan = plan_of(shown, history).without(bad)
        expected = plan_of(shown & np.array([row not in bad for row in rows]), history)
        for name in ("rows", "clips", "mask"):
            np.testing.assert_array_equal(getattr(plan, name), getattr(expected, name))
    fewer = whole.without({int(last[1]): "bad"})
    assert fewer.rows[fewer.clips[:, -1]].tolist() == np.delete(last, 1).tolist()
    assert whole.without(dict.fromkeys(last.tolist(), "bad")) is None


def test_workers_and_processes_change_nothing(root):
    clips = dataset(root)
    alone, ledger = read(clips, 6)
    with_workers, theirs = read(clips, 6, workers=2)
    assert all(map(same, alone, with_workers)) and ledger == theirs and ledger.left_out
    shares = [read(clips, 6, batch_size=3, rank=rank, world=2) for rank in (0, 1)]
    for whole, *parts in zip(alone, *(batches for batches, _ in shares)):
        assert torch.cat([part.row for part in parts]).equal(whole.row)
        assert torch.cat([pictures_of_clips(part) for part in parts]).equal(pictures_of_clips(whole))
    assert Ledger.total(ledger for _, ledger in shares) == Ledger(
        ledger.read, ledger.left_out, dict(sorted(ledger.bad.items()))
    )


def test_a_position_decides_what_takes_a_bad_row_s_place():
    clips = Clips(np.repeat([0, 10], 10), np.arange(20) / 30, 7, SAMPLING, seed=5)
    first, again, other = (
        [next(rows) for _ in range(200)]
        for rows in (replacements(clips, 3), replacements(clips, 3), replacements(clips, 4))
    )
    assert first == again != other and set(first) == set(clips.training_rows().tolist())


@pytest.mark.parametrize("workers", [0, 2])
def test_tokens_give_what_pictures_give(root, tmp_path, workers):
    online, held_out = dataset(root, views=2), dataset(root, split="val")
    store = TokenStore(tmp_path / "tokens", {})

    def encode(frames):
        return frames.image.float().mean(dim=(-1, -2))

    encoder = Encoder(encode, "fp32", workers)
    tokens, held_out_tokens = cached(store, online, held_out, encoder, shard_frames=12)
    seen, kept = read(online, 5), read(tokens, 5)
    ledgers = Ledger(), Ledger()
    seen[0].extend(evaluation_batches(held_out, np.arange(60), 7, 0, ledgers[0]))
    kept[0].extend(evaluation_batches(held_out_tokens, np.arange(60), 7, 0, ledgers[1]))
    assert seen[1] == kept[1] and seen[1].left_out and ledgers[0] == ledgers[1]
    for pictures, records in zip(seen[0], kept[0], strict=True):
        assert same(pictures, records)
        torch.testing.assert_close(records.frames.features, encode(pictures.frames))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_evaluation_leaves_out_exactly_the_bad_rows(root, world):
    table = FrameTable(root, "val")
    ledgers, rows = [Ledger() for _ in range(world)], []
    for rank, ledger in enumerate(ledgers):
        batches = evaluation_batches(
            dataset(root, split="val"), np.arange(60), 4, 0, ledger, rank=rank, world=world
        )
        rows += [row for batch in batches for row in batch.row.tolist()]
    total = Ledger.total(ledgers)
    assert sorted(rows) == sorted(set(range(60)) - set(REASONS))
    assert (total.read, total.left_out, total.bad) == (60, len(PLANTED), REASONS)
    assert by_source(total.bad, table)["street"] == {"picture cut off": 1}
    assert left_out_line(total, table).startswith(
        "left out 7 of 60 rows of split 'val' as bad data (studio: "
    )


def test_a_batch_of_nothing_but_bad_rows_is_counted_and_not_seen(root):
    ledger = Ledger()
    batches = list(
        evaluation_batches(dataset(root, 1, split="val"), np.array([4, 5, 6, 33, 34]), 2, 0, ledger)
    )
    assert [batch.row.tolist() for batch in batches] == [[6]] and (ledger.read, ledger.left_out) == (5, 4)


def test_without_a_ledger_a_bad_row_is_an_error(root):
    for batches in (
        evaluation_batches(dataset(root, split="val"), np.arange(60), 4),
        training_batches(dataset(root), TrainingOrder(np.arange(1, 20), 8), 0),
    ):
        with pytest.raises(ValueError, match=r"row \d+ cannot be used \(.*tempohand check-data"):
            for _ in range(15):
                next(batches)


def test_a_table_of_bad_rows_is_no_endless_search(tmp_path):
    rows = hand_rows("a", 12, 1)
    for row in rows:
        scribble(row)
    clips = dataset(write_table(tmp_path / "table", {"train": [rows]}), 1)
    with pytest.raises(
        ValueError, match="row 3 is bad .undecodable picture., and so are 100 rows drawn in its place"
    ):
        clips[0, 3]


# ----- what a run does about it -----------------------------------------------------------------------------


def listed(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_watch_says_lists_and_stops(root, tmp_path):
    table, lines = FrameTable(root, "train"), []
    file = tmp_path / "run" / "bad_rows.jsonl"
    watch = BadRowWatch(file, 0.1, say=lines.append)
    watch.known({20: REASONS[20]}, table, judged=True)
    assert lines == ["bad data: 1 of 60 rows of split 'train' are left out (studio: not_finite 1)"]
    watch.check(Ledger(59, 50, {4: REASONS[4]}), table)  # too early to judge
    assert lines[1].startswith(
        "bad data: left out row 4 of split 'train' (studio, sequence train-0, frame 4): picture cut off"
    )
    watch.check(Ledger(60, 6, {4: REASONS[4], 59: REASONS[59]}), table)  # just as much as is allowed
    assert len(lines) == 2
    assert [
        (entry["row"], entry["source"], entry["sequence"], entry["frame"], entry["reason"])
        for entry in listed(file)
    ] == [
        (4, "studio", "train-0", 4, "picture cut off"),
        (20, "studio", "train-1", 0, "not_finite"),
        (59, "street", "train-2", 19, "picture cut off"),
    ]
    with pytest.raises(
        ValueError,
        match=(
            r"11.7% of the frames read of split 'train' \(7 of 60\).*max_bad=0.1 .*worst source 'studio': "
            ".*run/bad_rows.jsonl.*check-data"
        ),
    ):
        watch.check(Ledger(60, 7, dict(REASONS)), table)
    assert len(listed(file)) == len(PLANTED)
    resumed = BadRowWatch(file, 0.1, say=lines.append, resumed=True)
    assert resumed.total(Ledger(5, 1, {4: REASONS[4]}), FrameTable(root, "val")).left_out == 1
    assert len(listed(file)) == len(PLANTED) + 1
    BadRowWatch(file, 0.1)
    assert not file.exists()  # another run's list
    with pytest.raises(ValueError, match="data.max_bad=10"):
        BadRowWatch(file, 10)


def test_inconsistent_labels_stop_a_run_before_it_reads(root, tmp_path):
    table, bad = FrameTable(root, "train"), {20: REASONS[20], 33: REASONS[33]}
    with pytest.raises(ValueError, match=r"3.3% of the rows of split 'train' \(2 of 60\)"):
        BadRowWatch(tmp_path / "list", 0.01, say=lambda line: None).known(bad, table, judged=True)
    BadRowWatch(tmp_path / "list", 0.01, say=lambda line: None).known(bad, table, judged=False)
    assert [entry["row"] for entry in listed(tmp_path / "list")] == [20, 33]


def test_processes_are_judged_together_and_one_of_them_speaks(root, tmp_path):
    table, ledgers = (
        FrameTable(root, "train"),
        [Ledger(30, 0, {}), Ledger(30, 3, {4: REASONS[4], 20: REASONS[20]})],
    )
    main = BadRowWatch(tmp_path / "list", 0.01, gather=lambda _: ledgers, say=lambda line: None)
    other = BadRowWatch(tmp_path / "other", 0.01, gather=lambda _: ledgers, say=lambda line: None, main=False)
    with pytest.raises(ValueError, match="5.0% of the frames read"):
        main.check(ledgers[0], table)
    with pytest.raises(SystemExit):
        other.check(ledgers[1], table)
    assert len(listed(tmp_path / "list")) == 2 and not (tmp_path / "other").exists()


def test_words_put_the_worst_first(root):
    table = FrameTable(root, "train")
    words = in_words({4: "depth", 5: "depth", 6: "pose", 50: "depth"}, table)
    assert words == "studio: depth 2, pose 1; street: depth 1"
