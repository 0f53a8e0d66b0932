"""The hand layer: pose, shape and wrist position in, 21 joints and 778 vertices out.

Linear blend skinning with shape and pose blend shapes (Romero, Tzionas and Black, "Embodied Hands", 2017),
the same function as smplx's MANO but for three conventions: lengths are millimetres, joints are the 21 of
OpenPose's order, and translation is the wrist's own position.
"""

from pathlib import Path
from typing import Literal, NamedTuple

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from tempohand.hand.cpu_autograd import PoseHand
from tempohand.hand.files import read_hand_file
from tempohand.hand.kinematics import Chain, Skin, pose_hand
from tempohand.hand.pose import need_tensors, pose_to_rotmat
from tempohand.skeleton import NUM_BETAS, NUM_MANO_JOINTS, POSE_DIM, TIP_VERTICES

MM_PER_METRE = 1000.0
HAND_POSE_DIM = POSE_DIM - 3


class HandOutput(NamedTuple):
    """Joints in OpenPose order and vertices, millimetres, relative to the wrist or, if `trans` was given, in
    its frame."""

    joints: Float[Tensor, "*batch 21 3"]
    vertices: Float[Tensor, "*batch 778 3"]


class HandLayer(nn.Module):
    """A hand model as a differentiable function. It has no parameters, and its tables stay out of state
    dicts.

    path: a hand model file or folder as `read_hand_file` takes it; None for the open hand. side: "right" or
    "left"; None for the file's own. A file of the other side is mirrored. left_shapedirs: "fixed" or
    "unfixed", how a left file's shape directions are read (`read_hand_file`). tips: which code base's
    vertices are the fingertips, a key of `skeleton.TIP_VERTICES`.

    Buffers: `faces` [1538, 3], `hands_mean` [45] and `hands_components` [45, 45] (radians, absolute pose =
    mean + coefficients @ components), and the tables of `chain` and `skin` (mm). Everything is computed in
    float32 whatever autocast says (bfloat16 would step by half a millimetre); `.double()` gives float64.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        side: Literal["right", "left"] | None = None,
        left_shapedirs: Literal["fixed", "unfixed"] = "fixed",
        tips: str = "smplx",
    ):
        super().__init__()
        if tips not in TIP_VERTICES:
            raise ValueError(f"tips: '{tips}' is none of {sorted(TIP_VERTICES)}")
        tables = read_hand_file(path, side=side, left_shapedirs=left_shapedirs)
        self.side = tables.side
        template, shape_dirs, pose_dirs = (
            torch.from_numpy(table).double() * MM_PER_METRE
            for table in (tables.v_template, tables.shapedirs, tables.posedirs)
        )
        regressor, weights = (
            torch.from_numpy(tables.joint_regressor).double(),
            torch.from_numpy(tables.weights),
        )
        # Joints are regressed from the shaped template, and both steps are linear: regress the template and
        # its directions once.
        self.chain = Chain(
            (regressor @ template).float(), einsum(regressor, shape_dirs, "j v, v c b -> j c b").float()
        )
        # Shape and pose directions together: one product gives the blended hand.
        dirs = torch.cat(
            [rearrange(shape_dirs, "v c b -> b v c"), rearrange(pose_dirs, "v c p -> p v c")]
        ).float()
        template, tip_vertices = template.float(), torch.tensor(TIP_VERTICES[tips])
        self.skin = Skin(template, dirs, weights, tip_vertices)
        # The same hand with five vertices: what joints need.
        self.tip_skin = Skin(
            template[tip_vertices],
            dirs[:, tip_vertices],
            weights[tip_vertices],
            torch.arange(len(tip_vertices)),
        )
        for name, buffer in (
            ("hands_mean", tables.hands_mean),
            ("hands_components", tables.hands_components),
            ("faces", tables.faces),
        ):
            self.register_buffer(name, torch.from_numpy(buffer), persistent=False)

    def forward(
        self,
        pose: Float[Tensor, "*batch 48"] | Float[Tensor, "*batch 16 6"] | Float[Tensor, "*batch 16 3 3"],
        betas: Float[Tensor, "*batch 10"],
        trans: Float[Tensor, "*batch 3"] | None = None,
    ) -> HandOutput:
        """Poses the hand.

        pose: axis-angle [*, 48], 6D [*, 16, 6] or rotation matrices [*, 16, 3, 3]: MANO's 16 joints, the
        global orientation first, absolute (`hands_mean` is not added; `pca_to_pose` adds it). betas: [*, 10]
        shape coefficients. trans: [*, 3] the wrist's position in millimetres; without it the wrist is the
        origin. Returns joints [*, 21, 3] and vertices [*, 778, 3] in millimetres, in the frame that the
        global orientation and `trans` lead to. Raises ValueError for other shapes (batches are not
        broadcast), and TypeError for other than tensors, as all methods here.
        """
        return HandOutput(*self._pose(self.skin, pose, betas, trans))

    def joints(
        self, pose: Tensor, betas: Float[Tensor, "*batch 10"], trans: Float[Tensor, "*batch 3"] | None = None
    ) -> Float[Tensor, "*batch 21 3"]:
        """The joints of `forward` alone, at a fraction of its cost: the only vertices that are made are the
        fingertips."""
        return self._pose(self.tip_skin, pose, betas, trans)[0]

    def mano_joints(
        self, pose: Tensor, betas: Float[Tensor, "*batch 10"], trans: Float[Tensor, "*batch 3"] | None = None
    ) -> Float[Tensor, "*batch 16 3"]:
        """MANO's own 16 joints (`skeleton.MANO_JOINT_NAMES`), millimetres."""
        return self.joints(pose, betas, trans)[..., self.chain.from_op[:NUM_MANO_JOINTS], :]

    def _pose(self, skin: Skin, pose: Tensor, betas: Tensor, trans: Tensor | None) -> tuple[Tensor, Tensor]:
        need_tensors(pose=pose, betas=betas, trans=trans)
        dtype = skin.template.dtype
        assert dtype in (torch.float32, torch.float64), (
            f"hand layer tables are {dtype}: hand kinematics need float32"
        )
        with torch.autocast(pose.device.type, enabled=False):
            rotations, betas = pose_to_rotmat(pose.to(dtype)), betas.to(dtype)
            trans = betas.new_zeros(*betas.shape[:-1], 3) if trans is None else trans.to(dtype)
            batch = rotations.shape[:-3]
            if betas.shape != (*batch, NUM_BETAS) or trans.shape != (
                *batch,
                3,
            ):  # the kernels would read what lies beyond
                wanted = f"betas {[*batch, NUM_BETAS]} and trans {[*batch, 3]}"
                raise ValueError(
                    f"betas {list(betas.shape)} and trans {list(trans.shape)} do not fit "
                    f"{list(pose.shape)} poses: expected {wanted}"
                )
            if pose.device.type != "cpu" or torch.compiler.is_compiling():
                return pose_hand(self.chain, skin, rotations, betas, trans)
            flat = (
                rotations.reshape(-1, NUM_MANO_JOINTS, 3, 3),
                betas.reshape(-1, NUM_BETAS),
                trans.reshape(-1, 3),
            )
            joints, vertices = PoseHand.apply(*flat, self.chain, skin)
            return joints.view(*batch, *joints.shape[1:]), vertices.view(*batch, *vertices.shape[1:])

    @property
    def template(self) -> Float[Tensor, "778 3"]:
        """The mean hand at rest, mm, in the model's own frame."""
        return rearrange(self.skin.template, "(c v) -> v c", c=3)

    @property
    def weights(self) -> Float[Tensor, "778 16"]:
        """Skin weights."""
        return self.skin.weights.mT

    @property
    def rest_joints(self) -> Float[Tensor, "16 3"]:
        """MANO's joints of the mean hand at rest, mm, in the model's own frame."""
        return self.chain.rest_joints

    @property
    def tips(self) -> Int[Tensor, "5"]:
        """The fingertips' vertices: thumb, index, middle, ring, pinky."""
        return self.skin.tips

    def pca_to_pose(
        self,
        global_orient: Float[Tensor, "*batch 3"],
        coefficients: Float[Tensor, "*batch n"],
        *,
        flat_hand_mean: bool = False,
    ) -> Float[Tensor, "*batch 48"]:
        """Absolute axis-angle pose of `n` PCA coefficients, 1 to 45: coefficients @ hands_components[:n],
        plus `hands_mean` unless `flat_hand_mean`, as smplx and manopth count them. global_orient: [*, 3]
        axis-angle of the wrist."""
        need_tensors(global_orient=global_orient, coefficients=coefficients)
        fingers = coefficients @ self.hands_components[: coefficients.shape[-1]]
        return torch.cat([global_orient, fingers if flat_hand_mean else fingers + self.hands_mean], dim=-1)

    def pose_to_pca(
        self, pose: Float[Tensor, "*batch 48"], n: int = HAND_POSE_DIM, *, flat_hand_mean: bool = False
    ) -> tuple[Float[Tensor, "*batch 3"], Float[Tensor, "*batch n"]]:
        """Global orientation and `n` PCA coefficients of an absolute axis-angle pose: exact with all 45, else
        the nearest (least squares)."""
        need_tensors(pose=pose)
        orient, fingers = pose.split([3, HAND_POSE_DIM], dim=-1)
        offsets = fingers if flat_hand_mean else fingers - self.hands_mean
        return orient, offsets @ torch.linalg.pinv(self.hands_components[:n].double()).to(offsets.dtype)

    def add_mean(self, pose: Float[Tensor, "*batch 48"]) -> Float[Tensor, "*batch 48"]:
        """Absolute axis-angle pose of one that counts from the mean pose (smplx's `flat_hand_mean=False`)."""
        need_tensors(pose=pose)
        return pose + torch.cat([pose.new_zeros(3), self.hands_mean.to(pose.dtype)])

    def subtract_mean(self, pose: Float[Tensor, "*batch 48"]) -> Float[Tensor, "*batch 48"]:
        """An absolute axis-angle pose counted from the mean pose (smplx's `flat_hand_mean=False`)."""
        need_tensors(pose=pose)
        return pose - torch.cat([pose.new_zeros(3), self.hands_mean.to(pose.dtype)])

    def rest_wrist(self, betas: Float[Tensor, "*batch 10"]) -> Float[Tensor, "*batch 3"]:
        """The wrist's place J0(betas) in the model's own rest frame, millimetres: what separates MANO's
        `transl` from the wrist."""
        need_tensors(betas=betas)
        with torch.autocast(betas.device.type, enabled=False):
            chain = self.chain
            return chain.rest_joints[0] + einsum(
                chain.joint_dirs[0], betas.to(chain.joint_dirs.dtype), "c b, ... b -> ... c"
            )

    def wrist_to_transl(
        self, wrist: Float[Tensor, "*batch 3"], betas: Float[Tensor, "*batch 10"]
    ) -> Float[Tensor, "*batch 3"]:
        """MANO's `transl` of a hand whose wrist lies at `wrist`, millimetres: wrist - J0(betas)."""
        need_tensors(wrist=wrist)
        return wrist - self.rest_wrist(betas)

    def transl_to_wrist(
        self, transl: Float[Tensor, "*batch 3"], betas: Float[Tensor, "*batch 10"]
    ) -> Float[Tensor, "*batch 3"]:
        """The wrist's position of a hand with MANO's `transl`, millimetres: J0(betas) + transl."""
        need_tensors(transl=transl)
        return transl + self.rest_wrist(betas)
