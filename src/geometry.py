"""Cameras, projection, crops as homographies, mirror, Procrustes: any batch dimensions, OpenCV camera, pixel
centres at integers.

A camera is `focal` (fx, fy) and `princpt` (cx, cy) in pixels of the picture it comes with. Every change of
the picture here (mirror, roll, perspective rotation, crop) is a homography of pixels together with the rigid
change of the camera space and the camera that go with it, so project(change(X)) = change(project(X)) holds by
construction.
"""

from collections.abc import Sequence
from typing import overload

import numpy as np
import roma
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from tempohand.skeleton import BONES, FINGER_BASES, HAND_SIZE_CHAIN, WRIST

# points nearer than this are projected as if at this depth: no division by zero, no flip behind the camera
MIN_DEPTH_MM = 1.0


def project(
    points: Float[Tensor, "*batch n 3"], focal: Float[Tensor, "*batch 2"], princpt: Float[Tensor, "*batch 2"]
) -> Tensor:
    """Pinhole projection of camera-space points (mm) to pixels [*batch, n, 2]."""
    depth = points[..., 2:].clamp_min(MIN_DEPTH_MM)
    return points[..., :2] / depth * focal[..., None, :] + princpt[..., None, :]


def unproject(
    uv: Float[Tensor, "*batch n 2"],
    depth: Float[Tensor, "*batch n"],
    focal: Float[Tensor, "*batch 2"],
    princpt: Float[Tensor, "*batch 2"],
) -> Float[Tensor, "*batch n 3"]:
    """Camera-space points (the unit of `depth`) seen at pixels `uv` at z = `depth`; the inverse of
    `project`."""
    xy = (uv - princpt[..., None, :]) / focal[..., None, :] * depth[..., None]
    return torch.cat([xy, depth[..., None]], dim=-1)


