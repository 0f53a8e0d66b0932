import numpy as np
import pytest
import roma
import torch
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.transform import Rotation

from tempohand import geometry
from tempohand.skeleton import BONES, JOINT_NAMES

DOUBLE = torch.float64


def cameras(*batch):
    return torch.rand(*batch, 2, dtype=DOUBLE) * 300 + 200, torch.rand(*batch, 2, dtype=DOUBLE) * 100


def points(*batch):
    return torch.randn(*batch, 3, dtype=DOUBLE) * 60 + torch.tensor([0, 0, 500.0])


def test_bones_are_as_long_as_they_were_made():
    """Of joints that are each set at a known distance from their parent; an unknown joint leaves its own bone
    and those that begin at it unknown."""
    lengths, joints = torch.rand(4, 20, dtype=DOUBLE) + 1, torch.zeros(4, 21, 3, dtype=DOUBLE)
    for bone, (parent, child) in enumerate(BONES):
        way = torch.nn.functional.normalize(torch.randn(4, 3, dtype=DOUBLE), dim=-1)
        joints[:, child] = joints[:, parent] + lengths[:, bone, None] * way
    torch.testing.assert_close(geometry.bone_lengths(joints), lengths)
    np.testing.assert_allclose(geometry.bone_lengths(joints[0].numpy()), lengths[0])
    joints[:, JOINT_NAMES.index("ring_2")] = torch.nan
    unknown = geometry.bone_lengths(joints).isnan().all(0)
    assert [JOINT_NAMES[BONES[bone][1]] for bone in unknown.nonzero()] == ["ring_2", "ring_3"]


@pytest.mark.parametrize("batch", [(), (3,), (2, 4)])
def test_unproject_undoes_project(batch):
    (focal, princpt), xyz = cameras(*batch), points(*batch, 21)
    uv = geometry.project(xyz, focal, princpt)
    torch.testing.assert_close(geometry.unproject(uv, xyz[..., 2], focal, princpt), xyz)


def test_projection_behind_the_camera_is_finite():
    focal, princpt = cameras()
    xyz = torch.tensor([[1.0, 2.0, 0.0], [1.0, 1.0, -50.0]], dtype=DOUBLE, requires_grad=True)
    uv = geometry.project(xyz, focal, princpt)
    uv.sum().backward()
    assert uv.isfinite().all() and xyz.grad.isfinite().all()


def test_normalised_pixels_go_x_by_width_and_y_by_height():
    uv = torch.tensor([[96.0, 64.0]])
    assert geometry.normalise_pixels(uv, (192, 256)).tolist() == [[0.0, -0.25]]
    torch.testing.assert_close(
        geometry.denormalise_pixels(geometry.normalise_pixels(uv, (192, 256)), (192, 256)), uv
    )


def test_turning_the_camera_is_its_homography():
    (focal, princpt), xyz = cameras(5), points(5, 7)
    rotation = roma.rotvec_to_rotmat(torch.randn(5, 3, dtype=DOUBLE) * 0.2)
    homography = geometry.camera_rotation_homography(rotation, focal, princpt)
    turned = geometry.project(xyz @ rotation.mT, focal, princpt)
    torch.testing.assert_close(
        geometry.apply_homography(homography, geometry.project(xyz, focal, princpt)), turned
    )


def test_a_crop_moves_the_intrinsics_and_nothing_else():
    (focal, princpt), xyz = cameras(5), points(5, 7)
    crop = geometry.crop_homography(
        torch.rand(5, 2, dtype=DOUBLE) * 100, torch.rand(5, dtype=DOUBLE) * 80 + 40, 96, 128
    )
    mapped = geometry.apply_homography(crop, geometry.project(xyz, focal, princpt))
    torch.testing.assert_close(mapped, geometry.project(xyz, *geometry.crop_camera(crop, focal, princpt)))


def test_crop_edges_are_pixel_edges():
    """A crop of a whole W px picture to W px is the identity, pixel centre on pixel centre."""
    box = torch.tensor([-0.5, -0.5, 63.5, 63.5], dtype=DOUBLE)
    centre, side = geometry.box_to_square(box, 1.0)
    torch.testing.assert_close(geometry.crop_homography(centre, side, 64, 64), torch.eye(3, dtype=DOUBLE))


def test_mirror_commutes_with_projection():
    (focal, princpt), xyz, width = cameras(), points(9), 640
    mirror = geometry.mirror_homography(width)
    mirrored_princpt = geometry.apply_homography(mirror, princpt[None])[0]
    left = geometry.project(geometry.mirror_points(xyz), focal, mirrored_princpt)
    torch.testing.assert_close(left, geometry.apply_homography(mirror, geometry.project(xyz, focal, princpt)))
    assert geometry.apply_homography(mirror, torch.tensor([[0.0, 5.0]], dtype=DOUBLE)).tolist() == [
        [639.0, 5.0]
    ]


