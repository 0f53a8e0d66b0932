"""One's own pictures, with joints that somebody marked in a labelling tool: what its formats have in common.

A format says what was marked in each picture (own_marks.py); names, sides, orders, files, sequences and
splits are treated alike here.
"""

import hashlib
import re
from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float

from tempohand.data.convert.frame import (
    Camera,
    Converter,
    Frame,
    HandLabels,
    Recording,
    Unit,
    Unusable,
    batches,
)
from tempohand.data.convert.joint_names import JointNames, side_of
from tempohand.data.convert.joint_order import LEAST_HANDS, TITLES, check_order, gather_of
from tempohand.data.convert.own_marks import MarkedHand, MarkedPicture
from tempohand.data.convert.own_pictures import OwnPictures, VideoFrames
from tempohand.data.convert.read import need
from tempohand.media.exif import read_file
from tempohand.skeleton import NUM_JOINTS

SIDES = {"right": True, "left": False}
LOOKED_AT = 1000  # hands that the order of joints is told by
_NUMBER = re.compile(r"(\d+)\D*$")


class Entry(NamedTuple):
    """A hand of a picture, and where it stands in the table."""

    picture: MarkedPicture
    hand: MarkedHand
    is_right: bool | None  # None: nothing tells
    file: str | None  # below the root; None: there is none
    sequence: str
    recording: str
    number: int  # of the frame


