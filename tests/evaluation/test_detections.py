import pytest
import torch

from tempohand.batch import BoxPrediction
from tempohand.evaluation.detections import OVERLAP, find_peaks, overlap, same_hand, suppress


def random_boxes(count, seed=0):
    centre, half = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)), 0.15
    return torch.cat([centre - half, centre + half], dim=-1)


def test_overlap_is_that_of_counted_points():
    first, second = random_boxes(40), random_boxes(40, 1)
    points = torch.stack(torch.meshgrid(*[torch.linspace(-0.5, 1.5, 401)] * 2, indexing="ij"), -1).reshape(
        -1, 1, 2
    )
    inside = [((points >= box[:, :2]) & (points <= box[:, 2:])).all(-1) for box in (first, second)]
    counted = (inside[0] & inside[1]).sum(0) / (inside[0] | inside[1]).sum(0)
    torch.testing.assert_close(overlap(first, second), counted, atol=0.02, rtol=0)
    assert (overlap(first, first) == 1).all()


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
    assert OVERLAP == 0.5


@pytest.mark.parametrize("known", [False, True])
def test_peaks_are_the_highest_cells_of_their_neighbourhood(known):
    torch.manual_seed(0)
    logits, box = torch.randn(3, 1, 2, 9, 9) - 1, torch.randn(3, 1, 4, 9, 9)
    mask = torch.rand(3, 1, 2, 9, 9) < 0.7 if known else torch.ones(3, 1, 2, 9, 9, dtype=torch.bool)
    peaks = find_peaks(BoxPrediction(logits, box), 0.6, mask if known else None)
    found = {
        (k, int(side), tuple(b))
        for k, side, b in zip(peaks.picture.tolist(), ~peaks.is_right, peaks.box.tolist())
    }

    def score(k, v, u):
        sides = [
            float(torch.sigmoid(logits[k, 0, side, v, u])) if mask[k, 0, side, v, u] else 0.0
            for side in (0, 1)
        ]
        return 1 - (1 - sides[0]) * (1 - sides[1]), int(sides[1] > sides[0])

    expected = set()
    for k, v, u in torch.cartesian_prod(*map(torch.arange, (3, 9, 9))).tolist():
        near = [
            (k, y, x)
            for y in range(max(v - 1, 0), min(v + 2, 9))
            for x in range(max(u - 1, 0), min(u + 2, 9))
        ]
        value, side = score(k, v, u)
        if value > 0.6 and all(score(*place)[0] <= value + 1e-9 for place in near):
            expected.add((k, side, tuple(box[k, 0, :, v, u].tolist())))
    assert found == expected and len(found) == len(peaks.score)
