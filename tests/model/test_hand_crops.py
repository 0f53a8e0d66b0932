"""Crops from palms and landmarks, against the original graph's steps written out number by number."""

import math

import pytest
import torch

from tempohand.geometry import apply_homography
from tempohand.model.hand_crops import (
    TRACKED,
    TurnedSquare,
    letterbox,
    square_of_landmarks,
    square_of_palm,
    to_picture,
    world_to_picture,
)
from tempohand.model.landmarks import SIZE

GENERATOR = torch.Generator().manual_seed(0)


def random(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=GENERATOR, dtype=torch.float64)


def palms(count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    low = random(count, 2) * 200
    return torch.cat([low, low + 20 + 80 * random(count, 2)], dim=-1), random(count, 7, 2) * 300


def original_rotation(start, end) -> float:
    """CalculateRotation's, with the target angle of 90 degrees."""
    angle = math.pi / 2 - math.atan2(-(end[1] - start[1]), end[0] - start[0])
    return angle - 2 * math.pi * math.floor((angle + math.pi) / (2 * math.pi))


def original_transform(centre, size, angle, shift_y, scale) -> tuple[float, float, float]:
    """RectTransformationCalculator: centre and side."""
    x = centre[0] - size[1] * shift_y * math.sin(angle)
    y = centre[1] + size[1] * shift_y * math.cos(angle)
    return x, y, max(size) * scale


def assert_same(square: TurnedSquare, place: int, expected: tuple, angle: float) -> None:
    found = (*square.centre[place].tolist(), float(square.side[place]))
    assert found == pytest.approx(expected)
    turned = float(square.angle[place]) - angle
    assert math.cos(turned) == pytest.approx(1)


def test_a_palms_square_is_the_originals():
    box, keypoints = palms()
    square = square_of_palm(box, keypoints)
    for place, (b, k) in enumerate(zip(box.tolist(), keypoints.tolist())):
        angle = original_rotation(k[0], k[2])
        centre, size = ((b[0] + b[2]) / 2, (b[1] + b[3]) / 2), (b[2] - b[0], b[3] - b[1])
        assert_same(square, place, original_transform(centre, size, angle, -0.5, 2.6), angle)


def test_the_next_frames_square_is_the_originals():
    landmarks = random(6, 21, 2) * 300
    square = square_of_landmarks(landmarks)
    for place, points in enumerate(landmarks.tolist()):
        middle = [((points[5][c] + points[13][c]) / 2 + points[9][c]) / 2 for c in range(2)]
        angle = original_rotation(points[0], middle)
        cosine, sine = math.cos(-angle), math.sin(-angle)
        kept = [points[k] for k in TRACKED]
        axis = [(min(p[c] for p in kept) + max(p[c] for p in kept)) / 2 for c in range(2)]
        away = [(p[0] - axis[0], p[1] - axis[1]) for p in kept]
        turned = [(x * cosine - y * sine, x * sine + y * cosine) for x, y in away]
        low, high = ([f(p[c] for p in turned) for c in range(2)] for f in (min, max))
        x, y = ((low[c] + high[c]) / 2 for c in range(2))
        centre = (
            x * math.cos(angle) - y * math.sin(angle) + axis[0],
            x * math.sin(angle) + y * math.cos(angle) + axis[1],
        )
        size = (high[0] - low[0], high[1] - low[1])
        assert_same(square, place, original_transform(centre, size, angle, -0.1, 2.0), angle)


def test_fingers_point_up_in_the_crop():
    box, keypoints = palms()
    crop = apply_homography(square_of_palm(box, keypoints).homography(), keypoints)
    torch.testing.assert_close(crop[:, 0, 0], crop[:, 2, 0])
    assert (crop[:, 0, 1] > crop[:, 2, 1]).all()


def test_a_turned_and_scaled_picture_gives_the_same_crop():
    """The crop follows the hand: similarities of the picture cancel."""
    landmarks = random(5, 21, 2) * 300
    angle, scale, shift = torch.tensor(2.1).double(), 1.7, torch.tensor([31.0, -12.0]).double()
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    moved = scale * landmarks @ turn.mT + shift
    crops = [apply_homography(square_of_landmarks(each).homography(), each) for each in (landmarks, moved)]
    torch.testing.assert_close(*crops)


def test_landmarks_come_back_to_the_picture():
    box, keypoints = palms()
    square = square_of_palm(box, keypoints)
    landmarks = random(6, 21, 2) * 300
    screen = torch.cat([apply_homography(square.homography(), landmarks), random(6, 21, 1)], dim=-1)
    back = to_picture(screen, square.homography())
    torch.testing.assert_close(back[..., :2], landmarks)
    torch.testing.assert_close(back[..., 2], screen[..., 2] / SIZE / 0.4 * square.side[:, None])


def test_world_landmarks_turn_with_the_picture():
    """What lies flat in the crop has the same directions there as in the picture."""
    square = square_of_palm(*palms())
    world = random(6, 21, 3) * 100
    world[..., 2] = 7
    there = to_picture(world, square.homography())[..., :2]
    turned = world_to_picture(world, square.angle)
    torch.testing.assert_close(
        (there - there[:, :1]) / square.side[:, None, None] * SIZE, (turned - turned[:, :1])[..., :2]
    )
    assert (turned[..., 2] == 7).all()


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (100, 100)])
def test_a_letterbox_holds_the_whole_picture(size):
    edges = torch.tensor([[-0.5, -0.5], [size[0] - 0.5, size[1] - 0.5]]).double()
    inside = apply_homography(letterbox(size, 192), edges)
    longer = 0 if size[0] >= size[1] else 1
    assert inside[:, longer].tolist() == pytest.approx([-0.5, 191.5])
    assert inside.sum(dim=0).tolist() == pytest.approx([191.0, 191.0])  # in the middle
    assert (inside[1] - inside[0]).tolist() == pytest.approx([edge * 192 / max(size) for edge in size])
