"""From a hand finder's prediction for each cell to boxes: the peaks of the scores."""

from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tempohand.batch import BoxPrediction

# score from which on a box is shown: docs/log.md has what lower and higher ones find, and imagine
SHOWN = 0.3


class Peaks(NamedTuple):
    """N boxes (xyxy, [-0.5, 0.5] inside the picture), each with the place of its picture in the batch."""

    picture: Int[Tensor, "n"]
    box: Float[Tensor, "n 4"]
    score: Float[Tensor, "n"]
    is_right: Bool[Tensor, "n"]


def find_peaks(
    prediction: BoxPrediction, threshold: float, known: Bool[Tensor, "b 1 2 g g"] | None = None
) -> Peaks:
    """The cells whose score is above `threshold` and the highest among their 3 x 3 neighbours ("Objects as
    Points", Zhou et al. 2019). `known`: as for `hand_scores`."""
    score, is_right = hand_scores(prediction, known)
    highest = (score == F.max_pool2d(score, 3, stride=1, padding=1)) & (score > threshold)
    picture, row, column = highest.nonzero().unbind(-1)
    place = (picture, row, column)
    return Peaks(picture, prediction.box[picture, 0, :, row, column], score[place], is_right[place])


def hand_scores(
    prediction: BoxPrediction, known: Bool[Tensor, "b 1 2 g g"] | None = None
) -> tuple[Float[Tensor, "b g g"], Bool[Tensor, "b g g"]]:
    """The probability of each cell to hold the centre of a hand of either side, which are predicted each by
    itself, and whether of a right one rather: a small picture may show that there is a hand and not which.
    `known`: other cells and sides count as empty."""
    sides = prediction.logits[:, 0].sigmoid()
    sides = sides if known is None else sides.masked_fill(~known[:, 0], 0.0)
    return 1 - (1 - sides).prod(dim=1), sides[:, 0] >= sides[:, 1]
