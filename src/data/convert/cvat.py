"""CVAT's format "CVAT for images 1.1" (docs.cvat.ai, "XML annotation format").

    annotations.xml: image (name, width, height): skeleton (label) of points (label, points "x,y", outside,
    occluded); points (label, points "x,y;x,y;...", occluded, group_id); box (label, xtl, ytl, xbr, ybr,
    group_id) images/: the pictures; or a video, whose frames are called frame_000000, frame_000001 ...

A hand is a skeleton, points of one group_id that are called by joints (without groups: all of a picture),
or points of 21 places, in OpenPose's order. The side is told by the joints' names, the hand's label ("left
hand"), or an attribute `side`. What is outside is not labelled; occluded is kept. (0, 0) is the picture's
corner.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

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
from tempohand.skeleton import NUM_JOINTS


class Cvat(OwnLabels):
    """All .xml files of the folder."""

    name = "cvat"
    title = "CVAT for images"
    missing = "has no annotations.xml of CVAT (export the format 'CVAT for images 1.1')"
    corner = 0.5

    def label_files(self) -> list[Path]:
        return sorted(self.root.glob("*.xml"))

    def marked(self, path: Path) -> Iterator[MarkedPicture]:
        try:
            for _, element in ElementTree.iterparse(path):
                if element.tag == "track":
                    raise ValueError("it is of CVAT for video: export 'CVAT for images 1.1'")
                if element.tag == "image":
                    if len(element):
                        yield _picture(element)
                    element.clear()
        except (ElementTree.ParseError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"'{path}' cannot be read: {error}") from None


def _picture(image: ElementTree.Element) -> MarkedPicture:
    hands = []
    points, boxes = [], []
    for shape in image:
        group, label = shape.get("group_id"), shape.get("label", "")
        text = " ".join([label, *(one.text or "" for one in shape if one.get("name") == "side")])
        if shape.tag == "skeleton":
            marks = (_mark(one) for one in shape if one.tag == "points" and one.get("outside") != "1")
            hands.append(MarkedHand(tuple(marks), text))
        elif shape.tag == "points":
            places = _places(shape)
            if len(places) == NUM_JOINTS:
                hands.append(MarkedHand(in_order(places), text))
            elif len(places) == 1:
                points.append(LoosePoint(group, _mark(shape)))
        elif shape.tag == "box":
            x0, y0, x1, y1 = (float(shape.attrib[name]) for name in ("xtl", "ytl", "xbr", "ybr"))
            boxes.append(LooseBox(group, text, (x0, y0, x1, y1)))
    size = int(image.attrib["width"]), int(image.attrib["height"])
    return MarkedPicture(image.attrib["name"], (*hands, *hands_of_groups(points, boxes)), size)


def _places(shape: ElementTree.Element) -> list[tuple[float, float]]:
    pairs = (place.split(",") for place in shape.attrib["points"].split(";"))
    return [(float(x), float(y)) for x, y in pairs]


def _mark(shape: ElementTree.Element) -> Mark:
    ((x, y),) = _places(shape)
    return Mark(shape.attrib["label"], x, y, shape.get("occluded") == "1")
