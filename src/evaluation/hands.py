"""Predicted and true hands of frames, as an evaluation compares them."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tempohand.batch import ClipBatch
from tempohand.evaluation.metrics.bends import joint_bends
from tempohand.evaluation.metrics.errors import relative_to_wrist
from tempohand.geometry import normalise_pixels, over_square, project
from tempohand.skeleton import WRIST

LABELS = ("joints", "joints_mask", "camera_mask", "hidden", "joints2d_mask")  # taken as the batch has them


@dataclass
class Hands:
    """What a predictor says of some frames, camera space, mm.

    vertices: None where it has no mesh. joints2d: its joints in the picture, as TrueHands has them; None:
    where the camera sees those in space.
    """

    joints: Float[Tensor, "n 21 3"]
    vertices: Float[Tensor, "n 778 3"] | None = None
    joints2d: Float[Tensor, "n 21 2"] | None = None


@dataclass
class TrueHands:
    """What is known of some frames; what is masked may hold anything."""

    joints: Float[Tensor, "n 21 3"]  # camera space, mm
    joints_mask: Bool[Tensor, "n 21"]
    vertices: Float[Tensor, "n 778 3"]  # relative to the wrist
    hand_mask: Bool[Tensor, "n"]  # of the vertices
    camera_mask: Bool[Tensor, "n"]
    hidden: Float[Tensor, "n"]  # nan: unknown
    frame: Int[Tensor, "n"]
    time: Float[Tensor, "n"]  # s, float64
    # In the picture, from the middle of the crop; 1 is the edge of the box that the crop was made of (its
    # longer one).
    joints2d: Float[Tensor, "n 21 2"]
    joints2d_mask: Bool[Tensor, "n 21"]
    focal: Float[Tensor, "n 2"]
    princpt: Float[Tensor, "n 2"]

    def __len__(self) -> int:
        return len(self.frame)


def in_boxes(places: Float[Tensor, "*n 2"], batch: ClipBatch, expansion: float) -> Float[Tensor, "*n 2"]:
    """Normalised places in the crops of a batch, which are `expansion` boxes wide, as TrueHands has them."""
    return over_square(places, batch.frames.size) * expansion


def labels_of(batch: ClipBatch, expansion: float) -> dict[str, Tensor]:
    """What a batch says of TrueHands: all but the vertices and what the table alone knows, of the last frame
    of every clip."""
    target, (height, width) = batch.target, batch.frames.size
    return {name: getattr(target, name)[:, 0] for name in LABELS} | {
        "joints2d": in_boxes(target.joints2d[:, 0], batch, expansion),
        "focal": batch.focal[:, -1] / batch.edge * expansion,
        "princpt": in_boxes(normalise_pixels(batch.princpt[:, -1], (width, height)), batch, expansion),
    }


Pair = tuple[Float[Tensor, "n p d"], Float[Tensor, "n p d"]]  # predicted, true


@dataclass
class Compared:
    """Predicted and true hands of the same frames, of ONE sequence in the order of time where something is
    measured over time.

    joints2d: the predicted joints in the picture, as TrueHands has them.
    """

    predicted: Hands
    true: TrueHands
    joints2d: Float[Tensor, "n 21 2"]

    @classmethod
    def of(cls, predicted: Hands, true: TrueHands) -> "Compared":
        """With the predicted joints in the picture, or as the frames' cameras see those in space."""
        if predicted.joints2d is not None:
            return cls(predicted, true, predicted.joints2d)
        camera = true.focal.double(), true.princpt.double()
        return cls(predicted, true, project(predicted.joints.double(), *camera))

    @property
    def joints(self) -> Pair:
        """In camera space, mm."""
        return self.predicted.joints, self.true.joints

    @property
    def relative(self) -> Pair:
        """Joints relative to each hand's own wrist, mm."""
        return relative_to_wrist(self.predicted.joints), relative_to_wrist(self.true.joints)

    @property
    def relative_vertices(self) -> Pair:
        """Vertices relative to each hand's own wrist, mm; zeros where none are predicted (`meshed`)."""
        predicted, true = self.predicted, self.true.vertices
        if predicted.vertices is None:
            return torch.zeros_like(true), true
        return relative_to_wrist(predicted.joints, predicted.vertices), true

    @property
    def meshed(self) -> Bool[Tensor, "n"]:
        """The frames whose vertices are known and predicted."""
        return self.true.hand_mask & (self.predicted.vertices is not None)

    @property
    def places(self) -> Pair:
        """Joints in the picture."""
        return self.joints2d, self.true.joints2d

    @cached_property
    def bends(self) -> tuple[Float[Tensor, "n 5"], Float[Tensor, "n 5"]]:
        """How far each finger bends, degrees: predicted, true."""
        predicted, true = (joint_bends(joints).sum(dim=-1) for joints in self.joints)
        return predicted, true

    @property
    def known(self) -> Bool[Tensor, "n 21"]:
        """The joints whose true place is known."""
        return self.true.joints_mask

    @property
    def placed(self) -> Bool[Tensor, "n 21"]:
        """Those whose place in camera space is."""
        return self.known & self.true.camera_mask[:, None]

    @property
    def rooted(self) -> Bool[Tensor, "n 21"]:
        """Those whose place relative to the wrist is."""
        return self.known & self.known[:, WRIST : WRIST + 1]
