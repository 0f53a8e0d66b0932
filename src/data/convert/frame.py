"""What a converter gives of a data set: units of work, their frames, and each frame's hands.

Everything is in the project's own terms already: millimetres, OpenCV camera space, pixels of the picture with
integers at pixel centres, joints in OpenPose order. What is not known is None, or nan within an array.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8

from tempohand.data.convert.mano import ManoHands, ManoParameters, check_shapes
from tempohand.skeleton import NUM_JOINTS


class Unusable(ValueError):
    """A frame, a hand or a whole recording that cannot become rows: a short `reason` to count by, and what
    exactly is wrong."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class HandLabels:
    """One hand in one picture. Raises ValueError for an array of another shape."""

    is_right: bool
    joints: Float[np.ndarray, "21 3"] | None = None  # mm, camera space; nan where unknown
    joints2d: Float[np.ndarray, "21 2"] | None = None  # px; nan where unknown. None: the projected 3D joints
    parameters: ManoParameters | None = None
    box: Float[np.ndarray, "4"] | None = None  # xyxy px. None: the bounds of the known 2D joints
    hidden: float = float("nan")  # fraction of the hand that something covers
    mask: Bool[np.ndarray, "h w"] | None = None  # the picture's pixels in which the hand is seen

    def __post_init__(self):
        check_shapes(self, joints=(NUM_JOINTS, 3), joints2d=(NUM_JOINTS, 2), box=(4,))

    @property
    def side(self) -> str:
        return "right" if self.is_right else "left"


