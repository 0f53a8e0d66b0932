"""The hand as animation programs have it: bones of constant length, rotations, a skin; metres, y up."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import roma
import torch
from jaxtyping import Float, Int

from tempohand.hand.layer import MM_PER_METRE
from tempohand.hand.pose import global_rotations
from tempohand.inference.formats.predictions import HandTrack, Predictions
from tempohand.skeleton import (
    FINGERS,
    MANO21_TO_OP,
    MANO_JOINT_NAMES,
    MANO_PARENTS,
    NUM_MANO_JOINTS,
    TIP_VERTICES,
)

# From OpenCV's camera space (y down, z forward) to that of OpenGL, glTF and OpenXR (y up, z backward): half a
# turn about x, its own inverse.
Y_UP = np.array([1.0, -1.0, -1.0])
MANO16_FROM_OP = np.argsort(MANO21_TO_OP)[:NUM_MANO_JOINTS]
COLOURS = {True: [0.80, 0.52, 0.40, 1.0], False: [0.42, 0.55, 0.78, 1.0]}  # right hands are warm
# The last joint of each finger, MANO's order -> the tip's place in TIP_VERTICES' order.
TIP_OF = {MANO_JOINT_NAMES.index(f"{finger}_3"): place for place, finger in enumerate(FINGERS)}


@dataclass(frozen=True)
class Rig:
    """One person's hand at rest, in the hand model's own frame, metres; joints in MANO's order."""

    joints: Float[np.ndarray, "16 3"]
    tips: Float[np.ndarray, "5 3"]  # thumb, index, middle, ring, pinky
    vertices: Float[np.ndarray, "778 3"]
    faces: Int[np.ndarray, "1538 3"]
    weights: Float[np.ndarray, "778 16"]

    @classmethod
    def of(cls, track: HandTrack) -> "Rig":
        """That of a track's mean shape and side."""
        tables = track.tables
        vertices = tables.v_template.astype(np.float64) + tables.shapedirs.astype(np.float64) @ track.shape
        return cls(
            joints=tables.joint_regressor.astype(np.float64) @ vertices,
            tips=vertices[list(TIP_VERTICES["smplx"])],
            vertices=vertices,
            faces=tables.faces,
            weights=tables.weights,
        )

    def offset(self, joint: int) -> Float[np.ndarray, "3"]:
        """From a joint's parent to the joint."""
        return self.joints[joint] - self.joints[MANO_PARENTS[joint]]


@dataclass(frozen=True)
class Motion:
    """How a track moves its rig, in a space whose y axis points up (`Y_UP`)."""

    rotations: Float[np.ndarray, "n 16 3 3"]  # against the parent joint; the wrist's against the space
    wrist: Float[np.ndarray, "n 3"]  # metres

    @classmethod
    def of(cls, track: HandTrack) -> "Motion":
        """That of every row of a track."""
        rotations = rotation_matrices(track.pose)
        rotations[:, 0] = Y_UP[:, None] * rotations[:, 0]
        return cls(rotations, track.trans.astype(np.float64) * Y_UP / MM_PER_METRE)

    def joints(self, rig: Rig) -> Float[np.ndarray, "n 16 3"]:
        """Forward kinematics, metres."""
        turns = global_rotations(torch.from_numpy(self.rotations)).numpy()
        places = [self.wrist]
        for joint in range(1, NUM_MANO_JOINTS):
            parent = MANO_PARENTS[joint]
            places.append(places[parent] + turns[:, parent] @ rig.offset(joint))
        return np.stack(places, axis=1)


def rotation_matrices(pose: Float[np.ndarray, "n 48"]) -> Float[np.ndarray, "n 16 3 3"]:
    """Of an axis-angle pose, in float64."""
    return roma.rotvec_to_rotmat(torch.from_numpy(pose).double().view(-1, NUM_MANO_JOINTS, 3)).numpy()


def quaternions(rotations: Float[np.ndarray, "*batch 3 3"]) -> Float[np.ndarray, "*batch 4"]:
    """Unit quaternions (x, y, z, w)."""
    return roma.rotmat_to_unitquat(torch.from_numpy(np.ascontiguousarray(rotations))).numpy()


def shape_note(tracks: list[HandTrack]) -> str:
    """What one shape for all of a hand's frames costs: a line with the mean distance of its 16 joints to the
    predicted ones."""
    apart = []
    for track in tracks:
        places = Motion.of(track).joints(Rig.of(track)) * Y_UP * MM_PER_METRE
        apart.append(np.linalg.norm(places - track.joints[:, MANO16_FROM_OP], axis=2).ravel())
    mean = float(np.concatenate(apart).mean())
    return f"bones have the lengths of each hand's mean shape: joints are {mean:.2f} mm off the predicted"


def require_times(predictions: Predictions) -> None:
    """Raises ValueError for several pictures of their own, which have no times."""
    frames = len(np.unique(predictions.frame))
    if frames > 1 and predictions.time.min() == predictions.time.max():
        raise ValueError(
            f"'{predictions.source}' is {frames} pictures without times, which cannot be animated: "
            "tempohand predict --fps RATE makes one sequence of them"
        )


def visibility(track: HandTrack, end: float) -> list[tuple[float, int]]:
    """(time, 1 or 0): when the hand appears and disappears, up to `end`, the last time of the animation.

    A frame without the hand is as far from the last with it as the frames between lie evenly.
    """
    keys = [] if track.time[0] <= 0 else [(0.0, 0)]
    stretches = list(track.stretches())
    for one, following in zip(stretches, [*stretches[1:], None]):
        last = one.stop - 1
        keys.append((float(track.time[one.start]), 1))
        if following is not None:
            frames = track.frame[following.start] - track.frame[last]
            gone = track.time[last] + (track.time[following.start] - track.time[last]) / frames
            keys.append((float(gone), 0))
        elif track.time[last] < end:
            between = np.diff(track.time) / np.maximum(np.diff(track.frame), 1)
            step = float(np.median(between)) if len(between) else end - float(track.time[last])
            keys.append((min(float(track.time[last]) + step, end), 0))
    # of keys at the same moment the last holds
    return [
        key
        for key, after in zip(keys, [*keys[1:], None])
        if not after or np.float32(key[0]) < np.float32(after[0])
    ]


def continuous(turns: np.ndarray) -> np.ndarray:
    """Quaternions [n, 16, 4], of the two that are one rotation each the one nearer to that before."""
    same = (turns[1:] * turns[:-1]).sum(axis=-1) >= 0
    signs = np.concatenate([np.ones_like(turns[:1, :, 0]), np.cumprod(np.where(same, 1.0, -1.0), axis=0)])
    return turns * signs[..., None]


def influences(weights: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Joints and weights [V, 4], the greatest first, as many sets as the vertex with most joints needs."""
    order = np.argsort(-weights, axis=1, kind="stable")
    ranked = np.take_along_axis(weights, order, axis=1).astype(np.float64)
    ranked = (ranked / ranked.sum(axis=1, keepdims=True)).astype(np.float32)
    for first in range(0, int((ranked > 0).sum(axis=1).max()), 4):
        part = ranked[:, first : first + 4]
        yield np.where(part > 0, order[:, first : first + 4], 0).astype(np.uint8), part
