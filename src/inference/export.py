"""Predictions as files: .npz with everything, strict .json without vertices, and meshes as .obj.

Memory holds a part of the rows at a time, however many there are: they are kept in files of raw values until
the run is over.
"""

import json
import math
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from tempohand.inference.predictor import HandEstimate
from tempohand.media.incomplete import Incomplete
from tempohand.skeleton import JOINT_NAMES

PREDICTIONS = "predictions.npz"
FORMAT = "tempohand-predictions-1"
CONVENTIONS = (
    "One row per hand and frame, ordered by frame. Camera space is OpenCV's (x right, y down, z "
    "forward) of the upright picture, in mm; "
    "its camera is focal (fx, fy) and princpt (cx, cy) in pixels. Integer pixel coordinates are pixel "
    "centres; boxes are xyxy. "
    f"joints are 21 in OpenPose order ({', '.join(JOINT_NAMES)}). "
    "pose is absolute axis-angle (global orientation, then 15 joints in MANO order), shape is betas, "
    "trans is the wrist. "
    "A left hand's values are those of the left hand: mirror its pose by (x, -y, -z) and its points by "
    "x -> -x for a right-hand model. "
    "faces are wound to look outward for right hands; reverse each for left ones. "
    "rotations are of MANO's 16 joints against camera space. "
    "confidence is the probability that a joint lies within a tenth of the longer edge of the hand's box of "
    "its true place in the picture (nan: the network was not calibrated). "
    "hand_id stays while a hand is followed; history counts the frames that an estimate rests on."
)
_LONG = {"vertices", "rotations"}  # left out of the JSON: the pose says it, too
_ROWS_AT_ONCE = 64  # on their way into a file
# name in the files -> attribute of HandEstimate
_COLUMNS = {
    "frame": "frame",
    "time": "time",
    "hand_id": "hand",
    "is_right": "is_right",
    "history": "history",
    "image_size": "image_size",
    "box": "box",
    "focal": "focal",
    "princpt": "princpt",
    "pose": "pose",
    "shape": "shape",
    "trans": "trans",
    "joints": "joints",
    "joints2d": "joints2d",
    "vertices": "vertices",
    "rotations": "rotations",
    "confidence": "confidence",
}


