"""The forearm that continues a hand's open wrist, bare or in a sleeve, and the upper arm beyond its elbow."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from numpy import ndarray

from tempohand.synthetic.curves import wobble
from tempohand.synthetic.motion import rotations_of

RINGS_MM = (5, 12, 22, 35, 50, 70, 95, 125, 160, 200, 250, 320)  # of the forearm, from the wrist loop


@dataclass(frozen=True)
class PersonConfig:
    """The person whose hand it is. Ranges are (least, greatest)."""

    right_probability: float
    shape_sigma: float  # of the shape coefficients, which are cut at two sigma
    sleeve_probability: float
    sleeve_rings: tuple[int, int]  # a sleeve begins at one of these of RINGS_MM, the second excluded
    sleeve_width: tuple[float, float]  # its radius over the arm's
    both_probability: float  # that the other hand is near too
    arm: float  # where the arm ends, mm from the wrist
    # degrees that it bends at the last of RINGS_MM but one, constant over a sequence
    elbow: tuple[float, float]


class ForearmRings(NamedTuple):
    """The cross-sections of an arm: their distances from the wrist loop along it (mm), and their radii over
    those of the bare arm."""

    distance: Float[ndarray, "n"]
    swell: Float[ndarray, "n"]


def sample_rings(rng: np.random.Generator, cloth_from: int, person: PersonConfig) -> ForearmRings:
    """The rings of an arm whose sleeve begins at ring `cloth_from`: that ring is doubled, so that it begins
    with a step."""
    double = min(cloth_from, len(RINGS_MM) - 1)
    rings = np.insert(np.array(RINGS_MM, float), double, RINGS_MM[double] - 1.0)
    rings[-1] = person.arm
    swell = np.ones(len(rings))
    cloth = np.arange(len(rings)) >= cloth_from
    width, folds = rng.uniform(*person.sleeve_width), rng.uniform(0.0, 0.06)
    swell[cloth] = width * (1 + folds * rng.normal(0, 1, cloth.sum()))
    return ForearmRings(rings, swell)


def forearm_direction(
    rng: np.random.Generator, times: Float[ndarray, "t"], rotation: Float[ndarray, "t 3 3"]
) -> Float[ndarray, "t 3"]:
    """Unit vectors along the arm, away from the wrist, world space: the wrist bends up to some 45 degrees,
    deviates up to some 15."""
    bend = np.radians(rng.uniform(-30, 30) + 12 * wobble(rng, times, 1, (0.2, 1.2))[:, 0])
    deviate = np.radians(rng.uniform(-12, 12) + 5 * wobble(rng, times, 1, (0.2, 1.2))[:, 0])
    turn = rotations_of(bend[:, None] * [0.0, 0.0, 1.0]) @ rotations_of(deviate[:, None] * [0.0, 1.0, 0.0])
    return (rotation @ turn)[:, :, 0]


def upper_arm_direction(
    rng: np.random.Generator,
    forearm: Float[ndarray, "t 3"],
    rotation: Float[ndarray, "t 3 3"],
    person: PersonConfig,
) -> Float[ndarray, "t 3"] | None:
    """Unit vectors from the elbow to the shoulder, world space: bent to any side of the forearm, which turns
    about itself; None: straight."""
    angle = np.radians(rng.uniform(*person.elbow))
    around = rng.uniform(0, 2 * np.pi)
    if angle == 0.0:
        return None
    side = np.cross(forearm, rotation[:, :, 1])
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    away = np.cos(around) * side + np.sin(around) * np.cross(side, forearm)
    return np.cos(angle) * forearm + np.sin(angle) * away


def forearm_topology(loop: Integer[ndarray, "e"], num_vertices: int, rings: int) -> Integer[ndarray, "f 3"]:
    """Faces that join the wrist loop, `rings` rings of the same number of vertices, and one last point that
    closes the end.

    Indices count the hand's `num_vertices` first, then the forearm's as `forearm_vertices` gives them.
    """
    edge = len(loop)
    columns = np.vstack([loop, num_vertices + np.arange(rings * edge).reshape(rings, edge)])
    a, b = columns[:-1], columns[1:]
    a_next, b_next = np.roll(a, -1, axis=1), np.roll(b, -1, axis=1)
    strips = [np.stack([a_next, a, b], -1), np.stack([a_next, b, b_next], -1)]
    end = columns[-1]
    cap = np.stack([np.roll(end, -1), end, np.full(edge, num_vertices + rings * edge)], -1)
    return np.concatenate([*(strip.reshape(-1, 3) for strip in strips), cap])


def forearm_vertices(
    loop: Float[ndarray, "t e 3"],
    rotation: Float[ndarray, "t 3 3"],
    direction: Float[ndarray, "t 3"],
    rings: ForearmRings,
    upper_arm: Float[ndarray, "t 3"] | None = None,
) -> Float[ndarray, "t m 3"]:
    """Vertices of a forearm, mm, in the space of the hand: n rings of e vertices, and the point that closes
    the end.

    loop: the posed wrist loop. rotation: the hand's (its x axis leads to the arm). direction: unit vector
    from the wrist along the arm. upper_arm: unit vector from the elbow, the last ring but one, to the
    shoulder; None: the arm is straight. The arm leaves in the hand's own direction, bends to `direction`
    within some 50 mm, and widens from the wrist to the elbow.
    """
    centre = loop.mean(1, keepdims=True)  # (t, 1, 3)
    local = (loop - centre) @ rotation  # (t, e, 3), hand axes
    axis = rotation[:, :, 0]
    steps = np.diff(rings.distance, prepend=0.0)
    bend = np.clip(rings.distance / 50.0, 0.0, 1.0)
    tangent = (1 - bend)[:, None] * axis[:, None] + bend[:, None] * direction[:, None]
    tangent /= np.linalg.norm(tangent, axis=-1, keepdims=True)
    if upper_arm is not None:
        tangent[:, -1] = upper_arm
    middle = centre + np.cumsum(tangent * steps[:, None], axis=1)  # (t, n, 3)
    if upper_arm is not None:  # the elbow's own section halves the angle
        half_way = tangent[:, -2] + upper_arm
        tangent[:, -2] = half_way / np.linalg.norm(half_way, axis=-1, keepdims=True)
    # Cross-sections: the hand's y and z axes, made perpendicular to the arm's own direction; the loop's own
    # form fades into an ellipse.
    y = rotation[:, None, :, 1] - tangent * (rotation[:, None, :, 1] * tangent).sum(-1, keepdims=True)
    y /= np.linalg.norm(y, axis=-1, keepdims=True)
    z = np.cross(tangent, y)
    plane = local[..., 1:]
    radius = np.linalg.norm(plane, axis=-1, keepdims=True)
    mean_radius = radius.mean(1, keepdims=True)
    ellipse = plane / np.maximum(radius, 1e-6) * mean_radius * [0.88, 1.1]
    fade = np.clip(rings.distance / 60.0, 0.0, 1.0)[None, :, None, None]
    section = (1 - fade) * plane[:, None] + fade * ellipse[:, None]
    widen = (1 + 0.55 * np.clip(rings.distance / 230.0, 0, 1) ** 1.3) * rings.swell
    section = section * widen[:, None, None]
    # The loop's own slant along x fades out too.
    along = local[:, None, :, :1] * (1 - fade)
    vertices = (
        middle[:, :, None]
        + section[..., :1] * y[:, :, None]
        + section[..., 1:] * z[:, :, None]
        + along * tangent[:, :, None]
    )
    end = middle[:, -1:] + tangent[:, -1:] * 15.0
    return np.concatenate([vertices.reshape(len(loop), -1, 3), end], axis=1)
