"""Following hands by their own predictions: the next frame's box is where the network saw the hand in this one."""

import numpy as np
import torch
from jaxtyping import Float

from tempohand.evaluation.detections import OVERLAP, overlap
from tempohand.inference.predictor import HandEstimate
from tempohand.inference.source import Frame, Source
from tempohand.inference.tracker import Detection


class FollowedHands:
    """A source of boxes that has its finder (anything with HandFinder's `detect`) look at every `every`-th frame, and at those before which
    no hand is known; between them hands are followed.

    Where it looks, a known hand that it sees too keeps being followed (and hears its side), one that it does not see is let go, and others
    are new. A hand is let go, too, when its prediction overlaps the box that it was made from by less than OVERLAP: a network that is lost
    would else lead its own boxes astray. `follow` is told the estimates of every frame before the next one is looked at. Use as a context
    manager. Raises ValueError for every < 1.
    """

    def __init__(self, finder, every: int):
        if every < 1:
            raise ValueError(f"--look-every is at least 1 frame, not {every}")
        self.finder, self.every = finder, every
        self.known: list[Detection] = []
        self.since = 0  # frames since it looked

    def __enter__(self) -> "FollowedHands":
        return self

    def __exit__(self, kind, error, trace) -> None:
        """Nothing to let go of."""

    def check(self, source: Source) -> None:
        """Raises ValueError where the finder cannot take the input."""
        self.finder.check(source)

    def detect(self, frame: Frame) -> list[Detection]:
        """The hands of a frame."""
        self.since += 1
        if self.known and self.since < self.every:
            return self.known
        self.since, found = 0, self.finder.detect(frame)
        return [self._recognised(one) for one in found]

    def follow(self, estimates: list[HandEstimate]) -> None:
        """What the network said of the frame's hands. Those whose middle has left the picture are let go."""
        self.known = []
        for one in estimates:
            box = np.concatenate([one.joints2d.min(axis=0), one.joints2d.max(axis=0)]).astype(np.float64)
            middle = (box[:2] + box[2:]) / 2
            inside = (middle >= 0).all() and (middle <= np.array(one.image_size) - 1).all()
            if inside and _same(box, one.box):
                self.known.append(Detection(box, hand=one.hand))

    def _recognised(self, found: Detection) -> Detection:
        """The known hand that a found one is, with its side, and no longer to be had; else the found one."""
        for known in self.known:
            if _same(known.box, found.box):
                self.known = [other for other in self.known if other is not known]  # arrays have no one answer to ==
                return Detection(known.box, found.is_right, known.hand)
        return found


def _same(first: Float[np.ndarray, "4"], second: Float[np.ndarray, "4"]) -> bool:
    return bool(overlap(*(torch.from_numpy(np.asarray(box, np.float64)) for box in (first, second))) > OVERLAP)
