"""Following hands by their own predictions: the next frame's box is where the network saw the hand in this
one."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from tempohand.boxes import SAME_HAND_IOU, centre_inside, clip_box, intersection_over_union, same_hand
from tempohand.inference.predictor import HandEstimate
from tempohand.inference.resolution import rescale, scale_between
from tempohand.inference.source import Source, SourceFrame
from tempohand.inference.tracker import Detection


class FollowedHands:
    """A source of boxes that has its finder (anything with HandFinder's `detect`) look at every `every`-th
    frame, and at those before which no hand is known; between them hands are followed.

    Where it looks, a known hand that it sees too keeps being followed (and hears its side), one that it does
    not see is let go, and others are new; pairs are those that overlap most, all in all, as the picture shows
    them. A found box that overlaps several known hands comes without a number: the tracker, which knows
    motion and sides, decides whose it is. A hand is let go, too, when its prediction overlaps the box that it
    was made from by less than SAME_HAND_IOU: a network that is lost would else lead its own boxes astray.
    `follow` gets the estimates of every frame before `detect` gets the next frame: the object is of one
    input, and not for several threads. Use as a context manager. Raises ValueError for every < 1.
    """

    def __init__(self, finder, every: int):
        if every < 1:
            raise ValueError(f"`every` is at least 1 frame, not {every}")
        self.finder, self.every = finder, every
        self.verified: bool = finder.verified
        self.known: list[Detection] = []
        self.size: tuple[int, int] | None = None  # of the picture that they are in
        self.since = 0  # frames since it looked

    @property
    def looks(self) -> bool:
        """Whether the finder looks at the next frame (of the same size)."""
        return not self.known or self.since + 1 >= self.every

    @property
    def state(self) -> tuple:
        """What it knows of the frames so far, with what was said of them."""
        return self.known, self.size, self.since

    @state.setter
    def state(self, state: tuple) -> None:
        self.known, self.size, self.since = state

    def __enter__(self) -> "FollowedHands":
        return self

    def __exit__(self, kind, error, trace) -> None:
        """Nothing to let go of."""

    def check(self, source: Source) -> None:
        """Raises ValueError where the finder cannot take the input."""
        self.finder.check(source)

    def detect(self, frame: SourceFrame) -> list[Detection]:
        """The hands of a frame."""
        self._resize(frame.size)
        if not self.looks:
            self.since += 1
            return self.known
        self.since, found = 0, self.finder.detect(frame)
        if not (self.known and found):
            return found
        known = _stacked(self.known)[:, None]
        new = _stacked(found)[None]
        same = same_hand(known, new, frame.size).numpy()
        iou = intersection_over_union(clip_box(known, frame.size), clip_box(new, frame.size))
        share = iou.nan_to_num().numpy() * same
        for row, column in zip(*linear_sum_assignment(share, maximize=True)):
            if same[row, column] and same[:, column].sum() == 1:
                followed = self.known[row]
                found[column] = replace(found[column], box=followed.box, hand=followed.hand)
        return found

    def follow(self, estimates: list[HandEstimate]) -> None:
        """What the network said of the frame's hands. Those whose middle has left the picture are let go."""
        self.known = []
        for one in estimates:
            box = np.concatenate([one.joints2d.min(axis=0), one.joints2d.max(axis=0)]).astype(np.float64)
            seen, cropped = torch.from_numpy(box), torch.from_numpy(np.asarray(one.box, np.float64))
            if centre_inside(box, one.image_size) and intersection_over_union(seen, cropped) > SAME_HAND_IOU:
                self.known.append(Detection(box, hand=one.hand))
            self.size = one.image_size

    def _resize(self, size: tuple[int, int]) -> None:
        """Known boxes in a picture of another size: scaled with the same view, let go in another
        (resolution.py)."""
        if self.known and self.size not in (None, size):
            scale = scale_between(self.size, size)
            self.known = (
                []
                if scale is None
                else [Detection(rescale(one.box, scale), hand=one.hand) for one in self.known]
            )


def _stacked(detections: list[Detection]) -> Float[Tensor, "n 4"]:
    return torch.from_numpy(np.stack([np.asarray(one.box, np.float64) for one in detections]))
