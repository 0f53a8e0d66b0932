"""Dexter+Object (Sridhar et al., ECCV 2016) and EgoDexter (Mueller et al., ICCV 2017): fingertips alone, for
evaluation.

    Dexter+Object: data/<sequence>/color/*, data/<sequence>/annotations/<sequence>{2D,3D}.txt
    EgoDexter: data/<sequence>/color/*, data/<sequence>/{annotation.txt, annotation.txt_3D.txt}

A line a frame, in the order of the pictures' names: five entries that end with ";", thumb to pinky; "u, v" in
the depth picture and "x, y, z" mm in the depth camera's space. Dexter+Object's x and y point the other way
than OpenCV's, and z = 32001 is no measurement; EgoDexter's 2D is -1 and its 3D 0 where a tip was not
annotated. All hands are left ones.

Neither calibration is in the files. The numbers are those of the data sets' pages as public loaders quote
them, and so is the sign of x and y; therefore every sequence is checked: the 3D tips in the depth camera must
be where the 2D ones are. No source gives the frame rate: 30 a second is assumed. No box is published, and
tips alone bound no hand: the box is a square of a hand's length around them.
"""

import re
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float

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
from tempohand.data.convert.read import need
from tempohand.skeleton import FINGERS, JOINT_NAMES, NUM_JOINTS

FRAMES_PER_SECOND = 30  # assumed
TIPS = [JOINT_NAMES.index(f"{finger}_tip") for finger in FINGERS]
HAND_MM = 180.0  # the edge of the box
MOST_APART = 10.0  # px of the depth picture, between 2D and projected 3D tips, the median of a sequence


class Cameras(NamedTuple):
    """depth: that of the 2D tips. colour: that of the pictures, X_colour = motion[:, :3] X_depth + motion[:,
    3], mm. axes: signs that make the file's x, y, z OpenCV's."""

    depth: Camera
    colour: Camera
    motion: Float[np.ndarray, "3 4"]
    axes: Float[np.ndarray, "3"]


class Dexter(Converter):
    """Split: test. Fingertips (3D, and 2D as their projection) of left hands; the wrist is not known."""

    licence = "research only, see the page"
    proof = Proof(reprojection_px=None, pose_mm=None)
    sequences: ClassVar[tuple[str, ...]]
    cameras: ClassVar[Cameras]

    def units(self) -> list[Unit]:
        data = self.root / "data"
        found = [name for name in self.sequences if (data / name / "color").is_dir()]
        if not found:
            raise FileNotFoundError(
                f"'{self.root}' has no data/{self.sequences[0]}/color: unpack {self.title} there"
            )
        return [Unit(name, len(list((data / name / "color").iterdir())), ("test",), name) for name in found]

    @abstractmethod
    def files(self, sequence: str) -> tuple[Path, Path]:
        """The 2D and the 3D tips."""

    def boxes_of(self, split: str) -> str:
        return f"a square of {HAND_MM:.0f} mm around the true tips; none is published"

    def open(self, unit: Unit) -> Recording:
        return _Sequence(self, unit)


class DexterObject(Dexter):
    name = "dexter_object"
    title = "Dexter+Object"
    url = "https://handtracker.mpi-inf.mpg.de/projects/RealtimeHO/dexter+object.htm"
    sequences = ("Grasp1", "Grasp2", "Occlusion", "Pinch", "Rigid", "Rotate")
    cameras = Cameras(
        Camera.of_values(224.502, 230.494, 160, 120),
        Camera.of_values(587.45209, 600.67456, 325, 249),
        np.array(
            [
                [0.9999, 0.0034, 0.0161, 19.0473],
                [-0.0033, 1.0, -0.0079, -1.8514],
                [-0.0162, 0.0079, 0.9998, -4.7501],
            ]
        ),
        np.array([-1.0, -1.0, 1.0]),
    )

    def files(self, sequence: str) -> tuple[Path, Path]:
        folder = self.root / "data" / sequence / "annotations"
        return folder / f"{sequence}2D.txt", folder / f"{sequence}3D.txt"


