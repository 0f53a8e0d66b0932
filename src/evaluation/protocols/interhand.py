"""InterHand2.6M's evaluation (Moon et al., ECCV 2020)."""

import numpy as np
import torch

from tempohand.evaluation.metrics.alignment import relative_to
from tempohand.evaluation.metrics.errors import point_distance
from tempohand.evaluation.protocols.protocol import Protocol
from tempohand.evaluation.protocols.quantity import Quantity, mean_quantity
from tempohand.evaluation.samples import Prediction, Truth
from tempohand.skeleton import WRIST


def hand_pairs(truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """(places of right hands, places of the left hands in the same pictures). Sequences of one picture differ
    in their last part, the side."""
    place = {key: number for number, key in enumerate(truth.keys())}
    pairs = [
        (number, place[other])
        for (sequence, frame), number in place.items()
        if truth.is_right[number] and (other := (sequence.removesuffix("/right") + "/left", frame)) in place
    ]
    right, left = (np.array([pair[side] for pair in pairs], dtype=int) for side in (0, 1))
    return right, left


def interhand(truth: Truth, prediction: Prediction) -> list[Quantity]:
    """InterHand2.6M's evaluate (Moon et al., ECCV 2020): wrist-aligned MPJPE of all, single and interacting
    hands, and MRRPE.

    Means are over the 42 joints (21 of each side) of the mean over samples; a hand without its wrist has no
    valid joint. Interacting: the picture's other hand is a sample, too. MRRPE: the error of the left wrist
    relative to the right one, where both are known.
    """
    right, left = hand_pairs(truth)
    interacting = torch.zeros(len(truth), dtype=torch.bool)
    interacting[np.concatenate([right, left])] = True
    known = truth.joints_mask & truth.joints_mask[:, WRIST : WRIST + 1]
    relative = [relative_to(joints, joints[:, WRIST]) for joints in (prediction.joints, truth.joints)]
    distance = point_distance(*relative, known)
    side = truth.is_right[:, None]
    both, both_known = torch.cat([distance, distance], dim=1), torch.cat([known & side, known & ~side], dim=1)
    quantities = [
        mean_quantity(name, "mm", both, both_known & chosen[:, None], truth.cluster)
        for name, chosen in {
            "mpjpe": torch.ones_like(interacting),
            "mpjpe_single": ~interacting,
            "mpjpe_interacting": interacting,
        }.items()
    ]
    offsets = [joints[left, WRIST] - joints[right, WRIST] for joints in (prediction.joints, truth.joints)]
    placed = truth.joints_mask[:, WRIST] & truth.has_camera
    mask = (placed[left] & placed[right])[:, None]
    return [
        *quantities,
        mean_quantity(
            "mrrpe", "mm", point_distance(*(o[:, None] for o in offsets), mask), mask, truth.cluster[right]
        ),
    ]


PROTOCOL = Protocol("InterHand2.6M, test", ("interhand", "interhand26m"), "test", interhand)
