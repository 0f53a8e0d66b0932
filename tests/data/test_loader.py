import numpy as np
import pytest
import torch
from tests_support import hand_rows, with_features, write_table

from tempohand.data import loader
from tempohand.data.clips import Clips, ClipSampling, eligible_rows, lookback
from tempohand.data.ledger import Ledger
from tempohand.data.loader import ClipDataset, collate, evaluation_batches, training_batches
from tempohand.data.table import FrameTable
from tempohand.data.training_order import TrainingOrder
from tempohand.data.view import Augmentation, View
from tempohand.training.debug.not_finite import named_tensors


@pytest.fixture(scope="module")
def dataset(table_root):
    sampling = ClipSampling(min_history=2, max_gap=2, consecutive=2)
    return ClipDataset(FrameTable(table_root, "train"), View(64, 2.0, Augmentation()), 7, sampling, seed=3)


def test_short_sequences_are_refused_with_the_longest_named(tmp_path):
    root = write_table(tmp_path / "short", {"train": [hand_rows("a", 5, seed=1)]})
    dataset = ClipDataset(FrameTable(root, "train"), View(64), 7)
    with pytest.raises(ValueError, match="no sequence has 7 frames, the longest has 5"):
        dataset.clips.training_rows()
    assert eligible_rows(np.zeros(5, int), 5).tolist() == [4]


def test_batches_hold_neighbouring_clips_in_one_view(dataset):
    batch = collate([dataset[(p, int(row))] for p, row in enumerate(dataset.clips.training_rows()[:20:3])])
    assert batch.frames.image.shape[1:] == (3, 64, 64) and batch.frames.image.dtype == torch.uint8
    assert batch.previous.tolist() == [k - 1 if k % 2 else -1 for k in range(len(batch))]
    assert (
        dataset.clip(20).plan.clips.shape[0] == 1
        and collate([dataset.clip(20), dataset.clip(9)]).previous is None
    )
    assert batch.frame_mask[:, -1].all() and (batch.time[:, -1] == 0).all() and (batch.time <= 0).all()
    # One frame apart: the last frame of one is the one before the last of the other, and so on where the
    # distances agree.
    earlier, later = torch.tensor([4, 5, 6]), torch.tensor([3, 4, 5])
    both = batch.frame_mask[0, earlier] & batch.frame_mask[1, later]
    assert both.any() and torch.equal(batch.index[0, earlier][both], batch.index[1, later][both])


def test_history_length_varies_and_time_is_real(dataset):
    batch = collate([dataset[(p, 11)] for p in range(40)])
    lengths = batch.frame_mask.sum(dim=1)
    assert (
        lengths.min() >= 2 and lengths.max() == 6 and len(lengths.unique()) > 3
    )  # the 7th frame would lie 13 back, the row is the 12th
    ages = (-batch.time * 30).round()[:, -4:]
    for age, known in zip(ages, batch.frame_mask[:, -4:]):
        assert any(
            age[known].tolist() == (gap * torch.tensor([3, 2, 1, 0])[known]).tolist() for gap in (1, 2)
        )
    assert {1.0, 2.0} <= set(ages[:, -2].tolist())


@pytest.mark.parametrize("origin", [-1e6, 3e8, 1.7e9])
def test_the_origin_of_time_changes_no_clip(table_root, dataset, tmp_path, origin):
    """Seconds since 1970 have no digits left for a frame in float32: differences are taken before the
    cast."""
    rows = [
        {**row, "time": row["time"] + origin}
        for k in range(4)
        for row in hand_rows(f"train-{k}", 12, k, is_right=k != 3)
    ]
    later = ClipDataset(
        FrameTable(write_table(tmp_path / "later", {"train": [rows]}), "train"),
        dataset.view,
        7,
        dataset.clips.sampling,
        seed=3,
    )
    keys = [(position, int(row)) for position, row in enumerate(dataset.clips.training_rows()[::3])]
    for here, there in (
        (collate([dataset[key] for key in keys]), collate([later[key] for key in keys])),
        (collate([dataset.clip(row) for row in (11, 30)]), collate([later.clip(row) for row in (11, 30)])),
    ):
        torch.testing.assert_close(there.time, here.time, rtol=0, atol=1e-6)
        assert torch.equal(there.frame_mask, here.frame_mask) and torch.equal(
            there.frames.image, here.frames.image
        )


