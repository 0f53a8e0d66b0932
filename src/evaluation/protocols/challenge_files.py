"""The files of FreiHAND's and HO3D's challenges: the truth that their server compares with, and the pred.zip
that it takes."""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from tempohand.evaluation.protocols.official_order import (
    Key,
    Submission,
    places_in_order,
    places_of_order,
)
from tempohand.evaluation.samples import Prediction, Truth
from tempohand.skeleton import NUM_JOINTS, NUM_VERTICES
from tempohand.writing import whole

MM_PER_METRE = 1000.0
METRE_DIGITS = 7  # a ten-thousandth of a millimetre


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
            f"the official order has {len(order)} samples, the official truth {len(joints)}: "
            "they are not of one data set"
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


def pred_zip(convention: Convention) -> Submission:
    """The writer of `pred.json` in a zip, for FreiHAND and HO3D: [xyz_list, verts_list], N x 21 x 3 and N x
    778 x 3, metres."""

    def write(
        path: str | Path,
        order: Sequence[Key],
        keys: Sequence[Key],
        in_table: set[Key],
        prediction: Prediction,
    ) -> int:
        """Every sample of the order. Raises ValueError when one has no prediction."""
        places = places_of_order(order, keys)
        assert prediction.vertices is not None, "pred.json holds vertices"
        lists = convention.write(prediction.joints, prediction.vertices)
        with (
            whole(path) as part,
            zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive,
            archive.open("pred.json", "w", force_zip64=True) as file,
            tqdm(total=2 * len(places), desc="writing pred.json", unit="sample", mininterval=1.0) as bar,
        ):
            for number, points in enumerate(lists):
                file.write(b", [" if number else b"[[")
                for sample, place in enumerate(places):
                    rounded = torch.round(points[place].double(), decimals=METRE_DIGITS).tolist()
                    file.write((", " if sample else "").encode() + json.dumps(rounded).encode())
                    bar.update()
                file.write(b"]")
            file.write(b"]")
        return len(places)

    return write
