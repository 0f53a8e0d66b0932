"""HOT3D-Clips (Banerjee et al., CVPR 2025): hands and objects before the fisheye cameras of Project Aria
glasses and Quest 3 headsets.

    {train,test}_{aria,quest3}/clip-<id>.tar, each 150 frames at 30 a second
        <frame>.image_<stream>.jpg, .cameras.json, .hands.json (train alone), .hand_crops.json;
        __hand_shapes.json__ (not in every test clip)
    clip_splits.json     split -> device -> clip ids: train, test_ht_pose, test_ht_shape, test_bop
    clip_definitions.json     clip id -> sequence_id, the recording that the clip was cut from, which begins
    with the participant

hands: left and right, each absent, null or {mano_pose: {thetas [15] PCA counted from the mean pose,
wrist_xform [6] axis-angle and MANO's transl, metres, of the world}, visibilities_modeled: {stream: share}}.
Cameras: FISHEYE624 and T_world_from_camera (quaternion w x y z). Betas are the clip's. A hand_crops' field of
view is in radians (facebookresearch/hand_tracking_toolkit, dataset.py), though documented as degrees.

Pictures are turned upright (the cameras lie on their side, hot3d/clips/vis_clips.py) and undistorted around
each hand: a table knows pinhole cameras alone, and one pinhole picture of a whole fisheye would be mostly its
rim. The pinhole camera looks where the fisheye does, unless the hand gets farther than 60 degrees from its
axis in the clip; then it is turned to the middle of where the hand is. Either way its orientation is one for
the clip, so that motion in camera space stays motion. The focal length is such that the hand is as large as
in the fisheye's picture.
"""

import json
import re
import tarfile
from collections.abc import Iterator
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from tempohand.data.convert.fisheye import Fisheye624, pinhole_picture
from tempohand.data.convert.frame import (
    OFFICIAL,
    Camera,
    Frame,
    HandLabels,
    OfficialBoxes,
    Recording,
    Unit,
    Unusable,
)
from tempohand.data.convert.mano import MM_PER_METRE, ManoHands, ManoParameters, turned
from tempohand.data.convert.read import DAMAGE, read_json, read_picture

FOLDERS = ("train_aria", "train_quest3", "test_aria", "test_quest3")
STREAMS = {"aria": ("214-1", "1201-1", "1201-2"), "quest3": ("1201-1", "1201-2")}
FRAMES_PER_SECOND = 30
FRAMES = 150  # of a clip
HELD_OUT = 2  # participants of "val": the last of train's
MIN_VISIBLE = 0.1  # share of a hand that a picture shows, as for the data set's own hand_crops
FARTHEST = np.deg2rad(60)  # from the optical axis without turning the camera
UPRIGHT = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # a quarter clockwise
WINDOW = 3.0  # the picture's edge in hand boxes
MAX_EDGE = 640  # px, its most


class Sight(NamedTuple):
    """A hand before one camera in one frame, mm in the fisheye's own space. points: what the picture is cut
    around (joints, or the corners of the data set's crop). parameters, joints: None for clips without
    hands."""

    fisheye: Fisheye624
    points: Float[np.ndarray, "n 3"]
    parameters: ManoParameters | None
    joints: Float[np.ndarray, "21 3"] | None
    hidden: float


