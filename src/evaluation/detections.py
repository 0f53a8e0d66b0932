"""From what a hand finder says of cells to boxes: peaks, overlap, and who gives way to whom."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tempohand.batch import BoxPrediction

OVERLAP = 0.5  # two boxes that overlap by more are of one hand,
CONTAINED = 0.8  # and so are two of which one holds more than this share of the other
SHOWN = (
    0.3  # score from which on a box is shown: docs/log.md has what lower and higher ones find, and imagine
)


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


def overlap(first: Float[Tensor, "*#batch 4"], second: Float[Tensor, "*#batch 4"]) -> Float[Tensor, "*batch"]:
    """Intersection over union of boxes xyxy."""
    common, areas = _common(first, second)
    return common / (areas[0] + areas[1] - common)


def same_hand(
    first: Float[Tensor, "*#batch 4"], second: Float[Tensor, "*#batch 4"], size: tuple[int, int]
) -> Bool[Tensor, "*batch"]:
    """Whether boxes xyxy, px of a picture of `size` (W, H), are of one hand: what the picture shows of them
    overlaps by more than OVERLAP, or the larger holds more than CONTAINED of the smaller. Of a hand that the
    border cuts off one box may be bounds of all of it, and another of what is seen, or of a part."""
    first, second = (clip_box(box, size) for box in (first, second))
    common, areas = _common(first, second)
    smaller = torch.minimum(*areas).clamp_min(torch.finfo(common.dtype).tiny)
    return (overlap(first, second) > OVERLAP) | (common / smaller > CONTAINED)


def clip_box(box: Float[Tensor, "*batch 4"], size: tuple[int, int]) -> Float[Tensor, "*batch 4"]:
    """The part of boxes xyxy, px, that lies in a picture of `size` (W, H), to its pixels' outer edges."""
    edges = box.new_tensor([*size, *size]) - 0.5
    return torch.minimum(box.clamp_min(-0.5), edges)


def _common(first: Tensor, second: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The area of boxes' intersection, and their own."""
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    areas = [(box[..., 2:] - box[..., :2]).prod(dim=-1) for box in (first, second)]
    return (high - low).clamp_min(0).prod(dim=-1), areas


def suppress(box: Float[Tensor, "n 4"], score: Float[Tensor, "n"], size: tuple[int, int]) -> list[int]:
    """Places of the boxes (px of a picture of `size`) that are not the same hand as a better one, the best
    first: non-maximum suppression, whatever the side."""
    kept: list[int] = []
    same = same_hand(rearrange(box, "n c -> n 1 c"), rearrange(box, "n c -> 1 n c"), size)
    for place in score.argsort(descending=True, stable=True).tolist():
        if not same[place, kept].any():
            kept.append(place)
    return kept
