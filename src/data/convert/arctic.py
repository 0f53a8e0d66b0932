"""ARCTIC (Fan et al., CVPR 2023): both hands on articulated objects, eight standing cameras (views 1-8) and
one on the head (view 0).

    raw_seqs/<subject>/<sequence>.mano.npy and .egocam.dist.npy, meta/misc.json,
    splits_json/protocol_{p1,p2}.json
    images/<subject>/<sequence>/<view>/%05d.jpg; or cropped_images/, of the same names, and splits/p1_*.npy or
    processed_seqs/

mano: {right, left}: rot [F, 3], pose [F, 45] counted from the mean pose, trans [F, 3] metres (MANO's transl),
shape [10], in the world of the motion capture; the left hand was fitted with MANO_LEFT.pkl as it is. misc:
world2cam [8, 4, 4] metres, intris_mat [8, 3, 3], image_size [9, 2], ioi_offset: annotation = picture's number
- offset. egocam: R_k_cam_np [F, 3, 3], T_k_cam_np [F, 3, 1], intrinsics [3, 3] and dist8, OpenCV's rational
lens: pictures of view 0 are distorted, and come out undistorted here. Joints are not stored, they are MANO's.

Cropped pictures: those of view 0 are whole, shrunk to 0.3; others are squares of 300 x `scale` px around bbox
[F, 9, 3] (cx, cy, scale), resized to 1000 px. bbox is in splits/p1_{train,val}.npy,
data_dict[<subject>/<sequence>], and in processed_seqs/<subject>/<sequence>.npy. Source: the official toolkit
(scripts_data/crop_images.py, src/arctic/{processing,split}.py, common/transforms.py).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float

from tempohand.data.convert.frame import Camera, Converter, Frame, HandLabels, Recording, Unit, Unusable
from tempohand.data.convert.mano import MM_PER_METRE, ManoHands, ManoParameters, turned
from tempohand.data.convert.read import need, read_json, read_npy_object, read_picture
from tempohand.data.pictures import BEYOND
from tempohand.skeleton import NUM_BETAS, WRIST

VIEWS = tuple(range(9))
FRAMES_PER_SECOND = 30  # not in the files; what users of the motions found
USUAL_FRAMES = 700
DARK_FRAMES = 10  # pictures at either end of a sequence that may be black
USUAL_SPLITS = {"s05": "val", "s03": "test"}  # of subjects, the others are train
CROP_EDGE = 1000  # px


class Arctic(Converter):
    """Splits: train, val (all views), p1_train, p1_val (views 1-8), p2_train, p2_val (view 0); the test
    subject's truth is not public.

    views: which ones, all by default.
    """

    name = "arctic"
    title = "ARCTIC"
    licence = "non-commercial scientific research"
    url = "https://arctic.is.tue.mpg.de"
    left_shapedirs = "unfixed"
    pose_mm = 3.0
    missing = "has no raw_seqs/<subject>/*.mano.npy with images/ or cropped_images/ of theirs"

    def __init__(self, root, hands: ManoHands | None = None, views: Iterable[int] = VIEWS):
        super().__init__(root, hands)
        self.views = tuple(views)
        if not self.views or not set(self.views) <= set(VIEWS):
            raise ValueError(f"views: ARCTIC has 0 (the head's) to 8, got {list(self.views)}")

    def find_units(self) -> list[Unit]:
        if self.hands is None:
            raise ValueError(
                "ARCTIC stores hand parameters and no joints: pass hand=<folder of the MANO files>"
            )
        misc = read_json(
            need(self.root / "meta" / "misc.json", "ARCTIC's cameras; root= is the folder arctic_data/data")
        )
        protocols = {name: self._protocol(name) for name in ("p1", "p2")}
        squares = self._squares() if self.pictures().name == "cropped_images" and any(self.views) else {}
        units = []
        for path in sorted(self.root.glob("raw_seqs/s*/*.mano.npy")):
            subject = path.parent.name
            sequence = f"{subject}/{path.name.removesuffix('.mano.npy')}"
            for view in self.views:
                if (self.pictures() / sequence / str(view)).is_dir():
                    protocol = "p1" if view else "p2"  # the official one that evaluates this view
                    split = protocols[protocol].get(sequence, USUAL_SPLITS.get(subject, "train"))
                    about = _of_view(misc, subject, view)
                    if sequence in squares:
                        about["squares"] = squares[sequence][:, view]
                    splits = (split, f"{protocol}_{split}")
                    units.append(Unit(f"{sequence}/{view}", USUAL_FRAMES, splits, (sequence, view, about)))
        return sorted(units, key=lambda unit: unit.splits)

    def pictures(self) -> Path:
        """The folder of pictures: whole ones where both are there."""
        folders = [self.root / name for name in ("images", "cropped_images")]
        return next((folder for folder in folders if folder.is_dir()), folders[0])

    def _protocol(self, name: str) -> dict[str, str]:
        """sequence -> split; empty where the official lists were not downloaded (then subjects decide, as
        they do in the lists)."""
        path = self.root / "splits_json" / f"protocol_{name}.json"
        if not path.is_file():
            return {}
        return {sequence: split for split, sequences in read_json(path).items() for sequence in sequences}

    def _squares(self) -> dict[str, np.ndarray]:
        """sequence -> bbox, of the official splits: files of gigabytes, read here once for all processes."""
        found = {}
        for path in sorted(self.root.glob("splits/p1_*.npy")):
            try:
                found |= {
                    sequence: np.array(parts["bbox"])
                    for sequence, parts in read_npy_object(path)["data_dict"].items()
                }
            except (KeyError, TypeError, AttributeError):
                raise ValueError(
                    f"'{path}' is no split of ARCTIC (data_dict, bbox): download it again"
                ) from None
        return found

    def open(self, unit: Unit) -> Recording:
        sequence, view, about = unit.payload
        kind = _HeadView if view == 0 else _View if self.pictures().name == "images" else _CroppedView
        opened = kind(self, sequence, view, about)
        first = max(DARK_FRAMES, about["offset"])
        return Recording(range(first, len(opened.mano["right"]["rot"]) - DARK_FRAMES), opened.frame)


def _of_view(misc: dict[str, Any], subject: str, view: int) -> dict[str, Any]:
    """What misc.json says of a subject's view. Raises ValueError when it says nothing."""
    try:
        stored = misc[subject]
        about = {"offset": int(stored["ioi_offset"]), "size": tuple(stored["image_size"][view])}
        if view:
            about |= {"world2cam": stored["world2cam"][view - 1], "K": stored["intris_mat"][view - 1]}
        return about
    except (KeyError, IndexError, TypeError):
        raise ValueError(
            f"ARCTIC's meta/misc.json has no camera {view} of subject {subject}: download it again"
        ) from None


