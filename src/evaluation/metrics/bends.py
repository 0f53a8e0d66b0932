"""How far fingers bend, from 21 joints alone: which are folded, and how much of the true bend is predicted.

The bend at a joint is the angle between the bone before it and the one after it, degrees, never negative: 0
is straight. A finger's bend is the sum over its three joints (base, middle and end joint; the thumb's first
bone is that from the wrist).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tempohand.skeleton import FINGERS, WRIST

# Of middle and end joint together. A straight finger has 0 and a relaxed one about 40, a fist's 130 to 156
# (hand/anatomy.py): what lies between belongs to the nearer of 45, extended, and 135, folded.
FOLDED_DEG = 90.0
LEAST_SPREAD_DEG = 1.0  # standard deviation of the true bend from which on a slope means something
SLOPE_SUMS = 4


def joint_bends(joints: Float[Tensor, "n 21 3"]) -> Float[Tensor, "n 5 3"]:
    """The bend at each finger's three joints, degrees, float64; thumb to pinky, base to end."""
    joints = joints.double()
    wrist = joints[:, None, WRIST : WRIST + 1].expand(-1, len(FINGERS), -1, -1)
    bones = torch.cat([wrist, joints[:, 1:].unflatten(1, (len(FINGERS), 4))], dim=2).diff(dim=2)
    before, after = bones[:, :, :-1], bones[:, :, 1:]
    across = torch.linalg.cross(before, after).norm(dim=-1)
    return torch.atan2(across, (before * after).sum(dim=-1)).rad2deg()


def finger_changes(joints: Float[Tensor, "n 21 3"], mask: Bool[Tensor, "n 21"]) -> Float[Tensor, "n"]:
    """How often folded and extended fingers alternate from index to pinky, 0 to 3; nan where a joint of them
    is unknown.

    0: all four are folded or all extended; 1: a pointing index, a victory sign; more: horns, a lone middle
    finger.
    """
    folded = joint_bends(joints)[:, 1:, 1:].sum(dim=-1) > FOLDED_DEG
    changes = (folded[:, 1:] != folded[:, :-1]).sum(dim=-1)
    return changes.double().masked_fill(~mask[:, 5:].all(dim=-1), torch.nan)


def slope_sums(
    predicted: Float[Tensor, "n 5"], true: Float[Tensor, "n 5"], mask: Bool[Tensor, "n 21"], finger: str
) -> tuple[Float[Tensor, "n 4"], Bool[Tensor, "n 1"]]:
    """(x, y, x^2, x y, with x the true bend of a finger and y the predicted one; the frames in which it is
    known). predicted, true: every finger's bend, degrees."""
    place = FINGERS.index(finger)
    first = 1 + 4 * place
    known = mask[:, WRIST] & mask[:, first : first + 4].all(dim=-1)
    x, y = true[:, place], predicted[:, place]
    return torch.stack([x, y, x * x, x * y], dim=-1), known[:, None]


def bend_slope(means: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch"]:
    """The slope of the least-squares line of predicted on true bends, from the means of `slope_sums`: 1 is
    right, below 1 fingers bend too little, 0 is a constant. nan where the true bend is always the same."""
    x, y, xx, xy = means.unbind(dim=-1)
    spread = xx - x * x
    return (xy - x * y) / torch.where(spread > LEAST_SPREAD_DEG**2, spread, torch.nan)
