"""Biovision's BVH: a skeleton and its Euler angles, a file per hand and unbroken stretch of frames.

Centimetres, y up, degrees; channels Zrotation Xrotation Yrotation mean Rz Rx Ry. The rest pose, all angles 0,
is the hand model's flat one. A file has one frame time, so a stretch's mean.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import roma
import torch

from tempohand.inference.formats.predictions import HandTrack, Predictions
from tempohand.inference.formats.rig import TIP_OF, Motion, Rig, shape_note
from tempohand.skeleton import MANO_JOINT_NAMES, MANO_PARENTS
from tempohand.writing import write_whole

_CM = 100.0  # in a metre


def write(predictions: Predictions, out: Path) -> list[str]:
    """out: a folder, made if needed; what else lies in it stays. Raises OSError."""
    tracks, files = predictions.tracks(), {}
    for track in tracks:
        hierarchy, motion = _hierarchy(Rig.of(track)), Motion.of(track)
        values = np.concatenate([motion.wrist * _CM, _angles(motion.rotations)], axis=1)
        for rows in track.stretches():
            name = f"{track.name}_frame{track.frame[rows.start]:06d}.bvh"
            files[name] = "\n".join(
                [hierarchy, *_motion(values[rows], _frame_time(track, rows, predictions)), ""]
            )
    for name, text in files.items():
        write_whole(out / name, text)
    return [f"files: {len(files)}; centimetres, y up", shape_note(tracks)]


def _hierarchy(rig: Rig) -> str:
    lines = ["HIERARCHY"]

    def add(joint: int, depth: int) -> None:
        indent, root = "\t" * depth, joint == 0
        place = np.zeros(3) if root else rig.offset(joint)
        moves = "6 Xposition Yposition Zposition" if root else "3"
        lines.extend(
            [
                f"{indent}{'ROOT' if root else 'JOINT'} {MANO_JOINT_NAMES[joint]}",
                f"{indent}{{",
                f"{indent}\t{_offset(place)}",
                f"{indent}\tCHANNELS {moves} Zrotation Xrotation Yrotation",
            ]
        )
        for child in (child for child, parent in enumerate(MANO_PARENTS) if parent == joint):
            add(child, depth + 1)
        if joint in TIP_OF:
            tip = _offset(rig.tips[TIP_OF[joint]] - rig.joints[joint])
            lines.extend([f"{indent}\tEnd Site", f"{indent}\t{{", f"{indent}\t\t{tip}", f"{indent}\t}}"])
        lines.append(f"{indent}}}")

    add(0, 0)
    return "\n".join(lines)


def _offset(place: np.ndarray) -> str:
    return "OFFSET {:.6f} {:.6f} {:.6f}".format(*(place * _CM))


def _angles(rotations: np.ndarray) -> np.ndarray:
    """Degrees [n, 48], Z X Y of every joint, each without jumps by whole turns."""
    angles = roma.rotmat_to_euler("ZXY", torch.from_numpy(rotations), degrees=True).numpy()
    return np.unwrap(angles, period=360.0, axis=0).reshape(len(rotations), -1)


def _motion(values: np.ndarray, seconds: float) -> Iterator[str]:
    yield "MOTION"
    yield f"Frames: {len(values)}"
    yield f"Frame Time: {seconds:.9f}"
    line = " ".join(["%.6f"] * values.shape[1])
    yield from (line % tuple(row) for row in values.tolist())


def _frame_time(track: HandTrack, rows: slice, predictions: Predictions) -> float:
    """The mean interval of a stretch; of a single frame the input's, or a 30th where it has none."""
    times = track.time[rows]
    if len(times) > 1 and times[-1] > times[0]:
        return float(times[-1] - times[0]) / (len(times) - 1)
    return 1 / predictions.fps if predictions.fps > 0 else 1 / 30
