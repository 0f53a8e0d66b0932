"""Which side a hand is, by the network's own look at it, where nobody said so."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from tempohand.inference.predictor import HandInput

MOST_A_LOOK = 3.0  # log odds that one look adds at most: neighbouring frames repeat each other's mistakes
MOST = 15.0  # log odds in all, so that later looks can turn an early mistake round; and frames from one look to the next at most


@dataclass
class _Hand:
    odds: float = 0.0
    rest: int = 0  # frames until the next look


class SideReader:
    """Adds up what the network says of a hand's side, frame by frame; the surer it is, the more frames pass until it looks again.

    right_logit: StreamingPredictor's, two passes of the spatial network a look. Causal: a frame's answer never depends on later ones.
    """

    def __init__(self, right_logit: Callable[[HandInput], float]):
        self.right_logit = right_logit
        self._hands: dict[int, _Hand] = defaultdict(_Hand)

    def is_right(self, hand: HandInput) -> bool:
        """Whether the hand is a right one; `hand.starts` forgets what was known of its number. Raises what `right_logit` raises."""
        if hand.starts:
            self._hands.pop(hand.hand, None)
        known = self._hands[hand.hand]
        if known.rest > 0:
            known.rest -= 1
        else:
            said = self.right_logit(hand)
            known.odds = _within(known.odds + _within(said, MOST_A_LOOK), MOST)
            known.rest = int(abs(known.odds))
        return known.odds >= 0


def _within(value: float, most: float) -> float:
    return min(max(value, -most), most)
