"""The parameters of MANO as data sets store them, into absolute axis-angle poses and wrists. numpy, float64;
data sets' metres become mm.

MANO: Romero, Tzionas and Black, "Embodied Hands", 2017. Its `transl` is not the wrist: wrist = J0(betas) +
transl.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from tempohand.hand.layer import MM_PER_METRE, HandLayer
from tempohand.skeleton import NUM_BETAS, POSE_DIM

__all__ = ["MM_PER_METRE", "ManoHands", "ManoParameters", "turned"]

KEEP_BETAS = 0.3  # mm a vertex: directions that hardly move the hand stay as they were


@dataclass(frozen=True)
class ManoParameters:
    """A hand in camera space: absolute axis-angle pose of the hand as it is (a left hand's own), shape
    coefficients, and the wrist, mm. Raises ValueError for an array of another shape."""

    pose: Float[np.ndarray, "48"]
    shape: Float[np.ndarray, "10"]
    wrist: Float[np.ndarray, "3"]

    def __post_init__(self):
        check_shapes(self, pose=(POSE_DIM,), shape=(NUM_BETAS,), wrist=(3,))


def check_shapes(labels: object, **shapes: tuple[int, ...]) -> None:
    """Raises ValueError for an attribute that is an array of another shape than this."""
    for name, shape in shapes.items():
        value = getattr(labels, name)
        if value is not None and np.shape(value) != shape:
            raise ValueError(f"{name} has shape {np.shape(value)}, expected {shape}")


class ManoHands:
    """The hand model of either side that annotations were made with. Raises what `read_hand_file` does.

    left_shapedirs: the form of the left hand's shape directions that they were made with (`read_hand_file`).
    Tables hold "fixed" ones.
    """

    def __init__(self, path: str | Path, left_shapedirs: Literal["fixed", "unfixed"] = "fixed"):
        self.layers = {
            True: HandLayer(path, side="right").double(),
            False: HandLayer(path, side="left", left_shapedirs=left_shapedirs).double(),
        }
        theirs = _shape_directions(self.layers[False])
        ours = _shape_directions(HandLayer(path, side="left").double())
        kept = len(ours) / 3 * KEEP_BETAS**2 * torch.eye(NUM_BETAS, dtype=ours.dtype)
        self._to_fixed = torch.linalg.solve(ours.mT @ ours + kept, ours.mT @ theirs + kept).numpy()

    def absolute(self, pose: Float[np.ndarray, "48"], *, is_right: bool) -> Float[np.ndarray, "48"]:
        """The absolute pose of one that counts from the mean pose (flat_hand_mean=False)."""
        return self.layers[is_right].add_mean(_tensor(pose)).numpy()

    def from_pca(
        self,
        orient: Float[np.ndarray, "3"],
        coefficients: Float[np.ndarray, "n"],
        *,
        is_right: bool,
        flat_hand_mean: bool = False,
    ) -> Float[np.ndarray, "48"]:
        """The absolute pose of PCA coefficients (1 to 45), which count from the mean pose unless
        flat_hand_mean."""
        layer = self.layers[is_right]
        return layer.pca_to_pose(
            _tensor(orient), _tensor(coefficients), flat_hand_mean=flat_hand_mean
        ).numpy()

    def wrist(
        self, transl: Float[np.ndarray, "3"], betas: Float[np.ndarray, "10"], *, is_right: bool
    ) -> Float[np.ndarray, "3"]:
        """The wrist, mm, of MANO's transl, mm."""
        return self.layers[is_right].transl_to_wrist(_tensor(transl), _tensor(betas)).numpy()

    def shape(self, betas: Float[np.ndarray, "10"], *, is_right: bool) -> Float[np.ndarray, "10"]:
        """The betas that a table holds: of "unfixed" left hands those whose "fixed" hand at rest comes
        nearest (least squares over the vertices, wrists together, a beta changed by one counting as
        KEEP_BETAS), so that betas mean the same in every table. Of others the same."""
        return betas if is_right else self._to_fixed @ betas

    def joints(
        self,
        pose: Float[np.ndarray, "48"],
        betas: Float[np.ndarray, "10"],
        wrist: Float[np.ndarray, "3"],
        *,
        is_right: bool,
    ) -> Float[np.ndarray, "21 3"]:
        """The 21 joints, mm, of an absolute pose with its wrist (mm)."""
        return self.layers[is_right].joints(_tensor(pose), _tensor(betas), _tensor(wrist)).numpy()


def turned(pose: Float[np.ndarray, "48"], rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "48"]:
    """The pose after the rigid change X' = R X: orient' = R orient, fingers as they are. The wrist changes as
    any point does."""
    orient = (Rotation.from_matrix(rotation) * Rotation.from_rotvec(pose[:3])).as_rotvec()
    return np.concatenate([orient, pose[3:]])


def _shape_directions(layer: HandLayer) -> torch.Tensor:
    """What each beta adds to the hand at rest, the wrist held: [778 * 3, 10], mm."""
    betas = torch.cat([torch.zeros(1, NUM_BETAS), torch.eye(NUM_BETAS)]).double()
    vertices = layer(betas.new_zeros(len(betas), POSE_DIM), betas).vertices
    return (vertices[1:] - vertices[0]).flatten(1).mT


def _tensor(values) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, np.float64).copy())
