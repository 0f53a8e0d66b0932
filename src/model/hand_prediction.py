"""From what a network says of a hand to its prediction: kinematics, the wrist in mm, projection."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tempohand.batch import ClipBatch, HandPrediction
from tempohand.geometry import hand_size, normalise_pixels, project
from tempohand.hand.layer import HandLayer
from tempohand.hand.pose import rotmat_to_pose
from tempohand.model.map_following import follow_maps


@dataclass(frozen=True)
class PosedHand:
    """Hands, in a prediction each clip's last one [B, 1, ...]: rotation matrices of MANO's 16 joints, betas,
    and the wrist in camera space, mm; in_hand_sizes: in units of the size that the predicted hand has, in
    training and in use. readings: of heat maps (JointHeatmaps) that the hand is to follow; None: it does
    not."""

    rotation: Float[Tensor, "*batch 16 3 3"]
    shape: Float[Tensor, "*batch 10"]
    wrist: Float[Tensor, "*batch 3"]
    in_hand_sizes: bool = False
    readings: Float[Tensor, "*batch 21 f"] | None = None


def predict_hand(
    layer: HandLayer, hand: PosedHand, batch: ClipBatch, terms: dict[str, Tensor]
) -> HandPrediction:
    """The prediction, in mm and camera space, with 2D joints in the crop. terms: what the network's loss
    terms ask for besides.

    All of it is float32; the caller turns autocast off: a bfloat16 has 8 bits, .3 to .8 mm of the wrist's
    place.
    """
    rotation, relative = hand.rotation, layer(hand.rotation, hand.shape)
    from_wrist, vertices = relative.joints, relative.vertices
    wrist = hand.wrist
    focal, princpt = batch.focal[:, -1:].float(), batch.princpt[:, -1:].float()
    if hand.in_hand_sizes:
        wrist = wrist * hand_size(from_wrist)[..., None]
    if hand.readings is not None:
        turn, wrist = follow_maps(from_wrist, wrist, hand.readings, focal, princpt, batch.edge)
        from_wrist, vertices = from_wrist @ turn.mT, vertices @ turn.mT
        rotation = torch.cat(
            [(turn @ rotation[..., 0, :, :])[..., None, :, :], rotation[..., 1:, :, :]], dim=-3
        )
    joints = from_wrist + wrist[..., None, :]
    pixels = project(joints, focal, princpt)
    return HandPrediction(
        pose=rotmat_to_pose(rotation),
        rotation=rotation,
        shape=hand.shape,
        trans=wrist,
        joints=joints,
        vertices=vertices + wrist[..., None, :],
        joints2d=normalise_pixels(pixels, batch.frames.size[::-1]),
        terms=terms,
    )
