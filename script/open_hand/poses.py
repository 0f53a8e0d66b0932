"""A pose sampler and what comes from it: the pose space (hands_mean, hands_components) and the pose correctives (posedirs)."""

import numpy as np
import roma
import torch

from tempohand.hand.anatomy import ABDUCTION, FLEXION, POSES, RANGE_DEG, TWIST, angles_to_pose, clamp_angles
from tempohand.skeleton import MANO_PARENTS, NUM_MANO_JOINTS

FINGER_JOINTS = NUM_MANO_JOINTS - 1
NOISE_DEG = (8.0, 4.0, 1.0)  # flexion, abduction, twist
TOWARD_DUAL_QUATERNION = 0.7
RIDGE = 0.02


def sample_angles(count: int, generator: torch.Generator) -> torch.Tensor:
    """Plausible joint angles [count, 15, 3] in degrees.

    Mixtures of the named poses, partly finger by finger, with noise, within the range of motion.
    """
    named = torch.tensor(np.stack(list(POSES.values())))

    def shares(*shape):
        # Squared exponentials: one or two poses dominate a mixture.
        draws = -torch.log(torch.rand(*shape, len(named), generator=generator, dtype=named.dtype).clamp_min(1e-9))
        return draws**2 / (draws**2).sum(-1, keepdim=True)

    whole = torch.einsum("np,pja->nja", shares(count), named)
    fingers = torch.einsum("nfp,pfka->nfka", shares(count, 5), named.unflatten(1, (5, 3))).flatten(1, 2)
    own = torch.rand(count, 1, 1, generator=generator, dtype=named.dtype) ** 2
    noise = torch.randn(count, FINGER_JOINTS, 3, generator=generator, dtype=named.dtype) * torch.tensor(NOISE_DEG)
    return clamp_angles(whole * (1 - own) + fingers * own + noise)


def pose_space(angles: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(mean [45], components [45, 45]) of poses given as angles [N, 15, 3]: orthonormal rows by falling variance."""
    poses = angles_to_pose(angles)[:, 3:].numpy()
    mean = poses.mean(0)
    components = np.linalg.svd(poses - mean, full_matrices=True)[2] if len(poses) < 45 else np.linalg.eigh(np.cov(poses.T))[1].T[::-1]
    signs = np.sign(np.take_along_axis(components, np.abs(components).argmax(1)[:, None], axis=1))
    return mean, components * signs


def sweep_angles(steps: int = 7) -> torch.Tensor:
    """Every joint alone through its flexion and its abduction: angles [N, 15, 3] in degrees."""
    sweeps = []
    for joint in range(FINGER_JOINTS):
        for kind in (FLEXION, ABDUCTION, TWIST):
            low, high = RANGE_DEG[joint, kind]
            for angle in np.linspace(low, high, steps) if high > low else ():
                angles = np.zeros((FINGER_JOINTS, 3))
                angles[joint, kind] = angle
                sweeps.append(angles)
    return torch.tensor(np.stack(sweeps))


def pose_correctives(
    template: np.ndarray, joints: np.ndarray, weights: np.ndarray, angles: torch.Tensor
) -> tuple[np.ndarray, float, float]:
    """posedirs [V, 3, 135] that bring linear blend skinning nearer to dual quaternion skinning, which keeps the volume of a bent joint.

    template [V, 3], joints [16, 3], weights [V, 16]; angles [N, 15, 3] in degrees. Least squares (with a ridge) of the difference, taken
    back to the rest pose, against the entries of R - I of those joints that move the vertex. Returns also the greatest difference on
    the hand before and after, a mean over poses, in the unit of `template`.
    """
    rotations = roma.rotvec_to_rotmat(angles_to_pose(angles).unflatten(-1, (-1, 3)))
    features = (rotations[:, 1:] - torch.eye(3, dtype=rotations.dtype)).flatten(1).numpy()
    vertices, places, shares = (torch.from_numpy(x) for x in (template, joints, weights))
    turns, shifts = _motions(rotations, places)
    linear, blended_turns = linear_blend(rotations, template, joints, weights)
    dual = _dual_quaternion_skinning(turns, shifts, shares, vertices)
    wanted = torch.linalg.solve(blended_turns, (TOWARD_DUAL_QUATERNION * (dual - linear)).unsqueeze(-1)).squeeze(-1).numpy()
    directions = np.zeros((len(template), 3, features.shape[1]))
    moved_by = weights[:, 1:] > 0.02
    for support in np.unique(moved_by, axis=0):
        if not support.any():
            continue
        members = np.flatnonzero((moved_by == support).all(1))
        columns = np.flatnonzero(np.repeat(support, 9))
        chosen = features[:, columns]
        normal = chosen.T @ chosen + RIDGE * len(chosen) * np.eye(len(columns))
        solution = np.linalg.solve(normal, chosen.T @ wanted[:, members].reshape(len(chosen), -1))
        directions[np.ix_(members, range(3), columns)] = solution.reshape(len(columns), len(members), 3).transpose(1, 2, 0)
    remaining = wanted - np.einsum("np,vcp->nvc", features, directions)
    return directions, *(float(np.sqrt((x**2).sum(-1).max(1).mean())) for x in (wanted, remaining))


def linear_blend(rotations: torch.Tensor, template: np.ndarray, joints: np.ndarray, weights: np.ndarray):
    """Linear blend skinning without correctives: vertices [N, V, 3] and their blended turns [N, V, 3, 3] for rotations [N, 16, 3, 3]."""
    vertices, places, shares = (torch.from_numpy(x) for x in (template, joints, weights))
    turns, shifts = _motions(rotations, places)
    blended_turns = torch.einsum("vj,njab->nvab", shares, turns)
    return torch.einsum("nvab,vb->nva", blended_turns, vertices) + torch.einsum("vj,nja->nva", shares, shifts), blended_turns


def _motions(rotations: torch.Tensor, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each joint's rigid motion x -> turn x + shift: [N, 16, 3, 3] and [N, 16, 3]."""
    turns, positions = [rotations[:, 0]], [places[0].expand(len(rotations), 3)]
    for joint in range(1, NUM_MANO_JOINTS):
        parent = MANO_PARENTS[joint]
        positions.append(positions[parent] + turns[parent] @ (places[joint] - places[parent]))
        turns.append(turns[parent] @ rotations[:, joint])
    turns, positions = torch.stack(turns, 1), torch.stack(positions, 1)
    return turns, positions - torch.einsum("njab,jb->nja", turns, places)


def _dual_quaternion_skinning(turns, shifts, weights, vertices) -> torch.Tensor:
    """Kavan et al., "Skinning with dual quaternions", 2007: vertices [N, V, 3]."""
    real = roma.rotmat_to_unitquat(turns)
    signed = [real[:, 0]]
    for joint in range(1, NUM_MANO_JOINTS):  # q and -q are one rotation: take the one nearer to the parent's
        same = (real[:, joint] * signed[MANO_PARENTS[joint]]).sum(-1, keepdim=True) >= 0
        signed.append(torch.where(same, real[:, joint], -real[:, joint]))
    real = torch.stack(signed, 1)
    dual = 0.5 * roma.quat_product(torch.cat([shifts, torch.zeros_like(shifts[..., :1])], dim=-1), real)
    real, dual = (torch.einsum("vj,njq->nvq", weights, q) for q in (real, dual))
    length = real.norm(dim=-1, keepdim=True)
    real, dual = real / length, dual / length
    shift = 2 * roma.quat_product(dual, roma.quat_conjugation(real))[..., :3]
    return roma.quat_action(real, vertices.expand(*real.shape[:-1], 3)) + shift
