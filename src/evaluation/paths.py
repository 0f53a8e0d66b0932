"""The lag of a network in the picture while it trains: the paths of the joints over those validation rows
that follow each other."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tempohand.batch import ClipBatch, HandPrediction
from tempohand.evaluation.metrics.lag import (
    FEWEST_FRAMES,
    LEAST_MOTION_2D,
    REACH,
    along_picture,
    lag,
    lag_curves,
)
from tempohand.evaluation.sums import Gather
from tempohand.geometry import normalise_pixels, over_square


class Paths:
    """Collects predicted and true joints in the picture. sequence (its number), time (s): columns of the
    validation table."""

    def __init__(self, sequence: Int[np.ndarray, "rows"], time: Float[np.ndarray, "rows"], expansion: float):
        self.sequence = sequence
        self.time = time
        self.expansion = expansion
        self.kept: list[dict[str, np.ndarray]] = []

    def add(self, prediction: HandPrediction, batch: ClipBatch) -> None:
        """Adds the last frames of a batch of clips."""
        size = batch.frames.size
        princpt = over_square(normalise_pixels(batch.princpt[:, -1], size[::-1]), size)
        parts = {
            "row": batch.row,
            "predicted": over_square(prediction.joints2d[:, 0].float(), size) * self.expansion,
            "true": over_square(batch.target.joints2d[:, 0], size) * self.expansion,
            "mask": batch.target.joints2d_mask[:, 0],
            "focal": batch.focal[:, -1] / batch.edge * self.expansion,
            "princpt": princpt * self.expansion,
        }
        self.kept.append({name: part.cpu().numpy() for name, part in parts.items()})

    def lag(self, gather: Gather) -> float:
        """Frames, over the rows of all processes; nan where no 2 * REACH + FEWEST_FRAMES of them follow each
        other, or no hand moves there. Call it on all processes at once."""
        pieces = [piece for part in gather(self.kept) for piece in part]
        if not pieces:
            return float("nan")
        columns = {
            name: torch.from_numpy(np.concatenate([piece[name] for piece in pieces])) for name in pieces[0]
        }
        order = columns["row"].argsort()
        columns = {name: column[order] for name, column in columns.items()}
        rows = columns.pop("row").numpy()
        borders = np.flatnonzero((np.diff(rows) != 1) | (np.diff(self.sequence[rows]) != 0)) + 1
        curves, frames = torch.zeros(2 * REACH + 1, dtype=torch.float64), 0
        for start, end in zip([0, *borders], [*borders, len(rows)]):
            if end - start >= 2 * REACH + FEWEST_FRAMES:
                part = {name: column[start:end] for name, column in columns.items()}
                curve, valid = self._curve(
                    part, torch.from_numpy(np.asarray(self.time)[rows[start:end]]).double()
                )
                curves, frames = curves + curve[valid].sum(dim=0), frames + int(valid.sum())
        return float(lag(curves / frames)) if frames else float("nan")

    @staticmethod
    def _curve(part: dict[str, Tensor], time: Float[Tensor, "n"]) -> tuple[Tensor, Tensor]:
        paths = (along_picture(part[name], part["focal"], part["princpt"]) for name in ("predicted", "true"))
        return lag_curves(*paths, part["mask"], time, LEAST_MOTION_2D)
