"""LabelMe's files (wkentaro/labelme), one .json beside each picture.

    version, flags, imagePath (from the file's folder), imageData (the picture in base64, or null),
    imageHeight, imageWidth, shapes: label, points [[x, y], ...], group_id, shape_type, flags

A joint is a shape of type point whose label names it; group_id holds a hand's points together (none: one
hand). A rectangle of the group is the hand's box, and its label tells the side ("left hand"), as may the
points'. A linestrip or polygon of 21 points is a hand in OpenPose's order. A flag `hidden` or `occluded` of
a point is kept. (0, 0) is the picture's corner.
"""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tempohand.console import describe
from tempohand.data.convert.own_labels import OwnLabels
from tempohand.data.convert.own_marks import (
    LooseBox,
    LoosePoint,
    Mark,
    MarkedHand,
    MarkedPicture,
    hands_of_groups,
    in_order,
)
from tempohand.data.convert.read import read_json
from tempohand.skeleton import NUM_JOINTS

HIDDEN = ("hidden", "occluded")
DAMAGE = (KeyError, ValueError, TypeError, IndexError, AttributeError)


class LabelMe(OwnLabels):
    """All .json files below the folder that hold shapes; a damaged one costs its picture."""

    name = "labelme"
    title = "LabelMe"
    missing = "has no .json of LabelMe (shapes, imagePath), nor has any folder below it"
    corner = 0.5

    def label_files(self) -> list[Path]:
        return sorted(self.root.rglob("*.json"))

    def marked(self, path: Path) -> Iterator[MarkedPicture]:
        relative = path.relative_to(self.root)
        try:
            content = read_json(path, remedy="save it again")
            if not isinstance(content, dict) or "shapes" not in content:
                return  # another file
            yield _picture(content, relative)
        except DAMAGE as error:
            problem = f"'{relative.as_posix()}': {type(error).__name__}: {describe(error)[:120]}"
            yield MarkedPicture(relative.as_posix(), (), problem=problem)


def _picture(content: dict[str, Any], file: Path) -> MarkedPicture:
    whole = []
    points, boxes = [], []
    for shape in content["shapes"]:
        label, at = str(shape["label"]), shape["points"]
        group = shape.get("group_id")
        kind = shape.get("shape_type", "polygon")
        if kind == "point":
            (x, y), flags = at[0], shape.get("flags") or {}
            told = [bool(flags[name]) for name in HIDDEN if name in flags]
            points.append(LoosePoint(group, Mark(label, float(x), float(y), any(told) if told else None)))
        elif kind == "rectangle":
            (x0, y0), (x1, y1) = at
            boxes.append(LooseBox(group, label, (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))))
        elif kind in ("linestrip", "polygon") and len(at) == NUM_JOINTS:
            whole.append(MarkedHand(in_order((float(x), float(y)) for x, y in at), label))
    data = content.get("imageData")
    return MarkedPicture(
        (file.parent / content["imagePath"].replace("\\", "/")).as_posix(),
        (*whole, *hands_of_groups(points, boxes)),
        (content["imageWidth"], content["imageHeight"]) if content.get("imageWidth") else None,
        base64.b64decode(data) if data else None,
    )
