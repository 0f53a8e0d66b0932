"""Other hands than the one that is labelled: the same person's second hand, beside it, crossing or touching
it, and another person's, which reaches in."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from tempohand.hand.anatomy import angles_to_pose
from tempohand.render import vertex_normals
from tempohand.skeleton import NUM_BETAS
from tempohand.synthetic.curves import wobble
from tempohand.synthetic.forearm import ForearmRings, PersonConfig, forearm_vertices, sample_rings
from tempohand.synthetic.hand_kit import HandKit
from tempohand.synthetic.motion import HAND_CENTRE, rotations_of, sample_key_pose
from tempohand.synthetic.objects import Mesh
from tempohand.synthetic.occluders import Track

MIRROR = np.array([-1.0, 1.0, 1.0])
# Probability that the hands are nearly mirror images: most of what two hands do together is symmetric.
ALIKE = 0.45
TOUCHING = 0.45  # that they are in one place, one just in front of the other; else they are side by side
BEFORE = 0.35  # that the other hand is then the one in front: it hides the first for a whole sequence


class ScenePerson(NamedTuple):
    """The person of a sequence: which hand is labelled, its shape coefficients, the arm, and the first ring
    of it in cloth (beyond the last for a bare arm)."""

    is_right: bool
    betas: Float[ndarray, "10"]
    rings: ForearmRings
    cloth_from: int


def other_hand_of(
    rng: np.random.Generator,
    times: Float[ndarray, "t"],
    kit: HandKit,
    angles: Float[ndarray, "15 3"],
    person: ScenePerson,
    rotation: Float[ndarray, "t 3 3"],
    joints: Float[ndarray, "t 21 3"],
) -> Track:
    """The other hand and its arm as one rigid thing that more or less goes with the first.

    times: seconds; angles: its pose, degrees; rotation, joints: the first hand's, camera space, mm.
    """
    shape = torch.from_numpy(person.betas).float()
    output = kit.layer(angles_to_pose(torch.from_numpy(angles)).float(), shape)
    hand = output.vertices.double().numpy()[None]
    bend = rotations_of(np.radians(rng.uniform(-30, 30)) * np.array([0.0, 0.0, 1.0]))
    bend = bend @ rotations_of(np.radians(rng.uniform(-12, 12)) * np.array([0.0, 1.0, 0.0]))
    arm = forearm_vertices(hand[:, kit.loop], np.eye(3)[None], bend[None, :, 0], person.rings)
    sign = MIRROR if person.is_right else np.ones(3)
    vertices = (np.concatenate([hand, arm], axis=1)[0] - HAND_CENTRE) * sign
    points = (output.joints.double().numpy() - HAND_CENTRE) * sign
    faces = kit.body_faces[:, ::-1] if person.is_right else kit.body_faces
    mesh = Mesh(
        vertices, np.ascontiguousarray(faces), vertex_normals(vertices, faces), np.zeros((len(vertices), 2))
    )

    middle = len(times) // 2
    if rng.random() < ALIKE:
        start = rotations_of(rng.normal(0, 0.35, 3)) @ (MIRROR[:, None] * rotation[middle] * MIRROR)
    else:
        start = rotations_of(rng.normal(0, 2.0, 3))
    centre = joints[:, [0, 5, 9, 13, 17]].mean(1)
    around = rng.uniform(0, 2 * np.pi)
    if rng.random() < TOUCHING:
        apart = rng.uniform(0.0, 60.0)
        depth = rng.choice([-1.0, 1.0], p=[BEFORE, 1 - BEFORE]) * rng.uniform(25.0, 60.0)
    else:
        apart, depth = rng.uniform(70.0, 190.0), rng.normal(0.0, 50.0)
    offset = np.array([np.cos(around) * apart, np.sin(around) * apart, depth])
    # The second hand stays behind the near plane however close the first one is.
    offset[2] = max(offset[2], 120.0 - centre[:, 2].min())
    along = rng.uniform(0.4, 1.0) * (centre - centre[middle])
    along = along + rng.uniform(0.0, 25.0) * wobble(rng, times, 3, (0.2, 1.5))
    turn = rotations_of(np.radians(rng.uniform(0.0, 12.0)) * wobble(rng, times, 3, (0.2, 1.5)))
    nothing = np.ones((1, 1, 3), np.float32)
    return Track(mesh, turn @ start, centre[middle] + offset + along, nothing, 0.0, points)


def reaching_hand(rng: np.random.Generator, kit: HandKit, person: PersonConfig) -> Mesh:
    """Another person's hand in some pose, its middle about the origin and its arm along +y, mm."""
    pose = angles_to_pose(torch.from_numpy(sample_key_pose(rng))).float()
    hand = kit.layer(pose, torch.zeros(NUM_BETAS)).vertices.double().numpy()[None]
    rings = sample_rings(rng, int(rng.integers(*person.sleeve_rings)), person)
    arm = forearm_vertices(hand[:, kit.loop], np.eye(3)[None], np.array([[1.0, 0.0, 0.0]]), rings)
    side = rng.choice([-1.0, 1.0])
    # Hand axes to the mesh's: x (toward the arm) becomes y; `side` mirrors z.
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, side]])
    vertices = (np.concatenate([hand, arm], axis=1)[0] - HAND_CENTRE) @ turn.T
    faces = kit.body_faces if side > 0 else kit.body_faces[:, ::-1]
    return Mesh(vertices, faces, vertex_normals(vertices, faces), vertices[:, 1:] / 128.0)
