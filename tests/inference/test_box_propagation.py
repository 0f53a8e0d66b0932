"""Following hands by their own predictions, with a finder whose answers the test decides."""

import numpy as np
import pytest

from tempohand.inference.box_propagation import FollowedHands
from tempohand.inference.camera import CameraChoice
from tempohand.inference.predict import predict_frames
from tempohand.inference.predictor import HandEstimate, StreamingPredictor
from tempohand.inference.source import SourceFrame, open_source
from tempohand.inference.tracker import Detection, Sides, Tracker

SIZE = (120, 90)


class Scripted:
    """Says of frame k what `answers` holds at k, and remembers which frames it was shown."""

    verified = False

    def __init__(self, answers):
        self.answers, self.looks = answers, []

    def detect(self, frame):
        self.looks.append(frame.index)
        return [
            Detection(np.array(box, float), is_right)
            for box, is_right in self.answers.get(frame.index, self.answers[None])
        ]


def frame(index):
    return SourceFrame(index, index / 30, np.zeros((*SIZE[::-1], 3), np.uint8), "")


def estimate(hand, box, of=None):
    low, high = np.array(box[:2], float), np.array(box[2:], float)
    joints2d, box = np.linspace(low, high, 21).astype(np.float32), np.array(of or box, np.float32)
    zeros = {
        "pose": 48,
        "shape": 10,
        "trans": 3,
        "joints": (21, 3),
        "vertices": (778, 3),
        "focal": 2,
        "princpt": 2,
    }
    values = {name: np.zeros(shape, np.float32) for name, shape in zeros.items()}
    return HandEstimate(
        frame=0,
        time=0.0,
        hand=hand,
        is_right=True,
        history=1,
        box=box,
        image_size=SIZE,
        joints2d=joints2d,
        **values,
    )


def test_between_looks_the_box_is_that_of_the_prediction():
    finder = Scripted({None: [([10, 10, 50, 50], True)]})
    follower = FollowedHands(finder, 3)
    (first,) = follower.detect(frame(0))
    assert first.hand is None and first.box.tolist() == [10, 10, 50, 50]
    for index in range(1, 7):
        follower.follow([estimate(4, [10 + index, 10, 50 + index, 50])])
        (one,) = follower.detect(frame(index))
        assert one.hand == 4 and one.box.tolist() == [10 + index, 10, 50 + index, 50]
        assert one.is_right == (True if index % 3 == 0 else None)  # the finder's word where it looked
    assert finder.looks == [0, 3, 6]


def test_a_hand_that_is_not_seen_is_let_go_and_another_is_new():
    finder = Scripted({None: [], 2: [([80, 40, 110, 70], False)]})
    follower = FollowedHands(finder, 2)
    follower.follow([estimate(0, [10, 10, 50, 50])])
    assert [one.hand for one in follower.detect(frame(1))] == [0]
    (one,) = follower.detect(frame(2))
    assert one.hand is None and one.is_right is False
    follower.follow([])
    assert follower.detect(frame(3)) == [] and finder.looks == [2, 3]  # nobody is known: it looks at once


def test_one_known_hand_answers_for_one_found():
    box = [10.0, 10, 50, 50]
    follower = FollowedHands(Scripted({None: [(box, True), ([12.0, 12, 52, 52], False)]}), 1)
    follower.follow([estimate(7, box)])
    assert [one.hand for one in follower.detect(frame(0))] == [7, None]


def test_a_hand_whose_middle_left_the_picture_is_let_go():
    follower = FollowedHands(Scripted({None: []}), 99)
    follower.follow([estimate(0, [100, 10, 150, 50]), estimate(1, [90, 10, 130, 50])])
    assert [one.hand for one in follower.known] == [1]


