"""Where a fit of hand parameters starts: rough hands near given joints, in closed form."""

from typing import NamedTuple

import numpy as np
import roma
import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from tempohand.hand.anatomy import POSES, angles_to_pose
from tempohand.hand.jacobian import JointModel
from tempohand.skeleton import NUM_BETAS, NUM_JOINTS, NUM_MANO_JOINTS

PALM = (0, 1, 5, 9, 13, 17)  # the wrist and where the fingers begin: they move little against each other
FINGER_WEIGHT = 0.01  # of the other joints, which count where the palm is hidden
NUM_VIEWS = 256


class FitState(NamedTuple):
    """The unknowns of a fit: rotation matrices, betas and the wrist (mm)."""

    rotations: Float[Tensor, "n 16 3 3"]
    betas: Float[Tensor, "n 10"]
    trans: Float[Tensor, "n 3"]

    def at(self, index: Tensor) -> "FitState":
        """Some of the hands."""
        return FitState(*(field[index] for field in self))


def posed_hands(names: tuple[str, ...], device: torch.device) -> FitState:
    """The named poses of `hand.anatomy` at the mean shape, wrist at the origin, unturned."""
    angles = torch.from_numpy(np.stack([POSES[name] for name in names]))
    rotations = roma.rotvec_to_rotmat(angles_to_pose(angles).unflatten(-1, (NUM_MANO_JOINTS, 3))).to(device)
    return FitState(rotations, rotations.new_zeros(len(names), NUM_BETAS), rotations.new_zeros(len(names), 3))


def start_from_points(
    model: JointModel, points: Float[Tensor, "n 21 3"], weight: Float[Tensor, "n 21"]
) -> FitState:
    """Hands near the given joints (mm; weight 0: not given): the palm by the best rigid motion, then each
    finger as in the named pose that brings it nearest."""
    n, named = len(points), posed_hands(tuple(POSES), points.device)
    templates = model.posed(*named)
    given = (weight > 0).to(points)
    share = torch.full((NUM_JOINTS,), FINGER_WEIGHT, dtype=points.dtype, device=points.device)
    share[list(PALM)] = 1.0
    relaxed = templates[list(POSES).index("rest")].expand(n, -1, -1)
    turn, shift = roma.rigid_points_registration(relaxed, points, weights=share * given)
    moved = einsum(turn, templates, "n r c, k p c -> n k p r") + shift[:, None, None]
    distances = (moved - points[:, None]).square().sum(dim=-1) * given[:, None]
    nearest = distances[..., 1:].unflatten(-1, (5, 4)).sum(dim=-1).argmin(dim=1)
    # OpenPose's fingers: thumb, index, middle, ring, pinky; MANO's: index, middle, pinky, ring, thumb.
    nearest = nearest[:, [1, 2, 4, 3, 0]].repeat_interleave(3, dim=1)
    fingers = named.rotations[nearest, torch.arange(1, NUM_MANO_JOINTS, device=points.device)]
    rotations = torch.cat([turn[:, None], fingers], dim=1)
    return FitState(rotations, named.betas[:1].repeat(n, 1), shift)


def place_by_rays(
    shape: Float[Tensor, "n 21 3"], rays: Float[Tensor, "n 21 2"], weight: Float[Tensor, "n 21"]
) -> Float[Tensor, "n 3"]:
    """Where a rigid set of points stands, from the rays (x / z, y / z) that it is seen along: the shift t of
    least weighted squares of (x + tx) - ray (z + tz), which is linear in t."""
    rows = torch.cat([torch.eye(2).to(rays).expand(*rays.shape, 2), -rays[..., None]], dim=-1)
    wanted = rays * shape[..., 2:] - shape[..., :2]
    scale = weight[..., None]
    rows, wanted = (rows * scale[..., None]).flatten(1, 2), (wanted * scale).flatten(1)
    return torch.linalg.lstsq(rows, wanted[..., None]).solution[..., 0]


