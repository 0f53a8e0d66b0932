"""Hand boxes by the project's own hand finder (model/finder.py), which comes as a checkpoint and needs
nothing else."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from tempohand import geometry
from tempohand.batch import BoxPrediction
from tempohand.boxes import centre_inside, suppress
from tempohand.data.view import View
from tempohand.evaluation.detections import SHOWN, find_peaks
from tempohand.inference.source import Source, SourceFrame
from tempohand.inference.tracker import Detection

SHARED = 1 / 3  # of a tile's edge that it shares at least with its neighbour: smaller hands lie wholly in one


class HandFinder:
    """A trained FinderNet as a source of boxes: bounds of 21 joints, in every frame by itself. Sides are left
    to who sees the hand from near (inference/verification.py): among a whole picture's pixels they are a
    guess.

    network: `model.registry.load_network(..., BoxPrediction)`'s. tiles: 1 for the whole picture alone, n for
    squares of 1/n of its longer edge besides, in which smaller hands are found. max_hands: the best so many
    of a frame. Use as a context manager. Raises ValueError for numbers below 1.
    """

    verified = False  # some of its boxes hold no hand

    def __init__(
        self,
        network: Any,
        *,
        device: str | torch.device = "cpu",
        tiles: int = 1,
        max_hands: int,
        threshold: float = SHOWN,
    ):
        if tiles < 1:
            raise ValueError(f"`tiles` is at least 1 (the whole picture), not {tiles}")
        if max_hands < 1:
            raise ValueError(f"`max_hands` is at least 1, not {max_hands}")
        self.network, self.device = network.to(device).eval(), torch.device(device)
        self.tiles = tiles
        self.max_hands = max_hands
        self.threshold = threshold
        self.view = View(network.crop.size, 1.0)  # the square around a region

    @classmethod
    def load(cls, checkpoint: str | Path, **options) -> "HandFinder":
        """From a checkpoint directory. Raises FileNotFoundError or ValueError, also where another kind of
        network is in it."""
        from tempohand.model.registry import load_network  # slow, and only needed here

        return cls(load_network(checkpoint, BoxPrediction), **options)

    def __enter__(self) -> "HandFinder":
        return self

    def __exit__(self, kind, error, trace) -> None:
        """Nothing to let go of."""

    def check(self, source: Source) -> None:
        """Nothing to hold against the input."""

    def detect(self, frame: SourceFrame) -> list[Detection]:
        """The hands of a frame, the surest first; those whose box's centre lies outside the picture are left
        out."""
        return [Detection(box) for box, _ in self.find(frame.image)]

    @torch.inference_mode()
    def find(self, image: UInt8[np.ndarray, "h w 3"]) -> list[tuple[Float[np.ndarray, "4"], float]]:
        """The boxes in an RGB picture (xyxy, px), each with its score: those of `detect`."""
        size = image.shape[1], image.shape[0]
        looked_at = regions(size, self.tiles)
        count, any_camera = len(looked_at), torch.ones(len(looked_at), 2)
        crops = self.view.crop([image] * count, any_camera, any_camera, looked_at, True)[0]
        prediction = self.network.find(crops.to(self.device))
        # To the CPU in one copy, of a few numbers a cell: to pick peaks on the device is to wait for it again
        # and again.
        cells = torch.cat([prediction.logits, prediction.box], dim=2).cpu()
        peaks = find_peaks(BoxPrediction(*cells.split([2, 4], dim=2)), self.threshold)
        boxes = to_picture(peaks.box.double(), looked_at[peaks.picture], self.view.size)
        inside = torch.as_tensor(centre_inside(boxes, size))
        boxes, score = boxes[inside], peaks.score[inside]
        best = suppress(boxes, score, size)[: self.max_hands]
        return [(boxes[k].numpy(), float(score[k])) for k in best]


def regions(size: tuple[int, int], tiles: int) -> Float[Tensor, "n 4"]:
    """What is looked at of a picture of `size` (W, H), xyxy px to the pixels' outer edges: all of it, and
    with tiles > 1 squares of 1 / tiles of its longer edge, evenly spread so that neighbours share at least
    SHARED of an edge."""
    whole = [[-0.5, -0.5, size[0] - 0.5, size[1] - 0.5]]
    if tiles == 1:
        return torch.tensor(whole, dtype=torch.float64)
    side = max(size) / tiles
    counts = [max(int(np.ceil((edge - side) / (side * (1 - SHARED)))), 0) + 1 for edge in size]
    starts = [
        np.linspace(0, edge - side, count) if count > 1 else [(edge - side) / 2]
        for edge, count in zip(size, counts)
    ]
    corners = [(x - 0.5, y - 0.5) for y in starts[1] for x in starts[0]]
    return torch.tensor(whole + [[x, y, x + side, y + side] for x, y in corners], dtype=torch.float64)


def to_picture(
    boxes: Float[Tensor, "n 4"], region: Float[Tensor, "n 4"], size: tuple[int, int]
) -> Float[Tensor, "n 4"]:
    """Boxes (xyxy, [-0.5, 0.5]) in the crops of `size` (height, width) px around regions of a picture, in the
    picture's pixels."""
    corners = geometry.denormalise_pixels(rearrange(boxes, "n (corner c) -> n corner c", c=2), size[::-1])
    return rearrange(
        geometry.apply_homography(_crop(region, size).inverse(), corners), "n corner c -> n (corner c)"
    )


def to_crop(
    boxes: Float[Tensor, "n 4"], region: Float[Tensor, "n 4"], size: tuple[int, int]
) -> Float[Tensor, "n 4"]:
    """The inverse of `to_picture`."""
    corners = geometry.apply_homography(
        _crop(region, size), rearrange(boxes, "n (corner c) -> n corner c", c=2)
    )
    return rearrange(geometry.normalise_pixels(corners, size[::-1]), "n corner c -> n (corner c)")


def _crop(region: Float[Tensor, "n 4"], size: tuple[int, int]) -> Float[Tensor, "n 3 3"]:
    return geometry.crop_homography(*geometry.box_to_square(region, 1.0), *size)
