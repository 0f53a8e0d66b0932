"""Filters of whole hands, and the choice of their parameters on held-out sequences.

Three groups of axes are filtered apart, each with its own parameters or not at all: the wrist's place in the
picture, its depth, and what lies about it (orientation and fingers). Noise of depth is an order of magnitude
larger than that of the others, and where a group has hardly any noise, every causal filter costs more by its
lag than it gains.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tempohand.evaluation.filters import ConstantVelocity, OneEuro
from tempohand.evaluation.hands import Hands, TrueHands
from tempohand.evaluation.metrics import errors as metrics
from tempohand.geometry import MIN_DEPTH_MM

Filter = OneEuro | ConstantVelocity
METRE = 1000.0  # mm: places in the picture are those of a hand at this depth, so that all axes are in mm


@dataclass(frozen=True)
class HandFilter:
    """The filter of each group of axes; None: it stays as it is."""

    place: Filter | None  # of the wrist in the picture: x / z and y / z
    depth: Filter | None  # z of the wrist
    articulation: Filter | None  # joints and vertices relative to the wrist: orientation and fingers

    def __call__(self, hands: Hands, time: Float[Tensor, "n"]) -> Hands:
        """The hands of one sequence, filtered."""
        assert hands.vertices is not None
        points = torch.cat([hands.joints, hands.vertices], dim=1)
        wrist = points[:, :1]
        place, depth, relative = (
            part if smooth is None else smooth(part, time)
            for part, smooth in zip((*split_wrist(wrist), points - wrist), self.of_groups())
        )
        points = relative + join_wrist(place, depth)
        return Hands(*points.split([hands.joints.shape[1], hands.vertices.shape[1]], dim=1))

    def of_groups(self) -> tuple[Filter | None, ...]:
        """The filters in the order of GROUPS."""
        return tuple(getattr(self, group) for group in GROUPS)


GROUPS = tuple(field.name for field in fields(HandFilter))


def split_wrist(wrist: Float[Tensor, "n 1 3"]) -> tuple[Float[Tensor, "n 1 2"], Float[Tensor, "n 1 1"]]:
    """(place in the picture in mm at one metre, depth in mm) of wrists in camera space."""
    depth = wrist[..., 2:].clamp_min(MIN_DEPTH_MM)
    return wrist[..., :2] / depth * METRE, depth


def join_wrist(place: Float[Tensor, "n 1 2"], depth: Float[Tensor, "n 1 1"]) -> Float[Tensor, "n 1 3"]:
    """The inverse of `split_wrist`."""
    return torch.cat([place / METRE * depth, depth], dim=-1)


# Of each kind: settings to choose from (cut-offs in Hz, rises in Hz per mm/s, ratios in 1/s^3), and what
# stands where nothing was chosen.
ONE_EURO_GRID = tuple(
    OneEuro(cutoff, beta)
    for cutoff in (0.1, 0.3, 0.6, 1.2, 2.5, 5.0, 10.0)
    for beta in (0.0, 0.003, 0.01, 0.03, 0.1)
)
ONE_EURO = HandFilter(OneEuro(2.5, 0.03), OneEuro(1.2, 0.003), OneEuro(2.5, 0.03))
KALMAN_GRID = tuple(ConstantVelocity(10 ** (half / 2)) for half in range(-8, 13))
KALMAN = HandFilter(ConstantVelocity(1e4), ConstantVelocity(1e3), ConstantVelocity(1e4))


@dataclass(frozen=True)
class FilteredRow:
    """A filtered row of an evaluation: its key in metrics.json, its choices, what stands where nothing was
    chosen, and what it is tuned for."""

    key: str
    settings: tuple[Filter, ...]
    default: HandFilter | None  # None: untuned, there is no such row
    smooth: bool  # accuracy and smoothness; else accuracy alone


FILTERED_ROWS = {
    "stage1_one_euro": FilteredRow("one_euro", ONE_EURO_GRID, ONE_EURO, True),
    "stage1_kalman": FilteredRow("kalman", KALMAN_GRID, KALMAN, True),
    "stage1_accurate": FilteredRow("accurate", (*ONE_EURO_GRID, *KALMAN_GRID), None, False),
}


class FilterTuning:
    """Chooses the filter of each group of axes on held-out sequences, by sums that processes can add up.

    Measured are each setting's error (of place and depth the wrist's, of the articulation mpjpe_root) and
    acceleration error on the group's axes, over those without a filter. `best(smooth=True)` minimises their
    sum, in which one per cent of accuracy is worth one per cent of smoothness; `best(smooth=False)` minimises
    the error alone. Among the choices is no filter, which has 1 and 1.
    """

    def __init__(self, settings: Sequence[Filter], default: HandFilter | None = None):
        self.settings, self.default = list(settings), default or HandFilter(None, None, None)
        # [group; setting, the last one being no filter; error, acceleration; sum, count]
        self.sums = torch.zeros(len(GROUPS), len(self.settings) + 1, 2, 2, dtype=torch.float64)

    def add(self, joints: Float[Tensor, "n 21 3"], true: TrueHands) -> None:
        """Adds one sequence's unfiltered joints."""
        placed = (true.joints_mask & true.camera_mask[:, None])[:, :1]
        wrist = true.joints[:, :1].double().masked_fill(~placed[..., None], METRE)
        parts = zip(split_wrist(joints[:, :1].double()), split_wrist(wrist), (placed, placed))
        known = true.joints_mask & true.joints_mask[:, :1]
        relative = [metrics.relative_to_wrist(points).double() for points in (joints, true.joints)]
        for sums, part in zip(self.sums, (*parts, (*relative, known))):
            sums += self._errors(*part, true.time)

    def _errors(
        self,
        predicted: Float[Tensor, "n p d"],
        true: Float[Tensor, "n p d"],
        mask: Bool[Tensor, "n p"],
        time: Float[Tensor, "n"],
    ) -> Float[Tensor, "settings 2 2"]:
        """Sums and counts of errors and acceleration errors of one sequence under every setting: all at once,
        as points of one hand."""
        candidates = torch.cat(
            [every(predicted[:, None], time) for every in self._at_once()] + [predicted[:, None]], dim=1
        )
        shape = candidates.shape[:3]
        points, target = candidates.flatten(1, 2), true[:, None].expand_as(candidates).flatten(1, 2)
        masks = mask[:, None].expand(shape).flatten(1, 2)
        found = []
        for distance, counted in (
            metrics.joint_errors(points, target, masks),
            metrics.joint_acceleration_errors(points, target, masks, time),
        ):
            errors = metrics.frame_mean(distance.reshape(-1, shape[2]), counted.reshape(-1, shape[2]))
            found.append(torch.stack([part.view(shape[:2]).double().sum(dim=0) for part in errors], dim=-1))
        return torch.stack(found, dim=1)

    def _at_once(self) -> list[Filter]:
        """The settings, neighbours of one kind as one filter with a channel for each."""
        runs: list[list[Filter]] = []
        for setting in self.settings:
            if runs and type(runs[-1][0]) is type(setting):
                runs[-1].append(setting)
            else:
                runs.append([setting])
        columns = [(type(run[0]), zip(*map(astuple, run))) for run in runs]
        return [
            kind(*(torch.tensor(values, dtype=torch.float64)[:, None, None] for values in each))
            for kind, each in columns
        ]

    def best(self, smooth: bool = True) -> tuple[HandFilter, float]:
        """The chosen filter and its criterion, the mean over groups: 1 without a filter, less is better.

        The default for a group of which nothing valid was seen, which then counts as no filter.
        """
        chosen, criteria = [], []
        for sums, default in zip(self.sums, self.default.of_groups()):
            mean = (sums[..., 0] / sums[..., 1])[:, : 2 if smooth else 1]
            ratio = (mean / mean[-1]).mean(dim=-1)
            if ratio.isfinite().all():
                # Of equals the last: no filter.
                place = len(ratio) - 1 - int(ratio.flip(0).argmin())
                chosen.append([*self.settings, None][place])
                criteria.append(float(ratio[place]))
            else:
                chosen.append(default)
                criteria.append(1.0)
        return HandFilter(*chosen), sum(criteria) / len(criteria)


def default_filters() -> tuple[dict[str, HandFilter], str]:
    """What `tune_filters` gives, where there is nothing to tune on: the rows that have a default."""
    defaults = {name: row.default for name, row in FILTERED_ROWS.items() if row.default}
    return defaults, next(iter(defaults))


def tune_filters(
    sequences: Iterable[tuple[Float[Tensor, "n 21 3"], TrueHands]], total: Callable[[Tensor], Tensor]
) -> tuple[dict[str, HandFilter], str]:
    """Row -> its filter, chosen on held-out sequences (unfiltered joints, truth), and the best there of the
    rows that are tuned for accuracy and smoothness. total: adds up what all processes saw."""
    tunings = {name: FilterTuning(row.settings, row.default) for name, row in FILTERED_ROWS.items()}
    for joints, true in sequences:
        for tuning in tunings.values():
            tuning.add(joints, true)
    for tuning in tunings.values():
        tuning.sums = total(tuning.sums)
    best = {name: tunings[name].best(row.smooth) for name, row in FILTERED_ROWS.items()}
    smooth = [name for name, row in FILTERED_ROWS.items() if row.smooth]
    return {name: chosen for name, (chosen, _) in best.items()}, min(smooth, key=lambda name: best[name][1])
