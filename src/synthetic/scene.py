"""One sequence before it is filmed: whose hand, where, how it moves, before what camera, with what in the
way; and the labels.

Everything about a sequence is drawn from one random generator, so a seed gives the same sequence whatever
else is made beside it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Integer
from numpy import ndarray

from tempohand.geometry import mirror_pose
from tempohand.hand.anatomy import angles_to_pose
from tempohand.hand.layer import HandLayer
from tempohand.hand.surface import wrist_loop
from tempohand.render import vertex_normals
from tempohand.skeleton import NUM_BETAS, NUM_VERTICES
from tempohand.synthetic.atlas import HandAtlas
from tempohand.synthetic.covers import CoverConfig, add_covers
from tempohand.synthetic.curves import wobble
from tempohand.synthetic.exposure_times import Clock, ClockConfig, sample_clock
from tempohand.synthetic.grip import gripped
from tempohand.synthetic.motion import (
    HAND_CENTRE,
    Camera,
    MotionConfig,
    finger_motion,
    rotation_vectors,
    rotations_of,
    sample_camera,
    sample_key_pose,
    wrist_path,
    wrist_rotation,
)
from tempohand.synthetic.objects import Mesh, forearm_topology, forearm_vertices
from tempohand.synthetic.occluders import OccluderConfig, Track, held, passing
from tempohand.synthetic.other_hand import other_hand_of
from tempohand.synthetic.poses import sample_free_pose
from tempohand.synthetic.skin import SkinMap

MIRROR = np.diag([-1.0, 1.0, 1.0])
RINGS_MM = (5, 12, 22, 35, 50, 70, 95, 125, 160, 200, 250, 320)  # of the forearm, from the wrist loop


@dataclass(frozen=True)
class CameraConfig:
    """The camera and the stored picture. Ranges are (least, greatest)."""

    fps: float
    focal_per_width: tuple[float, float]  # focal length over the frame's width
    image_size: int  # edge of the stored square picture, px
    window: float  # edge of the stored window over that of the hand's box ...
    window_factor: tuple[
        float, float
    ]  # ... times a factor of this range, log-uniform, constant over a sequence
    # share of the window's free room, from its middle, over which the hand's place in it is drawn for a
    # sequence
    window_place: float
    # whether the window stays where it is for a whole sequence, as a filmed picture does; else it follows the
    # hand
    still: bool
    window_jitter: (
        float  # the window's edge and place vary by this fraction of the box, constant over a sequence
    )
    # of the picture ending at the camera's frame, its edge repeated beyond; else the frame is as large as
    # need be
    border_probability: float


@dataclass(frozen=True)
class PersonConfig:
    """Whose hand. Ranges are (least, greatest)."""

    right_probability: float
    shape_sigma: float  # of the shape coefficients, which are cut at two sigma
    sleeve_probability: float
    sleeve_rings: tuple[int, int]  # a sleeve begins at one of these of RINGS_MM, the second excluded
    sleeve_width: tuple[float, float]  # its radius over the arm's
    both_probability: float  # of the other hand being near
    arm: float  # where the arm ends, mm from the wrist
    elbow: tuple[
        float, float
    ]  # degrees that it bends at the last of RINGS_MM but one, constant over a sequence


@dataclass(frozen=True)
class SceneConfig:
    """What a scene is drawn from."""

    camera: CameraConfig
    clock: ClockConfig
    motion: MotionConfig
    person: PersonConfig
    occluder: OccluderConfig
    cover: CoverConfig


class HandKit(NamedTuple):
    """The hand model and what is derived from it once a process."""

    layer: HandLayer
    faces: Integer[ndarray, "1538 3"]
    loop: Integer[ndarray, "16"]
    forearm_faces: Integer[ndarray, "f 3"]
    skin: SkinMap
    atlas: HandAtlas

    @classmethod
    def load(cls, path: str | None = None) -> "HandKit":
        """From a hand model file; None for the open hand."""
        layer = HandLayer(path)
        faces = layer.faces.numpy().astype(np.int32)
        loop = wrist_loop(faces)
        forearm = forearm_topology(loop, NUM_VERTICES, len(RINGS_MM) + 1).astype(np.int32)
        return cls(layer, faces, loop, forearm, SkinMap.of(layer), HandAtlas.of(layer))


@dataclass
class Scene:
    """The T exposures of a sequence. Those that are stored have one before and one after them, so that they
    know where they come from and go to.

    Camera space, mm; vertices are those of hand, forearm and things, in this order.
    """

    is_right: bool
    camera: Camera
    joints: Float[ndarray, "t 21 3"]
    pose: Float[ndarray, "t 48"]
    shape: Float[ndarray, "10"]
    vertices: Float[ndarray, "t v 3"]
    arm_faces: Integer[ndarray, "f 3"]  # hand, then forearm
    cloth_from: int  # the forearm's first ring in cloth; beyond the last for a bare arm
    things: list[Track]
    focal: Float[ndarray, "t 2"]  # of the stored window
    princpt: Float[ndarray, "t 2"]
    clock: Clock
    fps: float
    bordered: bool  # nothing is seen beyond the camera's frame

    def joints2d(self) -> Float[ndarray, "t 21 2"]:
        """The joints in the stored window, px."""
        return project(self.joints, self.focal, self.princpt)


def project(
    points: Float[ndarray, "t n 3"], focal: Float[ndarray, "t 2"], princpt: Float[ndarray, "t 2"]
) -> Float[ndarray, "t n 2"]:
    """Pinhole projection of each frame's points (in front of the camera), px."""
    return points[..., :2] / points[..., 2:] * focal[:, None] + princpt[:, None]


