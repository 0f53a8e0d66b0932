"""How far a posed hand passes through itself: what tells a possible pose from an impossible one."""

import numpy as np
from jaxtyping import Float, Int

from tempohand.hand.surface import close_wrist
from tempohand.skeleton import NUM_MANO_JOINTS

# Parts: the palm (0) and MANO's five fingers (1-5), by the joint that moves a vertex most.
_FINGER_OF_JOINT = np.array([0, *((joint - 1) // 3 + 1 for joint in range(1, NUM_MANO_JOINTS))])


def penetration_depth(
    vertices: Float[np.ndarray, "778 3"],
    faces: Int[np.ndarray, "1538 3"],
    weights: Float[np.ndarray, "778 16"],
) -> Float[np.ndarray, "778"]:
    """How deep each vertex of a finger lies inside the palm or another finger, in the unit of `vertices`; 0
    outside, and for palm vertices.

    A part is closed with a fan where it was cut from the others. A vertex is inside where the generalised
    winding number (Jacobson, Kavan and Sorkine-Hornung, 2013) exceeds a half. Proximal phalanges are not
    tested against the palm that they grow out of.
    """
    vertices = np.asarray(vertices, dtype=np.float64)
    joint = weights.argmax(1)
    part = _FINGER_OF_JOINT[joint]
    proximal = (joint > 0) & ((joint - 1) % 3 == 0)
    depth = np.zeros(len(vertices))
    for other in range(6):
        tested = np.flatnonzero((part > 0) & (part != other) & ~(proximal & (other == 0)))
        # The palm takes the faces that join it to the fingers as well.
        inside = part[faces] == other
        own = faces[inside.any(1)] if other == 0 else faces[inside.all(1)]
        if other == 0:
            own = np.concatenate([own, close_wrist(faces)])
        surface = _closed(vertices, own)
        tested = tested[~np.isin(tested, own)]
        tested = tested[_winding_number(vertices[tested], surface) > 0.5]
        if len(tested):
            depth[tested] = np.maximum(depth[tested], _distance(vertices[tested], vertices[own]))
    return depth


def _closed(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Triangles [T, 3, 3] of an open piece of surface, each of its openings closed with a fan to the
    opening's centre."""
    edges = {(int(face[k]), int(face[(k + 1) % 3])) for face in faces for k in range(3)}
    follows: dict[int, list[int]] = {}
    for start, end in edges:
        if (end, start) not in edges:
            follows.setdefault(start, []).append(end)
    caps = []
    while follows:
        loop = [next(iter(follows))]
        while (ends := follows.get(loop[-1])) is not None:
            loop.append(ends.pop())
            if not follows[loop[-2]]:
                del follows[loop[-2]]
        centre = vertices[loop].mean(0)
        caps += [np.stack([vertices[b], vertices[a], centre]) for a, b in zip(loop, loop[1:])]
    return np.concatenate([vertices[faces], np.array(caps).reshape(-1, 3, 3)])


def _winding_number(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Generalised winding number [P]: solid angles of all triangles over 4 pi (Van Oosterom and Strackee,
    1983)."""
    a, b, c = (triangles[None, :, k] - points[:, None] for k in range(3))
    la, lb, lc = (np.linalg.norm(x, axis=-1) for x in (a, b, c))
    triple = (a * np.cross(b, c)).sum(-1)
    rest = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return np.arctan2(triple, rest).sum(1) / (2 * np.pi)


def _distance(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Distance [P] from points to the nearest of the triangles, sampled at 21 places on each: exact to a
    fraction of an edge."""
    steps = [(i / 5, j / 5, (5 - i - j) / 5) for i in range(6) for j in range(6 - i)]
    samples = np.einsum("sk,tkc->tsc", np.array(steps), triangles).reshape(-1, 3)
    squared = (points**2).sum(1)[:, None] + (samples**2).sum(1)[None] - 2 * points @ samples.T
    return np.sqrt(np.maximum(squared.min(1), 0))
