import pytest
import torch

from tempohand.evaluation.splits import (
    CURVE,
    DISTANCE_MM,
    FINGER_CHANGES,
    FINGER_SPEED,
    SPLITS,
    WRIST_SPEED,
    curve_frames,
    share_of_groups,
    split_frames,
    whole_groups,
)


def test_hidden_splits():
    nan = float("nan")
    hidden = torch.tensor([0.0, 1e-3, 0.25, 0.5, 0.74, 0.75, 1.0, nan])
    wrist = torch.tensor([0.0, 99.9, 100.0, 299.0, 300.0, 9000.0, nan, nan])
    fingers = torch.tensor([nan, 50.0, 0.0, 150.0, 49.0, 149.0, 1e4, nan])
    depth = torch.tensor([100.0, 400.0, 699.0, 700.0, 5000.0, nan, 0.0, 100.0])
    changes = torch.tensor([0.0, 1.0, 2.0, 3.0, nan, 0.0, 1.0, nan])
    splits = split_frames(hidden, depth, wrist, fingers, changes)
    assert set(splits) == set(SPLITS)
    frames = {name: chosen.nonzero()[:, 0].tolist() for name, chosen in splits.items()}
    assert frames == {
        "all": list(range(8)),
        "hidden_0": [0],
        "hidden_0_25": [1],
        "hidden_25_50": [2],
        "hidden_50_75": [3, 4],
        "hidden_75_100": [5, 6],
        "hidden_50": [3, 4, 5, 6],
        "near_0_400mm": [0, 6, 7],
        "middle_400_700mm": [1, 2],
        "far_700mm_up": [3, 4],
        "wrist_0_100mm_s": [0, 1],
        "wrist_100_300mm_s": [2, 3],
        "wrist_300mm_s_up": [4, 5],
        "fingers_0_50mm_s": [2, 4],
        "fingers_50_150mm_s": [1, 5],
        "fingers_150mm_s_up": [3, 6],
        "finger_changes_0": [0, 5],
        "finger_changes_1": [1, 6],
        "finger_changes_2_up": [2, 3],
    }


def test_bins_partition_the_frames_of_which_something_is_known():
    values = (
        torch.rand(5, 500, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 3
        * torch.tensor([1, 1000, 600, 300, 3])[:, None]
    )
    values[torch.rand(5, 500, generator=torch.Generator().manual_seed(1)) < 0.1] = float("nan")
    splits = split_frames(*values)
    hidden = ("hidden_0", "hidden_0_25", "hidden_25_50", "hidden_50_75", "hidden_75_100")
    for value, names in zip(values, (hidden, DISTANCE_MM, WRIST_SPEED, FINGER_SPEED, FINGER_CHANGES)):
        assert torch.equal(torch.stack([splits[name] for name in names]).sum(dim=0) == 1, ~value.isnan())


def test_the_curve_takes_each_known_frame_once():
    hidden = torch.cat([torch.linspace(0, 1, 101), torch.tensor([float("nan")])])
    frames = curve_frames(hidden)
    assert tuple(frames) == CURVE
    places = torch.stack(list(frames.values())).sum(dim=0)
    assert places[:-1].eq(1).all() and places[-1] == 0
    assert frames["curve_0"][0] and frames["curve_9"][100] and frames["curve_9"].sum() == 11


@pytest.mark.parametrize("least", [1, 8, 64, 1000])
def test_groups_are_whole_neighbours_and_large_enough(least):
    lengths = [100, 1, 50, 50, 30, 90, 7, 7]
    groups = whole_groups(lengths, least)
    assert [sequence for group in groups for sequence in group] == list(range(8))
    assert all(sum(lengths[i] for i in group) >= least for group in groups[:-1])
    assert all(
        sum(lengths[i] for i in group[:-1]) < least for group in groups
    )  # and no larger than that needs
    assert whole_groups([], least) == []


def test_groups_are_shared_out_each_once_and_evenly():
    lengths = [100, 1, 50, 50, 30, 90, 7, 7]
    for world in (1, 2, 3, 12):
        shares = [share_of_groups(lengths, rank, world) for rank in range(world)]
        assert sorted(sum(shares, [])) == list(range(8))
        assert all(share == sorted(share) for share in shares)
    loads = [sum(lengths[i] for i in share_of_groups(lengths, rank, 3)) for rank in range(3)]
    assert max(loads) - min(loads) <= 30
