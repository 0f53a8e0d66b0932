"""The hand layer's 21 joints alone, in float64, and their exact derivatives: what a solver needs.

The 16 joints and the 5 fingertips are points on the skin of one kinematic chain: a joint follows itself with
weight 1, a fingertip has a vertex's skin weights and pose correctives. A point's derivative by a joint's
rotation is then the geometric Jacobian of a chain, axis x lever arm, summed over the bones that carry the
point (Murray, Li and Sastry, "A Mathematical Introduction to Robotic Manipulation", 1994, section 3.4).
"""

import copy
from typing import NamedTuple

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from tempohand.hand.layer import HandLayer
from tempohand.skeleton import MANO21_TO_OP, MANO_PARENTS, NUM_BETAS, NUM_MANO_JOINTS


class PosedJoints(NamedTuple):
    """Joints [N, 21, 3] in mm, OpenPose order, and their derivatives.

    by_rotation [N, 21, 3, 16, 3]: by a small rotation vector of each of MANO's joints, applied on the right
    of its rotation matrix. by_betas [N, 21, 3, 10]. The derivative by the wrist's position is the identity.
    """

    joints: Float[Tensor, "n 21 3"]
    by_rotation: Float[Tensor, "n 21 3 16 3"]
    by_betas: Float[Tensor, "n 21 3 10"]


class JointModel:
    """What the 21 joints of a hand layer depend on, in float64 on the layer's device; mm from the wrist.

    Measured on the layer's function, not read from its tables: it is linear in the betas, and quadratic in
    the entries of one rotation matrix, of which a central difference takes the linear part exactly.
    """

    def __init__(self, layer: HandLayer):
        layer = copy.deepcopy(layer).double()
        self.eye = torch.eye(3, dtype=torch.float64, device=layer.weights.device)
        self.hat = torch.linalg.cross(self.eye[:, None], self.eye[None]).mT  # hat[a] @ x = e_a x x
        still = self.eye.expand(NUM_MANO_JOINTS, 3, 3)
        units = torch.eye(NUM_BETAS, dtype=still.dtype, device=still.device)
        mean = torch.zeros_like(units[0])
        joints_16 = torch.argsort(torch.tensor(MANO21_TO_OP, device=still.device))[:NUM_MANO_JOINTS]

        # The 21 points at rest and their shape directions; those of MANO's 16 joints among them.
        self.points = layer.joints(still, mean)
        changes = layer.joints(still.expand(NUM_BETAS, -1, -1, -1), units) - self.points
        self.point_dirs = rearrange(changes, "b p c -> p c b")
        self.rest, self.rest_dirs = self.points[joints_16], self.point_dirs[joints_16]

        tree = torch.eye(NUM_MANO_JOINTS, dtype=still.dtype, device=still.device)
        self.weights = torch.cat([tree, layer.weights[layer.tips]])[list(MANO21_TO_OP)]  # [21, 16]
        # carries[j, k]: joint k hangs on joint j, or is it.
        self.carries = tree.clone()
        for joint, parent in enumerate(MANO_PARENTS[1:], 1):
            self.carries[:, joint] += self.carries[:, parent]

        # Pose correctives [21, 3, 15, 3, 3]: what an entry of a joint's matrix does beyond turning what hangs
        # on the joint. entries[j, r, k] changes one entry of joint j + 1.
        count = still.numel()
        entries = torch.eye(count, dtype=still.dtype, device=still.device)[9:].view(-1, 3, 3, *still.shape)
        betas = mean.expand(*entries.shape[:3], -1)
        slopes = (layer.joints(still + entries, betas) - layer.joints(still - entries, betas)) / 2
        arms = (self.weights @ self.carries.mT)[:, 1:, None] * (self.points[:, None] - self.rest[1:])
        turning = einsum(arms, self.eye, "p j k, r c -> p c j r k")
        self.correctives = rearrange(slopes, "j r k p c -> p c j r k") - turning

    def posed(
        self, rotations: Float[Tensor, "n 16 3 3"], betas: Float[Tensor, "n 10"], trans: Float[Tensor, "n 3"]
    ) -> Float[Tensor, "n 21 3"]:
        """Joints of hands with the given rotations, shape and wrist (mm)."""
        _, _, carried = self._carry(rotations, betas)
        return einsum(self.weights, carried, "p j, n p j c -> n p c") + trans[:, None]

    def derived(
        self, rotations: Float[Tensor, "n 16 3 3"], betas: Float[Tensor, "n 10"], trans: Float[Tensor, "n 3"]
    ) -> PosedJoints:
        """Joints and their derivatives."""
        turns, joints, carried = self._carry(rotations, betas)
        carried = self.weights[..., None] * carried
        arms = einsum(self.carries, carried, "j k, n p k c -> n p j c")
        arms = arms - (self.weights @ self.carries.mT)[..., None] * joints[:, None]
        # The axis of a local increment's component a is the a-th column of the joint's global rotation.
        axes = rearrange(turns, "n j c a -> n 1 j a c")
        by_rotation = rearrange(torch.linalg.cross(axes, arms[..., None, :]), "n p j a c -> n p c j a")

        blended = einsum(self.weights, turns, "p j, n j r c -> n p r c")
        changes = einsum(rotations[:, 1:], self.hat, "n j r s, a s k -> n j r k a")
        bulge = einsum(self.correctives, changes, "p c j r k, n j r k a -> n p c j a")
        by_rotation[..., 1:, :] += einsum(blended, bulge, "n p d c, n p c j a -> n p d j a")

        by_betas = einsum(blended, self.point_dirs, "n p r c, p c b -> n p r b")
        joint_dirs = [torch.zeros_like(by_betas[:, 0])]
        for joint, parent in enumerate(MANO_PARENTS[1:], 1):
            bone_dirs = self.rest_dirs[joint] - self.rest_dirs[parent]
            joint_dirs.append(joint_dirs[parent] + turns[:, parent] @ bone_dirs)
        turned_dirs = einsum(turns, self.rest_dirs, "n j r c, j c b -> n j r b")
        joint_dirs = torch.stack(joint_dirs, dim=1) - turned_dirs
        by_betas = by_betas + einsum(self.weights, joint_dirs, "p j, n j r b -> n p r b")
        return PosedJoints(carried.sum(dim=2) + trans[:, None], by_rotation, by_betas)

    def _carry(self, rotations: Tensor, betas: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Global rotations [N, 16, 3, 3], joints [N, 16, 3], and where each joint alone would carry each
        point [N, 21, 16, 3]; wrist at 0."""
        rest = self.rest + einsum(self.rest_dirs, betas, "j c b, n b -> n j c")
        turns, joints = [rotations[:, 0]], [rest[:, 0]]
        for joint, parent in enumerate(MANO_PARENTS[1:], 1):
            bone = einsum(turns[parent], rest[:, joint] - rest[:, parent], "n r c, n c -> n r")
            joints.append(joints[parent] + bone)
            turns.append(turns[parent] @ rotations[:, joint])
        turns, joints = torch.stack(turns, dim=1), torch.stack(joints, dim=1)
        points = self.points + einsum(self.point_dirs, betas, "p c b, n b -> n p c")
        points = points + einsum(self.correctives, rotations[:, 1:] - self.eye, "p c j r k, n j r k -> n p c")
        arms = points[:, :, None] - rest[:, None]
        return turns, joints, einsum(turns, arms, "n j r c, n p j c -> n p j r") + joints[:, None]
