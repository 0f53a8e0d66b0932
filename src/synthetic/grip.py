"""What a hand holds, made to measure: as thick as the room that the bent fingers leave, and where they leave
it."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from tempohand.synthetic.motion import rotations_of
from tempohand.synthetic.objects import Mesh, ball, bottle, box, cylinder
from tempohand.synthetic.occluders import Track, surface

FLESH_MM = 9.0  # from a finger's bone to its skin
PALM_MM = 14.0  # from the palm's bones to its skin
LEAST_MM, MOST_MM = 6.0, 42.0  # radius: from a pen to a large bottle
KINDS = ("cylinder", "bottle", "ball", "box")


def _room(joints: Float[ndarray, "21 3"]) -> tuple[Float[ndarray, "2"], float]:
    """Middle (x, y) and radius of the largest circle between palm and fingers, seen along the knuckles.
    joints: the right hand's, hand frame."""
    flat = joints[:, :2]
    bones = [(0, first) for first in (5, 9, 13)] + [
        (first + k, first + k + 1) for first in (5, 9, 13) for k in range(3)
    ]
    a, b = (flat[[bone[k] for bone in bones]] for k in (0, 1))
    thick = np.array([PALM_MM] * 3 + [FLESH_MM] * 9)
    x, y = np.meshgrid(np.linspace(-150, -40, 23), np.linspace(-75, -PALM_MM, 16))
    centres = np.column_stack([x.ravel(), y.ravel()])[:, None]
    share = np.clip(((centres - a) * (b - a)).sum(-1) / np.maximum(((b - a) ** 2).sum(-1), 1e-6), 0, 1)
    room = (np.linalg.norm(centres - a - share[..., None] * (b - a), axis=-1) - thick).min(1)
    # Inside the hook of the fingers: no further from the palm than the fingertips reach.
    inside = centres[:, 0, 1] > flat[[8, 12, 16], 1].min() - 10.0
    best = int(np.argmax(np.where(inside, np.minimum(room, MOST_MM), -np.inf)))
    return centres[best, 0], float(np.clip(room[best], LEAST_MM, MOST_MM))


def gripped(
    rng: np.random.Generator,
    joints: Float[ndarray, "21 3"],
    rotation: Float[ndarray, "t 3 3"],
    wrist: Float[ndarray, "t 3"],
    side: float,
) -> Track:
    """A thing that the fingers close about, fixed to the hand.

    joints: of a bent hand in the hand frame of a right hand, mm from the wrist; rotation, wrist: the hand's
    orientation and place in camera space; side: 1 right, -1 left.
    """
    (x, y), radius = _room(joints)
    radius = max(radius * rng.uniform(0.75, 1.0), LEAST_MM)
    kind = str(rng.choice(KINDS))
    mesh = _made(rng, kind, radius)
    # Its long axis (y) along the knuckles (z), tilted a little, and not always held in its middle.
    slant = rotations_of(rng.normal(0, 0.12, 3)) @ rotations_of(np.array([np.pi / 2, 0.0, 0.0]))
    reach = max(float(np.ptp(mesh.vertices[:, 1])) / 2 - 40.0, 0.0)
    place = np.array([x * side, y, rng.uniform(-reach, reach)])
    return Track(mesh, rotation @ slant, wrist + rotation @ place, surface(rng, kind), rng.uniform(0.0, 0.3))


def _made(rng: np.random.Generator, kind: str, radius: float) -> Mesh:
    if kind == "cylinder":  # a can, a glass, a stick, a pen
        return cylinder(radius, rng.uniform(60.0, 220.0), rng.uniform(0.8, 1.2))
    if kind == "bottle":
        return bottle(radius, rng.uniform(120.0, 260.0), rng)
    if kind == "ball":
        return ball(radius)
    width = radius * rng.uniform(0.5, 1.35)  # a telephone, a book, a box
    return box(
        2 * np.array([width, rng.uniform(40.0, 90.0), np.sqrt(max(2 * radius**2 - width**2, 20.0)) * 0.8])
    )
