"""One sequence as it happens before the camera: a person's hand and arm, things, a camera, and the window
that is kept of its picture."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Integer
from numpy import ndarray

from tempohand.geometry import mirror_pose
from tempohand.hand.anatomy import angles_to_pose
from tempohand.skeleton import NUM_BETAS, NUM_VERTICES
from tempohand.synthetic.covers import CoverConfig, add_covers
from tempohand.synthetic.exposure_times import Clock, ClockConfig, sample_clock
from tempohand.synthetic.forearm import (
    RINGS_MM,
    PersonConfig,
    forearm_direction,
    forearm_vertices,
    sample_rings,
    upper_arm_direction,
)
from tempohand.synthetic.grip import gripped
from tempohand.synthetic.hand_kit import HandKit
from tempohand.synthetic.motion import (
    MotionConfig,
    MovingCamera,
    finger_motion,
    rotation_vectors,
    sample_camera,
    sample_key_pose,
    wrist_path,
    wrist_rotation,
)
from tempohand.synthetic.objects import Mesh
from tempohand.synthetic.occluders import OccluderConfig, Track, held, passing_things
from tempohand.synthetic.ordinary_poses import sample_ordinary_pose
from tempohand.synthetic.other_hand import MIRROR, ScenePerson, other_hand_of, reaching_hand
from tempohand.synthetic.poses import sample_free_pose
from tempohand.synthetic.window import CameraConfig, project, window_track


@dataclass(frozen=True)
class SceneConfig:
    """What a scene is drawn from."""

    camera: CameraConfig
    clock: ClockConfig
    motion: MotionConfig
    person: PersonConfig
    occluder: OccluderConfig
    cover: CoverConfig


@dataclass
class Scene:
    """The T exposures of a sequence. Those that are stored have one before and one after them: motion blur
    needs both.

    Camera space, mm; vertices are those of hand, forearm and things, in this order.
    """

    is_right: bool
    camera: MovingCamera
    joints: Float[ndarray, "t 21 3"]
    pose: Float[ndarray, "t 48"]
    shape: Float[ndarray, "10"]
    vertices: Float[ndarray, "t v 3"]
    body_faces: Integer[ndarray, "f 3"]  # hand, then forearm
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


class _Generators(NamedTuple):
    """Random generators of parts that may be off: what they would draw must not change anything else."""

    clock: np.random.Generator
    cover: np.random.Generator
    pose: np.random.Generator
    other_hand: np.random.Generator
    grip: np.random.Generator
    window: np.random.Generator
    elbow: np.random.Generator
    ordinary: np.random.Generator

    @classmethod
    def of(cls, rng: np.random.Generator) -> "_Generators":
        five = rng.spawn(5)
        # Not spawned from rng too: the pictures' own generators are numbered after these five.
        return cls(*five, *five[-1].spawn(3))


class _Hand(NamedTuple):
    """A hand over time, mm: in world space, then in the camera's."""

    joints: Float[ndarray, "t 21 3"]
    vertices: Float[ndarray, "t v 3"]  # of the hand, then of the forearm
    rotation: Float[ndarray, "t 3 3"]
    fingers: Float[ndarray, "t 45"]  # rotation vectors

    def mirrored(self) -> "_Hand":
        """The left hand that is a right one's mirror image."""
        fingers = mirror_pose(torch.from_numpy(np.pad(self.fingers, ((0, 0), (3, 0))))).numpy()[:, 3:]
        rotation = MIRROR[:, None] * self.rotation * MIRROR
        return _Hand(self.joints * MIRROR, self.vertices * MIRROR, rotation, fingers)

    def seen_by(self, camera: MovingCamera) -> "_Hand":
        """The same in the camera's space."""
        return self._replace(
            joints=camera.to_camera(self.joints),
            vertices=camera.to_camera(self.vertices),
            rotation=camera.rotation.transpose(0, 2, 1) @ self.rotation,
        )


