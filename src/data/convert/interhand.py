"""InterHand2.6M v1.0 (Moon et al., ECCV 2020): one or two hands in a studio of some 100 cameras, at 5 or at
30 frames a second.

    images/{train,val,test}/Capture<N>/<sequence>/cam<camera>/image<frame>.jpg
    annotations/<split>/InterHand2.6M_<split>_{data,camera,joint_3d,MANO_NeuralAnnot}.json

data: COCO's `images` (file_name, capture, seq_name, camera, frame_idx) and `annotations` (image_id,
joint_valid [42], hand_type). camera: [capture][campos | camrot | focal | princpt][camera], mm and px, X_cam =
camrot (X - campos), OpenCV. joint_3d: [capture][frame] world_coord [42, 3] mm, 21 joints of the right hand
and then of the left, from tip to base, the wrist last. MANO_NeuralAnnot: [capture][frame][right | left] null
or {pose [48] counted from the mean pose, shape [10], trans [3] metres}, of the world.

Formats and the rule for invalid wrists are those of the data set's own loader
(facebookresearch/InterHand2.6M, data/InterHand2.6M/dataset.py).
"""

from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from tempohand.data.convert.frame import (
    Camera,
    Converter,
    Frame,
    HandLabels,
    HandParameters,
    Proof,
    Recording,
    Unit,
    Unusable,
)
from tempohand.data.convert.mano import MM_PER_METRE, ManoHands, turned
from tempohand.data.convert.orders import INTERHAND_TO_OP
from tempohand.data.convert.read import need, read_json
from tempohand.skeleton import NUM_JOINTS, WRIST

SPLITS = ("train", "val", "test")
RATES = (5, 30)  # frames a second of the two releases
SHOWN = {
    "right": (True,),
    "left": (False,),
    "interacting": (True, False),
}  # hand_type -> is_right of the hands that are shown
MOST_FIT_MM = (
    10.0  # of a fit from the joints, on average or at the wrist; fits beyond are left out, the joints stay
)


class Picture(NamedTuple):
    """What the data file says of a picture."""

    capture: str
    sequence: str
    camera: str
    frame: int
    file: str


class Annotation(NamedTuple):
    """What the data file says of the hands in a picture. valid: 42 bytes."""

    image: int
    hand_type: str
    valid: bytes


class View(NamedTuple):
    """A unit's part of the annotations: one camera's pictures of a sequence.

    camera: campos, camrot, focal and princpt, None for what is missing. pictures: number -> (file,
    annotation). joints, mano: the sequence's entries by frame. rate: numbers a second.
    """

    camera: dict[str, Any]
    pictures: dict[int, tuple[str, Annotation | None]]
    joints: dict[str, Any]
    mano: dict[str, Any]
    rate: float


class InterHand(Converter):
    """Splits: train, val, test. Both hands of a picture are rows, of sequences that differ in their last
    part: where both have a row of the same frame the hands were interacting.

    fps: 5 or 30, which of the releases it is; None: as the folder's name says (InterHand2.6M_5fps_batch1).
    """

    name = "interhand"
    title = "InterHand2.6M v1.0"
    licence = "CC BY-NC 4.0"
    url = "https://mks0601.github.io/InterHand2.6M/"
    proof = Proof(reprojection_px=None, pose_mm=8.0)

    def __init__(self, root: Path, hands: ManoHands | None = None, *, fps: int | None = None):
        super().__init__(root, hands)
        self.fps = fps or next((rate for rate in RATES[::-1] if f"{rate}fps" in root.resolve().name), None)
        if self.fps not in RATES:
            raise ValueError(
                f"which release of InterHand2.6M is '{root}', 5 or 30 frames a second? Pass options='{{fps: 5}}' or options='{{fps: 30}}'"
            )

    def units(self) -> list[Unit]:
        units = [
            unit
            for split in SPLITS
            if (self.root / "annotations" / split).is_dir()
            for unit in self._units(split)
        ]
        if not units:
            raise FileNotFoundError(
                f"'{self.root}' has no annotations/{{train,val,test}}: unpack InterHand2.6M.annotations.{self.fps}.fps.zip there"
            )
        return units

    def _units(self, split: str) -> list[Unit]:
        data = self._read(split, "data", compact=_compact)
        annotations = {one.image: one for one in data["annotations"] if isinstance(one, Annotation)}
        views: dict[tuple[str, str, str], dict[int, tuple[str, Annotation | None]]] = defaultdict(dict)
        for number, picture in (one for one in data["images"] if isinstance(one, tuple)):
            views[picture[:3]][picture.frame] = picture.file, annotations.get(number)
        frames = defaultdict(set)
        for (capture, sequence, _), pictures in views.items():
            frames[capture, sequence].update(pictures)
        cameras, joints, mano = (
            self._read(split, kind) for kind in ("camera", "joint_3d", "MANO_NeuralAnnot")
        )
        shared = {
            (capture, sequence): tuple(
                {key: source.get(capture, {}).get(key) for number in numbers if (key := str(number))}
                for source in (joints, mano)
            )
            for (capture, sequence), numbers in frames.items()
        }
        return [
            Unit(
                f"{split}/Capture{capture}/{sequence}/cam{camera}",
                len(pictures),
                (split,),
                View(
                    {
                        name: cameras.get(capture, {}).get(name, {}).get(camera)
                        for name in ("campos", "camrot", "focal", "princpt")
                    },
                    pictures,
                    *shared[capture, sequence],
                    frame_step(frames[capture, sequence]) * self.fps,
                ),
            )
            for (capture, sequence, camera), pictures in views.items()
        ]

    def _read(self, split: str, kind: str, **options) -> dict:
        path = self.root / "annotations" / split / f"InterHand2.6M_{split}_{kind}.json"
        if kind == "MANO_NeuralAnnot" and (self.hands is None or not path.is_file()):
            return {}
        content = read_json(need(path, f"a part of InterHand2.6M.annotations.{self.fps}.fps.zip"), **options)
        if not isinstance(content, dict) or (
            kind == "data" and not {"images", "annotations"} <= content.keys()
        ):
            raise ValueError(f"'{path}' is not what InterHand2.6M has under this name: download it again")
        return content

    def open(self, unit: Unit) -> Recording:
        return _Sequence(self, unit)


