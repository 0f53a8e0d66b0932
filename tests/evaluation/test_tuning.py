import pytest
import torch

from tempohand.evaluation import metrics
from tempohand.evaluation.filters import ConstantVelocity, OneEuro, one_euro
from tempohand.evaluation.scores import Hands, TrueHands
from tempohand.evaluation.tuning import KALMAN, KALMAN_GRID, ONE_EURO, ONE_EURO_GRID, FilterTuning, HandFilter


def noisy_sequence(wrist_noise, joint_noise, count=150):
    generator = torch.Generator().manual_seed(1)
    time = torch.arange(count).double() / 30
    shape = torch.randn(21, 3, generator=generator).double() * 40
    shape[0] = 0
    true = shape + torch.stack([100 * torch.sin(2 * time), 50 * torch.cos(time), 500 + 0 * time], dim=-1)[:, None]
    noise = torch.randn(count, 21, 3, generator=generator).double() * joint_noise
    noise[:, 0] = 0
    joints = true + noise + torch.randn(count, 1, 3, generator=generator).double() * wrist_noise
    everything = torch.ones(count, 21, dtype=torch.bool)
    hand = (true, everything, true.repeat(1, 38, 1)[:, :778], true, everything[:, 0], everything[:, 0], 0 * time, torch.arange(count), time)
    picture = (true[..., :2], everything, torch.ones(count, 2), torch.zeros(count, 2))
    return joints, TrueHands(*hand, *picture)


def test_a_hand_filter_filters_wrist_and_articulation_apart():
    joints, true = noisy_sequence(10, 3)
    vertices = joints.repeat(1, 38, 1)[:, :778] + 5
    result = HandFilter(OneEuro(0.5, 0.01), OneEuro(3.0, 0.02))(Hands(joints, vertices), true.time)
    wrist = one_euro(joints[:, 0], true.time, 0.5, 0.01)
    torch.testing.assert_close(result.joints[:, 0], wrist)
    torch.testing.assert_close(result.joints - wrist[:, None], one_euro(joints - joints[:, :1], true.time, 3.0, 0.02))
    torch.testing.assert_close(result.vertices - wrist[:, None], one_euro(vertices - joints[:, :1], true.time, 3.0, 0.02))


GRIDS = {
    "one_euro": ([OneEuro(*s) for s in ((0.3, 0.0), (3.0, 0.05), (12.0, 0.0), (3.0, 0.0))], ONE_EURO),
    "kalman": ([ConstantVelocity(ratio) for ratio in (1.0, 1e2, 1e4, 1e6)], KALMAN),
}


@pytest.mark.parametrize("kind", GRIDS)
def test_tuning_minimises_the_stated_criterion(kind):
    joints, true = noisy_sequence(8, 2)
    tuning = FilterTuning(*GRIDS[kind])
    tuning.add(joints, true)

    def criterion(predicted, target):
        mask = torch.ones(predicted.shape[:2], dtype=torch.bool)
        error = [metrics.mpjpe(p, target, mask).value.mean() for p in (predicted, raw)]
        accel = [
            (e.value * e.valid).sum() / e.valid.sum() for e in (metrics.accel_error(p, target, mask, true.time) for p in (predicted, raw))
        ]
        return float(error[0] / error[1] + accel[0] / accel[1])

    (chosen, best), total = tuning.best(), 0.0
    for part, raw, target in (
        (chosen.wrist, joints[:, :1], true.joints[:, :1]),
        (chosen.articulation, joints - joints[:, :1], true.joints - true.joints[:, :1]),
    ):
        values = {setting: criterion(setting(raw, true.time), target) for setting in tuning.settings}
        assert part == min(values, key=values.get)
        assert values[part] < 2
        total += values[part]
    assert best == pytest.approx(total)


@pytest.mark.parametrize("grid", [[OneEuro(cutoff, 0.0) for cutoff in (0.3, 1, 3, 10, 30)], KALMAN_GRID])
def test_tuning_smooths_more_where_there_is_more_noise(grid):
    chosen = []
    for noise in (0.2, 30.0):
        tuning = FilterTuning(grid, ONE_EURO)
        tuning.add(*noisy_sequence(noise, noise))
        chosen.append(tuning.settings.index(tuning.best()[0].wrist))
    assert chosen[0] > chosen[1]


@pytest.mark.parametrize(("grid", "default"), [(ONE_EURO_GRID, ONE_EURO), (KALMAN_GRID, KALMAN)])
def test_tuning_on_nothing_keeps_the_defaults(grid, default):
    assert FilterTuning(grid, default).best() == (default, 4.0)