def view_rotations(count: int) -> Float[Tensor, "count 3 3"]:
    """Rotations that bring evenly spread directions of an object (a Fibonacci lattice) to the front, at an
    arbitrary roll."""
    number = torch.arange(count, dtype=torch.float64) + 0.5
    height, around = 1 - 2 * number / count, number * torch.pi * (1 + 5**0.5)
    radius = (1 - height**2).sqrt()
    front = torch.stack([radius * around.cos(), radius * around.sin(), height], dim=-1)
    x_axis, y_axis, _ = torch.eye(3, dtype=front.dtype)
    helper = torch.where(front[:, :1].abs() < 0.8, x_axis, y_axis)
    across = torch.nn.functional.normalize(torch.linalg.cross(helper, front), dim=-1)
    return torch.stack([across, torch.linalg.cross(front, across), front], dim=-2)


def starts_from_picture(
    model: JointModel,
    pixels: Float[Tensor, "n 21 2"],
    weight: Float[Tensor, "n 21"],
    focal: Float[Tensor, "n 2"],
    princpt: Float[Tensor, "n 2"],
) -> list[FitState]:
    """Hands seen like the given pixels (weight 0: not given): for each named pose the best of many views.

    A distant hand's picture is a view of it, turned in the plane, scaled and shifted; with pixels as complex
    numbers the best turn and scale of every view are one product. Depth follows from the scale, which bone
    lengths fix.
    """
    total = weight.sum(dim=-1, keepdim=True)
    rays = torch.cat([(pixels - princpt[:, None]) / focal[:, None], torch.ones_like(pixels[..., :1])], dim=-1)
    # As if the camera looked at the hand: perspective then matters least.
    middle = torch.nn.functional.normalize(einsum(weight, rays, "n p, n p c -> n c"), dim=-1)
    look = _turn_onto_z(middle)
    rays = rays @ look.mT
    seen = torch.view_as_complex((rays[..., :2] / rays[..., 2:]).contiguous())
    seen_mean = (weight * seen).sum(dim=-1, keepdim=True) / total
    centred = weight * (seen - seen_mean)

    views = view_rotations(NUM_VIEWS).to(pixels.device)
    starts = []
    for name in POSES:
        hand = posed_hands((name,), pixels.device)
        template = model.posed(*hand)[0] @ views.mT  # [views, 21, 3]
        flat = torch.view_as_complex(template[..., :2].contiguous())
        overlap = centred @ flat.conj().mT
        spread = weight @ flat.abs().square().mT - (weight.to(flat) @ flat.mT).abs().square() / total
        best = (overlap.abs().square() / spread).argmax(dim=-1)
        scale = (overlap / spread).gather(1, best[:, None])
        starts.append(_place(hand, template[best], views[best], scale, weight / total, seen_mean, look))
    return starts


def _turn_onto_z(direction: Tensor) -> Float[Tensor, "n 3 3"]:
    """The smallest rotation that brings each unit vector (z > 0) onto the z axis."""
    x, y, z = direction.unbind(-1)
    share = 1 / (1 + z)
    rows = [1 - x * x * share, -x * y * share, -x, -x * y * share, 1 - y * y * share, -y, x, y, z]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def _place(hand: FitState, template, view, scale, share, seen_mean, look) -> FitState:
    """Hands whose template [N, 21, 3], seen under `view` [N, 3, 3], has the complex `scale` [N, 1] (in-plane
    turn / depth) and its middle, by `share` [N, 21], at the complex `seen_mean` [N, 1] of a camera turned by
    `look` [N, 3, 3]."""
    n = len(template)
    depth = 1 / scale.abs()
    turn = scale * depth
    none, one = torch.zeros_like(depth), torch.ones_like(depth)
    rows = [turn.real, -turn.imag, none, turn.imag, turn.real, none, none, none, one]
    roll = torch.cat(rows, dim=-1).unflatten(-1, (3, 3))
    middle = torch.cat([seen_mean.real, seen_mean.imag, one], dim=-1) * depth
    wrist = middle - einsum(roll, share, template, "n r c, n p, n p c -> n r")
    rotations = hand.rotations.repeat(n, 1, 1, 1)
    rotations[:, 0] = look.mT @ roll @ view @ rotations[:, 0]
    return FitState(rotations, hand.betas.repeat(n, 1), einsum(look, wrist, "n r c, n r -> n c"))
