"""A person's other hand, near the first, beside it, crossing or touching it: the occluder that looks most
like the hand itself."""

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from tempohand.hand.anatomy import angles_to_pose
from tempohand.render import vertex_normals
from tempohand.synthetic.curves import wobble
from tempohand.synthetic.motion import HAND_CENTRE, rotations_of
from tempohand.synthetic.objects import Mesh, forearm_vertices
from tempohand.synthetic.occluders import Track

MIRROR = np.array([-1.0, 1.0, 1.0])
# of the hands being mirror images of each other, more or less: most of what two hands do together is
# symmetric
ALIKE = 0.45
BEFORE = 0.35  # of the other hand then being the one in front: it hides the first for a whole sequence
TOUCHING = 0.45  # of the hands being in one place, one just before the other; else side by side


def other_hand_of(
    rng: np.random.Generator,
    times: Float[ndarray, "t"],
    kit,
    angles: Float[ndarray, "15 3"],
    betas: Float[ndarray, "10"],
    profile: tuple[Float[ndarray, "n"], Float[ndarray, "n"]],
    rotation: Float[ndarray, "t 3 3"],
    joints: Float[ndarray, "t 21 3"],
    is_right: bool,
) -> Track:
    """The other hand and its arm as one rigid thing that more or less goes with the first.

    angles: its pose; betas, profile: the person's shape and arm (`forearm_vertices`); rotation, joints,
    is_right: of the first hand, camera space.
    """
    output = kit.layer(angles_to_pose(torch.from_numpy(angles)).float(), torch.from_numpy(betas).float())
    hand = output.vertices.double().numpy()[None]
    bend = rotations_of(np.radians(rng.uniform(-30, 30)) * np.array([0.0, 0.0, 1.0])) @ rotations_of(
        np.radians(rng.uniform(-12, 12)) * np.array([0.0, 1.0, 0.0])
    )
    arm = forearm_vertices(hand[:, kit.loop], np.eye(3)[None], bend[None, :, 0], *profile)
    sign = MIRROR if is_right else np.ones(3)
    vertices = (np.concatenate([hand, arm], axis=1)[0] - HAND_CENTRE) * sign
    points = (output.joints.double().numpy() - HAND_CENTRE) * sign
    faces = np.concatenate([kit.faces, kit.forearm_faces])
    faces = faces[:, ::-1] if is_right else faces
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
        apart, depth = (
            rng.uniform(0.0, 60.0),
            rng.choice([-1.0, 1.0], p=[BEFORE, 1 - BEFORE]) * rng.uniform(25.0, 60.0),
        )
    else:
        apart, depth = rng.uniform(70.0, 190.0), rng.normal(0.0, 50.0)
    offset = np.array([np.cos(around) * apart, np.sin(around) * apart, depth])
    # The second hand stays behind the near plane however close the first one is.
    offset[2] = max(offset[2], 120.0 - centre[:, 2].min())
    along = rng.uniform(0.4, 1.0) * (centre - centre[middle]) + rng.uniform(0.0, 25.0) * wobble(
        rng, times, 3, (0.2, 1.5)
    )
    turn = rotations_of(np.radians(rng.uniform(0.0, 12.0)) * wobble(rng, times, 3, (0.2, 1.5)))
    nothing = np.ones((1, 1, 3), np.float32)
    return Track(mesh, turn @ start, centre[middle] + offset + along, nothing, 0.0, points)