def weak_perspective(
    focal: Float[Tensor, "*batch 2"], depth: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Pixels a mm has at `depth`, mm; of pixels a mm the depth, for the function is its own inverse. Of fx
    and fy the geometric mean."""
    return focal.log().mean(dim=-1).exp() / depth


def beside(tensor: Tensor, values: Sequence[float]) -> Float[Tensor, "n"]:
    """Numbers as a tensor of another one's type, made on its device: a copy from the host's memory would wait
    for the device."""
    return torch.stack([tensor.new_full((), value) for value in values])


def normalise_pixels(uv: Float[Tensor, "*batch 2"], size: tuple[int, int]) -> Float[Tensor, "*batch 2"]:
    """Pixels to [-0.5, 0.5] over a picture of `size` (W, H): uv / (W, H) - 0.5."""
    return uv / beside(uv, size) - 0.5


def denormalise_pixels(uv: Float[Tensor, "*batch 2"], size: tuple[int, int]) -> Float[Tensor, "*batch 2"]:
    """The inverse of `normalise_pixels`."""
    return (uv + 0.5) * beside(uv, size)


def over_square(uv: Float[Tensor, "*batch 2"], size: tuple[int, int]) -> Float[Tensor, "*batch 2"]:
    """Normalised places over a crop of `size` (height, width) as places over the square in its middle that is
    as wide as its shorter edge."""
    height, width = size
    edge = min(size)
    return uv * beside(uv, (width / edge, height / edge))


def camera_matrix(
    focal: Float[Tensor, "*batch 2"], princpt: Float[Tensor, "*batch 2"]
) -> Float[Tensor, "*batch 3 3"]:
    """K of the pinhole camera."""
    matrix = focal.new_zeros(*focal.shape[:-1], 3, 3)
    matrix[..., 0, 0], matrix[..., 1, 1] = focal[..., 0], focal[..., 1]
    matrix[..., :2, 2], matrix[..., 2, 2] = princpt, 1.0
    return matrix


def camera_rotation_homography(
    rotation: Float[Tensor, "*#batch 3 3"],
    focal: Float[Tensor, "*#batch 2"],
    princpt: Float[Tensor, "*#batch 2"],
) -> Float[Tensor, "*#batch 3 3"]:
    """Pixel homography K R K^-1 of a camera turned so that its new coordinates are X' = R X (Hartley &
    Zisserman, section 8.4)."""
    return camera_matrix(focal, princpt) @ rotation @ camera_matrix(1 / focal, -princpt / focal)


def apply_homography(
    matrix: Float[Tensor, "*#batch 3 3"], uv: Float[Tensor, "*#batch n 2"]
) -> Float[Tensor, "*#batch n 2"]:
    """Pixels through a homography."""
    mapped = uv @ matrix[..., :2].mT + matrix[..., None, :, 2]
    return mapped[..., :2] / mapped[..., 2:]


def box_to_square(
    box: Float[Tensor, "*batch 4"], expansion: float
) -> tuple[Float[Tensor, "*batch 2"], Float[Tensor, "*batch"]]:
    """Centre (px) and side (px) of the square of side max(w, h) * expansion around an xyxy box."""
    low, high = box[..., :2], box[..., 2:]
    return (low + high) / 2, (high - low).amax(dim=-1) * expansion


def crop_homography(
    centre: Float[Tensor, "*batch 2"], side: Float[Tensor, "*batch"], height: int, width: int
) -> Float[Tensor, "*batch 3 3"]:
    """Homography of a crop of height x width px: the only crop there is, in training, evaluation and
    inference.

    `centre` lands on the crop's centre, and `side` source pixels become the crop's shorter edge.
    """
    scale = min(height, width) / side
    matrix = centre.new_zeros(*centre.shape[:-1], 3, 3)
    matrix[..., 0, 0] = matrix[..., 1, 1] = scale
    matrix[..., :2, 2] = beside(centre, ((width - 1) / 2, (height - 1) / 2)) - centre * scale[..., None]
    matrix[..., 2, 2] = 1.0
    return matrix


def crop_camera(
    crop: Float[Tensor, "*batch 3 3"], focal: Float[Tensor, "*batch 2"], princpt: Float[Tensor, "*batch 2"]
) -> tuple[Float[Tensor, "*batch 2"], Float[Tensor, "*batch 2"]]:
    """The camera (focal, princpt) of the cropped picture: a crop moves the intrinsics and leaves the camera
    space alone."""
    diagonal = torch.stack([crop[..., 0, 0], crop[..., 1, 1]], dim=-1)
    return focal * diagonal, princpt * diagonal + crop[..., :2, 2]


def mirror_homography(width: Int[Tensor, "*batch"] | int) -> Float[Tensor, "*batch 3 3"]:
    """u -> W - 1 - u (float64, as the other homographies that are built once per picture)."""
    width = torch.as_tensor(width, dtype=torch.float64)
    matrix = torch.diag(width.new_tensor([-1.0, 1.0, 1.0])).repeat(*width.shape, 1, 1)
    matrix[..., 0, 2] = width - 1
    return matrix


def mirror_points(points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Camera-space points of the mirrored picture: x -> -x."""
    return points * beside(points, (-1.0, 1.0, 1.0))


