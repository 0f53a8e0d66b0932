"""How far a figure may be chance: the paired bootstrap over sequences.

Frames of one sequence resemble each other, so whole sequences are drawn, with replacement and for all rows alike (paired: a sequence that is
hard for one row is hard for the other). Intervals are percentiles of the resampled metric (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, chapter 13). Sums per sequence make a resample a product of matrices.
"""

import numpy as np
import torch

from tempohand.evaluation.scores import METRICS, ScoreBoard, means

RESAMPLES = 2000
LEVEL = 0.95
# With five sequences even a difference of one sign in all of them has p = 2 / 2^5 > 5 % in a sign test: no interval may exclude 0 there.
MIN_SEQUENCES = 6


class Bootstrap:
    """Metrics of every row and split of a board in `resamples` draws of its sequences, the same draws for all; `seed` fixes them."""

    def __init__(self, board: ScoreBoard, resamples: int = RESAMPLES, seed: int = 0):
        self.rows, self.splits, self.resamples, self.seed = board.rows, board.splits, resamples, seed
        places = len(board.state)
        counts = np.random.default_rng(seed).multinomial(places, np.full(places, 1 / places), size=resamples)
        draws = torch.from_numpy(counts).double()
        self._resampled, self._seen = [], []  # [resample, split, metric] and [cluster, split, metric] of each row
        for state in board.state.unbind(dim=1):
            self._resampled.append(means((draws @ state.flatten(1)).view(resamples, *state.shape[1:])))
            self._seen.append(means(state).isfinite())

    def interval(self, row: str, split: str, metric: str, than: str | None = None) -> tuple[float, float] | None:
        """Bounds of the row's metric on a split, or of its difference to row `than`; None where fewer than MIN_SEQUENCES speak."""
        place = (slice(None), self.splits.index(split), METRICS.index(metric))
        first = self.rows.index(row)
        values, seen = self._resampled[first][place], self._seen[first][place]
        if than is not None:
            other = self.rows.index(than)
            values, seen = values - self._resampled[other][place], seen & self._seen[other][place]
        if seen.sum() < MIN_SEQUENCES:
            return None
        tail = (1 - LEVEL) / 2
        low, high = np.nanquantile(values.numpy(), [tail, 1 - tail])  # nan: a draw without any sequence of the split
        return float(low), float(high)
