"""`kinematics.pose_hand` and Rodrigues' formula on the CPU: compiled kernels with their own gradients."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from tempohand.hand import kernels
from tempohand.hand.kinematics import Chain, Skin
from tempohand.skeleton import MANO_PARENTS

_PARENTS = np.array(MANO_PARENTS)


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


class Rotations(torch.autograd.Function):
    """Rotation vectors [N, 3] -> rotation matrices [N, 3, 3]; gradients are exact at zero rotation."""

    @staticmethod
    def forward(ctx, rotvecs: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3 3"]:
        """Rodrigues' formula."""
        ctx.save_for_backward(rotvecs)
        rotations = rotvecs.new_empty(len(rotvecs), 3, 3)
        kernels.rotations_forward(*_arrays(rotvecs, rotations))
        return rotations

    @staticmethod
    @once_differentiable
    def backward(ctx, g_rotations: Tensor) -> Tensor:
        """The gradient to the rotation vectors."""
        (rotvecs,) = ctx.saved_tensors
        g_rotvecs = torch.empty_like(rotvecs, memory_format=torch.contiguous_format)
        kernels.rotations_backward(*_arrays(rotvecs, g_rotations, g_rotvecs))
        return g_rotvecs


class PoseHand(torch.autograd.Function):
    """rotations [N, 16, 3, 3], betas [N, B], wrists [N, 3] -> joints [N, 21, 3], vertices [N, V, 3], mm."""

    @staticmethod
    def forward(
        ctx, rotations: Tensor, betas: Tensor, trans: Tensor, chain: Chain, skin: Skin
    ) -> tuple[Tensor, Tensor]:
        """`chain` and `skin` hold the tables."""
        count, bones = rotations.shape[:2]
        ctx.set_materialize_grads(False)
        ctx.chain = chain
        ctx.skin = skin
        ctx.shape_dim = betas.shape[1]
        coefficients = betas.new_empty(count, len(skin.dirs))
        rest, joints, motions = (betas.new_empty(count, bones, width) for width in (3, 3, 12))
        kernels.chain_forward(
            *_arrays(rotations, betas, trans, chain.rest_joints, chain.joint_dirs),
            _PARENTS,
            *_arrays(coefficients, rest, motions, joints),
        )
        shaped = torch.addmm(skin.template, coefficients, skin.dirs)
        moved = betas.new_empty(count, skin.weights.shape[1], 3)
        kernels.skin_forward(*_arrays(shaped, motions, moved, skin.weights))
        ctx.save_for_backward(rotations, rest, motions, shaped)
        tips = moved.index_select(1, skin.tips)
        return torch.cat([joints, tips], dim=1).index_select(1, chain.to_op), moved

    @staticmethod
    @once_differentiable
    def backward(ctx, g_joints: Tensor | None, g_vertices: Tensor | None) -> tuple[Tensor | None, ...]:
        """The gradients to rotations, betas and wrists."""
        rotations, rest, motions, shaped = ctx.saved_tensors
        chain, skin = ctx.chain, ctx.skin
        count, bones = rotations.shape[:2]
        if g_vertices is None:
            g_vertices = rest.new_zeros(count, skin.weights.shape[1], 3)
        if g_joints is None:
            g_joints = rest.new_zeros(count, len(chain.to_op), 3)
        g_joints, g_tips = g_joints.index_select(1, chain.from_op).split([bones, len(skin.tips)], dim=1)
        g_shaped, g_motions = torch.empty_like(shaped), torch.empty_like(motions)
        kernels.skin_backward(
            *_arrays(shaped, motions, g_vertices, g_tips, g_shaped, g_motions, skin.weights, skin.tips)
        )
        with torch.autocast("cpu", enabled=False):
            g_coefficients = g_shaped @ skin.dirs.mT
        g_rotations = torch.empty_like(rotations, memory_format=torch.contiguous_format)
        g_betas, g_trans = rest.new_empty(count, ctx.shape_dim), rest.new_empty(count, 3)
        tables = _arrays(rotations, rest, motions, chain.joint_dirs)
        kernels.chain_backward(
            *tables, _PARENTS, *_arrays(g_coefficients, g_motions, g_joints, g_rotations, g_betas, g_trans)
        )
        return g_rotations, g_betas, g_trans, None, None
