"""What a user could take in place of a trained network, as rows of an evaluation: MediaPipe's hand landmark
network alone, and a hand model fitted to its landmarks, for which nothing is trained.

One look at each hand, as it stands in the picture: the middle of the crop that the networks see, EXPANSION
true boxes wide. It is not turned upright, nothing is averaged over crops or frames.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tempohand.batch import ClipBatch
from tempohand.evaluation.hands import Hands, in_boxes
from tempohand.geometry import normalise_pixels
from tempohand.hand.fit import fit_landmarks
from tempohand.hand.initial_guess import place_by_rays
from tempohand.hand.layer import HandLayer
from tempohand.model.landmarks import SIZE

EXPANSION = 1.5  # of what the network sees, over the longer edge of the hand's box
# Of the fit, standard deviations: of pixels as a share of that edge, and in space, mm. Chosen on drawn palms
# (docs/log.md).
PIXEL_NOISE = 0.025
SPACE_NOISE_MM = 10.0


class SeenHands(NamedTuple):
    """What the network says of the last frame of each clip, on the CPU."""

    joints2d: Float[Tensor, "b 21 2"]  # px of the batch's crops
    relative: Float[Tensor, "b 21 3"]  # mm along the crop's axes, from an origin of no meaning


@dataclass
class LandmarkRow:
    """A predictor of single frames, whose hands are on the CPU and may lack a mesh."""

    hands: Callable[[ClipBatch], Hands]

    def observe(self, batch: ClipBatch) -> dict[str, Tensor]:
        """All that is said of each frame's hand."""
        return {name: part for name, part in vars(self.hands(batch)).items() if part is not None}

    def conclude(self, kept: dict[str, Tensor], time: Float[Tensor, "n"]) -> Hands:
        """As they were predicted."""
        return Hands(**{name: part for name, part in kept.items() if name != "row"})


class LandmarkBaseline:
    """The landmark network's hands in an evaluation's batches, which hold crops of right hands with their
    cameras.

    network: gives HandLandmarks of crops. hand: whose parameters are fitted. expansion: edge of the batches'
    crops over that of the hands' boxes.
    """

    def __init__(self, network: nn.Module, hand: HandLayer, expansion: float):
        """Each of them on the device on which it is to compute."""
        self.network = network
        self.hand = hand
        self.expansion = expansion
        self._last: tuple[ClipBatch, SeenHands] | None = None

    def rows(self) -> dict[str, LandmarkRow]:
        """Row of the evaluation -> its predictor; they share the network's look at a batch."""
        return {"landmarks": LandmarkRow(self.alone), "landmarks_fit": LandmarkRow(self.fitted)}

    def alone(self, batch: ClipBatch) -> Hands:
        """The landmarks in space, where the camera sees them best along the rays of those in the picture; in
        the picture the latter themselves. There is no mesh."""
        joints2d, relative = self._seen(batch)
        focal, princpt = _camera(batch)
        rays = (joints2d.double() - princpt.double()[:, None]) / focal.double()[:, None]
        trans = place_by_rays(relative.double(), rays, torch.ones_like(rays[..., 0]))
        size = batch.frames.size[::-1]
        return Hands(
            joints=(relative.double() + trans[:, None]).float(),
            joints2d=in_boxes(normalise_pixels(joints2d, size), batch, self.expansion),
        )

    def fitted(self, batch: ClipBatch) -> Hands:
        """The likeliest hand of the model to have these landmarks (hand/fit.py)."""
        joints2d, relative = self._seen(batch)
        noise = joints2d.new_full((len(batch),), PIXEL_NOISE * batch.edge / self.expansion)
        found = fit_landmarks(
            self.hand, joints2d, relative, *_camera(batch), noise=noise, relative_noise=SPACE_NOISE_MM
        )
        return Hands(*self.hand(found.pose, found.shape, found.trans))

    def _seen(self, batch: ClipBatch) -> SeenHands:
        """The network's answer, the last of which is remembered."""
        if self._last is None or self._last[0] is not batch:
            self._last = batch, self._look(batch)
        return self._last[1]

    def _look(self, batch: ClipBatch) -> SeenHands:
        height, width = batch.frames.size
        side = round(batch.edge * min(1.0, EXPANSION / self.expansion))
        top, left = (height - side) // 2, (width - side) // 2
        image = batch.frames.image[: len(batch), :, top : top + side, left : left + side]
        found = self.network(image)
        screen = found.screen[..., :2].cpu()
        # Borders of pictures coincide, not centres of pixels.
        joints2d = (screen + 0.5) * (side / SIZE) - 0.5 + screen.new_tensor([left, top])
        return SeenHands(joints2d, found.world.cpu())


def _camera(batch: ClipBatch) -> tuple[Float[Tensor, "b 2"], Float[Tensor, "b 2"]]:
    """(focal, princpt) of the clips' last crops, on the CPU."""
    return batch.focal[:, -1].cpu(), batch.princpt[:, -1].cpu()
