"""Predictions as files: .npz with everything, strict .json without vertices, and meshes as .obj.

Files are written into a staging folder and moved to their place once everything has succeeded: a failed run leaves nothing that looks good.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Int

from tempohand.inference.predictor import HandEstimate
from tempohand.skeleton import JOINT_NAMES

FORMAT = "tempohand-predictions-1"
CONVENTIONS = (
    "One row per hand and frame, ordered by frame. Camera space is OpenCV's (x right, y down, z forward) of the upright picture, in mm; "
    "its camera is focal (fx, fy) and princpt (cx, cy) in pixels. Integer pixel coordinates are pixel centres; boxes are xyxy. "
    f"joints are 21 in OpenPose order ({', '.join(JOINT_NAMES)}). "
    "pose is absolute axis-angle (global orientation, then 15 joints in MANO order), shape is betas, trans is the wrist. "
    "A left hand's values are those of the left hand: mirror its pose by (x, -y, -z) and its points by x -> -x for a right-hand model. "
    "faces are wound to look outward for right hands; reverse each for left ones. "
    "hand_id stays while a hand is followed; history counts the frames that an estimate rests on."
)
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
}


@contextmanager
def staged(out: str | Path) -> Iterator[Path]:
    """A temporary folder beside `out`; what lies in it is moved into `out` (made if needed) when the block ends well, and removed otherwise.

    Raises NotADirectoryError when `out` is something else than a folder.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"--out '{out}' is not a folder")
    parent = out.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=parent))
    try:
        yield stage
        for file in staged_files(stage):
            target = out / file.relative_to(stage)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def staged_files(stage: Path) -> list[Path]:
    """Every file under a folder, sorted."""
    return sorted(path for path in stage.rglob("*") if path.is_file())


def tabulate(estimates: Sequence[HandEstimate]) -> dict[str, np.ndarray]:
    """Estimates as columns [rows, ...], named as in the files."""
    assert estimates, "a run without a hand has nothing to export"
    return {name: np.stack([np.asarray(getattr(estimate, attribute)) for estimate in estimates]) for name, attribute in _COLUMNS.items()}


def write_npz(path: Path, columns: dict[str, np.ndarray], faces: Int[np.ndarray, "f 3"], about: dict) -> None:
    """Every column, `faces`, and what `about` (see `describe`) says; strings and numbers as 0-d arrays, an unknown fps as nan."""
    scalars = {name: np.array(np.nan if value is None else value) for name, value in about.items() if name != "names"}
    np.savez_compressed(path, **columns, faces=np.asarray(faces, np.int32), names=np.array(about["names"], dtype=np.str_), **scalars)


def write_json(path: Path, columns: dict[str, np.ndarray], about: dict) -> None:
    """`about` and a list `hands` with one object per row, without vertices. Strict JSON: no NaN, numbers that give the same float32 back."""
    lists = {name: _plain(values) for name, values in columns.items() if name != "vertices"}
    hands = [dict(zip(lists, row)) for row in zip(*lists.values())]
    path.write_text(json.dumps({**about, "hands": hands}, allow_nan=False), encoding="utf-8")


def write_obj(path: Path, vertices: np.ndarray, faces: Int[np.ndarray, "f 3"]) -> None:
    """One mesh, camera space in mm, as Wavefront OBJ."""
    lines = [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in vertices] + [f"f {a} {b} {c}" for a, b, c in np.asarray(faces) + 1]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def describe(source: str, names: list[str], num_frames: int, fps: Fraction | float | int | None) -> dict:
    """What the files say besides the hands: the input's file name, its frames' names (a folder's), their number and rate."""
    rate = None if fps is None else float(fps)
    return {"format": FORMAT, "conventions": CONVENTIONS, "source": source, "num_frames": num_frames, "fps": rate, "names": names}


def _plain(values: np.ndarray) -> list:
    """Nested lists of Python numbers; float32 in its own shortest digits rather than in float64's."""
    return values.astype(np.str_).astype(np.float64).tolist() if values.dtype == np.float32 else values.tolist()
