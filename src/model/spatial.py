"""The spatial network: what is found in one frame."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tempohand.batch import Frames
from tempohand.model.backbone import Backbone
from tempohand.model.decoder import Decoder
from tempohand.model.heads import CERTAINTY, JOINT_READING_DIM, Heads, JointHeatmaps
from tempohand.model.landmark_backbone import places_in_crop
from tempohand.model.perspective import PerspectiveEmbedding
from tempohand.model.upright import turn_upright, turned_frames
from tempohand.skeleton import NUM_JOINTS

MOST_TURNS = 2  # of one crop: where fingers point is found within 25 degrees nearly always


@dataclass(frozen=True)
class SpatialFeatures:
    """What the spatial network finds in frames.

    readings: of each joint u, v, depth, certainty and features (JointHeatmaps), which have their part in the
    token, too. heatmaps, joint_depth_logits: the joints' logits over the crop and over depth, which only loss
    terms ask for. All three are None without heat maps. landmarks: where the backbone itself says that joints
    are, if it does, for a loss term, too. turn: by how much the frame's crop was turned
    (radians, clockwise) before all this was found in it (upright.py); None: crops stay as they are.
    """

    token: Float[Tensor, "*batch d"]
    readings: Float[Tensor, "*batch 21 f"] | None = None
    heatmaps: Float[Tensor, "*batch 21 r r"] | None = None
    joint_depth_logits: Float[Tensor, "*batch 21 z"] | None = None
    landmarks: Float[Tensor, "*batch 21 2"] | None = None
    turn: Float[Tensor, "*batch"] | None = None

    def packed(self) -> Float[Tensor, "*batch f"]:
        """Token, readings and turn as one vector a frame: `Frames.features`, which caches and streams
        keep."""
        parts = [self.token]
        if self.readings is not None:
            parts.append(self.readings.flatten(-2))
        if self.turn is not None:
            parts.append(self.turn[..., None].to(self.token))
        return torch.cat(parts, dim=-1)

    def replace_at(self, places: Int[Tensor, "m"], others: "SpatialFeatures") -> None:
        """Puts other frames' features, all but the turn, into the places of some."""
        for name in ("token", "readings", "heatmaps", "joint_depth_logits", "landmarks"):
            if getattr(self, name) is not None:
                getattr(self, name)[places] = getattr(others, name)


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
        self.upright = bool(heatmap) and self.heatmaps.upright
        if self.upright and heads.get("translation", "regression") != "regression":
            raise ValueError(
                "network.spatial.heatmap.upright needs heads.translation=regression, whose values can be "
                "turned back"
            )
        if self.landmark_dim:
            self.from_landmarks = _into_token(self.landmark_dim, self.token_dim)
        self.side = nn.Linear(self.token_dim + self.detail_dim, 1) if side else None

    def forward(self, frames: Frames) -> SpatialFeatures:
        """The features of each frame, from its picture."""
        if not self.upright or self.training:
            return self.see(frames)
        return seen_upright(self.see, frames)

    def see(self, frames: Frames) -> SpatialFeatures:
        """The features of each frame, from its picture as it stands."""
        return self.read(self.backbone(frames.image), frames)

    @property
    def packed_dim(self) -> int:
        """Numbers in packed features."""
        return self.token_dim + self.detail_dim + self.upright

    def unpacked(self, features: Float[Tensor, "*batch f"]) -> SpatialFeatures:
        """The inverse of `SpatialFeatures.packed`."""
        turns = features.shape[-1] - self.token_dim - self.detail_dim
        token, details, turn = features.split([self.token_dim, self.detail_dim, turns], dim=-1)
        return SpatialFeatures(
            token,
            details.unflatten(-1, (NUM_JOINTS, -1)) if self.detail_dim else None,
            turn=turn[..., 0].float() if turns else None,
        )

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
            return SpatialFeatures(token, landmarks=anchors)
        heatmaps, depth_logits, readings = self.heatmaps(tokens, anchors)
        token = token + self.from_joints(readings.flatten(1))
        return SpatialFeatures(token, readings, heatmaps, depth_logits, anchors)

    def certainty(self, features: SpatialFeatures) -> Float[Tensor, "*batch"]:
        """The joints' mean certainty of place, 0 to 1; 1 without heat maps."""
        if features.readings is None:
            return torch.ones_like(features.token[..., 0])
        return features.readings[..., CERTAINTY].mean(dim=-1)

    def side_logit(self, features: SpatialFeatures) -> Float[Tensor, "*batch"]:
        """Log odds that frames show a right hand, in float32 whatever autocast says."""
        assert self.side is not None, "asked of networks with `side` alone (`tells_sides`)"
        with torch.autocast(features.token.device.type, enabled=False):
            return self.side(replace(features, turn=None).packed().float())[..., 0]


def seen_upright(see: Callable[[Frames], SpatialFeatures], frames: Frames) -> SpatialFeatures:
    """What `see` finds in frames, those whose fingers do not point up turned (upright.py) and seen again."""
    seen = see(frames)
    assert seen.readings is not None, "upright needs heat maps"
    turn = torch.zeros_like(frames.princpt[:, 0])
    for _ in range(MOST_TURNS):
        more = turn_upright(seen.readings)
        places = more.nonzero()[:, 0]
        if not len(places):
            break
        turn = turn + more
        seen.replace_at(places, see(turned_frames(frames[places], turn[places])))
    return replace(seen, turn=turn)


def _into_token(inputs: int, dim: int) -> nn.Sequential:
    """What is added to the token."""
    return nn.Sequential(nn.Linear(inputs, dim), nn.GELU(), nn.Linear(dim, dim))
