import math

import pytest
import torch

from tempohand.evaluation import metrics
from tempohand.evaluation.filters import FilterTuning, HandFilter, OneEuro, one_euro
from tempohand.evaluation.scores import Hands, TrueHands


class ScalarOneEuro:
    """The paper's algorithm 1, one number at a time."""

    def __init__(self, min_cutoff, beta, derivative_cutoff=1.0):
        self.min_cutoff, self.beta, self.derivative_cutoff = min_cutoff, beta, derivative_cutoff
        self.value = None

    @staticmethod
    def alpha(rate, cutoff):
        tau = 1.0 / (2 * math.pi * cutoff)
        return 1.0 / (1.0 + tau * rate)

    def __call__(self, x, rate):
        if self.value is None:
            self.value, self.slope = x, 0.0
            return x
        slope = (x - self.value) * rate
        a = self.alpha(rate, self.derivative_cutoff)
        self.slope = a * slope + (1 - a) * self.slope
        a = self.alpha(rate, self.min_cutoff + self.beta * abs(self.slope))
        self.value = a * x + (1 - a) * self.value
        return self.value


def uneven_time(count):
    return torch.cumsum(torch.rand(count, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * 0.05 + 0.01, dim=0)


def walk(count, *channels):
    return torch.randn(count, *channels, generator=torch.Generator().manual_seed(6), dtype=torch.float64).cumsum(dim=0) * 5


def test_every_channel_is_the_papers_scalar_filter():
    time, signal = uneven_time(40), walk(40, 2, 3)
    filtered = one_euro(signal, time, 0.8, 0.02)
    for i in range(2):
        for j in range(3):
            scalar = ScalarOneEuro(0.8, 0.02)
            expected = [scalar(float(signal[0, i, j]), None)]
            expected += [scalar(float(signal[t, i, j]), 1 / float(time[t] - time[t - 1])) for t in range(1, 40)]
            assert filtered[:, i, j].tolist() == pytest.approx(expected, rel=1e-10)


def test_many_settings_at_once_are_each_setting_by_itself():
    time, signal = uneven_time(25), walk(25, 4)
    cutoffs, betas = torch.tensor([[0.5], [2.0], [2.0]]), torch.tensor([[0.0], [0.0], [0.1]])
    together = one_euro(signal[:, None], time, cutoffs.double(), betas.double())
    for k, (cutoff, beta) in enumerate([(0.5, 0.0), (2.0, 0.0), (2.0, float(betas[2]))]):
        torch.testing.assert_close(together[:, k], one_euro(signal, time, cutoff, beta))


def test_a_constant_stays_and_noise_shrinks():
    time = torch.arange(200).double() / 30
    assert torch.equal(one_euro(torch.full((200, 3), 7.0), time, 1.0, 0.1), torch.full((200, 3), 7.0))
    noise = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    assert one_euro(noise, time, 1.0, 0.0)[50:].std() < 0.5 * noise[50:].std()


def test_it_is_causal():
    time, signal = uneven_time(30), walk(30, 3)
    changed = signal.clone()
    changed[17:] += 100
    before, after = one_euro(signal, time, 1.0, 0.05), one_euro(changed, time, 1.0, 0.05)
    assert torch.equal(before[:17], after[:17])
    assert (before[17:] != after[17:]).all()


def test_a_higher_beta_follows_motion_closer():
    time = torch.arange(60).double() / 30
    ramp = (time * 400)[:, None]
    lags = [float((ramp - one_euro(ramp, time, 1.0, beta))[-1]) for beta in (0.0, 0.01, 0.1)]
    assert lags[0] > lags[1] > lags[2] > 0


def test_after_a_long_gap_the_signal_starts_anew():
    signal = walk(20, 3)
    time = torch.arange(20).double() / 30
    time[12:] += 10
    filtered = one_euro(signal, time, 1.0, 0.05)
    assert torch.equal(filtered[12], signal[12])
    assert torch.equal(filtered[12:], one_euro(signal[12:], time[12:], 1.0, 0.05))
    short = torch.arange(20).double() / 30
    short[12:] += 0.2  # a short gap: the new frame weighs more, and the past still counts
    filtered = one_euro(signal, short, 1.0, 0.0)
    alpha = (filtered[12] - filtered[11]) / (signal[12] - filtered[11])
    assert (alpha < 1).all() and (alpha > 0.5).all()


@pytest.mark.parametrize("time", [[0.0, 0.1, 0.1], [0.0, 0.2, 0.1], [0.0, float("nan"), 0.1]])
def test_time_must_rise(time):
    with pytest.raises(ValueError, match="must rise"):
        one_euro(torch.zeros(3, 2), torch.tensor(time), 1.0, 0.0)


def test_nothing_in_nothing_out():
    assert one_euro(torch.zeros(0, 2), torch.zeros(0), 1.0, 0.0).shape == (0, 2)


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
    return joints, TrueHands(
        true, everything, true.repeat(1, 38, 1)[:, :778], true, everything[:, 0], everything[:, 0], 0 * time, torch.arange(count), time
    )


def test_a_hand_filter_filters_wrist_and_articulation_apart():
    joints, true = noisy_sequence(10, 3)
    vertices = joints.repeat(1, 38, 1)[:, :778] + 5
    result = HandFilter(OneEuro(0.5, 0.01), OneEuro(3.0, 0.02))(Hands(joints, vertices), true.time)
    wrist = one_euro(joints[:, 0], true.time, 0.5, 0.01)
    torch.testing.assert_close(result.joints[:, 0], wrist)
    torch.testing.assert_close(result.joints - wrist[:, None], one_euro(joints - joints[:, :1], true.time, 3.0, 0.02))
    torch.testing.assert_close(result.vertices - wrist[:, None], one_euro(vertices - joints[:, :1], true.time, 3.0, 0.02))


def test_tuning_minimises_the_stated_criterion():
    joints, true = noisy_sequence(8, 2)
    tuning = FilterTuning(min_cutoffs=(0.3, 3.0, 12.0), betas=(0.0, 0.05))
    tuning.add(joints, true)

    def criterion(predicted, target):
        mask = torch.ones(predicted.shape[:2], dtype=torch.bool)
        error = [metrics.mpjpe(p, target, mask).value.mean() for p in (predicted, raw)]
        accel = [
            (e.value * e.valid).sum() / e.valid.sum() for e in (metrics.accel_error(p, target, mask, true.frame) for p in (predicted, raw))
        ]
        return float(error[0] / error[1] + accel[0] / accel[1])

    chosen = tuning.best()
    for part, raw, target in (
        (chosen.wrist, joints[:, :1], true.joints[:, :1]),
        (chosen.articulation, joints - joints[:, :1], true.joints - true.joints[:, :1]),
    ):
        values = {s: criterion(one_euro(raw, true.time, s.min_cutoff, s.beta), target) for s in tuning.settings}
        assert part == min(values, key=values.get)
        assert values[part] < 2


def test_tuning_smooths_more_where_there_is_more_noise():
    chosen = []
    for noise in (0.2, 30.0):
        tuning = FilterTuning(min_cutoffs=(0.3, 1.0, 3.0, 10.0, 30.0), betas=(0.0,))
        tuning.add(*noisy_sequence(noise, noise))
        chosen.append(tuning.best().wrist.min_cutoff)
    assert chosen[0] > chosen[1]


def test_tuning_on_nothing_keeps_the_defaults():
    assert FilterTuning().best() == HandFilter()
