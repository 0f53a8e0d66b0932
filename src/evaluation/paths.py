"""The lag of a network in the picture while it trains: the paths of the joints over those validation rows
that follow each other."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tempohand.evaluation.hands import Compared
from tempohand.evaluation.metrics.lag import lag, lag_curves_2d
from tempohand.evaluation.scores import Gather


class Paths:
    """Collects predicted and true joints in the picture. sequence (its number), time (s): columns of the
    validation table."""

    def __init__(self, sequence: Int[np.ndarray, "rows"], time: Float[np.ndarray, "rows"]):
        self.sequence = sequence
        self.time = np.asarray(time, np.float64)
        self.kept: list[list[np.ndarray]] = []

    def add(self, rows: Int[Tensor, "n"], compared: Compared) -> None:
        """Adds frames, of which these are the rows in the table."""
        true = compared.true
        parts = (rows, *compared.places, true.joints2d_mask, true.focal, true.princpt)
        self.kept.append([part.cpu().numpy() for part in parts])

    def lag(self, gather: Gather) -> float:
        """Frames, over the rows of all processes; nan where too few of them follow each other, or no hand
        moves there (lag.py). Call it on all processes at once."""
        pieces = [piece for part in gather(self.kept) for piece in part]
        if not pieces:
            return float("nan")
        rows, *columns = (np.concatenate(parts) for parts in zip(*pieces))
        order = rows.argsort()
        rows = rows[order]
        columns = [*(column[order] for column in columns), self.time[rows]]
        borders = np.flatnonzero((np.diff(rows) != 1) | (np.diff(self.sequence[rows]) != 0)) + 1
        runs = torch.arange(len(rows)).tensor_split(borders.tolist())
        found = [lag_curves_2d(*(torch.from_numpy(column)[run] for column in columns)) for run in runs]
        return float(lag(torch.cat([curves[valid] for curves, valid in found]).mean(dim=0)))
