"""What a closer look says of boxes, with a network whose answers the test decides."""

from dataclasses import replace

import numpy as np
import pytest

from tempohand.inference.camera import CameraChoice
from tempohand.inference.finder import HandFinder
from tempohand.inference.predict import predict_frames
from tempohand.inference.predictor import HandInput, Look, StreamingPredictor
from tempohand.inference.source import open_source
from tempohand.inference.tracker import Detection, Tracker
from tempohand.inference.verification import LEAST_CERTAINTY, MOST, MOST_A_LOOK, CloserLook


class Says:
    """A network that says `answers`, one after the other, the last one again and again; `looks` counts."""

    def __init__(self, *answers, certainty=1.0):
        self.answers, self.certainty, self.looks = answers, certainty, 0

    def __call__(self, hand):
        self.looks += 1
        return Look(self.answers[min(self.looks, len(self.answers)) - 1], self.certainty)


def closer_look(says, joints=((1, 1), (2, 3))):
    """A closer look that sees those joints, px, in every box."""
    return CloserLook(says, lambda hand: np.array(joints, float))


def hand(number=0, starts=False):
    return HandInput(
        image=np.zeros((4, 4, 3), np.uint8), box=(0, 0, 3, 3), time=0.0, hand=number, starts=starts
    )


def test_what_is_said_adds_up():
    reader = closer_look(Says(-0.5, 0.3, 0.4))
    assert [reader.is_right(hand()) for _ in range(3)] == [False, False, True]


def test_the_surer_the_rarer_it_looks():
    says = Says(50.0)
    reader = closer_look(says)
    looked = []
    for _ in range(100):
        before = says.looks
        assert reader.is_right(hand())
        looked.append(says.looks > before)
    gaps = np.diff(np.flatnonzero(looked)).tolist()
    assert gaps[0] == MOST_A_LOOK + 1 and gaps == sorted(gaps) and gaps[-1] == MOST + 1


def test_an_early_mistake_is_turned_round():
    says = Says(*[-9.0] * 20, 9.0)
    reader = closer_look(says)
    said = [reader.is_right(hand()) for _ in range(600)]
    assert not said[0] and said[-1] and 0 < sum(said) < 600


def test_hands_are_apart_and_a_new_one_is_unknown():
    reader = closer_look(Says(-2.0, 2.0, 1.0))
    assert not reader.is_right(hand(0)) and reader.is_right(hand(1)) and not reader.is_right(hand(0))
    assert reader.is_right(hand(0, starts=True))


def test_a_found_box_in_which_no_hand_is_seen_is_none_while_it_starts():
    unsure = closer_look(Says(2.0, certainty=LEAST_CERTAINTY - 0.01))
    assert unsure.is_right(hand(starts=True), found=True) is None
    assert unsure.is_right(hand(starts=True), found=False) is True, "a given box is taken at its word"
    assert unsure.is_right(hand(1), found=True) is True, "a hand that is followed may be hidden"
    assert closer_look(Says(2.0, certainty=LEAST_CERTAINTY)).is_right(hand(starts=True), found=True) is True


def test_what_starts_is_looked_at_again_in_the_bounds_of_what_is_seen():
    boxes = []

    def look(hand):
        boxes.append(tuple(float(value) for value in hand.box))
        return Look(-2.0 if len(boxes) == 1 else 5.0, {(0, 0, 3, 3): 0.3, (1, 1, 2, 3): 0.1}[boxes[-1]])

    seen = []
    said, bounds = CloserLook(
        look, lambda hand: seen.append(hand.is_right) or np.array([[2.0, 1.0], [1.0, 3.0]])
    ).look_twice(hand(starts=True))
    np.testing.assert_array_equal(bounds, [1, 1, 2, 3])
    assert boxes == [(0, 0, 3, 3), (1, 1, 2, 3)] and seen == [False], "a left hand is seen as one"
    assert said.right_logit == -2.0 and said.certainty == pytest.approx(0.2)
    outside = closer_look(Says(1.0), joints=((90, 1), (95, 2)))  # the picture ends at 4
    assert outside.look_twice(hand(starts=True))[0] == Look(1.0, 0.5) and outside.look.looks == 1


def test_two_boxes_in_which_one_hand_is_seen_are_one_hand():
    places = iter(
        [(0, 0, 2, 3), (0, 0, 2, 2), (2, 2, 3, 3), (0, 0, 2, 3)]
    )  # the second overlaps the first by two thirds
    reader = CloserLook(Says(1.0), lambda hand: np.array(next(places), float).reshape(2, 2))
    assert [reader.is_right(hand(number, starts=True), found=True) for number in range(3)] == [
        True,
        None,
        True,
    ]
    assert reader.is_right(replace(hand(3, starts=True), frame=1), found=True) is True, (
        "in another frame it may be there again"
    )


