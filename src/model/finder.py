"""FinderNet: where in a picture hands are, and which side each is."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from tempohand.batch import BoxPrediction, ClipBatch, Term
from tempohand.geometry import beside
from tempohand.model.backbone import Backbone
from tempohand.model.finder_losses import TERMS, finder_terms
from tempohand.model.network import Network
from tempohand.model.weights import load_weights, of_network

STRIDES = (8, 16, 32)  # of the feature maps that are joined; boxes are read at the finest
RIGHT, LEFT = 0, 1  # channels of the logits
PRIOR_LOGIT = -4.6  # hands are rare: a cell holds a centre with probability 0.01 at first
PRIOR_LOG_SIZE = -1.2  # of a box's edge over the picture's: 0.3
LOG_SIZE_RANGE = (-5.0, 2.0)


class FinderNet(Network):
    """Hands as points (X. Zhou et al., "Objects as Points", 2019): for every cell of a raster the probability
    that a right or a left hand's centre lies in it, and that hand's box.

    size: edge of its pictures, px, a multiple of 32. expansion: of the crops that it is trained on
    (data/view.py). backbone: as in the configuration. width: channels of the top-down path (T.-Y. Lin et al.,
    "Feature Pyramid Networks", 2017) that joins its feature maps.

    Batches are Stage 1's, where every labelled hand is a right one, since the crops of left hands are
    mirrored. Here sides matter: in training half of the pictures, at random, are looked at in the mirror, in
    evaluation those that were mirrored are mirrored back. Predictions are of the batch's own pictures: boxes
    and sides of a picture that was looked at in the mirror are mirrored.
    """

    title = "hand finder"
    prediction = BoxPrediction
    terms = TERMS
    learning = ("frozen_backbone",)
    inherited = ("size", "expansion", "backbone", "width")
    weight_files = ("backbone.weights",)

    def __init__(
        self,
        num_frame: int,
        size: int | list[int] | tuple[int, int],
        expansion: float,
        backbone: dict,
        width: int,
        frozen_backbone: Sequence[str] = (),
    ):
        super().__init__(num_frame, size, expansion)
        self.size = self.crop.edge
        if self.size % STRIDES[-1]:
            raise ValueError(
                f"network.size={size}: the hand finder takes pictures whose edge is a multiple of "
                f"{STRIDES[-1]} px"
            )
        self.backbone = Backbone(size=self.size, strides=STRIDES, **backbone)
        self.backbone.freeze(frozen_backbone)
        self.lateral = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in self.backbone.channels)
        first, last = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.Conv2d(width, 6, 1)
        self.head = nn.Sequential(first, nn.GroupNorm(8, width), nn.ReLU(), last)
        with torch.no_grad():
            last.weight.mul_(0.1)
            last.bias.copy_(
                torch.tensor([PRIOR_LOGIT, PRIOR_LOGIT, 0.0, 0.0, PRIOR_LOG_SIZE, PRIOR_LOG_SIZE])
            )

    def parts(self) -> dict[str, nn.Module]:
        """The backbone."""
        return {"backbone": self.backbone}

    def forward(self, batch: ClipBatch) -> BoxPrediction:
        """What there is in every picture. Raises ValueError for clips of more than one frame."""
        if batch.num_frame != 1:
            raise ValueError(
                f"the hand finder takes clips of 1 frame, got {batch.num_frame}: use batch.last_frame()"
            )
        assert batch.frames.size == self.crop.size, (
            f"the network takes {self.size} px pictures, the batch has {batch.frames.size}"
        )
        mirrored = torch.rand(len(batch), device=batch.row.device) < 0.5 if self.training else ~batch.is_right
        assert batch.frames.image is not None
        return self.find(batch.frames.image, mirrored)

    def find(
        self, image: UInt8[Tensor, "n 3 s s"], mirrored: Bool[Tensor, "n"] | None = None
    ) -> BoxPrediction:
        """The hands of RGB pictures. Those of `mirrored` are looked at in the mirror (None: none are), and
        their boxes and sides are mirrored back."""
        if mirrored is None:
            mirrored = torch.zeros(len(image), dtype=torch.bool, device=image.device)
        choice = rearrange(mirrored, "n -> n 1 1 1")
        maps = self.backbone.pyramid(torch.where(choice, image.flip(-1), image))
        laterals = [lateral(features) for lateral, features in zip(self.lateral, maps)]
        joined = laterals.pop()
        while laterals:
            joined = laterals.pop() + F.interpolate(joined, scale_factor=2)
        output = self.head(joined).float()
        output = rearrange(torch.where(choice, mirror_image(output), output), "n c h w -> n 1 c h w")
        logits, offset, log_size = output.split(2, dim=2)
        return BoxPrediction(
            logits, decode_boxes(offset, log_size, self.size), {"offset": offset, "log_size": log_size}
        )

    def criterion(self, prediction: BoxPrediction, batch: ClipBatch) -> dict[str, Term]:
        """The unreduced loss terms, by name (`model.finder_losses.finder_terms`)."""
        return finder_terms(prediction, batch)

    def load_pretrained(self, path: str | Path) -> list[str]:
        """Loads the weights of another finder, or what fits of a PoseNet's backbone, which knows hands
        already, though from nearer (a checkpoint directory, a .safetensors or a torch file); returns a line
        saying so.

        Raises ValueError naming what differs when a finder's weight is missing, unknown or of another shape,
        or nothing of a backbone fits; FileNotFoundError without such a file.
        """
        weights = load_weights(path)
        if not any("spatial.backbone." in name for name in weights):
            return self.load_all(weights, path)
        own = self.state_dict()
        given, _ = of_network(weights, own, path)
        fitting = {
            name: value for name, value in given.items() if name in own and own[name].shape == value.shape
        }
        if not any(value.ndim for value in fitting.values()):  # counters fit everything
            raise ValueError(
                f"nothing of the backbone in '{path}' fits this hand finder's: "
                "give one with the same stem and first stages"
            )
        self.load_state_dict(own | fitting)
        return [f"inherited {len(fitting)} of {len(own)} tensors from the backbone in '{path}'"]


def mirror_image(output: Float[Tensor, "n 6 g g"]) -> Float[Tensor, "n 6 g g"]:
    """The head's output for a picture as it would be for its mirror image: sides change, and offsets along x
    change their sign."""
    logits, offset, log_size = output.split(2, dim=1)
    return torch.cat(
        [logits.flip(1), offset * beside(offset, (-1.0, 1.0)).view(2, 1, 1), log_size], dim=1
    ).flip(-1)


def decode_boxes(
    offset: Float[Tensor, "b 1 2 g g"], log_size: Float[Tensor, "b 1 2 g g"], size: int
) -> Float[Tensor, "b 1 4 g g"]:
    """Boxes (xyxy, [-0.5, 0.5] in a picture of `size` px) from their centres' offsets from the cells' (in
    cells) and the log of their edges over the picture's; `finder_target` has the inverse."""
    grid = offset.shape[-1]
    cells = (torch.arange(grid, device=offset.device) + 0.5) / grid - 0.5 - 0.5 / size
    centre = torch.stack(torch.meshgrid(cells, cells, indexing="xy")) + offset / grid
    half = log_size.clamp(*LOG_SIZE_RANGE).exp() / 2
    return torch.cat([centre - half, centre + half], dim=2)
