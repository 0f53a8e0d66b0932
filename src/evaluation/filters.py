"""Causal filters by real time: what a per-frame network with classical smoothing reaches.

The One-Euro filter (Casiez, Roussel and Vogel, CHI 2012) is a first-order low-pass whose cut-off rises with
the speed of the signal, so that a resting hand does not tremble and a moving one does not lag. The
constant-velocity Kalman filter knows a position and a velocity that white acceleration noise disturbs
(Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, section
6.2.2). Both treat every channel by itself, run in float64, and start anew after a pause. How they are tuned:
tuning.py.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tempohand.evaluation.metrics.errors import LONGEST_GAP_S

DERIVATIVE_CUTOFF_HZ = 1.0  # the paper's
DIFFUSE = 1e10  # of the velocity's first variance over the measurement's, 1/s^2: nothing is known of it


def _steps(time: Float[Tensor, "n"], longest_gap: float) -> list[float]:
    """Seconds since the frame before; infinite where the filter starts anew. Raises ValueError when time does
    not rise."""
    steps = (time[1:].double() - time[:-1].double()).tolist()
    if any(not step > 0 for step in steps):
        raise ValueError("filter: time stamps must rise from frame to frame")
    return [math.inf, *(step if step <= longest_gap else math.inf for step in steps)]


def one_euro(
    signal: Float[Tensor, "n *channels"],
    time: Float[Tensor, "n"],
    min_cutoff: float | Tensor,
    beta: float | Tensor,
    derivative_cutoff: float = DERIVATIVE_CUTOFF_HZ,
    longest_gap: float = LONGEST_GAP_S,
) -> Float[Tensor, "n ..."]:
    """The filtered signal.

    time: seconds, rising; steps may differ. min_cutoff (Hz) and beta (Hz per unit/s) broadcast against the
    channels, so that many settings run at once. The filter starts anew after a step longer than
    `longest_gap`. Raises ValueError when time does not rise.
    """
    filtered, speed = [], None
    for step, value in zip(_steps(time, longest_gap), signal.double()):
        if step == math.inf:
            # The paper's first sample: as it is, at speed 0. (The zeros broadcast to the settings' shape.)
            speed = torch.zeros_like(value) * torch.as_tensor(min_cutoff)
            filtered.append(value + speed)
            continue
        now = (value - filtered[-1]) / step
        speed = speed + _smoothing(derivative_cutoff, step) * (now - speed)
        cutoff = min_cutoff + beta * speed.abs()
        filtered.append(filtered[-1] + _smoothing(cutoff, step) * (value - filtered[-1]))
    return torch.stack(filtered).to(signal.dtype) if filtered else signal.clone()


def _smoothing(cutoff: float | Tensor, step: float) -> float | Tensor:
    """alpha = 1 / (1 + tau / Te) with tau = 1 / (2 pi cutoff)."""
    turns = 2 * math.pi * cutoff * step
    return turns / (turns + 1)


def constant_velocity(
    signal: Float[Tensor, "n *channels"],
    time: Float[Tensor, "n"],
    ratio: float | Tensor,
    longest_gap: float = LONGEST_GAP_S,
) -> Float[Tensor, "n ..."]:
    """The filtered signal: the position of a constant-velocity Kalman filter after each measurement.

    Model per channel: x' = v, v' = white noise of density q (unit^2/s^3), measured z = x + noise of variance
    r (unit^2). Only `ratio` = q / r (1/s^3) matters to the estimate; it broadcasts against the channels. Over
    a step h: F = [[1, h], [0, 1]], Q = q [[h^3/3, h^2/2], [h^2/2, h]]. The filter starts, and starts anew
    after a step longer than `longest_gap`, at the measurement with an unknown velocity (DIFFUSE), which two
    frames then fix. Raises ValueError when time does not rise.
    """
    ratio, filtered = torch.as_tensor(ratio, dtype=torch.float64), []
    for h, value in zip(_steps(time, longest_gap), signal.double()):
        if h == math.inf:
            # Covariance in units of r: the same for all channels, since it never looks at the measurements.
            xx = torch.ones_like(ratio)
            xv = torch.zeros_like(ratio)
            vv = torch.full_like(ratio, DIFFUSE)
            velocity = torch.zeros_like(value) * ratio
            filtered.append(value + velocity)
            continue
        # The covariance of the prediction, F P F' + Q: `xx` first, for it needs the last `xv` and `vv`.
        xx = xx + 2 * h * xv + h**2 * vv + ratio * h**3 / 3
        xv = xv + h * vv + ratio * h**2 / 2
        vv = vv + ratio * h
        gain_x = xx / (xx + 1)
        gain_v = xv / (xx + 1)
        predicted = filtered[-1] + h * velocity
        filtered.append(predicted + gain_x * (value - predicted))
        velocity = velocity + gain_v * (value - predicted)
        # That of the estimate, (I - K H) P: `vv` first, for it needs the prediction's `xv`.
        vv = vv - gain_v * xv
        xv = (1 - gain_x) * xv
        xx = (1 - gain_x) * xx
    return torch.stack(filtered).to(signal.dtype) if filtered else signal.clone()


@dataclass(frozen=True)
class OneEuro:
    """A One-Euro filter: cut-off at rest (Hz) and its rise with speed (Hz per unit/s)."""

    min_cutoff: float | Tensor = 2.5
    beta: float | Tensor = 0.03

    def __call__(
        self, signal: Float[Tensor, "n *channels"], time: Float[Tensor, "n"]
    ) -> Float[Tensor, "n ..."]:
        """The filtered signal of one sequence."""
        return one_euro(signal, time, self.min_cutoff, self.beta)


@dataclass(frozen=True)
class ConstantVelocity:
    """A constant-velocity Kalman filter: process noise over measurement noise, 1/s^3."""

    ratio: float | Tensor = 1e4

    def __call__(
        self, signal: Float[Tensor, "n *channels"], time: Float[Tensor, "n"]
    ) -> Float[Tensor, "n ..."]:
        """The filtered signal of one sequence."""
        return constant_velocity(signal, time, self.ratio)
