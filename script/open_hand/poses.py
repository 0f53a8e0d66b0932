"""Poses to fit to: a sampler of plausible ones, sweeps of joints, and the pose space (hands_mean,
hands_components)."""

import numpy as np
import torch

from tempohand.hand.anatomy import ABDUCTION, FLEXION, POSES, RANGE_DEG, TWIST, angles_to_pose, clamp_angles
from tempohand.skeleton import NUM_MANO_JOINTS

FINGER_JOINTS = NUM_MANO_JOINTS - 1
NOISE_DEG = (8.0, 4.0, 1.0)  # flexion, abduction, twist


def sample_angles(count: int, generator: torch.Generator) -> torch.Tensor:
    """Plausible joint angles [count, 15, 3] in degrees.

    Mixtures of the named poses, partly finger by finger, with noise, within the range of motion.
    """
    named = torch.tensor(np.stack(list(POSES.values())))

    def shares(*shape):
        # Squared exponentials: one or two poses dominate a mixture.
        draws = -torch.log(
            torch.rand(*shape, len(named), generator=generator, dtype=named.dtype).clamp_min(1e-9)
        )
        return draws**2 / (draws**2).sum(-1, keepdim=True)

    whole = torch.einsum("np,pja->nja", shares(count), named)
    fingers = torch.einsum("nfp,pfka->nfka", shares(count, 5), named.unflatten(1, (5, 3))).flatten(1, 2)
    own = torch.rand(count, 1, 1, generator=generator, dtype=named.dtype) ** 2
    noise = torch.randn(count, FINGER_JOINTS, 3, generator=generator, dtype=named.dtype) * torch.tensor(
        NOISE_DEG
    )
    return clamp_angles(whole * (1 - own) + fingers * own + noise)


def pose_space(angles: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(mean [45], components [45, 45]) of poses given as angles [N, 15, 3]: orthonormal rows by falling
    variance."""
    poses = angles_to_pose(angles)[:, 3:].numpy()
    mean = poses.mean(0)
    components = (
        np.linalg.svd(poses - mean, full_matrices=True)[2]
        if len(poses) < 45
        else np.linalg.eigh(np.cov(poses.T))[1].T[::-1]
    )
    signs = np.sign(np.take_along_axis(components, np.abs(components).argmax(1)[:, None], axis=1))
    return mean, components * signs


def sweep_angles() -> torch.Tensor:
    """Angles [N, 15, 3] in degrees that reach the ends of every joint's range: single joints, whole fingers,
    and random ones of all joints."""
    sweeps = []

    def add(*settings):
        angles = np.zeros((FINGER_JOINTS, 3))
        for joints, kind, degrees in settings:
            angles[joints, kind] = degrees
        sweeps.append(angles)

    fingers = [np.arange(k, 12, 3) for k in range(3)]
    # All fingers at once, for what they do alone, while the thumb does what it does alone.
    thumb = [
        (12, FLEXION, -15),
        (12, FLEXION, 20),
        (12, FLEXION, 40),
        (12, ABDUCTION, -20),
        (12, ABDUCTION, 20),
        (12, ABDUCTION, 30),
    ]
    thumb += [
        (12, TWIST, -25),
        (13, FLEXION, 25),
        (13, FLEXION, 50),
        (14, FLEXION, 25),
        (14, FLEXION, 50),
        (14, FLEXION, 75),
    ]
    flexions = [
        (-30, 0, 0),
        (30, 0, 0),
        (60, 0, 0),
        (90, 0, 0),
        (0, 30, 0),
        (0, 60, 0),
        (0, 80, 0),
        (0, 100, 0),
        (0, 0, 35),
        (0, 0, 70),
    ]
    flexions += [(0, 60, 40), (0, 100, 65)]
    for degrees, thumb_setting in zip(flexions, thumb):
        add(*((joints, FLEXION, d) for joints, d in zip(fingers, degrees)), thumb_setting)
    for start in range(0, 12, 3):
        for degrees in (30, 60, 90):
            add((start, FLEXION, degrees))
        for degrees in (-20, 20):
            add((start, ABDUCTION, degrees))
    add((12, FLEXION, 45))
    add((12, FLEXION, 35), (12, ABDUCTION, 25), (12, TWIST, -20), (13, FLEXION, 30))
    add((12, FLEXION, 20), (12, ABDUCTION, 25), (12, TWIST, -20), (13, FLEXION, 40), (14, FLEXION, 60))
    low, high = torch.tensor(RANGE_DEG).unbind(-1)
    anywhere = low + (high - low) * torch.rand(
        24, FINGER_JOINTS, 3, generator=torch.Generator().manual_seed(1), dtype=low.dtype
    )
    return torch.cat([torch.tensor(np.stack([*POSES.values(), *sweeps])), anywhere])