def _compact(entry: dict) -> Any:
    """The entries of the data file as far as they are used: there are millions."""
    if entry.keys() >= {"id", "file_name", "capture", "seq_name", "camera", "frame_idx"}:
        picture = Picture(
            str(entry["capture"]),
            entry["seq_name"],
            str(entry["camera"]),
            int(entry["frame_idx"]),
            Path(entry["file_name"]).as_posix(),
        )
        return entry["id"], picture
    if entry.keys() >= {"image_id", "hand_type", "joint_valid"}:
        return Annotation(
            entry["image_id"], entry["hand_type"], bytes(bool(one) for one in np.ravel(entry["joint_valid"]))
        )
    return entry


def frame_step(numbers: set[int]) -> int:
    """How many numbers lie between a sequence's frames: the commonest difference, since single frames may be
    missing."""
    steps = Counter(b - a for a, b in pairwise(sorted(numbers)))
    return min(steps, key=lambda step: (-steps[step], step)) if steps else 1


class _Sequence(Recording):
    def __init__(self, converter: InterHand, unit: Unit):
        self.converter, self.key, (self.split,), self.view = converter, unit.key, unit.splits, unit.payload
        self.recording = self.key.rpartition("/")[0]  # all cameras
        self.numbers = sorted(self.view.pictures)
        if missing := [name for name, value in self.view.camera.items() if value is None]:
            raise Unusable("no camera", f"the camera file lacks {', '.join(missing)}")
        values = {name: np.array(value, float) for name, value in self.view.camera.items()}
        (fx, fy), (cx, cy) = values["focal"], values["princpt"]
        self.camera = Camera.of_matrix([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        self.rotation, self.position = values["camrot"].reshape(3, 3), values["campos"].reshape(3)

    def frame(self, number: int) -> Frame:
        file, annotation = self.view.pictures[number]
        world = self.view.joints[str(number)]
        if annotation is None or world is None:
            raise Unusable("no annotation", "the data or the joint file has no entry for it")
        valid = np.frombuffer(annotation.valid, bool).reshape(2, NUM_JOINTS)[:, INTERHAND_TO_OP]
        joints = self._to_camera(
            np.array(world["world_coord"], float).reshape(2, NUM_JOINTS, 3)[:, INTERHAND_TO_OP]
        )
        hands = [
            self._hand(number, is_right, joints[1 - is_right], valid[1 - is_right])
            for is_right in SHOWN[annotation.hand_type]
        ]
        picture = self.converter.root / "images" / self.split / file
        return Frame(picture, self.key, self.recording, number, hands, self.camera, number / self.view.rate)

    def _to_camera(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        return (points - self.position) @ self.rotation.T

    def _hand(
        self, number: int, is_right: bool, joints: Float[np.ndarray, "21 3"], valid: Bool[np.ndarray, "21"]
    ) -> HandLabels:
        """A hand whose wrist is invalid has no valid joint, as in the official loader."""
        joints = np.where((valid & valid[WRIST])[:, None], joints, np.nan)
        return HandLabels(is_right, joints, parameters=self._parameters(number, is_right, joints))

    def _parameters(
        self, number: int, is_right: bool, joints: Float[np.ndarray, "21 3"]
    ) -> HandParameters | None:
        hands, entry = (
            self.converter.hands,
            (self.view.mano.get(str(number)) or {}).get("right" if is_right else "left"),
        )
        if hands is None or entry is None or np.isnan(joints[WRIST]).any():
            return None
        pose, shape, transl = (
            np.array(entry[name], float).reshape(-1) for name in ("pose", "shape", "trans")
        )
        pose = turned(hands.absolute(pose, is_right=is_right), self.rotation)
        wrist = self._to_camera(hands.wrist(MM_PER_METRE * transl, shape, is_right=is_right))
        distance = np.linalg.norm(hands.joints(pose, shape, wrist, is_right=is_right) - joints, axis=1)
        return (
            HandParameters(pose, shape, wrist)
            if max(np.nanmean(distance), distance[WRIST]) <= MOST_FIT_MM
            else None
        )