class EgoDexter(Dexter):
    name = "egodexter"
    title = "EgoDexter"
    url = "https://handtracker.mpi-inf.mpg.de/projects/OccludedHands/EgoDexter.htm"
    sequences = ("Desk", "Fruits", "Kitchen", "Rotunda")
    cameras = Cameras(
        Camera.of_values(475.62, 475.62, 311.125, 245.965),
        Camera.of_values(617.173, 617.173, 315.453, 242.259),
        np.array(
            [
                [1.0, 0.00090442, -0.0074, 20.2365],
                [-0.00071933, 0.9997, 0.0248, 1.2846],
                [0.0075, -0.0248, 0.9997, 5.7360],
            ]
        ),
        np.array([1.0, 1.0, 1.0]),
    )

    def files(self, sequence: str) -> tuple[Path, Path]:
        folder = self.root / "data" / sequence
        return folder / "annotation.txt", folder / "annotation.txt_3D.txt"


class _Sequence(Recording):
    def __init__(self, converter: Dexter, unit: Unit):
        self.key = unit.key
        self.cameras = converter.cameras
        self.pictures = sorted((converter.root / "data" / unit.payload / "color").iterdir())
        file2d, file3d = converter.files(unit.payload)
        tips2d, tips = _read(file2d, 2), _read(file3d, 3)
        if not len(tips2d) == len(tips) == len(self.pictures):
            raise Unusable(
                "damaged annotation",
                f"{len(self.pictures)} pictures, {len(tips2d)} lines of 2D and {len(tips)} of 3D tips",
            )
        tips[(np.abs(tips[..., 2]) < 1e-6) | (tips[..., 2] > 32000)] = np.nan
        tips2d[(tips2d < 0).any(-1)] = np.nan
        self.tips = tips * self.cameras.axes
        self._check(tips2d)
        self.numbers = range(len(tips))

    def _check(self, tips2d: Float[np.ndarray, "n 5 2"]) -> None:
        """Raises Unusable where the 3D tips are not projected to the 2D ones (px of the depth picture)."""
        distance = np.linalg.norm(self.cameras.depth.project(self.tips) - tips2d, axis=-1)
        apart = np.median(distance[np.isfinite(distance)]) if np.isfinite(distance).any() else 0.0
        if apart > MOST_APART:
            raise Unusable(
                "2D and 3D tips disagree",
                f"by {apart:.0f} px in the depth picture: another calibration, or other axes?",
            )

    def frame(self, number: int) -> Frame:
        motion = self.cameras.motion
        colour = self.cameras.colour
        joints = np.full((NUM_JOINTS, 3), np.nan)
        joints[TIPS] = self.tips[number] @ motion[:, :3].T + motion[:, 3]
        known = joints[np.isfinite(joints).all(1)]
        if not len(known):
            raise Unusable("no annotation", "no fingertip is known")
        pixels = colour.project(known)
        centre = (pixels.min(0) + pixels.max(0)) / 2
        half_hand = colour.focal.mean() * HAND_MM / 2 / known[:, 2].mean()
        half = max(half_hand, np.ptp(pixels, axis=0).max() / 2)
        hand = HandLabels(False, joints, box=np.concatenate([centre - half, centre + half]))
        time = number / FRAMES_PER_SECOND
        return Frame(self.pictures[number], self.key, self.key, number, [hand], colour, time)


def _read(path: Path, size: int) -> Float[np.ndarray, "n 5 size"]:
    """Lines of five entries of `size` numbers; an empty entry is unknown (nan)."""
    lines = need(path, "the tips of the sequence").read_text(encoding="utf-8").splitlines()
    values = [
        [re.findall(r"[^\s,]+", entry) or ["nan"] * size for entry in line.split(";")[: len(TIPS)]]
        for line in lines
        if line.strip()
    ]
    return np.array(values, float).reshape(-1, len(TIPS), size)
