import itertools

import pytest
import torch

from tempohand.evaluation.filters import ConstantVelocity, OneEuro, one_euro
from tempohand.evaluation.hands import Hands, TrueHands
from tempohand.evaluation.metrics import errors as metrics
from tempohand.evaluation.tuning import (
    GROUPS,
    KALMAN,
    KALMAN_GRID,
    ONE_EURO,
    ONE_EURO_GRID,
    FilterTuning,
    HandFilter,
    join_wrist,
    split_wrist,
)


def noisy_sequence(wrist_noise, joint_noise, count=150):
    generator = torch.Generator().manual_seed(1)
    time = torch.arange(count).double() / 30
    shape = torch.randn(21, 3, generator=generator).double() * 40
    shape[0] = 0
    true = (
        shape
        + torch.stack([100 * torch.sin(2 * time), 50 * torch.cos(time), 500 + 0 * time], dim=-1)[:, None]
    )
    noise = torch.randn(count, 21, 3, generator=generator).double() * joint_noise
    noise[:, 0] = 0
    joints = true + noise + torch.randn(count, 1, 3, generator=generator).double() * wrist_noise
    everything = torch.ones(count, 21, dtype=torch.bool)
    hand = (
        true,
        everything,
        true.repeat(1, 38, 1)[:, :778],
        everything[:, 0],
        everything[:, 0],
        0 * time,
        torch.arange(count),
        time,
    )
    picture = (true[..., :2], everything, torch.ones(count, 2), torch.zeros(count, 2))
    return joints, TrueHands(*hand, *picture)


def groups_of(points):
    """(place in the picture, mm at one metre; depth; relative to the wrist)."""
    wrist = points[:, :1]
    return wrist[..., :2] / wrist[..., 2:] * 1000, wrist[..., 2:], points - wrist


def test_a_hand_filter_filters_each_group_of_axes_apart():
    joints, true = noisy_sequence(10, 3)
    vertices = joints.repeat(1, 38, 1)[:, :778] + 5
    settings = OneEuro(0.5, 0.01), OneEuro(0.2, 0.0), OneEuro(3.0, 0.02)
    result = HandFilter(*settings)(Hands(joints, vertices), true.time)
    place, depth, relative = (smooth(part, true.time) for smooth, part in zip(settings, groups_of(joints)))
    wrist = torch.cat([place / 1000 * depth, depth], dim=-1)
    torch.testing.assert_close(result.joints[:, :1], wrist)
    torch.testing.assert_close(result.joints - wrist, relative)
    torch.testing.assert_close(
        result.vertices - wrist, one_euro(vertices - joints[:, :1], true.time, 3.0, 0.02)
    )


@pytest.mark.parametrize("filtered", GROUPS)
def test_a_group_without_a_filter_stays_as_it_is(filtered):
    joints, true = noisy_sequence(10, 3)
    hands = Hands(joints, joints.repeat(1, 38, 1)[:, :778])
    result = HandFilter(**(dict.fromkeys(GROUPS) | {filtered: OneEuro(0.5, 0.0)}))(hands, true.time)
    for group, before, after in zip(GROUPS, groups_of(joints), groups_of(result.joints)):
        assert torch.allclose(before, after, atol=1e-9) == (group != filtered)


def test_wrists_come_back_from_place_and_depth():
    wrist = torch.tensor([[[30.0, -200.0, 700.0]], [[-1.0, 2.0, 90.0]]], dtype=torch.float64)
    torch.testing.assert_close(join_wrist(*split_wrist(wrist)), wrist)


GRIDS = {
    "one_euro": ([OneEuro(*s) for s in ((0.3, 0.0), (3.0, 0.05), (12.0, 0.0), (3.0, 0.0))], ONE_EURO),
    "kalman": ([ConstantVelocity(ratio) for ratio in (1.0, 1e2, 1e4, 1e6)], KALMAN),
    "both": ([OneEuro(0.3, 0.0), OneEuro(12.0, 0.0), ConstantVelocity(1e4)], ONE_EURO),
}


