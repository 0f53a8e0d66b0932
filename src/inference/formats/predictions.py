"""What exporters read: a predictions.npz as columns, checked, and each hand's rows as a track of its own."""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from tempohand.geometry import mirror_points, mirror_pose
from tempohand.hand.files import read_hand_file
from tempohand.hand.layer import HandLayer
from tempohand.hand.tables import HandTables, mirrored
from tempohand.inference.export import FORMAT

# Largest distance of a joint to the hand model's own, mm, that rounding explains; other models differ more.
SAME_MODEL_MM = 0.5
_COLUMNS = (
    *("frame", "time", "hand_id", "is_right", "image_size", "box", "focal", "princpt"),
    *("pose", "shape", "trans", "joints", "joints2d"),
)
_ABOUT = ("source", "names", "num_frames", "fps")


@dataclass(frozen=True)
class Predictions:
    """A predictions.npz without its vertices, one row per hand and frame (docs/predict.md has the columns:
    mm, px, OpenCV's camera space), and the tables of the hand model that it was made with, of a right
    hand."""

    frame: Int[np.ndarray, "n"]
    time: Float[np.ndarray, "n"]
    hand_id: Int[np.ndarray, "n"]
    is_right: Bool[np.ndarray, "n"]
    image_size: Int[np.ndarray, "n 2"]
    box: Float[np.ndarray, "n 4"]
    focal: Float[np.ndarray, "n 2"]
    princpt: Float[np.ndarray, "n 2"]
    pose: Float[np.ndarray, "n 48"]
    shape: Float[np.ndarray, "n 10"]
    trans: Float[np.ndarray, "n 3"]
    joints: Float[np.ndarray, "n 21 3"]
    joints2d: Float[np.ndarray, "n 21 2"]
    source: str
    names: list[str]
    num_frames: int
    fps: float  # nan where it is not known
    tables: HandTables

    @classmethod
    def read(cls, path: str | Path, hand: str | Path | None = None) -> "Predictions":
        """From a file of `tempohand predict`.

        hand: the hand model that the network was trained with, as `read_hand_file` takes it. Raises
        FileNotFoundError where there is no file, and ValueError for another file, one without a hand, values
        that are not finite, and joints that are not those of this hand model.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no file '{path}'")
        columns = _read_columns(path)
        for name, values in columns.items():
            if name in _COLUMNS and not (finite := np.isfinite(values)).all():
                row = int(np.argwhere(~finite)[0, 0])
                frame = columns["frame"][row]
                raise ValueError(f"'{path}': `{name}` of frame {frame} (row {row}) is not finite")
        _check_model(path, columns, hand)
        values: dict[str, Any] = {
            **columns,
            "source": str(columns["source"]),
            "names": columns["names"].tolist(),
            "num_frames": int(columns["num_frames"]),
            "fps": float(columns["fps"]),
        }
        return cls(**values, tables=read_hand_file(hand, side="right"))

    def beside(self, path: str | Path) -> Path | None:
        """The input that they are of, where a file or folder of its name lies in the folder of `path`, their
        own file, or in the one above it."""
        folder = Path(path).resolve().parent
        places = (folder / self.source, folder.parent / self.source)
        return next((place for place in places if self.source and place.exists()), None)

    def tracks(self) -> list["HandTrack"]:
        """Every hand's rows, in the order of frames, by number; a number that has both sides is two."""
        both = 2 * self.hand_id.astype(np.int64) + ~self.is_right
        return [self._track(np.flatnonzero(both == one)) for one in np.unique(both)]

    def _track(self, rows: np.ndarray) -> "HandTrack":
        rows = rows[np.argsort(self.frame[rows], kind="stable")]
        return HandTrack(
            hand_id=int(self.hand_id[rows[0]]),
            is_right=bool(self.is_right[rows[0]]),
            **{name: getattr(self, name)[rows] for name in ("frame", "time", "pose", "trans", "joints")},
            shape=self.shape[rows].mean(axis=0, dtype=np.float64),
            tables=self.tables if self.is_right[rows[0]] else mirrored(self.tables),
        )


@dataclass(frozen=True)
class HandTrack:
    """One hand over time: its rows of Predictions, its mean shape, and the tables of a hand of its side."""

    hand_id: int
    is_right: bool
    frame: Int[np.ndarray, "n"]
    time: Float[np.ndarray, "n"]
    pose: Float[np.ndarray, "n 48"]
    trans: Float[np.ndarray, "n 3"]
    joints: Float[np.ndarray, "n 21 3"]
    shape: Float[np.ndarray, "10"]
    tables: HandTables

    @property
    def name(self) -> str:
        """As in hand0_right."""
        return f"hand{self.hand_id}_{'right' if self.is_right else 'left'}"

    def stretches(self) -> Iterator[slice]:
        """The rows of frames that follow each other without a gap."""
        cuts = np.flatnonzero(np.diff(self.frame) != 1) + 1
        bounds = [0, *cuts.tolist(), len(self.frame)]
        return (slice(first, end) for first, end in zip(bounds, bounds[1:]))


def _read_columns(path: str | Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            said = str(archive["format"]) if "format" in archive else "none"
            if said == FORMAT:
                columns = {name: archive[name] for name in (*_COLUMNS, *_ABOUT)}
    # numpy gives arrays or bytes, and raises whatever it meets, where a file is no archive
    except (ValueError, TypeError, AttributeError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        why = " ".join(str(error).split())[:100]
        raise ValueError(f"'{path}' is no predictions.npz of tempohand predict ({why})") from None
    if said != FORMAT:
        raise ValueError(
            f"'{path}' is no predictions.npz of tempohand predict: its format is {said!r}, not {FORMAT!r}"
        )
    if not len(columns["frame"]):
        raise ValueError(f"'{path}' holds no hand")
    return columns


def _check_model(path: str | Path, columns: dict[str, np.ndarray], hand: str | Path | None) -> None:
    """Poses the hand model as each row says, and raises ValueError where its joints lie elsewhere."""
    layer = HandLayer(hand, side="right")
    pose, shape, trans, joints = (
        torch.from_numpy(columns[name]).float() for name in ("pose", "shape", "trans", "joints")
    )
    left = ~torch.from_numpy(columns["is_right"])
    pose = torch.where(left[:, None], mirror_pose(pose), pose)
    trans = torch.where(left[:, None], mirror_points(trans), trans)
    posed = layer.joints(pose, shape, trans)
    posed = torch.where(left[:, None, None], mirror_points(posed), posed)
    worst = float((posed - joints).norm(dim=-1).max())
    if not worst <= SAME_MODEL_MM:
        name = "the open hand" if hand is None else f"'{hand}'"
        raise ValueError(
            f"'{path}' was predicted with another hand model than {name}: joints are up to {worst:.1f} mm "
            "apart; name the one that the network was trained with in `hand`"
        )
