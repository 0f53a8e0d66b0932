import pytest
import roma
import torch

from tempohand.batch import ClipBatch, Frames
from tempohand.evaluation.baselines import CropLabels, fit_constant_hand
from tempohand.geometry import project
from tempohand.hand.layer import HandLayer

SIZE = 96


@pytest.fixture(scope="module")
def hand():
    return HandLayer()


def labels_of(hand, count, spread, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pose = 0.3 + spread * torch.randn(count, 48, generator=generator)
    shape = spread * torch.randn(count, 10, generator=generator)
    trans = torch.tensor([20.0, -30.0, 500.0]) + spread * 50 * torch.randn(count, 3, generator=generator)
    focal = 300.0 + 40 * torch.rand(count, 1, generator=generator).expand(count, 2)
    princpt = 48 + 20 * torch.randn(count, 2, generator=generator)
    return CropLabels(pose, shape, hand(pose, shape, trans).joints, focal, princpt)


def batch_of(labels):
    count = len(labels.pose)
    return ClipBatch(
        frames=Frames(
            size=(SIZE, SIZE),
            image=torch.zeros(count, 3, SIZE, SIZE, dtype=torch.uint8),
            focal=labels.focal,
            princpt=labels.princpt,
            time=torch.zeros(count, dtype=torch.float64),
        ),
        index=torch.arange(count)[:, None],
        frame_mask=torch.ones(count, 1, dtype=torch.bool),
        is_right=torch.ones(count, dtype=torch.bool),
        row=torch.arange(count),
    )


def test_a_constant_hand_is_recovered(hand):
    labels = labels_of(hand, 8, 0.0)
    constant = fit_constant_hand(hand, labels, (SIZE, SIZE))
    torch.testing.assert_close(constant.joints, labels.joints[0] - labels.joints[0, :1], atol=1e-2, rtol=0)
    assert constant.vertices.shape == (778, 3)


def test_it_is_no_worse_than_any_candidate_orientation(hand):
    labels = labels_of(hand, 40, 0.6)
    constant = fit_constant_hand(hand, labels, (SIZE, SIZE))
    target = labels.joints - labels.joints[:, :1]

    def error(joints):
        return float((joints - target).norm(dim=-1).mean())

    rotations = roma.rotvec_to_rotmat(labels.pose.view(-1, 16, 3))
    mean = roma.special_procrustes(rotations.mean(dim=0))
    betas = labels.shape.mean(dim=0)
    candidates = [error(hand(torch.cat([first[None, 0], mean[1:]]), betas).joints) for first in rotations]
    assert error(constant.joints) <= min(candidates) + 1e-3
    assert error(constant.joints) < sum(candidates) / len(candidates) - 1


def test_the_wrist_is_where_hands_lie_in_their_boxes(hand):
    labels = labels_of(hand, 30, 0.2)
    constant = fit_constant_hand(hand, labels, (SIZE, SIZE))
    hands = constant(batch_of(labels))
    assert (
        hands.joints.shape == (30, 21, 3)
        and hands.vertices.shape == (30, 778, 3)
        and hands.joints.dtype == torch.float32
    )
    uv = project(hands.joints[:, :1], labels.focal, labels.princpt)[:, 0]
    torch.testing.assert_close(uv, uv[:1].expand_as(uv), atol=1e-2, rtol=0)  # the same place in every crop
    mean = project(labels.joints[:, :1], labels.focal, labels.princpt).mean(dim=0)[0]
    torch.testing.assert_close(uv[0], mean, atol=1e-2, rtol=0)
    ratio = hands.joints[:, 0, 2] / labels.focal[:, 0]
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))  # twice the focal length, twice as far
    expected = (labels.joints[:, 0, 2] / labels.focal[:, 0]).log().mean().exp()
    torch.testing.assert_close(ratio[0], expected)
    torch.testing.assert_close(
        hands.joints - hands.joints[:, :1], constant.joints.expand(30, -1, -1), atol=1e-3, rtol=0
    )


def test_no_labels_is_a_clear_error(hand):
    with pytest.raises(ValueError, match="mean_pose"):
        fit_constant_hand(hand, labels_of(hand, 0, 0.0), (SIZE, SIZE))
