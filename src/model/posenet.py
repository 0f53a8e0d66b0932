"""PoseNet: spatial network per frame, temporal encoder over frames, hand layer at the end."""

from pathlib import Path

import roma
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tempohand.batch import ClipBatch, HandPrediction, Term
from tempohand.geometry import apply_homography, hand_size, mirror_homography, normalise_pixels, project
from tempohand.hand.layer import HandLayer
from tempohand.model.backbone import Backbone
from tempohand.model.decoder import Decoder
from tempohand.model.heads import (
    CERTAINTY,
    JOINT_READING_DIM,
    HandParameters,
    Heads,
    JointHeatmaps,
    depth_prior,
    wrist_position,
)
from tempohand.model.losses import TERMS, posenet_terms
from tempohand.model.network import Network
from tempohand.model.perspective import PerspectiveEmbedding
from tempohand.model.temporal import TemporalEncoder, parameter_vector
from tempohand.model.weights import load_weights, of_network
from tempohand.skeleton import NUM_JOINTS


class SpatialNet(nn.Module):
    """One frame: backbone -> perspective embedding -> decoder -> token; heads read hand parameters from a
    token.

    A frame's features are its token (`token_dim` wide) and, with heat maps, what they read of each joint
    (`detail_dim`: place, certainty, features there), which has its part in the token, too. side: whether the
    features tell a right hand from a left one.
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
    ):
        super().__init__()
        self.backbone = Backbone(size=size, **backbone)
        self.perspective = PerspectiveEmbedding(self.backbone.dim, **perspective)
        self.decoder = Decoder(context_dim=self.backbone.dim, grid=self.backbone.grid, **decoder)
        self.heads = Heads(decoder["dim"], **heads)
        self.heatmaps = JointHeatmaps(self.backbone.dim, self.backbone.grid, **heatmap) if heatmap else None
        self.token_dim, self.detail_dim = decoder["dim"], JOINT_READING_DIM if heatmap else 0
        if heatmap:
            dim = self.token_dim
            self.from_joints = nn.Sequential(
                nn.Linear(JOINT_READING_DIM, dim), nn.GELU(), nn.Linear(dim, dim)
            )
        self.side = nn.Linear(self.token_dim + self.detail_dim, 1) if side else None

    def certainty(self, features: Float[Tensor, "*batch f"]) -> Float[Tensor, "*batch"]:
        """The joints' mean certainty of place in `forward`'s features, 0 to 1; 1 without heat maps."""
        if self.heatmaps is None:
            return torch.ones_like(features[..., 0])
        return rearrange(features[..., self.token_dim :], "... (joint f) -> ... joint f", joint=NUM_JOINTS)[
            ..., CERTAINTY
        ].mean(dim=-1)

    def side_logit(self, features: Float[Tensor, "*batch f"]) -> Float[Tensor, "*batch"]:
        """Log odds that `forward`'s features are of a right hand, in float32 whatever autocast says."""
        with torch.autocast(features.device.type, enabled=False):
            return self.side(features.float())[..., 0]

    def forward(
        self, image: Tensor, focal: Float[Tensor, "n 2"], princpt: Float[Tensor, "n 2"]
    ) -> tuple[Float[Tensor, "n f"], tuple[Float[Tensor, "n 21 r r"], Float[Tensor, "n 21 z"]] | None]:
        """The features of each crop [N, 3, S, S] (uint8 RGB), and the joints' logits over the crop and over
        depth."""
        features = self.backbone(image)
        features = self.perspective(features, focal, princpt, image.shape[-1])
        token = self.decoder(features)
        if self.heatmaps is None:
            return token, None
        *logits, readings = self.heatmaps(features)
        readings = readings.flatten(1)
        return torch.cat([token + self.from_joints(readings), readings], dim=-1), tuple(logits)


