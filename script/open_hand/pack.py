"""The last steps: vertex order, joint regressor, shape and pose spaces, and the file."""

from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from tempohand.hand.anatomy import AXES, MANO_FINGERS
from tempohand.skeleton import FINGERS, NUM_BETAS, TIP_VERTICES
from tempohand.writing import whole

from .rig import smoothed

SUPPORT = 60  # vertices a joint may be regressed from
SPREAD_MM = 20.0  # what keeps the shares even: many small ones rather than a few large ones
# Adult hand length, wrist to the tip of the middle finger: mean and standard deviation in mm. The spread is
# ANSUR II's (2012; men 193.3 +- 9.9, women 181.1 +- 10.1, pooled in equal parts); the mean is the bone-length
# tables' own, so that the template's bones are theirs.
HAND_LENGTH_MM, HAND_LENGTH_SIGMA_MM = 184.0, 11.7

# Cosines between a vertex's normal and the back of its bone; and where a nail lies between the last joint (0)
# and the tip (1).
PALM_FACING, NAIL_FACING = -0.15, 0.75
NAIL_ALONG = (0.42, 0.97)
SOFTNESS = (0.3, 1.0, 0.05)  # of back, palm and nail


def vertex_order(vertices: np.ndarray, tips: np.ndarray) -> np.ndarray:
    """A permutation `order` (new[i] = old[order[i]]) that puts the five fingertips and their neighbours at
    the ids other code bases know."""
    fixed: dict[int, int] = {}
    for finger, tip in zip(MANO_FINGERS, tips):
        column = FINGERS.index(finger)
        wanted = list(dict.fromkeys([ids[column] for ids in TIP_VERTICES.values()]))
        nearest = np.argsort(np.linalg.norm(vertices - vertices[tip], axis=1))
        fixed.update(zip(wanted, (int(v) for v in nearest)))
    rest = iter(sorted(set(range(len(vertices))) - set(fixed.values())))
    return np.array([fixed[i] if i in fixed else next(rest) for i in range(len(vertices))])


def joint_regressor(hands: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Non-negative regressor [16, V] with rows that sum to 1, least squares over hands [N, V, 3] and joints
    [N, 16, 3].

    The mean hand counts as much as all others together, so the template's joints are met almost exactly.
    """
    mean_hand, mean_joints = hands.mean(0), joints.mean(0)
    regressor = np.zeros((joints.shape[1], hands.shape[1]))
    sample = np.linspace(0, len(hands) - 1, 60).astype(int)
    for j, place in enumerate(mean_joints):
        distance = np.linalg.norm(mean_hand - place, axis=1)
        near = np.argsort(distance)[: SUPPORT * (3 if j == 0 else 1)]
        rows = [
            hands[sample][:, near].transpose(0, 2, 1).reshape(-1, len(near)),
            8 * mean_hand[near].T,
            np.full((1, len(near)), 1e4),
        ]
        sides = [joints[sample, j].ravel(), 8 * place, [1e4]]
        spread = SPREAD_MM * np.eye(len(near))
        solution, _ = nnls(np.concatenate([*rows, spread]), np.concatenate([*sides, np.zeros(len(near))]))
        regressor[j, near] = solution / solution.sum()
    return regressor


def shape_space(hands: np.ndarray, regressor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Template [V, 3] and directions [V, 3, 10], ordered by variance; a unit of each is one standard
    deviation of adult hands.

    hands [N, V, 3] mm, flat. The origin becomes the mean of a hand's vertices. The template has the mean
    length; the first direction (size, almost alone) is scaled so that all of them together give the length's
    deviation.
    """
    hands = hands - hands.mean(1, keepdims=True)
    mean = hands.mean(0)
    farthest = mean[:, 0].argmin()

    def length(points):
        return regressor[0] @ points[:, 0] - points[farthest, 0]

    scale = HAND_LENGTH_MM / length(mean)
    offsets = scale * (hands - mean).reshape(len(hands), -1)
    _, sigmas, directions = np.linalg.svd(offsets / np.sqrt(len(hands)), full_matrices=False)
    directions = (directions[:NUM_BETAS] * sigmas[:NUM_BETAS, None]).reshape(NUM_BETAS, -1, 3)
    for direction in directions:
        direction *= np.sign(length(direction))  # a positive coefficient is a longer hand
    others = sum(length(direction) ** 2 for direction in directions[1:])
    directions[0] *= np.sqrt(HAND_LENGTH_SIGMA_MM**2 - others) / length(directions[0])
    return scale * mean, directions.transpose(1, 2, 0)


def region(
    vertices: np.ndarray, normals: np.ndarray, joints: np.ndarray, tips: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """What each vertex is covered with, uint8 [V]: BACK (of the hand, and forearm), PALM or NAIL. For
    colouring a picture."""
    back = np.concatenate([[[0.0, 1.0, 0.0]], np.cross(AXES[:, 2], AXES[:, 0])])
    facing = (normals * (weights @ back)).sum(1)
    result = np.full(len(vertices), BACK, dtype=np.uint8)
    result[(facing < PALM_FACING) & (vertices[:, 0] < joints[0, 0])] = PALM
    for f, tip in enumerate(tips):
        last = 3 + 3 * f
        along = (vertices - joints[last]) @ AXES[last - 1, 2] / np.linalg.norm(vertices[tip] - joints[last])
        on_nail = (along > NAIL_ALONG[0]) & (along < NAIL_ALONG[1]) & (facing > NAIL_FACING)
        result[(weights[:, last] > 0.5) & on_nail] = NAIL
    return result


def softness(region: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """How readily skin swells, [V]: the palm's side most, the back's, thin over bones, less, a nail
    hardly."""
    return smoothed(np.array(SOFTNESS)[region][:, None], faces, rounds=3)[:, 0]


def save(path: Path, **tables: np.ndarray) -> None:
    """Writes the file: numbers as float32, vertices and faces as uint32 and uint8."""
    packed = {
        key: table if table.dtype.kind in "iu" else table.astype(np.float32) for key, table in tables.items()
    }
    with whole(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **packed)
