"""AssemblyHands v1.1 (Ohkawa et al., CVPR 2023): hands that take toys apart, before the four cameras of a
headset; rectified pictures.

    images/ego_images_rectified/<split>/<sequence>/<camera>_mono10bit/%06d.jpg
    annotations/<split>/assemblyhands_<split>_{ego_data,ego_calib,joint_3d}_v1-1.json

ego_data: COCO's `images` (file_name below images/, seq_name, camera, frame_idx) and `annotations` (image_id,
bbox {right, left: xyxy or null}, joint_valid [42]). ego_calib: calibration[seq_name]
intrinsics[<camera>_mono10bit] [3, 3] and extrinsics[%06d][<camera>_mono10bit] [3, 4], X_cam = R X + t.
joint_3d: annotations[seq_name][%06d] world_coord [42, 3] mm in InterHand2.6M's order, right hand first.

Frames are numbered at 60 a second and annotated at 30. Source: facebookresearch/assemblyhands-toolkit
(dataset.py, video_visualizer.py).
"""

from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from tempohand.data.convert.frame import (
    Camera,
    Converter,
    Frame,
    HandLabels,
    Proof,
    Recording,
    Unit,
    Unusable,
)
from tempohand.data.convert.orders import INTERHAND_TO_OP
from tempohand.data.convert.read import need, read_json
from tempohand.skeleton import NUM_JOINTS

SPLITS = ("train", "val", "test")
RATE = 60  # of frame numbers, a second
SIDES = (True, False)  # is_right, as the joints and boxes of a frame come
MIN_JOINTS = 10  # valid ones that the official loader asks of a hand


class Picture(NamedTuple):
    """What the data file says of a picture."""

    sequence: str
    camera: str
    frame: int
    file: str


class Annotation(NamedTuple):
    """What the data file says of the hands in a picture: two boxes or None, and 42 bytes."""

    image: int
    boxes: tuple[list | None, list | None]
    valid: bytes


class View(NamedTuple):
    """A unit's part of the annotations: one camera's pictures of a sequence; extrinsics and joints by frame,
    None where they are missing."""

    intrinsics: Any
    pictures: dict[int, tuple[str, Annotation | None]]
    extrinsics: dict[int, Any]
    joints: dict[int, Any]


class AssemblyHands(Converter):
    """Splits: train, val, test. Joints alone: there are no hand parameters. A hand without a box, or with
    fewer than ten valid joints, is no row, as in the official evaluation."""

    name = "assemblyhands"
    title = "AssemblyHands v1.1"
    licence = "CC BY-NC 4.0"
    url = "https://assemblyhands.github.io/"
    proof = Proof(reprojection_px=None, pose_mm=None)

    def units(self) -> list[Unit]:
        units = [unit for split in SPLITS if self._has(split) for unit in self._units(split)]
        if not units:
            raise FileNotFoundError(
                f"'{self.root}' has no annotations/{{train,val,test}}: put AssemblyHands' annotations and images there"
            )
        return units

    def _has(self, split: str) -> bool:
        """The test split's truth is not public: what lies there may be a challenge's files, of other
        names."""
        folder = self.root / "annotations" / split
        return folder.is_dir() and (
            split != "test" or (folder / f"assemblyhands_{split}_ego_data_v1-1.json").is_file()
        )

    def _units(self, split: str) -> list[Unit]:
        data = self._read(split, "ego_data", compact=_compact)
        calibration, joints = (
            self._read(split, "ego_calib")["calibration"],
            self._read(split, "joint_3d")["annotations"],
        )
        annotations = {one.image: one for one in data["annotations"] if isinstance(one, Annotation)}
        views: dict[tuple[str, str], dict[int, tuple[str, Annotation | None]]] = defaultdict(dict)
        for number, picture in (one for one in data["images"] if isinstance(one, tuple)):
            views[picture.sequence, picture.camera][picture.frame] = picture.file, annotations.get(number)
        units = []
        for (sequence, camera), pictures in views.items():
            cameras, world = calibration.get(sequence, {}), joints.get(sequence, {})
            keys = {frame: f"{frame:06d}" for frame in pictures}
            view = View(
                cameras.get("intrinsics", {}).get(camera),
                pictures,
                {
                    frame: cameras.get("extrinsics", {}).get(key, {}).get(camera)
                    for frame, key in keys.items()
                },
                {frame: world.get(key) for frame, key in keys.items()},
            )
            units.append(Unit(f"{split}/{sequence}/{camera}", len(pictures), (split,), view))
        return units

    def _read(self, split: str, kind: str, **options) -> dict:
        path = self.root / "annotations" / split / f"assemblyhands_{split}_{kind}_v1-1.json"
        content = read_json(need(path, "a part of AssemblyHands' annotations v1.1"), **options)
        wanted = {
            "ego_data": {"images", "annotations"},
            "ego_calib": {"calibration"},
            "joint_3d": {"annotations"},
        }[kind]
        if not isinstance(content, dict) or not wanted <= content.keys():
            raise ValueError(f"'{path}' is not what AssemblyHands has under this name: download it again")
        return content

    def boxes_of(self, split: str) -> str:
        return "bounds of the true joints, where some are invalid the published box"

    def open(self, unit: Unit) -> Recording:
        return _Sequence(self, unit)


