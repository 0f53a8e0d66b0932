"""A conversion proves itself: what of its labels is known twice must agree."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from tempohand import geometry
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


def residual_lines(root: str | Path, converter: Converter, hand: str | Path | None) -> list[str]:
    """The residuals of a sample of every split, with the range that a right conversion has."""
    hands = HandModels(hand) if hand else None
    expected = dict.fromkeys(("pose_mm", "mirror_mm", "wrist_mm"), converter.pose_mm)
    expected["reprojection_px"] = converter.reprojection_px
    lines = [f"{'residual':16} {'split':12} {'rows':>6} {'median':>8} {'95 %':>8} {'most':>8}   expected"]
    for split in read_index(root)["splits"]:
        table = FrameTable(root, split)
        rows = np.unique(np.linspace(0, len(table) - 1, min(SAMPLE, len(table))).round().astype(int))
        for name, values in residuals(table.labels(rows), hands).items():
            values = values[np.isfinite(values)]
            if not len(values):
                continue
            median, high, most = np.percentile(values, (50, 95, 100))
            bound = expected[name]
            verdict = (
                "by construction"
                if bound is None
                else f"at most {bound:g}" + ("" if median <= bound else "   LOOK: it is above")
            )
            lines.append(
                f"{name:16} {split:12} {len(values):6,} {median:8.3f} {high:8.3f} {most:8.3f}   {verdict}"
            )
    if hand is None:
        lines.append(
            "hand parameters were not compared with joints: hand=<folder of the MANO files> does that"
        )
    return lines
