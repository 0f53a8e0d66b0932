"""Do the labels of a row agree with each other? Measurements per row, and the bounds outside which a row is
called inconsistent.

Every measurement is nan where a row's masks leave nothing to compare, so what is unknown is never held
against a row. Bounds are wide: they let every annotation through that a person or a fit could have made, and
stop what only a mistake makes (another unit, axis, order, side).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float

from tempohand.geometry import bone_lengths
from tempohand.hand.layer import HandLayer
from tempohand.skeleton import NUM_JOINTS, WRIST

Labels = dict[str, np.ndarray]  # numeric columns of some rows, as FrameTable.labels gives them: [n, ...] each
Measures = dict[str, Float[np.ndarray, "n"]]


@dataclass(frozen=True)
class Bound:
    """The range of a measurement that a consistent row has, its unit, and in words what is measured and why
    the bound lies there."""

    low: float
    high: float
    unit: str
    what: str
    why: str

    def holds(self, values: Float[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
        """Which values are within; nan, nothing to compare, is."""
        return np.isnan(values) | ((values >= self.low) & (values <= self.high))

    @property
    def expected(self) -> str:
        """The range in words."""
        if self.low == self.high:
            return f"{self.low:g} {self.unit}".strip()
        low = "at most" if self.low <= 0 else f"{self.low:g} to"
        return f"{low} {self.high:g} {self.unit}".strip()


INF = float("inf")
BOUNDS = {
    "not_finite": Bound(0, 0, "", "label values that are nan or infinite although valid",
                        "one of them makes a whole batch's loss nan"),
    "picture_size": Bound(2, 20000, "px", "the shorter edge by width and height",
                          "a picture without an area cannot be cropped"),
    "box_side": Bound(2, 20000, "px", "the box's shorter edge",
                      "boxes are xyxy; one without an area cannot be cropped"),
    "box_misses": Bound(0, 0.5, "box edges", "how far outside the box a 2D joint lies",
                        "a detector's box may cut fingertips, not half a hand"),
    "box_too_large": Bound(0, 5, "times", "box edge over the 2D joints' extent",
                           "crops are a multiple of the box: the hand would be a few pixels"),
    "focal": Bound(0.2, 2000, "picture edges", "focal length",
                   "from a fisheye's centre to an orthographic picture, whose camera stands at 100 m"),
    "focal_ratio": Bound(0.5, 2, "times", "horizontal over vertical focal length",
                         "pixels of real cameras are nearly square"),
    "depth": Bound(20, 200000, "mm", "the nearest joint's depth",
                   "a hand in front of the camera has z > 0; that of an orthographic picture is at 100 m"),
    "shortest_bone": Bound(5, 150, "mm", "the shortest bone",
                           "a child's last phalanx has 10 mm; in metres it is 0.01"),
    "longest_bone": Bound(5, 150, "mm", "the longest bone",
                          "a large hand's metacarpal has 110 mm with the wrist's own extent"),
    "reprojection": Bound(0, 0.06, "hands",
                          "mean distance of 2D joints from the projected 3D ones, "
                          "over the hand's extent in the picture",
                          "people and calibrations err by some hundredths of a hand"),
    "wrist": Bound(0, 10, "mm", "distance of trans from the wrist joint",
                   "trans is the wrist; MANO's transl is some 95 mm off"),
    "pose": Bound(0, 12, "mm",
                  "mean distance of the hand parameters' joints from the 3D ones, both relative to the wrist",
                  "fits and fingertip definitions differ by some mm; "
                  "a wrong side, mean or order by 20 and more"),
}  # fmt: skip


class HandModels:
    """The hand layer of either side: joints from a table's hand parameters, each row with its own side's."""

    def __init__(self, path: str | Path | None = None, left_shapedirs: Literal["fixed", "unfixed"] = "fixed"):
        self.right = HandLayer(path, side="right")
        self.left = HandLayer(path, side="left", left_shapedirs=left_shapedirs)

    @torch.no_grad()
    def joints(self, labels: Labels) -> Float[np.ndarray, "n 21 3"]:
        """The joints, mm, relative to the wrist, that pose and shape give; nan where they are not known or
        not finite."""
        joints = np.full((len(labels["pose"]), NUM_JOINTS, 3), np.nan)
        known = labels["has_hand"] & np.isfinite(labels["pose"]).all(1) & np.isfinite(labels["shape"]).all(1)
        for layer, side in ((self.right, labels["is_right"]), (self.left, ~labels["is_right"])):
            rows = np.flatnonzero(known & side)
            if len(rows):
                pose, shape = (
                    torch.from_numpy(np.asarray(labels[name][rows], np.float32)) for name in ("pose", "shape")
                )
                joints[rows] = layer.joints(pose, shape).numpy()
        return joints


def measure(labels: Labels, hands: HandModels | None = None) -> Measures:
    """Every measurement of `BOUNDS` for each row. labels: the table's columns (data/table.py). Without
    `hands` "pose" is not measured.

    Lengths are in mm, 2D in px of the stored pictures or in multiples of what a measurement's bound says.
    """
    with np.errstate(all="ignore"):
        return _measure({name: np.asarray(value) for name, value in labels.items()}, hands)


def _measure(labels: Labels, hands: HandModels | None) -> Measures:
    joints, joints2d = valid(labels, "joints"), valid(labels, "joints2d")
    size = np.stack([labels["width"], labels["height"]], axis=1).astype(float)
    focal, camera = labels["focal"].astype(float), labels["has_camera"]
    low, high = labels["box"][:, :2].astype(float), labels["box"][:, 2:].astype(float)
    edges = high - low
    extent = np.ptp(joints2d, axis=1).max(1)  # px; nan unless all 21 are known
    outside = np.maximum(low[:, None] - joints2d, joints2d - high[:, None]).max(2) / edges.max(1)[:, None]
    bones = bone_lengths(joints)
    measures = {
        "not_finite": not_finite(labels).astype(float),
        "picture_size": size.min(1),
        "box_side": _worst_if_nan(edges.min(1)),
        "box_misses": np.maximum(_nanmax(outside), 0.0),
        "box_too_large": edges.max(1) / extent,
        # Where the camera is a guess any positive focal length will do.
        "focal": np.where(
            camera, _worst_if_nan(focal.mean(1) / size.max(1)), np.where((focal > 0).all(1), np.nan, -INF)
        ),
        "focal_ratio": np.where(camera, focal[:, 0] / focal[:, 1], np.nan),
        "depth": np.where(camera, -_nanmax(-joints[..., 2]), np.nan),
        "shortest_bone": -_nanmax(-bones),
        "longest_bone": _nanmax(bones),
        "reprojection": reprojection(labels),
        "wrist": np.where(
            labels["has_hand"], np.linalg.norm(labels["trans"] - joints[:, WRIST], axis=1), np.nan
        ),
    }
    if hands is not None:
        measures["pose"] = pose_error(labels, hands.joints(labels))
    return measures


def faults(measures: Measures) -> list[list[str]]:
    """For each row the names of the measurements that lie outside their bounds; an empty list for a
    consistent row."""
    wrong = {name: ~BOUNDS[name].holds(values) for name, values in measures.items()}
    rows = len(next(iter(measures.values())))
    found: list[list[str]] = [[] for _ in range(rows)]
    for name, rows_wrong in wrong.items():
        for row in np.flatnonzero(rows_wrong):
            found[row].append(name)
    return found


def describe(name: str, value: float, bounds: dict[str, Bound] = BOUNDS) -> str:
    """One fault in words: what was measured, what it is, and what it should be."""
    bound = bounds[name]
    return f"{bound.what}: {value:.3g}, expected {bound.expected}"


def valid(labels: Labels, name: str) -> Float[np.ndarray, "n 21 d"]:
    """joints or joints2d in float64, nan where their mask is False."""
    return np.where(labels[f"{name}_mask"][..., None], labels[name].astype(float), np.nan)


def not_finite(labels: Labels) -> np.ndarray:
    """How many values of each row are nan or infinite where nothing says that they are unknown."""
    everywhere = np.ones(len(labels["box"]), bool)
    used = {
        "joints": labels["joints_mask"][..., None],
        "joints2d": labels["joints2d_mask"][..., None],
        **dict.fromkeys(("pose", "shape", "trans"), labels["has_hand"][:, None]),
        # a crop needs them even where the camera is a guess
        **dict.fromkeys(("focal", "princpt", "box"), everywhere[:, None]),
        "time": everywhere,
    }
    return sum(
        (~np.isfinite(labels[name]) & mask).reshape(len(everywhere), -1).sum(1) for name, mask in used.items()
    )


def project(labels: Labels) -> Float[np.ndarray, "n 21 2"]:
    """The valid 3D joints in pixels of the stored picture. Unlike geometry.project it goes on behind the
    camera, as the formula does."""
    joints = valid(labels, "joints")
    focal = labels["focal"][:, None].astype(float)
    princpt = labels["princpt"][:, None].astype(float)
    return joints[..., :2] / joints[..., 2:] * focal + princpt


def reprojection(labels: Labels) -> Float[np.ndarray, "n"]:
    """Mean distance of 2D joints from the projected 3D ones over the hand's extent in the picture (the 2D
    joints' longer edge)."""
    with np.errstate(all="ignore"):
        joints2d = valid(labels, "joints2d")
        distance = np.linalg.norm(project(labels) - joints2d, axis=2)
        extent = (_nanmax(joints2d) + _nanmax(-joints2d)).max(1)
        extent = np.where(extent > 0, extent, np.nan)  # of one joint alone: there is no hand to compare with
        return np.where(labels["has_camera"], _nanmean(distance) / extent, np.nan)


def pose_error(labels: Labels, posed: Float[np.ndarray, "n 21 3"]) -> Float[np.ndarray, "n"]:
    """Mean distance (mm) of the parameters' joints `posed` from the 3D joints, both relative to the wrist."""
    with np.errstate(all="ignore"):
        joints = valid(labels, "joints")
        return _nanmean(np.linalg.norm(posed - (joints - joints[:, WRIST : WRIST + 1]), axis=2)[:, 1:])


def _nanmax(values: Float[np.ndarray, "n m *rest"]) -> Float[np.ndarray, "n *rest"]:
    """The greatest of what is known along the second axis, nan where nothing is."""
    return np.fmax.reduce(values, axis=1)


def _nanmean(values: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n"]:
    known = ~np.isnan(values)
    return np.where(known, values, 0.0).sum(1) / np.where(known.any(1), known.sum(1), np.nan)


def _worst_if_nan(values: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    return np.where(np.isnan(values), -INF, values)
