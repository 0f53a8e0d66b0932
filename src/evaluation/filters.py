"""The One-Euro filter (Casiez, Roussel and Vogel, CHI 2012): what a per-frame network with classical smoothing reaches.

It is causal: a first-order low-pass whose cut-off rises with the speed of the signal, so that a resting hand does not tremble and a moving
one does not lag. The wrist's trajectory and the wrist-relative joints and vertices are filtered apart, each with its own parameters:
noise of depth is an order of magnitude larger than noise of articulation, and one cut-off cannot suit both.
"""

import itertools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tempohand.evaluation import metrics
from tempohand.evaluation.scores import Hands, TrueHands

DERIVATIVE_CUTOFF_HZ = 1.0  # the paper's
LONGEST_GAP_S = 0.5  # after a longer pause the signal starts anew
MIN_CUTOFFS_HZ = (0.1, 0.3, 0.6, 1.2, 2.5, 5.0, 10.0)
BETAS = (0.0, 0.003, 0.01, 0.03, 0.1)  # Hz per mm/s


@dataclass(frozen=True)
class OneEuro:
    """Parameters: cut-off at rest (Hz) and its rise with speed (Hz per unit/s)."""

    min_cutoff: float = 2.5
    beta: float = 0.03


def one_euro(
    signal: Float[Tensor, "n *channels"],
    time: Float[Tensor, "n"],
    min_cutoff: float | Tensor,
    beta: float | Tensor,
    derivative_cutoff: float = DERIVATIVE_CUTOFF_HZ,
    longest_gap: float = LONGEST_GAP_S,
) -> Float[Tensor, "n ..."]:
    """The filtered signal, every channel by itself, float64 inside.

    time: seconds, rising; steps may differ. min_cutoff (Hz) and beta (Hz per unit/s) broadcast against the channels, so that many settings
    run at once. The filter starts anew after a step longer than `longest_gap`. Raises ValueError when time does not rise.
    """
    time = time.double()
    steps = (time[1:] - time[:-1]).tolist()
    if any(not step > 0 for step in steps):
        raise ValueError("one_euro: time stamps must rise from frame to frame")
    raw = signal.double()
    filtered, speed = [], None
    for index, value in enumerate(raw):
        step = steps[index - 1] if index else math.inf
        if step > longest_gap:
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


@dataclass(frozen=True)
class HandFilter:
    """One-Euro filters of a hand: of the wrist in camera space, and of joints and vertices relative to it."""

    wrist: OneEuro = OneEuro(1.2, 0.003)
    articulation: OneEuro = OneEuro()

    def __call__(self, hands: Hands, time: Float[Tensor, "n"]) -> Hands:
        """The hands of one sequence, filtered."""
        points = torch.cat([hands.joints, hands.vertices], dim=1)
        wrist = points[:, :1]
        relative = one_euro(points - wrist, time, self.articulation.min_cutoff, self.articulation.beta)
        points = relative + one_euro(wrist, time, self.wrist.min_cutoff, self.wrist.beta)
        return Hands(*points.split([hands.joints.shape[1], hands.vertices.shape[1]], dim=1))


class FilterTuning:
    """Chooses a HandFilter's parameters on held-out sequences, by sums that processes can add up.

    The criterion, for the wrist and for the articulation apart: the setting of the grid that minimises
    error(filtered) / error(raw) + acceleration error(filtered) / acceleration error(raw),
    error being root_error for the wrist and mpjpe_root for the articulation, acceleration errors being those of the wrist in camera space
    and of the wrist-relative joints. Both terms are 1 without a filter; one per cent of accuracy is worth one per cent of smoothness.
    """

    def __init__(self, min_cutoffs: tuple[float, ...] = MIN_CUTOFFS_HZ, betas: tuple[float, ...] = BETAS):
        self.settings = [OneEuro(*setting) for setting in itertools.product(min_cutoffs, betas)]
        # [part: wrist, articulation; setting, the last one being no filter; error, acceleration; sum, count]
        self.sums = torch.zeros(2, len(self.settings) + 1, 2, 2, dtype=torch.float64)

    def add(self, joints: Float[Tensor, "n 21 3"], true: TrueHands) -> None:
        """Adds one sequence's unfiltered joints."""
        cutoffs = torch.tensor([setting.min_cutoff for setting in self.settings], dtype=torch.float64)[:, None, None]
        betas = torch.tensor([setting.beta for setting in self.settings], dtype=torch.float64)[:, None, None]
        known = true.joints_mask & true.joints_mask[:, :1]
        parts = (
            (joints[:, :1], true.joints[:, :1], (true.joints_mask & true.camera_mask[:, None])[:, :1]),
            (metrics.relative_to_wrist(joints), metrics.relative_to_wrist(true.joints), known),
        )
        for sums, (predicted, target, mask) in zip(self.sums, parts):
            filtered = one_euro(predicted.double()[:, None], true.time, cutoffs, betas)  # [N, settings, J, 3]
            candidates = torch.cat([filtered, predicted.double()[:, None]], dim=1).unbind(1)
            for row, candidate in zip(sums, candidates):
                for total, errors in zip(
                    row, (metrics.mpjpe(candidate, target, mask), metrics.accel_error(candidate, target, mask, true.frame))
                ):
                    total[0] += errors.value[errors.valid].sum()
                    total[1] += errors.valid.sum()

    def best(self) -> HandFilter:
        """The chosen filter; its defaults for a part of which nothing valid was seen."""
        chosen = []
        for sums, default in zip(self.sums, (HandFilter.wrist, HandFilter.articulation)):
            mean = sums[..., 0] / sums[..., 1].clamp_min(1)
            if (sums[..., 1] == 0).any() or (mean[-1] == 0).any():
                chosen.append(default)
            else:
                chosen.append(self.settings[int((mean[:-1] / mean[-1]).sum(dim=-1).argmin())])
        return HandFilter(*chosen)
