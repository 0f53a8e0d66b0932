"""A contact sheet of a frame table: the first frame of its first sequences.

python -m tempohand.synthetic.sheet data/wide sheet.jpg [--split test] [--rows 10] [--columns 10] [--edge 128]
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from tempohand.data.table import FrameTable
from tempohand.writing import write_whole

SUFFIXES = (".jpg", ".jpeg", ".png")


def contact_sheet(
    root: str | Path, split: str, rows: int, columns: int, edge: int
) -> UInt8[ndarray, "h w 3"]:
    """rows x columns pictures (RGB) of `edge` px, of one sequence each. Raises ValueError when the split has
    fewer sequences."""
    table = FrameTable(root, split)
    firsts = np.unique(table.sequence_starts())
    if len(firsts) < rows * columns:
        raise ValueError(
            f"'{root}' has {len(firsts)} sequences in its split {split}, "
            f"fewer than the {rows} x {columns} of the sheet"
        )
    pictures = [
        cv2.resize(table.image(int(row)), (edge, edge), interpolation=cv2.INTER_AREA)
        for row in firsts[: rows * columns]
    ]
    return np.concatenate(
        [np.concatenate(pictures[k : k + columns], axis=1) for k in range(0, rows * columns, columns)]
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--split", default="test")
    for name, default in (("rows", 10), ("columns", 10), ("edge", 128)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    sheet = contact_sheet(options.table, options.split, options.rows, options.columns, options.edge)
    if options.picture.suffix.lower() not in SUFFIXES or not options.picture.parent.is_dir():
        raise ValueError(
            f"'{options.picture}' cannot be written: name a {' or '.join(SUFFIXES)} in a folder that exists"
        )
    data = cv2.imencode(
        options.picture.suffix, cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80]
    )[1]
    write_whole(options.picture, data.tobytes())


if __name__ == "__main__":
    main()
