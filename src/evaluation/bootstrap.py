"""How far a figure may be chance: the paired bootstrap over recordings.

Frames of one recording resemble each other, whichever camera or hand they are of, so whole recordings are
drawn, with replacement and for all rows alike (paired: a recording that is hard for one row is hard for the
other). Intervals are percentiles of the resampled metric (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, chapter 13). Sums per recording make a resample a product of matrices.
"""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tempohand.evaluation.metrics.registry import METRICS
from tempohand.evaluation.scores import MAX_CLUSTERS, ScoreBoard, figures, spoken

RESAMPLES = 2000
LEVEL = 0.95
# With five recordings even a difference of one sign in all of them has p = 2 / 2^5 > 5 % in a sign test: no
# interval may exclude 0 there.
MIN_RECORDINGS = 6


@lru_cache(maxsize=2)
def _draws(places: int, resamples: int, seed: int) -> Float[Tensor, "resamples places"]:
    """How often each place is drawn in each resample."""
    counts = np.random.default_rng(seed).multinomial(places, np.full(places, 1 / places), size=resamples)
    return torch.from_numpy(counts).double()


def _bounds(values: Float[Tensor, "resamples"]) -> tuple[float, float]:
    """The interval of a resampled figure; nan is a draw in which nothing speaks for it."""
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(values.numpy(), [tail, 1 - tail]).tolist()
    return low, high


def mean_interval(
    total: Float[Tensor, "n k"],
    count: Float[Tensor, "n k"],
    cluster: Int[np.ndarray, "n"],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Bounds of the mean over columns of sum(total) / sum(count), when whole clusters of samples are drawn.

    cluster: a number a sample; those of one number are drawn together. None where fewer than MIN_RECORDINGS
    clusters have anything to say. Beyond MAX_CLUSTERS, neighbours share a place. Columns without a count are
    left out.
    """
    # Equal denominators: the mean of the columns' means is the mean of their mean.
    if (count == count[:, :1]).all():
        total, count = total.mean(dim=1, keepdim=True), count[:, :1]
    spoken = count.sum(dim=1) > 0
    numbers, place = np.unique(cluster[spoken.numpy()], return_inverse=True)
    if len(numbers) < MIN_RECORDINGS:
        return None
    places = min(len(numbers), MAX_CLUSTERS)
    place = torch.from_numpy(place * places // len(numbers))
    sums = torch.zeros(places, 2, total.shape[1], dtype=torch.float64)
    sums.index_add_(0, place, torch.stack([total[spoken], count[spoken]], dim=1).double())
    totals, counts = (_draws(places, resamples, seed) @ sums.flatten(1)).view(resamples, 2, -1).unbind(dim=1)
    return _bounds((totals / counts).nanmean(dim=1))


class Bootstrap:
    """Metrics of every row and split of a board in `resamples` draws of its recordings, the same draws for
    all; `seed` fixes them."""

    def __init__(self, board: ScoreBoard, resamples: int = RESAMPLES, seed: int = 0):
        self.rows = board.rows
        self.splits = board.splits
        self.resamples = resamples
        self.seed = seed
        places = len(board.state)
        draws = _draws(places, resamples, seed)
        self._resampled = []  # of each row [resample, split, metric]
        self._seen = []  # of each row [cluster, split, metric]
        for state in board.state.unbind(dim=1):
            self._resampled.append(figures((draws @ state.flatten(1)).view(resamples, *state.shape[1:])))
            self._seen.append(spoken(state))

    def interval(
        self, row: str, split: str, metric: str, than: str | None = None
    ) -> tuple[float, float] | None:
        """Bounds of the row's metric on a split, or of its difference to row `than`; None where fewer than
        MIN_RECORDINGS speak, or all of them together are not enough for a figure."""
        place = (slice(None), self.splits.index(split), list(METRICS).index(metric))
        first = self.rows.index(row)
        values, seen = self._resampled[first][place], self._seen[first][place]
        if than is not None:
            other = self.rows.index(than)
            values, seen = values - self._resampled[other][place], seen & self._seen[other][place]
        if seen.sum() < MIN_RECORDINGS or not values.isfinite().any():
            return None
        return _bounds(values)
