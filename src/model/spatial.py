"""The spatial network: what is found in one frame."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tempohand.batch import Frames
from tempohand.model.backbone import Backbone
from tempohand.model.decoder import Decoder
from tempohand.model.heads import CERTAINTY, JOINT_READING_DIM, Heads, JointHeatmaps
from tempohand.model.landmark_backbone import places_in_crop
from tempohand.model.perspective import PerspectiveEmbedding
from tempohand.skeleton import NUM_JOINTS


@dataclass(frozen=True)
class SpatialFeatures:
    """What the spatial network finds in frames.

    readings: of each joint u, v, depth, certainty and features (JointHeatmaps), which have their part in the
    token, too. heatmaps, joint_depth_logits: the joints' logits over the crop and over depth, which only loss
    terms ask for. All three are None without heat maps.
    """

    token: Float[Tensor, "*batch d"]
    readings: Float[Tensor, "*batch 21 f"] | None = None
    heatmaps: Float[Tensor, "*batch 21 r r"] | None = None
    joint_depth_logits: Float[Tensor, "*batch 21 z"] | None = None

    def packed(self) -> Float[Tensor, "*batch f"]:
        """Token and readings as one vector a frame: `Frames.features`, which caches and streams keep."""
        if self.readings is None:
            return self.token
        return torch.cat([self.token, self.readings.flatten(-2)], dim=-1)

    @classmethod
    def unpacked(cls, features: Float[Tensor, "*batch f"], token_dim: int) -> "SpatialFeatures":
        """The inverse of `packed`, for tokens of `token_dim` numbers."""
        readings = features[..., token_dim:]
        if not readings.shape[-1]:
            return cls(features)
        return cls(features[..., :token_dim], readings.unflatten(-1, (NUM_JOINTS, -1)))


class SpatialNet(nn.Module):
    """One frame: backbone -> perspective embedding -> decoder -> token; heads read hand parameters from a
    token.

    Arguments are the configuration's groups, `size` the edge of its crops in px. side: whether the features
    tell a right hand from a left one. width: of the image tokens; None: the backbone's.

    Where the backbone says itself where joints are (Backbone.landmark_dim), that enters the token, and the
    heat maps start from there.
    """

    def __init__(
        self,
        size: int,
        backbone: dict,
        perspective: dict,
        decoder: dict,
        heads: dict,
        heatmap: dict | None = None,
        side: bool = False,
        width: int | None = None,
    ):
        super().__init__()
        self.backbone = Backbone(size=size, **backbone)
        self.landmark_dim, dim = self.backbone.landmark_dim, self.backbone.dim - self.backbone.landmark_dim
        self.neck = nn.Sequential(nn.Linear(dim, width), nn.LayerNorm(width)) if width else nn.Identity()
        dim = width or dim
        self.perspective = PerspectiveEmbedding(dim, **perspective)
        self.decoder = Decoder(context_dim=dim, grid=self.backbone.grid, **decoder)
        self.token_dim = decoder["dim"]
        self.heads = Heads(self.token_dim, **heads)
        self.heatmaps = None
        self.detail_dim = JOINT_READING_DIM if heatmap else 0  # numbers in a frame's readings
        if heatmap:
            anchored = bool(self.landmark_dim)
            self.heatmaps = JointHeatmaps(dim, self.backbone.grid, anchored=anchored, **heatmap)
            self.from_joints = _into_token(JOINT_READING_DIM, self.token_dim)
        if self.landmark_dim:
            self.from_landmarks = _into_token(self.landmark_dim, self.token_dim)
        self.side = nn.Linear(self.token_dim + self.detail_dim, 1) if side else None

    def forward(self, frames: Frames) -> SpatialFeatures:
        """The features of each frame, from its picture."""
        return self.read(self.backbone(frames.image), frames)

    def read(self, tokens: Float[Tensor, "n l c"], frames: Frames) -> SpatialFeatures:
        """The features of each frame, from what the backbone has made of its picture."""
        landmarks, anchors = None, None
        if self.landmark_dim:
            landmarks, tokens = tokens[:, 0, -self.landmark_dim :], tokens[..., : -self.landmark_dim]
            anchors = places_in_crop(landmarks)
        tokens = self.perspective(self.neck(tokens), frames.focal, frames.princpt, frames.size[1])
        token = self.decoder(tokens)
        if landmarks is not None:
            token = token + self.from_landmarks(landmarks)
        if self.heatmaps is None:
            return SpatialFeatures(token)
        heatmaps, depth_logits, readings = self.heatmaps(tokens, anchors)
        token = token + self.from_joints(readings.flatten(1))
        return SpatialFeatures(token, readings, heatmaps, depth_logits)

    def certainty(self, features: SpatialFeatures) -> Float[Tensor, "*batch"]:
        """The joints' mean certainty of place, 0 to 1; 1 without heat maps."""
        if features.readings is None:
            return torch.ones_like(features.token[..., 0])
        return features.readings[..., CERTAINTY].mean(dim=-1)

    def side_logit(self, features: SpatialFeatures) -> Float[Tensor, "*batch"]:
        """Log odds that frames show a right hand, in float32 whatever autocast says."""
        with torch.autocast(features.token.device.type, enabled=False):
            return self.side(features.packed().float())[..., 0]


def _into_token(inputs: int, dim: int) -> nn.Sequential:
    """What is added to the token."""
    return nn.Sequential(nn.Linear(inputs, dim), nn.GELU(), nn.Linear(dim, dim))