def smooth(values: Float[ndarray, "t d"], sigma: float) -> Float[ndarray, "t d"]:
    """Gaussian smoothing over time (sigma in frames), the ends repeated."""
    reach = int(3 * sigma) + 1
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, kernel / kernel.sum(), mode="valid") for column in padded.T], axis=1)


def window_track(
    rng: np.random.Generator,
    window_rng: np.random.Generator,
    joints2d: Float[ndarray, "t 21 2"],
    camera: Camera,
    config: CameraConfig,
) -> tuple[Float[ndarray, "t 2"], Float[ndarray, "t 2"]]:
    """Focal length and principal point (px) of the stored picture over time: a square that follows the hand
    smoothly.

    The window moves over the frame, and with it only the intrinsics: the camera space stays that of the
    frame.
    """
    low, high = joints2d.min(1), joints2d.max(1)
    if config.still:
        low[:], high[:] = low.min(0), high.max(0)
    edge = (high - low).max(1, keepdims=True)
    jitter = rng.uniform(-1.0, 1.0, 3) * config.window_jitter
    # A near hand in a window many times its size would take a field of view that no lens has.
    widest = max(float(np.min(camera.focal) / (config.focal_per_width[0] * config.window * edge.max())), 1.0)
    wide = config.window * min(np.exp(window_rng.uniform(*np.log(config.window_factor))), widest)
    place = window_rng.uniform(-1.0, 1.0, 2) * config.window_place * (wide - 1) / 2  # in hand boxes
    centre = smooth((low + high) / 2, 3.0) + smooth(edge, 3.0) * (jitter[:2] + place)
    side = np.exp(smooth(np.log(edge), 3.0)) * wide * (1 + jitter[2] / 2)
    scale = config.image_size / side
    return camera.focal * scale, (camera.princpt - centre) * scale + (config.image_size - 1) / 2