class _View:
    """A sequence in a standing camera, pictures whole."""

    def __init__(self, converter: Arctic, sequence: str, view: int, about: dict[str, Any]):
        self.converter = converter
        self.about = about
        self.sequence = sequence
        self.view = view
        self.mano = read_npy_object(converter.root / "raw_seqs" / f"{sequence}.mano.npy")

    def frame(self, number: int) -> Frame:
        index = number - self.about["offset"]
        rotation, translation = self.world_to_camera(index)
        hands = [self._hand(side, index, rotation, translation) for side in ("right", "left")]
        name = f"{self.sequence}/{self.view}"
        path = self.converter.pictures() / name / f"{number:05d}.jpg"
        picture, matrix = self.picture(path, index)
        time = number / FRAMES_PER_SECOND
        return Frame(picture, name, self.sequence, number, hands, Camera.of_matrix(matrix), time)

    def _hand(self, side: str, index: int, rotation: np.ndarray, translation: np.ndarray) -> HandLabels:
        stored = self.mano[side]
        is_right = side == "right"
        mano = self.converter.hands
        relative = np.concatenate([stored["rot"][index], stored["pose"][index]]).astype(float)
        pose = turned(mano.absolute(relative, is_right=is_right), rotation)
        betas = np.array(stored["shape"], float).reshape(NUM_BETAS)
        transl = MM_PER_METRE * np.array(stored["trans"][index], float)
        wrist = rotation @ mano.wrist(transl, betas, is_right=is_right) + translation
        joints = mano.joints(pose, betas, wrist, is_right=is_right)
        parameters = ManoParameters(pose, mano.shape(betas, is_right=is_right), joints[WRIST])
        return HandLabels(is_right, joints, parameters=parameters)

    def world_to_camera(self, index: int) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
        """R and t, mm, of x_camera = R X + t."""
        matrix = np.array(self.about["world2cam"], float)
        return matrix[:3, :3], MM_PER_METRE * matrix[:3, 3]

    def picture(self, path: Path, index: int) -> tuple[Any, Float[np.ndarray, "3 3"]]:
        """The picture, and its K."""
        return path, np.array(self.about["K"], float)


