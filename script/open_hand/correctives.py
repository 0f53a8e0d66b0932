"""Pose correctives (posedirs): what linear blend skinning must add so that a bent hand has the shape and
volume of flesh over bones."""

import numpy as np
import roma
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra
from tqdm import tqdm

from tempohand.hand.anatomy import angles_to_pose
from tempohand.skeleton import NUM_MANO_JOINTS

from .flesh import Flesh
from .rig import THUMB_BASE, vertex_edges
from .skinning import dual_quaternion_blend, linear_blend
from .volume import Parts

RIDGE = 0.0007
REACH_MM, THUMB_REACH_MM = 22.0, 32.0  # along the skin: where a joint's influence begins to be held back
FARTHEST = 2.0  # in reaches: beyond it a joint moves nothing
ROUNDS = 6


class Correctives:
    """The fit for one hand at rest, all in mm; `posedirs` [V, 3, 135] is the result of `fit`."""

    def __init__(self, vertices, faces, joints, tips, weights, softness):
        """vertices [V, 3], faces [F, 3], joints [16, 3], fingertips [5] (vertex ids), skin weights [V, 16],
        softness [V] (volume.Parts)."""
        self.vertices = vertices
        self.joints = joints
        self.weights = weights
        self.flesh = Flesh(vertices, faces, joints, tips, weights)
        self.parts = Parts(faces, weights, softness)
        self.volumes = self.parts.volumes(vertices)
        reach = np.full(NUM_MANO_JOINTS - 1, REACH_MM)
        reach[THUMB_BASE - 1] = THUMB_REACH_MM
        self.distance = np.repeat(_distances_along_skin(vertices, faces, joints) / reach, 9, axis=1)
        self.posedirs = np.zeros((len(vertices), 3, 9 * (NUM_MANO_JOINTS - 1)))

    def targets(self, angles: torch.Tensor) -> np.ndarray:
        """The wanted hands [N, V, 3] for joint angles [N, 15, 3] in degrees: settled flesh, then swollen to
        the volumes of the rest pose."""
        rotations = rotations_of(angles)
        starts = dual_quaternion_blend(rotations, self.vertices, self.joints, self.weights)
        inner = dual_quaternion_blend(rotations, self.flesh.inner, self.joints, self.weights)
        pairs = tqdm(zip(starts, inner), total=len(starts), desc="flesh over bones")
        return np.stack([self.parts.swell(self.flesh.settle(*pair), self.volumes) for pair in pairs])

    def pose(self, angles: torch.Tensor) -> np.ndarray:
        """Hands [N, V, 3] of the fitted model."""
        features, skinned, turns = self._parts_of_pose(angles)
        return skinned + np.einsum("nvab,nvb->nva", turns, np.einsum("np,vbp->nvb", features, self.posedirs))

    def errors(self, angles: torch.Tensor, targets: np.ndarray) -> str:
        """How far the fitted model is from `targets` [N, V, 3], in words."""
        hands = self.pose(angles)
        away = np.linalg.norm(hands - targets, axis=-1)
        kept = np.array([self.parts.volumes(hand)[-1] for hand in hands]) / self.volumes[-1] - 1
        errors = f"{away.mean():.2f} mm mean, {away.max(1).mean():.2f} mm at the worst vertex"
        return f"{errors}, volume {kept.min():+.1%} to {kept.max():+.1%}"

    def fit(self, angles: torch.Tensor, targets: np.ndarray) -> None:
        """Ridge regression of what skinning lacks, taken back to the rest pose, on the entries of R - I of
        the joints nearby.

        The regression keeps less volume than its targets have: in a few rounds the targets are swollen by
        what was lost.
        """
        features, skinned, turns = self._parts_of_pose(angles)
        products = features.T @ features
        ridge = RIDGE * len(features) * (1 + self.distance**4)
        wanted = targets
        for _ in range(ROUNDS):
            offsets = np.linalg.solve(turns, (wanted - skinned)[..., None])[..., 0]
            sides = np.einsum("np,nvc->vpc", features, offsets)
            for vertex, near in enumerate(self.distance < FARTHEST):
                matrix = products[np.ix_(near, near)] + np.diag(ridge[vertex, near])
                self.posedirs[vertex][:, near] = np.linalg.solve(matrix, sides[vertex, near]).T
            lost = [self.volumes - self.parts.volumes(hand) for hand in self.pose(angles)]
            wanted = np.stack(
                [self.parts.swell(hand, self.parts.volumes(hand) + loss) for hand, loss in zip(wanted, lost)]
            )

    def _parts_of_pose(self, angles: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rotations = rotations_of(angles)
        skinned, turns = linear_blend(rotations, self.vertices, self.joints, self.weights)
        features = (rotations[:, 1:] - torch.eye(3, dtype=rotations.dtype)).flatten(1)
        return features.numpy(), skinned.numpy(), turns.numpy()


def rotations_of(angles: torch.Tensor) -> torch.Tensor:
    """Rotation matrices [N, 16, 3, 3] of joint angles [N, 15, 3] in degrees."""
    return roma.rotvec_to_rotmat(angles_to_pose(angles).unflatten(-1, (-1, 3)))


def _distances_along_skin(vertices: np.ndarray, faces: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """From each vertex to the skin around each finger joint, along edges: [V, 15]."""
    first, second = vertex_edges(faces).T
    lengths = np.linalg.norm(vertices[first] - vertices[second], axis=1)
    graph = csr_matrix((lengths, (first, second)), shape=(len(vertices),) * 2)
    result = []
    for joint in joints[1:]:
        straight = np.linalg.norm(vertices - joint, axis=1)
        around = np.flatnonzero(straight < 1.5 * straight.min())
        result.append(dijkstra(graph, directed=False, indices=around, min_only=True))
    return np.stack(result, axis=1)