def compose(rng: np.random.Generator, kit: HandKit, num_frames: int, config: SceneConfig) -> Scene:
    """Draws a sequence: person, motion, camera, things, window."""
    # What a factor that is off would draw must not change the rest: these have generators of their own.
    clock_rng, cover_rng, pose_rng, both_rng, grip_rng = rng.spawn(5)
    window_rng, elbow_rng = grip_rng.spawn(
        2
    )  # not a sixth: the shot's own generators are numbered after these
    clock = sample_clock(clock_rng, num_frames, config.clock)
    times = clock.moments / config.camera.fps
    is_right = bool(rng.random() < config.person.right_probability)
    holding = bool(rng.random() < config.occluder.held_probability)
    betas = np.clip(rng.normal(0, 1, NUM_BETAS), -2, 2) * config.person.shape_sigma
    rotation = wrist_rotation(rng, times, config.motion)
    camera = sample_camera(rng, times, config.motion, config.camera.focal_per_width)
    wrist = wrist_path(rng, times, config.motion, camera, rotation)

    def free_pose() -> Float[ndarray, "15 3"] | None:
        return (
            sample_free_pose(pose_rng, kit.layer)
            if pose_rng.random() < config.motion.free_probability
            else None
        )

    angles = torch.from_numpy(finger_motion(rng, times, config.motion, free_pose, holding=holding))
    pose = angles_to_pose(angles, torch.from_numpy(rotation_vectors(rotation))).float()
    output = kit.layer(
        pose, torch.from_numpy(betas).float().expand(len(times), -1), torch.from_numpy(wrist).float()
    )
    joints, hand, pose = output.joints.double().numpy(), output.vertices.double().numpy(), pose.double()

    cloth_from = (
        int(rng.integers(*config.person.sleeve_rings))
        if rng.random() < config.person.sleeve_probability
        else len(RINGS_MM) + 1
    )
    rings, swell = _forearm_profile(rng, cloth_from, config.person)
    direction = _arm_direction(rng, times, rotation)
    arm = forearm_vertices(
        hand[:, kit.loop],
        rotation,
        direction,
        rings,
        swell,
        _upper_arm(elbow_rng, direction, rotation, config.person),
    )
    vertices = np.concatenate([hand, arm], axis=1)

    if (
        not is_right
    ):  # a left hand is the mirror image of a right one; the world and its camera are not mirrored
        joints, vertices, rotation, pose = (
            joints @ MIRROR,
            vertices @ MIRROR,
            MIRROR @ rotation @ MIRROR,
            mirror_pose(pose),
        )
    joints, vertices = camera.to_camera(joints), camera.to_camera(vertices)
    rotation = camera.rotation.transpose(0, 2, 1) @ rotation
    pose = np.concatenate([rotation_vectors(rotation), pose.numpy()[:, 3:]], axis=1)

    things, side = [], 1.0 if is_right else -1.0
    if holding:
        things.append(held(rng, rotation, joints[:, 0], side))
        if config.occluder.held_fits:
            middle = len(times) // 2
            bent = (joints[middle] - joints[middle, 0]) @ rotation[middle] * [side, 1.0, 1.0]
            things = [gripped(grip_rng, bent, rotation, joints[:, 0], side)]
    if both_rng.random() < config.person.both_probability:
        other_pose = (
            sample_free_pose(both_rng, kit.layer) if both_rng.random() < 0.5 else sample_key_pose(both_rng)
        )
        things.append(
            other_hand_of(both_rng, times, kit, other_pose, betas, (rings, swell), rotation, joints, is_right)
        )

    def reaching(rng: np.random.Generator) -> Mesh:
        return _other_hand(rng, kit, config.person)

    things += _passing_things(rng, clock.moments, vertices[:, :NUM_VERTICES], config.occluder, reaching)
    things = add_covers(
        cover_rng, clock.moments, vertices[:, :NUM_VERTICES], kit.faces, things, config.cover, reaching
    )
    everything = np.concatenate([vertices, *(thing.vertices() for thing in things)], axis=1)
    frame = np.broadcast_to(camera.focal, (len(times), 2)), np.broadcast_to(camera.princpt, (len(times), 2))
    focal, princpt = window_track(rng, window_rng, project(joints, *frame), camera, config.camera)
    faces = np.concatenate([kit.faces, kit.forearm_faces])
    faces = faces if is_right else faces[:, ::-1]
    return Scene(
        is_right=is_right,
        camera=camera,
        joints=joints,
        pose=pose,
        shape=betas,
        vertices=everything.astype(np.float32),
        arm_faces=np.ascontiguousarray(faces),
        cloth_from=cloth_from,
        things=things,
        focal=focal,
        princpt=princpt,
        clock=clock,
        fps=config.camera.fps,
        bordered=bool(rng.random() < config.camera.border_probability),
    )


