"""Darkening where fingers and palm shade each other from the surroundings' light: what tells a finger before
the palm from the palm."""

from typing import no_type_check

import numpy as np
from jaxtyping import Float
from numba import njit
from numpy import ndarray

# Balls along the bones of the 21 joints: (joint, joint, places between them, radius in mm).
_FINGER_RADII = {
    1: (13.0, 10.0, 9.0),
    5: (9.0, 8.0, 7.0),
    9: (9.0, 8.0, 7.0),
    13: (8.5, 7.5, 6.5),
    17: (7.5, 6.5, 5.5),
}
_BALLS = [
    (first + k, first + k + 1, share, radius)
    for first, radii in _FINGER_RADII.items()
    for k, radius in enumerate(radii)
    for share in ((0.15, 0.5, 0.85) if k == 0 else (0.3, 0.7))
] + [
    (0, knuckle, share, radius)
    for knuckle, radius in ((5, 13.0), (9, 12.0), (13, 11.5), (17, 11.0))
    for share in (0.35, 0.65, 0.95)
]
FROM, TO = (np.array([ball[k] for ball in _BALLS]) for k in (0, 1))
SHARE, RADIUS = (np.array([ball[k] for ball in _BALLS]) for k in (2, 3))


@njit(cache=True)
@no_type_check
def _openness(vertices, normals, centres, radii, strength, out):
    for i in range(out.shape[0]):
        left = 1.0
        for k in range(centres.shape[0]):
            x, y, z = (
                centres[k, 0] - vertices[i, 0],
                centres[k, 1] - vertices[i, 1],
                centres[k, 2] - vertices[i, 2],
            )
            ahead = normals[i, 0] * x + normals[i, 1] * y + normals[i, 2] * z
            if ahead <= 0.0:
                continue
            squared, cover = x * x + y * y + z * z, radii[k] * radii[k]
            if squared < 36.0 * cover:
                left *= 1.0 - min(
                    strength * ahead / np.sqrt(max(squared, 1.0)) * cover / max(squared, cover), 0.95
                )
        out[i] = left


def openness(
    vertices: Float[ndarray, "v 3"],
    normals: Float[ndarray, "v 3"],
    joints: Float[ndarray, "h 21 3"],
    strength: float,
) -> Float[ndarray, "v"]:
    """How much of the surroundings each vertex still sees past the hand itself: 1 all, towards 0 none.

    vertices (camera space, mm) with unit normals: those of the hands, and of whatever else they shade.
    joints: the 21 of each hand. strength: 0 leaves all light, 1 is a ball's own cover of the cosine-weighted
    hemisphere: cosine times (radius / distance)^2. A ball behind a vertex's own surface shades nothing, so
    bones do not shade their skin.
    """
    centres = (joints[:, FROM] + SHARE[:, None] * (joints[:, TO] - joints[:, FROM])).reshape(-1, 3)
    out = np.empty(len(vertices), np.float32)
    _openness(vertices, normals, centres, np.tile(RADIUS, len(joints)), strength, out)
    return out
