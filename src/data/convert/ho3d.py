"""HO-3D v2 and v3 (Hampali et al., "HOnnotate", CVPR 2020): sequences of right hands that hold objects, from
one to five depth cameras.

    {train,evaluation}/<sequence>/rgb/%04d.png (v2; .jpg in v3), {train,evaluation}/<sequence>/meta/%04d.pkl,
    {train,evaluation}/<sequence>/depth/%04d.png, where it was downloaded, train.txt, evaluation.txt
    evaluation_xyz.json, where it was downloaded: the evaluation's joints, in the root or one folder above

A line of the lists is "<sequence>/<%04d>". Meta: camMat [3, 3]; handPose [48] absolute axis-angle; handBeta
[10]; handJoints3D [21, 3] metres in MANO's order, of the evaluation the wrist alone [3]; handBoundingBox xyxy
(evaluation). Camera space is OpenGL's: y up, z backward. Frames that were not annotated hold None.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

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
)
from tempohand.data.convert.mano import MM_PER_METRE, ManoParameters, turned
from tempohand.data.convert.read import need, read_json, read_pickle, read_png
from tempohand.skeleton import MANO21_TO_OP, NUM_JOINTS, WRIST

DEPTH_UNIT = 0.00012498664727900177  # metres
OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0])
FRAMES_PER_SECOND = 30  # what the cameras run at by default; the data set's documents state no rate
# Subject and object of the training captures that "val" holds out; a name's digits are the capture and the
# camera.
HELD_OUT = ("GSF", "SS")


class Ho3d(OfficialBoxes):
    """Splits: train, evaluation (the official ones), and train once more as fit and val, which share no
    subject with an object.

    boxes: the official ones are handBoundingBox of the evaluation's meta files.
    """

    licence = "academic research only, non-commercial"
    url = "https://github.com/shreyashampali/ho3d"
    pose_mm = 3.0  # its fingertips are other vertices
    official_source = "handBoundingBox, official"
    suffix: ClassVar[str]  # of the version's pictures

    @property
    def missing(self) -> str:
        return f"has neither train/ nor evaluation/ with sequences: unpack {self.title} there"

    def find_units(self) -> Iterator[Unit]:
        for split in ("train", "evaluation"):
            if not (self.root / split).is_dir():
                continue
            listed = self._listed(split)
            truth = self._truth(len(listed)) if split == "evaluation" else [None] * len(listed)
            sequences: dict[str, dict[int, Any]] = {}
            for (sequence, number), joints in zip(listed, truth):
                sequences.setdefault(sequence, {})[number] = joints
            self._refuse_other_version(split, sequences)
            for name, frames in sequences.items():
                held_out = "val" if name.rstrip("0123456789") in HELD_OUT else "fit"
                splits = ("train", held_out) if split == "train" else (split,)
                yield Unit(f"{split}/{name}", len(frames), splits, (name, frames))

    def _listed(self, split: str) -> list[tuple[str, int]]:
        path = need(self.root / f"{split}.txt", f"{self.title}'s list of frames")
        lines = path.read_text(encoding="utf-8").split()
        listed = [re.fullmatch(r"(\w+)/(\d+)", line) for line in lines]
        if not lines or None in listed:
            wrong = lines[listed.index(None)][:40] if lines else "no line"
            raise ValueError(
                f"'{path}' is not a list of {self.title}: '{wrong}' where <sequence>/<frame> is expected: "
                "download it again"
            )
        return [(line[1], int(line[2])) for line in listed]

    def _truth(self, count: int) -> list:
        """The joints of the evaluation in the order of its list; None each where they were not downloaded."""
        paths = [folder / "evaluation_xyz.json" for folder in (self.root, self.root.parent)]
        path = next((path for path in paths if path.is_file()), None)
        if path is None and self.boxes == TRUTH:
            raise ValueError(
                f"options.boxes: {TRUTH} needs evaluation_xyz.json in '{self.root}' or the folder above: "
                "download it"
            )
        if path is None:
            return [None] * count
        truth = read_json(path)
        if not isinstance(truth, list) or len(truth) != count:
            found = len(truth) if isinstance(truth, list) else type(truth).__name__
            raise ValueError(
                f"'{path}' has {found} samples, evaluation.txt {count}: is it another version's? "
                "Put it into its own folder"
            )
        return truth

    def _refuse_other_version(self, split: str, sequences: Iterable[str]) -> None:
        for name in sequences:
            suffixes = {path.suffix for path in (self.root / split / name / "rgb").glob("*.*g")}
            if suffixes and self.suffix not in suffixes:
                raise ValueError(
                    f"'{self.root}' holds {suffixes.pop()} pictures, {self.title} has {self.suffix}: "
                    "HO-3D's other version?"
                )
            if suffixes:
                return

    def open(self, unit: Unit) -> Recording:
        name, truth = unit.payload
        split = unit.splits[0]
        folder = self.root / split / name
        official = self.has_official_boxes(split)

        def frame(number: int) -> Frame:
            meta = read_pickle(folder / "meta" / f"{number:04d}.pkl")
            joints = _joints(meta["handJoints3D"] if truth[number] is None else truth[number])
            box = np.array(meta["handBoundingBox"], float).reshape(4) if official else None
            hand = HandLabels(True, joints, parameters=_parameters(meta, joints), box=box)
            picture = folder / "rgb" / f"{number:04d}{self.suffix}"
            camera = Camera.of_matrix(meta["camMat"])
            time = number / FRAMES_PER_SECOND
            depth = _depth(folder / "depth" / f"{number:04d}.png")
            return Frame(picture, name, capture(name), number, [hand], camera, time, depth)

        return Recording(list(truth), frame)

    def official_order(self) -> dict[str, list[tuple[str, int]]]:
        if not (self.root / "evaluation").is_dir():
            return {}
        listed = self._listed("evaluation")
        return {"evaluation": [(f"{sequence}/right", number) for sequence, number in listed]}


class Ho3dV2(Ho3d):
    name = "ho3d_v2"
    title = "HO-3D v2"
    suffix = ".png"


class Ho3dV3(Ho3d):
    name = "ho3d_v3"
    title = "HO-3D v3"
    suffix = ".jpg"


def capture(sequence: str) -> str:
    """The recording of a sequence: AP10 to AP14 are the five cameras of capture AP1, MC1 is a capture by one
    camera.

    Captures by several cameras end with a digit, to which the camera's is added (multiCamSeqs in the official
    vis_pcl_all_cameras.py).
    """
    return sequence[:-1] if re.fullmatch(r".*\d\d", sequence) else sequence


def _depth(path: Path) -> np.ndarray | None:
    """mm, of its red and green channels: the official toolkit's read_depth_img."""
    stored = read_png(path)
    if stored is None:
        return None
    red, green = stored[..., 0].astype(np.float32), stored[..., 1].astype(np.float32)
    return (red + 256 * green) * np.float32(MM_PER_METRE * DEPTH_UNIT)


def _joints(stored: Any) -> np.ndarray:
    """The joints, mm, OpenCV; nan but for the wrist where it is all that is stored."""
    if stored is None:
        raise Unusable("not annotated")
    points = MM_PER_METRE * np.array(stored, float).reshape(-1, 3) @ OPENCV_FROM_OPENGL
    if len(points) == NUM_JOINTS:
        return points[list(MANO21_TO_OP)]
    if len(points) != 1:
        raise Unusable(
            "damaged annotation", f"{len(points)} joints, HO-3D has {NUM_JOINTS}, or the wrist alone"
        )
    joints = np.full((NUM_JOINTS, 3), np.nan)
    joints[WRIST] = points[0]
    return joints


def _parameters(meta: dict, joints: np.ndarray) -> ManoParameters | None:
    if meta.get("handPose") is None or meta.get("handBeta") is None:
        return None
    pose = turned(np.array(meta["handPose"], float).reshape(-1), OPENCV_FROM_OPENGL)
    return ManoParameters(pose, np.array(meta["handBeta"], float).reshape(-1), joints[WRIST])
