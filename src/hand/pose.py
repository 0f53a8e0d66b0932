"""Poses of MANO's 16 joints, absolute: axis-angle [*, 48], 6D [*, 16, 6], matrices [*, 16, 3, 3]."""

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from tempohand.geometry import rotation_6d_to_matrix
from tempohand.hand.cpu_autograd import Rotations
from tempohand.skeleton import MANO_PARENTS, NUM_MANO_JOINTS, POSE_DIM


def need_tensors(**values: object) -> None:
    """Raises TypeError for the first value that is neither a tensor nor None: a silent conversion would cut
    gradients and copy at every call."""
    for name, value in values.items():
        if value is not None and not isinstance(value, Tensor):
            kind = f"{type(value).__module__}.{type(value).__name__}".removeprefix("builtins.")
            remedy = f"torch.as_tensor({name}) makes one of an array or a list"
            raise TypeError(f"{name} is a {kind}, not a torch tensor: {remedy}")


def is_recorded() -> bool:
    """Whether a compiler or an exporter records what is computed: it follows tensor operations, no compiled
    kernels."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def rotvec_to_rotmat(rotvecs: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of rotation vectors (radians); gradients are finite at zero rotation. Compiled on
    CPUs, by roma elsewhere. Raises TypeError for other than tensors, as all functions here."""
    need_tensors(rotvecs=rotvecs)
    compiled = rotvecs.device.type == "cpu" and rotvecs.dtype in (torch.float32, torch.float64)
    if not compiled or is_recorded():
        return roma.rotvec_to_rotmat(rotvecs)
    return Rotations.apply(rotvecs.reshape(-1, 3)).view(*rotvecs.shape, 3)


def pose_to_rotmat(pose: Tensor) -> Float[Tensor, "*batch 16 3 3"]:
    """A pose in any representation, by its shape, as matrices. Raises ValueError for other shapes."""
    need_tensors(pose=pose)
    if pose.shape[-2:] == (NUM_MANO_JOINTS, 6):
        return rotation_6d_to_matrix(pose)
    if pose.shape[-3:] == (NUM_MANO_JOINTS, 3, 3):
        return pose
    if pose.shape[-1:] == (POSE_DIM,):
        return rotvec_to_rotmat(pose.reshape(*pose.shape[:-1], NUM_MANO_JOINTS, 3))
    expected = "[*, 48] axis-angle, [*, 16, 6] 6D or [*, 16, 3, 3] matrices"
    remedy = "PCA coefficients: HandLayer.pca_to_pose"
    raise ValueError(f"pose has shape {list(pose.shape)}; expected {expected} ({remedy})")


def global_rotations(rotations: Float[Tensor, "*batch 16 3 3"]) -> Float[Tensor, "*batch 16 3 3"]:
    """Each joint's rotation against the space in which the wrist's is given, of those against their
    parents."""
    turns = [rotations[..., 0, :, :]]
    for joint in range(1, NUM_MANO_JOINTS):
        turns.append(turns[MANO_PARENTS[joint]] @ rotations[..., joint, :, :])
    return torch.stack(turns, dim=-3)


def rotmat_to_pose(rotations: Float[Tensor, "*batch 16 3 3"]) -> Float[Tensor, "*batch 48"]:
    """Rotation matrices as axis-angle, angles in [0, pi]."""
    need_tensors(rotations=rotations)
    return roma.rotmat_to_rotvec(rotations).flatten(-2)
