"""Pose correctives that give back some of the volume a bent joint loses: flesh pressed together on the palm's side swells."""

import numpy as np
import roma
import torch

from tempohand.hand.anatomy import FLEXION, RANGE_DEG, angles_to_pose
from tempohand.hand.surface import close_wrist
from tempohand.render import vertex_normals
from tempohand.skeleton import NUM_MANO_JOINTS

from .rig import smoothed

GIVEN_BACK = 0.5  # of the lost volume: skin folds and flesh yields, too
GREATEST_MM = 2.0
STEPS = 6
RIDGE = 1e-3


def bulge_correctives(template: np.ndarray, faces: np.ndarray, weights: np.ndarray, skin) -> np.ndarray:
    """posedirs [V, 3, 135] of the swelling: template [V, 3] mm, weights [V, 16].

    skin(rotations [N, 16, 3, 3]) returns the hand without it [N, V, 3] and the turns [N, V, 3, 3] of its skin. Each joint is flexed alone;
    the offsets are along normals, where faces have shrunk, and least squares puts them into the entries of that joint's R - I.
    """
    closed = np.concatenate([faces, close_wrist(faces)])
    directions = np.zeros((len(template), 3, 9 * (NUM_MANO_JOINTS - 1)))
    rest_volume, rest_areas = _volume(template, closed), _vertex_areas(template, faces)
    for joint in range(NUM_MANO_JOINTS - 1):
        angles = np.zeros((STEPS, NUM_MANO_JOINTS - 1, 3))
        angles[:, joint, FLEXION] = np.linspace(0, RANGE_DEG[joint, FLEXION, 1], STEPS + 1)[1:]
        rotations = roma.rotvec_to_rotmat(angles_to_pose(torch.from_numpy(angles)).unflatten(-1, (-1, 3)))
        posed, turns = skin(rotations)
        offsets = np.zeros_like(posed)
        for k, hand in enumerate(posed):
            areas = _vertex_areas(hand, faces)
            pressed = smoothed(np.clip(rest_areas / areas - 1, 0, 1)[:, None], faces, rounds=4)[:, 0]
            pressed = np.clip(pressed - 0.05, 0, None)
            lost = max(0.0, rest_volume - _volume(hand, closed))
            height = min(GIVEN_BACK * lost / max((pressed * areas).sum(), 1e-9), GREATEST_MM / max(pressed.max(), 1e-9))
            normals = smoothed(vertex_normals(hand, faces).astype(float), faces, rounds=2)
            offsets[k] = np.linalg.solve(turns[k], (height * pressed)[:, None, None] * normals[..., None])[..., 0]
        features = (rotations[:, joint + 1] - torch.eye(3, dtype=rotations.dtype)).flatten(1).numpy()
        normal = features.T @ features + RIDGE * STEPS * np.eye(9)
        solution = np.linalg.solve(normal, features.T @ offsets.reshape(STEPS, -1))
        directions[:, :, 9 * joint : 9 * joint + 9] = solution.reshape(9, len(template), 3).transpose(1, 2, 0)
    return directions


def _volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def _vertex_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6
    return np.bincount(faces.ravel(), np.repeat(areas, 3), minlength=len(vertices))