@pytest.mark.parametrize(("kind", "smooth"), list(itertools.product(GRIDS, (True, False))))
def test_tuning_minimises_the_stated_criterion(kind, smooth):
    joints, true = noisy_sequence(8, 2)
    tuning = FilterTuning(*GRIDS[kind])
    tuning.add(joints, true)

    def padded(points):
        return torch.nn.functional.pad(points, (0, 3 - points.shape[-1]))

    def criterion(predicted, raw, target):
        mask, pair = torch.ones(predicted.shape[:2], dtype=torch.bool), (padded(predicted), padded(raw))
        error = [metrics.mpjpe(p, padded(target), mask).value.mean() for p in pair]
        accel = [
            (e.value * e.valid).sum() / e.valid.sum()
            for e in (metrics.accel_error(p, padded(target), mask, true.time) for p in pair)
        ]
        return (
            float((error[0] / error[1] + accel[0] / accel[1]) / 2) if smooth else float(error[0] / error[1])
        )

    chosen, best = tuning.best(smooth)
    total = 0.0
    for part, raw, target in zip(chosen.of_groups(), groups_of(joints), groups_of(true.joints)):
        values = {setting: criterion(setting(raw, true.time), raw, target) for setting in tuning.settings} | {
            None: 1.0
        }
        assert part == min(values, key=values.get)
        total += values[part] / 3
    assert best == pytest.approx(total)


def test_what_is_exact_is_not_filtered():
    """Where one group alone has noise, it alone gets a filter, whatever is asked for."""
    _, true = noisy_sequence(0, 0)
    place, depth, relative = groups_of(true.joints)
    relative = relative * (1 + 0.3 * torch.sin(3 * true.time))[:, None, None]  # fingers move
    true.joints = relative + join_wrist(place, depth)
    noise = torch.randn(150, 1, 1, generator=torch.Generator().manual_seed(5)).double() * 40
    joints = relative + join_wrist(place, depth + noise)
    generator = torch.Generator().manual_seed(6)
    joints = joints + 1e-3 * torch.randn(joints.shape, generator=generator).double()  # an error to measure by
    for grid, default in ((ONE_EURO_GRID, ONE_EURO), (KALMAN_GRID, KALMAN)):
        tuning = FilterTuning(grid, default)
        tuning.add(joints, true)
        accurate, _ = tuning.best(smooth=False)
        assert accurate.depth is not None and accurate.place is None and accurate.articulation is None


def test_the_most_accurate_filter_is_at_least_as_accurate_as_the_smooth_one():
    joints, true = noisy_sequence(3, 2)
    tuning = FilterTuning((*ONE_EURO_GRID, *KALMAN_GRID), ONE_EURO)
    tuning.add(joints, true)

    def error(smooth):
        hands = tuning.best(smooth)[0](Hands(joints, joints.repeat(1, 38, 1)[:, :778]), true.time)
        ours, theirs = groups_of(hands.joints), groups_of(true.joints)
        return [float((a - b).norm(dim=-1).mean()) for a, b in zip(ours, theirs)]

    accurate, both = error(False), error(True)
    assert all(a <= b + 1e-9 for a, b in zip(accurate, both)) and accurate != both


@pytest.mark.parametrize("grid", [[OneEuro(cutoff, 0.0) for cutoff in (0.3, 1, 3, 10, 30)], KALMAN_GRID])
def test_tuning_smooths_more_where_there_is_more_noise(grid):
    chosen = []
    for noise in (0.2, 30.0):
        tuning = FilterTuning(grid, ONE_EURO)
        tuning.add(*noisy_sequence(noise, noise))
        chosen.append([*tuning.settings, None].index(tuning.best()[0].place))
    assert chosen[0] > chosen[1]


def test_the_wrist_is_tuned_on_real_cameras_alone():
    """Where a camera is a guess, so is the wrist's place: such sequences change the choice for the
    articulation alone."""
    tunings = []
    for guessed in (False, True):
        tuning = FilterTuning(ONE_EURO_GRID, ONE_EURO)
        tuning.add(*noisy_sequence(0.2, 0.2))
        if guessed:
            joints, true = noisy_sequence(60.0, 60.0)
            true.camera_mask = torch.zeros_like(true.camera_mask)
            tuning.add(joints, true)
        tunings.append(tuning.best())
    assert tunings[0][0].place == tunings[1][0].place and tunings[0][0].depth == tunings[1][0].depth
    assert tunings[0][0].articulation != tunings[1][0].articulation


@pytest.mark.parametrize(("grid", "default"), [(ONE_EURO_GRID, ONE_EURO), (KALMAN_GRID, KALMAN)])
def test_tuning_on_nothing_keeps_the_defaults(grid, default):
    assert (
        FilterTuning(grid, default).best() == FilterTuning(grid, default).best(smooth=False) == (default, 1.0)
    )
