"""COCO-WholeBody v1.0 (Jin et al., ECCV 2020): hands of people in COCO's photographs, 2D joints alone.

    train2017/, val2017/: COCO's pictures; here or below images/
    annotations/coco_wholebody_{train,val}_v1.0.json, here or below annotations/

COCO's format with, for every person, {left,right}hand_box (x, y, width, height), {left,right}hand_kpts (21
times x, y, v in OpenPose's order; v = 0: not labelled) and {left,right}hand_valid. Source:
jin-s13/COCO-WholeBody, data_format.md. Left is the person's own left.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tempohand.data.convert.frame import Converter, Frame, HandLabels, Recording, Unit, Unusable, batches
from tempohand.data.convert.read import read_json_object
from tempohand.skeleton import NUM_JOINTS

SPLITS = ("train", "val")
SIDES = {"left": False, "right": True}


class _Person(NamedTuple):
    """A person with at least one valid hand: side -> (box, joints)."""

    number: int
    picture: int
    hands: dict[str, tuple[Any, Any]]


class CocoWholeBody(Converter):
    """Splits: train, val. Every person is a picture of its own, a sequence of one frame; its number is the
    annotation's. No camera is known."""

    name = "coco_wholebody"
    title = "COCO-WholeBody v1.0"
    licence = "annotations for non-commercial research; pictures: Flickr's terms"
    url = "https://github.com/jin-s13/COCO-WholeBody"
    missing = (
        "has no coco_wholebody_{train,val}_v1.0.json (or its annotations/) "
        "with {train,val}2017/ (or below images/)"
    )
    box_source = "bounds of the labelled joints, where some are missing the published box"

    def find_units(self) -> Iterator[Unit]:
        for split in SPLITS:
            path = self._find(f"coco_wholebody_{split}_v1.0.json", "annotations")
            folder = self._find(f"{split}2017", "images")
            if path is None or folder is None:
                continue
            keys = ("images", "annotations")
            content = read_json_object(path, keys, "COCO-WholeBody", compact=_compact)
            files = {
                one["id"]: folder / one["file_name"]
                for one in content["images"]
                if one.keys() >= {"id", "file_name"}
            }
            people = [one for one in content["annotations"] if isinstance(one, _Person) and one.hands]
            for part in batches(people):
                payload = {person.number: (person, files.get(person.picture)) for person in part}
                yield Unit(f"{split}/{part[0].number}", len(part), (split,), payload)

    def _find(self, name: str, below: str) -> Path | None:
        paths = (self.root / name, self.root / below / name)
        return next((path for path in paths if path.exists()), None)

    def open(self, unit: Unit) -> Recording:
        (split,) = unit.splits

        def frame(number: int) -> Frame:
            person, file = unit.payload[number]
            if file is None:
                raise Unusable("no annotation", f"picture {person.picture} is not among the file's")
            hands = [_hand(SIDES[side], box, joints) for side, (box, joints) in person.hands.items()]
            picture = f"{split}/{person.picture:012d}"
            return Frame(file, f"{picture}/{number}", picture, number, hands, None)

        return Recording(list(unit.payload), frame)


def _compact(entry: dict) -> Any:
    """People as far as they are used."""
    if entry.keys() >= {"id", "image_id", "lefthand_valid", "righthand_valid"}:
        valid = [side for side in SIDES if entry[f"{side}hand_valid"]]
        return _Person(
            entry["id"],
            entry["image_id"],
            {side: (entry.get(f"{side}hand_box"), entry.get(f"{side}hand_kpts")) for side in valid},
        )
    return entry


def _hand(is_right: bool, box: Any, joints: Any) -> HandLabels:
    """The published box only where joints are not labelled: elsewhere their bounds are exact."""
    joints = np.array(joints, float).reshape(NUM_JOINTS, 3)
    known = joints[:, 2] > 0
    x, y, width, height = np.array(box, float)
    whole = None if known.all() else np.array([x, y, x + width, y + height])
    return HandLabels(is_right, joints2d=np.where(known[:, None], joints[:, :2], np.nan), box=whole)
