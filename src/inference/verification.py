"""A closer look at boxes of which little is known: whether a found one holds a hand at all, and of which side
a hand is where neither the user nor the detector gives it."""

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from tempohand.boxes import centre_inside, same_hand
from tempohand.inference.predictor import HandInput, Look, StreamingPredictor

LEAST_CERTAINTY = 0.21  # of two looks: below it a found box is no hand (docs/log.md)
MOST_A_LOOK = 3.0  # log odds that one look adds at most: neighbouring frames repeat each other's mistakes
# log odds in all, so that later looks can correct an early mistake; also the most frames between two looks
MOST = 15.0


@dataclass
class _Hand:
    odds: float = 0.0
    wait: int = 0  # frames until the next look
    begins: int | None = None  # frame in which it was found ...
    bounds: Float[np.ndarray, "4"] | None = None  # ... and where it was seen there


class CloserLook:
    """Adds up what the network says of a hand's side, frame by frame; the surer it is, the more frames pass
    until it looks again.

    look: StreamingPredictor's, two passes of the spatial network. see: the joints that it sees in a box, px
    of the picture, whatever was before. Causal: a frame's answer never depends on later ones.
    """

    def __init__(
        self, look: Callable[[HandInput], Look], see: Callable[[HandInput], Float[np.ndarray, "21 2"]]
    ):
        self.look, self.see = look, see
        self._hands: dict[int, _Hand] = defaultdict(_Hand)

    @classmethod
    def of(cls, predictor: StreamingPredictor) -> "CloserLook":
        """With a predictor's network; its histories have no part in it."""
        alone = StreamingPredictor(predictor.network, device=predictor.device)

        def see(hand: HandInput) -> Float[np.ndarray, "21 2"]:
            alone.reset()
            return alone.push_all([hand])[0].joints2d

        return cls(predictor.look, see)

    @property
    def state(self) -> dict[int, _Hand]:
        """What is known of the hands, as it is until the next call."""
        return dict(self._hands)

    @state.setter
    def state(self, state: dict[int, _Hand]) -> None:
        self._hands = defaultdict(_Hand, state)

    @property
    def odds(self) -> dict[int, float]:
        """The log odds, added up, that a hand is a right one, by its number."""
        return {hand: known.odds for hand, known in self._hands.items()}

    def ask(self, hand: HandInput) -> float:
        """The log odds that what is in the box is a right hand, by this look alone: it has no part in what is
        added up of any hand, since who is in the box is what is asked. Raises what `look` raises."""
        return _within(self.look(hand).right_logit, MOST_A_LOOK)

    def keep(self, hands: Collection[int]) -> None:
        """Forgets all hands but these."""
        for hand in self._hands.keys() - set(hands):
            del self._hands[hand]

    def look_twice(self, hand: HandInput) -> tuple[Look, Float[np.ndarray, "4"]]:
        """The side by a look at the box, with the mean certainty of that look and a second one at the bounds
        of what is seen there; the bounds, xyxy px.

        A hand is in these bounds again. In a face or an elbow the network sees a hand somewhere, and where it
        saw it there is none.
        """
        first = self.look(hand)
        joints = self.see(replace(hand, is_right=first.right_logit >= 0))
        box = np.concatenate([joints.min(axis=0), joints.max(axis=0)])
        inside = centre_inside(box, hand.image.shape[1::-1])
        second = self.look(replace(hand, box=box)).certainty if inside else 0.0
        return Look(first.right_logit, (first.certainty + second) / 2), box

    def is_right(self, hand: HandInput, found: bool = False) -> bool | None:
        """Whether the hand is a right one; `hand.starts` forgets what was known of its number. None for a
        found one that starts and is none, or one that another box of its frame was found to hold: later
        frames are not asked, since a hand that is followed stays one while it is hidden. Raises what `look`
        raises."""
        if hand.starts:
            self._hands.pop(hand.hand, None)
        known = self._hands[hand.hand]
        if known.wait > 0:
            known.wait -= 1
        else:
            if found and hand.starts:
                look, bounds = self.look_twice(hand)
                if look.certainty < LEAST_CERTAINTY or self._taken(bounds, hand):
                    del self._hands[hand.hand]
                    return None
                known.begins = hand.frame
                known.bounds = bounds
            else:
                look = self.look(hand)
            known.odds = _within(known.odds + _within(look.right_logit, MOST_A_LOOK), MOST)
            known.wait = int(abs(known.odds))
        return known.odds >= 0

    def _taken(self, bounds: Float[np.ndarray, "4"], hand: HandInput) -> bool:
        """Whether a hand that was found in this frame is the one that is seen there."""
        others = [other.bounds for other in self._hands.values() if other.begins == hand.frame]
        size = hand.image.shape[1::-1]
        return any(same_hand(torch.from_numpy(bounds), torch.from_numpy(other), size) for other in others)


def _within(value: float, most: float) -> float:
    return min(max(value, -most), most)