class Hot3d(OfficialBoxes):
    """Splits: the folders (train_aria ... test_quest3), those of clip_splits.json (train, test_ht_pose,
    test_ht_shape, test_bop), and fit and val, which are train without and with its last two participants.

    streams: the cameras to convert; Aria has 214-1 (colour), 1201-1 and 1201-2, Quest 3 the latter two (all
    grey). None: all. boxes: of val, which stands in for the test; the official ones are those of
    hand_crops.json, as in the test clips.
    """

    name = "hot3d"
    title = "HOT3D-Clips"
    licence = "HOT3D licence (Project Aria data sets), see the page"
    url = "https://huggingface.co/datasets/bop-benchmark/hot3d"
    pose_mm = 0.5
    boxed_split = "val"
    official_source = "the inner half of the crops of hand_crops.json, official"
    missing = f"has no clip-*.tar in {', '.join(FOLDERS)}: download HOT3D-Clips there"

    def __init__(
        self,
        root: Path,
        hands: ManoHands | None = None,
        *,
        streams: list[str] | None = None,
        boxes: str = OFFICIAL,
    ):
        super().__init__(root, hands, boxes=boxes)
        self.streams = tuple(streams or STREAMS["aria"])
        if unknown := sorted(set(self.streams) - set(STREAMS["aria"])):
            raise ValueError(f"options.streams: '{unknown[0]}' is none of {', '.join(STREAMS['aria'])}")

    def find_units(self) -> Iterator[Unit]:
        folders = [folder for folder in FOLDERS if (self.root / folder).is_dir()]
        if self.hands is None and any(folder.startswith("train") for folder in folders):
            raise ValueError(
                "HOT3D has no joints but those of its MANO parameters: pass hand=<folder of the MANO files>"
            )
        recordings = self._recordings()
        splits = self._clip_splits(recordings)
        for folder in folders:
            streams = [stream for stream in STREAMS[folder.split("_")[1]] if stream in self.streams]
            for path in sorted((self.root / folder).glob("clip-*.tar")):
                clip = path.stem
                of_clip = (folder, *splits.get(clip, ()))
                for stream, side in product(streams, ("right", "left")):
                    payload = (path.relative_to(self.root), stream, side, recordings.get(clip, clip))
                    yield Unit(f"{clip}/{stream}/{side}", FRAMES, of_clip, payload)

    def boxes_of(self, split: str) -> str:
        if split.startswith("test"):
            return self.official_source
        mixed = self.boxes == OFFICIAL and split.startswith("train")
        inner = ", in the clips of val the inner half of the official crops" if mixed else ""
        return super().boxes_of(split) + inner

    def _recordings(self) -> dict[str, str]:
        """clip -> the recording that it was cut from; nothing where clip_definitions.json was not
        downloaded."""
        path = self.root / "clip_definitions.json"
        if not path.is_file():
            return {}
        try:
            return {_name(clip): str(about["sequence_id"]) for clip, about in read_json(path).items()}
        except DAMAGE:
            raise ValueError(f"'{path}' is not clip id -> sequence_id: download it again") from None

    def _clip_splits(self, recordings: dict[str, str]) -> dict[str, list[str]]:
        """clip -> the splits of clip_splits.json that it is in, and fit or val where clip_definitions.json
        tells the participants."""
        path = self.root / "clip_splits.json"
        listed = read_json(path) if path.is_file() else {}
        try:
            ids = {
                split: {_name(one) for device in devices.values() for one in device}
                for split, devices in listed.items()
            }
        except DAMAGE:
            raise ValueError(f"'{path}' is not split -> device -> clip ids: download it again") from None
        if "train" in ids and recordings:
            people = {clip: recording.split("_")[0] for clip, recording in recordings.items()}
            held_out = sorted({people[one] for one in ids["train"] if one in people})[-HELD_OUT:]
            ids["val"] = {one for one in ids["train"] if people.get(one) in held_out}
            ids["fit"] = {one for one in ids["train"] if one in people} - ids["val"]
        splits: dict[str, list[str]] = {}
        for split, clips in ids.items():
            for clip in clips:
                splits.setdefault(clip, []).append(split)
        return splits

    def open(self, unit: Unit) -> Recording:
        clip = _Clip(self, unit)
        return Recording(list(clip.sights), clip.frame)


def _name(clip: int | str) -> str:
    """The name of a clip's file, without its suffix."""
    return f"clip-{int(clip):06d}"


