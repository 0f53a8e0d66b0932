"""TemporalPoseNet: the hand at the end of a clip."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tempohand.batch import ClipBatch, Frames, HandPrediction
from tempohand.geometry import normalise_pixels, project, rotation_about_z
from tempohand.hand.layer import HandLayer
from tempohand.model.posenet import PoseNet
from tempohand.model.spatial import SpatialFeatures, SpatialNet
from tempohand.model.temporal import TemporalEncoder, parameter_vector
from tempohand.model.upright import in_turned_crops, root_turned, turned_back, turned_princpt


class TemporalPoseNet(PoseNet):
    """Stage 2: a temporal encoder over the frames of a clip, of which a frozen spatial network sees each by
    itself; the same heads and hand layer give the last frame's hand.

    num_frame: frames of a clip. temporal: TemporalEncoder's settings. The others are PoseNet's.
    """

    stage = 2

    def __init__(
        self,
        num_frame: int,
        size: int | list[int] | tuple[int, int],
        expansion: float,
        spatial: dict | SpatialNet,
        temporal: dict,
        norm_by_hand: bool = False,
        hand: str | None | HandLayer = None,
    ):
        super().__init__(num_frame, size, expansion, spatial, norm_by_hand=norm_by_hand, hand=hand)
        self.temporal = TemporalEncoder(self.spatial.token_dim, self.spatial.detail_dim, **temporal)
        self.spatial.requires_grad_(False)
        self.train()

    @classmethod
    def learns_sides(cls, network: dict) -> bool:
        """Stage 1 learns sides, Stage 2 does not."""
        return False

    def parts(self) -> dict[str, nn.Module]:
        """The backbone and the temporal encoder."""
        return super().parts() | {"temporal": self.temporal}

    @classmethod
    def has_frozen_part(cls, network: dict) -> bool:
        """Always."""
        return True

    @property
    def frozen(self) -> nn.Module:
        """The spatial network."""
        return self.spatial

    @classmethod
    def frozen_settings(cls, network: dict) -> dict:
        """All but those of the temporal encoder."""
        return {name: value for name, value in network.items() if name not in ("num_frame", "temporal")}

    def spatial_only(self) -> PoseNet:
        """The Stage 1 network inside this one; the modules are shared."""
        network = PoseNet(
            1, self.size, self.expansion, self.spatial, norm_by_hand=self.norm_by_hand, hand=self.hand
        )
        if self.config:
            settings = {**self.frozen_settings(self.config["network"]), "num_frame": 1}
            network.config = {**self.config, "network": settings, "stage": 1}
            network.folder = self.folder
        network.train(self.spatial.training)
        return network

    def forward(self, batch: ClipBatch) -> HandPrediction:
        """The hand in each clip's last frame.

        The last frames go through the spatial network by themselves: matrix kernels round differently for
        other batch sizes, and like this Stage 2 starts bit for bit as Stage 1.
        """
        features = batch.frames.features
        if features is None:
            parts = (batch.frames[: len(batch)], batch.frames[len(batch) :])
            features = torch.cat([self.encode(part) for part in parts if len(part)])
        return self.decode(self.spatial.unpacked(features[batch.index]), batch)

    @torch.no_grad()
    def features(self, frames: Frames) -> SpatialFeatures:
        """As PoseNet's, without gradients: the spatial network is frozen."""
        return super().features(frames)

    def decode(self, features: SpatialFeatures, batch: ClipBatch) -> HandPrediction:
        """Each clip's last hand, from the features [B, T] of the clips' frames."""
        change, correction = self.temporal(
            features, self._read_frames(features, batch), batch.time, batch.frame_mask
        )
        with torch.autocast(features.token.device.type, enabled=False):
            token = features.token[:, -1:].float() + change
            readings = None if features.readings is None else features.readings[:, -1:]
            parameters = self.spatial.heads(token, correction)
            if features.turn is None:
                return self._hand(parameters, readings, batch, {})
            turn = features.turn[:, -1]
            said = self._hand(parameters, readings, in_turned_crops(batch, turn), {})
            return turned_back(said, turn, batch)

    def _read_frames(self, features: SpatialFeatures, batch: ClipBatch) -> Float[Tensor, "b t p"]:
        """What the frozen heads say of every frame, in the last frame's crop: the wrist, and, where crops are
        turned, the orientation."""
        with torch.no_grad(), torch.autocast(features.token.device.type, enabled=False):
            parameters = self.spatial.heads(features.token.float())
            focal, princpt = batch.focal.float(), batch.princpt.float()
            if features.turn is None:
                wrist = self._wrist(parameters, focal, princpt)
            else:
                flat = batch.index.flatten()
                princpt = turned_princpt(batch.frames[flat], features.turn.flatten()).view_as(princpt).float()
                to_last = rotation_about_z(features.turn[:, -1:] - features.turn)
                wrist = (to_last @ self._wrist(parameters, focal, princpt)[..., None])[..., 0]
                parameters = replace(parameters, columns=root_turned(parameters.columns, to_last))
            uv = normalise_pixels(project(wrist, focal[:, -1], princpt[:, -1]), (self.size, self.size))
            return parameter_vector(parameters, uv, (wrist[..., 2] / self._prior(focal[:, -1:])).log())
