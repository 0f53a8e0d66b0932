"""Two finders side by side: the palm finder's hands, and those that only the trained one sees."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from tempohand.inference.box_propagation import FollowedHands
from tempohand.inference.finder import HandFinder
from tempohand.inference.palm_finder import PalmFinder
from tempohand.inference.palm_following import FollowedPalms
from tempohand.inference.palms_and_finder import LEAST_SCORE, PalmsAndFinder
from tempohand.inference.predict_files import _boxes
from tempohand.inference.predictor import Look
from tempohand.inference.runtime import open_runtime
from tempohand.inference.settings import PredictSettings
from tempohand.inference.source import SourceFrame, open_source
from tempohand.inference.tracker import Detection

FRAME = SourceFrame(3, 0.1, np.zeros((200, 300, 3), np.uint8), "")
FIRST = np.array([10.0, 10.0, 60.0, 60.0])  # the palm finder's hand
APART = np.array([100.0, 100.0, 150.0, 140.0])


class Closer:
    """Sees what it was told to in a box, and how surely."""

    def __init__(self, **seen):
        self.seen, self.asked = seen, []

    def look_twice(self, hand):
        assert hand.image is FRAME.image
        self.asked.append(tuple(hand.box))
        certainty, box = self.seen[str(hand.box[0])]
        return Look(1.0, certainty), hand.box if box is None else box


def finder(palms, trained, closer=None, max_hands=8):
    one = PalmsAndFinder.__new__(PalmsAndFinder)
    one.palms = SimpleNamespace(
        max_hands=max_hands, detect=lambda frame: [Detection(box, True) for box in palms]
    )
    one.finder = SimpleNamespace(find=lambda image: trained)
    one.closer = closer
    return one


def boxes(found):
    return [tuple(one.box) for one in found.detect(FRAME)]


def test_palms_come_first_and_others_behind_them_without_a_side():
    both = finder([FIRST], [(APART, 0.6)], Closer(**{"100.0": (0.4, None)}))
    assert boxes(both) == [tuple(FIRST), tuple(APART)]
    assert [one.is_right for one in both.detect(FRAME)] == [True, None]


def test_a_known_hand_is_not_looked_at():
    closer = Closer()
    assert boxes(finder([FIRST], [(FIRST + 4, 0.9)], closer)) == [tuple(FIRST)]
    assert not closer.asked


def test_a_known_hand_that_is_seen_from_elsewhere_is_no_new_one():
    """A box between two hands: from near, one of them is seen."""
    both = finder([FIRST], [(FIRST + 25, 0.9)], Closer(**{"35.0": (0.4, FIRST + 3)}))
    assert boxes(both) == [tuple(FIRST)]
    assert len(boxes(finder([FIRST], [(FIRST + 25, 0.9)], Closer(**{"35.0": (0.4, FIRST + 40)})))) == 2


def test_boxes_of_the_trained_finder_are_new_to_each_other():
    seen = Closer(**{"100.0": (0.4, None), "103.0": (0.4, None)})
    assert boxes(finder([], [(APART, 0.6), (APART + 3, 0.5)], seen)) == [tuple(APART)]


@pytest.mark.parametrize(
    ("score", "certainty", "taken"),
    [(0.5, 0.4, True), (0.5, 0.2, False), (0.2, 0.4, False), (0.3, 0.45, True)],
)
def test_score_and_certainty_decide_together(score, certainty, taken):
    both = finder([], [(APART, score)], Closer(**{"100.0": (certainty, None)}))
    assert (len(boxes(both)) == 1) == taken


def test_no_more_than_was_asked_for():
    seen = Closer(**{"100.0": (0.4, None)})
    assert boxes(finder([FIRST], [(APART, 0.6)], seen, max_hands=1)) == [tuple(FIRST)]
    assert not seen.asked


@pytest.mark.parametrize(
    ("independent", "name", "kind"),
    [
        (True, None, PalmsAndFinder),
        (True, "palms", PalmFinder),
        (True, "tempohand-finder", HandFinder),
        (True, "palms+tempohand-finder", PalmsAndFinder),
        (False, None, FollowedPalms),
        (False, "palms", FollowedPalms),
        (False, "palms+tempohand-finder", FollowedHands),
    ],
)
def test_what_finds_by_default_and_by_name(tmp_path, independent, name, kind):
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), FRAME.image)
    source = open_source(tmp_path, None if independent else 30.0)
    settings = PredictSettings(tmp_path, finder=name, max_hands=3, device="cpu")
    found = _boxes(settings, source, open_runtime("torch"))
    assert type(found) is kind
    if kind is PalmsAndFinder:
        assert (found.palms.max_hands, found.finder.max_hands, found.finder.threshold) == (3, 3, LEAST_SCORE)
        assert found.verified