def test_mirrored_pose_is_the_mirrored_rotation():
    pose = torch.randn(4, 48, dtype=DOUBLE)
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=DOUBLE))
    expected = flip @ roma.rotvec_to_rotmat(pose.view(4, 16, 3)) @ flip
    torch.testing.assert_close(roma.rotvec_to_rotmat(geometry.mirror_pose(pose).view(4, 16, 3)), expected)
    torch.testing.assert_close(geometry.mirror_pose(geometry.mirror_pose(pose)), pose)


def test_rotating_a_pose_turns_only_its_root():
    pose, rotation = torch.randn(6, 48, dtype=DOUBLE), roma.random_rotmat(6, dtype=DOUBLE)
    turned = geometry.rotate_pose(rotation, pose)
    expected = Rotation.from_matrix(rotation.numpy()) * Rotation.from_rotvec(pose[:, :3].numpy())
    np.testing.assert_allclose(
        Rotation.from_rotvec(turned[:, :3].numpy()).as_matrix(), expected.as_matrix(), atol=1e-9
    )
    assert torch.equal(turned[:, 3:], pose[:, 3:])


def test_6d_round_trip_and_gram_schmidt():
    matrix = roma.random_rotmat(10, dtype=DOUBLE)
    columns = matrix[..., :2].mT.flatten(-2)
    torch.testing.assert_close(columns[:, :3], matrix[:, :, 0])  # a column of the matrix, not a row
    torch.testing.assert_close(geometry.rotation_6d_to_matrix(columns), matrix)
    skewed = geometry.rotation_6d_to_matrix(torch.randn(10, 6, dtype=DOUBLE))
    torch.testing.assert_close(skewed @ skewed.mT, torch.eye(3, dtype=DOUBLE).expand(10, 3, 3))


def test_rays_point_at_their_pixels():
    focal, princpt = cameras(2)
    rays = geometry.crop_rays(focal, princpt, 128, 8)
    assert rays.shape == (2, 64, 4)
    xyz = torch.cat([rays[..., :2], (1 - rays[..., :2].square().sum(-1, keepdim=True)).sqrt()], dim=-1)
    pixels = geometry.project(xyz * 1000, focal, princpt)
    torch.testing.assert_close(geometry.normalise_pixels(pixels + 0.5, (128, 128)), rays[..., 2:])
    assert rays[0, 1, 2] > rays[0, 0, 2] and rays[0, 1, 3] == rays[0, 0, 3]  # row by row, u first


def test_procrustes_undoes_a_similarity_and_only_on_request_a_reflection():
    target = torch.randn(5, 21, 3, dtype=DOUBLE)
    moved = 2.5 * target @ roma.random_rotmat(5, dtype=DOUBLE).mT + torch.randn(5, 1, 3, dtype=DOUBLE)
    torch.testing.assert_close(geometry.procrustes_align(moved, target), target)
    reflected = geometry.mirror_points(target)
    torch.testing.assert_close(geometry.procrustes_align(reflected, target, allow_reflection=True), target)
    assert (geometry.procrustes_align(reflected, target) - target).norm(dim=-1).mean() > 0.1


def test_hand_size_is_the_middle_finger():
    joints = torch.zeros(21, 3)
    joints[9:13, 0] = torch.tensor([0.0, 40.0, 70.0, 90.0])
    assert geometry.hand_size(joints).item() == 90


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("allow_reflection", [False, True])
def test_procrustes_agrees_with_scipy(mirrored, allow_reflection):
    source = torch.randn(21, 3, dtype=torch.float64)
    target = source @ roma.random_rotmat(dtype=torch.float64) * 3 + torch.randn(21, 3, dtype=torch.float64)
    if mirrored:
        target = target * torch.tensor([-1.0, 1, 1])
    x, y = ((points - points.mean(0)).numpy() for points in (source, target))
    if allow_reflection:
        turned = x @ orthogonal_procrustes(x, y)[0]
    else:
        turned = Rotation.align_vectors(y, x)[0].apply(x)
    expected = turned * (turned * y).sum() / np.square(x).sum() + target.mean(0).numpy()
    aligned = geometry.procrustes_align(source, target, allow_reflection=allow_reflection)
    np.testing.assert_allclose(aligned.numpy(), expected, atol=1e-9)


def test_procrustes_moves_points_without_extent_to_the_mean():
    source, target = torch.full((2, 21, 3), 7.0), torch.randn(2, 21, 3)
    torch.testing.assert_close(
        geometry.procrustes_align(source, target), target.mean(-2, keepdim=True).expand(2, 21, 3)
    )
