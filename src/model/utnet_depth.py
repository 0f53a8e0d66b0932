"""What a depth camera measured of a crop, as a network can use it: relative to a robust centre, which it is
told."""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tempohand.model.utnet_trunk import PATCH

RANGE_MM = 150.0  # either side of the centre; what lies further away is cut there
NEAR_SHARE = 0.25  # of what is measured around the crop's middle: so many are nearer than the centre
LEAST_SHARE = 0.02  # of the pixels around the crop's middle must be measured, else the frame has no depth
STEP = 2  # every second pixel, of every second row, finds the centre
UNITS_MM = 100.0  # of the network's numbers for lengths


@dataclass(frozen=True)
class MeasuredDepth:
    """metric: mm, 0 where unknown, and everywhere in frames without depth. centre: mm, 0 in those."""

    metric: Float[Tensor, "n 1 h w"]
    centre: Float[Tensor, "n"]
    known: Bool[Tensor, "n"]

    @classmethod
    def of(cls, depth: Float[Tensor, "n 1 h w"], window: int) -> "MeasuredDepth":
        """depth: mm, 0 where unknown. window: the edge, px, of the square in a crop's middle where the hand
        is; the centre is the depth that a quarter of what is measured there is nearer than: a hand covers a
        third of its box or more, and what is behind it must not draw the centre away."""
        height, width = depth.shape[-2:]
        top, left = (height - window) // 2, (width - window) // 2
        middle = depth[:, 0, top : top + window : STEP, left : left + window : STEP].flatten(1)
        measured = middle > 0
        count = measured.sum(dim=-1)
        order = middle.where(measured, torch.inf).sort(dim=-1).values
        centre = order.gather(1, (count * NEAR_SHARE).long()[:, None].clamp(max=order.shape[1] - 1))[:, 0]
        known = count >= LEAST_SHARE * middle.shape[1]
        return cls(depth.where(rearrange(known, "n -> n 1 1 1"), 0.0), centre.where(known, 0.0), known)

    def relative(self) -> Float[Tensor, "n 2 h w"]:
        """Depth less the centre over RANGE_MM, in [-1, 1], 0 in holes; and 1 where it is measured."""
        measured = (self.metric > 0).float()
        away = (self.metric - rearrange(self.centre, "n -> n 1 1 1")) / RANGE_MM
        return torch.cat([away.clamp(-1, 1) * measured, measured], dim=1)


class DepthTokens(nn.Module):
    """Depth patches: a convolution over patches, after `widths` strided convolutions that halve the raster
    each; then LayerNorm. Normalisation is each frame's own, since frames without depth share their batches.
    """

    def __init__(self, dim: int, widths: list[int]):
        super().__init__()
        layers, before = [], 2
        for width in widths:
            layers += [nn.Conv2d(before, width, 3, stride=2, padding=1), nn.GroupNorm(1, width), nn.GELU()]
            before = width
        rest = PATCH // 2 ** len(widths)
        if rest < 1:
            raise ValueError(f"network.fusion.widths: at most 4 of them halve a patch of {PATCH} px")
        self.patches = nn.Sequential(*layers, nn.Conv2d(before, dim, rest, stride=rest))
        self.norm = nn.LayerNorm(dim)

    def forward(self, depth: Float[Tensor, "n 2 h w"]) -> Float[Tensor, "n l c"]:
        """depth: `MeasuredDepth.relative`."""
        return self.norm(rearrange(self.patches(depth), "n c h w -> n (h w) c"))


class Fusion(nn.Module):
    """Image tokens with depth's added, or a learnt token where a frame has none.

    widths: of DepthTokens. dropout: the rate of training samples that are taken as without depth. A network
    that never sees depth in training (1) does not look at it in use either.
    """

    def __init__(self, dim: int, widths: list[int], dropout: float):
        super().__init__()
        if not 0 <= dropout <= 1:
            raise ValueError(f"network.fusion.dropout={dropout} must lie between 0 and 1")
        self.dropout = dropout
        self.tokens = DepthTokens(dim, widths)
        self.tokens.requires_grad_(dropout < 1)
        self.placeholder = nn.Parameter(torch.zeros(dim))

    def idle(self, depth: Float[Tensor, "n 1 h w"] | None) -> list[nn.Parameter]:
        """What frames of this depth teach nothing."""
        if depth is None or not depth.any():
            return list(self.tokens.parameters())
        return [self.placeholder] if self.dropout == 0 and depth.flatten(1).any(dim=1).all() else []

    def measured(
        self, depth: Float[Tensor, "n 1 h w"] | None, frames: int, window: int
    ) -> MeasuredDepth | None:
        """What is known of depth after dropout, of so many frames; None: of none of them."""
        if depth is None or self.dropout == 1:
            return None
        if self.training:
            kept = torch.rand(frames, device=depth.device) >= self.dropout
            depth = depth * rearrange(kept, "n -> n 1 1 1")
        return MeasuredDepth.of(depth.float(), window)

    def forward(
        self, image: Float[Tensor, "n l c"], depth: MeasuredDepth | None, size: tuple[int, int]
    ) -> Float[Tensor, "n l c"]:
        """Fused tokens of crops of `size` (height, width) px."""
        if depth is None and not torch.is_grad_enabled():
            return image + self.placeholder
        if depth is None:  # every weight has its gradient, if of nothing: processes wait for it
            known, relative = image.new_zeros(1, dtype=torch.bool), image.new_zeros(1, 2, *size)
        else:
            known, relative = depth.known, depth.relative()
        return image + torch.where(rearrange(known, "n -> n 1 1"), self.tokens(relative), self.placeholder)