@pytest.mark.parametrize("drop", [0.0, 0.3])
def test_clips_keep_gap_history_and_sequence_and_lose_frames_at_random(drop):
    starts = np.repeat([0, 40, 48], [40, 8, 30])
    clips = Clips(
        starts,
        np.arange(len(starts)) / 30,
        7,
        ClipSampling(min_history=3, max_gap=3, consecutive=2, drop=drop),
        seed=1,
    )
    lost, known = 0, 0
    for position in range(600):
        row = int(np.random.default_rng(position).choice(clips.training_rows()))
        plan = clips.training(position, row)
        assert (
            plan.clips.shape == plan.mask.shape == (2, 7)
            and plan.mask[:, -1].all()
            and plan.rows[plan.clips[1, -1]] == row
        )
        assert (np.diff(plan.rows) > 0).all() and set(plan.clips.ravel()) == set(
            range(len(plan.rows))
        )  # nothing that no clip shows
        assert len(set(starts[plan.rows])) == 1
        gap = row - plan.rows[plan.clips[0, -1]]
        assert 1 <= gap <= 3
        for clip, mask, last in zip(plan.clips, plan.mask, (row - gap, row)):
            rows = plan.rows[clip]
            assert (rows[mask] == (last - gap * lookback(7))[mask]).all()
            assert (rows[~mask] == rows[mask][0]).all()
            possible = min((last - starts[row]) // gap, 2)  # earlier frames that every history has
            lost += int((~mask[6 - possible : 6]).sum())
            known += int(possible)
    assert lost / known == pytest.approx(drop, abs=0.04 if drop else 0)


def test_nonsense_sampling_is_refused():
    with pytest.raises(ValueError, match="drop lies in"):
        ClipSampling(drop=1.0)
    with pytest.raises(ValueError, match="tokens.views=0"):
        Clips(np.zeros(9, int), np.arange(9) / 30, 7, views=0)


def test_a_position_decides_its_sample(dataset):
    first, again, other = (collate([dataset[(p, 11)]]) for p in (4, 4, 5))
    assert torch.equal(first.frames.image, again.frames.image) and torch.equal(
        first.target.joints, again.target.joints
    )
    assert not torch.equal(first.frames.image, other.frames.image)


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_the_same_global_batches(processes):
    rows = np.arange(50)
    single = iter(TrainingOrder(rows, 6 * processes, seed=1))
    several = [iter(TrainingOrder(rows, 6, rank=r, world=processes, seed=1)) for r in range(processes)]
    for _ in range(20):
        assert next(single) == [key for order in several for key in next(order)]


def test_an_epoch_is_a_permutation_and_a_resumed_order_goes_on():
    rows = np.arange(100, 140)
    order = iter(TrainingOrder(rows, 8, seed=2))
    batches = [next(order) for _ in range(12)]
    epochs = [[row for batch in batches[k : k + 5] for _, row in batch] for k in (0, 5)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == rows.tolist() and epochs[0] != epochs[1]
    assert next(iter(TrainingOrder(rows, 8, seed=2, start=7))) == batches[7]


def test_workers_change_nothing(dataset):
    rows = dataset.clips.training_rows()
    one, two = (
        iter(training_batches(dataset, TrainingOrder(rows, 4, seed=1), workers)) for workers in (0, 2)
    )
    for _ in range(3):
        a, b = next(one), next(two)
        assert torch.equal(a.frames.image, b.frames.image) and torch.equal(a.target.pose, b.target.pose)


def test_pinned_batches_are_pinned_as_a_whole(dataset, monkeypatch):
    """Every tensor of a batch, of pictures or of tokens. (Pinning itself needs a GPU.)"""
    pinned = []
    monkeypatch.setattr(
        torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor.numel()) or tensor.clone()
    )
    batch = collate([dataset[(0, 11)], dataset[(1, 20)]])
    tensors = len(list(named_tensors(batch)))
    arrival = loader._Arrival(batch, Ledger(2)).pin_memory()
    assert (
        len(pinned) == tensors
        and torch.equal(arrival.batch.frames.image, batch.frames.image)
        and arrival.batch.frames.image is not batch.frames.image
    )
    assert torch.equal(arrival.batch.target.pose, batch.target.pose) and arrival.entry.read == 2
    pinned.clear()
    tokens = with_features(batch, torch.zeros(len(batch.frames), 5)).pin_memory()
    assert len(pinned) == tensors and tokens.frames.size == (64, 64)
    assert loader._Arrival(None, Ledger(2, 2)).pin_memory().batch is None

    asked = []
    monkeypatch.setattr(
        loader, "_loader", lambda *arguments, **options: asked.append(options["pin_memory"]) or iter(())
    )
    for wanted in (True, False):
        next(training_batches(dataset, TrainingOrder(np.arange(4), 2), 0, pinned=wanted), None)
    assert asked == [True, False]


def test_evaluation_sees_every_row_once_in_order(dataset):
    rows = np.arange(len(dataset))
    batches = list(evaluation_batches(dataset, rows, 7))
    assert torch.cat([batch.row for batch in batches]).tolist() == rows.tolist()
    assert len(batches[-1].row) == len(rows) % 7
    assert batches[0].frame_mask.sum(dim=1).tolist() == [1, 2, 3, 4, 4, 5, 5]


@pytest.mark.parametrize(("rate", "step"), [(5, 1 / 5), (30, 1 / 30), (60, 2 / 60), (120, 3 / 120)])
def test_training_clips_keep_to_time_and_never_cross_a_pause(rate, step):
    time = np.arange(120) / rate
    time[70:] += 0.5
    clips = Clips(
        np.repeat([0, 100], [100, 20]), time, 7, ClipSampling(min_history=7, max_gap=2, consecutive=3), seed=2
    )
    for position, row in enumerate(clips.training_rows().tolist()):
        plan = clips.training(position, row)
        assert len(plan.clips) == 3 and plan.rows[plan.clips[-1, -1]] == row
        assert len({(r >= 70) + (r >= 100) for r in plan.rows.tolist()}) == 1
        for clip, mask in zip(plan.clips, plan.mask):
            shown = time[plan.rows[clip[mask]]]
            assert shown[-1] - shown[0] <= 0.9 + 1e-6 and (np.diff(shown) >= 0.0166).all()
    begins = [0 if row < 70 else 70 if row < 100 else 100 for row in range(120)]
    assert clips.training_rows().tolist() == [
        row for row in range(120) if time[row] - time[begins[row]] >= 2 * step - 1e-9
    ]
