"""Heat maps of the joints as an input beside a picture: where labels have them, or another network does."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tempohand.batch import ClipBatch, Frames, HandPrediction
from tempohand.geometry import (
    apply_homography,
    beside,
    crop_camera,
    crop_homography,
    denormalise_pixels,
    normalise_pixels,
)
from tempohand.model.network import Crop, Network
from tempohand.model.sampling import warped

LABELS = "labels"
SIGMA = 1 / 64  # of a joint's Gaussian, crop widths


def draw_joint_maps(
    joints2d: Float[Tensor, "b 21 2"], known: Bool[Tensor, "b 21"], size: tuple[int, int]
) -> Float[Tensor, "b 21 h w"]:
    """A Gaussian of height 1 at each joint that is known (px / (W, H) - 0.5); nothing of others. size:
    (height, width)."""
    along = []
    for axis, pixels in enumerate(size[::-1]):
        places = torch.arange(pixels, device=joints2d.device) / pixels - 0.5
        along.append((-((places - joints2d[..., axis, None]) ** 2) / (2 * SIGMA**2)).exp())
    maps = along[1][..., :, None] * along[0][..., None, :]
    return maps.where(known[..., None, None], 0.0)


class SeenJoints(nn.Module):
    """Heat maps of the joints in the last frames' crops.

    source: "labels", the batch's own, and none in a batch without; or a checkpoint (or the name of a network
    that comes with the package) of a network that gives hands from a picture, whose 2D joints they are. That
    one is frozen, and sees its own crop inside this one's. crop: of the network that takes the maps.
    """

    def __init__(self, source: str, crop: Crop):
        super().__init__()
        self.crop = crop
        self.finder: Network | None = None
        if source != LABELS:
            from tempohand.model.registry import load_network  # which knows the network that asks

            self.finder = load_network(source, HandPrediction).requires_grad_(False)

    def forward(self, batch: ClipBatch) -> Float[Tensor, "b 21 h w"]:
        """Zeros for what is not known."""
        if self.finder is not None:
            places = self._found(batch)
            known = torch.ones_like(places[..., 0], dtype=torch.bool)
        elif batch.target is not None:
            places, known = batch.target.joints2d[:, 0], batch.target.joints2d_mask[:, 0]
        else:
            places = batch.frames.focal.new_zeros(len(batch), 21, 2)
            known = torch.zeros_like(places[..., 0], dtype=torch.bool)
        return draw_joint_maps(places.where(known[..., None], 0.0), known, self.crop.size)

    @torch.compiler.disable  # what it sees decides which crops are turned
    @torch.no_grad()
    def _found(self, batch: ClipBatch) -> Float[Tensor, "b 21 2"]:
        """What the other network sees in its crops of these crops."""
        assert self.finder is not None
        theirs, ours = self.finder.crop, self.crop
        last = batch.last_frame()
        frames = last.frames
        middle = beside(frames.princpt, ((ours.width - 1) / 2, (ours.height - 1) / 2))
        side = torch.full_like(middle[0], ours.edge * theirs.expansion / ours.expansion)
        matrix = crop_homography(middle, side, *theirs.size).expand(len(frames), 3, 3)
        focal, princpt = crop_camera(matrix, frames.focal, frames.princpt)
        image = warped(frames.image.float(), matrix, theirs.size).round().clamp(0, 255).to(torch.uint8)
        seen = Frames(size=theirs.size, focal=focal, princpt=princpt, time=frames.time, image=image)
        said = self.finder(replace(last, frames=seen, target=None, previous=None)).joints2d[:, 0].float()
        pixels = apply_homography(matrix.inverse(), denormalise_pixels(said, theirs.size[::-1]))
        return normalise_pixels(pixels, ours.size[::-1])
