"""From a token to hand parameters: rotations, shape, translation; and the auxiliary heat maps of the 2D
joints."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn

from tempohand.geometry import denormalise_pixels, rotation_6d_to_matrix, unproject
from tempohand.skeleton import (
    MEAN_HAND_SIZE_MM,
    NUM_BETAS,
    NUM_JOINTS,
    NUM_MANO_JOINTS,
    PRIOR_EXTENT_MM,
)

HEATMAP_SIGMA = 1.5  # bins, of a soft-argmax head's Gaussian target
ANCHOR_LOGIT = 6.0  # of an anchored map's middle at first: e^6 flat bins' worth, half of a map of 28 x 28
JOINT_DEPTH_BINS = 32  # over joints' depth relative to the wrist ...
JOINT_DEPTH_RANGE_MM = 160.0  # ... this far either way
UV_RANGE = 1.0  # translation bins span [-1, 1] of the crop (it ends at +-0.5) ...
DEPTH_RANGE = 1.2  # ... and this many natural logarithms around the prior depth


@dataclass(frozen=True)
class HandParameters:
    """What the heads read from tokens [.., D]. `extra` holds a head's logits for its own loss."""

    columns: Float[Tensor, "*batch 96"]  # rotations in 6D, before they are made orthonormal
    shape: Float[Tensor, "*batch 10"]
    uv: Float[Tensor, "*batch 2"]  # wrist in the crop, [-0.5, 0.5] inside
    log_depth: Float[Tensor, "*batch"]  # log of depth over its prior
    extra: dict[str, Tensor]

    @property
    def rotation(self) -> Float[Tensor, "*batch 16 3 3"]:
        """The rotations as matrices, computed when they are asked for."""
        return rotation_6d_to_matrix(rearrange(self.columns, "... (joint c) -> ... joint c", c=6))


class RegressedTranslation(nn.Module):
    """uv and log depth by one linear layer."""

    def __init__(self, dim: int):
        super().__init__()
        self.linear = nn.Linear(dim, 3)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, token: Float[Tensor, "*batch d"]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """uv of the wrist in the crop, its log depth around the prior, and nothing for the criterion."""
        out = self.linear(token)
        return out[..., :2], out[..., 2], {}


class HeatmapTranslation(nn.Module):
    """uv and log depth as the expectation over bins (soft-argmax), one 1D heat map per axis."""

    centres: Float[Tensor, "3 bin"]

    def __init__(self, dim: int, bins: int):
        super().__init__()
        self.linear = nn.Linear(dim, 3 * bins)
        centres = torch.linspace(-1, 1, bins)
        self.register_buffer(
            "centres",
            torch.stack([centres * UV_RANGE, centres * UV_RANGE, centres * DEPTH_RANGE]),
            persistent=False,
        )

    def forward(self, token: Float[Tensor, "*batch d"]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """uv of the wrist in the crop, its log depth around the prior, and the bins' logits for the
        criterion."""
        logits = rearrange(self.linear(token), "... (xyz bin) -> ... xyz bin", xyz=3)
        value = (logits.softmax(dim=-1) * self.centres).sum(dim=-1)
        return value[..., :2], value[..., 2], {"translation_logits": logits}


class Heads(nn.Module):
    """Linear heads; rotations and shape start at the rest pose of the mean hand."""

    def __init__(self, dim: int, translation: str = "regression", bins: int = 64):
        super().__init__()
        self.pose = nn.Linear(dim, 6 * NUM_MANO_JOINTS)
        self.shape = nn.Linear(dim, NUM_BETAS)
        for linear in (self.pose, self.shape):
            nn.init.normal_(linear.weight, std=0.01)
            nn.init.zeros_(linear.bias)
        with torch.no_grad():
            self.pose.bias.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(NUM_MANO_JOINTS))
        kinds = {
            "regression": lambda: RegressedTranslation(dim),
            "heatmap": lambda: HeatmapTranslation(dim, bins),
        }
        if translation not in kinds:
            raise ValueError(f"heads.translation: '{translation}' is none of {sorted(kinds)}")
        self.translation = kinds[translation]()

    def forward(
        self, token: Float[Tensor, "*batch d"], correction: Float[Tensor, "*batch c"] | None = None
    ) -> HandParameters:
        """Hand parameters of each token; `correction` is added to them (6D, shape, uv, log depth). The caller
        turns autocast off."""
        columns = self.pose(token)
        shape = self.shape(token)
        uv, log_depth, extra = self.translation(token)
        if correction is not None:
            parts = correction.split([columns.shape[-1], shape.shape[-1], 2, 1], dim=-1)
            columns = columns + parts[0]
            shape = shape + parts[1]
            uv = uv + parts[2]
            log_depth = log_depth + parts[3][..., 0]
        return HandParameters(columns, shape, uv, log_depth, extra)


def depth_prior(
    focal: Float[Tensor, "*batch 2"], size: int, expansion: float, *, norm_by_hand: bool
) -> Float[Tensor, "*batch"]:
    """Prior wrist depth of a crop: in mm, or in hand sizes with `norm_by_hand`.

    The crop is `expansion` times the hand box, so the box has size / expansion px, and depth = focal * extent
    / px.
    """
    extent = PRIOR_EXTENT_MM / MEAN_HAND_SIZE_MM if norm_by_hand else PRIOR_EXTENT_MM
    return focal.log().mean(dim=-1).exp() * extent * expansion / size


