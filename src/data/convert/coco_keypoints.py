"""COCO's format for key points (cocodataset.org, "Data format", 3. Keypoint Detection), as CVAT, Label
Studio, Roboflow, COCO Annotator and others export it.

    NAME.json, here or below annotations/: images (id, file_name, width, height), annotations (image_id,
    category_id, keypoints, bbox x, y, width, height), categories (id, name, keypoints: their names)

keypoints are x, y, v of each joint: v = 0 not labelled, 1 labelled but hidden, 2 seen. A category without
names has 21 points in OpenPose's order. The side is told by the names (left_..., right_...), by the
category's name ("left hand"), or by an attribute `side`. Pixel centres are integers.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tempohand.console import describe
from tempohand.data.convert.own_labels import OwnLabels
from tempohand.data.convert.own_marks import Mark, MarkedHand, MarkedPicture
from tempohand.data.convert.read import read_json
from tempohand.skeleton import NUM_JOINTS

KEYS = {"images", "annotations", "categories"}


class CocoKeypoints(OwnLabels):
    """All .json files of COCO's form; a crowd (iscrowd) is left out."""

    name = "coco_keypoints"
    title = "COCO key points"
    missing = (
        "has no .json of COCO's form (images, annotations, categories) with keypoints, nor has annotations/"
    )

    def label_files(self) -> list[Path]:
        return sorted([*self.root.glob("*.json"), *self.root.glob("annotations/*.json")])

    def marked(self, path: Path) -> Iterator[MarkedPicture]:
        content = read_json(path, remedy="export it again")
        if not isinstance(content, dict) or not content.keys() >= KEYS:
            return  # another file
        categories = {one.get("id"): one for one in content["categories"]}
        pictures = {one.get("id"): one for one in content["images"]}
        hands: dict[Any, list[MarkedHand]] = {}
        for one in content["annotations"]:
            picture = one.get("image_id")
            if one.get("iscrowd") or not one.get("keypoints"):
                continue
            try:
                hands.setdefault(picture, []).append(_hand(one, categories[one["category_id"]]))
            except (KeyError, ValueError, TypeError) as error:
                name = str(pictures.get(picture, {}).get("file_name", picture))
                problem = f"annotation {one.get('id')}: {type(error).__name__}: {describe(error)}"
                yield MarkedPicture(name, (), problem=problem)
        for picture, own in hands.items():
            about = pictures.get(picture, {})
            size = (about["width"], about["height"]) if {"width", "height"} <= about.keys() else None
            name = str(about.get("file_name", f"picture {picture}"))
            problem = None if "file_name" in about else f"picture {picture} is not among the images"
            yield MarkedPicture(name, tuple(own), size, problem=problem)


def _hand(annotation: dict, category: dict) -> MarkedHand:
    points = annotation["keypoints"]
    names = category.get("keypoints") or [str(number) for number in range(NUM_JOINTS)]
    if len(points) != 3 * len(names):
        raise ValueError(
            f"it has {len(points)} numbers for {len(names)} key points of '{category.get('name')}'"
        )
    marks = tuple(
        Mark(name, float(x), float(y), v == 1)
        for name, x, y, v in zip(names, points[::3], points[1::3], points[2::3])
        if v > 0
    )
    side = annotation.get("attributes", {}).get("side", "")
    box = annotation.get("bbox")
    if box:
        x, y, width, height = map(float, box)
        box = (x, y, x + width, y + height) if width > 0 and height > 0 else None
    return MarkedHand(marks, f"{category.get('name', '')} {side}", box or None)
