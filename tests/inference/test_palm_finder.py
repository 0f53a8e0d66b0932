"""The palm finder as a source of boxes, with networks that see coloured squares: hands are bright green,
right ones without blue, left ones with it; what is red alone has a palm and is no hand."""

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from tempohand.geometry import apply_homography
from tempohand.inference.palm_finder import (
    LARGER,
    NEAREST,
    FoundHands,
    PalmFinder,
    _each_once,
    detections,
    enlargements,
    fit,
)
from tempohand.inference.palm_following import FollowedPalms
from tempohand.inference.predict_files import FOLLOWERS, predict_files
from tempohand.inference.settings import PredictSettings
from tempohand.inference.source import SourceFrame, open_source
from tempohand.media.pictures import decode_picture
from tempohand.model.landmarks import HandLandmarks
from tempohand.model.palms import SIZE, STEP, Palms

RIGHT, LEFT, PLATE = (255, 255, 0), (255, 255, 255), (255, 0, 0)
GREY = 100


def components(mask: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Bounds, xyxy to the last pixels."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return [(x, y, x + width - 1, y + height - 1) for x, y, width, height, _ in stats[1:]]


class SquarePalms(nn.Module):
    """Sees squares of 16 to 100 px in which red is bright, and their fingers pointing up."""

    asked = 0

    def find(self, image, min_score):
        self.asked += 1
        palms = []
        for picture in image.permute(0, 2, 3, 1).numpy():
            boxes = [box for box in components(picture[..., 0] > 200) if 16 <= box[2] - box[0] <= 100]
            box = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
            x, top, bottom = (box[:, 0] + box[:, 2]) / 2, box[:, 1], box[:, 3]
            wrist, middle = torch.stack([x, bottom], dim=1), torch.stack([x, top], dim=1)
            keypoints = torch.stack([wrist, wrist, *[middle] * 5], dim=1)
            palms.append(Palms((box[:, 2] - box[:, 0]) / 1000 + 0.8, box, keypoints))
        return palms


class SquareLandmarks(nn.Module):
    """Sees joints around what is bright green in a crop, nearest to the middle; a hand where
    there is some."""

    asked = 0

    def forward(self, image):
        self.asked += len(image)
        screen, presence, side = torch.zeros(len(image), 21, 3), [], []
        for place, crop in enumerate(image.permute(0, 2, 3, 1).numpy()):
            boxes = components(crop[..., 1] > 200) or [(100, 100, 110, 110)]
            x0, y0, x1, y1 = min(
                boxes, key=lambda box: abs(box[0] + box[2] - 223) + abs(box[1] + box[3] - 223)
            )
            x = (x0 + x1) / 2
            points = torch.tensor([[x, y1], [x0, y0], [x, y0], [x1, y0]], dtype=torch.float32)
            screen[place, :, :2] = points[[0, *[1] * 8, *[2] * 4, *[3] * 8]]  # wrist, index, middle, ring
            middle = crop[(y0 + y1) // 2, (x0 + x1) // 2].astype(int)
            presence.append(float(middle[1] > 200))
            side.append(float(middle[2] < 100))
        return HandLandmarks(screen, torch.tensor(presence), torch.tensor(side), torch.zeros_like(screen))


def finder(tiles=1, max_hands=8) -> PalmFinder:
    return PalmFinder(SquarePalms(), SquareLandmarks(), tiles=tiles, max_hands=max_hands)


def picture(width, height, squares, index=0):
    image = np.full((height, width, 3), GREY, np.uint8)
    for x0, y0, side, colour in squares:
        image[max(y0, 0) : y0 + side, max(x0, 0) : x0 + side] = colour
    return SourceFrame(index, index / 30, image, "")


@pytest.mark.parametrize("size", [(640, 360), (360, 640), (400, 400), (150, 210)])
def test_boxes_and_sides_come_back_in_the_pictures_pixels(size):
    squares = [(30, 40, 60, RIGHT), (80, 130, 66, LEFT), (10, 150, 50, PLATE)]
    with finder(tiles=3) as source:
        found = source.detect(picture(*size, squares))
    assert len(found) == 2 and all(one.sure for one in found)
    by_side = {one.is_right: one.box for one in found}
    np.testing.assert_allclose(by_side[True], [30, 40, 89, 99], atol=3)
    np.testing.assert_allclose(by_side[False], [80, 130, 145, 195], atol=3)


def test_a_mirrored_picture_has_the_mirrored_hands():
    frame = picture(500, 300, [(40, 60, 70, RIGHT), (300, 150, 90, LEFT)])
    mirrored = SourceFrame(0, 0.0, np.ascontiguousarray(frame.image[:, ::-1]), "")
    there, here = (sorted(finder(3).detect(one), key=lambda one: one.box[1]) for one in (frame, mirrored))
    assert len(there) == 2
    for a, b in zip(there, here, strict=True):  # the fakes' side is a colour, which stays
        np.testing.assert_allclose(a.box, [499 - b.box[2], b.box[1], 499 - b.box[0], b.box[3]], atol=2)


def test_small_hands_are_found_from_near_and_each_once():
    frame = picture(1280, 720, [(300, 160, 40, RIGHT), (1200, 640, 40, RIGHT), (600, 60, 400, LEFT)])
    assert len(finder(1).detect(frame)) == 1, "the small ones have 6 px in the whole picture"
    found = finder(4).detect(frame)
    centres = sorted(((one.box[:2] + one.box[2:]) / 2).tolist() for one in found)
    np.testing.assert_allclose(centres, [[319.5, 179.5], [799.5, 259.5], [1219.5, 659.5]], atol=5)
    assert len(finder(4, max_hands=2).detect(frame)) == 2


def test_a_hand_that_fills_the_picture_is_found():
    (found,) = finder().detect(picture(300, 200, [(60, 10, 180, RIGHT)]))  # 115 of the detector's px
    np.testing.assert_allclose(found.box, [60, 10, 239, 189], atol=4)


def test_what_has_a_palm_and_is_no_hand_is_left_out():
    assert finder(3).detect(picture(400, 300, [(50, 50, 80, PLATE), (200, 90, 120, PLATE)])) == []
    assert finder(3).detect(picture(400, 300, [])) == []
    assert len(finder(3).find(picture(400, 300, [(50, 50, 80, PLATE)]).image).presence) == 1


@pytest.mark.parametrize("values", [{"tiles": 0}, {"max_hands": 0}])
def test_numbers_below_one_are_refused(values):
    with pytest.raises(ValueError, match="is at least 1"):
        finder(**values)
    with pytest.raises(ValueError, match="`every` is at least 1"):
        FollowedPalms(finder(), 0)


@pytest.mark.parametrize("tiles", [1, 2, 3, 4, 7])
def test_a_hand_of_any_size_is_seen_in_some_look(tiles):
    sizes = enlargements(tiles)
    assert sizes[0] == pytest.approx(NEAREST) and sizes[-1] == pytest.approx(tiles)
    ratios = np.divide(sizes[1:], sizes[:-1])
    assert (ratios > 1).all() and ratios.max() <= LARGER + 1e-9


@pytest.mark.parametrize("size", [(640, 360), (97, 400), (31, 31), (5, 1000)])
@pytest.mark.parametrize("enlargement", [0.5, 1.0, 2.3])
def test_a_picture_is_fitted_whole_with_its_edge_repeated(size, enlargement):
    width, height = size
    image = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    image[0], image[-1], image[:, 0], image[:, -1] = 60, 90, 150, 180
    fitted, homography = fit(image, enlargement)
    assert not any(edge % STEP for edge in fitted.shape[2:])
    outer = torch.tensor([[-0.5, -0.5], [width - 0.5, height - 0.5]], dtype=torch.float64)
    low, high = apply_homography(homography, outer)
    assert (high - low).max() == pytest.approx(SIZE * enlargement)
    room = torch.tensor(fitted.shape[:1:-1]) - (high - low)
    torch.testing.assert_close(low + 0.5, room / 2)  # in the middle
    assert (room < STEP).all() and (room > -1e-6).all()
    if room[0] > 12:
        assert (fitted[0, 0, :, 0] == 150).double().mean() > 0.8


def hands(*squares) -> FoundHands:
    """(x0, y0, x1, y1, presence, side)."""
    values = torch.tensor(squares, dtype=torch.float64)
    joints = torch.stack([values[:, :2], values[:, 2:4]], dim=1).repeat(1, 11, 1)[:, :21]
    return FoundHands(joints, values[:, 4], values[:, 5])


def test_a_hand_is_found_once_and_two_hands_laid_on_each_other_are_two():
    size = (500, 500)
    again = hands((10, 10, 110, 110, 0.9, 0.99), (12, 10, 112, 118, 0.95, 0.98))
    assert _each_once(again, size) == [1]
    within = (40, 40, 100, 100)  # covered by the other, a third of its area
    assert _each_once(hands((10, 10, 110, 110, 0.9, 0.99), (*within, 0.8, 0.01)), size) == [0, 1]
    assert _each_once(hands((10, 10, 110, 110, 0.9, 0.99), (*within, 0.8, 0.2)), size) == [0], "not sure"
    assert _each_once(hands((10, 10, 110, 110, 0.9, 0.99), (*within, 0.8, 0.97)), size) == [0]
    assert _each_once(hands((10, 10, 110, 110, 0.9, 0.99), (12, 10, 112, 118, 0.8, 0.01)), size) == [0]


def test_a_side_is_told_where_it_is_clear():
    told = detections(hands(*((0, 0, 9, 9, 1.0, side) for side in (0.99, 0.85, 0.6, 0.1, 0.02))))
    assert [one.is_right for one in told] == [True, True, None, False, False]
    assert [one.sure for one in told] == [True, False, False, False, True]


@pytest.mark.parametrize("every", [1, 4])
def test_between_looks_hands_are_followed(every):
    source = FollowedPalms(finder(), every)
    looks = len(source.finder.enlargements)
    for index in range(9):
        (found,) = source.detect(picture(640, 360, [(100 + 15 * index, 100, 90, LEFT)], index))
        np.testing.assert_allclose(found.box[:2], [100 + 15 * index, 100], atol=3)
        assert not found.is_right
        assert source.finder.palms.asked == looks * (1 + index // every)


def test_every_third_look_is_from_nearest_too():
    """There the smallest hands are found; where a hand was lost the next look is from everywhere."""
    source = FollowedPalms(finder(tiles=4), 2)
    sizes = len(source.finder.enlargements)
    large, small = (100, 100, 90, RIGHT), (600, 300, 24, LEFT)
    seen = [[large], *[[large, small]] * 6, [small], [small], [small]]
    asked, found = [], []
    for index, squares in enumerate(seen):
        before = source.finder.palms.asked
        found.append(len(source.detect(picture(960, 540, squares, index))))
        asked.append(source.finder.palms.asked - before)
    assert asked == [sizes, 0, sizes - 1, 0, sizes - 1, 0, sizes, 0, sizes, 0]
    assert found == [1, 1, 1, 1, 1, 1, 2, 1, 1, 1]


def test_followed_hands_are_looked_at_once_and_new_ones_twice():
    source = FollowedPalms(finder(), 3)
    frames = [picture(640, 360, [(100, 100, 90, RIGHT)], index) for index in range(4)]
    asked = []
    for frame in frames:
        source.detect(frame)
        asked.append(source.finder.landmarks.asked)
    assert np.diff([0, *asked]).tolist() == [2, 1, 1, 1], "the palm that is found again is the known hand's"


def test_a_hand_that_goes_is_let_go_and_new_ones_are_found_at_the_next_look():
    source = FollowedPalms(finder(), 3)
    one, other = (100, 100, 90, RIGHT), (400, 200, 90, LEFT)
    seen = [[one], [one, other], [one, other], [one, other], [other], [], [one]]
    found = [len(source.detect(picture(640, 360, squares, index))) for index, squares in enumerate(seen)]
    assert found == [1, 1, 1, 2, 1, 0, 1]


def test_where_no_hand_is_the_palm_detector_looks_no_more_often():
    source = FollowedPalms(finder(), 3)
    for index in range(7):
        assert source.detect(picture(640, 360, [], index)) == []
    assert source.finder.palms.asked == 3 * len(source.finder.enlargements)


def test_a_picture_of_another_size_is_looked_at_anew():
    source = FollowedPalms(finder(), 100)
    source.detect(picture(640, 360, [(100, 100, 90, RIGHT)]))
    (found,) = source.detect(picture(320, 180, [(200, 50, 45, RIGHT)], 1))
    np.testing.assert_allclose(found.box, [200, 50, 244, 94], atol=3)


@pytest.mark.parametrize("tiles", [1, 4])
def test_hands_in_photographs_and_no_elbows(samples, tiles):
    with open(samples / "hands_on_face.jpg", "rb") as file:
        image = decode_picture(file.read())
    found = PalmFinder(tiles=tiles, max_hands=8).detect(SourceFrame(0, 0.0, image, ""))
    assert sorted(one.is_right for one in found) == [False, True]
    right, left = sorted((one.box for one in found), key=lambda box: box[0])
    np.testing.assert_allclose(right, [406, 510, 584, 900], atol=12)
    np.testing.assert_allclose(left, [597, 488, 777, 880], atol=12)


def test_the_filmed_hand_is_where_another_tool_sees_it(samples):
    with np.load(samples / "human_hand_video.mediapipe.npz") as file:
        boxes = file["box_xyxy"]
    source = FollowedPalms(PalmFinder(max_hands=8), 5)
    for frame in open_source(samples / "human_hand_video.mp4"):
        if frame.index == 12:
            break
        (found,) = source.detect(frame)
        off = np.abs(found.box - boxes[frame.index]).max() / np.ptp(boxes[frame.index][[0, 2]])
        assert found.is_right and off < 0.05


def test_a_hand_is_followed_by_its_prediction_where_asked(tmp_path, video_tools):
    """Neither network of the finder sees the frames between looks; both ways the hand is the same one."""
    squares = [picture(200, 150, [(60, 40, 60, RIGHT)]).image] * 9
    source = open_source(video_tools[1](tmp_path / "squares.mkv", squares))
    asked = {}
    for name, follower in FOLLOWERS.items():
        networks = SquarePalms(), SquareLandmarks()
        boxes = follower(PalmFinder(*networks, max_hands=8), 4)
        for frame in source:
            looks, before = boxes.looks, networks[1].asked
            (found,) = boxes.detect(frame)
            np.testing.assert_allclose(found.box, [60, 40, 119, 99], atol=3)
            asked.setdefault(name, []).append((looks, networks[1].asked - before))
            if name == "hand":
                boxes.known = [found]
    assert [looks for looks, _ in asked["hand"]] == [looks for looks, _ in asked["landmarks"]]
    assert [count for looks, count in asked["hand"] if not looks] == [0] * 6
    assert [count for looks, count in asked["landmarks"] if not looks] == [1] * 6


def test_what_follows_is_named(tmp_path, video_tools):
    video = video_tools[1](tmp_path / "it.mkv", video_tools[0](2))
    with pytest.raises(ValueError, match="`follow` is landmarks or hand, not 'eye'"):
        predict_files(PredictSettings(video, follow="eye", out=tmp_path / "out"))
