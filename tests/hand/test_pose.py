"""Round trips between all representations of a pose, in both precisions, at tiny and at near-pi angles."""

import pytest
import roma
import torch
from scipy.spatial.transform import Rotation

from tempohand.geometry import mirror_pose
from tempohand.hand.layer import HandLayer
from tempohand.hand.pose import pose_to_rotmat, rotmat_to_pose, rotvec_to_rotmat

PRECISIONS = {torch.float32: 2e-6, torch.float64: 1e-14}
ANGLES = {
    "zero": 0.0,
    "tiny": 1e-7,
    "small": 1e-3,
    "middle": 1.0,
    "near_pi": torch.pi - 1e-3,
    "nearer_pi": torch.pi - 1e-5,
}


def poses(angle: float, dtype: torch.dtype) -> torch.Tensor:
    """Poses [9, 48] whose 16 rotations all have this angle, about random axes."""
    axes = torch.randn(9, 16, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return (angle * axes / axes.norm(dim=-1, keepdim=True)).flatten(1).to(dtype)


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("angle", ANGLES)
def test_rotation_matrices_are_scipys(angle, dtype):
    pose = poses(ANGLES[angle], dtype)
    wanted = torch.from_numpy(Rotation.from_rotvec(pose.double().view(-1, 3).numpy()).as_matrix()).view(
        9, 16, 3, 3
    )
    torch.testing.assert_close(pose_to_rotmat(pose).double(), wanted, atol=PRECISIONS[dtype], rtol=0)


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("angle", ANGLES)
def test_round_trips(angle, dtype):
    pose, tolerance = poses(ANGLES[angle], dtype), PRECISIONS[dtype]
    matrices = pose_to_rotmat(pose)
    torch.testing.assert_close(
        pose_to_rotmat(matrices[..., :2].mT.flatten(-2)), matrices, atol=tolerance, rtol=0
    )
    torch.testing.assert_close(pose_to_rotmat(rotmat_to_pose(matrices)), matrices, atol=8 * tolerance, rtol=0)
    assert pose_to_rotmat(matrices) is matrices
    # Near pi the axis-angle vector itself may come back as its opposite; as a rotation it is the same.
    back = rotmat_to_pose(matrices)
    gap = torch.minimum(
        (back - pose).abs().view(9, 16, 3).amax(-1), (back + pose).abs().view(9, 16, 3).amax(-1)
    )
    assert gap.max() < (3e-4 if dtype == torch.float32 else 1e-9)


@pytest.mark.parametrize("angle", ANGLES)
def test_gradients_of_rotation_matrices(angle):
    assert torch.autograd.gradcheck(
        rotvec_to_rotmat, poses(ANGLES[angle], torch.float64)[0].view(16, 3).requires_grad_(), atol=1e-6
    )


def test_compiled_and_plain_rotations_agree():
    pose = poses(0.7, torch.float32).view(-1, 3)
    torch.testing.assert_close(rotvec_to_rotmat(pose), roma.rotvec_to_rotmat(pose), atol=1e-6, rtol=0)
    assert rotvec_to_rotmat(pose.half()).dtype == torch.float16


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
def test_pca_coefficients_round_trip(flat, dtype):
    layer = HandLayer().to(dtype)
    pose = 0.4 * poses(1.0, dtype)
    orient, coefficients = layer.pose_to_pca(pose, flat_hand_mean=flat)
    assert coefficients.shape == (9, 45)
    torch.testing.assert_close(
        layer.pca_to_pose(orient, coefficients, flat_hand_mean=flat), pose, atol=2e-5, rtol=0
    )
    for n in (1, 6, 15):
        known = torch.randn(9, n, dtype=dtype, generator=torch.Generator().manual_seed(n))
        orient, found = layer.pose_to_pca(
            layer.pca_to_pose(orient, known, flat_hand_mean=flat), n, flat_hand_mean=flat
        )
        torch.testing.assert_close(found, known, atol=2e-5, rtol=0)


def test_the_mean_pose_is_added_and_taken_away():
    layer, pose = HandLayer(), poses(0.5, torch.float32)
    absolute = layer.add_mean(pose)
    assert torch.equal(absolute[:, :3], pose[:, :3])
    torch.testing.assert_close(
        absolute[:, 3:] - pose[:, 3:], layer.hands_mean.expand(9, 45), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(layer.subtract_mean(absolute), pose, atol=1e-6, rtol=0)
    assert layer.hands_mean.abs().max() > 0.1


def test_mirrored_pose_is_the_mirrored_rotation():
    pose, flip = poses(0.9, torch.float64), torch.diag(torch.tensor([-1.0, 1, 1], dtype=torch.float64))
    torch.testing.assert_close(
        pose_to_rotmat(mirror_pose(pose)), flip @ pose_to_rotmat(pose) @ flip, atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("shape", [(2, 45), (2, 16, 3), (48, 1), (16, 4)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"pose has shape .*; expected \[\*, 48\] axis-angle"):
        pose_to_rotmat(torch.zeros(shape))
