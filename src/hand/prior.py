"""A Gaussian prior over the anatomical joint angles, whose log-density is a sum of squares."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tempohand.hand.anatomy import AXES, POSES, RANGE_DEG

# Standard deviation of an angle as a share of its range of motion, and its least: hinges give a little, too.
RANGE_SHARE = 0.35
LEAST_DEG = 3.0
# Nearer than this to an abduction of 90 degrees, flexion and twist turn about one axis; anatomy ends at 30.
_LEAST_COSINE = 0.1


class AnglePrior:
    """The 15 finger joints' angles (`hand.anatomy`) as errors of unit variance about the relaxed hand's."""

    def __init__(self, device: torch.device | str = "cpu"):
        axes = AXES.transpose(0, 2, 1)  # columns
        # Some frames are left-handed, since abduction has another sign there.
        sign = np.stack([np.ones(15), np.linalg.det(axes), np.ones(15)], axis=-1)
        self.sign = torch.from_numpy(sign).to(device)
        self.frames = torch.from_numpy(axes.copy()).to(device) * self.sign[:, None]
        self.mean = torch.deg2rad(torch.from_numpy(POSES["rest"].copy())).to(device)
        spread = np.maximum(RANGE_SHARE * (RANGE_DEG[..., 1] - RANGE_DEG[..., 0]), LEAST_DEG)
        self.deviation = torch.deg2rad(torch.from_numpy(spread)).to(device)

    def angles(self, rotations: Float[Tensor, "n 15 3 3"]) -> Float[Tensor, "n 15 3"]:
        """(flexion, abduction, twist), radians, of matrices: the inverse of `anatomy.angles_to_pose`."""
        turned = self.frames.mT @ rotations @ self.frames
        flexion = torch.atan2(-turned[..., 1, 2], turned[..., 2, 2])
        abduction = torch.asin(turned[..., 0, 2].clamp(-1.0, 1.0))
        twist = torch.atan2(-turned[..., 0, 1], turned[..., 0, 0])
        return torch.stack([flexion, abduction, twist], dim=-1) * self.sign

    def errors(self, rotations: Float[Tensor, "n 15 3 3"]) -> Float[Tensor, "n 15 3"]:
        """Angles away from the relaxed hand's, in standard deviations."""
        return (self.angles(rotations) - self.mean) / self.deviation

    def derived(
        self, rotations: Float[Tensor, "n 15 3 3"]
    ) -> tuple[Float[Tensor, "n 15 3"], Float[Tensor, "n 15 3 3"]]:
        """`errors`, and their derivatives [N, joint, angle, 3] by a small rotation vector on the right of
        each joint's matrix, which is Rx(flexion) Ry(abduction) Rz(twist) in its joint's frame."""
        angles = self.angles(rotations)
        _, abduction, twist = (angles * self.sign).unbind(-1)
        cosine, sine = torch.cos(twist), torch.sin(twist)
        none, one = torch.zeros_like(twist), torch.ones_like(twist)
        shrink = torch.cos(abduction).clamp_min(_LEAST_COSINE)[..., None]
        by_flexion = torch.stack([cosine, -sine, none], dim=-1) / shrink
        by_abduction = torch.stack([sine, cosine, none], dim=-1)
        by_twist = torch.stack([none, none, one], dim=-1) - torch.sin(abduction)[..., None] * by_flexion
        rates = torch.stack([by_flexion, by_abduction, by_twist], dim=-2) @ self.frames.mT
        return (angles - self.mean) / self.deviation, rates * (self.sign / self.deviation)[..., None]