def wrist_position(
    uv: Float[Tensor, "*batch 2"],
    depth: Float[Tensor, "*batch"],
    focal: Float[Tensor, "*batch 2"],
    princpt: Float[Tensor, "*batch 2"],
    size: int,
) -> Float[Tensor, "*batch 3"]:
    """The wrist in camera space, in the unit of `depth`, from its place in a size x size crop."""
    return unproject(denormalise_pixels(uv, (size, size))[..., None, :], depth[..., None], focal, princpt)[
        ..., 0, :
    ]


class JointHeatmaps(nn.Module):
    """Where each of the 21 joints is, as distributions: a heat map over the crop, and one over depth relative
    to the wrist (2.5D: Iqbal et al., Hand Pose Estimation via Latent 2.5D Heatmap Regression, ECCV 2018).

    They are trained by cross-entropy, which moves at once where a regression waits at the mean of two answers
    (palm or back, this finger or that). The network goes on with their expectations (Sun et al., Integral
    Human Pose Regression, ECCV 2018), how sure the map is, and what the image tokens say there. Maps are
    `upsample` times finer than the token grid.

    anchored: a joint's map starts as a Gaussian at a place that is known beforehand, as high as is learnt.
    follow: the network moves its hand to where the maps see the joints (map_following.py). upright: a crop in
    which they see fingers that do not point up is turned until these do, and seen again (upright.py): for
    backbones that know upright hands. Not while it trains, when crops have their own augmentation.
    """

    FEATURES = 16  # of the tokens under a joint's heat map

    centres: Float[Tensor, "r"]
    depths: Float[Tensor, "z"]

    def __init__(
        self,
        dim: int,
        grid: int,
        upsample: int,
        *,
        anchored: bool = False,
        follow: bool = False,
        upright: bool = False,
    ):
        super().__init__()
        self.follow, self.upright = follow, upright
        self.anchor_logit = nn.Parameter(torch.full((NUM_JOINTS,), ANCHOR_LOGIT)) if anchored else None
        self.map = nn.Linear(dim, NUM_JOINTS * upsample**2)
        self.identity = nn.Parameter(torch.randn(NUM_JOINTS, dim) * 0.02)
        self.read = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, dim),
            nn.GELU(),
            nn.Linear(dim, JOINT_DEPTH_BINS + self.FEATURES),
        )
        self.grid, self.upsample = grid, upsample
        self.register_buffer(
            "centres", (torch.arange(grid * upsample) + 0.5) / (grid * upsample) - 0.5, persistent=False
        )
        self.register_buffer("depths", torch.linspace(-1, 1, JOINT_DEPTH_BINS), persistent=False)

    def forward(
        self, tokens: Float[Tensor, "n l c"], anchors: Float[Tensor, "n 21 2"] | None = None
    ) -> tuple[Float[Tensor, "n 21 r r"], Float[Tensor, "n 21 z"], Float[Tensor, "n 21 f"]]:
        """Logits over the crop (r = grid * upsample) and over depth, and each joint's reading: u, v, depth,
        certainty, features. anchors: places in the crop, [-0.5, 0.5] inside, where maps are anchored."""
        maps = rearrange(self.map(tokens), "n (h w) c -> n c h w", h=self.grid)
        logits = F.pixel_shuffle(maps, self.upsample).float()
        if anchors is not None:
            logits = logits + self.anchor_logit[:, None, None].float() * self._gaussian(anchors.float())
        probability = logits.flatten(-2).softmax(dim=-1)
        grid = probability.view_as(logits)
        u = (grid.sum(dim=-2) * self.centres).sum(-1)
        v = (grid.sum(dim=-1) * self.centres).sum(-1)
        # Certainty: entropy below that of a flat map, 0 (flat) to 1 (one bin).
        negative_entropy = (probability * probability.clamp_min(1e-9).log()).sum(-1)
        certainty = 1 + negative_entropy / math.log(probability.shape[-1])
        share = reduce(grid, "n j (h a) (w b) -> n j (h w)", "sum", a=self.upsample, b=self.upsample)
        read = self.read(share.to(tokens.dtype) @ tokens + self.identity.to(tokens.dtype)).float()
        depth_logits = read[..., :JOINT_DEPTH_BINS]
        features = read[..., JOINT_DEPTH_BINS:]
        depth = (depth_logits.softmax(dim=-1) * self.depths).sum(dim=-1)
        readings = torch.cat([torch.stack([u, v, depth, certainty], dim=-1), features], dim=-1)
        return logits, depth_logits, readings

    def _gaussian(self, places: Float[Tensor, "n 21 2"]) -> Float[Tensor, "n 21 r r"]:
        """Around places, 1 at each."""
        away = (self.centres - places[..., None]) * len(self.centres) / HEATMAP_SIGMA
        along = (-(away**2) / 2).exp()  # (n 21 2 r)
        return along[..., 1, :, None] * along[..., 0, None, :]


JOINT_READING_DIM = NUM_JOINTS * (4 + JointHeatmaps.FEATURES)
CERTAINTY = 3  # its place in a joint's reading
