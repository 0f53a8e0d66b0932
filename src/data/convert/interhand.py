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
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from tempohand.data.convert.frame import Camera, Converter, Frame, HandLabels, Recording, Unit, Unusable
from tempohand.data.convert.mano import MM_PER_METRE, ManoHands, ManoParameters, turned
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
from tempohand.skeleton import WRIST

SPLITS = ("train", "val", "test")
RATES = (5, 30)  # frames a second of the two releases
# hand_type -> is_right of the hands that are shown
SHOWN = {"right": (True,), "left": (False,), "interacting": (True, False)}
# of a fit from the joints, on average or at the wrist; fits beyond are left out, the joints stay
MOST_FIT_MM = 10.0


class _View(NamedTuple):
    """A unit's part of the annotations: one camera's pictures of a sequence.

    camera: campos, camrot, focal and princpt, None for what is missing. pictures: number -> (file,
    annotation). joints, mano: the sequence's entries by frame. rate: numbers a second.
    """

    camera: dict[str, Any]
    pictures: Pictures
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
    pose_mm = 8.0

    def __init__(self, root: Path, hands: ManoHands | None = None, *, fps: int | None = None):
        super().__init__(root, hands)
        self.fps = fps or next((rate for rate in RATES[::-1] if f"{rate}fps" in root.resolve().name), None)
        if self.fps not in RATES:
            raise ValueError(
                f"which release of InterHand2.6M is '{root}', 5 or 30 frames a second? "
                "Pass options='{fps: 5}' or options='{fps: 30}'"
            )

        self.archive = f"InterHand2.6M.annotations.{self.fps}.fps.zip"
        self.missing = f"has no annotations/{{train,val,test}}: unpack {self.archive} there"

    def find_units(self) -> Iterator[Unit]:
        for split in SPLITS:
            if (self.root / "annotations" / split).is_dir():
                yield from self._units(split)

    def _units(self, split: str) -> Iterator[Unit]:
        data = self._read(split, "data", ("images", "annotations"), compact=_compact)
        cameras = self._read(split, "camera")
        joints = self._read(split, "joint_3d")
        mano = self._read(split, "MANO_NeuralAnnot")
        seen = views(data["images"], data["annotations"])
        frames: dict[tuple[str, str], set[int]] = defaultdict(set)  # of all cameras of a sequence
        for (capture, sequence, _), pictures in seen.items():
            frames[capture, sequence].update(pictures)
        shared = {
            (capture, sequence): [
                {str(number): source.get(capture, {}).get(str(number)) for number in numbers}
                for source in (joints, mano)
            ]
            for (capture, sequence), numbers in frames.items()
        }
        for (capture, sequence, camera), pictures in seen.items():
            about = cameras.get(capture, {})
            view = _View(
                {name: about.get(name, {}).get(camera) for name in ("campos", "camrot", "focal", "princpt")},
                pictures,
                *shared[capture, sequence],
                frame_step(frames[capture, sequence]) * self.fps,
            )
            key = f"{split}/Capture{capture}/{sequence}/cam{camera}"
            yield Unit(key, len(pictures), (split,), view)

    def _read(self, split: str, kind: str, keys: Iterable[str] = (), **options) -> dict[str, Any]:
        path = self.root / "annotations" / split / f"InterHand2.6M_{split}_{kind}.json"
        if kind == "MANO_NeuralAnnot" and (self.hands is None or not path.is_file()):
            return {}
        path = need(path, f"a part of {self.archive}")
        return read_json_object(path, keys, "InterHand2.6M", **options)

    def open(self, unit: Unit) -> Recording:
        view, (split,) = unit.payload, unit.splits
        if missing := [name for name, value in view.camera.items() if value is None]:
            raise Unusable("no camera", f"the camera file lacks {', '.join(missing)}")
        stored = {name: np.array(value, float) for name, value in view.camera.items()}
        camera = Camera.of_values(*stored["focal"], *stored["princpt"])
        motion = (stored["camrot"].reshape(3, 3), stored["campos"].reshape(3))
        recording = unit.key.rpartition("/")[0]  # all cameras

        def frame(number: int) -> Frame:
            file, annotation = view.pictures[number]
            world = view.joints[str(number)]
            if annotation is None or world is None:
                raise Unusable("no annotation", "the data or the joint file has no entry for it")
            valid = valid_of_both(annotation.valid)
            valid &= valid[:, [WRIST]]  # a hand without its wrist has no valid joint, as officially
            points = _to_camera(joints_of_both(world["world_coord"]), *motion)
            points = np.where(valid[..., None], points, np.nan)
            mano = view.mano.get(str(number)) or {}
            hands = []
            for is_right in SHOWN[annotation.hands]:
                joints = points[1 - is_right]
                fit = self._fit(mano.get("right" if is_right else "left"), is_right, joints, *motion)
                hands.append(HandLabels(is_right, joints, parameters=fit))
            picture = self.root / "images" / split / file
            return Frame(picture, unit.key, recording, number, hands, camera, number / view.rate)

        return Recording(sorted(view.pictures), frame)

    def _fit(
        self,
        entry: dict[str, Any] | None,
        is_right: bool,
        joints: Float[np.ndarray, "21 3"],
        rotation: Float[np.ndarray, "3 3"],
        position: Float[np.ndarray, "3"],
    ) -> ManoParameters | None:
        """The fitted parameters in camera space; None where there are none, or they do not fit the joints."""
        hands = self.hands
        if hands is None or entry is None or np.isnan(joints[WRIST]).any():
            return None
        stored = {name: np.array(entry[name], float).reshape(-1) for name in ("pose", "shape", "trans")}
        pose = turned(hands.absolute(stored["pose"], is_right=is_right), rotation)
        shape = stored["shape"]
        wrist = hands.wrist(MM_PER_METRE * stored["trans"], shape, is_right=is_right)
        wrist = _to_camera(wrist, rotation, position)
        distance = np.linalg.norm(hands.joints(pose, shape, wrist, is_right=is_right) - joints, axis=1)
        fits = max(np.nanmean(distance), distance[WRIST]) <= MOST_FIT_MM
        return ManoParameters(pose, shape, wrist) if fits else None


def _to_camera(
    points: Float[np.ndarray, "*n 3"], rotation: Float[np.ndarray, "3 3"], position: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "*n 3"]:
    return (points - position) @ rotation.T


def _compact(entry: dict) -> Any:
    """The entries of the data file as far as they are used."""
    if entry.keys() >= {"id", "file_name", "capture", "seq_name", "camera", "frame_idx"}:
        view = (str(entry["capture"]), entry["seq_name"], str(entry["camera"]))
        return Picture(entry["id"], view, int(entry["frame_idx"]), Path(entry["file_name"]).as_posix())
    if entry.keys() >= {"image_id", "hand_type", "joint_valid"}:
        return Annotation(entry["image_id"], entry["hand_type"], packed(entry["joint_valid"]))
    return entry


def frame_step(numbers: set[int]) -> int:
    """How many numbers lie between a sequence's frames: the commonest difference, since single frames may be
    missing."""
    steps = Counter(b - a for a, b in pairwise(sorted(numbers)))
    return min(steps, key=lambda step: (-steps[step], step)) if steps else 1
