"""FreiHAND v2 (Zimmermann et al., ICCV 2019): single pictures of right hands, each training picture on four
backgrounds.

    training/rgb/%08d.jpg (id + k * 32,560 for background k), training_{K,mano,xyz,verts,scale}.json
    training/mask/%08d.jpg (id), where it was unpacked
    evaluation/rgb/%08d.jpg, evaluation_{K,scale}.json, and, where the truth was downloaded,
    evaluation_{mano,xyz,verts}.json

K [3, 3]; xyz [21, 3] metres, OpenCV, OpenPose order; mano [1][61]: 48 axis-angle counted from the mean pose,
10 betas, the root's place in the picture, a scale. The wrist is the stored joint.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tempohand.data.convert.frame import (
    TRUTH,
    Camera,
    Frame,
    HandLabels,
    OfficialBoxes,
    Recording,
    Unit,
    Unusable,
    batches,
)
from tempohand.data.convert.mano import MM_PER_METRE, ManoParameters
from tempohand.data.convert.read import need, read_json, read_png
from tempohand.skeleton import NUM_BETAS, NUM_JOINTS, POSE_DIM, WRIST

BACKGROUNDS = 4  # of each training picture
PICTURE_EDGE = 224
WHITE = 127  # what a mask's JPEG has above it is hand; one is there of each id, whatever the background
# of the training ids, the last ones, with all their backgrounds: FreiHAND has no validation split of its own
HELD_OUT = 1 / 20
# The pictures are crops around hands already: a view of twice this box shows all of one.
OFFICIAL_BOX = np.array([1, 1, 3, 3]) * PICTURE_EDGE / 4


class FreiHand(OfficialBoxes):
    """Splits: training (all of it), fit and val (its first 95 % and last 5 % of ids), evaluation.

    boxes: no official ones are published, the evaluation's pictures are the crops: the middle half of each.
    """

    name = "freihand"
    title = "FreiHAND v2"
    licence = "research only, non-commercial"
    url = "https://lmb.informatik.uni-freiburg.de/projects/freihand/"
    pose_mm = 5.0
    official_source = "the middle half of the picture, which is the official crop"
    missing = "has neither training/rgb nor evaluation/rgb: unpack FreiHAND_pub_v2.zip there"

    def find_units(self) -> Iterator[Unit]:
        for split in ("training", "evaluation"):
            if (self.root / split / "rgb").is_dir():
                yield from self._units(split, self._entries(split))

    def _units(self, split: str, entries: list) -> Iterator[Unit]:
        count = len(entries)
        held_out = count - round(count * HELD_OUT)
        parts = {("fit",): range(held_out), ("val",): range(held_out, count)}
        backgrounds = BACKGROUNDS
        if split == "evaluation":
            parts, backgrounds = {(): range(count)}, 1
        for background in range(backgrounds):
            for more, ids in parts.items():
                for part in batches(ids):
                    first = part[0] + background * count  # a picture's number is its id plus that offset
                    payload = (first, entries[part[0] : part[-1] + 1], count)
                    yield Unit(f"{split}/{first:08d}", len(part), (split, *more), payload)

    def _entries(self, split: str) -> list[tuple]:
        """K, xyz and mano of each id, None for what is not known."""
        columns = [self._labels(split, kind) for kind in ("K", "xyz", "mano")]
        unknown = [None] * len(columns[0] or ())
        columns = [unknown if labels is None else labels for labels in columns]
        if len(set(map(len, columns))) > 1:
            files = f"{split}_K.json, {split}_xyz.json and {split}_mano.json"
            raise ValueError(f"{files} in '{self.root}' differ in length: download them again")
        return list(zip(*columns))

    def _labels(self, split: str, kind: str) -> list | None:
        """A file's entries; None for the evaluation's truth where it was not downloaded."""
        path = self.root / f"{split}_{kind}.json"
        if split == "evaluation" and kind != "K" and not path.is_file():
            if kind == "xyz" and self.boxes == TRUTH:
                raise ValueError(f"options.boxes: {TRUTH} needs '{path}': download FreiHAND_pub_v2_eval.zip")
            return None
        if split == "training" and not (self.root / "training_verts.json").is_file():
            raise ValueError(
                f"'{self.root}' lacks training_verts.json: FreiHAND v1, made with an older MANO? "
                "Download FreiHAND_pub_v2.zip"
            )
        return read_json(need(path, "a part of FreiHAND_pub_v2.zip"))

    def open(self, unit: Unit) -> Recording:
        first, entries, count = unit.payload
        split = unit.splits[0]
        box = OFFICIAL_BOX if self.has_official_boxes(split) else None

        def frame(number: int) -> Frame:
            matrix, xyz, mano = entries[number - first]
            joints = None if xyz is None else MM_PER_METRE * np.array(xyz, float).reshape(NUM_JOINTS, 3)
            parameters = self._parameters(mano, joints)
            stored = read_png(self.root / split / "mask" / f"{number % count:08d}.jpg")
            mask = None if stored is None else stored.reshape(*stored.shape[:2], -1)[..., 0] > WHITE
            hand = HandLabels(True, joints, parameters=parameters, box=box, mask=mask)
            picture = self.root / split / "rgb" / f"{number:08d}.jpg"
            recording = f"{split}/{number % count:08d}"
            return Frame(picture, f"{number:08d}", recording, number, [hand], Camera.of_matrix(matrix))

        return Recording(range(first, first + len(entries)), frame)

    def _parameters(self, mano: Any, joints: np.ndarray | None) -> ManoParameters | None:
        if self.hands is None or mano is None or joints is None:
            return None
        values = np.array(mano, float).reshape(-1)
        if len(values) != POSE_DIM + NUM_BETAS + 3:
            raise Unusable(
                "damaged annotation",
                f"{len(values)} hand parameters, FreiHAND has {POSE_DIM + NUM_BETAS + 3}",
            )
        pose, shape = values[:POSE_DIM], values[POSE_DIM : POSE_DIM + NUM_BETAS]
        return ManoParameters(self.hands.absolute(pose, is_right=True), shape, joints[WRIST])

    def official_order(self) -> dict[str, list[tuple[str, int]]]:
        path = self.root / "evaluation_K.json"
        if not path.is_file():
            return {}
        return {"evaluation": [(f"{number:08d}/right", number) for number in range(len(read_json(path)))]}