class _Clip:
    """One hand before one camera, in the frames in which it is seen."""

    def __init__(self, converter: Hot3d, unit: Unit):
        path, self.stream, self.side, self.recording = unit.payload
        self.is_right = self.side == "right"
        self.official = any(map(converter.has_official_boxes, unit.splits))
        self.hands = converter.hands
        self.sequence = unit.key.rpartition("/")[0]
        # read as long as the unit is converted
        self.archive = tarfile.open(converter.root / path)  # noqa: SIM115
        self.members = {member.name: member for member in self.archive}
        numbers = sorted(
            int(found[1]) for name in self.members if (found := re.fullmatch(r"(\d+)\.cameras\.json", name))
        )
        tried = {number: self._try(number) for number in numbers}
        self.sights = {number: sight for number, sight in tried.items() if sight is not None}
        self.turn = self._turn([sight for sight in self.sights.values() if isinstance(sight, Sight)])

    def _read(self, name: str) -> bytes:
        if name not in self.members:
            raise FileNotFoundError(f"'{name}' is not in the clip")
        return self.archive.extractfile(self.members[name]).read()

    @cached_property
    def betas(self) -> np.ndarray:
        return np.array(json.loads(self._read("__hand_shapes.json__"))["mano"], float).reshape(-1)

    def _try(self, number: int) -> Sight | Exception | None:
        """`_sight`, or its error, which is raised when the frame is asked for: the other frames decide the
        camera's orientation without it."""
        try:
            return self._sight(f"{number:06d}")
        except DAMAGE as error:
            return error

    def _sight(self, frame: str) -> Sight | None:
        """The hand in a frame; None where it is not seen."""
        about = json.loads(self._read(f"{frame}.cameras.json"))[self.stream]
        fisheye = Fisheye624.of_parameters(about["calibration"]["projection_params"])
        rotation, position = _rigid(about["T_world_from_camera"])
        if f"{frame}.hands.json" in self.members:
            hand = json.loads(self._read(f"{frame}.hands.json")).get(self.side)
            if hand is None or hand.get("mano_pose") is None:
                return None
            visible = hand["visibilities_modeled"].get(self.stream, 0.0)
            if visible < MIN_VISIBLE:
                return None
            sight = self._labelled(fisheye, rotation, position, hand["mano_pose"], 1 - visible)
            if not self.official:
                return sight
            if (crop := self._crop(frame)) is None:
                raise Unusable(
                    "no official box",
                    f"hand_crops.json has no crop of the {self.side} hand for {self.stream}",
                )
            return sight._replace(points=_corners(crop) @ rotation)
        crop = self._crop(frame)
        return None if crop is None else Sight(fisheye, _corners(crop) @ rotation, None, None, float("nan"))

    def _crop(self, frame: str) -> dict[str, Any] | None:
        """The data set's own crop around the hand in a frame, if there is one."""
        crops = json.loads(self._read(f"{frame}.hand_crops.json")).get(self.side) or {}
        return crops.get(self.stream)

    def _labelled(
        self,
        fisheye: Fisheye624,
        rotation: np.ndarray,
        position: np.ndarray,
        mano: dict[str, Any],
        hidden: float,
    ) -> Sight:
        """The hand's labels in the fisheye's space. rotation, position (mm): of the camera in the world."""
        hands = self.hands
        assert hands is not None, "units() asks for the hand model where there are hands"
        xform = np.array(mano["wrist_xform"], float).reshape(6)
        in_world = hands.from_pca(xform[:3], np.array(mano["thetas"], float), is_right=self.is_right)
        pose = turned(in_world, rotation.T)
        transl = MM_PER_METRE * xform[3:]
        wrist = (hands.wrist(transl, self.betas, is_right=self.is_right) - position) @ rotation
        joints = hands.joints(pose, self.betas, wrist, is_right=self.is_right)
        return Sight(fisheye, joints, ManoParameters(pose, self.betas, wrist), joints, hidden)

    @staticmethod
    def _turn(sights: list[Sight]) -> np.ndarray:
        """X_pinhole = turn X_fisheye, the same for all frames."""
        directions = [sight.points.mean(0) / np.linalg.norm(sight.points.mean(0)) for sight in sights]
        if not directions or min(direction[2] for direction in directions) >= np.cos(FARTHEST):
            return UPRIGHT
        middle = np.mean(directions, axis=0)
        axis = np.cross(middle, [0.0, 0.0, 1.0])
        angle = np.arctan2(np.linalg.norm(axis), middle[2])
        return UPRIGHT @ Rotation.from_rotvec(axis / max(np.linalg.norm(axis), 1e-12) * angle).as_matrix()

    def frame(self, number: int) -> Frame:
        sight = self.sights[number]
        if isinstance(sight, Exception):
            raise sight
        camera, box, edge = self._window(sight)
        picture = pinhole_picture(self._picture(number), sight.fisheye, camera, self.turn, edge)
        hand = HandLabels(
            self.is_right,
            None if sight.joints is None else sight.joints @ self.turn.T,
            parameters=self._turned(sight.parameters),
            box=None if sight.points is sight.joints else box,
            hidden=sight.hidden,
        )
        time = number / FRAMES_PER_SECOND
        return Frame(picture, self.sequence, self.recording, number, [hand], camera, time)

    def _turned(self, known: ManoParameters | None) -> ManoParameters | None:
        """The parameters in the pinhole camera's space."""
        if known is None:
            return None
        return ManoParameters(turned(known.pose, self.turn), known.shape, self.turn @ known.wrist)

    def _window(self, sight: Sight) -> tuple[Camera, np.ndarray, int]:
        """The pinhole camera of the picture around the hand, the hand's box in it, and the picture's edge,
        px."""
        points = sight.points @ self.turn.T
        distorted = sight.fisheye.project(sight.points)
        if (points[:, 2] <= 0).any() or np.isnan(distorted).any():
            raise Unusable(
                "too far from the optical axis",
                "the hand leaves the half space before the camera, or what the lens sees",
            )
        rays = points[:, :2] / points[:, 2:]
        low, high = rays.min(0), rays.max(0)
        reach = (high - low).max()
        edge = int(min(np.ceil(WINDOW * np.ptp(distorted, axis=0).max()), MAX_EDGE))
        focal = edge / WINDOW / reach
        princpt = (edge - 1) / 2 - focal * (low + high) / 2
        box = np.concatenate([focal * low + princpt, focal * high + princpt])
        return Camera(np.full(2, focal), princpt), box, edge

    def _picture(self, number: int) -> np.ndarray:
        name = f"{number:06d}.image_{self.stream}.jpg"
        return read_picture(self._read(name), name)[1]


def _rigid(transform: dict[str, Any]) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """Rotation and translation (mm) of a transform {quaternion_wxyz, translation_xyz (metres)}."""
    w, x, y, z = np.array(transform["quaternion_wxyz"], float)
    translation = MM_PER_METRE * np.array(transform["translation_xyz"], float).reshape(3)
    return Rotation.from_quat([x, y, z, w]).as_matrix(), translation


def _corners(crop: dict[str, Any]) -> Float[np.ndarray, "4 3"]:
    """Rays of the world through the corners of a crop's inner half: a hand's box is half a view, here as in
    training."""
    rotation, _ = _rigid(crop["T_world_from_crop_camera"])
    half = np.tan(float(crop["crop_camera_fov"]) / 2) / 2
    return np.array([[x, y, 1.0] for x in (-half, half) for y in (-half, half)]) @ rotation.T
