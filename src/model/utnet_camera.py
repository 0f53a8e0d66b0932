"""UTNet's camera: a weak-perspective one per crop, turned into camera space by the crop's own intrinsics.

Three numbers say where the hand is: the log of its scale over a scale that is known beforehand, and the
wrist's place from the crop's middle in edges of the square around the hand. With a scale s, half edges a mm,
the depth is 2 f / (edge s) (as in WiLoR, there with f = 5000 at 256 px), f the crop's real focal length; and
what projects there by the real camera lies at the wrist's place, for the depth is on that pixel's own ray.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tempohand.batch import ClipBatch
from tempohand.geometry import beside, normalise_pixels, unproject, weak_perspective
from tempohand.model.heads import depth_prior
from tempohand.model.utnet_depth import UNITS_MM, MeasuredDepth

FACTS = 5  # numbers of `CropCamera.facts`


@dataclass(frozen=True)
class CropCamera:
    """Cameras of crops of `size` (height, width) px. start: the depth, mm, of a hand of which nothing is said
    (camera numbers of 0): from the size of its box, or where the depth camera measures something. gain: the
    log of the depth that one unit of the first number is: a natural logarithm, or UNITS_MM at the measured
    depth, so that the numbers for a measured hand are lengths whatever its distance."""

    size: tuple[int, int]
    focal: Float[Tensor, "b 1 2"]  # px of the crop
    princpt: Float[Tensor, "b 1 2"]
    prior: Float[Tensor, "b 1"]  # depth by the box, mm
    start: Float[Tensor, "b 1"]
    gain: Float[Tensor, "b 1"]

    @classmethod
    def of(cls, batch: ClipBatch, expansion: float, depth: MeasuredDepth | None) -> "CropCamera":
        """Of each clip's last frame. expansion: the crop's edge over the hand's box."""
        focal, princpt = batch.focal[:, -1:].float(), batch.princpt[:, -1:].float()
        prior = depth_prior(focal, batch.edge, expansion, norm_by_hand=False)
        start, gain = prior, torch.ones_like(prior)
        if depth is not None:
            known, centre = depth.known[:, None], depth.centre[:, None].clamp_min(1.0)
            start, gain = centre.where(known, prior), (UNITS_MM / centre).where(known, 1.0)
        return cls(batch.frames.size, focal, princpt, prior, start, gain)

    @property
    def edge(self) -> int:
        """Of the square around the hand, px."""
        return min(self.size)

    def facts(self) -> Float[Tensor, "b f"]:
        """What a network is told of the camera: the ray through the crop's middle, the field of view, the
        depth to start from over the box's, and whether that is measured."""
        middle = (beside(self.focal, self.size[::-1]) / 2 - self.princpt) / self.focal
        view = self.edge / self.focal.mean(dim=-1)
        measured = (self.gain != 1).float()
        return torch.cat([middle[:, 0], view, (self.start / self.prior).log(), measured], dim=-1)

    def depth(self, camera: Float[Tensor, "b 1 3"]) -> Float[Tensor, "b 1"]:
        """The wrist's, mm."""
        return self.start * (-camera[..., 0] * self.gain).exp()

    def scale(self, camera: Float[Tensor, "b 1 3"]) -> Float[Tensor, "b 1"]:
        """The weak-perspective s: half edges of the square a mm."""
        return 2 * weak_perspective(self.focal, self.depth(camera)) / self.edge

    def wrist(self, camera: Float[Tensor, "b 1 3"]) -> Float[Tensor, "b 1 3"]:
        """In camera space, mm."""
        pixels = beside(camera, self.size[::-1]) / 2 + camera[..., 1:] * self.edge
        depth = self.depth(camera)
        return unproject(pixels[..., None, :], depth[..., None], self.focal, self.princpt)[..., 0, :]

    def said(self, camera: Float[Tensor, "b 1 3"]) -> dict[str, Tensor]:
        """The wrist as losses compare it: `uv` over the crop, [-0.5, 0.5] inside, and `log_depth` over the
        depth by the box."""
        width_height = beside(camera, self.size[::-1])
        pixels = width_height / 2 + camera[..., 1:] * self.edge
        return {
            "uv": normalise_pixels(pixels, self.size[::-1]),
            "log_depth": (self.start / self.prior).log() - camera[..., 0] * self.gain,
        }