def _compact(entry: dict) -> Any:
    """The entries of the data file as far as they are used."""
    if entry.keys() >= {"id", "file_name", "seq_name", "camera", "frame_idx"}:
        camera = f"{entry['camera'].removesuffix('_mono10bit')}_mono10bit"  # as the calibration calls it
        return entry["id"], Picture(
            str(entry["seq_name"]), camera, int(entry["frame_idx"]), Path(entry["file_name"]).as_posix()
        )
    if entry.keys() >= {"image_id", "bbox", "joint_valid"}:
        boxes = entry["bbox"].get("right"), entry["bbox"].get("left")
        return Annotation(
            entry["image_id"], boxes, bytes(bool(one) for one in np.ravel(entry["joint_valid"]))
        )
    return entry


class _Sequence(Recording):
    def __init__(self, converter: AssemblyHands, unit: Unit):
        self.converter, self.key, self.view = converter, unit.key, unit.payload
        self.numbers = sorted(self.view.pictures)
        if self.view.intrinsics is None:
            raise Unusable("no camera", "the calibration lacks it")
        self.camera = Camera.of_matrix(self.view.intrinsics)

    def frame(self, number: int) -> Frame:
        (file, annotation), extrinsics, world = (
            self.view.pictures[number],
            self.view.extrinsics[number],
            self.view.joints[number],
        )
        if annotation is None or world is None:
            raise Unusable("no annotation", "the data or the joint file has no entry for it")
        if extrinsics is None:
            raise Unusable("no camera", "the calibration lacks this frame's extrinsics")
        motion = np.array(extrinsics, float).reshape(3, 4)
        joints = (
            np.array(world["world_coord"], float).reshape(2, NUM_JOINTS, 3)[:, INTERHAND_TO_OP]
            @ motion[:, :3].T
            + motion[:, 3]
        )
        valid = np.frombuffer(annotation.valid, bool).reshape(2, NUM_JOINTS)[:, INTERHAND_TO_OP]
        hands = [
            _hand(is_right, *labels)
            for is_right, *labels in zip(SIDES, joints, valid, annotation.boxes)
            if labels[2] is not None and labels[1].sum() >= MIN_JOINTS
        ]
        picture, recording = self.converter.root / "images" / file, self.key.rpartition("/")[0]
        return Frame(picture, self.key, recording, number, hands, self.camera, number / RATE)


def _hand(
    is_right: bool, joints: Float[np.ndarray, "21 3"], valid: Bool[np.ndarray, "21"], box: list
) -> HandLabels:
    """The published box, which is the joints' bounds with a margin, only where joints are missing: elsewhere
    their own bounds are exact."""
    return HandLabels(
        is_right,
        np.where(valid[:, None], joints, np.nan),
        box=None if valid.all() else np.array(box, float).reshape(4),
    )
