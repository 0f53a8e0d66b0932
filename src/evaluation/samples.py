"""What a protocol compares, sample by sample: every hand as it is in its own camera space, left hands not
mirrored, mm.

Sequences are predicted in the space of the crops, where all hands are right ones; `Collector` turns them back
and keeps what a protocol needs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tempohand.evaluation.hands import Hands, TrueHands
from tempohand.geometry import mirror_points
from tempohand.skeleton import NUM_JOINTS, NUM_VERTICES, WRIST

COLUMNS = (
    "sequence",
    "recording",
    "frame",
    "time",
    "is_right",
    "joints",
    "joints_mask",
    "has_camera",
    "joints2d",
    "joints2d_mask",
    "box",
    "focal",
    "princpt",
)


@dataclass
class Prediction:
    """What one network says of the samples; vertices where the protocol needs them."""

    joints: Float[Tensor, "n 21 3"]
    vertices: Float[Tensor, "n 778 3"] | None = None


@dataclass
class Truth:
    """What is known of the samples, in the order of the table's rows. What is masked may hold anything."""

    sequence: np.ndarray  # of str; ends with the hand's side
    frame: Int[np.ndarray, "n"]
    time: Float[Tensor, "n"]  # s
    is_right: Bool[Tensor, "n"]
    joints: Float[Tensor, "n 21 3"]  # float64
    joints_mask: Bool[Tensor, "n 21"]
    has_camera: Bool[Tensor, "n"]
    joints2d: Float[Tensor, "n 21 2"]
    joints2d_mask: Bool[Tensor, "n 21"]
    box: Float[Tensor, "n 4"]
    focal: Float[Tensor, "n 2"]
    princpt: Float[Tensor, "n 2"]
    cluster: Int[np.ndarray, "n"]  # samples of one number are not independent of each other
    vertices: Float[Tensor, "n 778 3"] | None = None
    vertices_mask: Bool[Tensor, "n"] | None = None

    def __len__(self) -> int:
        return len(self.frame)

    def keys(self) -> list[tuple[str, int]]:
        """(sequence, frame) of each sample."""
        return list(zip(self.sequence.tolist(), self.frame.tolist()))

    @classmethod
    def of_merged(cls, merged: Mapping[str, np.ndarray], column: Callable[[str], np.ndarray]) -> "Truth":
        """Of the samples that were collected (`merge`). column: a frame table's column by its name."""
        columns = {name: column(name)[merged["row"]] for name in COLUMNS}
        meshes = {
            name: torch.from_numpy(merged[name]) for name in ("vertices", "vertices_mask") if name in merged
        }
        return cls.of_columns(columns, **meshes)

    @classmethod
    def of_columns(cls, columns: Mapping[str, np.ndarray], **vertices: Tensor) -> "Truth":
        """From columns of a frame table (COLUMNS) cut to the samples."""
        fields = {name: columns[name] for name in COLUMNS}
        others = ("sequence", "recording", "frame")
        tensors = {
            name: torch.from_numpy(np.array(value)) for name, value in fields.items() if name not in others
        }
        tensors |= {name: value.double() for name, value in tensors.items() if value.is_floating_point()}
        cluster = np.unique(fields["recording"].astype(str), return_inverse=True)[1]
        return cls(
            sequence=np.asarray(fields["sequence"]),
            frame=np.asarray(fields["frame"]),
            cluster=cluster,
            **tensors,
            **vertices,
        )


class Collector:
    """Keeps the predictions of whole sequences, turned back into each hand's own camera space.

    names: the predictors to keep. is_right: the table's column. With `vertices` the predicted and the true
    vertices are kept too, which takes 9 kB a hand and predictor.
    """

    def __init__(self, names: list[str], is_right: Bool[np.ndarray, "rows"], vertices: bool):
        self.names = names
        self.is_right = torch.from_numpy(np.array(is_right))
        self.vertices = vertices
        self.kept: dict[str, list[np.ndarray]] = {"row": []}

    def add(self, rows: Int[Tensor, "n"], true: TrueHands, hands: dict[str, Hands]) -> None:
        """Adds the frames of one sequence, of which these are the rows in the table."""
        mirrored = ~self.is_right[rows][:, None, None]

        def keep(name: str, points: Tensor) -> None:
            self.kept.setdefault(name, []).append(
                torch.where(mirrored, mirror_points(points), points).float().numpy()
            )

        self.kept["row"].append(rows.numpy())
        for name in self.names:
            keep(f"{name}/joints", hands[name].joints)
            vertices = hands[name].vertices
            if self.vertices and vertices is not None:
                keep(f"{name}/vertices", vertices)
        if self.vertices:
            keep("vertices", true.vertices + true.joints[:, WRIST : WRIST + 1])
            mask = true.hand_mask & true.joints_mask[:, WRIST]
            self.kept.setdefault("vertices_mask", []).append(mask.numpy())

    def content(self) -> dict[str, np.ndarray]:
        """Everything, one array a name; nothing where this process had no sequence."""
        return {name: np.concatenate(parts) for name, parts in self.kept.items() if parts}


def merge(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The contents of all processes' collectors in the order of the rows. Raises ValueError when there is not
    one sample."""
    parts = [part for part in parts if part]
    if not parts:
        raise ValueError(
            "not one frame of the split could be used: look at the table with tempohand check-data"
        )
    merged = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(merged["row"])
    return {name: value[order] for name, value in merged.items()}


def predictions(merged: Mapping[str, np.ndarray], names: list[str]) -> dict[str, Prediction]:
    """name -> its prediction, float64. Raises ValueError when one is not finite."""
    found = {}
    for name in names:
        joints = torch.from_numpy(merged[f"{name}/joints"]).double().view(-1, NUM_JOINTS, 3)
        vertices = merged.get(f"{name}/vertices")
        if not torch.isfinite(joints).all():
            raise ValueError(
                f"{name} predicts joints that are not finite: the network diverged, or its checkpoint is "
                "damaged"
            )
        found[name] = Prediction(
            joints,
            None if vertices is None else torch.from_numpy(vertices).double().view(-1, NUM_VERTICES, 3),
        )
    return found


T = TypeVar("T", bound="Truth | Prediction")


def select(truth: Truth, prediction: Prediction, mask: Bool[Tensor, "n"]) -> tuple[Truth, Prediction]:
    """The samples that `mask` allows. (All of them are not copied: meshes of 20,000 hands are 400 MB.)"""
    if mask.all():
        return truth, prediction
    places = mask.nonzero()[:, 0]

    def cut(value):
        if isinstance(value, Tensor):
            return value[places]
        return value[places.numpy()] if isinstance(value, np.ndarray) else value

    def cut_all(item: T) -> T:
        return replace(item, **{name: cut(value) for name, value in vars(item).items()})

    return cut_all(truth), cut_all(prediction)


def with_known_joints(truth: Truth, prediction: Prediction, *, camera: bool) -> tuple[Truth, Prediction]:
    """The samples whose 21 joints are known (and, with `camera`, where they are)."""
    return select(truth, prediction, truth.joints_mask.all(dim=1) & (truth.has_camera | (not camera)))
