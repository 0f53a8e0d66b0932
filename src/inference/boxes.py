"""Where the hands are, as the user says it: a file with boxes, or one box for every frame.

A box is xyxy in px of the upright picture and bounds the hand's 21 joints, seen or not, without a margin:
what training labels have. The crop adds its own.
"""

import csv
import json
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from jaxtyping import Float

from tempohand.inference.resolution import rescale, scale_between
from tempohand.inference.source import Source, SourceFrame
from tempohand.inference.tracker import Detection

_SIDES = {"right": True, "left": False}


def check_box(box: Float[np.ndarray, "4"], size: tuple[int, int], where: str) -> None:
    """Raises ValueError, naming `where`, for a box that is not finite, has no area, or lies wholly outside a
    picture of `size` (W, H)."""
    x0, y0, x1, y1 = (float(value) for value in box)
    shown = f"({x0:g}, {y0:g}, {x1:g}, {y1:g})"
    if not np.isfinite(box).all():
        raise ValueError(f"{where}: the box {shown} is not four finite numbers")
    if x1 <= x0 or y1 <= y0:
        raise ValueError(
            f"{where}: the box {shown} has no area; a box is x0,y0,x1,y1 with x0 < x1 and y0 < y1"
        )
    width, height = size
    if x1 < 0 or y1 < 0 or x0 > width - 1 or y0 > height - 1:
        raise ValueError(f"{where}: the box {shown} lies outside the picture of {width} x {height} px")


class ConstantBox:
    """One box for every frame. In a sequence it is in pixels of the first picture, and scaled with the same
    view's resolution (resolution.py)."""

    verified = True  # it is taken at its word

    def __init__(self, box: Float[np.ndarray, "4"]):
        self.box = np.asarray(box, np.float64)
        self._first: tuple[int, int] | None = None  # size of a sequence's first picture

    @classmethod
    def parse(cls, text: str) -> "ConstantBox":
        """From "x0,y0,x1,y1". Raises ValueError."""
        try:
            values = [float(part) for part in text.split(",")]
        except ValueError:
            values = []
        if len(values) != 4:
            raise ValueError(f"`box` is four numbers x0,y0,x1,y1 in pixels, not '{text}'")
        return cls(np.array(values))

    def check(self, source: Source) -> None:
        """Raises ValueError where the box does not fit the input's pictures."""
        if source.size is not None:
            check_box(self.box, source.size, "`box`")
        self._first = None if source.independent else source.size

    def detect(self, frame: SourceFrame) -> list[Detection]:
        """The hands of a frame."""
        scale = None if self._first in (None, frame.size) else scale_between(self._first, frame.size)
        box = self.box if scale is None else rescale(self.box, scale)
        check_box(box, frame.size, f"`box` in {frame.name}")
        return [Detection(box, hand=0)]


class FileBoxes:
    """Boxes read from a file: .npz (one hand, one row a frame), .json or .csv (any number of hands a frame).
    docs/predict.md has the formats.

    rows: frame (index, or name of a folder's picture) -> its hands. length: number of frames that the file
    speaks of, None where it does not say.
    """

    verified = True  # they are taken at their word

    def __init__(self, path: Path, rows: dict[int | str, list[Detection]], length: int | None = None):
        self.path = path
        self.rows = rows
        self.length = length

    @classmethod
    def read(cls, path: str | Path) -> "FileBoxes":
        """Raises FileNotFoundError or ValueError naming the file, the place in it and what is wrong."""
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"there is no boxes file '{path}'")
        readers = {".npz": _read_npz, ".json": _read_json, ".csv": _read_csv}
        reader = readers.get(path.suffix.lower())
        if reader is None:
            raise ValueError(f"the boxes file '{path}' is none of {', '.join(readers)}")
        boxes = reader(path)
        if not boxes.rows:
            raise ValueError(f"the boxes file '{path}' has no box in any frame: there is no hand to predict")
        return boxes

    def check(self, source: Source) -> None:
        """Holds the file against the input. Raises ValueError for frames that the input lacks and for boxes
        that its pictures cannot have."""
        names = {name: index for index, name in enumerate(source.names)}
        for frame in [frame for frame in self.rows if isinstance(frame, str)]:
            if frame not in names:
                raise ValueError(
                    f"the boxes file '{self.path}' speaks of '{frame}', which is not a picture of "
                    f"'{source.path}'"
                )
            self.rows.setdefault(names[frame], []).extend(self.rows.pop(frame))
        expected = source.expected_count
        if expected is None or self._in_doubt(expected):
            expected = source.count()
        self.check_count(expected, source.incomplete is not None)
        if source.size is not None:
            for frame, detections in self.rows.items():
                for detection in detections:
                    check_box(detection.box, source.size, f"boxes file '{self.path}', frame {frame}")

    def _in_doubt(self, expected: int) -> bool:
        """Whether what a video's header says of its length disagrees with the file: then counting is worth a
        decoding pass."""
        return expected != self.length if self.length is not None else max(self.rows) >= expected

    def check_count(self, count: int, incomplete: bool = False) -> None:
        """Raises ValueError where the file does not fit an input of `count` frames; more rows than frames fit
        an `incomplete` one."""
        if incomplete and (self.length is None or self.length > count):
            return
        if self.length is not None and self.length != count:
            raise ValueError(
                f"the boxes file '{self.path}' has {self.length} rows for {count} frames: it needs one "
                "row a frame"
            )
        if max(self.rows) >= count:
            raise ValueError(
                f"the boxes file '{self.path}' speaks of frame {max(self.rows)}, the input has frames 0 "
                f"to {count - 1}"
            )

    def detect(self, frame: SourceFrame) -> list[Detection]:
        """The hands of a frame."""
        detections = self.rows.get(frame.index, [])
        for detection in detections:
            check_box(detection.box, frame.size, f"boxes file '{self.path}', {frame.name}")
        return detections


