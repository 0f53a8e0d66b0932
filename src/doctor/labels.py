"""Checks of a table's labels: do they agree with each other, and if not, which known mistake explains it."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from tempohand.data.consistency import BOUNDS, HandModels, Labels, describe, measure, valid
from tempohand.data.convert.orders import OPENPOSE, ORDERS
from tempohand.data.convert.repairs import Repair, recognise
from tempohand.doctor.result import Result, judge
from tempohand.geometry import bone_lengths
from tempohand.skeleton import NUM_BETAS, POSE_DIM

SYSTEMATIC = 0.05  # of a source's rows: more is a mistake of the conversion, fewer are single bad rows
ORDER_SPREAD = 0.3  # log of bone lengths over the model's: above it another order may fit better


@dataclass(frozen=True)
class Check:
    """A line of the table: its name, the measurements of consistency.BOUNDS that it covers, and what to think
    of when no repair fits."""

    name: str
    measures: tuple[str, ...]
    otherwise: str


CHECKS = (
    Check("labels are finite", ("not_finite",),
          "mask what is unknown (joints_mask, joints2d_mask, has_hand), or leave the row out"),
    Check("box around the 2D joints", ("box_side", "box_misses", "box_too_large"),
          "box is xyxy in px of the stored picture, the bounds of the 21 joints; "
          "boxes of another hand or picture look like this"),
    Check("intrinsics", ("focal", "focal_ratio"),
          "focal is in px of the stored picture; set has_camera to False where it is not known"),
    Check("joints lie before the camera", ("depth",),
          "joints are in mm in camera space (x right, y down, z forward)"),
    Check("3D bone lengths", ("shortest_bone", "longest_bone"),
          "joints are in mm, in OpenPose order, of one hand"),
    Check("2D = projection of 3D", ("reprojection",),
          "joints, joints2d, focal and princpt belong to one picture: "
          "look for labels of another frame, lens distortion, another camera"),
    Check("trans is the wrist", ("wrist",),
          "trans is the wrist in camera space, mm: joints[0] where both are known"),
    Check("pose and shape give the joints", ("pose",),
          "the hand parameters belong to another hand model than network.hand, or to another frame or "
          "person: give network.hand=<the model that "
          "the data set was annotated with>, or convert the parameters (tempohand hand fit)"),
)  # fmt: skip


def check_labels(labels: Labels, source: np.ndarray, hands: HandModels) -> list[Result]:
    """The results of all label checks. labels: columns of sampled rows; source [n]: the data set of each,
    which are judged one by one."""
    measures = measure(labels, hands)
    recognised = {}
    for name in np.unique(source):
        rows = np.flatnonzero(
            (source == name)
            & ~np.all([BOUNDS[each].holds(values) for each, values in measures.items()], axis=0)
        )
        if len(rows):
            rows = rows[:: max(1, len(rows) // 200)]  # enough to recognise a mistake by
            recognised[name] = recognise({column: values[rows] for column, values in labels.items()}, hands)
    results, explained = [], set()
    for check in CHECKS:
        results.append(_judge(check, measures, source, recognised, explained))
    return [*results, check_order(labels, hands)]


def _judge(
    check: Check,
    measures: dict[str, np.ndarray],
    source: np.ndarray,
    recognised: dict[str, dict[str, Repair]],
    explained: set[str],
) -> Result:
    values = np.stack([measures[name] for name in check.measures])
    holds = np.stack([BOUNDS[name].holds(measures[name]) for name in check.measures])
    known, good = ~np.isnan(values).all(0), holds.all(0)
    expected = "; ".join(dict.fromkeys(BOUNDS[name].expected for name in check.measures))
    if not known.any():
        return Result(check.name, "not known in any row", expected)
    bad = {name: float((~good)[known & (source == name)].mean()) for name in np.unique(source[known])}
    worst = max(bad, key=bad.get)
    medians = [
        f"{np.nanmedian(row):.3g} {BOUNDS[name].unit}".strip()
        for name, row in zip(check.measures, values)
        if not np.isnan(row).all()
    ]
    text = f"{100 * good[known].mean():.4g} % of {known.sum():,} rows; median {', '.join(medians)}"
    verdict, cause = judge(bad[worst], fail=SYSTEMATIC), ""
    if verdict != "ok":
        row = int(np.flatnonzero(~good & (source == worst))[0])
        place = int(np.argmin(holds[:, row]))
        cause = (
            f"Source '{worst}': {100 * bad[worst]:.3g} % of its rows are out of bounds; "
            f"{describe(check.measures[place], values[place, row])}. "
        )
        cause += _cause(check, recognised.get(worst, {}), explained, single=verdict == "warning")
    return Result(check.name, text, expected, verdict, cause, float(good[known].mean()))


def _cause(check: Check, recognised: dict[str, Repair], explained: set[str], *, single: bool) -> str:
    repair = next((recognised[name] for name in check.measures if name in recognised), None)
    if repair is not None and repair.mistake in explained:
        return f"The same mistake as above: {repair.mistake}."
    if repair is not None:
        explained.add(repair.mistake)
        return (
            f"Likely mistake: {repair.mistake}; with that undone the labels agree. Remedy: {repair.remedy}."
        )
    if single:
        return "Single rows: tempohand check-data lists them all, and training leaves them out."
    return f"No known mistake explains it: {check.otherwise}."


def check_order(labels: Labels, hands: HandModels) -> Result:
    """Whether the pattern of bone lengths is that of OpenPose's order, or of another known one."""
    rest = torch.zeros(1, POSE_DIM), torch.zeros(1, NUM_BETAS)
    spreads = bone_pattern(valid(labels, "joints"), hands.right.joints(*rest)[0].double().numpy())
    own = spreads[OPENPOSE]
    expected = f"at most {ORDER_SPREAD:g}, the least of {len(ORDERS)} known orders"
    if np.isnan(own):
        return Result("joint order", "not known in any row", expected)
    best = min(spreads, key=spreads.get)
    text = f"bone lengths differ by {own:.2f} (log) from a hand's"
    if own <= ORDER_SPREAD or best == OPENPOSE and own <= 2 * ORDER_SPREAD:
        return Result("joint order", text, expected, number=own)
    if best != OPENPOSE and spreads[best] < own / 2:
        cause = (
            f"Joints come in another order: {best} fits with {spreads[best]:.2f}. Remedy: gather joints "
            "(and joints2d, if they come in it too) with "
            f"{list(ORDERS[best])} in the conversion."
        )
        return Result("joint order", text, expected, "FAILED", cause, own)
    cause = (
        "No known order has a hand's bone lengths: joints of different hands, of a robot's or a puppet's "
        "hand, or noise."
    )
    return Result("joint order", text, expected, "warning", cause, own)


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
