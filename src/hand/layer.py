"""The hand layer: pose, shape and wrist position in, 21 joints and 778 vertices out.

Linear blend skinning with shape and pose blend shapes (Romero, Tzionas and Black, "Embodied Hands", 2017), the same function as smplx's MANO
but for three conventions: lengths are millimetres, joints are the 21 of OpenPose's order, and translation is the wrist's own position.
"""

from pathlib import Path
from typing import NamedTuple

import roma
import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tempohand.hand.files import read_hand_file
from tempohand.skeleton import MANO21_TO_OP, NUM_MANO_JOINTS, TIP_VERTICES

MM_PER_METRE = 1000.0


class HandOutput(NamedTuple):
    """Joints in OpenPose order and vertices, millimetres, relative to the wrist or, if `trans` was given, in its frame."""

    joints: Float[Tensor, "*batch 21 3"]
    vertices: Float[Tensor, "*batch 778 3"]


class HandLayer(nn.Module):
    """A hand model as a differentiable function. It has no parameters, and its tables stay out of state dicts.

    path: a hand model file or folder as `read_hand_file` takes it; None for the open hand.
    Buffers, in millimetres where they are lengths: `faces` [1538, 3], `template` [778, 3], `dirs` [145, 2334] (10 of shape, 135 of pose),
    `weights` [778, 16], `rest_joints` [16, 3], `joint_dirs` [16, 3, 10], `hands_mean` [45] and `hands_components` [45, 45] (radians).
    Everything is computed in float32 whatever autocast says (bfloat16 would step by half a millimetre); `.double()` gives float64.
    """

    def __init__(self, path: str | Path | None = None):
        super().__init__()
        tables = read_hand_file(path)
        self.side = tables.side
        template, shape_dirs, pose_dirs = (
            torch.from_numpy(table).double() * MM_PER_METRE for table in (tables.v_template, tables.shapedirs, tables.posedirs)
        )
        regressor = torch.from_numpy(tables.joint_regressor).double()
        buffers = {
            "template": template,
            "weights": torch.from_numpy(tables.weights),
            # Shape and pose directions together, coordinate by coordinate: one product gives the blended hand, laid out for skinning.
            "dirs": torch.cat([rearrange(shape_dirs, "v c b -> b (c v)"), rearrange(pose_dirs, "v c p -> p (c v)")]),
            # Joints are regressed from the shaped template, and both steps are linear: regress the template and its directions once.
            "rest_joints": regressor @ template,
            "joint_dirs": einsum(regressor, shape_dirs, "j v, v c b -> j c b"),
            "hands_mean": torch.from_numpy(tables.hands_mean),
            "hands_components": torch.from_numpy(tables.hands_components),
        }
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer.float().contiguous(), persistent=False)
        self.register_buffer("faces", torch.from_numpy(tables.faces), persistent=False)
        self.register_buffer("tips", torch.tensor(TIP_VERTICES["smplx"]), persistent=False)
        self.register_buffer("to_op", torch.tensor(MANO21_TO_OP), persistent=False)

    def forward(
        self,
        pose: Float[Tensor, "*batch 48"] | Float[Tensor, "*batch 16 3 3"],
        betas: Float[Tensor, "*batch 10"],
        trans: Float[Tensor, "*batch 3"] | None = None,
    ) -> HandOutput:
        """Poses the hand.

        pose: axis-angle [*, 48] or rotation matrices [*, 16, 3, 3]: MANO's 16 joints, the global orientation first, absolute (`hands_mean`
        is not added).
        betas: [*, 10] shape coefficients. trans: [*, 3] the wrist's position in millimetres; without it the wrist is the origin.
        Returns joints [*, 21, 3] and vertices [*, 778, 3] in millimetres, in the frame that the global orientation and `trans` lead to.
        """
        dtype = self.template.dtype
        assert dtype in (torch.float32, torch.float64), f"hand layer tables are {dtype}: hand kinematics need float32"
        with torch.autocast(pose.device.type, enabled=False):
            rotations = pose_to_rotmat(pose.to(dtype))
            betas = betas.to(dtype)
            rest = self.rest_joints + einsum(self.joint_dirs, betas, "j c b, ... b -> ... j c")
            wrist, rest = rest[..., 0, :], rest - rest[..., :1, :]
            turned = rotations[..., 1:, :, :] - torch.eye(3, dtype=dtype, device=rotations.device)
            coefficients = torch.cat([betas, turned.flatten(-3)], dim=-1)
            shaped = self.template.mT + (coefficients @ self.dirs).unflatten(-1, (3, -1)) - wrist.unsqueeze(-1)

            turns, joints = _chain(rotations, rest)
            # Each vertex moves by the weighted mean of its joints' rigid motions x -> turn x + shift.
            shifts = joints - einsum(turns, rest, "... j r c, ... j c -> ... j r")
            motions = torch.cat([turns, shifts.unsqueeze(-1)], dim=-1)
            blended = (rearrange(motions, "... j r c -> ... (r c) j") @ self.weights.mT).unflatten(-2, (3, 4))
            moved = (blended[..., :3, :] * shaped.unsqueeze(-3)).sum(-2) + blended[..., 3, :]
            vertices = moved.mT.contiguous()

            joints = torch.cat([joints, vertices[..., self.tips, :]], dim=-2)[..., self.to_op, :]
            if trans is not None:
                trans = trans.to(dtype).unsqueeze(-2)
                joints, vertices = joints + trans, vertices + trans
        return HandOutput(joints, vertices)

    def rest_wrist(self, betas: Float[Tensor, "*batch 10"]) -> Float[Tensor, "*batch 3"]:
        """The wrist's place J0(betas) in the model's own rest frame, millimetres: what separates MANO's `transl` from the wrist."""
        with torch.autocast(betas.device.type, enabled=False):
            return self.rest_joints[0] + einsum(self.joint_dirs[0], betas.to(self.template.dtype), "c b, ... b -> ... c")

    def wrist_to_transl(self, wrist: Float[Tensor, "*batch 3"], betas: Float[Tensor, "*batch 10"]) -> Float[Tensor, "*batch 3"]:
        """MANO's `transl` of a hand whose wrist lies at `wrist`, millimetres: wrist - J0(betas)."""
        return wrist - self.rest_wrist(betas)

    def transl_to_wrist(self, transl: Float[Tensor, "*batch 3"], betas: Float[Tensor, "*batch 10"]) -> Float[Tensor, "*batch 3"]:
        """The wrist's position of a hand with MANO's `transl`, millimetres: J0(betas) + transl."""
        return transl + self.rest_wrist(betas)