@dataclass(frozen=True)
class Camera:
    """A pinhole camera, px of the picture that it comes with, OpenCV axes. known: False where it is a guess;
    rows then say that they have none."""

    focal: Float[np.ndarray, "2"]
    princpt: Float[np.ndarray, "2"]
    known: bool = True

    @classmethod
    def of_matrix(cls, matrix) -> "Camera":
        """From K [3, 3]. Raises Unusable when it is none (skew, a last row other than 0 0 1, focal lengths
        that are not positive)."""
        k = np.asarray(matrix, float)
        fine = k.shape == (3, 3) and np.isfinite(k).all() and k[0, 0] > 0 and k[1, 1] > 0
        if not (
            fine
            and abs(k[0, 1]) < 1e-3 * k[0, 0]
            and np.allclose(k[[1, 2, 2, 2], [0, 0, 1, 2]], [0, 0, 0, 1], atol=1e-6)
        ):
            raise Unusable("no camera", f"K is {k.tolist()}")
        return cls(np.array([k[0, 0], k[1, 1]]), k[:2, 2].copy())

    @classmethod
    def of_values(cls, fx: float, fy: float, cx: float, cy: float) -> "Camera":
        """From focal lengths and principal point, px. Raises Unusable as `of_matrix` does."""
        return cls.of_matrix([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])

    def project(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 2"]:
        """Pixels of points in camera space; nan for unknown points and those behind the camera."""
        with np.errstate(all="ignore"):
            pixels = points[..., :2] / points[..., 2:] * self.focal + self.princpt
        return np.where(points[..., 2:] > 0, pixels, np.nan)


@dataclass(frozen=True)
class Frame:
    """One picture with its hands. Sequences get the hand's side appended ("<sequence>/right"): each hand is a
    sequence of its own.

    recording: what was filmed at once. Hands of one picture, synchronous cameras and pictures that were made
    of one belong to one recording, since their errors are not independent of each other: evaluation draws
    recordings.
    """

    # a file below the data set's root, an encoded picture, or a decoded one (RGB)
    picture: Path | bytes | UInt8[np.ndarray, "h w 3"]
    sequence: str
    recording: str
    number: int
    hands: Sequence[HandLabels]
    camera: Camera | None
    time: float = 0.0  # s; 0 for single pictures, which are sequences of one frame
    depth: Float[np.ndarray, "h w"] | None = None  # of the picture's pixels, mm; 0: not measured


@dataclass(frozen=True)
class Unit:
    """A piece of work that stays together: whole sequences, or a stretch of single pictures.

    `key` is unique in the data set; `size` is how many pictures it has, more or less; `splits` are all those
    that it belongs to; `payload` is the converter's own and goes to the process that works on it.
    """

    key: str
    size: int
    splits: tuple[str, ...]
    payload: Any = field(default=None, compare=False)


PER_UNIT = 500  # single pictures of a unit


def batches(pictures: Sequence) -> Iterator[Sequence]:
    """Single pictures, PER_UNIT at a time."""
    return (pictures[first : first + PER_UNIT] for first in range(0, len(pictures), PER_UNIT))


@dataclass(frozen=True)
class Recording:
    """An opened unit: the numbers of its pictures, and what reads one of them with its hands.

    `frame` raises Unusable; the errors of damaged files (read.DAMAGE) are counted as such, too.
    """

    numbers: Sequence[int]
    frame: Callable[[int], Frame]


TRUE_BOUNDS = "bounds of the true joints"


class Converter(ABC):
    """A data set in its original folder. Made anew in every process from the same arguments: reading belongs
    into the methods.

    root: the data set's folder. hands: the hand model that its annotations were made with, None: not given,
    then parameters that need it are left out. Options (keyword arguments) are those of the class's own
    `__init__`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    licence: ClassVar[str]
    url: ClassVar[str]
    missing: str  # what a folder without any unit lacks, and the remedy: "'<root>' <missing>"
    # the form of the left hand's shape directions that the annotations were made with
    left_shapedirs: ClassVar[Literal["fixed", "unfixed"]] = "fixed"
    # What residuals a right conversion has at most (docs/data.md), the median over rows; None where the data
    # set has nothing of its own to compare, as where the 2D joints are the projected 3D ones.
    reprojection_px: ClassVar[float | None] = None  # of the stored 2D joints from the projected 3D ones
    pose_mm: ClassVar[float | None] = None  # of the hand parameters' joints from the stored ones
    # where the boxes of rows come from, in words
    box_source: ClassVar[str] = TRUE_BOUNDS
    # the hand model whose parameters the rows hold, where they hold any: "mano" or "open"; None: not known
    parameters_of: str | None = "mano"

    def __init__(self, root: Path, hands: ManoHands | None = None):
        self.root, self.hands = root, hands

    def units(self) -> list[Unit]:
        """All work, in the official order. Raises FileNotFoundError or ValueError, one line, when the folder
        is not the data set's."""
        if units := list(self.find_units()):
            return units
        raise FileNotFoundError(f"'{self.root}' {self.missing}")

    @abstractmethod
    def find_units(self) -> Iterable[Unit]:
        """The units that the folder has, in the official order; raises as `units`."""

    @abstractmethod
    def open(self, unit: Unit) -> Recording:
        """Reads what the pictures of a unit share. Raises Unusable when nothing of it can be used."""

    def boxes_of(self, split: str) -> str:
        """Where the boxes of a split's rows come from: recorded in the table and printed by evaluations."""
        return self.box_source

    def notes(self) -> list[str]:
        """What else a user should know of a conversion, a line each; asked after `units`."""
        return []

    def official_order(self) -> dict[str, list[tuple[str, int]]]:
        """split -> (sequence with its side, frame number) of every sample in the order of the official
        evaluation, where there is one."""
        return {}


# Whose boxes rows of an official evaluation have: those that the data set gives out for it, or, asked for by
# name, the bounds of the joints that are to be found.
OFFICIAL, TRUTH = BOXES = ("official", "truth")


class OfficialBoxes(Converter):
    """A data set that gives out boxes for one of its splits.

    boxes: of that split, "official" or "truth": the bounds of its true joints, which no entrant has.
    """

    boxed_split: ClassVar[str] = "evaluation"
    official_source: ClassVar[str]  # in words, as `box_source`

    def __init__(self, root: Path, hands: ManoHands | None = None, *, boxes: str = OFFICIAL):
        super().__init__(root, hands)
        if boxes not in BOXES:
            raise ValueError(f"options.boxes: '{boxes}' is neither {OFFICIAL} (the default) nor {TRUTH}")
        self.boxes = boxes

    def has_official_boxes(self, split: str) -> bool:
        return (split, self.boxes) == (self.boxed_split, OFFICIAL)

    def boxes_of(self, split: str) -> str:
        return self.official_source if self.has_official_boxes(split) else self.box_source
