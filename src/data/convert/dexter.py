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
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float

from tempohand.data.convert.frame import Camera, Converter, Frame, HandLabels, Recording, Unit, Unusable
from tempohand.data.convert.read import need
from tempohand.skeleton import FINGERS, JOINT_NAMES, NUM_JOINTS

FRAMES_PER_SECOND = 30  # assumed
TIPS = [JOINT_NAMES.index(f"{finger}_tip") for finger in FINGERS]
HAND_MM = 180.0  # the edge of the box
MOST_APART = 10.0  # px of the depth picture, between 2D and projected 3D tips, the median of a sequence


class Cameras(NamedTuple):
    """depth: that of the 2D tips. colour: that of the pictures, X_colour = R X_depth + t (mm) with motion =
    [R | t]. axes: signs that make the file's x, y, z OpenCV's."""

    depth: Camera
    colour: Camera
    motion: Float[np.ndarray, "3 4"]
    axes: Float[np.ndarray, "3"]


class Dexter(Converter):
    """Split: test. Fingertips (3D, and 2D as their projection) of left hands; the wrist is not known."""

    licence = "research only, see the page"
    box_source = f"a square of {HAND_MM:.0f} mm around the true tips; none is published"
    sequences: ClassVar[tuple[str, ...]]
    files: ClassVar[tuple[str, str]]  # of the 2D and the 3D tips, below data/<sequence>
    cameras: ClassVar[Cameras]

    @property
    def missing(self) -> str:
        return f"has no data/{self.sequences[0]}/color: unpack {self.title} there"

    def find_units(self) -> Iterator[Unit]:
        for name in self.sequences:
            folder = self.root / "data" / name / "color"
            if folder.is_dir():
                yield Unit(name, len(list(folder.iterdir())), ("test",))

    def open(self, unit: Unit) -> Recording:
        folder = self.root / "data" / unit.key
        pictures = sorted((folder / "color").iterdir())
        tips2d, tips = (_read(folder / file.format(unit.key), size) for file, size in zip(self.files, (2, 3)))
        if not len(tips2d) == len(tips) == len(pictures):
            raise Unusable(
                "damaged annotation",
                f"{len(pictures)} pictures, {len(tips2d)} lines of 2D and {len(tips)} of 3D tips",
            )
        tips[(np.abs(tips[..., 2]) < 1e-6) | (tips[..., 2] > 32000)] = np.nan
        tips2d[(tips2d < 0).any(-1)] = np.nan
        tips *= self.cameras.axes
        self._check(tips2d, tips)

        def frame(number: int) -> Frame:
            hand = self._hand(tips[number])
            time = number / FRAMES_PER_SECOND
            return Frame(pictures[number], unit.key, unit.key, number, [hand], self.cameras.colour, time)

        return Recording(range(len(tips)), frame)

    def _check(self, tips2d: Float[np.ndarray, "n 5 2"], tips: Float[np.ndarray, "n 5 3"]) -> None:
        """Raises Unusable where the 3D tips are not projected to the 2D ones (px of the depth picture)."""
        distance = np.linalg.norm(self.cameras.depth.project(tips) - tips2d, axis=-1)
        apart = np.median(distance[np.isfinite(distance)]) if np.isfinite(distance).any() else 0.0
        if apart > MOST_APART:
            raise Unusable(
                "2D and 3D tips disagree",
                f"by {apart:.0f} px in the depth picture: another calibration, or other axes?",
            )

    def _hand(self, tips: Float[np.ndarray, "5 3"]) -> HandLabels:
        """The hand in the colour camera, of its tips in the depth camera's space."""
        motion, colour = self.cameras.motion, self.cameras.colour
        joints = np.full((NUM_JOINTS, 3), np.nan)
        joints[TIPS] = tips @ motion[:, :3].T + motion[:, 3]
        known = joints[np.isfinite(joints).all(1)]
        if not len(known):
            raise Unusable("no annotation", "no fingertip is known")
        pixels = colour.project(known)
        centre = (pixels.min(0) + pixels.max(0)) / 2
        half_hand = colour.focal.mean() * HAND_MM / 2 / known[:, 2].mean()
        half = max(half_hand, np.ptp(pixels, axis=0).max() / 2)
        return HandLabels(False, joints, box=np.concatenate([centre - half, centre + half]))


class DexterObject(Dexter):
    name = "dexter_object"
    title = "Dexter+Object"
    url = "https://handtracker.mpi-inf.mpg.de/projects/RealtimeHO/dexter+object.htm"
    sequences = ("Grasp1", "Grasp2", "Occlusion", "Pinch", "Rigid", "Rotate")
    files = ("annotations/{}2D.txt", "annotations/{}3D.txt")
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


class EgoDexter(Dexter):
    name = "egodexter"
    title = "EgoDexter"
    url = "https://handtracker.mpi-inf.mpg.de/projects/OccludedHands/EgoDexter.htm"
    sequences = ("Desk", "Fruits", "Kitchen", "Rotunda")
    files = ("annotation.txt", "annotation.txt_3D.txt")
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


def _read(path: Path, size: int) -> Float[np.ndarray, "n 5 size"]:
    """Lines of five entries of `size` numbers; an empty entry is unknown (nan)."""
    lines = need(path, "the tips of the sequence").read_text(encoding="utf-8").splitlines()
    values = [
        [re.findall(r"[^\s,]+", entry) or ["nan"] * size for entry in line.split(";")[: len(TIPS)]]
        for line in lines
        if line.strip()
    ]
    return np.array(values, float).reshape(-1, len(TIPS), size)
