"""How the hand and the camera move: finger angles within the ranges of motion, wrist orientation and place,
all over time.

World space is the OpenCV camera's at its resting place: x right, y down, z forward, mm. Angles come in
degrees from `hand.anatomy`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import roma
import torch
from jaxtyping import Float
from numpy import ndarray

from tempohand.hand.anatomy import ABDUCTION, FLEXION, POSES, RANGE_DEG
from tempohand.synthetic.curves import follow, random_walk, sample_timeline, wobble

FINGER_ROWS = {
    "index": slice(0, 3),
    "middle": slice(3, 6),
    "pinky": slice(6, 9),
    "ring": slice(9, 12),
    "thumb": slice(12, 15),
}
# Hand frame (fingers -x, back +y, thumb +z) to the camera's with the fingers up: columns are the images of x,
# y, z.
PALM_TO_CAMERA = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
BACK_TO_CAMERA = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
HAND_CENTRE = np.array([-85.0, 0.0, 0.0])  # mm from the wrist, hand frame: about the middle of the open hand
LEAVING_MARGIN = 30.0  # mm that the middle of a hand that may leave the frame keeps from its border
TREMOR_DEG = 1.0
FINGER_LAG_S = 0.08
# Of the view "mixed": people show hands to cameras, but all other orientations must be learned too.
FACING_SHARE = 0.5


@dataclass(frozen=True)
class OrdinaryConfig:
    """Hands as people show them to telephones and webcams. Ranges are (least, greatest)."""

    probability: (
        float  # of a sequence: its poses are those of `ordinary_poses`, its views and distances these
    )
    yaw_pitch_roll: tuple[float, float, float]  # degrees away from palm or back to the camera, at most
    sideways_probability: float  # of the fingers pointing to the left or right of the picture, not up
    distance: tuple[float, float]  # mm
    leaving_probability: float  # of a hand that may be cut by the border of the camera's frame


@dataclass(frozen=True)
class MotionConfig:
    """How much moves. Ranges are (least, greatest)."""

    # "facing": palm or back toward the camera, fingers up; "any": every orientation; "mixed": one or the
    # other
    view: str
    palm_probability: float  # of the palm, not the back, facing the camera, in the view "facing"
    yaw_pitch_roll: tuple[float, float, float]  # degrees by which the hand turns away from that, at most
    distance: tuple[float, float]  # mm from the camera to the hand
    turn_step: float  # degrees a move turns the hand, one sigma an axis
    reach_step: float  # mm a move carries the hand, one sigma an axis
    move_seconds: tuple[float, float]
    hold_seconds: tuple[float, float]
    wave_probability: float
    free_probability: float  # of a key pose in which every finger goes its own way
    handheld_probability: float  # the camera moves; otherwise it stands still
    ordinary: OrdinaryConfig
    roll: float  # degrees by which the view "facing" is turned in the picture from the fingers up
    margin: float  # mm that the hand's middle keeps from the border of the camera's frame

    def of_ordinary_hand(self, rng: np.random.Generator) -> "MotionConfig":
        """The motion of an ordinary hand in one sequence: every key pose is drawn finger by finger."""
        ordinary, turn = self.ordinary, float(rng.choice([-90.0, 90.0]))
        return replace(
            self,
            view="facing",
            yaw_pitch_roll=ordinary.yaw_pitch_roll,
            distance=ordinary.distance,
            free_probability=1.0,
            roll=turn if rng.random() < ordinary.sideways_probability else 0.0,
            margin=LEAVING_MARGIN if rng.random() < ordinary.leaving_probability else self.margin,
        )


class MovingCamera(NamedTuple):
    """A pinhole camera of a (virtual) frame and its way: orientation [T, 3, 3] and place [T, 3] mm in the
    world."""

    width: int
    height: int
    focal: Float[ndarray, "2"]
    princpt: Float[ndarray, "2"]
    rotation: Float[ndarray, "t 3 3"]
    position: Float[ndarray, "t 3"]

    def to_camera(self, points: Float[ndarray, "t n 3"]) -> Float[ndarray, "t n 3"]:
        """World points of each frame in that frame's camera space."""
        return (points - self.position[:, None]) @ self.rotation


def rotations_of(rotvec: Float[ndarray, "*batch 3"]) -> Float[ndarray, "*batch 3 3"]:
    """Rotation matrices of rotation vectors (radians)."""
    return roma.rotvec_to_rotmat(torch.from_numpy(np.asarray(rotvec, np.float64))).numpy()


def rotation_vectors(rotation: Float[ndarray, "*batch 3 3"]) -> Float[ndarray, "*batch 3"]:
    """Rotation vectors (radians) of rotation matrices."""
    return roma.rotmat_to_rotvec(torch.from_numpy(np.ascontiguousarray(rotation))).numpy()