def _read_npz(path: Path) -> FileBoxes:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("box_xyxy", "detected", "is_right") if name in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"the boxes file '{path}' is not a readable .npz file ({error})") from error
    if "box_xyxy" not in arrays:
        raise ValueError(f"the boxes file '{path}' has no array box_xyxy [frames, 4]")
    boxes = arrays["box_xyxy"]
    if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.dtype.kind not in "fiu":
        raise ValueError(
            f"box_xyxy of the boxes file '{path}' is {boxes.dtype} {list(boxes.shape)}, expected numbers "
            "[frames, 4]"
        )
    boxes, count = boxes.astype(np.float64), len(boxes)
    detected = arrays.get("detected", np.isfinite(boxes).all(axis=1))
    if detected.shape != (count,):
        raise ValueError(
            f"the boxes file '{path}': detected has shape {list(detected.shape)}, box_xyxy has {count} rows"
        )
    is_right = arrays.get("is_right")
    if is_right is not None and is_right.shape not in ((), (count,)):
        raise ValueError(
            f"the boxes file '{path}': is_right has shape {list(is_right.shape)}, expected one value or "
            f"{count}"
        )
    sides = [None] * count if is_right is None else np.broadcast_to(is_right.astype(bool), count).tolist()
    rows = {
        index: [Detection(boxes[index], sides[index], hand=0)]
        for index in np.flatnonzero(detected.astype(bool)).tolist()
    }
    return FileBoxes(path, rows, length=count)


def _read_json(path: Path) -> FileBoxes:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"the boxes file '{path}' is not JSON ({error})") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(
            f'the boxes file \'{path}\' is not a list of {{"frame": ..., "box": [x0, y0, x1, y1]}}'
        )
    parsed = []
    for number, entry in enumerate(entries):
        where = f"entry {number} of the boxes file '{path}'"
        box = entry.get("box")
        if not isinstance(box, list) or len(box) != 4:
            raise ValueError(f"{where} has no box of four numbers")
        parsed.append((where, entry.get("frame"), box, entry.get("side"), entry.get("hand")))
    return _collect(path, parsed)


def _read_csv(path: Path) -> FileBoxes:
    try:
        lines = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines(), skipinitialspace=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"the boxes file '{path}' is not a CSV text ({error})") from error
    parsed = []
    for number, line in enumerate(lines, start=2):
        where = f"line {number} of the boxes file '{path}'"
        missing = [name for name in ("frame", "x0", "y0", "x1", "y1") if line.get(name) is None]
        if missing or None in line:
            raise ValueError(
                f"{where} does not fit: the first line names the columns "
                "frame,x0,y0,x1,y1[,side[,hand]], every other has as many values"
            )
        parsed.append(
            (
                where,
                line["frame"],
                [line[name] for name in ("x0", "y0", "x1", "y1")],
                line.get("side"),
                line.get("hand"),
            )
        )
    return _collect(path, parsed)


def _collect(path: Path, parsed: list[tuple]) -> FileBoxes:
    rows, sides = defaultdict(list), {}
    for where, frame, box, side, hand in parsed:
        try:
            values = np.array([float(value) for value in box])
        except (TypeError, ValueError):
            raise ValueError(f"{where}: the box {box} is not four numbers") from None
        frame = _whole_or_name(frame, f"{where}: frame")
        hand = _whole(hand, f"{where}: hand") if hand not in (None, "") else None
        if side not in (None, "", *_SIDES):
            raise ValueError(f"{where}: side is 'right' or 'left', not '{side}'")
        is_right = _SIDES.get(side)
        if hand is not None and any(other.hand == hand for other in rows[frame]):
            raise ValueError(f"{where}: hand {hand} has a second box in frame {frame}")
        if hand is not None and is_right is not None and sides.setdefault(hand, is_right) != is_right:
            raise ValueError(
                f"{where}: hand {hand} is {side} here and the other side before; give it another number"
            )
        rows[frame].append(Detection(values, is_right, hand))
    return FileBoxes(path, dict(rows))


def _whole_or_name(value, what: str) -> int | str:
    """As `_whole`, or any other text, which is a name."""
    if isinstance(value, str) and value and not value.isdecimal():
        return value
    return _whole(value, what, " or the name of a picture")


def _whole(value, what: str, otherwise: str = "") -> int:
    """A whole number from 0, given as a number or as its text."""
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError(f"{what} is a whole number from 0{otherwise}, not {value!r}")