def _forearm_profile(
    rng: np.random.Generator, cloth_from: int, person: PersonConfig
) -> tuple[Float[ndarray, "n"], Float[ndarray, "n"]]:
    """Ring distances and radii: one ring is doubled, so that a sleeve begins with a step."""
    double = min(cloth_from, len(RINGS_MM) - 1)
    rings = np.insert(np.array(RINGS_MM, float), double, RINGS_MM[double] - 1.0)
    rings[-1] = person.arm
    swell = np.ones(len(rings))
    cloth = np.arange(len(rings)) >= cloth_from
    swell[cloth] = rng.uniform(*person.sleeve_width) * (
        1 + rng.uniform(0.0, 0.06) * rng.normal(0, 1, cloth.sum())
    )
    return rings, swell


def _arm_direction(
    rng: np.random.Generator, times: Float[ndarray, "t"], rotation: Float[ndarray, "t 3 3"]
) -> Float[ndarray, "t 3"]:
    """Unit vectors along the arm, away from the wrist, world space: the wrist bends up to some 45 degrees,
    deviates up to some 15."""
    bend = np.radians(rng.uniform(-30, 30) + 12 * wobble(rng, times, 1, (0.2, 1.2))[:, 0])
    deviate = np.radians(rng.uniform(-12, 12) + 5 * wobble(rng, times, 1, (0.2, 1.2))[:, 0])
    turn = rotations_of(bend[:, None] * [0.0, 0.0, 1.0]) @ rotations_of(deviate[:, None] * [0.0, 1.0, 0.0])
    return (rotation @ turn)[:, :, 0]


def _upper_arm(
    rng: np.random.Generator,
    forearm: Float[ndarray, "t 3"],
    rotation: Float[ndarray, "t 3 3"],
    person: PersonConfig,
) -> Float[ndarray, "t 3"] | None:
    """Unit vectors from the elbow to the shoulder, world space: bent to any side of the forearm, which turns
    about itself; None: straight."""
    angle, around = np.radians(rng.uniform(*person.elbow)), rng.uniform(0, 2 * np.pi)
    if angle == 0.0:
        return None
    side = np.cross(forearm, rotation[:, :, 1])
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    away = np.cos(around) * side + np.sin(around) * np.cross(side, forearm)
    return np.cos(angle) * forearm + np.sin(angle) * away


def _other_hand(rng: np.random.Generator, kit: HandKit, person: PersonConfig) -> Mesh:
    """A second hand in some pose, its middle about the origin and its arm along +y."""
    pose = angles_to_pose(torch.from_numpy(sample_key_pose(rng))).float()
    hand = kit.layer(pose, torch.zeros(NUM_BETAS)).vertices.double().numpy()[None]
    rings, swell = _forearm_profile(rng, int(rng.integers(*person.sleeve_rings)), person)
    arm = forearm_vertices(hand[:, kit.loop], np.eye(3)[None], np.array([[1.0, 0.0, 0.0]]), rings, swell)
    side = rng.choice([-1.0, 1.0])
    # Hand axes to the mesh's: x (toward the arm) becomes y; `side` mirrors z.
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, side]])
    vertices = (np.concatenate([hand, arm], axis=1)[0] - HAND_CENTRE) @ turn.T
    faces = np.concatenate([kit.faces, kit.forearm_faces])
    faces = faces if side > 0 else faces[:, ::-1]
    return Mesh(vertices, faces, vertex_normals(vertices, faces), vertices[:, 1:] / 128.0)


def _passing_things(
    rng: np.random.Generator,
    moments: Float[ndarray, "t"],
    hand: Float[ndarray, "t 778 3"],
    config: OccluderConfig,
    other_hand: Callable[[np.random.Generator], Mesh],
) -> list[Track]:
    count = 0
    if rng.random() < config.probability:
        count = 2 if rng.random() < config.second_probability else 1
    rays = hand[..., :2] / hand[..., 2:]
    low, high = rays.min(1), rays.max(1)
    near, half = float(hand[..., 2].min()), (high - low).max(1) / 2
    centre = (low + high) / 2
    return [passing(rng, moments, centre, half, near, config, other_hand) for _ in range(count)]
