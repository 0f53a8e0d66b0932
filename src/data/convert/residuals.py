"""A conversion proves itself: what of its labels is known twice must agree."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from tempohand import geometry
from tempohand.console import text_table
from tempohand.data.consistency import HandModels, Labels, pose_error, project, valid
from tempohand.data.convert.frame import Converter
from tempohand.data.table import FrameTable, read_index

SAMPLE = 2000  # rows a split, evenly spread


def residuals(labels: Labels, hands: HandModels | None) -> dict[str, Float[np.ndarray, "n"]]:
    """Per row, nan where there is nothing to compare:

    reprojection_px: mean distance of the stored 2D joints from the projected 3D ones, px of the stored
    picture. pose_mm: mean distance of the hand parameters' joints from the stored ones, wrists together.
    wrist_mm: of `trans` from the stored wrist. mirror_mm: for left hands, as pose_mm, of the right hand posed
    with the mirrored parameters from the mirrored joints.
    """
    with np.errstate(all="ignore"):
        distance = np.linalg.norm(project(labels) - valid(labels, "joints2d"), axis=2)
        known = np.isfinite(distance).sum(1)
        reprojection = np.where(
            labels["has_camera"] & (known > 0), np.nansum(distance, axis=1) / known, np.nan
        )
    found = {"reprojection_px": reprojection}
    if hands is not None:
        found["pose_mm"] = pose_error(labels, hands.joints(labels))
        mirrored = _mirrored(labels)
        found["mirror_mm"] = np.where(
            labels["is_right"], np.nan, pose_error(mirrored, hands.joints(mirrored))
        )
    wrist = np.linalg.norm(labels["trans"] - valid(labels, "joints")[:, 0], axis=1)
    found["wrist_mm"] = np.where(labels["has_hand"], wrist, np.nan)
    return found


def _mirrored(labels: Labels) -> Labels:
    """The hands as mirrored ones: what training sees of left hands."""
    pose = geometry.mirror_pose(torch.from_numpy(np.asarray(labels["pose"], np.float64))).numpy()
    joints = geometry.mirror_points(torch.from_numpy(np.asarray(labels["joints"], np.float64))).numpy()
    return labels | {"pose": pose, "joints": joints, "is_right": np.ones_like(labels["is_right"])}


def residual_table(root: str | Path, converter: Converter, hand: str | Path | None) -> str:
    """The residuals of a sample of every split, with the range that a right conversion has."""
    hands = HandModels(hand) if hand else None
    expected = dict.fromkeys(("pose_mm", "mirror_mm", "wrist_mm"), converter.pose_mm)
    expected["reprojection_px"] = converter.reprojection_px
    lines = []
    for split in read_index(root)["splits"]:
        table = FrameTable(root, split)
        rows = np.unique(np.linspace(0, len(table) - 1, min(SAMPLE, len(table))).round().astype(int))
        for name, values in residuals(table.labels(rows), hands).items():
            values = values[np.isfinite(values)]
            if not len(values):
                continue
            numbers = np.percentile(values, (50, 95, 100))
            bound = expected[name]
            verdict = "by construction" if bound is None else f"at most {bound:g}"
            verdict += ", LOOK: it is above" if bound is not None and numbers[0] > bound else ""
            lines.append([name, split, f"{len(values):,}", *(f"{number:.3f}" for number in numbers), verdict])
    return text_table(("residual", "split", "rows", "median", "95 %", "most", "expected"), lines, left=2)