def _tremor() -> Float[ndarray, "15 3"]:
    """Degrees that each angle may tremble: nothing where a joint has no freedom."""
    span = RANGE_DEG[..., 1] - RANGE_DEG[..., 0]
    return np.where(span > 4 * TREMOR_DEG, TREMOR_DEG, 0.0)


def _within_range(angles: Float[ndarray, "*batch 15 3"]) -> Float[ndarray, "*batch 15 3"]:
    return np.clip(angles, RANGE_DEG[..., 0] + _tremor(), RANGE_DEG[..., 1] - _tremor())


def sample_key_pose(rng: np.random.Generator, *, holding: bool = False) -> Float[ndarray, "15 3"]:
    """One hand pose, joint angles in degrees inside the ranges of motion: a named pose, a count, or something
    in between, never quite the same.

    `holding`: hands that could close about an object.
    """
    names = sorted(POSES)
    kind = "grasp" if holding else rng.choice(["named", "count", "curl", "blend"], p=[0.3, 0.2, 0.3, 0.2])
    if kind == "grasp":
        angles = POSES["grasp"] + rng.uniform(-0.35, 0.25) * (POSES["fist"] - POSES["grasp"])
    elif kind == "named":
        angles = POSES[rng.choice(names)].copy()
    elif kind == "count":
        straight = POSES["spread"] * rng.uniform(0.0, 1.0)
        angles = POSES["fist"].copy()
        for rows in FINGER_ROWS.values():
            if rng.random() < 0.5:
                angles[rows] = straight[rows]
    elif kind == "curl":
        # Neighbours curl together: one common value and a deviation a finger.
        common = rng.uniform(-0.1, 1.0)
        angles = np.empty_like(POSES["flat"])
        thumb = POSES[rng.choice(names)]
        for name, rows in FINGER_ROWS.items():
            curl = np.clip(common + rng.normal(0.0, 0.22), 0.0, 1.0)
            angles[rows] = (1 - curl) * POSES["flat"][rows] + curl * POSES["fist"][rows]
            angles[rows.start, ABDUCTION] += (1 - curl) * rng.uniform(-6.0, 14.0)
            if name == "thumb":
                mix = rng.uniform(0.0, 1.0)
                angles[rows] = mix * thumb[rows] + (1 - mix) * POSES["rest"][rows]
    else:
        a, b = rng.choice(len(names), 2, replace=False)
        mix = rng.uniform(0.0, 1.0)
        angles = mix * POSES[names[a]] + (1 - mix) * POSES[names[b]]
    angles = angles + rng.normal(0.0, 1.0, angles.shape) * np.array([4.0, 2.5, 1.0])
    # The last two joints of a finger share a tendon: what bends the middle joint bends the end joint.
    together = rng.normal(0.0, 6.0, 5)
    angles[1::3, FLEXION] += together
    angles[2::3, FLEXION] += 0.6 * together
    return _within_range(angles)


def finger_motion(
    rng: np.random.Generator,
    times: Float[ndarray, "t"],
    config: MotionConfig,
    free_pose: Callable[[], Float[ndarray, "15 3"] | None] = lambda: None,
    *,
    holding: bool = False,
) -> Float[ndarray, "t 15 3"]:
    """Joint angles over time, degrees: key poses, minimum-jerk moves between them with a lag for every
    finger, holds, and a small tremor.

    free_pose: asked once a key pose; takes its place unless it is None, or the hand is `holding` something.
    """
    timeline = sample_timeline(rng, times[-1] + FINGER_LAG_S, config.move_seconds, config.hold_seconds)
    keys = np.stack([sample_key_pose(rng, holding=holding) for _ in range(timeline.num_keys)])
    for k in range(len(keys)):
        pose = free_pose()
        if pose is not None and not holding:
            keys[k] = _within_range(pose)
    if holding:  # an object in the hand leaves the fingers little freedom
        keys = keys[:1] + 0.15 * (keys - keys[:1])
    angles = np.empty((len(times), 15, 3))
    for rows in FINGER_ROWS.values():
        lag = np.clip(rng.normal(0.0, 0.03), -FINGER_LAG_S, FINGER_LAG_S)
        angles[:, rows] = follow(timeline, keys[:, rows], times, lag)
    tremor = wobble(rng, times, 45, (0.5, 6.0)).reshape(-1, 15, 3)
    return angles + rng.uniform(0.2, 1.0) * _tremor() * tremor