class OwnLabels(Converter):
    """Splits: train, and val: every fifth recording. A folder of pictures is a recording; where all lie in
    one folder every picture is one.

    names: a file that says which joint a label is. order: of the joints, a name of joint_order.GATHERS;
    null: OpenPose's, and refused where the joints clearly lie otherwise. side: of hands whose labels do not
    tell. focal: of every picture, px; null: what its EXIF says, or unknown. frames: what the pictures are
    frames of, a rate a second (names end in numbers that count at it, a folder is a sequence) or a video's
    file (names end in its frames' numbers from 0); null: single pictures. held_out: every so manieth
    recording is for validation, 0: none."""

    licence = "your own"
    url = "docs/own_data.md"
    box_source = "bounds of the marked joints; where some are missing, the marked box"
    # px that the format's coordinates count beyond pixel centres: 0.5 where (0, 0) is the picture's corner
    corner: ClassVar[float] = 0.0

    def __init__(
        self,
        root: Path,
        hands=None,
        *,
        names: str | None = None,
        order: str | None = None,
        side: str | None = None,
        focal: float | None = None,
        frames: float | str | None = None,
        held_out: int = 5,
    ):
        super().__init__(root, hands)
        if side not in (None, *SIDES):
            raise ValueError(f"options.side: '{side}' is neither right nor left")
        if focal is not None and not (np.isfinite(focal) and focal > 0):
            raise ValueError(f"options.focal is a positive number of pixels, not {focal}")
        if isinstance(frames, int | float) and not (np.isfinite(frames) and frames > 0):
            raise ValueError(
                f"options.frames is a positive number of frames a second, or a file, not {frames}"
            )
        self.joint = JointNames(names)
        self.side, self.focal = side, focal
        self.held_out = held_out
        self.gather, self.order_given = gather_of(order or "openpose"), order is not None
        self.fps = frames if isinstance(frames, int | float) else None
        self.video = need(Path(frames), "options.frames") if isinstance(frames, str) else None
        self._looked_at = 0  # hands that the order was told by

    @abstractmethod
    def label_files(self) -> Iterable[Path]:
        """The files of labels below the root, sorted."""

    @abstractmethod
    def marked(self, path: Path) -> Iterator[MarkedPicture]:
        """The pictures of a file of labels. Raises ValueError, one line, where it is damaged."""

    # ----- all hands of all pictures ------------------------------------------------------------------------

    def find_units(self) -> Iterator[Unit]:
        entries = self._entries()
        self._check(entries)
        order = dict.fromkeys(entry.recording for entry in entries)
        held = set(list(order)[self.held_out - 1 :: self.held_out]) if self.held_out else set()
        for split, chosen in (("train", order.keys() - held), ("val", held)):
            numbers = [number for number, entry in enumerate(entries) if entry.recording in chosen]
            for part in self._parts(numbers, entries):
                payload = {one: entries[one] for one in part}
                key = f"{split}/{part[0]}/{self._digest(payload.values())}"  # other labels, another table
                yield Unit(key, len(part), (split,), payload)

    def _digest(self, entries: Iterable[Entry]) -> str:
        """What is marked, in a few digits."""
        digest = hashlib.blake2b(repr(self.gather).encode(), digest_size=4)
        for entry in entries:
            marks = [(self.joint(mark.name).joint, *mark[1:]) for mark in entry.hand.marks]
            digest.update(repr((entry.file, entry.is_right, entry.hand.box, marks)).encode())
        return digest.hexdigest()

    def _parts(self, numbers: list[int], entries: list[Entry]) -> Iterable[Sequence[int]]:
        """Single pictures some at a time; of sequences each recording whole, in the order of frames."""
        if self.fps is None and self.video is None:
            return batches(numbers)
        recordings = defaultdict(list)
        for number in sorted(numbers, key=lambda one: entries[one].number):
            recordings[entries[number].recording].append(number)
        return recordings.values()

    def _entries(self) -> list[Entry]:
        files = OwnPictures(self.root)
        pictures = [picture for path in self.label_files() for picture in self.marked(path)]
        names = {mark.name for picture in pictures for hand in picture.hands for mark in hand.marks}
        self.joint.check(names, f"'{self.root}'")
        found = [(picture, *_file(files, picture.name)) for picture in pictures]
        folders = {PurePosixPath(file or picture.name).parent for picture, file, _ in found}
        seen: Counter = Counter()
        entries: list[Entry] = []
        for picture, file, problem in found:
            path = PurePosixPath(file or picture.name).with_suffix("")
            recording = str(path if len(folders) == 1 else path.parent)
            hands = [one for hand in picture.hands for one in self._by_side(hand)]
            if problem or picture.problem:
                hands = hands or [(MarkedHand(()), None)]
            for hand, is_right in hands:
                place, number = self._place(path, recording, len(entries))
                seen[place, number, is_right] += 1
                count = seen[place, number, is_right]
                sequence = place if count == 1 else f"{place}~{count}"  # another hand of that side
                known = picture if problem is None else MarkedPicture(picture.name, (), problem=problem)
                entries.append(Entry(known, hand, is_right, file, sequence, recording, number))
        return entries

    def _place(self, path: PurePosixPath, recording: str, position: int) -> tuple[str, int]:
        """(sequence, frame number) of a picture."""
        numbered = _NUMBER.search(path.name)
        if self.video is not None:
            return self.video.stem, int(numbered[1]) if numbered else -1
        if self.fps is not None:
            return str(path.parent), int(numbered[1]) if numbered else position
        return str(path), position

    def _by_side(self, hand: MarkedHand) -> Iterator[tuple[MarkedHand, bool | None]]:
        """The hand, or both hands that a person's points are; the side by names, else by the text, else as
        the option says."""
        usual = SIDES.get(self.side)
        said = side_of(hand.text)
        marks = defaultdict(list)
        for mark in hand.marks:
            if not self.joint.ignores(mark.name):
                side = self.joint(mark.name).is_right
                marks[said if side is None else side].append(mark)
        for side, own in marks.items():
            box = hand.box if len(marks) == 1 else None
            yield MarkedHand(tuple(own), hand.text, box), usual if side is None else side

    def _check(self, entries: list[Entry]) -> None:
        """Raises ValueError where the joints clearly lie in another order."""
        if self.order_given:
            return
        known = []
        for entry in entries[:LOOKED_AT]:
            try:
                known.append(self._joints(entry))
            except Unusable:
                continue  # and said when the picture's turn comes
        wrong = check_order(np.stack(known)) if known else None
        self._looked_at = len(known)
        if wrong:
            raise ValueError(
                f"the joints of '{self.root}' lie in another order than their names say: {TITLES[wrong]}; "
                f"options={{order: {wrong}}} puts them right, options={{order: openpose}} leaves them"
            )

    def notes(self) -> list[str]:
        if self.focal:
            camera = f"focal length: {self.focal:g} px, as options.focal says"
        else:
            camera = (
                "focal length: from each picture's EXIF (the column camera says of how many); "
                "options={focal: PX} is for all"
            )
        if self.order_given:
            order = "joint order: as options.order says, not checked"
        elif self._looked_at < LEAST_HANDS:
            order = f"joint order: not checked, that needs {LEAST_HANDS} hands: look at the page"
        else:
            order = f"joint order: the distances of {self._looked_at} hands' joints are OpenPose's"
        return [
            camera,
            order,
            "look before you train: tempohand inspect draws fingers in colours, with names",
        ]

    # ----- a hand -------------------------------------------------------------------------------------------

    def open(self, unit: Unit) -> Recording:
        frames = VideoFrames(self.video) if self.video else None

        def frame(number: int) -> Frame:
            entry = unit.payload[number]
            if entry.picture.problem:
                raise Unusable("damaged annotation", entry.picture.problem)
            hand = self._hand(entry)
            if frames is not None:
                time, picture = frames(entry.number)
                size, focal = picture.shape[1::-1], None
            else:
                time = 0.0 if self.fps is None else entry.number / self.fps
                picture, size, focal = self._picture(entry)
            labelled = entry.picture.size
            if labelled and size and tuple(labelled) != tuple(size):
                raise Unusable(
                    "picture of another size",
                    f"{size[0]} x {size[1]} px, labelled at {labelled[0]} x {labelled[1]}: take the picture "
                    "that was labelled",
                )
            focal = self.focal or focal
            camera = None
            if focal and size:
                camera = Camera(np.full(2, float(focal)), (np.array(size, float) - 1) / 2)
            return Frame(picture, entry.sequence, entry.recording, entry.number, [hand], camera, time)

        return Recording(list(unit.payload), frame)

    def _picture(self, entry: Entry) -> tuple[Path | bytes, tuple[int, int] | None, float | None]:
        """(picture, its size, its focal length as its file tells them)."""
        picture = self.root / entry.file if entry.file else entry.picture.content
        if picture is None:
            raise Unusable("picture missing", f"no file '{entry.picture.name}' below the folder")
        told = read_file(picture if isinstance(picture, bytes) else picture.read_bytes())
        return picture, told.size, told.focal

    def _hand(self, entry: Entry) -> HandLabels:
        joints, box = self._joints(entry), entry.hand.box
        if entry.is_right is None:
            raise Unusable(
                "no side",
                f"nothing in '{entry.hand.text}' or in its points' names says left or right: "
                "options={side: right} does for all",
            )
        known = np.isfinite(joints).all(1)
        box = None if box is None or known.all() else np.asarray(box, float) - self.corner
        hidden = [mark.hidden for mark in entry.hand.marks if mark.hidden is not None]
        share = float(np.mean(hidden)) if hidden else float("nan")
        return HandLabels(entry.is_right, joints2d=joints, box=box, hidden=share)

    def _joints(self, entry: Entry) -> Float[np.ndarray, "21 2"]:
        """px, OpenPose order, nan where not marked. Raises Unusable for a joint that is marked twice."""
        joints = np.full((NUM_JOINTS, 2), np.nan)
        for mark in entry.hand.marks:
            joint = self.joint(mark.name).joint
            if np.isfinite(joints[joint]).any():
                raise Unusable("joint marked twice", f"'{mark.name}': two hands need a group, or boxes, each")
            joints[joint] = mark.x - self.corner, mark.y - self.corner
        if not np.isfinite(joints).any():
            raise Unusable("no joints", "none is marked")
        return joints[list(self.gather)]


def _file(files: OwnPictures, name: str) -> tuple[str | None, str | None]:
    """(file, why it is not known)."""
    try:
        return files.find(name), None
    except Unusable as error:
        return None, str(error)
