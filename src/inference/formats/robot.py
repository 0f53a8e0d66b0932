"""Joint angles of the robot hands LEAP, Allegro and Shadow whose fingertips follow a hand's: a table per
robot and hand, radians, by dexi-rs and the robot models in it (LEAP: MIT, Allegro: BSD, Shadow: Apache 2.0).

A robot's fingertips, against its middle finger's knuckle and in the frame of its palm, are to be where the
hand's are, at the scale of the robot's middle finger to the hand's.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tempohand.hand.layer import MM_PER_METRE
from tempohand.inference.formats.predictions import HandTrack, Predictions
from tempohand.skeleton import FINGERS, JOINT_NAMES, WRIST
from tempohand.writing import write_whole

_TIPS = [JOINT_NAMES.index(f"{finger}_tip") for finger in FINGERS]
_MIDDLE = [place for place, joint in enumerate(JOINT_NAMES) if joint.startswith("middle_")]
_INDEX_KNUCKLE, _PINKY_KNUCKLE = JOINT_NAMES.index("index_1"), JOINT_NAMES.index("pinky_1")

_SETTLING = 50  # times that a stretch's first frame is asked for, from the middle of the joints' ranges


@dataclass(frozen=True)
class _Robot:
    """A robot hand of dexi-rs; its base frame has z along the straight fingers and x out of the palm. Tips
    are in FINGERS' order, without those that it has not."""

    knuckle: str  # the middle finger's
    tips: tuple[str, ...]
    left_tips: tuple[str, ...]
    still: str = "-"  # joints that begin so do not move


_ALLEGRO = ("link_15.0_tip", "link_3.0_tip", "link_7.0_tip", "link_11.0_tip")
_LEAP = ("thumb_tip_head", "index_tip_head", "middle_tip_head", "ring_tip_head")
_SHADOW = ("thtip", "fftip", "mftip", "rftip", "lftip")
ROBOTS = {
    "leap": _Robot("mcp_joint_2", _LEAP, _LEAP),
    "allegro": _Robot("link_5.0", _ALLEGRO, (_ALLEGRO[0], *_ALLEGRO[:0:-1])),  # its left one is turned
    "shadow": _Robot("mfknuckle", _SHADOW, _SHADOW, still="WRJ"),
}


def write(predictions: Predictions, out: Path) -> list[str]:
    """out: a folder, made if needed; what else lies in it stays. Raises ValueError without dexi-rs, and
    OSError."""
    try:
        import dexi_rs  # noqa: F401
    except ImportError:
        raise ValueError("robot hands need dexi-rs: pip install 'tempohand[robot]'") from None
    files, notes = {}, []
    for name, robot in ROBOTS.items():
        apart, began = [], time.perf_counter()
        for track in predictions.tracks():
            joints, angles, errors = follow(name, robot, track)
            files[f"{name}_{track.name}.csv"] = _table(track, joints, angles, errors)
            apart.append(errors)
        seconds, apart = time.perf_counter() - began, np.concatenate(apart)
        notes.append(
            f"{name}: {len(apart[0])} fingertips are {apart.mean():.1f} mm off on average, at most "
            f"{apart.max():.1f} mm; {1000 * seconds / len(apart):.2f} ms a frame"
        )
    for name, text in files.items():
        write_whole(out / name, text)
    return notes


def follow(name: str, robot: _Robot, track: HandTrack) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names of the robot's joints, their angles [n, joints] (rad), and how far each of its fingertips is from
    where it is wanted [n, fingers] (mm of the robot)."""
    import dexi_rs

    side = "right" if track.is_right else "left"
    links = list(robot.tips if track.is_right else robot.left_tips)
    model = dexi_rs.asset_path(f"robots/hands/{name}_hand") / f"{name}_hand_{side}.urdf"
    about = {"type": "position", "urdf_path": str(model), "target_link_names": links}
    about |= {"target_link_human_indices": _TIPS[: len(links)], "low_pass_alpha": 1.0}
    everything = dexi_rs.RetargetingConfig(**about).build().joint_names
    moved = [joint for joint in everything if not joint.startswith(robot.still)]
    config = dexi_rs.RetargetingConfig(**about, target_joint_names=moved)
    solver = config.build()
    rest = np.array(solver.link_positions([0.0] * len(everything), [robot.knuckle, *links]))
    knuckle, tip = rest[0], rest[1 + FINGERS.index("middle")]
    origin = np.array([knuckle[0], tip[1], knuckle[2]])  # LEAP's knuckle lies beside its finger
    wanted = origin + tips_in_palm(track)[:, : len(links)] * (tip[2] - knuckle[2]) / _middle_length(track)
    angles, found = np.zeros((len(wanted), len(everything))), np.zeros_like(wanted)
    for rows in track.stretches():
        solver.reset()
        for _ in range(_SETTLING):  # a step is held back by where the joints were
            solver.retarget(wanted[rows.start].ravel().tolist())
        for row in range(rows.start, rows.stop):
            angles[row] = solver.retarget(wanted[row].ravel().tolist())
            found[row] = solver.link_positions(angles[row].tolist(), links)
    return list(everything), angles, np.linalg.norm(found - wanted, axis=2) * MM_PER_METRE


def tips_in_palm(track: HandTrack) -> np.ndarray:
    """Fingertips [n, 5, 3] against the middle finger's knuckle, metres: z from the wrist to that knuckle, x
    out of the palm, y (of right hands) toward the thumb."""
    joints = track.joints.astype(np.float64) / MM_PER_METRE
    knuckle = joints[:, _MIDDLE[0]]
    forward = _unit(knuckle - joints[:, WRIST])
    across = joints[:, _INDEX_KNUCKLE] - joints[:, _PINKY_KNUCKLE]
    across = _unit(across - (across * forward).sum(axis=1, keepdims=True) * forward)
    across = across if track.is_right else -across
    axes = np.stack([np.cross(across, forward), across, forward], axis=1)
    return (joints[:, _TIPS] - knuckle[:, None]) @ axes.transpose(0, 2, 1)


def _middle_length(track: HandTrack) -> float:
    """Of the middle finger, metres: the mean over frames."""
    bones = np.diff(track.joints[:, _MIDDLE].astype(np.float64), axis=1)
    return float(np.linalg.norm(bones, axis=2).sum(axis=1).mean()) / MM_PER_METRE


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _table(track: HandTrack, joints: list[str], angles: np.ndarray, errors: np.ndarray) -> str:
    head = ["frame", "time_s", *(f"{joint}_rad" for joint in joints)]
    head += [f"{finger}_tip_error_mm" for finger in FINGERS[: errors.shape[1]]]
    line = ",".join(["%d,%.6f", *["%.6f"] * angles.shape[1], *["%.2f"] * errors.shape[1]])
    numbers = np.concatenate([angles, errors], axis=1).tolist()
    about = zip(track.frame.tolist(), track.time.tolist(), numbers)
    return "\n".join([",".join(head), *(line % (frame, at, *row) for frame, at, row in about), ""])
