"""Filters of whole hands, and the choice of their parameters on held-out sequences.

The wrist's trajectory and the wrist-relative joints and vertices are filtered apart, each with its own parameters: noise of depth is an order
of magnitude larger than noise of articulation, and one setting cannot suit both.
"""

import itertools
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tempohand.evaluation import metrics
from tempohand.evaluation.filters import ConstantVelocity, OneEuro
from tempohand.evaluation.scores import Hands, TrueHands


@dataclass(frozen=True)
class HandFilter:
    """Filters of a hand: of the wrist in camera space, and of joints and vertices relative to it."""

    wrist: OneEuro | ConstantVelocity
    articulation: OneEuro | ConstantVelocity

    def __call__(self, hands: Hands, time: Float[Tensor, "n"]) -> Hands:
        """The hands of one sequence, filtered."""
        points = torch.cat([hands.joints, hands.vertices], dim=1)
        wrist = points[:, :1]
        points = self.articulation(points - wrist, time) + self.wrist(wrist, time)
        return Hands(*points.split([hands.joints.shape[1], hands.vertices.shape[1]], dim=1))


# Of each kind: settings to choose from (cut-offs in Hz, rises in Hz per mm/s, ratios in 1/s^3), and what stands where nothing was chosen.
ONE_EURO_GRID = tuple(OneEuro(*s) for s in itertools.product((0.1, 0.3, 0.6, 1.2, 2.5, 5.0, 10.0), (0.0, 0.003, 0.01, 0.03, 0.1)))
ONE_EURO = HandFilter(OneEuro(1.2, 0.003), OneEuro(2.5, 0.03))
KALMAN_GRID = tuple(ConstantVelocity(10 ** (half / 2)) for half in range(-8, 13))
KALMAN = HandFilter(ConstantVelocity(1e3), ConstantVelocity(1e4))


class FilterTuning:
    """Chooses a HandFilter's parameters on held-out sequences, by sums that processes can add up.

    The criterion, for the wrist and for the articulation apart: the setting of the grid that minimises
    error(filtered) / error(raw) + acceleration error(filtered) / acceleration error(raw),
    error being root_error for the wrist and mpjpe_root for the articulation, acceleration errors being those of the wrist in camera space
    and of the wrist-relative joints. Both terms are 1 without a filter; one per cent of accuracy is worth one per cent of smoothness.
    """

    def __init__(self, settings: Sequence[OneEuro | ConstantVelocity], default: HandFilter):
        self.settings, self.default = list(settings), default
        # [part: wrist, articulation; setting, the last one being no filter; error, acceleration; sum, count]
        self.sums = torch.zeros(2, len(self.settings) + 1, 2, 2, dtype=torch.float64)

    def add(self, joints: Float[Tensor, "n 21 3"], true: TrueHands) -> None:
        """Adds one sequence's unfiltered joints."""
        columns = zip(*map(astuple, self.settings))
        every = type(self.settings[0])(*(torch.tensor(column, dtype=torch.float64)[:, None, None] for column in columns))
        known = true.joints_mask & true.joints_mask[:, :1]
        parts = (
            (joints[:, :1], true.joints[:, :1], (true.joints_mask & true.camera_mask[:, None])[:, :1]),
            (metrics.relative_to_wrist(joints), metrics.relative_to_wrist(true.joints), known),
        )
        for sums, (predicted, target, mask) in zip(self.sums, parts):
            filtered = every(predicted.double()[:, None], true.time)  # [N, settings, J, 3]
            candidates = torch.cat([filtered, predicted.double()[:, None]], dim=1).unbind(1)
            for row, candidate in zip(sums, candidates):
                for total, errors in zip(
                    row, (metrics.mpjpe(candidate, target, mask), metrics.accel_error(candidate, target, mask, true.time))
                ):
                    total[0] += errors.value[errors.valid].sum()
                    total[1] += errors.valid.sum()

    def best(self) -> tuple[HandFilter, float]:
        """The chosen filter and its criterion, wrist and articulation together: 4 without a filter, less is better.

        The default for a part of which nothing valid was seen, which then counts as no filter.
        """
        chosen, criterion = [], 0.0
        for sums, default in zip(self.sums, (self.default.wrist, self.default.articulation)):
            mean = sums[..., 0] / sums[..., 1].clamp_min(1)
            if (sums[..., 1] == 0).any() or (mean[-1] == 0).any():
                chosen.append(default)
                criterion += 2.0
            else:
                values = (mean[:-1] / mean[-1]).sum(dim=-1)
                chosen.append(self.settings[int(values.argmin())])
                criterion += float(values.min())
        return HandFilter(*chosen), criterion
