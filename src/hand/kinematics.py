"""The hand's function in tensor operations: any device, compiler, exporter and derivative.

Linear blend skinning with shape and pose blend shapes (Romero, Tzionas and Black, "Embodied Hands", 2017).
`kernels` has the same function for CPUs.
"""

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from tempohand.skeleton import MANO21_TO_OP, NUM_MANO_JOINTS

FINGER_JOINTS = 3  # MANO's joints after the wrist are five chains of three


class Chain(nn.Module):
    """The kinematic tree, as buffers outside state dicts: `rest_joints` [16, 3], `joint_dirs` [16, 3, B], mm;
    `to_op` [21] gathers OpenPose's order from MANO's 16 joints and the 5 tips, `from_op` is its inverse."""

    rest_joints: Float[Tensor, "16 3"]
    joint_dirs: Float[Tensor, "16 3 b"]
    to_op: Int[Tensor, "21"]
    from_op: Int[Tensor, "21"]

    def __init__(self, rest_joints: Float[Tensor, "16 3"], joint_dirs: Float[Tensor, "16 3 b"]):
        super().__init__()
        self.register_buffer("rest_joints", rest_joints.contiguous(), persistent=False)
        self.register_buffer("joint_dirs", joint_dirs.contiguous(), persistent=False)
        to_op = torch.tensor(MANO21_TO_OP)
        self.register_buffer("to_op", to_op, persistent=False)
        self.register_buffer("from_op", torch.argsort(to_op), persistent=False)


class Skin(nn.Module):
    """The skin's tables, as buffers outside state dicts, for all vertices of a hand or for some.

    `template` [3 V] and `dirs` [B + 135, 3 V] hold all x, then all y, then all z (mm): coefficients @ dirs +
    template is the blended hand, laid out for skinning. `weights` [16, V]; `tips` [5] are the fingertips
    among the vertices.
    """

    template: Float[Tensor, "v3"]
    dirs: Float[Tensor, "k v3"]
    weights: Float[Tensor, "16 v"]
    tips: Int[Tensor, "5"]

    def __init__(
        self,
        template: Float[Tensor, "v 3"],
        dirs: Float[Tensor, "k v 3"],
        weights: Float[Tensor, "v 16"],
        tips: Int[Tensor, "5"],
    ):
        super().__init__()
        tables = {
            "template": rearrange(template, "v c -> (c v)").contiguous(),
            "dirs": rearrange(dirs, "k v c -> k (c v)").contiguous(),
            "weights": weights.mT.contiguous(),
            "tips": tips,
        }
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)


def pose_hand(
    chain: Chain,
    skin: Skin,
    rotations: Float[Tensor, "*batch 16 3 3"],
    betas: Float[Tensor, "*batch b"],
    trans: Float[Tensor, "*batch 3"],
) -> tuple[Float[Tensor, "*batch 21 3"], Float[Tensor, "*batch v 3"]]:
    """21 joints (OpenPose order) and the skin's vertices, mm, of MANO's 16 rotations, betas and the wrist."""
    rest = chain.rest_joints + einsum(chain.joint_dirs, betas, "j c b, ... b -> ... j c")
    turned = rotations[..., 1:, :, :] - torch.eye(3, dtype=rotations.dtype, device=rotations.device)
    coefficients = torch.cat([betas, turned.flatten(-3)], dim=-1)
    shaped = (skin.template + coefficients @ skin.dirs).unflatten(-1, (3, -1))

    turns, joints = _along_fingers(rotations, rest, trans)
    # Each vertex moves by the weighted mean of its joints' rigid motions x -> turn x + shift.
    shifts = joints - (turns @ rest.unsqueeze(-1)).squeeze(-1)
    motions = torch.cat([turns, shifts.unsqueeze(-1)], dim=-1)
    blended = (rearrange(motions, "... j r c -> ... (r c) j") @ skin.weights).unflatten(-2, (3, 4))
    moved = (blended[..., :3, :] * shaped.unsqueeze(-3)).sum(-2) + blended[..., 3, :]
    vertices = moved.mT
    return torch.cat([joints, vertices[..., skin.tips, :]], dim=-2)[..., chain.to_op, :], vertices


def _along_fingers(rotations: Tensor, rest: Tensor, trans: Tensor) -> tuple[Tensor, Tensor]:
    """Global rotations [*, 16, 3, 3] and joints [*, 16, 3]: all fingers at once, joint by joint outward."""
    turn, joint = rotations[..., :1, :, :], trans.unsqueeze(-2)
    by_depth = "... (finger depth) r c -> depth ... finger r c"
    local = rearrange(rotations[..., 1:, :, :], by_depth, depth=FINGER_JOINTS)
    places = rearrange(rest[..., 1:, :], "... (finger depth) c -> depth ... finger c", depth=FINGER_JOINTS)
    parent_place = rest[..., :1, :]
    first, turns, joints = (turn, joint), [], []
    for depth in range(FINGER_JOINTS):
        joint = joint + (turn @ (places[depth] - parent_place).unsqueeze(-1)).squeeze(-1)
        turn, parent_place = turn @ local[depth], places[depth]
        turns.append(turn)
        joints.append(joint)
    turns = rearrange(turns, "depth ... finger r c -> ... (finger depth) r c")
    joints = rearrange(joints, "depth ... finger c -> ... (finger depth) c")
    assert turns.shape[-3] + 1 == NUM_MANO_JOINTS
    return torch.cat([first[0], turns], dim=-3), torch.cat([first[1], joints], dim=-2)
