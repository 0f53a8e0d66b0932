"""Does a row's depth agree with its labels? As data/consistency.py, of what only the picture of depth can
say."""

import numpy as np
from jaxtyping import Float

from tempohand.data.consistency import Bound, describe, valid

HIDDEN = 0.5  # a hand of which something covers more is not what is measured at its joints
DEPTH_BOUNDS = {
    "depth_measured": Bound(0.02, 1, "of it", "share of the hand's box with a measurement",
                            "a picture of depth that is all holes says nothing of the hand"),
    "depth_unit": Bound(0.5, 2, "times", "measured depth at the joints over their labelled z",
                        "other units are factors of 10 and more: metres a thousandth"),
    "depth_at_joints": Bound(-300, 60, "mm", "median of measured depth at the joints minus their labelled z",
                             "skin lies some 10 mm before a joint, a thing before the hand nearer; "
                             "what lies behind it is the background beside the hand"),
}  # fmt: skip
METRES = 0.02  # a lower ratio of depth is that of metres, whole ones or not, taken for millimetres


def depth_faults(depth: Float[np.ndarray, "h w"], label: dict) -> list[tuple[str, str]]:
    """(name of the bound, what was measured) of everything that is wrong with a row's depth, mm; label: the
    row's columns. The first of DEPTH_BOUNDS that does not hold explains the others."""
    for name, value in _measures(depth, label).items():
        if not DEPTH_BOUNDS[name].holds(np.array([value]))[0]:
            metres = ": is it in metres?" if name == "depth_unit" and value < METRES else ""
            return [(name, describe(name, value, DEPTH_BOUNDS) + metres)]
    return []


def _measures(depth: Float[np.ndarray, "h w"], label: dict) -> dict[str, float]:
    height, width = depth.shape
    low, high = np.floor(label["box"][:2]).astype(int), np.ceil(label["box"][2:]).astype(int) + 1
    low, high = np.clip(low, 0, [width - 1, height - 1]), np.clip(high, 1, [width, height])
    measures = {"depth_measured": float((depth[low[1] : high[1], low[0] : high[0]] > 0).mean())}
    one = {name: np.asarray(value)[None] for name, value in label.items()}
    places, z = valid(one, "joints2d")[0], valid(one, "joints")[0, :, 2]
    with np.errstate(invalid="ignore"):
        known = np.isfinite(z) & (np.rint(places) >= 0).all(1)
        known &= (np.rint(places) <= [width - 1, height - 1]).all(1)
    columns, rows = np.rint(places[known]).astype(int).T
    measured, z = depth[rows, columns], z[known]
    measured, z = measured[measured > 0], z[measured > 0]
    if len(z) and label["has_camera"] and not label["hidden"] > HIDDEN and (z > 0).all():
        measures["depth_unit"] = float(np.median(measured / z))
        measures["depth_at_joints"] = float(np.median(measured - z))
    return measures
