"""PoseNet: the hand in one frame."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tempohand.batch import ClipBatch, Frames, HandPrediction, Term
from tempohand.geometry import apply_homography, mirror_homography
from tempohand.hand.layer import HandLayer
from tempohand.model.hand_prediction import PosedHand, predict_hand
from tempohand.model.heads import CERTAINTY, HandParameters, depth_prior, wrist_position
from tempohand.model.losses import TERMS, posenet_terms
from tempohand.model.network import Network
from tempohand.model.spatial import SpatialFeatures, SpatialNet
from tempohand.model.upright import in_turned_crops, turned_back
from tempohand.model.weights import load_weights, of_network


class PoseNet(Network):
    """Stage 1: a spatial network, whose heads give a hand's parameters, and the hand layer.

    num_frame is 1 (TemporalPoseNet takes longer clips). size: edge of its crops, px; expansion: that edge
    over the longer edge of the hand's box. spatial: SpatialNet's settings, or the one of another network, to
    share it. norm_by_hand: depth is learned in hand sizes. hand: path of a MANO file, None for the open hand,
    or the layer of another network. frozen_backbone: the backbone does not learn, and a frame's features are
    its tokens, which can be cached (and are of crops as they stand: `spatial.heatmap.upright` is for use); or
    the names of those of its modules that do not (`Backbone.freeze`).
    """

    prediction = HandPrediction
    terms = TERMS
    inherited = ("size", "expansion", "norm_by_hand", "hand", "spatial")
    weight_files = ("spatial.backbone.weights",)
    learning = ("frozen_backbone",)

    def __init__(
        self,
        num_frame: int,
        size: int | list[int] | tuple[int, int],
        expansion: float,
        spatial: dict | SpatialNet,
        temporal: None = None,
        norm_by_hand: bool = False,
        hand: str | None | HandLayer = None,
        frozen_backbone: bool | Sequence[str] = False,
    ):
        super().__init__(num_frame, size, expansion)
        self.size = self.crop.edge
        self.expansion = expansion
        self.frozen_backbone = frozen_backbone is True
        self.norm_by_hand = norm_by_hand
        self.hand = hand if isinstance(hand, HandLayer) else HandLayer(hand)
        self.spatial = spatial if isinstance(spatial, SpatialNet) else SpatialNet(self.size, **spatial)
        if frozen_backbone is True:
            self.spatial.backbone.requires_grad_(False)
            self.train()
        elif frozen_backbone is not False:
            self.spatial.backbone.freeze(frozen_backbone)

    @classmethod
    def learns_sides(cls, network: dict) -> bool:
        """Where it has a side head."""
        return bool(network["spatial"].get("side"))

    def parts(self) -> dict[str, nn.Module]:
        """The backbone."""
        return {"backbone": self.spatial.backbone}

    @property
    def frozen(self) -> nn.Module | None:
        """The backbone, if it is frozen."""
        return self.spatial.backbone if self.frozen_backbone else None

    @classmethod
    def has_frozen_part(cls, network: dict) -> bool:
        """Where the whole backbone is frozen."""
        return network.get("frozen_backbone", False) is True

    @classmethod
    def frozen_settings(cls, network: dict) -> dict:
        """The backbone's, and those of the crops that it sees."""
        crop = {name: network[name] for name in ("size", "expansion")}
        return crop | {"backbone": network["spatial"]["backbone"]}

    @property
    def feature_dim(self) -> int:
        """The token's, and what the heat maps read of the joints; of a frozen backbone all of its tokens."""
        if self.frozen_backbone:
            return self.spatial.backbone.grid**2 * self.spatial.backbone.dim
        return self.spatial.packed_dim

    def forward(self, batch: ClipBatch) -> HandPrediction:
        """The hand in each clip's frame. Raises ValueError for clips of more than one frame."""
        if batch.num_frame != 1:
            raise ValueError(
                f"a Stage 1 network takes clips of 1 frame, got {batch.num_frame}: use batch.last_frame()"
            )
        return self.decode(self.features(batch.frames), batch)

    def features(self, frames: Frames) -> SpatialFeatures:
        """What the spatial network finds in each frame; of frames with features, what it has found."""
        assert frames.features is not None or frames.size == self.crop.size, (
            f"the network takes {self.crop.size} px crops, the frames have {frames.size}"
        )
        if self.frozen_backbone:
            tokens = self.encode(frames) if frames.features is None else frames.features
            return self.spatial.read(tokens.unflatten(-1, (-1, self.spatial.backbone.dim)), frames)
        if frames.features is not None:
            return self.spatial.unpacked(frames.features)
        return self.spatial(frames)

    def encode(self, frames: Frames) -> Float[Tensor, "n f"]:
        """What `features` finds; of a frozen backbone what that makes of the picture, which is not turned."""
        if self.frozen_backbone and frames.features is None:
            return self.spatial.backbone(frames.image).flatten(1)
        return self.features(frames).packed()

    def decode(self, features: SpatialFeatures, batch: ClipBatch) -> HandPrediction:
        """The hand in each clip's frame, from the frames' features."""
        logits = {name: getattr(features, name) for name in ("heatmaps", "joint_depth_logits", "landmarks")}
        if self.tells_sides:
            logits["side_logit"] = self.spatial.side_logit(features)
        logits = {name: value[:, None] for name, value in logits.items() if value is not None}
        with torch.autocast(features.token.device.type, enabled=False):
            token, readings = features.token[:, None], features.readings
            readings = None if readings is None else readings[:, None]
            parameters = self.spatial.heads(token.float())
            if features.turn is None:
                return self._hand(parameters, readings, batch, logits)
            said = self._hand(parameters, readings, in_turned_crops(batch, features.turn), logits)
            return turned_back(said, features.turn, batch)

    def _hand(
        self,
        parameters: HandParameters,
        readings: Float[Tensor, "b 1 21 f"] | None,
        batch: ClipBatch,
        logits: dict[str, Tensor],
    ) -> HandPrediction:
        """Each clip's last hand. The caller turns autocast off. readings: of the last frame's heat maps, if
        there are any. logits: of the loss terms besides the heads' own."""
        focal, princpt = batch.focal[:, -1:].float(), batch.princpt[:, -1:].float()
        wrist = self._wrist(parameters, focal, princpt)
        terms = {"columns": parameters.columns, "uv": parameters.uv, "log_depth": parameters.log_depth}
        terms |= parameters.extra | logits
        maps = readings.float() if readings is not None and self.spatial.heatmaps.follow else None
        hand = PosedHand(parameters.rotation, parameters.shape, wrist, self.norm_by_hand, maps)
        return predict_hand(self.hand, hand, batch, terms)

    def _wrist(self, parameters: HandParameters, focal: Tensor, princpt: Tensor) -> Float[Tensor, "*batch 3"]:
        """The wrist in mm, or in hand sizes with norm_by_hand."""
        depth = self._prior(focal) * parameters.log_depth.exp()
        return wrist_position(parameters.uv, depth, focal, princpt, self.size)

    def _prior(self, focal: Tensor) -> Tensor:
        return depth_prior(focal, self.size, self.expansion, norm_by_hand=self.norm_by_hand)

    def certainty(self, features: Float[Tensor, "n f"]) -> Float[Tensor, "n 21"] | None:
        """Those of the joints' heat maps (JointHeatmaps); None without heat maps."""
        readings = self.spatial.unpacked(features).readings
        return None if readings is None else readings[..., CERTAINTY].float()

    @property
    def tells_sides(self) -> bool:
        """Whether the network has a side head."""
        return self.spatial.side is not None

    def look(self, frames: Frames) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        """What each crop shows: the log odds that it is a right hand, and how surely it is a hand.

        The first is half of what the side head says of the crop less what it says of its mirror image, since
        in that a right hand is a left one. The second is the joints' mean certainty of place (JointHeatmaps),
        0 to 1, in the surer of the two; 1 without heat maps.

        Raises ValueError for a network that was trained without sides (`tells_sides`).
        """
        if not self.tells_sides:
            raise ValueError("this network has no side head (network.spatial.side)")
        return look_twice(self.features, self.spatial, frames)

    def criterion(self, prediction: HandPrediction, batch: ClipBatch) -> dict[str, Term]:
        """The unreduced loss terms, by name (`model.losses.posenet_terms`)."""
        return posenet_terms(prediction, batch, self.expansion, self.norm_by_hand)

    def load_pretrained(self, path: str | Path) -> list[str]:
        """Loads Stage 1's spatial weights (a checkpoint directory, a .safetensors or a torch file, under any
        prefix); returns lines saying what was inherited.

        Raises ValueError naming what is missing or mis-shaped when any spatial weight is, FileNotFoundError
        when there is no such file.
        """
        own = {f"spatial.{name}": tensor for name, tensor in self.spatial.state_dict().items()}
        weights, prefix = of_network(load_weights(path), own, path)
        missing = sorted(own.keys() - weights.keys())
        misshaped = [
            f"{name} {tuple(weights[name].shape)} for {tuple(own[name].shape)}"
            for name in own.keys() & weights.keys()
            if weights[name].shape != own[name].shape
        ]
        unexpected = sorted(name for name in weights.keys() - own.keys() if not name.startswith("temporal."))
        if missing or misshaped:
            bare = sum(name.removeprefix("spatial.") in weights for name in own)
            cause = (
                f" (it has {bare} of them without 'spatial.': save the whole network's state_dict)"
                if bare
                else ""
            )
            raise ValueError(
                f"'{path}' does not fit this network's spatial part: "
                f"{len(missing)} of {len(own)} weights missing {missing[:3]}{cause}, "
                f"{len(misshaped)} of another shape {misshaped[:3]}, "
                f"{len(unexpected)} unknown {unexpected[:3]}; give the checkpoint directory of a Stage 1 run "
                "with the same network"
            )
        self.spatial.load_state_dict({name.removeprefix("spatial."): weights[name] for name in own})
        parts = {}
        for name, tensor in own.items():
            part = name.split(".")[1]
            parts[part] = parts.get(part, 0) + tensor.numel()
        lines = [f"inherited spatial.{part}: {count:,} values" for part, count in parts.items()]
        under = f", under '{prefix}'" if prefix else ""
        return [f"inherited {len(own)} of {len(own)} spatial tensors from '{path}'{under}", *lines] + [
            f"not used: {name}" for name in unexpected
        ]


def look_twice(
    features: Callable[[Frames], SpatialFeatures], spatial: SpatialNet, frames: Frames
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
    """`PoseNet.look`, by the features of the crops and of their mirror images. spatial: reads them."""
    mirror = mirror_homography(frames.size[1]).to(frames.princpt)
    princpt = apply_homography(mirror, frames.princpt[:, None])[:, 0]
    seen = features(frames)
    mirrored = features(replace(frames, image=frames.image.flip(-1), princpt=princpt))
    right_logit = (spatial.side_logit(seen) - spatial.side_logit(mirrored)) / 2
    return right_logit, torch.maximum(*(spatial.certainty(each).float() for each in (seen, mirrored)))
