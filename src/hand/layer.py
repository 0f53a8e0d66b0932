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
from tempohand.hand.pose import is_recorded, need_tensors, pose_to_rotmat
from tempohand.skeleton import NUM_BETAS, NUM_MANO_JOINTS, POSE_DIM, TIP_VERTICES

MM_PER_METRE = 1000.0
HAND_POSE_DIM = POSE_DIM - 3


class HandOutput(NamedTuple):
    """Joints (OpenPose order) and vertices, mm, relative to the wrist or, with `trans`, in its frame."""

    joints: Float[Tensor, "*batch 21 3"]
    vertices: Float[Tensor, "*batch 778 3"]


class HandLayer(nn.Module):
    """A hand model as a differentiable function, without parameters; its tables stay out of state dicts.

    path, side, left_shapedirs: as `read_hand_file` takes them. tips: which code base's vertices are the
    fingertips, a key of `skeleton.TIP_VERTICES`. Buffers: `faces` [1538, 3], `hands_mean` [45] and
    `hands_components` [45, 45] (radians, absolute pose = mean + coefficients @ components), and the tables of
    `chain` and `skin` (mm). Everything is computed in float32 whatever autocast says (bfloat16 would step by
    half a millimetre); `.double()` gives float64.
    """

    faces: Int[Tensor, "1538 3"]
    hands_mean: Float[Tensor, "45"]
    hands_components: Float[Tensor, "45 45"]

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
        # Joints are regressed from the shaped template, and both steps are linear: regress the template and
        # its directions once.
        regressor = torch.from_numpy(tables.joint_regressor).double()
        joint_dirs = einsum(regressor, shape_dirs, "j v, v c b -> j c b")
        self.chain = Chain((regressor @ template).float(), joint_dirs.float())
        # Shape and pose directions together: one product gives the blended hand.
        dirs = rearrange(torch.cat([shape_dirs, pose_dirs], dim=-1), "v c k -> k v c").float()
        template, tip = template.float(), torch.tensor(TIP_VERTICES[tips])
        weights = torch.from_numpy(tables.weights)
        self.skin = Skin(template, dirs, weights, tip)
        # The same hand with five vertices: what joints need.
        self.tip_skin = Skin(template[tip], dirs[:, tip], weights[tip], torch.arange(len(tip)))
        for name in ("hands_mean", "hands_components", "faces"):
            self.register_buffer(name, torch.from_numpy(getattr(tables, name)), persistent=False)

    def forward(
        self,
        pose: Float[Tensor, "*batch 48"] | Float[Tensor, "*batch 16 6"] | Float[Tensor, "*batch 16 3 3"],
        betas: Float[Tensor, "*batch 10"],
        trans: Float[Tensor, "*batch 3"] | None = None,
    ) -> HandOutput:
        """Joints [*, 21, 3] and vertices [*, 778, 3], mm, in the frame of the global orientation and `trans`.

        pose: axis-angle [*, 48], 6D [*, 16, 6] or rotation matrices [*, 16, 3, 3] of MANO's 16 joints, the
        global orientation first, absolute (`hands_mean` is not added; `pca_to_pose` adds it). betas: shape
        coefficients. trans: the wrist's position, mm; the origin if not given. Raises ValueError for other
        shapes (batches are not broadcast), and TypeError for other than tensors, as all methods here.
        """
        return HandOutput(*self._pose(self.skin, pose, betas, trans))

    def joints(
        self, pose: Tensor, betas: Float[Tensor, "*batch 10"], trans: Float[Tensor, "*batch 3"] | None = None
    ) -> Float[Tensor, "*batch 21 3"]:
        """The joints of `forward` alone, at a fraction of its cost: no vertices but the fingertips."""
        return self._pose(self.tip_skin, pose, betas, trans)[0]

    def mano_joints(
        self, pose: Tensor, betas: Float[Tensor, "*batch 10"], trans: Float[Tensor, "*batch 3"] | None = None
    ) -> Float[Tensor, "*batch 16 3"]:
        """MANO's own 16 joints (`skeleton.MANO_JOINT_NAMES`), millimetres."""
        return self.joints(pose, betas, trans)[..., self.chain.from_op[:NUM_MANO_JOINTS], :]

    def _pose(self, skin: Skin, pose: Tensor, betas: Tensor, trans: Tensor | None) -> tuple[Tensor, Tensor]:
        need_tensors(pose=pose, betas=betas, trans=trans)
        dtype = skin.template.dtype
        assert dtype in (torch.float32, torch.float64), f"{dtype} hand tables: kinematics need float32"
        with torch.autocast(pose.device.type, enabled=False):
            rotations, betas = pose_to_rotmat(pose.to(dtype)), betas.to(dtype)
            trans = betas.new_zeros(*betas.shape[:-1], 3) if trans is None else trans.to(dtype)
            batch = torch.Size(rotations.shape[:-3])
            given, wanted = (list(betas.shape), list(trans.shape)), ([*batch, NUM_BETAS], [*batch, 3])
            if given != wanted:  # the kernels would read what lies beyond
                raise ValueError(
                    "betas {} and trans {} do not fit {} poses: expected betas {} and trans {}".format(
                        *given, list(pose.shape), *wanted
                    )
                )
            if pose.device.type != "cpu" or is_recorded():
                return pose_hand(self.chain, skin, rotations, betas, trans)
            count = batch.numel()
            flat = (x.reshape(count, *x.shape[len(batch) :]) for x in (rotations, betas, trans))
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
        plus `hands_mean` unless `flat_hand_mean`, as in smplx and manopth. global_orient: the wrist's."""
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
        """The wrist's place J0(betas) in the model's rest frame, mm: the wrist less MANO's `transl`."""
        need_tensors(betas=betas)
        rest, dirs = self.chain.rest_joints[0], self.chain.joint_dirs[0]
        with torch.autocast(betas.device.type, enabled=False):
            return rest + einsum(dirs, betas.to(dirs.dtype), "c b, ... b -> ... c")

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
