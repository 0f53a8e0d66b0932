"""Labels in a table of text: a row a hand.

    NAME.csv with a head: picture, side (right, left), JOINT_x, JOINT_y, JOINT_v of every joint, box_x0,
    box_y0, box_x1, box_y1, and width, height of the picture

JOINT is a usual name (wrist, thumb_1 ... thumb_tip) or a number from 0 to 20. Empty fields: not marked.
JOINT_v (seen: 2, hidden: 1, not marked: 0, as COCO counts), side, box and size may be left out; other
columns are not read. Pixel centres are integers.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from tempohand.data.convert.own_labels import OwnLabels
from tempohand.data.convert.own_marks import Mark, MarkedHand, MarkedPicture

BOX = ("box_x0", "box_y0", "box_x1", "box_y1")


class CsvLabels(OwnLabels):
    """All .csv files of the folder that have a column `picture`."""

    name = "csv"
    title = "a table of joints (CSV)"
    missing = "has no .csv with the columns picture, JOINT_x, JOINT_y"

    def label_files(self) -> list[Path]:
        return [path for path in sorted(self.root.glob("*.csv")) if "picture" in _head(path)]

    def marked(self, path: Path) -> Iterator[MarkedPicture]:
        head = _head(path)
        joints = [name[:-2] for name in head if name.endswith("_x") and f"{name[:-2]}_y" in head]
        if not joints:
            raise ValueError(f"'{path}' has no pair of columns JOINT_x, JOINT_y")
        hands: dict[str, list[MarkedHand]] = {}
        sizes, problems = {}, []
        with path.open(newline="", encoding="utf-8-sig") as file:
            for line, row in enumerate(csv.DictReader(file), 2):
                try:
                    hands.setdefault(row["picture"], []).append(_hand(row, joints))
                    if row.get("width") and row.get("height"):
                        sizes[row["picture"]] = int(row["width"]), int(row["height"])
                except (ValueError, TypeError) as error:
                    problems.append(MarkedPicture(row["picture"], (), problem=f"line {line}: {error}"))
        for name, own in hands.items():
            yield MarkedPicture(name, tuple(own), sizes.get(name))
        yield from problems


def _head(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return next(csv.reader(file), [])


def _hand(row: dict[str, str], joints: list[str]) -> MarkedHand:
    marks = []
    for name in joints:
        seen = row.get(f"{name}_v") or ""
        if row[f"{name}_x"] and row[f"{name}_y"] and seen != "0":
            hidden = float(seen) == 1 if seen else None
            marks.append(Mark(name, float(row[f"{name}_x"]), float(row[f"{name}_y"]), hidden))
    box = None
    if all(row.get(name) for name in BOX):
        x0, y0, x1, y1 = (float(row[name]) for name in BOX)
        box = x0, y0, x1, y1
    return MarkedHand(tuple(marks), row.get("side") or "", box)
