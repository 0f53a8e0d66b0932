"""The official files of an evaluation set: the order of its samples, and the truth that its server compares
with."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tempohand.evaluation.samples import Truth
from tempohand.skeleton import MANO21_TO_OP, NUM_JOINTS, NUM_VERTICES

Key = tuple[str, int]  # sequence (its hand's side included), frame
MM_PER_METRE = 1000.0


@dataclass(frozen=True)
class Convention:
    """How official files write points: metres, signs of the axes seen from OpenCV's camera, and the gather
    official = OpenPose[joints]."""

    axes: tuple[int, int, int]
    joints: tuple[int, ...]

    def write(
        self, joints: Float[Tensor, "*batch 21 3"], vertices: Float[Tensor, "*batch 778 3"]
    ) -> tuple[Float[Tensor, "*batch 21 3"], Float[Tensor, "*batch 778 3"]]:
        """Millimetres, OpenCV and OpenPose order into the files' terms."""
        axes = joints.new_tensor(self.axes)
        return joints[..., list(self.joints), :] * axes / MM_PER_METRE, vertices * axes / MM_PER_METRE

    def read(
        self, joints: Float[Tensor, "*batch 21 3"], vertices: Float[Tensor, "*batch 778 3"]
    ) -> tuple[Float[Tensor, "*batch 21 3"], Float[Tensor, "*batch 778 3"]]:
        """The inverse of `write`."""
        axes = joints.new_tensor(self.axes)
        back = np.argsort(self.joints).tolist()
        return joints[..., back, :] * axes * MM_PER_METRE, vertices * axes * MM_PER_METRE


FREIHAND = Convention((1, 1, 1), tuple(range(NUM_JOINTS)))
HO3D = Convention(
    (1, -1, -1), tuple(np.argsort(MANO21_TO_OP).tolist())
)  # OpenGL, MANO's 16 joints and then the tips


def order_path(table: str | Path, split: str) -> Path:
    """Where a converter leaves the official order of a split."""
    return Path(table) / f"official_{split}.json"


def read_order(table: str | Path, split: str) -> list[Key]:
    """The split's samples in the official order, those that the table has no row for included.

    Raises FileNotFoundError without the file, ValueError when it is damaged or names a sample twice.
    """
    path = order_path(table, split)
    if not path.is_file():
        raise FileNotFoundError(
            f"'{path}' is missing: the converter writes the official order beside the table, prepare it again"
        )
    try:
        order = [
            (str(sequence), int(frame))
            for sequence, frame in json.loads(path.read_text(encoding="utf-8"))["order"]
        ]
    except (ValueError, TypeError, KeyError):
        raise ValueError(
            f"'{path}' is damaged: expected {{'order': [[sequence, frame], ...]}}, prepare the table again"
        ) from None
    if len(set(order)) < len(order):
        raise ValueError(f"'{path}' names a sample twice: prepare the table again")
    return order


def places_in_order(keys: Sequence[Key], order: Sequence[Key]) -> list[int]:
    """Each sample's place in the official order. Raises ValueError naming the first sample that is not in
    it."""
    place = {key: number for number, key in enumerate(order)}
    strange = [key for key in keys if key not in place]
    if strange:
        sequence, frame = strange[0]
        raise ValueError(
            f"{len(strange)} of {len(keys)} samples are not in the official order, first '{sequence}' frame {frame}"
        )
    return [place[key] for key in keys]


def truth_files(root: str | Path) -> tuple[Path, Path]:
    """evaluation_xyz.json and evaluation_verts.json of a folder (or of its `evaluation` folder). Raises
    FileNotFoundError naming the first that is missing."""
    names = ("evaluation_xyz.json", "evaluation_verts.json")
    for folder in (Path(root), Path(root) / "evaluation"):
        if all((folder / name).is_file() for name in names):
            return folder / names[0], folder / names[1]
    missing = next(name for name in names if not (Path(root) / name).is_file())
    raise FileNotFoundError(
        f"no '{missing}' in '{root}': protocol_root is the folder with the official {' and '.join(names)}"
    )


def read_truth(
    root: str | Path, convention: Convention
) -> tuple[Float[Tensor, "n 21 3"], Float[Tensor, "n 778 3"]]:
    """The official joints and vertices in their order: mm, OpenCV camera space, OpenPose order, float64.
    Raises FileNotFoundError, or ValueError when the files do not have 21 joints and 778 vertices for each of
    the same number of samples."""
    points = []
    for path, count in zip(truth_files(root), (NUM_JOINTS, NUM_VERTICES)):
        try:
            points.append(np.asarray(json.loads(path.read_bytes()), dtype=np.float64))
        except ValueError as error:
            raise ValueError(
                f"'{path}' is damaged ({' '.join(str(error).split())[:80]}): download it again"
            ) from None
        if points[-1].ndim != 3 or points[-1].shape[1:] != (count, 3):
            raise ValueError(f"'{path}' has shape {points[-1].shape}, expected [samples, {count}, 3]")
    if len(points[0]) != len(points[1]):
        raise ValueError(
            f"the truth in '{root}' has {len(points[0])} samples of joints and {len(points[1])} of vertices"
        )
    return convention.read(*map(torch.from_numpy, points))


def with_official_truth(
    truth: Truth, order: Sequence[Key], joints: Float[Tensor, "m 21 3"], vertices: Float[Tensor, "m 778 3"]
) -> Truth:
    """The same samples with the official joints and vertices. Raises ValueError when order and truth are not
    of one length."""
    if len(order) != len(joints):
        raise ValueError(
            f"the official order has {len(order)} samples, the official truth {len(joints)}: they are not of one data set"
        )
    places = torch.tensor(places_in_order(truth.keys(), order), dtype=torch.long)
    known = torch.ones(len(truth), dtype=torch.bool)
    return replace(
        truth,
        joints=joints[places],
        joints_mask=known[:, None].expand(-1, NUM_JOINTS),
        has_camera=known,
        vertices=vertices[places],
        vertices_mask=known,
    )