class Rows:
    """Estimates as columns, appended as they come and kept in files: one of raw values per column, in a
    folder of their own inside `folder`.

    count, kinds: of rows that an earlier run has left there (`len`, `kinds`); further ones are cut off. Use
    as a context manager; the files are gone when it ends well.
    """

    def __init__(self, folder: str | Path, count: int = 0, kinds: Mapping[str, Sequence] | None = None):
        self._place = Path(folder) / ".rows"
        self._place.mkdir(exist_ok=True)
        # dtype and shape of a row
        self._kinds = {name: (np.dtype(kind), tuple(shape)) for name, (kind, shape) in (kinds or {}).items()}
        self._count = count
        self._files = {name: (self._place / name).open("ab") for name in _COLUMNS}
        for name, file in self._files.items():
            file.truncate(count * self._bytes(name))

    def __enter__(self) -> "Rows":
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.close()
        if kind is None:
            shutil.rmtree(self._place)

    def __len__(self) -> int:
        return self._count

    @property
    def kinds(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Of each column the type and the shape of a row, as plain values."""
        return {name: (kind.str, shape) for name, (kind, shape) in self._kinds.items()}

    def append(self, estimates: Sequence[HandEstimate]) -> None:
        """One row for every estimate. Raises OSError when the disk is full."""
        for estimate in estimates:
            for name, attribute in _COLUMNS.items():
                value = np.asarray(getattr(estimate, attribute))
                assert self._kinds.setdefault(name, (value.dtype, value.shape)) == (
                    value.dtype,
                    value.shape,
                ), name
                self._files[name].write(value.tobytes())
            self._count += 1

    def flush(self) -> None:
        """Has the disk take the rows. Raises OSError."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Lets go of the files, which stay."""
        for file in self._files.values():
            file.close()

    def columns(self) -> dict[str, np.ndarray]:
        """The columns [rows, ...] so far, named as in the files; they are read from the disk where they are
        looked at."""
        assert self._count, "a run without a hand has nothing to export"
        for file in self._files.values():
            file.flush()
        return {
            name: np.memmap(self._files[name].name, dtype, mode="r", shape=(self._count, *shape))
            for name, (dtype, shape) in self._kinds.items()
        }

    def _bytes(self, name: str) -> int:
        """Of a row in a column."""
        kind, shape = self._kinds.get(name, (np.dtype(np.uint8), ()))
        return kind.itemsize * math.prod(shape)


def estimates_of(columns: Mapping[str, np.ndarray], frame: int) -> list[HandEstimate]:
    """A frame's rows as they were appended."""
    first, end = np.searchsorted(columns["frame"], [frame, frame + 1])
    names = {name: attribute for name, attribute in _COLUMNS.items() if name != "rotations"}
    return [
        HandEstimate(
            **{attribute: _value(np.asarray(columns[name][row])) for name, attribute in names.items()}
        )
        for row in range(first, end)
    ]


def _value(stored: np.ndarray) -> Any:
    """A row's value of a column: numbers as Python's, pairs of whole numbers as tuples."""
    if not stored.shape:
        return stored.item()
    return tuple(stored.tolist()) if stored.dtype.kind == "i" else np.array(stored)


def write_npz(
    path: Path, columns: Mapping[str, np.ndarray], faces: Int[np.ndarray, "f 3"], about: dict
) -> None:
    """Every column, `faces`, and what `about` (see `describe`) says; strings and numbers as 0-d arrays, an
    unknown number as nan.

    What `np.savez_compressed` would write, but columns that lie on the disk are copied part by part.
    """
    scalars = {
        name: np.array(np.nan if value is None else value) for name, value in about.items() if name != "names"
    }
    arrays = {
        **columns,
        "faces": np.asarray(faces, np.int32),
        "names": np.array(about["names"], dtype=np.str_),
        **scalars,
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(values))
                for part in _parts(np.atleast_1d(values)):
                    file.write(part.tobytes())


def write_json(path: Path, columns: Mapping[str, np.ndarray], about: dict) -> None:
    """`about` and a list `hands` with one object per row, without vertices and rotations. Strict JSON: no
    NaN, numbers that give the same float32 back."""
    head = json.dumps({**about, "hands": []}, allow_nan=False)
    with path.open("w", encoding="utf-8") as file:
        file.write(head.removesuffix("]}"))
        for number, hand in enumerate(_hands(columns)):
            file.write(", " * (number > 0) + json.dumps(hand, allow_nan=False))
        file.write("]}")


def _hands(columns: Mapping[str, np.ndarray]) -> Iterator[dict]:
    """Each row as an object of plain values, without what is long or unknown."""
    unknown = {"confidence"} if np.isnan(columns.get("confidence", 0)).any() else set()
    kept = {name: values for name, values in columns.items() if name not in _LONG | unknown}
    for parts in zip(*map(_parts, kept.values())):
        yield from (dict(zip(kept, row)) for row in zip(*map(_plain, parts)))


def _parts(values: np.ndarray) -> Iterator[np.ndarray]:
    """Some rows at a time. Of a column on the disk they are read, not mapped: what is mapped counts as memory
    of the process as long as nobody else needs it."""
    shape = values.shape[1:]
    for first in range(0, len(values), _ROWS_AT_ONCE):
        count = min(_ROWS_AT_ONCE, len(values) - first)
        if isinstance(values, np.memmap):
            assert values.filename is not None, "it was opened by its name"
            place = values.offset + first * math.prod(shape) * values.itemsize
            part = np.fromfile(values.filename, values.dtype, count * math.prod(shape), offset=place)
            yield part.reshape(count, *shape)
        else:
            yield values[first : first + count]


def write_obj(path: Path, vertices: np.ndarray, faces: Int[np.ndarray, "f 3"]) -> None:
    """One mesh, camera space in mm, as Wavefront OBJ."""
    lines = [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in vertices] + [
        f"f {a} {b} {c}" for a, b, c in np.asarray(faces) + 1
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def describe(
    source: str,
    names: list[str],
    num_frames: int,
    fps: Fraction | float | int | None,
    incomplete: Incomplete | None = None,
) -> dict:
    """What the files say besides the hands: the input's file name, its frames' names (a folder's), their
    number and rate.

    incomplete: what of the input could not be read. Of an input that was read wholly nothing is said of this.
    """
    rate = None if fps is None else float(fps)
    about = {
        "format": FORMAT,
        "conventions": CONVENTIONS,
        "source": source,
        "num_frames": num_frames,
        "fps": rate,
        "names": names,
    }
    if incomplete is None:
        return about
    return about | {
        "incomplete": incomplete.reason,
        "announced_frames": incomplete.announced,
        "decoded_frames": incomplete.decoded,
    }


def _plain(values: np.ndarray) -> list:
    """Nested lists of Python numbers; float32 in its own shortest digits rather than in float64's."""
    return (
        values.astype(np.str_).astype(np.float64).tolist() if values.dtype == np.float32 else values.tolist()
    )