def compose(rng: np.random.Generator, kit: HandKit, num_frames: int, config: SceneConfig) -> Scene:
    """Draws a sequence: person, motion, camera, things, window."""
    generators = _Generators.of(rng)
    clock = sample_clock(generators.clock, num_frames, config.clock)
    times = clock.moments / config.camera.fps
    is_right = bool(rng.random() < config.person.right_probability)
    holding = bool(rng.random() < config.occluder.held_probability)
    betas = np.clip(rng.normal(0, 1, NUM_BETAS), -2, 2) * config.person.shape_sigma
    motion, free_pose = config.motion, sample_free_pose
    if generators.ordinary.random() < motion.ordinary.probability:
        motion, free_pose = motion.of_ordinary_hand(generators.ordinary), sample_ordinary_pose
    rotation = wrist_rotation(rng, times, motion)
    camera = sample_camera(rng, times, motion, config.camera.focal_per_width)
    wrist = wrist_path(rng, times, motion, camera, rotation)

    def key_pose() -> Float[ndarray, "15 3"] | None:
        free = generators.pose.random() < motion.free_probability
        return free_pose(generators.pose, kit.layer) if free else None

    fingers = finger_motion(rng, times, motion, key_pose, holding=holding)
    hand = _posed_hand(kit, betas, rotation, wrist, fingers)

    bare = len(RINGS_MM) + 1
    sleeved = rng.random() < config.person.sleeve_probability
    cloth_from = int(rng.integers(*config.person.sleeve_rings)) if sleeved else bare
    person = ScenePerson(is_right, betas, sample_rings(rng, cloth_from, config.person), cloth_from)
    direction = forearm_direction(rng, times, rotation)
    upper_arm = upper_arm_direction(generators.elbow, direction, rotation, config.person)
    arm = forearm_vertices(hand.vertices[:, kit.loop], rotation, direction, person.rings, upper_arm)
    hand = hand._replace(vertices=np.concatenate([hand.vertices, arm], axis=1))
    # The world and its camera are not mirrored with a left hand.
    hand = (hand if is_right else hand.mirrored()).seen_by(camera)

    things = _things(rng, generators, kit, clock.moments, hand, person, config, holding)
    everything = np.concatenate([hand.vertices, *(thing.vertices() for thing in things)], axis=1)
    intrinsics = (np.broadcast_to(values, (len(times), 2)) for values in (camera.focal, camera.princpt))
    joints2d = project(hand.joints, *intrinsics)
    focal, princpt = window_track(rng, generators.window, joints2d, camera, config.camera)
    faces = kit.body_faces if is_right else kit.body_faces[:, ::-1]
    return Scene(
        is_right=is_right,
        camera=camera,
        joints=hand.joints,
        pose=np.concatenate([rotation_vectors(hand.rotation), hand.fingers], axis=1),
        shape=betas,
        vertices=everything.astype(np.float32),
        body_faces=np.ascontiguousarray(faces),
        cloth_from=cloth_from,
        things=things,
        focal=focal,
        princpt=princpt,
        clock=clock,
        fps=config.camera.fps,
        bordered=bool(rng.random() < config.camera.border_probability)
        or motion.margin < config.motion.margin,
    )


def _posed_hand(
    kit: HandKit,
    betas: Float[ndarray, "10"],
    rotation: Float[ndarray, "t 3 3"],
    wrist: Float[ndarray, "t 3"],
    fingers: Float[ndarray, "t 15 3"],
) -> _Hand:
    """A right hand in world space, without an arm; fingers: joint angles in degrees."""
    pose = angles_to_pose(torch.from_numpy(fingers), torch.from_numpy(rotation_vectors(rotation))).float()
    shape = torch.from_numpy(betas).float().expand(len(pose), -1)
    output = kit.layer(pose, shape, torch.from_numpy(wrist).float())
    joints, vertices = output.joints.double().numpy(), output.vertices.double().numpy()
    return _Hand(joints, vertices, rotation, pose.double().numpy()[:, 3:])


def _things(
    rng: np.random.Generator,
    generators: _Generators,
    kit: HandKit,
    moments: Float[ndarray, "t"],
    hand: _Hand,
    person: ScenePerson,
    config: SceneConfig,
    holding: bool,
) -> list[Track]:
    """What else is there, camera space: a held thing, the other hand, things that pass by, things that cover
    the hand. moments: of the exposures, in frame times."""
    side = 1.0 if person.is_right else -1.0
    times = moments / config.camera.fps
    things = []
    if holding:
        things.append(held(rng, hand.rotation, hand.joints[:, 0], side))
        if config.occluder.held_fits:
            middle = len(times) // 2
            bent = (hand.joints[middle] - hand.joints[middle, 0]) @ hand.rotation[middle] * [side, 1.0, 1.0]
            things = [gripped(generators.grip, bent, hand.rotation, hand.joints[:, 0], side)]
    other_rng = generators.other_hand
    if other_rng.random() < config.person.both_probability:
        free = other_rng.random() < 0.5
        pose = sample_free_pose(other_rng, kit.layer) if free else sample_key_pose(other_rng)
        things.append(other_hand_of(other_rng, times, kit, pose, person, hand.rotation, hand.joints))

    def reaching(rng: np.random.Generator) -> Mesh:
        return reaching_hand(rng, kit, config.person)

    bare = hand.vertices[:, :NUM_VERTICES]
    things += passing_things(rng, moments, bare, config.occluder, reaching)
    return add_covers(generators.cover, moments, bare, kit.faces, things, config.cover, reaching)
