"""Orders that 21 joints are stored in elsewhere, and which of them some joints have."""

import numpy as np
from jaxtyping import Float

from tempohand.data.consistency import bone_lengths
from tempohand.skeleton import MANO21_TO_OP

OPENPOSE = "OpenPose (wrist, then thumb to pinky from base to tip)"


def _fingers(order: tuple[int, ...], wrist: int, first: int, *, from_tip: bool) -> tuple[int, ...]:
    """Gather of an order with four joints a finger: `order` says which stored finger is thumb, index, middle,
    ring, pinky."""
    steps = (3, 2, 1, 0) if from_tip else (0, 1, 2, 3)
    return (wrist, *(first + 4 * finger + step for finger in order for step in steps))


# name -> gather: openpose = stored[gather]
ORDERS = {
    OPENPOSE: tuple(range(21)),
    "MANO's 16 joints, then the fingertips (smplx, manopth, HO3D)": MANO21_TO_OP,
    "fingers from tip to base, the wrist last (InterHand2.6M)": _fingers(
        (0, 1, 2, 3, 4), 20, 0, from_tip=True
    ),
    "the wrist, then fingers from tip to base (RHD, STB)": _fingers((0, 1, 2, 3, 4), 0, 1, from_tip=True),
    "the wrist, then fingers from pinky to thumb": _fingers((4, 3, 2, 1, 0), 0, 1, from_tip=False),
    "the wrist, the five knuckles, then the rest finger by finger (FPHA)": (
        *(0, 1, 6, 7, 8, 2, 9, 10, 11),
        *(3, 12, 13, 14, 4, 15, 16, 17, 5, 18, 19, 20),
    ),
}


def bone_pattern(joints: Float[np.ndarray, "n 21 3"], model: Float[np.ndarray, "21 3"]) -> dict[str, float]:
    """For each known order how far the joints' bone lengths are from the model hand's, whatever the unit: the
    spread (standard deviation) of the log of their ratios, median over rows. A hand of other proportions has
    some 0.1 to 0.2, joints in another order 0.5 and more; nan where nothing is known."""
    wanted = np.log(bone_lengths(model[None]))
    spreads = {}
    with np.errstate(all="ignore"):
        for name, gather in ORDERS.items():
            ratio = np.log(bone_lengths(joints[:, list(gather)])) - wanted
            known = np.isfinite(ratio).all(1)
            spreads[name] = float(np.median(ratio[known].std(1))) if known.any() else float("nan")
    return spreads


def gather_between(
    stored: Float[np.ndarray, "n 21 d"], wanted: Float[np.ndarray, "n 21 d"]
) -> tuple[int, ...] | None:
    """The gather that makes `wanted` of `stored`: for each wanted joint the stored one that lies nearest
    (median over rows); None where that is no permutation."""
    with np.errstate(all="ignore"):
        distance = np.linalg.norm(stored[:, None] - wanted[:, :, None], axis=-1)  # (n, wanted, stored)
    known = np.isfinite(distance).all((1, 2))
    if not known.any():
        return None
    gather = np.median(distance[known], axis=0).argmin(1)
    return tuple(gather.tolist()) if len(set(gather.tolist())) == len(gather) else None
