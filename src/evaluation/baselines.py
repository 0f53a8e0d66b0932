"""The constant hand: what an evaluation says of a predictor that knows the box but never looks at the
picture.

A network has learned something only in so far as it beats this: the training labels' mean articulation and
mean shape in the one global orientation that suits the training hands best, placed where hands lie in their
boxes on average.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor

from tempohand.batch import ClipBatch
from tempohand.evaluation.hands import Hands
from tempohand.geometry import (
    denormalise_pixels,
    mirror_points,
    mirror_pose,
    normalise_pixels,
    project,
    unproject,
)
from tempohand.hand.layer import HandLayer, pose_to_rotmat

MAX_CANDIDATES = 512
MAX_REFERENCE = 2048
_CHUNK = 64


@dataclass(frozen=True)
class CropLabels:
    """Training labels in the space of the crops (right hands, left ones mirrored), with each crop's
    camera."""

    pose: Float[Tensor, "n 48"]
    shape: Float[Tensor, "n 10"]
    joints: Float[Tensor, "n 21 3"]  # camera space, mm
    focal: Float[Tensor, "n 2"]  # px of the crop
    princpt: Float[Tensor, "n 2"]

    @classmethod
    def of_columns(cls, columns: Mapping[str, np.ndarray], view) -> "CropLabels | None":
        """From a frame table's columns, cut to hands that are fully labelled, in the crops that evaluation
        makes (`view`: data/view.py's), shuffled; None without any."""
        parts = []
        for is_right, width in sorted(
            {(bool(side), int(width)) for side, width in zip(columns["is_right"], columns["width"])}
        ):
            chosen = (columns["is_right"] == is_right) & (columns["width"] == width)
            names = ("pose", "shape", "joints", "focal", "princpt", "box")
            one = {name: torch.from_numpy(np.array(columns[name][chosen])) for name in names}
            plain = view.draw(np.random.default_rng(0), len(one["pose"]))
            placement = view.place(plain, width, one["focal"], one["princpt"], one["box"], is_right)
            pose, joints = (
                (one["pose"], one["joints"])
                if is_right
                else (mirror_pose(one["pose"]), mirror_points(one["joints"]))
            )
            parts.append((pose, one["shape"], joints, placement.focal, placement.princpt))
        if not parts:
            return None
        order = torch.randperm(
            sum(len(part[0]) for part in parts), generator=torch.Generator().manual_seed(0)
        )
        return cls(*(torch.cat(column)[order] for column in zip(*parts)))


@dataclass(frozen=True)
class ConstantHand:
    """One hand for every picture, and where in the crop and how far away (relative to the crop's field of
    view) its wrist lies."""

    joints: Float[Tensor, "21 3"]  # relative to the wrist, mm
    vertices: Float[Tensor, "778 3"]
    wrist_uv: Float[Tensor, "2"]  # in the crop, [-0.5, 0.5]
    log_depth: float  # of depth (mm) / (focal / the crop's shorter edge)

    def __call__(self, batch: ClipBatch) -> Hands:
        """The same hand for each clip, at the wrist that the camera of its last crop gives."""
        focal, princpt = batch.focal[:, -1].double(), batch.princpt[:, -1].double()
        uv = (
            denormalise_pixels(self.wrist_uv.double(), batch.frames.size[::-1])
            .to(focal.device)
            .expand(len(focal), 1, 2)
        )
        depth = float(torch.tensor(self.log_depth).exp()) * focal.mean(dim=-1, keepdim=True) / batch.edge
        wrist = unproject(uv, depth, focal, princpt)
        joints, vertices = (points.to(focal.device) + wrist for points in (self.joints, self.vertices))
        return Hands(joints.float(), vertices.float())


def fit_constant_hand(
    hand: HandLayer, labels: CropLabels, size: tuple[int, int], seed: int = 0
) -> ConstantHand:
    """The constant hand of training labels, in crops of `size` (height, width) px.

    Articulation: each joint's chordal mean rotation (the rotation nearest the mean matrix). Shape: the mean
    coefficients. Orientation: of at most MAX_CANDIDATES training orientations and their chordal mean, the one
    with the least mean wrist-relative joint distance to at most MAX_REFERENCE training hands. Wrist: mean
    in-crop uv and mean log depth over focal / the crops' shorter edge. Raises ValueError without labels.
    """
    if not len(labels.pose):
        raise ValueError(
            "mean_pose: the training split has no hand with known pose and camera to fit a constant hand on"
        )
    rotations = pose_to_rotmat(labels.pose.double())
    mean = roma.special_procrustes(rotations.mean(dim=0))
    betas = labels.shape.double().mean(dim=0)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(rotations), generator=generator)
    candidates = torch.cat([rotations[order[:MAX_CANDIDATES], 0], mean[:1]])
    reference = labels.joints[order[:MAX_REFERENCE]].double()

    upright = torch.cat([torch.eye(3, dtype=torch.float64)[None], mean[1:]])
    canonical = hand(upright.float(), betas.float()).joints.double()
    turned = torch.einsum("c i j, p j -> c p i", candidates, canonical)
    target = reference - reference[:, :1]
    error = torch.cat(
        [(some[:, None] - target).norm(dim=-1).mean(dim=(1, 2)) for some in turned.split(_CHUNK)]
    )
    pose = torch.cat([candidates[error.argmin()][None], mean[1:]])
    output = hand(pose.float(), betas.float())

    focal, princpt = labels.focal.double(), labels.princpt.double()
    wrist = labels.joints[:, :1].double()
    uv = normalise_pixels(project(wrist, focal, princpt)[:, 0], size[::-1]).mean(dim=0)
    log_depth = (wrist[:, 0, 2] / (focal.mean(dim=-1) / min(size))).log().mean()
    return ConstantHand(output.joints, output.vertices, uv, float(log_depth))