def test_what_is_not_a_hand_is_forgotten_and_asked_about_again(tmp_path, video_tools, fake_network):
    """A finder that always sees two boxes; in the first one there is no hand until the third frame."""
    moving_pictures, write_video = video_tools
    source = open_source(write_video(tmp_path / "clip.mkv", moving_pictures(5)))

    class Finder(HandFinder):
        def __init__(self):
            pass

        def detect(self, frame):
            return [Detection(np.array(box, float)) for box in ([10, 10, 40, 40], [70, 30, 110, 70])]

    class Doubts(fake_network):
        tells_sides, looks = True, 0

        def look(self, frames):
            Doubts.looks += 1
            return frames.focal.new_tensor(
                [[3.0], [0.0 if Doubts.looks in (1, 2, 5, 6) else 1.0]]
            )  # a new box is looked at twice

    frames = list(predict_frames(source, Finder(), Tracker(), CameraChoice(), StreamingPredictor(Doubts())))
    assert [len(found) for _, found in frames] == [1, 1, 2, 2, 2]
    assert len({one.hand for _, found in frames for one in found}) == 2
    assert [one.history for one in frames[-1][1]] == [
        3,
        4,
    ]  # the second of them is a clip of 5 frames less one that clips pass over


@pytest.mark.parametrize("words, expected", [([], False), (["--side", "right"], True)])
def test_a_box_without_a_side_is_given_the_networks(
    tmp_path, video_tools, predict, fake_network, words, expected
):
    class Left(fake_network):
        tells_sides = True

        def look(self, frames):
            return frames.focal.new_full((2, len(frames)), -1.0)

    moving_pictures, write_video = video_tools
    clip = write_video(tmp_path / "clip.mkv", moving_pictures(4))
    with np.load(
        predict(clip, "--box", "20,20,60,60", "--no-overlay", *words, network=Left()) / "predictions.npz"
    ) as result:
        assert (result["is_right"] == expected).all() and len(result["is_right"]) == 4


def test_a_told_side_is_not_asked_about(tmp_path, video_tools, predict, fake_network):
    class Never(fake_network):
        tells_sides = True

        def look(self, frames):
            raise AssertionError("asked")

    moving_pictures, write_video = video_tools
    clip = write_video(tmp_path / "clip.mkv", moving_pictures(2))
    (tmp_path / "boxes.csv").write_text("frame,x0,y0,x1,y1,side\n0,20,20,60,60,left\n1,20,20,60,60,\n")
    with np.load(
        predict(clip, "--boxes", tmp_path / "boxes.csv", "--no-overlay", network=Never()) / "predictions.npz"
    ) as result:
        assert not result["is_right"].any()


RED, BLUE = (200, 20, 20), (20, 20, 200)  # a right hand and a left one


def meeting_in_pictures() -> tuple[list[np.ndarray], list[list[tuple[int, list[float]]]]]:
    """Two coloured hands of 40 px that come together, are one box, and go back: the pictures, and (who, box)
    in each."""
    offsets = [52, 44, 36, 28, 20, 0, 0, 0, 20, 28, 36, 44, 52]
    pictures, boxes = [], []
    for frame, offset in enumerate(offsets):
        picture, hands = np.zeros((90, 240, 3), np.uint8), []
        for who, colour in [(0, RED), (1, BLUE)] if offset else [(frame % 2, (RED, BLUE)[frame % 2])]:
            x = 120 + (offset if who else -offset)
            picture[25:65, x - 20 : x + 20] = colour
            hands.append((who, [x - 20.0, 25.0, x + 19.0, 64.0]))
        pictures.append(picture)
        boxes.append(hands)
    return pictures, boxes


def test_hands_that_merge_and_part_again_are_told_apart_by_a_look_at_their_boxes(
    tmp_path, video_tools, fake_network
):
    pictures, boxes = meeting_in_pictures()

    class Finder(HandFinder):
        def __init__(self):
            pass

        def detect(self, frame):
            return [Detection(np.array(box)) for _, box in boxes[frame.index]]

    class Colours(fake_network):
        tells_sides = True

        def look(self, frames):
            red, _, blue = frames.image[0, :, 28:36, 28:36].float().mean(dim=(1, 2))
            return frames.focal.new_tensor([[3.0 if red > blue else -3.0], [1.0]])

    source = open_source(video_tools[1](tmp_path / "clip.mkv", pictures))
    predictor = StreamingPredictor(Colours())
    frames = list(predict_frames(source, Finder(), Tracker(), CameraChoice(), predictor))
    assert [[one.hand for one in found] for _, found in frames] == [
        [who for who, _ in hands] for hands in boxes
    ]
    assert [[one.is_right for one in found] for _, found in frames] == [
        [who == 0 for who, _ in hands] for hands in boxes
    ]
