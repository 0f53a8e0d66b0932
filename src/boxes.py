"""Boxes (xyxy): areas, intersection over union, and which boxes show one hand. Any batch dimensions.

The functions compare boxes pair by pair and broadcast, which torchvision.ops.box_iou (every box with every
other) does not; tests hold them against it. Non-maximum suppression here is by `same_hand`, for which
torchvision.ops.nms has no place; besides, its operator is missing where `compat.py` repairs the installation.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

SAME_HAND_IOU = 0.5  # two boxes whose intersection over union is more show one hand,
SAME_HAND_SHARE = 0.8  # and so do two of which one covers more than this share of the other's area


def area(box: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch"]:
    """Width times height."""
    return (box[..., 2:] - box[..., :2]).prod(dim=-1)


def intersection(
    first: Float[Tensor, "*#batch 4"], second: Float[Tensor, "*#batch 4"]
) -> Float[Tensor, "*batch"]:
    """The area that two boxes have in common, 0 where they do not meet."""
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    return (high - low).clamp_min(0).prod(dim=-1)


def intersection_over_union(
    first: Float[Tensor, "*#batch 4"], second: Float[Tensor, "*#batch 4"]
) -> Float[Tensor, "*batch"]:
    """Intersection over union, in [0, 1]; nan for two boxes without area."""
    common = intersection(first, second)
    return common / (area(first) + area(second) - common)


def clip_box(box: Float[Tensor, "*batch 4"], size: tuple[int, int]) -> Float[Tensor, "*batch 4"]:
    """The part of boxes, px, that lies in a picture of `size` (W, H), to its pixels' outer edges."""
    edges = box.new_tensor([*size, *size]) - 0.5
    return torch.minimum(box.clamp_min(-0.5), edges)


def centre_inside(
    box: Float[Tensor | np.ndarray, "*batch 4"], size: tuple[int, int]
) -> Bool[Tensor | np.ndarray, "*batch"] | np.bool_:
    """Whether the centre of boxes, px, lies on the pixels of a picture of `size` (W, H)."""
    centre = (box[..., :2] + box[..., 2:]) / 2
    x, y = centre[..., 0], centre[..., 1]
    width, height = size
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def same_hand(
    first: Float[Tensor, "*#batch 4"], second: Float[Tensor, "*#batch 4"], size: tuple[int, int]
) -> Bool[Tensor, "*batch"]:
    """Whether boxes, px of a picture of `size` (W, H), are of one hand: the intersection over union of their
    parts in the picture is more than SAME_HAND_IOU, or the larger covers more than SAME_HAND_SHARE of the
    smaller. Where the border cuts a hand off, one box may bound all of it and another what is seen of it."""
    first = clip_box(first, size)
    second = clip_box(second, size)
    smaller = torch.minimum(area(first), area(second)).clamp_min(torch.finfo(first.dtype).tiny)
    covered = intersection(first, second) / smaller
    return (intersection_over_union(first, second) > SAME_HAND_IOU) | (covered > SAME_HAND_SHARE)


def suppress(box: Float[Tensor, "n 4"], score: Float[Tensor, "n"], size: tuple[int, int]) -> list[int]:
    """Non-maximum suppression: indices of the boxes (px of a picture of `size`) that do not show the same
    hand as one of higher score, the highest score first."""
    order = score.argsort(descending=True, stable=True)
    box = box[order]
    return order[first_of_each(same_hand(box[:, None], box[None], size))].tolist()


def first_of_each(same: Bool[Tensor, "n n"]) -> list[int]:
    """Indices of what is not the same as an earlier one that is kept."""
    kept: list[int] = []
    for index, same_as in enumerate(same):
        if not same_as[kept].any():
            kept.append(index)
    return kept
