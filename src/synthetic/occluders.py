"""Things that get between the camera and the hand, and things that the hand holds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from tempohand.synthetic.curves import minimum_jerk
from tempohand.synthetic.motion import rotations_of
from tempohand.synthetic.objects import Mesh, ball, bottle, box, cylinder, sheet
from tempohand.synthetic.skin import TONES, to_linear
from tempohand.synthetic.texture import noise, pattern

KINDS = ("box", "cylinder", "bottle", "ball", "lump", "sheet", "hand")
TEXTURE_SIZE = 128


@dataclass(frozen=True)
class OccluderConfig:
    """What gets in the way. Ranges are (least, greatest)."""

    probability: float  # of a sequence having something pass in front of the hand
    second_probability: float  # of a second thing, given a first
    held_probability: float  # of an object in the hand
    held_fits: bool  # it is as thick as the fingers leave room; else of any size, laid before the palm
    size: tuple[float, float]  # half its extent over half the hand's, as the camera sees them
    depth: tuple[float, float]  # its distance over that of the hand's nearest point
    enter_frames: tuple[int, int]
    cover_frames: tuple[int, int]


class Track(NamedTuple):
    """A rigid thing over time: its mesh (mm), orientation [T, 3, 3] and place [T, 3] in camera space, and its
    texture (linear RGB)."""

    mesh: Mesh
    rotation: Float[ndarray, "t 3 3"]
    position: Float[ndarray, "t 3"]
    texture: Float[ndarray, "s s 3"]
    gloss: float
    # About the mesh's origin, if this is the person's other hand, which has the same skin.
    joints: Float[ndarray, "21 3"] | None = None

    def vertices(self) -> Float[ndarray, "t v 3"]:
        """Vertices in camera space over time."""
        return np.einsum("trc,vc->tvr", self.rotation, self.mesh.vertices) + self.position[:, None]

    def during(self, frames: slice) -> "Track":
        """The thing in some frames only."""
        return self._replace(rotation=self.rotation[frames], position=self.position[frames])

    def normals(self, frame: int) -> Float[ndarray, "v 3"]:
        """Unit normals at one frame."""
        return self.mesh.normals @ self.rotation[frame].T


def make_thing(rng: np.random.Generator, kind: str, half: float) -> Mesh:
    """A mesh of about `half` mm half extent."""
    if kind == "box":
        return box(2 * half * rng.uniform(0.45, 1.0, 3))
    if kind == "cylinder":
        return cylinder(half * rng.uniform(0.35, 0.8), 2.2 * half, rng.uniform(0.7, 1.2))
    if kind == "bottle":
        return bottle(half * rng.uniform(0.35, 0.6), 2.6 * half, rng)
    if kind == "ball":
        return ball(half)
    if kind == "lump":
        return ball(half, rng)
    assert kind == "sheet", kind
    return sheet(*(2 * half * rng.uniform(0.7, 1.2, 2)), rng.uniform(-0.15, 0.15))


def surface(rng: np.random.Generator, kind: str) -> Float[ndarray, "s s 3"]:
    """A texture for a thing of a kind, linear RGB."""
    if kind == "hand" and rng.random() < 0.85:  # the rest wear gloves
        tone = TONES[rng.integers(len(TONES))] * rng.uniform(0.9, 1.05)
        skin = np.clip(tone * (1 + 0.02 * noise(rng, TEXTURE_SIZE, 1)[..., None]), 0, 1)
        return to_linear(skin).astype(np.float32)
    return to_linear(np.clip(pattern(rng, TEXTURE_SIZE) / 255, 0, 1)).astype(np.float32)


def passing(
    rng: np.random.Generator,
    frames: Float[ndarray, "t"],
    rays: Float[ndarray, "t 2"],
    half: Float[ndarray, "t"],
    near: float,
    config: OccluderConfig,
    other_hand: Callable[[np.random.Generator], Mesh],
) -> Track:
    """A thing that comes into the line of sight, covers the hand or a part of it, and leaves, each over some
    frames.

    frames: moments in frame times; rays: centre of the hand over time as (x / z, y / z); half: half its
    extent in the same unit; near: the hand's least depth, mm. other_hand: makes a second hand, its fingers
    about its origin and its arm along +y.
    """
    kind = str(rng.choice(KINDS))
    depth = near * rng.uniform(*config.depth)
    enter, leave = (rng.uniform(*config.enter_frames) for _ in range(2))
    cover = rng.uniform(*config.cover_frames)
    begin = rng.uniform(-0.5 * enter, max(len(frames) - enter - 0.5 * cover, 1.0))
    at = int(np.clip(begin + enter + cover / 2, 0, len(frames) - 1))
    extent = half[at]
    size = extent * rng.uniform(*config.size)
    mesh = other_hand(rng) if kind == "hand" else make_thing(rng, kind, size * depth)
    # It heads for a place on the hand and does not follow the hand fully.
    target = rays[at] + rng.uniform(0.0, 1.0) * (rays - rays[at]) + rng.uniform(-0.35, 0.35, 2) * extent
    way = rng.uniform(0, 2 * np.pi)
    way_out = way + rng.choice([0.0, np.pi]) + rng.normal(0, 0.5)
    far = 1.6 * (extent + size)
    come = far * (1 - minimum_jerk((frames - begin) / enter))[:, None] * [np.cos(way), np.sin(way)]
    go = (
        far
        * minimum_jerk((frames - begin - enter - cover) / leave)[:, None]
        * [np.cos(way_out), np.sin(way_out)]
    )
    rays = target + come + go
    # Another hand reaches in from where it comes; other things stand or lie as they like.
    if kind == "hand":
        start = rotation_of_y_to(np.array([np.cos(way), np.sin(way), rng.uniform(-0.3, 0.1)]))
        start = start @ rotations_of(np.array([0.0, rng.uniform(-3.0, 3.0), 0.0]))
    else:
        tilt = rng.uniform(-0.5, 0.5, 3) if rng.random() < 0.6 else rng.uniform(-3, 3, 3)
        start = rotations_of(tilt)
    turn = rotations_of(frames[:, None] * rng.normal(0, 0.02, 3))
    position = np.column_stack([rays, np.ones(len(rays))]) * depth
    return Track(mesh, turn @ start, position, surface(rng, kind), rng.uniform(0.0, 0.25))


def passing_things(
    rng: np.random.Generator,
    moments: Float[ndarray, "t"],
    hand: Float[ndarray, "t 778 3"],
    config: OccluderConfig,
    other_hand: Callable[[np.random.Generator], Mesh],
) -> list[Track]:
    """The things that pass in front of a hand in one sequence, none to two: the arguments are those of
    `passing` and `add_covers`."""
    count = 0
    if rng.random() < config.probability:
        count = 2 if rng.random() < config.second_probability else 1
    rays = hand[..., :2] / hand[..., 2:]
    low, high = rays.min(1), rays.max(1)
    near, half = float(hand[..., 2].min()), (high - low).max(1) / 2
    centre = (low + high) / 2
    return [passing(rng, moments, centre, half, near, config, other_hand) for _ in range(count)]


def held(
    rng: np.random.Generator, rotation: Float[ndarray, "t 3 3"], wrist: Float[ndarray, "t 3"], side: float
) -> Track:
    """A thing lying in the palm. rotation, wrist: the hand's orientation and place in camera space; side: 1
    right, -1 left."""
    kind = str(rng.choice(["cylinder", "bottle", "ball", "box"]))
    mesh = make_thing(
        rng, kind, rng.uniform(28.0, 45.0) if kind in ("ball", "box") else rng.uniform(40.0, 75.0)
    )
    # Across the palm: the thing's long axis (y) along the hand's z, tilted a little.
    start = rotations_of(rng.normal(0, 0.2, 3)) @ rotations_of(np.array([np.pi / 2, 0.0, 0.0]))
    place = np.array([-85.0 * side, -np.abs(mesh.vertices[:, [0, 2]]).max() - 18.0, 8.0])
    return Track(mesh, rotation @ start, wrist + rotation @ place, surface(rng, kind), rng.uniform(0.0, 0.25))


def rotation_of_y_to(direction: Float[ndarray, "3"]) -> Float[ndarray, "3 3"]:
    """A rotation that takes the y axis to a direction (of any length)."""
    y = direction / np.linalg.norm(direction)
    x = np.cross(y, [0.2, 0.1, 1.0])
    x /= np.linalg.norm(x)
    return np.stack([x, y, np.cross(x, y)], axis=1)