class _CroppedView(_View):
    """A sequence in a standing camera, each picture a square around the object."""

    def __init__(self, converter: Arctic, sequence: str, view: int, about: dict[str, Any]):
        super().__init__(converter, sequence, view, about)
        path = converter.root / "processed_seqs" / f"{sequence}.npy"
        if path.is_file():
            self.squares = read_npy_object(path)["bbox"][:, view]
        elif "squares" in about:
            self.squares = about["squares"]
        else:
            raise Unusable(
                "crop unknown",
                f"neither '{path}' nor splits/p1_*.npy says what of the picture is in cropped_images",
            )

    def picture(self, path: Path, index: int) -> tuple[Any, Float[np.ndarray, "3 3"]]:
        x, y, scale = np.asarray(self.squares[index], np.float32)
        edge = scale * np.float32(1.5) * 200
        x0, x1 = (int(round(float(at))) for at in (x - edge / 2, x + edge / 2))
        y0, y1 = (int(round(float(at))) for at in (y - edge / 2, y + edge / 2))
        resized = _resized((x0, y0), (CROP_EDGE / (x1 - x0), CROP_EDGE / (y1 - y0)))
        return path, resized @ np.array(self.about["K"], float)


class _HeadView(_View):
    """A sequence in the head's camera, undistorted; what the lens sees beyond its own pinhole picture is
    lost."""

    def __init__(self, converter: Arctic, sequence: str, view: int, about: dict[str, Any]):
        super().__init__(converter, sequence, view, about)
        self.lens = read_npy_object(converter.root / "raw_seqs" / f"{sequence}.egocam.dist.npy")
        self.maps: dict[tuple[int, int], Any] = {}  # of the pictures' size, the same for all

    def world_to_camera(self, index: int) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
        rotation, translation = (
            np.array(self.lens[name][index], float) for name in ("R_k_cam_np", "T_k_cam_np")
        )
        return rotation, MM_PER_METRE * translation.reshape(3)

    def picture(self, path: Path, index: int) -> tuple[Any, Float[np.ndarray, "3 3"]]:
        _, distorted = read_picture(path, path.relative_to(self.converter.root).as_posix())
        size = (distorted.shape[1], distorted.shape[0])
        resized = _resized((0, 0), np.array(size) / self.about["size"])
        matrix = resized @ np.array(self.lens["intrinsics"], float)
        if size not in self.maps:
            coefficients = np.array(self.lens["dist8"], float).reshape(8)
            self.maps[size] = cv2.initUndistortRectifyMap(
                matrix, coefficients, None, matrix, size, cv2.CV_16SC2
            )
        return cv2.remap(distorted, *self.maps[size], cv2.INTER_LINEAR, borderMode=BEYOND), matrix


def _resized(corner: tuple[int, int], scale) -> Float[np.ndarray, "3 3"]:
    """What takes pixels to those of a part that begins at `corner` and is resized; centres at integers: u' =
    (u - corner + 0.5) s - 0.5."""
    offset = (0.5 - np.array(corner)) * scale - 0.5
    return np.array([[scale[0], 0, offset[0]], [0, scale[1], offset[1]], [0, 0, 1]], float)
