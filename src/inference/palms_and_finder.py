"""Hands in single pictures by two finders: MediaPipe's networks, and a trained finder beside them, which has
learnt from drawn hands what people seldom show."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from tempohand.boxes import same_hand
from tempohand.inference.finder import HandFinder
from tempohand.inference.palm_finder import PalmFinder
from tempohand.inference.predictor import HandInput, StreamingPredictor
from tempohand.inference.source import Source, SourceFrame
from tempohand.inference.tracker import Detection
from tempohand.inference.verification import CloserLook

LEAST_SCORE = 0.2  # of the trained finder's boxes that are looked at
# log odds of the box's score, and twice those of the certainty of two looks: below it there is no hand
# (docs/benchmarks.md, "Finding hands")
LEAST_ODDS = -2.0


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
        for box, score in self.finder.find(frame.image):
            if len(found) >= self.palms.max_hands:
                break
            if _known(box, found, frame.size):
                continue
            look, seen = self.closer.look_twice(HandInput(image=frame.image, box=box, time=frame.time))
            sure = _log_odds(score) + 2 * _log_odds(look.certainty) >= LEAST_ODDS
            if sure and not _known(seen, found, frame.size):
                found.append(Detection(box))
        return found


def _known(box: Float[np.ndarray, "4"], found: list[Detection], size: tuple[int, int]) -> bool:
    """Whether the box shows a hand that was found."""
    boxes = [torch.from_numpy(np.asarray(one.box, np.float64)) for one in found]
    return bool(boxes) and bool(same_hand(torch.from_numpy(box), torch.stack(boxes), size).any())


def _log_odds(probability: float) -> float:
    """Bounded, so that no number decides alone."""
    bounded = min(max(probability, 1e-3), 1 - 1e-3)
    return float(np.log(bounded / (1 - bounded)))