def wrist_rotation(
    rng: np.random.Generator, times: Float[ndarray, "t"], config: MotionConfig
) -> Float[ndarray, "t 3 3"]:
    """The hand's orientation in the world over time: roll, pitch and yaw away from a base orientation, each
    within its limit."""
    view = config.view
    if view == "mixed":
        view = "facing" if rng.random() < FACING_SHARE else "any"
    if view == "facing":
        base = PALM_TO_CAMERA if rng.random() < config.palm_probability else BACK_TO_CAMERA
    elif view == "any":
        quaternion = rng.normal(size=4)
        base = roma.unitquat_to_rotmat(torch.from_numpy(quaternion / np.linalg.norm(quaternion))).numpy()
    else:
        raise ValueError(f"motion.view is '{config.view}', it can be facing, any or mixed")
    base = rotations_of(np.radians(config.roll) * np.eye(3)[2]) @ base
    limit = np.array(config.yaw_pitch_roll)
    wave = np.zeros(3)
    if rng.random() < config.wave_probability:
        wave[rng.choice([0, 2])] = rng.uniform(0.2, 0.6)
    timeline = sample_timeline(rng, times[-1], config.move_seconds, config.hold_seconds)
    keys = random_walk(rng, timeline.num_keys, limit * (0.97 - wave), np.full(3, config.turn_step))
    angles = (
        follow(timeline, keys, times)
        + limit * wave * np.sin(2 * np.pi * rng.uniform(1.2, 2.8) * times + rng.uniform(0, 6.3))[:, None]
    )
    angles = np.radians(angles + limit * 0.03 * wobble(rng, times, 3, (0.5, 5.0)))
    yaw, pitch, roll = (
        rotations_of(angles[:, [axis]] * np.eye(3)[direction]) for axis, direction in enumerate((1, 0, 2))
    )
    return roll @ pitch @ yaw @ base


def sample_camera(
    rng: np.random.Generator,
    times: Float[ndarray, "t"],
    config: MotionConfig,
    focal_per_width: tuple[float, float],
) -> MovingCamera:
    """A camera with a usual frame size and field of view; handheld ones drift and shake."""
    width, height = [(640, 480), (960, 540), (1280, 720), (1280, 960)][rng.integers(4)]
    focal = width * np.exp(rng.uniform(*np.log(focal_per_width)))
    princpt = (np.array([width, height]) - 1) / 2 + rng.normal(0.0, 0.01, 2) * width
    turn, shift = np.zeros((len(times), 3)), np.zeros((len(times), 3))
    if rng.random() < config.handheld_probability:
        drift, shake = (0.05, 0.5), (1.0, 7.0)  # Hz
        turn = rng.uniform(0.2, 4.0) * wobble(rng, times, 3, drift)
        turn = turn + rng.uniform(0.02, 0.25) * wobble(rng, times, 3, shake)
        shift = rng.uniform(5.0, 40.0) * wobble(rng, times, 3, drift)
        shift = shift + rng.uniform(0.1, 1.5) * wobble(rng, times, 3, shake)
    return MovingCamera(
        width,
        height,
        np.array([focal, focal * rng.uniform(0.995, 1.005)]),
        princpt,
        rotations_of(np.radians(turn)),
        shift,
    )


def wrist_path(
    rng: np.random.Generator,
    times: Float[ndarray, "t"],
    config: MotionConfig,
    camera: MovingCamera,
    rotation: Float[ndarray, "t 3 3"],
) -> Float[ndarray, "t 3"]:
    """The wrist's place in the world over time, mm: reaches about the frame, and the arc that turning about
    wrist, hand or elbow makes."""
    timeline = sample_timeline(rng, times[-1], config.move_seconds, config.hold_seconds)
    near, far = np.log(config.distance)
    half_depth = np.exp((near + far) / 2)
    # Keys in (x / z, y / z, log z): the frame's borders and the distances are then plain limits.
    depth = (
        random_walk(rng, timeline.num_keys, [(far - near) / 2], [config.reach_step / half_depth])[:, 0]
        + (near + far) / 2
    )
    room = (np.array([camera.width, camera.height]) / 2 / camera.focal) - config.margin / np.exp(depth.max())
    room = np.maximum(room, 0.02)
    direction = random_walk(
        rng, timeline.num_keys, room, np.full(2, config.reach_step / np.exp(depth.mean()))
    )
    path = follow(timeline, np.column_stack([direction, depth]), times)
    centre = np.column_stack([path[:, :2], np.ones(len(path))]) * np.exp(path[:, 2:])
    centre += 1.5 * wobble(rng, times, 3, (0.5, 6.0))
    pivot = HAND_CENTRE * rng.uniform(-1.5, 1.0)
    middle = rotation[len(rotation) // 2]
    return centre - rotation @ pivot + middle @ (pivot - HAND_CENTRE)
