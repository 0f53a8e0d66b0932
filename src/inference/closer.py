"""A closer look at boxes of which little is known: whether a found one holds a hand at all, and which side a hand is where nobody said so."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from tempohand.inference.predictor import HandInput, Look

LEAST_CERTAINTY = 0.22  # below it a found box is no hand: faces are found, too, and the network sees no joints there (docs/log.md)
MOST_A_LOOK = 3.0  # log odds that one look adds at most: neighbouring frames repeat each other's mistakes
MOST = 15.0  # log odds in all, so that later looks can turn an early mistake round; and frames from one look to the next at most


@dataclass
class _Hand:
    odds: float = 0.0
    rest: int = 0  # frames until the next look


class CloserLook:
    """Adds up what the network says of a hand's side, frame by frame; the surer it is, the more frames pass until it looks again.

    look: StreamingPredictor's, two passes of the spatial network. Causal: a frame's answer never depends on later ones.
    """

    def __init__(self, look: Callable[[HandInput], Look]):
        self.look = look
        self._hands: dict[int, _Hand] = defaultdict(_Hand)

    def is_right(self, hand: HandInput, found: bool = False) -> bool | None:
        """Whether the hand is a right one; `hand.starts` forgets what was known of its number. None for a found one that starts and is none:
        later frames are not asked, since a hand that is followed stays one while it is hidden. Raises what `look` raises."""
        if hand.starts:
            self._hands.pop(hand.hand, None)
        known = self._hands[hand.hand]
        if known.rest > 0:
            known.rest -= 1
        else:
            said = self.look(hand)
            if found and hand.starts and said.certainty < LEAST_CERTAINTY:
                return None
            known.odds = _within(known.odds + _within(said.right_logit, MOST_A_LOOK), MOST)
            known.rest = int(abs(known.odds))
        return known.odds >= 0


def _within(value: float, most: float) -> float:
    return min(max(value, -most), most)
