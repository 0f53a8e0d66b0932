"""Which frames a number is about: how much of the hand is hidden, how far away and how fast it is, how its
fingers are folded; and which process evaluates what."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

ALL = "all"
HIDDEN_CURVE_EDGES = tuple(edge / 10 for edge in range(11))
# Depth of the true wrist, mm.
DISTANCE_MM = {
    "near_0_400mm": (0.0, 400.0),
    "middle_400_700mm": (400.0, 700.0),
    "far_700mm_up": (700.0, float("inf")),
}
HIDDEN = {
    "hidden_0_25": (0.0, 0.25),  # some, but less than a quarter
    "hidden_25_50": (0.25, 0.5),
    "hidden_50_75": (0.5, 0.75),
    "hidden_75_100": (0.75, float("inf")),
    "hidden_50": (0.5, float("inf")),
}
# Speed of the true wrist in camera space, and mean speed of the true joints relative to it, mm/s.
WRIST_SPEED = {
    "wrist_0_100mm_s": (0.0, 100.0),
    "wrist_100_300mm_s": (100.0, 300.0),
    "wrist_300mm_s_up": (300.0, float("inf")),
}
FINGER_SPEED = {
    "fingers_0_50mm_s": (0.0, 50.0),
    "fingers_50_150mm_s": (50.0, 150.0),
    "fingers_150mm_s_up": (150.0, float("inf")),
}
# How often truly folded and extended fingers alternate from index to pinky (metrics/bends.py).
FINGER_CHANGES = {
    "finger_changes_0": (0.0, 1.0),
    "finger_changes_1": (1.0, 2.0),
    "finger_changes_2_up": (2.0, float("inf")),
}
SPLITS = (ALL, "hidden_0", *HIDDEN, *DISTANCE_MM, *WRIST_SPEED, *FINGER_SPEED, *FINGER_CHANGES)
CURVE = tuple(f"curve_{place}" for place in range(len(HIDDEN_CURVE_EDGES) - 1))


def split_frames(
    hidden: Float[Tensor, "n"],
    depth: Float[Tensor, "n"],
    wrist_speed: Float[Tensor, "n"],
    finger_speed: Float[Tensor, "n"],
    finger_changes: Float[Tensor, "n"],
) -> dict[str, Bool[Tensor, "n"]]:
    """The frames of each split. hidden: fraction covered; depth: of the true wrist in mm; speeds in mm/s;
    finger_changes: between folded and extended ones; nan where unknown.

    hidden_0 is nothing hidden at all, hidden_0_25 more than that and less than a quarter, hidden_50 a half or
    more; other bounds include the lower one. A frame of which something is unknown is in none of the splits
    that need it.
    """
    splits = {ALL: torch.ones_like(hidden, dtype=torch.bool), "hidden_0": hidden == 0}
    for name, (low, high) in HIDDEN.items():
        splits[name] = (hidden >= low) & (hidden < high) & (hidden > 0)
    binned = (
        (depth, DISTANCE_MM),
        (wrist_speed, WRIST_SPEED),
        (finger_speed, FINGER_SPEED),
        (finger_changes, FINGER_CHANGES),
    )
    for value, bounds in binned:
        for name, (low, high) in bounds.items():
            splits[name] = (value >= low) & (value < high)
    return splits


def curve_frames(hidden: Float[Tensor, "n"]) -> dict[str, Bool[Tensor, "n"]]:
    """The frames of each tenth of the hidden fraction, lower bound included, 1 in the last."""
    edges = HIDDEN_CURVE_EDGES
    place = torch.bucketize(
        hidden.nan_to_num(-1.0), torch.tensor(edges[1:-1], dtype=hidden.dtype), right=True
    )
    return {name: (place == i) & (hidden >= 0) for i, name in enumerate(CURVE)}


def whole_groups(lengths: Int[ndarray, "n"] | list[int], least: int) -> list[range]:
    """Neighbouring sequences in groups of at least `least` frames (the last one may have fewer): what is
    evaluated in common batches.

    Batches are cut within groups, so that which frames share a batch, and with it the last bit of what a
    network says of them, does not depend on the number of processes.
    """
    groups = []
    first = 0
    frames = 0
    for sequence, length in enumerate(lengths):
        frames += int(length)
        if frames >= least or sequence == len(lengths) - 1:
            groups.append(range(first, sequence + 1))
            first = sequence + 1
            frames = 0
    return groups


def share_of_groups(lengths: Int[ndarray, "n"] | list[int], rank: int, world: int) -> list[int]:
    """The groups that process `rank` of `world` evaluates whole: the longest first, each to the process with
    the least work so far."""
    load, mine = [0] * world, []
    for group in sorted(range(len(lengths)), key=lambda i: (-int(lengths[i]), i)):
        process = load.index(min(load))
        load[process] += int(lengths[group])
        if process == rank:
            mine.append(group)
    return sorted(mine)


def rows_of_batches(
    starts: Int[ndarray, "rows"], size: int, rank: int, world: int, frames: int | None = None
) -> list[Int[ndarray, "_"]]:
    """The rows of each batch, of at most `size`, that process `rank` of `world` evaluates: every row of whole
    sequences once.

    starts: of each row the first row of its sequence. frames: about so many, in whole sequences evenly
    spread; None: all.
    """
    first, lengths = np.unique(starts, return_counts=True)
    if frames and lengths.sum() > frames:
        spread = (
            np.linspace(0, len(first) - 1, max(1, round(len(first) * frames / lengths.sum())))
            .round()
            .astype(int)
        )
        first, lengths = first[spread], lengths[spread]
    groups = whole_groups(lengths, size)
    share = share_of_groups([int(lengths[list(group)].sum()) for group in groups], rank, world)
    rows = [
        np.concatenate([np.arange(first[i], first[i] + lengths[i]) for i in groups[number]])
        for number in share
    ]
    return [batch for group in rows for batch in np.array_split(group, -(-len(group) // size))]
