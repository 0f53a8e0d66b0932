"""UTNet's joint heat maps: an auxiliary task that moves at once, and what they say of a coarse hand."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tempohand.batch import HandPrediction
from tempohand.model.utnet_depth import MeasuredDepth
from tempohand.model.utnet_mesh import depth_behind
from tempohand.skeleton import NUM_JOINTS

READING = 5  # numbers of a joint in what `JointMaps.beside` gives
CLOSE = 0.1  # crops: the unit in which places are compared


class JointMaps(nn.Module):
    """A heat map over the crop for each of the 21 joints, trained by cross-entropy."""

    def __init__(self, channels: int):
        super().__init__()
        self.map = nn.Conv2d(channels, NUM_JOINTS, 1)

    def forward(self, finest: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 21 h w"]:
        """Logits, float32."""
        return self.map(finest).float()

    @staticmethod
    def beside(
        logits: Float[Tensor, "n 21 h w"], hand: HandPrediction, depth: MeasuredDepth | None
    ) -> Float[Tensor, "n r"]:
        """Of each joint how far from the hand's own the map sees it (in CLOSE crops), how surely, and how far
        behind the hand's joint depth is measured there."""
        places, certainty = read_maps(logits)
        joints = hand.joints[:, 0].detach()
        away = (places - hand.joints2d[:, 0].detach()) / CLOSE
        behind = depth_behind(depth, joints[..., 2], places.detach())
        return torch.cat([away.clamp(-3, 3), certainty[..., None], behind], dim=-1).flatten(1)


def read_maps(
    logits: Float[Tensor, "n 21 h w"],
) -> tuple[Float[Tensor, "n 21 2"], Float[Tensor, "n 21"]]:
    """Where maps see their joints (their expectation: Sun et al., Integral Human Pose Regression, ECCV 2018),
    in the crop, [-0.5, 0.5], as `losses.heatmap_cross_entropy` teaches them; and how surely: 0 (flat) to 1
    (one cell)."""
    probability = logits.flatten(-2).softmax(dim=-1)
    grid = probability.view_as(logits)
    along = [grid.sum(dim=-2), grid.sum(dim=-1)]  # over columns, over rows
    places = torch.stack([(share * cell_centres(share)).sum(dim=-1) for share in along], dim=-1)
    negative_entropy = (probability * probability.clamp_min(1e-9).log()).sum(dim=-1)
    return places, 1 + negative_entropy / math.log(probability.shape[-1])


def cell_centres(share: Float[Tensor, "*batch k"]) -> Float[Tensor, "k"]:
    """Of a row of cells from -0.5 to 0.5."""
    count = share.shape[-1]
    return (torch.arange(count, device=share.device, dtype=share.dtype) + 0.5) / count - 0.5
