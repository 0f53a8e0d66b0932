"""UTNet: the hand in one frame of a colour camera, with a depth camera's frame beside it where there is one.

Coarse to fine: a vision transformer reads a coarse hand; maps under its vertices say what to change of it.
"""

from dataclasses import dataclass

import roma
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tempohand.batch import ClipBatch, HandPrediction, Term
from tempohand.geometry import rotation_6d_to_matrix
from tempohand.hand.layer import HandLayer
from tempohand.model.hand_prediction import PosedHand, predict_hand
from tempohand.model.network import Network
from tempohand.model.utnet_camera import FACTS, CropCamera
from tempohand.model.utnet_depth import Fusion, MeasuredDepth
from tempohand.model.utnet_joints import READING, JointMaps
from tempohand.model.utnet_losses import COARSE, TERMS, utnet_terms
from tempohand.model.utnet_mesh import Refinement, Upsampler, at_vertices
from tempohand.model.utnet_trunk import HandTokens, Trunk
from tempohand.skeleton import NUM_BETAS, NUM_JOINTS, NUM_MANO_JOINTS

SHAPE, CAMERA = NUM_MANO_JOINTS, NUM_MANO_JOINTS + 1  # places of their tokens
DEPTH = ("optional", "required")
COLUMNS = 6 * NUM_MANO_JOINTS


@dataclass(frozen=True)
class CoarseHand:
    """What the heads read from the hand's tokens, float32. columns: 6D before it is made orthonormal."""

    columns: Float[Tensor, "b 1 16 6"]
    shape: Float[Tensor, "b 1 10"]
    camera: Float[Tensor, "b 1 3"]

    def posed(self, camera: CropCamera) -> PosedHand:
        """The hand in camera space."""
        return PosedHand(rotation_6d_to_matrix(self.columns), self.shape, camera.wrist(self.camera))

    def numbers(self) -> Float[Tensor, "b n"]:
        """All of them, as one vector."""
        return torch.cat([self.columns.flatten(2), self.shape, self.camera], dim=-1)[:, 0]


