"""A hand by 22 numbers, as Boukhayma et al. ("3D Hand Shape and Pose from Images in the Wild", CVPR 2019) put
it: scale, translation, rotation, pose components and betas of a hand that is seen in weak perspective; and
the way from them to a hand in camera space and back.

The hand model's root is kept at half a turn about x (`INSIDE`), about the hand model's wrist; `rotation`
turns what comes of it about the model's own origin, which lies amid the palm. That origin is seen at
`translation`, and a plane at its depth at `scale`. With the real focal length f (px) the depth is f / scale:
where f is the crop's own, a hand in camera space follows, and the numbers are functions of its pose, betas,
wrist and camera. Truth is derived so from a view's labels, and follows whatever the view does.
"""

from dataclasses import dataclass

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from tempohand.geometry import beside, project, unproject, weak_perspective
from tempohand.hand.layer import HAND_POSE_DIM, MM_PER_METRE, HandLayer
from tempohand.model.hand_prediction import PosedHand
from tempohand.skeleton import NUM_BETAS

INSIDE = (torch.pi, 0.0, 0.0)  # axis-angle of the root before `rotation`
COMPONENTS = 6  # of pose, unless a network says otherwise
FRAME = 256.0  # px, edge of the picture in which a network counts, whatever its crops have
# What numbers of 0 stand for, the rest being 0: px a metre, px and px of the frame.
MEAN = (545.0, 128.0, 128.0)
LEAST_SCALE = 50.0  # px a metre of the frame, which a hand is placed by at least: none lies behind the camera


@dataclass(frozen=True)
class WeakHand:
    """The numbers, in px of the picture whose camera they go with; packed in this order they are 22, with 6
    components of pose."""

    scale: Float[Tensor, "*batch"]  # px a metre
    translation: Float[Tensor, "*batch 2"]  # of the model's origin, px, x before y
    rotation: Float[Tensor, "*batch 3"]  # axis-angle
    pose: Float[Tensor, "*batch k"]  # PCA, around the hand model's mean pose
    shape: Float[Tensor, "*batch 10"]

    @classmethod
    def unpacked(cls, numbers: Float[Tensor, "*batch n"]) -> "WeakHand":
        """From one vector a hand; those of pose are what 16 others leave."""
        components = numbers.shape[-1] - 6 - NUM_BETAS
        scale, *parts = numbers.split([1, 2, 3, components, NUM_BETAS], dim=-1)
        return cls(scale[..., 0], *parts)

    def packed(self) -> Float[Tensor, "*batch n"]:
        """As one vector a hand."""
        parts = [self.scale[..., None], self.translation, self.rotation, self.pose, self.shape]
        return torch.cat(parts, dim=-1)

    def posed(
        self, layer: HandLayer, focal: Float[Tensor, "*batch 2"], princpt: Float[Tensor, "*batch 2"]
    ) -> PosedHand:
        """The hand in the space of a camera, mm. focal, princpt: px of the picture that the numbers are
        in."""
        turn = roma.rotvec_to_rotmat(self.rotation)
        inside = beside(self.rotation, INSIDE).expand_as(self.rotation)
        rotation = roma.rotvec_to_rotmat(layer.pca_to_pose(inside, self.pose).unflatten(-1, (-1, 3)))
        rotation = torch.cat([turn[..., None, :, :] @ rotation[..., :1, :, :], rotation[..., 1:, :, :]], -3)
        depth = weak_perspective(focal, self.scale.clamp_min(LEAST_SCALE) / MM_PER_METRE)
        origin = unproject(self.translation[..., None, :], depth[..., None], focal, princpt)[..., 0, :]
        return PosedHand(rotation, self.shape, origin + _turned(turn, layer.rest_wrist(self.shape)))


def weak_hand(
    layer: HandLayer,
    pose: Float[Tensor, "*batch 48"],
    betas: Float[Tensor, "*batch 10"],
    trans: Float[Tensor, "*batch 3"],
    focal: Float[Tensor, "*batch 2"],
    princpt: Float[Tensor, "*batch 2"],
    components: int = COMPONENTS,
) -> WeakHand:
    """The numbers of a hand with an absolute pose, betas and its wrist at `trans` (mm), seen by a camera, in
    px of its picture: the inverse of `WeakHand.posed`. Where a pose is not of so many components, those
    nearest to it (least squares)."""
    orient, pca = layer.pose_to_pca(pose, components)
    inside = roma.rotvec_to_rotmat(beside(orient, INSIDE))
    turn = roma.rotvec_to_rotmat(orient) @ inside.mT
    origin = trans - _turned(turn, layer.rest_wrist(betas))
    translation = project(origin[..., None, :], focal, princpt)[..., 0, :]
    scale = MM_PER_METRE * weak_perspective(focal, origin[..., 2].clamp_min(1.0))
    return WeakHand(scale, translation, roma.rotmat_to_rotvec(turn), pca, betas)


def framed(
    focal: Float[Tensor, "*batch 2"], princpt: Float[Tensor, "*batch 2"], edge: int
) -> tuple[Float[Tensor, "*batch 2"], Float[Tensor, "*batch 2"]]:
    """The camera of a square crop of `edge` px as that of the same crop of FRAME px, pixel centres at
    integers."""
    factor = FRAME / edge
    return focal.float() * factor, (princpt.float() + 0.5) * factor - 0.5


def mean_numbers(components: int) -> Float[Tensor, "n"]:
    """What a network that says 0 means: the mean pose of the mean hand in the middle of the frame."""
    rest = 6 - len(MEAN) + components + NUM_BETAS
    return torch.cat([torch.tensor(MEAN), torch.zeros(rest)])


def check_components(layer: HandLayer, components: int, source: str | None) -> None:
    """Raises ValueError unless the hand model has so many components of pose; source: its file, None: the
    open hand's."""
    rows = layer.hands_components[: max(components, 0)].cpu().double()
    found = int(torch.linalg.matrix_rank(rows)) if len(rows) else 0
    if not 0 < components <= HAND_POSE_DIM or found < components:
        file = f"'{source}'" if source else "the open hand"
        has = f"{found} of the first {len(rows)}" if found < len(rows) else f"1 to {HAND_POSE_DIM}"
        raise ValueError(
            f"network.components={components}: {file} has {has} (table 'hands_components'): "
            "give another hand model (network.hand) or fewer components"
        )


def _turned(turn: Float[Tensor, "*batch 3 3"], point: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    return (turn @ point[..., None])[..., 0]
