"""The hand's mesh: closing or continuing it at the wrist, where it is open, and which skin covers what."""

import numpy as np
from jaxtyping import Float, Int, UInt8

from tempohand.hand.files import OPEN_HAND, OPEN_HAND_SOURCE

PALM, NAIL = 1, 2


def open_hand_region() -> UInt8[np.ndarray, "778"]:
    """What covers each vertex of the open hand: 0 (back of the hand, and forearm), PALM or NAIL."""
    with np.load(OPEN_HAND, allow_pickle=False) as archive:
        return archive["region"]


def open_hand_source() -> Float[np.ndarray, "1609 3"]:
    """The vertices of the mesh that the open hand's were chosen from, on its template, mm: in the order of
    MakeHuman's base mesh, the right hand's alone."""
    with np.load(OPEN_HAND_SOURCE, allow_pickle=False) as archive:
        return archive["vertices"] / 100.0


def wrist_loop(faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "e"]:
    """Vertex ids around the mesh's one opening, a ring in the direction of the faces' own edges.

    A strip that continues the mesh (a forearm) has the edges the other way round: (loop[i + 1], loop[i],
    new[i]), (loop[i + 1], new[i], new[i + 1]). Raises ValueError if the mesh has no opening or several.
    """
    faces = np.asarray(faces)
    edges = {(int(face[k]), int(face[(k + 1) % 3])) for face in faces for k in range(3)}
    follows = {start: end for start, end in edges if (end, start) not in edges}
    if not follows:
        raise ValueError("the mesh is closed: it has no wrist opening")
    loop = [min(follows)]
    while (vertex := follows[loop[-1]]) != loop[0]:
        loop.append(vertex)
    if len(loop) != len(follows):
        count = f"{len(follows)} boundary edges, {len(loop)} of them around the first"
        raise ValueError(f"the mesh has more than one opening: {count}")
    return np.array(loop)


def close_wrist(faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "t 3"]:
    """Triangles [14, 3] over the mesh's own vertices that, appended to `faces`, close it at the wrist."""
    loop = wrist_loop(faces)
    # From both ends toward the middle, so that no vertex carries all of the triangles.
    triangles, low, high = [], 0, len(loop) - 1
    while high - low > 1:
        triangles.append((loop[low + 1], loop[low], loop[high]))
        low += 1
        if high - low > 1:
            triangles.append((loop[low], loop[high], loop[high - 1]))
            high -= 1
    return np.array(triangles)