class UTNet(Network):
    """A hand network of one frame, with or without depth.

    size: [height, width] of its crops, px, multiples of 16; expansion: their shorter edge over the longer one
    of the hand's box. hand: path of a MANO file, None for the open hand, or a layer. trunk: Trunk's settings.
    fusion: Fusion's (`widths`, `dropout`). depth: whether tables must hold it, optional or required; where it
    is required, or the network never learns without it (`fusion.dropout` 0), it is needed in use, too.
    refinement: `maps`, the channels of the three maps; `kind`, graph or max, or None for the coarse hand;
    `widths`, `hidden` (Refinement).
    """

    title = "UTNet"
    inputs = ("image", "depth")
    prediction = HandPrediction
    best_by = "avg_metric"
    terms = TERMS
    inherited = ("size", "expansion", "hand", "trunk", "fusion", "refinement")
    weight_files = ("trunk.weights", "trunk.image.backbone.weights")
    mean_columns: Float[Tensor, "16 6"]

    def __init__(
        self,
        num_frame: int,
        size: int | list[int] | tuple[int, int],
        expansion: float,
        trunk: dict,
        fusion: dict,
        refinement: dict,
        hand: str | None | HandLayer = None,
        depth: str = "optional",
    ):
        if depth not in DEPTH:
            raise ValueError(f"network.depth={depth} is none of {', '.join(DEPTH)}")
        super().__init__(num_frame, size, expansion)
        self.expansion = expansion
        self.hand = hand if isinstance(hand, HandLayer) else HandLayer(hand)
        self.backbone = Trunk(self.crop.size, **trunk)
        dim = self.backbone.dim
        self.fusion = Fusion(dim, **fusion)
        self.needed = ("depth",) if depth == "required" or self.fusion.dropout == 0 else ()
        mean = _mean_columns(self.hand)
        self.register_buffer("mean_columns", mean, persistent=False)
        self.hand_tokens = HandTokens(dim, mean.clone(), FACTS)
        heads = {"pose": nn.Linear(dim, 6), "shape": nn.Linear(dim, NUM_BETAS), "camera": nn.Linear(dim, 3)}
        self.heads = nn.ModuleDict(heads)
        for head in heads.values():  # the mean hand at first
            nn.init.normal_(head.weight, std=0.01)
            nn.init.zeros_(head.bias)
        settings = dict(refinement)
        maps, kind = list(settings.pop("maps")), settings.pop("kind")
        self.upsampler = Upsampler(dim, maps)
        self.joint_maps = JointMaps(maps[-1])
        other = COLUMNS + NUM_BETAS + 3 + READING * NUM_JOINTS
        self.refinement = Refinement(self.hand, kind, sum(maps), other=other, **settings) if kind else None

    def parts(self) -> dict[str, nn.Module]:
        """The trunk."""
        return {"backbone": self.backbone}

    def idle(self, batch: ClipBatch) -> list[nn.Parameter]:
        """The tokens of depth where no frame has any, what stands in their place where every frame has."""
        return self.fusion.idle(batch.frames.depth)

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
        window = round(batch.edge / self.expansion)
        depth = self.fusion.measured(frames.depth, len(frames), window)
        camera = CropCamera.of(batch, self.expansion, depth)
        assert frames.image is not None
        tokens = self.fusion(self.backbone.image_tokens(frames.image), depth, frames.size)
        hand, image = self.backbone(tokens, self.hand_tokens(camera.facts()))
        maps = self.upsampler(image)
        logits = self.joint_maps(maps[-1])
        with torch.autocast(hand.device.type, enabled=False):
            coarse = self._coarse(hand.float())
            return self._refined(coarse, camera, maps, logits, depth, batch)

    def _coarse(self, tokens: Float[Tensor, "b k c"]) -> CoarseHand:
        """Heads add to the mean hand. The caller turns autocast off."""
        columns = self.heads["pose"](tokens[:, :NUM_MANO_JOINTS]) + self.mean_columns
        shape, camera = self.heads["shape"](tokens[:, SHAPE]), self.heads["camera"](tokens[:, CAMERA])
        return CoarseHand(columns[:, None], shape[:, None], camera[:, None])

    def _refined(
        self,
        coarse: CoarseHand,
        camera: CropCamera,
        maps: list[Tensor],
        logits: Float[Tensor, "b 21 h w"],
        depth: MeasuredDepth | None,
        batch: ClipBatch,
    ) -> HandPrediction:
        """The caller turns autocast off."""
        first = predict_hand(self.hand, coarse.posed(camera), batch, {})
        said = {"columns": coarse.columns, "heatmaps": logits[:, None]}
        said |= {COARSE + name: getattr(first, name) for name in ("rotation", "shape", "joints", "joints2d")}
        said |= {COARSE + name: value for name, value in camera.said(coarse.camera).items()}
        if self.refinement is None:
            return predict_hand(self.hand, coarse.posed(camera), batch, said | camera.said(coarse.camera))
        readings = self.joint_maps.beside(logits, first, depth)
        other = torch.cat([coarse.numbers(), readings], dim=-1)
        vertices = at_vertices(maps, first, batch.frames, depth)
        columns, shape, moved = self.refinement(vertices, other)
        numbers = coarse.camera + moved[:, None]
        identity = columns.new_zeros(6) + torch.eye(3, device=columns.device)[:2].flatten()
        turn = rotation_6d_to_matrix(identity + columns)[:, None]
        hand = PosedHand(turn @ first.rotation, coarse.shape + shape[:, None], camera.wrist(numbers))
        return predict_hand(self.hand, hand, batch, said | camera.said(numbers))

    def criterion(self, prediction: HandPrediction, batch: ClipBatch) -> dict[str, Term]:
        """The unreduced loss terms, by name (`model.utnet_losses.utnet_terms`)."""
        return utnet_terms(prediction, batch, self.expansion)


def _mean_columns(hand: HandLayer) -> Float[Tensor, "16 6"]:
    """6D of the hand model's mean pose, palm toward +z as at rest."""
    pose = torch.cat([torch.zeros(3, device="cpu"), hand.hands_mean.cpu()]).unflatten(0, (-1, 3))
    return roma.rotvec_to_rotmat(pose)[..., :2].mT.flatten(1)
