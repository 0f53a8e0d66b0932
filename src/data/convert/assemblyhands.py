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

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from tempohand.data.convert.frame import Camera, Converter, Frame, HandLabels, Recording, Unit, Unusable
from tempohand.data.convert.read import need, read_json_object
from tempohand.data.convert.two_hands import (
    Annotation,
    Picture,
    Pictures,
    joints_of_both,
    packed,
    valid_of_both,
    views,
)

SPLITS = ("train", "val", "test")
FRAMES_PER_SECOND = 60  # of frame numbers
SIDES = (True, False)  # is_right, as the joints and boxes of a frame come
MIN_JOINTS = 10  # valid ones that the official loader asks of a hand


class _View(NamedTuple):
    """A unit's part of the annotations: one camera's pictures of a sequence; extrinsics and joints by frame,
    None where they are missing."""

    intrinsics: Any
    pictures: Pictures
    extrinsics: dict[int, Any]
    joints: dict[int, Any]


class AssemblyHands(Converter):
    """Splits: train, val, test. Joints alone: there are no hand parameters. A hand without a box, or with
    fewer than ten valid joints, is no row, as in the official evaluation."""

    name = "assemblyhands"
    title = "AssemblyHands v1.1"
    licence = "CC BY-NC 4.0"
    url = "https://assemblyhands.github.io/"
    missing = "has no annotations/{train,val,test}: put AssemblyHands' annotations and images there"
    box_source = "bounds of the true joints, where some are invalid the published box"

    def find_units(self) -> Iterator[Unit]:
        for split in SPLITS:
            folder = self.root / "annotations" / split
            # The test's truth is not public: what lies there may be a challenge's files, of other names.
            if (folder / "assemblyhands_test_ego_data_v1-1.json" if split == "test" else folder).exists():
                yield from self._units(split)

    def _units(self, split: str) -> Iterator[Unit]:
        data = self._read(split, "ego_data", ("images", "annotations"), compact=_compact)
        calibration = self._read(split, "ego_calib", ("calibration",))["calibration"]
        joints = self._read(split, "joint_3d", ("annotations",))["annotations"]
        for (sequence, camera), pictures in views(data["images"], data["annotations"]).items():
            cameras = calibration.get(sequence, {})
            extrinsics = cameras.get("extrinsics", {})
            world = joints.get(sequence, {})
            view = _View(
                cameras.get("intrinsics", {}).get(camera),
                pictures,
                {frame: extrinsics.get(f"{frame:06d}", {}).get(camera) for frame in pictures},
                {frame: world.get(f"{frame:06d}") for frame in pictures},
            )
            yield Unit(f"{split}/{sequence}/{camera}", len(pictures), (split,), view)

    def _read(self, split: str, kind: str, keys: Iterable[str], **options) -> dict[str, Any]:
        path = self.root / "annotations" / split / f"assemblyhands_{split}_{kind}_v1-1.json"
        path = need(path, "a part of AssemblyHands' annotations v1.1")
        return read_json_object(path, keys, "AssemblyHands", **options)

    def open(self, unit: Unit) -> Recording:
        view = unit.payload
        if view.intrinsics is None:
            raise Unusable("no camera", "the calibration lacks it")
        camera = Camera.of_matrix(view.intrinsics)
        recording = unit.key.rpartition("/")[0]  # all cameras

        def frame(number: int) -> Frame:
            file, annotation = view.pictures[number]
            extrinsics = view.extrinsics[number]
            world = view.joints[number]
            if annotation is None or world is None:
                raise Unusable("no annotation", "the data or the joint file has no entry for it")
            if extrinsics is None:
                raise Unusable("no camera", "the calibration lacks this frame's extrinsics")
            motion = np.array(extrinsics, float).reshape(3, 4)
            both = joints_of_both(world["world_coord"]) @ motion[:, :3].T + motion[:, 3]
            labels = zip(SIDES, both, valid_of_both(annotation.valid), annotation.hands)
            hands = [
                _hand(is_right, joints, valid, box)
                for is_right, joints, valid, box in labels
                if box is not None and valid.sum() >= MIN_JOINTS
            ]
            time = number / FRAMES_PER_SECOND
            picture = self.root / "images" / file
            return Frame(picture, unit.key, recording, number, hands, camera, time)

        return Recording(sorted(view.pictures), frame)


def _compact(entry: dict) -> Any:
    """The entries of the data file as far as they are used."""
    if entry.keys() >= {"id", "file_name", "seq_name", "camera", "frame_idx"}:
        camera = f"{entry['camera'].removesuffix('_mono10bit')}_mono10bit"  # as the calibration calls it
        view = (str(entry["seq_name"]), camera)
        return Picture(entry["id"], view, int(entry["frame_idx"]), Path(entry["file_name"]).as_posix())
    if entry.keys() >= {"image_id", "bbox", "joint_valid"}:
        boxes = (entry["bbox"].get("right"), entry["bbox"].get("left"))
        return Annotation(entry["image_id"], boxes, packed(entry["joint_valid"]))
    return entry


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
