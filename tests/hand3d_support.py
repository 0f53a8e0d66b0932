"""The smallest Hand3D, and batches for it."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from tests_support import random_batch

from tempohand.batch import ClipBatch, HandPrediction
from tempohand.geometry import denormalise_pixels
from tempohand.hand.layer import HandLayer
from tempohand.model.hand3d import Hand3D
from tempohand.model.hand3d_parameters import framed, weak_hand
from tempohand.model.hand_prediction import predict_hand
from tempohand.model.registry import build_network

LAYER = HandLayer()
SIZE = 64
SMALL = {
    "name": "hand3d",
    "num_frame": 1,
    "size": SIZE,
    "expansion": 2.2,
    "hand": None,
    "components": 6,
    "encoder": {
        "name": "tempohand_tiny",
        "weights": None,
        "options": {"stem": 16, "stages": [[16, 1], [32, 1]], "norm_group": 4},
    },
}


def small_hand3d(seed: int = 0, **changes) -> Hand3D:
    torch.manual_seed(seed)
    return build_network(SMALL | changes)


def hand3d_batch(clips: int = 4, seed: int = 0, *, mask: bool = True) -> ClipBatch:
    """Noise for pictures, hands amid the crops; the mask: all within 3 px of a joint."""
    batch = random_batch(clips, 1, SIZE, seed)
    if mask:
        pixels = (
            denormalise_pixels(batch.target.joints2d[:, 0], (SIZE, SIZE)).round().long().clamp(0, SIZE - 1)
        )
        seen = torch.zeros(clips, 1, SIZE, SIZE)
        for clip, places in enumerate(pixels):
            seen[clip, 0, places[:, 1], places[:, 0]] = 1.0
        batch.frames = replace(batch.frames, mask=F.max_pool2d(seen, 7, 1, 3) > 0)
    return batch


def truth(batch: ClipBatch) -> HandPrediction:
    """What a network would say that knows the labels; their poses are of six components."""
    target, camera = batch.target, framed(batch.focal, batch.princpt, SIZE)
    numbers = weak_hand(LAYER, target.pose, target.shape, target.trans, *camera)
    return predict_hand(LAYER, numbers.posed(LAYER, *camera), batch, {"numbers": numbers.packed()})


def with_its_labels(batch: ClipBatch) -> ClipBatch:
    """The batch with the labels of the nearest hands of six components."""
    said = truth(batch)
    labels = {"joints2d": said.joints2d, "joints": said.joints, "pose": said.pose, "trans": said.trans}
    return replace(batch, target=replace(batch.target, **labels))
