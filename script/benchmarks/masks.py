"""Masks that are made of pictures and 2D joints, as tempohand masks makes them, beside a table's true ones:
by how much of the hand is hidden."""

import argparse

import cv2
import numpy as np
from tqdm import tqdm

from tempohand.data.grabcut import segment
from tempohand.data.table import FrameTable

from .report import Report

HIDDEN = ((0.0, 0.01), (0.01, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.01))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which table, and how much of it."""
    parser.add_argument("table", metavar="TABLE", help="the folder of a frame table with masks")
    parser.add_argument("--split", default="test", help="default: %(default)s")
    parser.add_argument("--rows", type=int, default=240, metavar="N", help="default: %(default)s")


def run(arguments: argparse.Namespace) -> Report:
    """Intersection over union of made and true masks: of all, and of those that are plausible and so kept."""
    cv2.setNumThreads(1)
    table = FrameTable(arguments.table, arguments.split)
    rows = np.unique(np.linspace(0, len(table) - 1, arguments.rows).astype(int))
    labels = table.labels(rows)
    found = []
    for place, row in enumerate(tqdm(rows.tolist(), unit="row")):
        true, joints2d = table.mask(row), labels["joints2d"][place].astype(float)
        made = segment(table.image(row), joints2d, labels["joints2d_mask"][place])
        if true is not None and made is not None:
            overlap = (made.mask & true).sum() / max((made.mask | true).sum(), 1)
            found.append((labels["hidden"][place], overlap, made.plausible))
    if not found:
        raise ValueError(f"split '{arguments.split}' of the table at '{arguments.table}' has no masks")
    hidden, overlap, kept = np.array(found, float).T
    lines, details = [], {}
    for low, high in HIDDEN:
        here = (hidden >= low) & (hidden < high)
        if here.any():
            name, kept_here = f"{low:.0%} to {min(high, 1.0):.0%}", here & (kept > 0)
            of_kept = float(overlap[kept_here].mean()) if kept_here.any() else float("nan")
            values = float(overlap[here].mean()), float(np.median(overlap[here])), of_kept
            details[name] = {"n": int(here.sum()), "kept": int(kept_here.sum()), "iou": values[0]}
            counts = [str(int(here.sum())), str(int(kept_here.sum()))]
            lines.append([name, *counts, *(f"{value:.3f}" for value in values)])
    return Report(["hidden", "rows", "kept", "IoU", "median", "of kept"], lines, {}, {"hidden": details})