def mirror_pose(pose: Float[Tensor, "*batch 48"]) -> Float[Tensor, "*batch 48"]:
    """Axis-angle pose of the mirrored hand: every (x, y, z) -> (x, -y, -z)."""
    return pose * beside(pose, (1.0, -1.0, -1.0)).repeat(pose.shape[-1] // 3)


def rotate_pose(
    rotation: Float[Tensor, "*#batch 3 3"], pose: Float[Tensor, "*#batch 48"]
) -> Float[Tensor, "*#batch 48"]:
    """Axis-angle pose after the rigid change X' = R X: the global orientation becomes R R_root, the fingers
    stay."""
    root = roma.rotmat_to_rotvec(rotation @ roma.rotvec_to_rotmat(pose[..., :3]))
    return torch.cat([root, pose[..., 3:]], dim=-1)


def upward_angle(start: Float[Tensor, "*batch 2"], end: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
    """The angle of a direction from the picture's upward one, clockwise as seen, in [-pi, pi]."""
    x, y = (end - start).unbind(dim=-1)
    return torch.atan2(x, -y)


def rotation_about_z(angle: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation by `angle` from x toward y."""
    cosine, sine = angle.cos(), angle.sin()
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    rows = [cosine, -sine, zero, sine, cosine, zero, zero, zero, one]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def fingers_angle(joints2d: Float[Tensor, "*batch 21 2"]) -> Float[Tensor, "*batch"]:
    """Where a hand's fingers point in a picture, as `upward_angle`: from the wrist to between the bases of
    index and ring finger and that of the middle one (hand_landmarks_to_roi of MediaPipe)."""
    index, middle, ring = (joints2d[..., joint, :] for joint in FINGER_BASES)
    return upward_angle(joints2d[..., WRIST, :], ((index + ring) / 2 + middle) / 2)


def rotation_6d_to_matrix(columns: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrix of two stacked columns by Gram-Schmidt (Zhou et al., CVPR 2019)."""
    return roma.special_gramschmidt(rearrange(columns, "... (column row) -> ... row column", column=2))


def crop_rays(
    focal: Float[Tensor, "*batch 2"], princpt: Float[Tensor, "*batch 2"], size: int, grid: int
) -> Float[Tensor, "*batch n 4"]:
    """Unit camera ray (x, y) and in-crop uv in [-0.5, 0.5] at the cell centres of a grid x grid raster over a
    size x size crop, n = grid^2."""
    centre = (torch.arange(grid, device=focal.device, dtype=focal.dtype) + 0.5) / grid
    v, u = torch.meshgrid(centre, centre, indexing="ij")
    uv = torch.stack([u, v], dim=-1).reshape(-1, 2)  # (n, 2) in [0, 1], from one pixel edge to the other
    pixels = (uv * size - 0.5).expand(*focal.shape[:-1], -1, -1)
    rays = unproject(pixels, pixels.new_ones(pixels.shape[:-1]), focal, princpt)
    rays = rays / rays.norm(dim=-1, keepdim=True)
    return torch.cat([rays[..., :2], (uv - 0.5).expand_as(pixels)], dim=-1)


def hand_size(joints: Float[Tensor, "*batch 21 3"]) -> Float[Tensor, "*batch"]:
    """Summed length of the middle finger's three bones, in the unit of `joints`."""
    chain = joints[..., HAND_SIZE_CHAIN, :]
    return (chain[..., 1:, :] - chain[..., :-1, :]).norm(dim=-1).sum(dim=-1)


def procrustes_align(
    source: Float[Tensor, "*batch n 3"],
    target: Float[Tensor, "*batch n 3"],
    *,
    allow_reflection: bool = False,
) -> Float[Tensor, "*batch n 3"]:
    """`source` moved onto `target` by the similarity s R x + t of least squared distance (Umeyama 1991).
    Computed in float64, returned in the type of `source`; a source without extent becomes the target's mean.

    `allow_reflection` admits det R = -1, as the official FreiHAND and HO3D scripts do. The singular values
    that give the scale carry the sign of a reflection that was not admitted.
    """
    source64 = source.double()
    target64 = target.double()
    source_centred = source64 - source64.mean(dim=-2, keepdim=True)
    target_mean = target64.mean(dim=-2, keepdim=True)
    covariance = (target64 - target_mean).mT @ source_centred
    rotation, singular = roma.procrustes(
        covariance, force_rotation=not allow_reflection, return_singular_values=True
    )
    variance = source_centred.square().sum(dim=(-1, -2)).clamp_min(1e-12)
    scale = singular.sum(dim=-1) / variance
    return (scale[..., None, None] * source_centred @ rotation.mT + target_mean).to(source.dtype)


@overload
def bone_lengths(joints: Float[np.ndarray, "*batch 21 3"]) -> Float[np.ndarray, "*batch 20"]: ...


@overload
def bone_lengths(joints: Float[Tensor, "*batch 21 3"]) -> Float[Tensor, "*batch 20"]: ...


def bone_lengths(
    joints: Float[np.ndarray | Tensor, "*batch 21 3"],
) -> Float[np.ndarray | Tensor, "*batch 20"]:
    """Lengths of the 20 bones, finger by finger from the wrist to the tip, in the joints' unit; nan where an
    end is unknown. For arrays and tensors alike."""
    parents, children = map(list, zip(*BONES))
    return ((joints[..., children, :] - joints[..., parents, :]) ** 2).sum(-1) ** 0.5
