"""Volumes of the parts of a hand (palm and phalanges), and the smoothest swelling that gives parts a wanted
volume."""

import numpy as np
from scipy.sparse import csr_matrix

from tempohand.hand.surface import close_wrist
from tempohand.skeleton import NUM_MANO_JOINTS

from .rig import vertex_edges

STEPS = 4
STIFF = 0.02  # of staying against smoothness


class Parts:
    """A hand cut where the joint that moves the skin most changes, each cut closed with a fan around its
    centre; and, as part 17, the whole.

    softness [V]: how readily a place swells, against others.
    """

    def __init__(self, faces: np.ndarray, weights: np.ndarray, softness: np.ndarray):
        count = len(weights)
        nearest = weights.argmax(1)[faces]
        owner = np.where(nearest[:, 1] == nearest[:, 2], nearest[:, 1], nearest[:, 0])
        cap = close_wrist(faces)
        whole = np.concatenate([faces, cap])
        owner = np.concatenate([owner, np.zeros(len(cap), int)])
        closed, owners = [whole], [owner]
        centres = []
        for part in range(NUM_MANO_JOINTS):
            for loop in _loops(whole[owner == part]):
                fan = [(end, start, count + len(centres)) for start, end in zip(loop, np.roll(loop, -1))]
                centres.append(np.bincount(loop, minlength=count) / len(loop))
                closed.append(np.array(fan))
                owners.append(np.full(len(fan), part))
        closed.append(whole)
        owners.append(np.full(len(whole), NUM_MANO_JOINTS))
        self.triangles, self.owners = np.concatenate(closed), np.concatenate(owners)
        self.extend = csr_matrix(np.concatenate([np.eye(count), np.array(centres)]))
        first, second = vertex_edges(faces).T
        laplacian = np.zeros((count, count))
        laplacian[first, second] = laplacian[second, first] = -1
        laplacian -= np.diag(laplacian.sum(1))
        self.give = np.linalg.inv(laplacian @ laplacian / 36 + STIFF * np.diag(1 / softness))

    def volumes(self, vertices: np.ndarray) -> np.ndarray:
        """[17] of vertices [V, 3]: of each joint's part, and of the hand closed at the wrist."""
        a, b, c = (self.extend @ vertices)[self.triangles].transpose(1, 0, 2)
        return np.bincount(self.owners, (a * np.cross(b, c)).sum(1) / 6, minlength=NUM_MANO_JOINTS + 1)

    def swell(self, vertices: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Vertices [V, 3] moved smoothly and as little as may be, so that the parts have the volumes `wanted`
        [17]."""
        for _ in range(STEPS):
            gradients = self._gradients(vertices)
            moves = np.tensordot(self.give, gradients, 1)
            gram = np.tensordot(gradients, moves, ((0, 2), (0, 2)))
            vertices = vertices + np.tensordot(
                moves, np.linalg.solve(gram, wanted - self.volumes(vertices)), (1, 0)
            )
        return vertices

    def _gradients(self, vertices: np.ndarray) -> np.ndarray:
        corners = (self.extend @ vertices)[self.triangles]
        gradients = np.zeros((self.extend.shape[0], NUM_MANO_JOINTS + 1, 3))
        for k in range(3):
            across = np.cross(corners[:, (k + 1) % 3], corners[:, (k + 2) % 3]) / 6
            np.add.at(gradients, (self.triangles[:, k], self.owners), across)
        return (self.extend.T @ gradients.reshape(len(gradients), -1)).reshape(-1, NUM_MANO_JOINTS + 1, 3)


def _loops(faces: np.ndarray) -> list[list[int]]:
    """The openings of a piece of surface as vertex loops, in the direction of the faces' own edges."""
    edges = {(int(face[k]), int(face[(k + 1) % 3])) for face in faces for k in range(3)}
    follows: dict[int, list[int]] = {}
    for start, end in sorted(edges):
        if (end, start) not in edges:
            follows.setdefault(start, []).append(end)
    loops = []
    while follows:
        loop = [next(iter(follows))]
        while True:
            ends = follows[loop[-1]]
            following = ends.pop()
            if not ends:
                del follows[loop[-1]]
            if following == loop[0]:
                break
            loop.append(following)
        loops.append(loop)
    return loops
