"""What a frame table holds, at a glance."""

from pathlib import Path

import numpy as np

from tempohand.console import text_table
from tempohand.data.mixture import spread, wrist_depth
from tempohand.data.table import FrameTable, read_index

HEAD = ("split", "rows", "sequences", "left", "2D", "3D", "hand", "camera", "half hidden", "in sequences")


def summary(root: str | Path) -> str:
    """A line per split: rows, sequences, shares of left hands, of rows with 2D joints, 3D joints, hand
    parameters and camera, of rows in which at least half of the hand is hidden and of sequences with such a
    row, distance of the wrist, size."""
    lines = []
    for split, shards in read_index(root)["splits"].items():
        if not shards:
            continue
        table = FrameTable(root, split)
        starts, hidden = table.sequence_starts(), table.column("hidden")
        sequences = len(np.unique(starts))
        labels = ("joints2d_mask", "joints_mask", "has_hand", "has_camera")
        known = [table.column(name).mean() for name in labels]
        covered = [np.mean(hidden >= 0.5), len(np.unique(starts[hidden >= 0.5])) / sequences]
        lines.append(
            [
                split,
                f"{len(table):,}",
                f"{sequences:,}",
                *(f"{share:.0%}" for share in (1 - table.column("is_right").mean(), *known)),
                *("-" if np.isnan(hidden).all() else f"{share:.1%}" for share in covered),
                spread(wrist_depth(table)),
                f"{sum((Path(root) / name).stat().st_size for name in shards) / 1e6:.1f}",
            ]
        )
    return text_table((*HEAD, "distance mm (5/50/95 %)", "MB"), lines)
