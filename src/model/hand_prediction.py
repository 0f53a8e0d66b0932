"""From what a network says of a hand to its prediction: kinematics, the wrist in mm, projection."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from tempohand.batch import ClipBatch, HandPrediction
from tempohand.geometry import hand_size, normalise_pixels, project
from tempohand.hand.layer import HandLayer
from tempohand.hand.pose import rotmat_to_pose


@dataclass(frozen=True)
class PosedHand:
    """Each clip's last hand: rotation matrices of MANO's 16 joints, betas, and the wrist in camera space, mm;
    in_hand_sizes: in units of the size that the predicted hand has, in training and in use."""

    rotation: Float[Tensor, "b 1 16 3 3"]
    shape: Float[Tensor, "b 1 10"]
    wrist: Float[Tensor, "b 1 3"]
    in_hand_sizes: bool = False


def predict_hand(
    layer: HandLayer, hand: PosedHand, batch: ClipBatch, terms: dict[str, Tensor]
) -> HandPrediction:
    """The prediction, in mm and camera space, with 2D joints in the crop. terms: what the network's loss
    terms ask for besides.

    All of it is float32; the caller turns autocast off: a bfloat16 has 8 bits, .3 to .8 mm of the wrist's
    place.
    """
    relative = layer(hand.rotation, hand.shape)
    wrist = hand.wrist
    if hand.in_hand_sizes:
        wrist = wrist * hand_size(relative.joints)[..., None]
    joints = relative.joints + wrist[..., None, :]
    pixels = project(joints, batch.focal[:, -1:].float(), batch.princpt[:, -1:].float())
    return HandPrediction(
        pose=rotmat_to_pose(hand.rotation),
        rotation=hand.rotation,
        shape=hand.shape,
        trans=wrist,
        joints=joints,
        vertices=relative.vertices + wrist[..., None, :],
        joints2d=normalise_pixels(pixels, batch.frames.size[::-1]),
        terms=terms,
    )
