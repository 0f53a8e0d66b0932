"""The hand keypoints of CMU's Panoptic Studio and of MPII and NZSL pictures (Simon et al., CVPR 2017): single
pictures with 2D joints.

    hand_labels/manual_{train,test}/<name>.jpg and .json       people in MPII's photographs and in New Zealand
    Sign Language films, by hand
    hand_labels_synth/synth{1,2,3,4}/<name>.jpg and .json      rendered hands
    hand143_panopticdb/hands_v143_14817.json and imgs/*.jpg    the studio, by multiview bootstrapping

A .json beside a picture: hand_pts [21, 3] px and whether known, OpenPose order; is_left. The studio's: root,
a list of {img_paths, joint_self [21, 3] px and 1 where known}; it stores no side, and users of the set take
all hands as right ones. There is no camera and nothing in 3D.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tempohand.data.convert.frame import Converter, Frame, HandLabels, Recording, Unit, Unusable, batches
from tempohand.data.convert.read import read_json
from tempohand.skeleton import NUM_JOINTS

STUDIO = "hand143_panopticdb"
STUDIO_LIST = "hands_v143_14817.json"


class KeypointPictures(Converter):
    """Pictures with a .json beside each, in folders that are found with the archive's own top folder or
    without it."""

    licence = "non-commercial research"
    url = "http://domedb.perception.cs.cmu.edu/handdb.html"
    box_source = "bounds of the known joints"
    folders: ClassVar[dict[str, tuple[str, ...]]]  # pattern below the root -> splits

    @property
    def missing(self) -> str:
        return f"has none of {', '.join(self.folders)} with .json files: unpack {self.title} there"

    def find_units(self) -> Iterator[Unit]:
        for pattern, splits in self.folders.items():
            below = pattern.split("/", 1)[1]
            for folder in sorted(path for form in (pattern, below) for path in self.root.glob(form)):
                pictures = [path.with_suffix(".jpg").relative_to(self.root) for path in folder.glob("*.json")]
                yield from _in_parts(folder.name, [(path, None) for path in sorted(pictures)], splits)

    def open(self, unit: Unit) -> Recording:
        """Pictures are numbered in the order of their names; those without labels have a .json beside
        them."""
        folder, first, entries = unit.payload

        def frame(number: int) -> Frame:
            path, labels = entries[number - first]
            picture = self.root / path
            hand = _hand(read_json(picture.with_suffix(".json")) if labels is None else labels)
            name = f"{folder}/{picture.stem}"
            return Frame(picture, name, _recording(name), number, [hand], None)

        return Recording(range(first, first + len(entries)), frame)


class MpiiNzsl(KeypointPictures):
    """Splits: manual_train, manual_test."""

    name = "mpii_nzsl"
    title = "MPII+NZSL hands (hand_labels.zip)"
    folders = {f"hand_labels/{name}": (name,) for name in ("manual_train", "manual_test")}


class Panoptic(KeypointPictures):
    """Splits: train, test (all of it, manual_test being the test), and the parts: manual_train, manual_test,
    synth, panoptic143."""

    name = "panoptic"
    title = "CMU Panoptic hands"
    folders = {
        "hand_labels/manual_train": ("train", "manual_train"),
        "hand_labels_synth/synth*": ("train", "synth"),
        "hand_labels/manual_test": ("test", "manual_test"),
    }

    def find_units(self) -> Iterator[Unit]:
        yield from super().find_units()
        path = self.root / STUDIO / STUDIO_LIST
        if not path.is_file():
            return
        try:
            entries = [
                (Path(STUDIO, entry["img_paths"]), {"hand_pts": entry.get("joint_self"), "is_left": 0})
                for entry in read_json(path)["root"]
            ]
        except (KeyError, TypeError, AttributeError):
            raise ValueError(f"'{path}' has no list 'root' of pictures: download it again") from None
        yield from _in_parts(STUDIO, entries, ("train", "panoptic143"))


def _in_parts(
    name: str, entries: Sequence[tuple[Path, dict | None]], splits: tuple[str, ...]
) -> Iterator[Unit]:
    for part in batches(range(len(entries))):
        payload = (name, part[0], entries[part[0] : part[-1] + 1])
        yield Unit(f"{name}/{part[0]:06d}", len(part), splits, payload)


def _recording(name: str) -> str:
    """<picture>_<person>_<side> are hands of one picture of MPII's, <film>_<frame>_<side> are frames of one
    film of NZSL's."""
    found = re.fullmatch(r"(.+)_\d+_[lr]", name)
    return found[1] if found else name


def _hand(labels: dict[str, Any]) -> HandLabels:
    points = np.array(labels["hand_pts"], float)
    if points.shape != (NUM_JOINTS, 3):
        raise Unusable("not 21 joints", f"hand_pts is {points.shape}")
    known = points[:, 2] == 1
    return HandLabels(
        is_right=not labels["is_left"], joints2d=np.where(known[:, None], points[:, :2], np.nan)
    )
