"""The order in which training sees the rows of its table.

Position p (0, 1, 2, ...) of training has its row by an own permutation of each epoch, whatever the number of
processes and workers.
"""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass
class TrainingOrder:
    """Batches of (position, row) for one process, from optimizer micro-step `start` on, without end.

    Global micro-batch k holds positions [k * P * B, (k + 1) * P * B); process r of P takes its r-th part. An
    epoch has as many positions as there are rows. frequency: how often each row comes in it on average (their
    sum is the number of rows); None: each once.
    """

    rows: Int[np.ndarray, "n"]
    batch_size: int
    _: KW_ONLY
    frequency: Float[np.ndarray, "n"] | None = None
    rank: int = 0
    world: int = 1
    seed: int = 0
    start: int = 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch = -1
        order = self.rows
        step = self.start
        while True:
            first = (step * self.world + self.rank) * self.batch_size
            batch = []
            for position in range(first, first + self.batch_size):
                if position // len(self.rows) != epoch:
                    epoch = position // len(self.rows)
                    order = np.random.default_rng([self.seed, epoch]).permutation(self._drawn(epoch))
                batch.append((position, int(order[position % len(self.rows)])))
            yield batch
            step += 1

    def _drawn(self, epoch: int) -> Int[np.ndarray, "n"]:
        """An epoch's rows: each comes the whole number of times below or above its frequency (systematic
        sampling, Madow 1949, in a drawn order)."""
        if self.frequency is None:
            return self.rows
        rng = np.random.default_rng([self.seed, epoch, 1])
        order = rng.permutation(len(self.rows))
        upto = np.cumsum(self.frequency[order])
        upto *= len(self.rows) / upto[-1]
        times = np.diff(np.floor(upto + rng.random()), prepend=0).astype(int)
        times[0] += len(self.rows) - times.sum()  # rounding at the ends
        return np.repeat(self.rows[order], np.maximum(times, 0))