class PoseNet(Network):
    """Stage 1 (`temporal` None, num_frame 1) or Stage 2 (a frozen spatial network under a temporal encoder,
    num_frame > 1).

    Every argument but `hand` (path of a MANO file; None: the open hand) is a dict of the configuration's
    groups.
    """

    prediction = HandPrediction
    terms = TERMS
    inherited = ("size", "expansion", "norm_by_hand", "hand", "spatial")
    weight_files = ("spatial.backbone.weights",)

    def __init__(
        self,
        num_frame: int,
        size: int,
        expansion: float,
        spatial: dict,
        temporal: dict | None = None,
        norm_by_hand: bool = False,
        hand: str | None = None,
    ):
        super().__init__(num_frame, size, expansion)
        if (temporal is None) != (num_frame == 1):
            stage = (
                "without a temporal encoder (Stage 1) takes num_frame=1"
                if temporal is None
                else "with a temporal encoder takes num_frame > 1"
            )
            raise ValueError(f"num_frame is {num_frame}, but a network {stage}")
        self.size = size
        self.expansion = expansion
        self.norm_by_hand = norm_by_hand
        self.hand = HandLayer(hand)
        self.spatial = SpatialNet(size, **spatial)
        self.temporal = None
        if temporal is not None:
            self.temporal = TemporalEncoder(self.spatial.token_dim, self.spatial.detail_dim, **temporal)
            self.spatial.requires_grad_(False)
        self.train()

    @classmethod
    def check(cls, settings: dict) -> None:
        """As of every network; Stage 1 sees one frame."""
        frames = settings["network"]["num_frame"]
        if frames != 1:
            raise ValueError(
                f"network.num_frame={frames} contradicts Stage 1, which sees 1 frame: use a stage2-* config"
            )
        super().check(settings)

    @classmethod
    def learns_sides(cls, network: dict) -> bool:
        """Where it has a side head."""
        return bool(network["spatial"].get("side"))

    def parts(self) -> dict[str, nn.Module]:
        """The backbone, and in Stage 2 the temporal encoder."""
        parts = {"backbone": self.spatial.backbone, "temporal": self.temporal}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def frozen(self) -> nn.Module | None:
        """In Stage 2 the spatial network."""
        return None if self.temporal is None else self.spatial

    def spatial_only(self) -> "PoseNet":
        """The Stage 1 network inside this one; the modules are shared."""
        view = object.__new__(PoseNet)
        view.__dict__ = {**self.__dict__, "_modules": {**self._modules, "temporal": None}, "num_frame": 1}
        return view

    def encode(self, batch: ClipBatch) -> Float[Tensor, "b t f"]:
        """Every frame's features: all that `decode` asks of its image."""
        return self.encode_fully(batch)[0]

    def encode_fully(self, batch: ClipBatch) -> tuple[Float[Tensor, "b t f"], tuple[Tensor, Tensor] | None]:
        """Features, and the last frames' heat maps, which some of Stage 1's loss terms ask for.

        The last frames go through the network by themselves: matrix kernels round differently for other batch
        sizes, and like this Stage 2 starts bit for bit as Stage 1.
        """
        assert batch.size == self.size, f"the network takes {self.size} px crops, the batch has {batch.size}"
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.temporal is None):
            last, heatmaps = self.spatial(batch.image[:, -1], batch.focal[:, -1], batch.princpt[:, -1])
            if batch.image.shape[1] == 1:
                return last[:, None], heatmaps
            # Neighbouring clips share frames: each is encoded once.
            frame = (
                torch.arange(batch.time.numel(), device=last.device).view_as(batch.time)
                if batch.frame is None
                else batch.frame
            )
            known = torch.cat([frame[:, -1], frame[:, :-1].flatten()])
            _, inverse = torch.unique(known, return_inverse=True)
            place = torch.arange(len(known), device=known.device)
            first = torch.full_like(known, len(known)).scatter_reduce_(0, inverse, place, "amin")[inverse]
            new = place[(first == place) & (place >= len(last))] - len(last)
            earlier = [
                rearrange(x[:, :-1], "b t ... -> (b t) ...")[new]
                for x in (batch.image, batch.focal, batch.princpt)
            ]
            tokens = torch.cat([last, self.spatial(*earlier)[0]]) if len(new) else last
            where = torch.cumsum(first == place, 0) - 1  # the last frames come first, and are all their own
            tokens = tokens[where[first]]
            return torch.cat(
                [rearrange(tokens[len(last) :], "(b t) d -> b t d", b=len(last)), last[:, None]], dim=1
            ), heatmaps

    def forward(self, batch: ClipBatch) -> HandPrediction:
        """Predicts the last frame's hand. Raises ValueError when the batch has another number of frames than
        the network."""
        frames = batch.image.shape[1]
        if self.temporal is None and frames != 1:
            raise ValueError(
                f"a Stage 1 network takes clips of 1 frame, got {frames}: use batch.last_frame()"
            )
        features, heatmaps = self.encode_fully(batch)
        prediction = self.decode(features, batch, heatmaps if self.temporal is None else None)
        if self.spatial.side is not None and self.temporal is None:
            prediction.terms["side_logit"] = self.spatial.side_logit(features[:, -1])[..., None]
        return prediction

    def look(self, batch: ClipBatch) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]:
        """What each clip's last crop shows: the log odds that it is a right hand, and how surely it is a
        hand.

        The first is half of what the side head says of the crop less what it says of its mirror image, since
        in that a right hand is a left one. The second is the joints' mean certainty of place (JointHeatmaps),
        0 to 1, in the surer of the two; 1 without heat maps.

        Raises ValueError for a network that was trained without sides (`tells_sides`).
        """
        if not self.tells_sides:
            raise ValueError("this network has no side head (network.spatial.side)")
        image, focal, princpt = batch.image[:, -1], batch.focal[:, -1], batch.princpt[:, -1]
        mirrored = apply_homography(mirror_homography(self.size).to(princpt), princpt[:, None])[:, 0]
        crops = ((image, focal, princpt), (image.flip(-1), focal, mirrored))
        features = torch.stack([self.spatial(*crop)[0].float() for crop in crops])
        said, otherwise = self.spatial.side_logit(features)
        return (said - otherwise) / 2, self.spatial.certainty(features).amax(dim=0)

    @property
    def tells_sides(self) -> bool:
        """Whether the network has a side head."""
        return self.spatial.side is not None

    def decode(
        self,
        features: Float[Tensor, "b t f"],
        batch: ClipBatch,
        heatmaps: tuple[Tensor, Tensor] | None = None,
    ) -> HandPrediction:
        """From the frames' features to the last frame's hand; of the batch it takes the cameras, times, masks
        and the crop size. Heat maps are passed on to the criterion."""
        focal, princpt = batch.focal[:, -1:].float(), batch.princpt[:, -1:].float()
        change, correction = 0.0, None
        if self.temporal is not None:
            change, correction = self.temporal(
                features, self._readings(features, batch), batch.time, batch.frame_mask
            )
        with torch.autocast(
            features.device.type, enabled=False
        ):  # a bfloat16 has 8 bits: .3 to .8 mm of the wrist's place
            token = features[:, -1:, : self.spatial.token_dim].float() + change
            prediction = self._assemble(self.spatial.heads(token, correction), focal, princpt)
        if heatmaps is not None:
            prediction.terms |= {"heatmaps": heatmaps[0][:, None], "joint_depth_logits": heatmaps[1][:, None]}
        return prediction

    def _readings(self, features: Tensor, batch: ClipBatch) -> Float[Tensor, "b t p"]:
        """What the frozen heads say of every frame, the wrist in the last frame's crop."""
        with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
            parameters = self.spatial.heads(features[..., : self.spatial.token_dim].float())
            focal, princpt = batch.focal.float(), batch.princpt.float()
            wrist = self._wrist(parameters, focal, princpt)
            uv = normalise_pixels(project(wrist, focal[:, -1], princpt[:, -1]), (self.size, self.size))
            return parameter_vector(parameters, uv, (wrist[..., 2] / self._prior(focal[:, -1:])).log())

    def _prior(self, focal: Tensor) -> Tensor:
        return depth_prior(focal, self.size, self.expansion, norm_by_hand=self.norm_by_hand)

    def _wrist(self, parameters: HandParameters, focal: Tensor, princpt: Tensor) -> Float[Tensor, "*batch 3"]:
        """The wrist in mm, or in hand sizes with norm_by_hand."""
        depth = self._prior(focal) * parameters.log_depth.exp()
        return wrist_position(parameters.uv, depth, focal, princpt, self.size)

    def _assemble(self, parameters: HandParameters, focal: Tensor, princpt: Tensor) -> HandPrediction:
        """Kinematics, projection and the wrist in mm, all in float32."""
        relative = self.hand(parameters.rotation, parameters.shape)
        trans_pred_scaled = self._wrist(parameters, focal, princpt)
        if self.norm_by_hand:  # the predicted hand gives the size, in training and in use
            trans_pred_scaled = trans_pred_scaled * hand_size(relative.joints)[..., None]
        joints = relative.joints + trans_pred_scaled[..., None, :]
        pixels = project(joints, focal, princpt)
        return HandPrediction(
            pose=rearrange(roma.rotmat_to_rotvec(parameters.rotation), "b t joint c -> b t (joint c)"),
            rotation=parameters.rotation,
            shape=parameters.shape,
            trans=trans_pred_scaled,
            joints=joints,
            vertices=relative.vertices + trans_pred_scaled[..., None, :],
            joints2d=normalise_pixels(pixels, (self.size, self.size)),
            terms={
                "columns": parameters.columns,
                "uv": parameters.uv,
                "log_depth": parameters.log_depth,
                **parameters.extra,
            },
        )

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
        misshaped = [f"{name} {tuple(weights[name].shape)} for {tuple(own[name].shape)}" for name in own.keys() & weights.keys()
                     if weights[name].shape != own[name].shape]  # fmt: skip
        unexpected = sorted(name for name in weights.keys() - own.keys() if not name.startswith("temporal."))
        if missing or misshaped:
            bare = sum(name.removeprefix("spatial.") in weights for name in own)
            cause = (
                f" (it has {bare} of them without 'spatial.': save the whole network's state_dict)"
                if bare
                else ""
            )
            raise ValueError(
                f"'{path}' does not fit this network's spatial part: {len(missing)} of {len(own)} weights missing {missing[:3]}{cause}, "
                f"{len(misshaped)} of another shape {misshaped[:3]}, {len(unexpected)} unknown {unexpected[:3]}; "
                "give the checkpoint directory of a Stage 1 run with the same network"
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


class TemporalPoseNet(PoseNet):
    """Stage 2."""

    stage = 2

    @classmethod
    def check(cls, settings: dict) -> None:
        """As of every network; Stage 2 sees several frames, and no hands of the other side."""
        frames = settings["network"]["num_frame"]
        if frames < 2:
            raise ValueError(
                f"network.num_frame={frames} contradicts Stage 2, which sees 7 frames: use a stage1-* config"
            )
        Network.check.__func__(cls, settings)
        mirror = settings["view"]["augmentation"]["mirror"]
        if mirror:
            raise ValueError(
                f"view.augmentation.mirror={mirror}: Stage 1 learns sides, Stage 2 does not; set it to 0"
            )
