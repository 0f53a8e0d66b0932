"""Hands in single pictures by two finders: MediaPipe's networks, and a trained finder beside them, which has
learnt from drawn hands what people seldom show."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy.special import expit, logit

from tempohand.boxes import same_hand
from tempohand.inference.finder import HandFinder
from tempohand.inference.palm_finder import PalmFinder
from tempohand.inference.predictor import HandInput, StreamingPredictor
from tempohand.inference.source import Source, SourceFrame
from tempohand.inference.tracker import Detection
from tempohand.inference.verification import CloserLook

LEAST_SCORE = 0.2  # of the trained finder's boxes that are looked at
# log odds of the box's score, and twice those of the certainty of two looks: below it there is no hand
# (docs/log.md, "A finder on the palm detector's maps")
LEAST_ODDS = -1.3
TAKEN = 0.5  # what a box has at these odds
LEAST = 1e-3  # of either number, so that none decides alone


class PalmsAndFinder:
    """The palm finder's hands, and after them those that only a trained finder sees, as a source of boxes:
    bounds of 21 joints.

    A box of the trained finder is looked at twice from near, as the closer look does (verification.py): its
    score and the certainty of what is seen there say together whether it is a hand, and it is a hand of its
    own where neither the box nor what is seen there shows one that is known. Each picture by itself; has no
    state. palms: whose max_hands holds for both. finder: with a threshold of LEAST_SCORE. network: the
    package's own, `model.registry.load_network(NETWORK)`'s. Use as a context manager.
    """

    verified = True  # its boxes hold hands

    def __init__(
        self, palms: PalmFinder, finder: HandFinder, network: Any, device: str | torch.device = "cpu"
    ):
        self.palms, self.finder = palms, finder
        self.closer = CloserLook.of(StreamingPredictor(network, device=device))

    def __enter__(self) -> "PalmsAndFinder":
        return self

    def __exit__(self, kind, error, trace) -> None:
        """Nothing to let go of."""

    def check(self, source: Source) -> None:
        """Nothing to hold against the input."""

    def detect(self, frame: SourceFrame) -> list[Detection]:
        """The hands of a frame: the palm finder's, and the trained one's, each the surest first."""
        found = self.palms.detect(frame)
        others = self.others(frame.image, [one.box for one in found])
        new = (Detection(box) for box, probability in others if probability >= TAKEN)
        return [*found, *islice(new, self.palms.max_hands - len(found))]

    def others(
        self, image: UInt8[np.ndarray, "h w 3"], known: list[Float[np.ndarray, "4"]]
    ) -> Iterator[tuple[Float[np.ndarray, "4"], float]]:
        """The trained finder's boxes in an RGB picture (xyxy, px) that show none of the known ones' hands,
        each with a number that is TAKEN or more where it is one."""
        known, size = list(known), (image.shape[1], image.shape[0])
        for box, score in self.finder.find(image):
            if _shows(box, known, size):
                continue
            look, seen = self.closer.look_twice(HandInput(image=image, box=box, time=0.0))
            if _shows(seen, known, size):
                continue
            odds = logit(np.clip([score, look.certainty], LEAST, 1 - LEAST))
            probability = float(expit(odds[0] + 2 * odds[1] - LEAST_ODDS))
            if probability >= TAKEN:
                known.append(box)
            yield box, probability


def _shows(box: Float[np.ndarray, "4"], known: list[Float[np.ndarray, "4"]], size: tuple[int, int]) -> bool:
    """Whether the box shows the hand of a known one."""
    boxes = torch.from_numpy(np.array(known, np.float64).reshape(-1, 4))
    return bool(same_hand(torch.from_numpy(np.asarray(box, np.float64)), boxes, size).any())
