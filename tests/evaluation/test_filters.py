import math

import numpy as np
import pytest
import torch

from tempohand.evaluation.filters import ConstantVelocity, OneEuro, constant_velocity, one_euro


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
    return torch.cumsum(
        torch.rand(count, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * 0.05 + 0.01,
        dim=0,
    )


def walk(count, *channels):
    return (
        torch.randn(count, *channels, generator=torch.Generator().manual_seed(6), dtype=torch.float64).cumsum(
            dim=0
        )
        * 5
    )


def test_every_channel_is_the_papers_scalar_filter():
    time, signal = uneven_time(40), walk(40, 2, 3)
    filtered = one_euro(signal, time, 0.8, 0.02)
    for i in range(2):
        for j in range(3):
            scalar = ScalarOneEuro(0.8, 0.02)
            expected = [scalar(float(signal[0, i, j]), None)]
            expected += [
                scalar(float(signal[t, i, j]), 1 / float(time[t] - time[t - 1])) for t in range(1, 40)
            ]
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


def textbook_kalman(signal, time, q, r):
    """Predict and update in matrices, one scalar track; the first velocity has a variance that nothing can
    outweigh."""
    state, covariance, estimates = np.array([signal[0], 0.0]), np.diag([r, 1e10 * r]), [signal[0]]
    for k in range(1, len(signal)):
        h = time[k] - time[k - 1]
        move = np.array([[1, h], [0, 1]])
        state = move @ state
        covariance = move @ covariance @ move.T + q * np.array([[h**3 / 3, h**2 / 2], [h**2 / 2, h]])
        gain = covariance[:, 0] / (covariance[0, 0] + r)
        state = state + gain * (signal[k] - state[0])
        covariance = (np.eye(2) - np.outer(gain, [1, 0])) @ covariance
        estimates.append(state[0])
    return np.array(estimates)


def test_every_channel_is_the_textbooks_kalman_filter():
    time, signal = uneven_time(40), walk(40, 2, 3)
    filtered = constant_velocity(signal, time, 700.0 / 3.0)
    for i in range(2):
        for j in range(3):
            expected = textbook_kalman(signal[:, i, j].numpy(), time.numpy(), 700.0, 3.0)
            np.testing.assert_allclose(filtered[:, i, j], expected, rtol=1e-5, atol=1e-5)


def test_kalman_with_infinite_trust_returns_the_measurements():
    time, signal = uneven_time(30), walk(30, 3)
    torch.testing.assert_close(constant_velocity(signal, time, 1e15), signal, atol=1e-5, rtol=0)


def test_kalman_holds_a_constant_velocity_however_late_the_frames():
    time = uneven_time(60)
    track = (time - time[0])[:, None] * torch.tensor([300.0, -20.0], dtype=torch.float64) + 50
    torch.testing.assert_close(constant_velocity(track, time, 10.0), track, atol=1e-3, rtol=0)


def test_kalman_without_process_noise_is_the_straight_line_through_all_that_came():
    time = uneven_time(40)
    signal, x = walk(40, 2), (time - time[0]).numpy()
    filtered = constant_velocity(signal, time, 0.0)
    for last in (5, 20, 39):
        line = np.polynomial.polynomial.polyfit(x[: last + 1], signal[: last + 1].numpy(), 1)
        np.testing.assert_allclose(filtered[last], line[0] + line[1] * x[last], atol=1e-4)


def test_many_ratios_at_once_are_each_ratio_by_itself():
    time, signal = uneven_time(25), walk(25, 4)
    together = ConstantVelocity(torch.tensor([1.0, 100.0, 1e6], dtype=torch.float64)[:, None])(
        signal[:, None], time
    )
    for k, ratio in enumerate((1.0, 100.0, 1e6)):
        torch.testing.assert_close(together[:, k], constant_velocity(signal, time, ratio))


def test_kalman_is_causal_and_starts_anew_after_a_pause():
    time, signal = uneven_time(30), walk(30, 3)
    changed = signal.clone()
    changed[17:] += 100
    before, after = constant_velocity(signal, time, 100.0), constant_velocity(changed, time, 100.0)
    assert torch.equal(before[:17], after[:17]) and (before[17:] != after[17:]).all()
    time[12:] += 10
    torch.testing.assert_close(
        constant_velocity(signal, time, 100.0)[12:], constant_velocity(signal[12:], time[12:], 100.0)
    )


@pytest.mark.parametrize("smooth", [OneEuro(), ConstantVelocity()])
@pytest.mark.parametrize("time", [[0.0, 0.1, 0.1], [0.0, 0.2, 0.1], [0.0, float("nan"), 0.1]])
def test_time_must_rise(smooth, time):
    with pytest.raises(ValueError, match="must rise"):
        smooth(torch.zeros(3, 2), torch.tensor(time))


@pytest.mark.parametrize("smooth", [OneEuro(), ConstantVelocity()])
def test_nothing_in_nothing_out(smooth):
    assert smooth(torch.zeros(0, 2), torch.zeros(0)).shape == (0, 2)
