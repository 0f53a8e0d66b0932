"""How a hand's flesh moves when its bones turn: the shape that the pose correctives are fitted to.

Between skin and bones lies one layer of tetrahedra. The bones' side follows the pose, the skin's side is free
and settles where every tetrahedron is turned rather than strained and keeps its volume. Solved by projective
dynamics (Bouaziz et al., "Projective Dynamics: Fusing Constraint Projections for Fast Simulation", 2014)
without inertia: the system's matrix is the same in all poses.
"""

import numpy as np
from scipy.sparse import csr_matrix

from tempohand.skeleton import NUM_MANO_JOINTS

from .rig import MANO_CHAINS, smoothed, vertex_edges

BONE_SHARE = 0.3  # how far from a bone's axis toward the skin the flesh begins
# Relative stiffness.
STRAIN = 1.0
VOLUME = 12.0
BENDING = 0.01
ITERATIONS = 40
LEAST_MM3 = 0.02  # where the palm's inner side folds at rest, tetrahedra are left out
LAST_BONE = 0.8  # the last bone's end, between the last joint (0) and the fingertip (1)
FOREARM = -0.8  # how far metacarpal axes reach back beyond the wrist, in their own lengths
PALM_MM = 7.0  # over which a place in the palm changes from one metacarpal to the next


class Flesh:
    """The layer of a hand at rest. `inner` [V, 3]: its bones' side, to be posed by whoever uses it."""

    def __init__(
        self,
        vertices: np.ndarray,
        faces: np.ndarray,
        joints: np.ndarray,
        tips: np.ndarray,
        weights: np.ndarray,
    ):
        """vertices [V, 3], faces [F, 3], joints [16, 3], fingertips [5] (vertex ids), skin weights [V, 16];
        mm."""
        count = len(vertices)
        axes = bone_axes(vertices, faces, joints, vertices[tips], weights)
        self.inner = axes + BONE_SHARE * (vertices - axes)
        tetrahedra = _layer(faces, count)
        corners = np.concatenate([vertices, self.inner])[tetrahedra]
        edges = corners[:, 1:] - corners[:, :1]
        volumes = np.linalg.det(edges) / 6
        kept = volumes > LEAST_MM3
        tetrahedra, self.volumes = tetrahedra[kept], volumes[kept, None, None]
        inverse = np.linalg.inv(edges[kept])
        gradients = np.concatenate([-inverse.sum(2, keepdims=True), inverse], axis=2)  # [T, 3, 4]
        # Deformation gradients, transposed, one under the other [3T, 3], of the skin's vertices and `inner`
        # below them.
        places = (np.repeat(np.arange(3 * len(tetrahedra)), 4), np.repeat(tetrahedra, 3, axis=0).ravel())
        self.gradients = csr_matrix((gradients.ravel(), places), shape=(3 * len(tetrahedra), 2 * count))
        self.forces = csr_matrix(self.gradients.multiply(np.repeat(self.volumes, 3)[:, None]).T)[:count]
        matrix = (STRAIN + VOLUME) * (self.forces @ self.gradients).toarray()
        laplacian = _laplacian(faces, count)
        self.bending = BENDING * np.median(np.diag(matrix)) * laplacian.T @ laplacian
        self.inverse = np.linalg.inv(matrix[:, :count] + self.bending)
        self.coupling = matrix[:, count:]

    def settle(self, start: np.ndarray, inner: np.ndarray) -> np.ndarray:
        """The skin [V, 3] over the posed `inner` [V, 3], found from `start` [V, 3], whose curvature it keeps
        where it can."""
        skin, known = start, self.bending @ start - self.coupling @ inner
        for _ in range(ITERATIONS):
            left, stretch, right = np.linalg.svd(
                (self.gradients @ np.concatenate([skin, inner])).reshape(-1, 3, 3)
            )
            mirrored = np.sign(np.linalg.det(left) * np.linalg.det(right))
            stretch[:, 2] *= mirrored
            right[:, 2] *= mirrored[:, None]
            wanted = (left * (STRAIN + VOLUME * _unit_product(stretch))[:, None]) @ right
            skin = self.inverse @ (known + self.forces @ wanted.reshape(-1, 3))
        return skin


def bone_axes(
    vertices: np.ndarray, faces: np.ndarray, joints: np.ndarray, tips: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """For each vertex [V, 3] the place on the axes of the bones that it follows: tips [5, 3], joints [16, 3],
    weights [V, 16]."""
    ends = np.zeros_like(joints)
    for chain, tip in zip(MANO_CHAINS, tips):
        ends[list(chain[:2])] = joints[list(chain[1:])]
        ends[chain[2]] = joints[chain[2]] + LAST_BONE * (tip - joints[chain[2]])
    palm = np.stack(
        [_nearest(vertices, joints[0], joints[chain[0]], FOREARM) for chain in MANO_CHAINS[:4]], axis=1
    )
    squared = ((vertices[:, None] - palm) ** 2).sum(-1)
    share = np.exp((squared.min(1, keepdims=True) - squared) / (2 * PALM_MM**2))
    places = weights[:, :1] * np.einsum("vk,vkc->vc", share / share.sum(1, keepdims=True), palm)
    for joint in range(1, NUM_MANO_JOINTS):
        places += weights[:, [joint]] * _nearest(vertices, joints[joint], ends[joint], 0.0)
    return smoothed(places, faces, rounds=2)


def _nearest(points: np.ndarray, start: np.ndarray, end: np.ndarray, least: float) -> np.ndarray:
    bone = end - start
    return start + np.clip((points - start) @ bone / (bone @ bone), least, 1)[:, None] * bone


def _layer(faces: np.ndarray, count: int) -> np.ndarray:
    """Tetrahedra [3F, 4] that fill the prisms between each face and its copy on the inner side (ids + count).

    Each prism's sides are split from the outer corner with the lower id, so that neighbours meet.
    """
    a, b, c = np.stack([np.roll(face, -face.argmin()) for face in faces]).T
    x = a + count
    y = b + count
    z = c + count
    last = np.where((b < c)[:, None], np.stack([a, b, z, c], 1), np.stack([a, b, y, c], 1))
    return np.concatenate([np.stack([x, y, z, a], 1), np.stack([a, y, z, np.minimum(b, c)], 1), last])


def _unit_product(stretch: np.ndarray) -> np.ndarray:
    """The nearest to singular values [T, 3] whose product is 1, by Newton's method."""
    near = stretch.copy()
    near[:, 2] = np.maximum(near[:, 2], 0.1)
    for _ in range(6):
        slope = np.stack([near[:, 1] * near[:, 2], near[:, 0] * near[:, 2], near[:, 0] * near[:, 1]], axis=1)
        step = ((slope * (stretch - near)).sum(1) + near.prod(1) - 1) / (slope**2).sum(1).clip(1e-6)
        near = np.clip(stretch - step[:, None] * slope, 0.05, 5)
    return near


def _laplacian(faces: np.ndarray, count: int) -> np.ndarray:
    first, second = vertex_edges(faces).T
    adjacent = np.zeros((count, count))
    adjacent[first, second] = adjacent[second, first] = 1
    return np.eye(count) - adjacent / adjacent.sum(1, keepdims=True)
