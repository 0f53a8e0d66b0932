"""Errors of motion in the units that papers print: VIBE's, ARCTIC's and HaWoR's accelerations, and HaWoR's
errors of whole stretches.

All take ONE stretch of frames that follow each other at an even step, mm, float64. World coordinates are
those of a camera that stands still.
"""

import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor

MM_PER_METRE = 1000.0
CHUNK_FRAMES = 100
FIRST_FRAMES = 2


def acceleration_error(predicted: Float[Tensor, "t p 3"], true: Float[Tensor, "t p 3"]) -> Float[Tensor, "m"]:
    """Mean over points of |a_predicted - a_true| of every three frames, a = x_{t-1} - 2 x_t + x_{t+1},
    mm/frame^2; m = t - 2, at least 0."""
    difference = predicted.double() - true.double()
    return (difference[:-2] - 2 * difference[1:-1] + difference[2:]).norm(dim=-1).mean(dim=-1)


def vibe_acceleration(
    predicted: Float[Tensor, "t p 3"], true: Float[Tensor, "t p 3"], visible: Bool[Tensor, "t"]
) -> tuple[Float[Tensor, "m"], Bool[Tensor, "m"]]:
    """(error in mm/frame^2, whether all three frames are visible) of every three frames of joints.

    compute_error_accel of VIBE's eval_utils (Kocabas et al., CVPR 2020), after Kanazawa et al., CVPR 2019.
    """
    return acceleration_error(predicted, true), visible[:-2] & visible[1:-1] & visible[2:]


def arctic_acceleration(
    predicted_vertices: Float[Tensor, "t v 3"],
    predicted_wrist: Float[Tensor, "t 3"],
    true_vertices: Float[Tensor, "t v 3"],
    true_wrist: Float[Tensor, "t 3"],
    step: float,
) -> Float[Tensor, "m"]:
    """Error of every three frames of vertices relative to each hand's own wrist, m/s^2; step: seconds a
    frame.

    eval_acc_pose of ARCTIC's eval_modules.py (Fan et al., CVPR 2023), which takes 30 frames/s.
    """
    relative = predicted_vertices - predicted_wrist[:, None], true_vertices - true_wrist[:, None]
    return acceleration_error(*relative) / step**2 / MM_PER_METRE


def hawor_acceleration(
    predicted: Float[Tensor, "t p 3"], true: Float[Tensor, "t p 3"], step: float
) -> Float[Tensor, "m"]:
    """Error of every three frames of joints in the world, unaligned, without the stretch's first and last,
    m/s^2; step: seconds a frame.

    The evaluation on HOT3D of HaWoR (Zhang et al., CVPR 2025): compute_error_accel(...)[1:-1] * 30^2. m = t -
    4, at least 0.
    """
    return acceleration_error(predicted, true)[1:-1] / step**2 / MM_PER_METRE


def _per_chunk(align, predicted: Float[Tensor, "t p 3"], true: Float[Tensor, "t p 3"]) -> Float[Tensor, "t"]:
    errors = []
    for ours, theirs in zip(predicted.double().split(CHUNK_FRAMES), true.double().split(CHUNK_FRAMES)):
        rotation, translation, scale = roma.rigid_points_registration(
            *align(ours, theirs), compute_scaling=True
        )
        errors.append((scale * ours @ rotation.mT + translation - theirs).norm(dim=-1).mean(dim=-1))
    return torch.cat(errors)


def w_mpjpe(predicted: Float[Tensor, "t p 3"], true: Float[Tensor, "t p 3"]) -> Float[Tensor, "t"]:
    """Each frame's mean joint distance, mm, after the similarity that fits the first two frames of its
    100-frame chunk.

    first_align_joints of SLAHMR (Ye et al., CVPR 2023), which HaWoR's evaluation takes over; rotations are
    proper.
    """
    return _per_chunk(
        lambda *chunks: (points[:FIRST_FRAMES].flatten(0, 1) for points in chunks), predicted, true
    )


def wa_mpjpe(predicted: Float[Tensor, "t p 3"], true: Float[Tensor, "t p 3"]) -> Float[Tensor, "t"]:
    """Each frame's mean joint distance, mm, after the similarity that fits the whole of its 100-frame chunk
    (global_align_joints there)."""
    return _per_chunk(lambda *chunks: (points.flatten(0, 1) for points in chunks), predicted, true)


def rte(predicted: Float[Tensor, "t 3"], true: Float[Tensor, "t 3"]) -> Float[Tensor, "t"]:
    """Each frame's distance of the wrists, per cent of the way that the true wrist goes, after the best rigid
    motion without scale.

    compute_rte of WHAM (Shin et al., CVPR 2024), which HaWoR's evaluation takes over (there of MANO's transl,
    here of the wrist). nan where the true wrist does not move.
    """
    rotation, translation = roma.rigid_points_registration(predicted.double(), true.double())
    way = true.double().diff(dim=0).norm(dim=-1).sum()
    return (
        100
        * (predicted.double() @ rotation.mT + translation - true.double()).norm(dim=-1)
        / torch.where(way > 0, way, torch.nan)
    )
