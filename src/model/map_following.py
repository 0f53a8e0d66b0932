"""The hand follows its own heat maps: a small rigid motion, found by damped least squares, that brings the
joints nearer to where the maps see them in the picture."""

import math

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from tempohand.geometry import denormalise_pixels, project
from tempohand.model.heads import CERTAINTY

STEPS = 3  # of Gauss and Newton
UNKNOWNS = 6  # of a rigid motion
# Standard deviations, chosen on held-out drawn hands (docs/log.md): of a sure map, in edges of the crop; of
# what the heads say of the hand: place across the line of sight (as good as unknown), along it, orientation.
MAP = 0.03
ACROSS_MM = 1000.0
ALONG_MM = 30.0
TURN = math.radians(5.0)


def follow_maps(
    joints: Float[Tensor, "b 1 21 3"],
    wrist: Float[Tensor, "b 1 3"],
    readings: Float[Tensor, "b 1 21 f"],
    focal: Float[Tensor, "b 1 2"],
    princpt: Float[Tensor, "b 1 2"],
    size: int,
) -> tuple[Float[Tensor, "b 1 3 3"], Float[Tensor, "b 1 3"]]:
    """(rotation about the wrist, the moved wrist): the most probable rigid motion of a hand under Gaussian
    noise on the maps' places, weighted by their squared certainty, and on the hand's own.

    joints: relative to the wrist, mm, camera axes. readings: JointHeatmaps'. focal, princpt: px of crops of
    `size` px. Of float32; the caller turns autocast off.
    """
    places = denormalise_pixels(readings[..., :2], (size, size))
    weight = (readings[..., CERTAINTY] / (MAP * size))[..., None]  # of residuals; squared in their cost
    # Filled on the device: values of the host would be waited for.
    sigma = torch.cat(
        [joints.new_full((n,), value) for n, value in ((2, ACROSS_MM), (1, ALONG_MM), (3, TURN))]
    )
    prior = torch.eye(6, dtype=joints.dtype, device=joints.device) * sigma**-2
    rotation = torch.eye(3, dtype=joints.dtype, device=joints.device).expand(*wrist.shape[:-1], 3, 3)
    for _ in range(STEPS):
        here = joints @ rotation.mT
        points = here + wrist[..., None, :]
        residual = ((places - project(points, focal, princpt)) * weight).flatten(-2)
        rates = (_pixels_by_motion(here, points, focal) * weight[..., None]).flatten(-3, -2)
        step = torch.linalg.solve(rates.mT @ rates + prior, (rates.mT @ residual[..., None]))[..., 0]
        wrist = wrist + step[..., :3]
        rotation = roma.rotvec_to_rotmat(step[..., 3:]) @ rotation
    return rotation, wrist


def _pixels_by_motion(
    here: Float[Tensor, "b 1 21 3"], points: Float[Tensor, "b 1 21 3"], focal: Float[Tensor, "b 1 2"]
) -> Float[Tensor, "b 1 21 2 6"]:
    """Derivatives of each joint's pixels by a motion of the wrist (mm) and a turn about it (radians, camera
    axes). here: joints from the wrist; points: in camera space."""
    depth = points[..., 2:]
    scale = focal[..., None, :] / depth
    zero = torch.zeros_like(depth[..., 0])
    across = scale * -points[..., :2] / depth
    by_place = torch.stack(
        [
            torch.stack([scale[..., 0], zero, across[..., 0]], dim=-1),
            torch.stack([zero, scale[..., 1], across[..., 1]], dim=-1),
        ],
        dim=-2,
    )
    x, y, z = here.unbind(dim=-1)
    turned = torch.stack([zero, z, -y, -z, zero, x, y, -x, zero], dim=-1).unflatten(-1, (3, 3))
    return torch.cat([by_place, by_place @ turned], dim=-1)
