"""Hand3D: an encoder, 22 numbers, a hand (Boukhayma et al., "3D Hand Shape and Pose from Images in the Wild",
CVPR 2019): the network for weak labels, 2D joints and masks."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tempohand.batch import ClipBatch, HandPrediction, Term
from tempohand.hand.layer import HandLayer
from tempohand.model.hand3d_encoder import PooledEncoder
from tempohand.model.hand3d_losses import TERMS, hand3d_terms
from tempohand.model.hand3d_maps import SeenJoints
from tempohand.model.hand3d_parameters import COMPONENTS, WeakHand, check_components, framed, mean_numbers
from tempohand.model.hand_prediction import predict_hand
from tempohand.model.network import Network
from tempohand.model.weights import CONFIG_NAME, load_config, locate, of_network
from tempohand.skeleton import NUM_BETAS

# What 1 of the last layer's outputs is, of the numbers in their order: px a metre, px, radians, components,
# betas. Some deviation of each: they are learnt at one rate.
UNITS = (100.0, 30.0, 30.0, 1.0, 1.0, 1.0)
UNIT_SHAPE = 0.1


class Hand3D(Network):
    """A hand network of one frame's colours.

    size: edge of its crops, px; expansion: that over the longer edge of the hand's box. hand: path of a MANO
    file, None for the open hand, or a layer. encoder: `name`, `weights` and `options` (PooledEncoder).
    components: of pose that it predicts. joint_maps: where heat maps of the joints beside the picture come
    from (SeenJoints); None: there are none.
    """

    title = "Hand3D"
    inputs = ("image", "mask")  # the mask as a label: a loss term's alone
    prediction = HandPrediction
    terms = TERMS
    inherited = ("size", "expansion", "hand", "components")
    weight_files = ("encoder.weights",)
    mean: Float[Tensor, "c"]
    units: Float[Tensor, "c"]

    def __init__(
        self,
        num_frame: int,
        size: int | list[int] | tuple[int, int],
        expansion: float,
        encoder: dict,
        hand: str | None | HandLayer = None,
        components: int = COMPONENTS,
        joint_maps: str | None = None,
    ):
        super().__init__(num_frame, size, expansion)
        self.hand = hand if isinstance(hand, HandLayer) else HandLayer(hand)
        check_components(self.hand, components, None if isinstance(hand, HandLayer) else hand)
        self.encoder_name = encoder["name"]
        self.encoder = PooledEncoder(size=self.crop.edge, **encoder, joint_maps=joint_maps is not None)
        self.joint_maps = None if joint_maps is None else SeenJoints(joint_maps, self.crop)
        mean = mean_numbers(components)
        units = torch.tensor([*UNITS, *[1.0] * components, *[UNIT_SHAPE] * NUM_BETAS])
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("units", units, persistent=False)
        self.head = nn.Linear(self.encoder.dim, len(mean))
        nn.init.normal_(self.head.weight, std=0.01)  # the mean hand at first
        nn.init.zeros_(self.head.bias)

    def parts(self) -> dict[str, nn.Module]:
        """The encoder."""
        return {"backbone": self.encoder}

    @property
    def frozen(self) -> nn.Module | None:
        """The network that says where joints are."""
        return None if self.joint_maps is None else self.joint_maps.finder

    def forward(self, batch: ClipBatch) -> HandPrediction:
        """The hand in each clip's frame. Raises ValueError for clips of more than one frame."""
        if batch.num_frame != 1:
            raise ValueError(
                f"{self.title} takes clips of 1 frame, got {batch.num_frame}: use batch.last_frame()"
            )
        frames = batch.frames
        assert frames.size == self.crop.size, (
            f"the network takes {self.crop.size} px crops, the frames have {frames.size}"
        )
        maps = None if self.joint_maps is None else self.joint_maps(batch)
        features = self.encoder(frames.image, maps)
        with torch.autocast(features.device.type, enabled=False):
            numbers = self._numbers(features.float())[:, None]
            return self._hand(numbers, batch)

    def _numbers(self, features: Float[Tensor, "b c"]) -> Float[Tensor, "b n"]:
        """The caller turns autocast off."""
        return self.mean + self.units * self.head(features)

    def _hand(self, numbers: Float[Tensor, "b 1 n"], batch: ClipBatch) -> HandPrediction:
        """The weak-perspective hand in the crop's own camera space. The caller turns autocast off."""
        focal, princpt = framed(batch.focal[:, -1:], batch.princpt[:, -1:], batch.edge)
        hand = WeakHand.unpacked(numbers).posed(self.hand, focal, princpt)
        return predict_hand(self.hand, hand, batch, {"numbers": numbers})

    def criterion(self, prediction: HandPrediction, batch: ClipBatch) -> dict[str, Term]:
        """The unreduced loss terms, by name (`model.hand3d_losses.hand3d_terms`)."""
        return hand3d_terms(prediction, batch, self.hand)

    def load_all(self, weights: dict[str, Tensor], path: str | Path) -> list[str]:
        """As every network; weights of joint heat maps stay as they are where the file has none, as that of a
        network without them."""
        own = self.state_dict()
        given, _ = of_network(weights, own, path)
        of_maps = {name for name in own if name.startswith("joint_maps.") or ".joints." in name}
        kept = {name: own[name] for name in of_maps - given.keys()}
        lines = super().load_all(given | kept, path)
        return (
            [*lines, f"of them {len(kept)} of joint heat maps as they were, for it has none"]
            if kept
            else lines
        )

    def load_pretrained(self, path: str | Path) -> list[str]:
        """As every network, and of a checkpoint directory it says which encoder it has, if another one."""
        if (locate(path) / CONFIG_NAME).is_file():
            theirs = load_config(path)["network"].get("encoder", {}).get("name", self.encoder_name)
            if theirs != self.encoder_name:
                raise ValueError(
                    f"'{path}' has the encoder '{theirs}', this {self.title} '{self.encoder_name}': give a "
                    f"checkpoint of the same one, or set network.encoder.name={theirs}"
                )
        return super().load_pretrained(path)
