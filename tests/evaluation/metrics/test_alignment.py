"""What data sets' scripts do before they take an error: what each alignment forgives, and what it must
not."""

import numpy as np
import pytest
import roma
import torch
from scipy.linalg import orthogonal_procrustes

from tempohand.evaluation.metrics import alignment
from tempohand.geometry import procrustes_align


def hands(seed, count=6, points=21):
    return (
        torch.randn(count, points, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 40
        + 300
    )


def script_alignment(true, predicted):
    """align_w_scale as the data sets' notes describe it, on one sample."""
    true_mean, mean = true.mean(0), predicted.mean(0)
    size, own = np.linalg.norm(true - true_mean) + 1e-8, np.linalg.norm(predicted - mean) + 1e-8
    rotation, scale = orthogonal_procrustes((true - true_mean) / size, (predicted - mean) / own)
    return (predicted - mean) / own @ rotation.T * scale * size + true_mean


@pytest.mark.parametrize("points", [21, 778])
@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_similarity_with_reflections_is_the_official_scripts(points, mirror):
    predicted, true = (
        hands(0, points=points) * torch.tensor([mirror, 1.0, 1.0], dtype=torch.float64),
        hands(1, points=points),
    )
    aligned = procrustes_align(predicted, true, allow_reflection=True)
    for ours, one, other in zip(aligned, predicted, true):
        np.testing.assert_allclose(ours, script_alignment(other.numpy(), one.numpy()), atol=1e-6)


def test_scale_translation_forgives_scale_and_shift_and_no_turn():
    true = hands(1)
    same = alignment.scale_translation_aligned(0.3 * true + torch.tensor([5.0, -70.0, 900.0]), true)
    np.testing.assert_allclose(same, true, atol=1e-9)
    turned = true @ roma.rotvec_to_rotmat(torch.tensor([0.0, 0.0, 0.5], dtype=torch.float64)).mT
    moved = alignment.scale_translation_aligned(turned, true)
    assert (moved - true).norm(dim=-1).mean() > 5
    np.testing.assert_allclose(moved[:, 0], true[:, 0], atol=1e-9)
    sizes = [(joints[:, 9] - joints[:, 0]).norm(dim=-1) for joints in (moved, true)]
    np.testing.assert_allclose(*sizes, atol=1e-9)


def test_scale_translation_moves_a_prediction_without_extent_to_the_wrist():
    true = hands(1)
    np.testing.assert_allclose(
        alignment.scale_translation_aligned(torch.zeros_like(true), true), true[:, :1].expand_as(true)
    )


def test_the_palm_is_the_root_and_replaces_the_wrist():
    joints = hands(2)
    moved = alignment.with_palm(joints)
    assert (moved[:, 0] == 0).all()
    np.testing.assert_allclose(moved[:, 9], (joints[:, 9] - joints[:, 0]) / 2)
    np.testing.assert_allclose(alignment.with_palm(joints + 7), moved, atol=1e-9)
    assert (joints[:, 0] != 0).all(), "the input is left alone"


def test_scaling_to_the_bone_forgives_size_alone():
    true = alignment.with_palm(hands(2))
    np.testing.assert_allclose(alignment.scaled_to_bone(true * 1.7, true), true, atol=1e-9)
