"""FreiHAND v2 (Zimmermann et al., ICCV 2019): single pictures of right hands, each training picture on four
backgrounds.

    training/rgb/%08d.jpg (id + k * 32,560 for background k), training_{K,mano,xyz,verts,scale}.json
    evaluation/rgb/%08d.jpg, evaluation_{K,scale}.json, and, where the truth was downloaded,
    evaluation_{mano,xyz,verts}.json

K [3, 3]; xyz [21, 3] metres, OpenCV, OpenPose order; mano [1][61]: 48 axis-angle counted from the mean pose,
10 betas, the root's place in the picture, a scale. The wrist is the stored joint.
"""

from pathlib import Path
from typing import Any

import numpy as np

from tempohand.data.convert.frame import (
    OFFICIAL,
    TRUE_BOUNDS,
    TRUTH,
    Camera,
    Converter,
    Frame,
    HandLabels,
    ManoParameters,
    Proof,
    Recording,
    Unit,
    Unusable,
    batches,
    checked_boxes,
)
from tempohand.data.convert.mano import MM_PER_METRE, ManoHands
from tempohand.data.convert.read import need, read_json
from tempohand.skeleton import NUM_BETAS, NUM_JOINTS, POSE_DIM, WRIST

BACKGROUNDS = 4  # of each training picture
PICTURE_EDGE = 224
# of the training ids, the last ones, with all their backgrounds: FreiHAND has no validation split of its own
HELD_OUT = 1 / 20
# The pictures are crops around hands already: a view of twice this box shows all of one.
OFFICIAL_BOX = np.array([1, 1, 3, 3]) * PICTURE_EDGE / 4


class FreiHand(Converter):
    """Splits: training (all of it), fit and val (its first 95 % and last 5 % of ids), evaluation.

    boxes: of the evaluation; "official": none is published, its pictures are the crops, so the middle half of
    each; "truth": the bounds of its true joints, which no entrant has.
    """

    name = "freihand"
    title = "FreiHAND v2"
    licence = "research only, non-commercial"
    url = "https://lmb.informatik.uni-freiburg.de/projects/freihand/"
    proof = Proof(reprojection_px=None, pose_mm=5.0)

    def __init__(self, root: Path, hands: ManoHands | None = None, *, boxes: str = OFFICIAL):
        super().__init__(root, hands)
        self.boxes = checked_boxes(boxes)

    def boxes_of(self, split: str) -> str:
        official = (split, self.boxes) == ("evaluation", OFFICIAL)
        return "the middle half of the picture, which is the official crop" if official else TRUE_BOUNDS

    def units(self) -> list[Unit]:
        splits = [split for split in ("training", "evaluation") if (self.root / split / "rgb").is_dir()]
        return self.found(
            [unit for split in splits for unit in self._units(split)],
            "has neither training/rgb nor evaluation/rgb: unpack FreiHAND_pub_v2.zip there",
        )

    def _units(self, split: str) -> list[Unit]:
        columns = [self._labels(split, kind) for kind in ("K", "xyz", "mano")]
        unknown = [None] * len(columns[0])
        columns = [unknown if labels is None else labels for labels in columns]
        if len(set(map(len, columns))) > 1:
            files = f"{split}_K.json, {split}_xyz.json and {split}_mano.json"
            raise ValueError(f"{files} in '{self.root}' differ in length: download them again")
        entries = list(zip(*columns))
        if split == "evaluation":
            return self._units_of(split, (split,), entries, range(len(entries)), 0)
        held_out = len(entries) - round(len(entries) * HELD_OUT)
        return [
            unit
            for background in range(BACKGROUNDS)
            for more, ids in (("fit", range(held_out)), ("val", range(held_out, len(entries))))
            for unit in self._units_of(split, (split, more), entries, ids, background * len(entries))
        ]

    def _units_of(
        self, split: str, splits: tuple[str, ...], entries: list, ids: range, offset: int
    ) -> list[Unit]:
        """Of some ids; a picture's number is its id plus `offset`."""
        return [
            Unit(
                f"{split}/{part[0] + offset:08d}",
                len(part),
                splits,
                (split, part[0] + offset, entries[part[0] : part[-1] + 1], len(entries)),
            )
            for part in batches(ids)
        ]

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
        return _Pictures(self, unit)

    def official_order(self) -> dict[str, list[tuple[str, int]]]:
        path = self.root / "evaluation_K.json"
        if not path.is_file():
            return {}
        return {"evaluation": [(f"{number:08d}/right", number) for number in range(len(read_json(path)))]}


class _Pictures(Recording):
    def __init__(self, converter: FreiHand, unit: Unit):
        self.converter = converter
        self.split, self.first, self.entries, self.ids = unit.payload
        self.numbers = range(self.first, self.first + len(self.entries))

    def frame(self, number: int) -> Frame:
        matrix, xyz, mano = self.entries[number - self.first]
        joints = None if xyz is None else MM_PER_METRE * np.array(xyz, float).reshape(NUM_JOINTS, 3)
        official = (self.split, self.converter.boxes) == ("evaluation", OFFICIAL)
        hand = HandLabels(
            True, joints, parameters=self._parameters(mano, joints), box=OFFICIAL_BOX if official else None
        )
        picture = self.converter.root / self.split / "rgb" / f"{number:08d}.jpg"
        recording = f"{self.split}/{number % self.ids:08d}"
        return Frame(picture, f"{number:08d}", recording, number, [hand], Camera.of_matrix(matrix))

    def _parameters(self, mano: Any, joints: np.ndarray | None) -> ManoParameters | None:
        hands = self.converter.hands
        if hands is None or mano is None or joints is None:
            return None
        values = np.array(mano, float).reshape(-1)
        if len(values) != POSE_DIM + NUM_BETAS + 3:
            raise Unusable(
                "damaged annotation",
                f"{len(values)} hand parameters, FreiHAND has {POSE_DIM + NUM_BETAS + 3}",
            )
        pose, shape = values[:POSE_DIM], values[POSE_DIM : POSE_DIM + NUM_BETAS]
        return ManoParameters(hands.absolute(pose, is_right=True), shape, joints[WRIST])
