"""What a converted table holds, in lines: per split rows, sequences, labels and distances; and what became no
row."""

from pathlib import Path

import numpy as np

from tempohand.data.table import FrameTable, read_index
from tempohand.skeleton import WRIST


def summary_lines(root: str | Path) -> list[str]:
    """A line per split (rows, sequences, left hands, share of rows with 2D, 3D, hand parameters and camera,
    distance of the wrist, MB), and one per reason for which hands or frames were left out."""
    index = read_index(root)
    lines = [
        f"{'split':12} {'rows':>9} {'sequences':>9} {'left':>5} {'2D':>5} {'3D':>5} {'hand':>5} "
        f"{'camera':>6} "
        f"{'distance mm (5/50/95 %)':>24} {'MB':>7}"
    ]
    for split in index["splits"]:
        table = FrameTable(root, split)
        size = sum((Path(root) / name).stat().st_size for name in index["splits"][split]) / 1e6
        starts = np.unique(table.sequence_starts())
        share = {
            name: table.column(name).mean()
            for name in ("joints2d_mask", "joints_mask", "has_hand", "has_camera", "is_right")
        }
        lines.append(
            f"{split:12} {len(table):9,} {len(starts):9,} {1 - share['is_right']:5.0%} "
            f"{share['joints2d_mask']:5.0%} {share['joints_mask']:5.0%} {share['has_hand']:5.0%} "
            f"{share['has_camera']:6.0%} {_distances(table):>24} {size:7.1f}"
        )
    rejected = index["about"]["rejected"]
    lines.append(
        f"left out: {sum(rejected.values()):,} (rejected.jsonl has each)" if rejected else "left out: nothing"
    )
    return lines + [f"  {count:9,}  {reason}" for reason, count in rejected.items()]


def _distances(table: FrameTable) -> str:
    known = table.column("joints_mask")[:, WRIST] & table.column("has_camera")
    depth = table.column("joints")[known, WRIST, 2]
    return "/".join(f"{value:.0f}" for value in np.percentile(depth, (5, 50, 95))) if len(depth) else "-"