def pose_to_rotmat(pose: Tensor) -> Float[Tensor, "*batch 16 3 3"]:
    """Axis-angle pose [*, 48] as rotation matrices; rotation matrices [*, 16, 3, 3] pass through. Raises ValueError for other shapes."""
    if pose.shape[-1] == 3 * NUM_MANO_JOINTS:
        return roma.rotvec_to_rotmat(rearrange(pose, "... (j c) -> ... j c", c=3))
    if pose.shape[-3:] != (NUM_MANO_JOINTS, 3, 3):
        expected = f"[*, {3 * NUM_MANO_JOINTS}] axis-angle or [*, {NUM_MANO_JOINTS}, 3, 3] matrices"
        raise ValueError(f"pose has shape {list(pose.shape)}; expected {expected}")
    return pose


def _chain(rotations: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """Global rotations [*, 16, 3, 3] and joint positions [*, 16, 3], the wrist at rest[0].

    All five fingers at once, by depth: MANO's joints after the wrist are five chains of three.
    """
    turn, joint = rotations[..., :1, :, :], rest[..., :1, :]
    local = rearrange(rotations[..., 1:, :, :], "... (finger depth) r c -> depth ... finger r c", depth=3)
    places = rearrange(rest[..., 1:, :], "... (finger depth) c -> depth ... finger c", depth=3)
    parent_place, turns, joints = joint, [], []
    first = turn, joint
    for depth in range(3):
        joint = joint + (turn @ (places[depth] - parent_place).unsqueeze(-1)).squeeze(-1)
        turn, parent_place = turn @ local[depth], places[depth]
        turns.append(turn)
        joints.append(joint)
    turns = rearrange(turns, "depth ... finger r c -> ... (finger depth) r c")
    joints = rearrange(joints, "depth ... finger c -> ... (finger depth) c")
    return torch.cat([first[0], turns], dim=-3), torch.cat([first[1], joints], dim=-2)
