"""Skinning of a rest hand by joint rotations, without correctives: linear blends and dual quaternions."""

import numpy as np
import roma
import torch

from tempohand.skeleton import MANO_PARENTS, NUM_MANO_JOINTS


def linear_blend(rotations: torch.Tensor, template: np.ndarray, joints: np.ndarray, weights: np.ndarray):
    """Linear blend skinning without correctives: vertices [N, V, 3] and their blended turns [N, V, 3, 3] for
    rotations [N, 16, 3, 3]."""
    vertices, places, shares = (torch.from_numpy(x) for x in (template, joints, weights))
    turns, shifts = motions(rotations, places)
    blended_turns = torch.einsum("vj,njab->nvab", shares, turns)
    return torch.einsum("nvab,vb->nva", blended_turns, vertices) + torch.einsum(
        "vj,nja->nva", shares, shifts
    ), blended_turns


def motions(rotations: torch.Tensor, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each joint's rigid motion x -> turn x + shift: [N, 16, 3, 3] and [N, 16, 3]."""
    turns, positions = [rotations[:, 0]], [places[0].expand(len(rotations), 3)]
    for joint in range(1, NUM_MANO_JOINTS):
        parent = MANO_PARENTS[joint]
        positions.append(positions[parent] + turns[parent] @ (places[joint] - places[parent]))
        turns.append(turns[parent] @ rotations[:, joint])
    turns, positions = torch.stack(turns, 1), torch.stack(positions, 1)
    return turns, positions - torch.einsum("njab,jb->nja", turns, places)


def dual_quaternion_blend(
    rotations: torch.Tensor, vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Vertices [N, V, 3] for rotations [N, 16, 3, 3] (Kavan et al., "Skinning with dual quaternions",
    2007)."""
    turns, shifts = motions(rotations, torch.from_numpy(joints))
    shares = torch.from_numpy(weights)
    real = roma.rotmat_to_unitquat(turns)
    signed = [real[:, 0]]
    for joint in range(1, NUM_MANO_JOINTS):  # q and -q are one rotation: take the one nearer to the parent's
        same = (real[:, joint] * signed[MANO_PARENTS[joint]]).sum(-1, keepdim=True) >= 0
        signed.append(torch.where(same, real[:, joint], -real[:, joint]))
    real = torch.stack(signed, 1)
    dual = 0.5 * roma.quat_product(torch.cat([shifts, torch.zeros_like(shifts[..., :1])], dim=-1), real)
    real, dual = (torch.einsum("vj,njq->nvq", shares, q) for q in (real, dual))
    length = real.norm(dim=-1, keepdim=True)
    real, dual = real / length, dual / length
    shift = 2 * roma.quat_product(dual, roma.quat_conjugation(real))[..., :3]
    return (roma.quat_action(real, torch.from_numpy(vertices).expand(*real.shape[:-1], 3)) + shift).numpy()