def test_a_network_that_is_lost_is_not_followed():
    follower, box = FollowedHands(Scripted({None: []}), 99), [10, 10, 50, 50]
    estimates = [(20, 14, 60, 54), (10, 10, 30, 30), (60, 60, 90, 90), (30, 30, 30, 30)]
    follower.follow([estimate(place, said, of=box) for place, said in enumerate(estimates)])
    assert [one.hand for one in follower.known] == [0]


def test_a_followed_hand_keeps_its_number_and_history_through_the_predictor(
    tmp_path, video_tools, fake_network
):
    moving_pictures, write_video = video_tools
    source = open_source(write_video(tmp_path / "clip.mkv", moving_pictures(8)))
    finder = Scripted({None: [([30, 20, 70, 60], True)]})
    follower, found = FollowedHands(finder, 100), []
    for _, hands in predict_frames(
        source, follower, Tracker(), CameraChoice(), StreamingPredictor(fake_network())
    ):
        found += hands
    assert len(found) == 8 and len({one.hand for one in found}) == 1 and found[-1].history > 1
    for index in range(1, 8):
        if index not in finder.looks:
            before = found[index - 1].joints2d
            np.testing.assert_allclose(found[index].box, np.r_[before.min(0), before.max(0)], rtol=1e-5)


def test_numbers_below_one_are_refused():
    with pytest.raises(ValueError, match="`every` is at least 1 frame, not 0"):
        FollowedHands(Scripted({None: []}), 0)


def hands_that_overlap(order=1):
    """A follower of two hands, whose finder sees boxes that each overlap both of them, and a tracker that
    knows them."""
    known, found = {3: [10, 10, 50, 50], 4: [24, 10, 64, 50]}, [[12, 10, 52, 50], [22, 10, 62, 50]]
    follower, tracker = FollowedHands(Scripted({None: [(box, None) for box in found[::order]]}), 1), Tracker()
    follower.follow([estimate(hand, box) for hand, box in known.items()])
    tracker.update(0, [Detection(np.array(box, float), hand=hand) for hand, box in known.items()], SIZE)
    return follower, tracker


@pytest.mark.parametrize("order", [1, -1])
def test_which_hand_is_which_does_not_depend_on_the_order_of_what_is_found(order):
    follower, tracker = hands_that_overlap(order)
    tracked = tracker.update(1 / 30, follower.detect(frame(1)), SIZE)
    assert {one.hand: one.box.tolist() for one in tracked} == {3: [12, 10, 52, 50], 4: [22, 10, 62, 50]}
    assert not any(one.starts for one in tracked)


@pytest.mark.parametrize("swapped", [False, True])
def test_followed_hands_that_overlap_are_told_apart_by_their_sides(swapped):
    follower, tracker = hands_that_overlap()
    sign = -1 if swapped else 1
    sides = Sides({3: 6.0, 4: -6.0}, lambda one: sign * (3.0 if one.box[0] == 12 else -3.0))
    tracked = tracker.update(1 / 30, follower.detect(frame(1)), SIZE, sides)
    assert [one.hand for one in tracked] == [3, 4][::sign] and not any(one.starts for one in tracked)


def test_a_hand_that_the_border_cuts_off_is_not_found_a_second_time():
    follower = FollowedHands(Scripted({None: [([0, 12, 28, 52], None)]}), 1)  # what is seen of it
    follower.follow([estimate(7, [-25, 10, 30, 55])])
    (one,) = follower.detect(frame(0))
    assert one.hand == 7


def test_a_picture_of_another_size_takes_followed_hands_with_it():
    follower = FollowedHands(Scripted({None: []}), 99)
    follower.follow([estimate(7, [10, 10, 50, 50])])
    (one,) = follower.detect(SourceFrame(0, 0.0, np.zeros((180, 240, 3), np.uint8), ""))
    assert one.hand == 7 and one.box.tolist() == [20.5, 20.5, 100.5, 100.5]
    follower.follow([estimate(7, [10, 10, 50, 50])])
    assert follower.detect(SourceFrame(1, 0.0, np.zeros((120, 90, 3), np.uint8), "")) == []
