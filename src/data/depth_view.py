"""Depth and mask in a view: they go through the picture's own homography (data/view.py).

Nearest samples only: a mean across an edge would be a surface that is not there, and one with an unmeasured
pixel (0) nonsense. Beyond the picture nothing is known.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tempohand.data.view import Placement


def depth_crops(
    depths: Sequence[Float[np.ndarray, "_ _"] | None], placement: Placement, size: tuple[int, int]
) -> Float[Tensor, "t 1 k l"]:
    """The depth of a clip's frames, mm along the optical axis of the crops' own camera; 0 where it is
    unknown, as everywhere in a frame without depth (None). size: (height, width) of the crops."""
    crops = np.zeros((len(depths), 1, *size), np.float32)
    for crop, depth, matrix in zip(crops, depths, placement.homography.numpy()):
        if depth is not None:
            crop[0] = warp_depth(depth, matrix, size)
    return torch.from_numpy(crops)


def mask_crops(
    masks: Sequence[Bool[np.ndarray, "_ _"] | None], placement: Placement, size: tuple[int, int]
) -> Bool[Tensor, "t 1 k l"]:
    """Where a clip's hand is seen; nowhere in a frame without a mask (None)."""
    crops = np.zeros((len(masks), 1, *size), bool)
    for crop, mask, matrix in zip(crops, masks, placement.homography.numpy()):
        if mask is not None:
            crop[0] = _nearest(mask.astype(np.uint8), matrix, size)
    return torch.from_numpy(crops)


def warp_depth(
    depth: Float[np.ndarray, "h w"], matrix: Float[np.ndarray, "3 3"], size: tuple[int, int]
) -> Float[np.ndarray, "k l"]:
    """Depth, mm, through a homography of pixels that is made of mirror, camera rotation and crop.

    Of these the rotation alone changes depth. With K R K^-1 for it and last rows (0, 0, 1) for the others
    (geometry.py) the third coordinate of matrix @ (u, v, 1) is that of R @ K^-1 @ (u, v, 1): what the z of a
    point on that pixel's ray is multiplied by. From the crop's side it is 1 over that of the inverse.
    """
    seen = _nearest(depth, matrix, size)
    inverse = np.linalg.inv(matrix)
    if not inverse[2, :2].any():
        return seen
    rows, columns = np.ogrid[: size[0], : size[1]]
    closer = inverse[2, 0] * columns + inverse[2, 1] * rows + inverse[2, 2]
    with np.errstate(divide="ignore"):
        return np.where(closer > 0, seen / closer, 0.0).astype(np.float32)


def _nearest(values: np.ndarray, matrix: Float[np.ndarray, "3 3"], size: tuple[int, int]) -> np.ndarray:
    return cv2.warpPerspective(
        values, matrix, size[::-1], flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )
