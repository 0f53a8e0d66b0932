"""A second round of labels: what a trained network says of the hands that a teacher has found, averaged over
several crops of each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from tempohand.assemble.data import plain_view
from tempohand.assemble.teacher import mean_and_spread
from tempohand.batch import ClipBatch, Frames
from tempohand.data.convert.real_hands import assumed_camera
from tempohand.data.view import ViewDraw
from tempohand.geometry import (
    apply_homography,
    denormalise_pixels,
    fingers_angle,
    mirror_points,
    rotation_about_z,
)
from tempohand.model.network import Network

# The crops: turned by so many degrees from where the fingers point up, and so many times as wide as the
# network's own.
CROPS = ((-20.0, 0.9), (-7.0, 1.06), (7.0, 0.94), (20.0, 1.1))


@dataclass(frozen=True)
class SecondLabels:
    """What the crops of each hand say together, in the picture: joints2d (px), joints (mm along its axes,
    from their own mean), spread (mm): root mean square distance of the crops' answers from their mean."""

    joints2d: Float[Tensor, "n 21 2"]
    joints: Float[Tensor, "n 21 3"]
    spread: Float[Tensor, "n 21"]


class SecondLook:
    """Looks at hands through four crops each (`CROPS`), by a network of single frames (`PoseNet`, or what is
    inside a network of Stage 2)."""

    def __init__(self, network: Network):
        self.network = (network.spatial_only() or network).eval()
        self.view = plain_view(self.network.crop)

    @torch.no_grad()
    def label(
        self,
        pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]],
        joints2d: Float[Tensor, "n 21 2"],
        is_right: Bool[Tensor, "n"],
    ) -> SecondLabels:
        """The hand in each RGB picture, whose joints a first look saw about `joints2d` (px)."""
        seen = [self._look(pictures, joints2d.double(), is_right, *crop) for crop in CROPS]
        joints2d, joints = map(torch.stack, zip(*seen))
        (joints2d, _), (joints, spread) = mean_and_spread(joints2d), mean_and_spread(joints)
        return SecondLabels(joints2d, joints, spread)

    def _look(
        self, pictures: Sequence[np.ndarray], joints2d: Tensor, is_right: Tensor, roll: float, factor: float
    ) -> tuple[Float[Tensor, "n 21 2"], Float[Tensor, "n 21 3"]]:
        """One crop of each hand: joints2d and joints, as of the picture itself."""
        joints = torch.empty(*joints2d.shape[:2], 3)
        found = torch.empty(joints2d.shape)
        for side in (True, False):
            places = (is_right == side).nonzero()[:, 0]
            if len(places):
                chosen = [pictures[place] for place in places.tolist()]
                found[places], joints[places] = self._look_at_side(
                    chosen, joints2d[places], side, roll, factor
                )
        return found, joints

    def _look_at_side(
        self, pictures: Sequence[np.ndarray], joints2d: Tensor, is_right: bool, roll: float, factor: float
    ) -> tuple[Tensor, Tensor]:
        count = len(pictures)
        upward = fingers_angle(joints2d)
        turn = (-upward if is_right else upward) + math.radians(roll)
        draw = ViewDraw(
            rotation=rotation_about_z(turn),
            scale=torch.full((count,), factor).double(),
            shift=torch.zeros(count, 2).double(),
            photometric=None,
            mirror=False,
            frame=np.arange(count),
        )
        size = torch.tensor([picture.shape[1::-1] for picture in pictures])
        camera = (torch.from_numpy(part) for part in assumed_camera(joints2d.numpy(), size.double().numpy()))
        box = torch.cat([joints2d.amin(dim=1), joints2d.amax(dim=1)], dim=-1)
        placement = self.view.place(draw, size[:, 0], *camera, box, is_right)
        said = self.network(
            single_frames(
                Frames(
                    size=self.view.size,
                    image=self.view.warp(list(pictures), placement, draw),
                    focal=placement.focal,
                    princpt=placement.princpt,
                    time=torch.zeros(count, dtype=torch.float64),
                )
            )
        )
        pixels = denormalise_pixels(said.joints2d[:, 0].double(), self.view.size[::-1])
        joints = said.joints[:, 0]
        joints = (joints - joints.mean(dim=1, keepdim=True)) @ placement.rotation.float()
        joints = mirror_points(joints) if placement.mirrored else joints
        return apply_homography(placement.homography.inverse(), pixels).float(), joints


def single_frames(frames: Frames) -> ClipBatch:
    """Clips of one frame each, of right hands without labels."""
    count = len(frames)
    return ClipBatch(
        frames=frames,
        index=torch.arange(count)[:, None],
        frame_mask=torch.ones(count, 1, dtype=torch.bool),
        is_right=torch.ones(count, dtype=torch.bool),
        row=torch.full((count,), -1),
    )
