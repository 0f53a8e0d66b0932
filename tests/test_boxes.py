import numpy as np
import torch

from tempohand.boxes import (
    SAME_HAND_IOU,
    centre_inside,
    clip_box,
    intersection_over_union,
    same_hand,
    suppress,
)


def random_boxes(count, seed=0):
    centre, half = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)), 0.15
    return torch.cat([centre - half, centre + half], dim=-1)


def test_intersection_over_union_is_that_of_counted_points():
    first, second = random_boxes(40), random_boxes(40, 1)
    points = torch.stack(torch.meshgrid(*[torch.linspace(-0.5, 1.5, 401)] * 2, indexing="ij"), -1).reshape(
        -1, 1, 2
    )
    inside = [((points >= box[:, :2]) & (points <= box[:, 2:])).all(-1) for box in (first, second)]
    counted = (inside[0] & inside[1]).sum(0) / (inside[0] | inside[1]).sum(0)
    torch.testing.assert_close(intersection_over_union(first, second), counted, atol=0.02, rtol=0)
    assert (intersection_over_union(first, first) == 1).all()


def test_suppression_leaves_the_better_of_two_boxes_of_one_hand():
    box, score, size = (
        100 * random_boxes(60),
        torch.rand(60, generator=torch.Generator().manual_seed(2)),
        (100, 100),
    )
    kept = suppress(box, score, size)
    assert score[kept].tolist() == sorted(score[kept].tolist(), reverse=True) and 1 < len(kept) < 60
    for place in range(60):
        near = same_hand(box[place], box[kept], size)
        if place in kept:
            assert near.sum() == 1  # itself
        else:
            assert score[kept][near].max() > score[place]
    assert suppress(box[:0], score[:0], size) == []


def test_boxes_of_one_hand_overlap_as_the_picture_shows_them():
    size = (200, 100)
    far = torch.tensor([300.0, 300.0, 400.0, 400.0])
    for first, second, expected in (
        ([10, 10, 50, 50], [18, 10, 58, 50], True),
        ([10, 10, 50, 50], [30, 10, 70, 50], False),
        (
            [-60, 10, 40, 80],
            [0, 12, 42, 78],
            True,
        ),  # all of a hand that the border cuts off, and what is seen of it
        ([-60, 10, 40, 80], [2, 20, 30, 45], True),  # a part
        ([120, -90, 180, 60], [125, 1, 175, 20], True),
        ([10, 10, 90, 90], [15, 15, 45, 45], True),
        ([10, 10, 60, 60], [45, 10, 85, 60], False),  # neighbours
    ):
        boxes = [torch.tensor(box, dtype=torch.float64) for box in (first, second)]
        turned = [
            box[[2, 1, 0, 3]] * torch.tensor([-1, 1, -1, 1]) + torch.tensor([199, 0, 199, 0]) for box in boxes
        ]
        for one, other in (boxes, boxes[::-1], turned):
            assert same_hand(one, other, size) == expected, (first, second)
        assert not same_hand(boxes[0], far.double(), size)
    assert SAME_HAND_IOU == 0.5


def test_pairwise_boxes_agree_with_torchvision():
    from torchvision.ops import box_iou  # slow to import, and only the oracle of this test

    first, second = random_boxes(30).double(), random_boxes(20, 1).double()
    expected = box_iou(first, second)
    torch.testing.assert_close(intersection_over_union(first[:, None], second[None]), expected)


def test_a_clipped_box_ends_at_the_pixels_outer_edges():
    boxes = torch.tensor([[-5.0, 3, 30, 99], [2, 3, 4, 5]])
    assert clip_box(boxes, (20, 10)).tolist() == [[-0.5, 3, 19.5, 9.5], [2, 3, 4, 5]]


def test_a_centre_is_inside_up_to_the_last_pixels_centre():
    boxes = np.array([[18.0, 8, 20, 10], [18.2, 8, 20, 10], [-1, -1, 1, 1], [-1, -1.1, 1, 1], [np.nan] * 4])
    expected = [True, False, True, False, False]
    assert centre_inside(boxes, (20, 10)).tolist() == expected
    assert centre_inside(torch.from_numpy(boxes), (20, 10)).tolist() == expected
    assert [bool(centre_inside(box, (20, 10))) for box in boxes] == expected
