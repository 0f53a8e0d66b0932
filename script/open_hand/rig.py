"""From the source's rig to a hand's: MANO's frame, joints where anatomy has them, skin weights around those
joints, and a flat rest pose."""

import numpy as np

from tempohand.hand.anatomy import AXES, MANO_FINGERS
from tempohand.skeleton import MANO_PARENTS, NUM_MANO_JOINTS

SOURCE_FINGER = {"thumb": 1, "index": 2, "middle": 3, "ring": 4, "pinky": 5}
THUMB_BASE = 13
MANO_CHAINS = tuple((1 + 3 * i, 2 + 3 * i, 3 + 3 * i) for i in range(5))

# How far along the source's bones each joint moves, as a fraction of the bone it moves on (negative: toward
# the wrist). The source has its finger joints at the skin's creases; a knuckle lies well inside the palm.
# Chosen to meet the measured bone lengths in docs/open_hand.md.
WRIST_INTO_HAND = 0.13
MCP_SHIFT = {"index": -0.16, "middle": -0.15, "ring": -0.15, "pinky": -0.12}
PIP_SHIFT = {"index": 0.05, "middle": 0.04, "ring": 0.05, "pinky": 0.05}
DIP_SHIFT = {"index": 0.08, "middle": 0.06, "ring": 0.13, "pinky": 0.12}
THUMB_SHIFT = (-0.05, 0.15, 0.04)
# How deep the axes of MCP, PIP and DIP lie, as a fraction of the way from the skin of the finger's back to
# the palm's. The source has them just under the back's skin (0.2 to 0.3), where bending must lose volume:
# bones lie a little nearer to the back than to the palm.
AXIS_DEPTH = (0.40, 0.44, 0.44)
# Half-widths in mm of the bands of skin that bend with MCP, PIP and DIP.
BEND_MM = {"finger": (13.0, 8.0, 6.5), "thumb": (12.0, 10.0, 8.0)}
MEMBERSHIP_MM = 5.0


def to_mano_frame(
    vertices: np.ndarray, heads: np.ndarray, labels: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Hands [N, V, 3] and bone heads [N, B, 3] in metres to millimetres with fingers -x, back +y, thumb +z,
    each hand's wrist bone at the origin."""
    bone = {label: heads[:, i] for i, label in enumerate(labels)}
    x = _unit(bone["wrist.R"] - bone["finger3-1.R"])
    across = bone["finger2-1.R"] - bone["finger5-1.R"]
    z = _unit(across - x * (across * x).sum(-1, keepdims=True))
    frame = np.stack([x, np.cross(z, x), z], axis=1)
    origin = bone["wrist.R"][:, None]
    return tuple(1000 * np.einsum("nij,nvj->nvi", frame, points - origin) for points in (vertices, heads))


def place_joints(heads: np.ndarray, tips: np.ndarray, labels: list[str]) -> np.ndarray:
    """MANO's 16 joints [N, 16, 3] from bone heads [N, B, 3] and fingertips [N, 5, 3] (MANO_FINGERS' order):
    linear in both."""
    bone = {label: heads[:, i] for i, label in enumerate(labels)}
    joints = np.zeros((len(heads), NUM_MANO_JOINTS, 3))
    joints[:, 0] = _between(bone["wrist.R"], bone["finger3-1.R"], WRIST_INTO_HAND)
    for finger, chain, tip in zip(MANO_FINGERS, MANO_CHAINS, tips.transpose(1, 0, 2)):
        number = SOURCE_FINGER[finger]
        first, second, third = (bone[f"finger{number}-{k}.R"] for k in (1, 2, 3))
        if finger == "thumb":
            shifts = THUMB_SHIFT
            base = bone["wrist.R"]
        else:
            shifts = (MCP_SHIFT[finger], PIP_SHIFT[finger], DIP_SHIFT[finger])
            base = bone[f"metacarpal{number - 1}.R"]
        for joint, (before, here, after), shift in zip(
            chain, ((base, first, second), (first, second, third), (second, third, tip)), shifts
        ):
            joints[:, joint] = _between(here, after, shift) if shift > 0 else _between(here, before, -shift)
    return joints


def centre_joints(hands: np.ndarray, faces: np.ndarray, joints: np.ndarray, tips: np.ndarray) -> np.ndarray:
    """Joints [N, 16, 3] of hands [N, V, 3], each but the wrist's and the thumb's first moved to AXIS_DEPTH
    between back and palm.

    tips [N, 5, 3]. Where the skin lies is found on the mean hand; a hand's own joint then follows the same
    two places of its own skin.
    """
    mean = hands.mean(0)
    mean_joints = joints.mean(0)
    mean_tips = tips.mean(0)
    centred = joints.copy()
    for f, chain in enumerate(MANO_CHAINS):
        for k, joint in enumerate(chain):
            if joint == THUMB_BASE:
                continue
            end = mean_tips[f] if k == 2 else mean_joints[chain[k + 1]]
            flexion, _, bone = AXES[joint - 1]
            turn = _shortest_turn(_unit(end - mean_joints[joint])[None], bone)[0]
            back = turn.T @ np.cross(bone, flexion)
            skin = [_hit(hands, mean, faces, mean_joints[joint], direction) for direction in (back, -back)]
            centred[:, joint] = _between(*skin, AXIS_DEPTH[k])
    return centred


def find_tips(
    vertices: np.ndarray, bone_weights: np.ndarray, heads: np.ndarray, labels: list[str]
) -> np.ndarray:
    """Fingertip vertex ids [5] (MANO_FINGERS' order) on a hand [V, 3]: the farthest along the last bone, near
    its axis."""
    tips = []
    for finger in MANO_FINGERS:
        number = SOURCE_FINGER[finger]
        ids = np.flatnonzero(bone_weights[:, labels.index(f"finger{number}-3.R")] > 0.5)
        before, start = (heads[labels.index(f"finger{number}-{k}.R")] for k in (2, 3))
        offset = vertices[ids] - start
        end = offset[np.linalg.norm(offset, axis=1).argmax()]
        direction = _unit(end + 0.3 * _unit(start - before))
        along = offset @ direction
        aside = np.linalg.norm(offset - along[:, None] * direction, axis=1)
        tips.append(ids[(along - 0.3 * aside).argmax()])
    return np.array(tips)


def skin_weights(
    vertices: np.ndarray,
    faces: np.ndarray,
    joints: np.ndarray,
    tips: np.ndarray,
    bone_weights: np.ndarray,
    labels: list[str],
):
    """Skin weights [V, 16] of a hand [V, 3] around `joints` [16, 3].

    Along a finger each joint's share rises smoothly over a band centred on its plane. Which finger a vertex
    belongs to is the source's answer beyond the webs, and in the palm the nearest proximal bone.
    """
    owner = np.stack(
        [bone_weights[:, _finger_columns(finger, labels)].sum(1) for finger in MANO_FINGERS], axis=1
    )
    metacarpal = [labels.index(f"metacarpal{k}.R") for k in (1, 2, 3, 4)]
    distance = np.stack(
        [_segment_distance(vertices, joints[chain[0]], joints[chain[1]]) for chain in MANO_CHAINS[:4]], axis=1
    )
    share = np.exp(-(distance**2 - distance.min(1, keepdims=True) ** 2) / (2 * MEMBERSHIP_MM**2))
    share = share / share.sum(1, keepdims=True)
    thumb_share = owner[:, 4:5]
    in_palm = bone_weights[:, [*metacarpal, labels.index("wrist.R"), labels.index("root")]].sum(
        1, keepdims=True
    )
    fingers = owner[:, :4] + share * in_palm
    membership = np.concatenate([fingers, thumb_share], axis=1)

    weights = np.zeros((len(vertices), NUM_MANO_JOINTS))
    for finger, chain, member, tip in zip(MANO_FINGERS, MANO_CHAINS, membership.T, tips):
        points = [joints[0], *(joints[j] for j in chain), tip]
        widths = BEND_MM["thumb" if finger == "thumb" else "finger"]
        rises = []
        for k in (1, 2, 3):
            normal = _unit(_unit(points[k] - points[k - 1]) + _unit(points[k + 1] - points[k]))
            rises.append(_smoothstep((vertices - points[k]) @ normal / widths[k - 1]))
        if finger == "thumb":
            rises[0] = np.ones(len(vertices))  # the ball of the thumb follows its bone as the source has it
        first = rises[0]
        second = first * rises[1]
        third = second * rises[2]
        weights[:, chain[0]] = member * (first - second)
        weights[:, chain[1]] = member * (second - third)
        weights[:, chain[2]] = member * third
    weights[:, 0] = np.clip(1 - weights[:, 1:].sum(1), 0, 1)
    weights = smoothed(weights, faces, rounds=3)
    return weights / weights.sum(1, keepdims=True)


def flatten(
    vertices: np.ndarray, joints: np.ndarray, tips: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Hands [N, V, 3], joints [N, 16, 3] and fingertips [N, 5, 3] with each bone of each finger turned to its
    rest direction in anatomy.AXES."""
    bones = AXES[:, 2]
    turns = np.tile(np.eye(3), (len(vertices), NUM_MANO_JOINTS, 1, 1))
    flat = joints.copy()
    ends = joints.copy()
    for chain, tip in zip(MANO_CHAINS, tips.transpose(1, 0, 2)):
        for k, joint in enumerate(chain):
            end = tip if k == 2 else joints[:, chain[k + 1]]
            turns[:, joint] = _shortest_turn(_unit(end - joints[:, joint]), bones[joint - 1])
            ends[:, joint] = end
    for joint in range(1, NUM_MANO_JOINTS):
        parent = MANO_PARENTS[joint]
        flat[:, joint] = flat[:, parent] + np.einsum(
            "nij,nj->ni", turns[:, parent], joints[:, joint] - joints[:, parent]
        )
    moved = np.einsum("njab,nvjb->nvja", turns, vertices[:, :, None] - joints[:, None]) + flat[:, None]
    return np.einsum("vj,nvja->nva", weights, moved), flat


def _finger_columns(finger: str, labels: list[str]) -> list[int]:
    return [labels.index(f"finger{SOURCE_FINGER[finger]}-{k}.R") for k in (1, 2, 3)]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _between(start: np.ndarray, end: np.ndarray, fraction: float) -> np.ndarray:
    return start + fraction * (end - start)


def _smoothstep(x: np.ndarray) -> np.ndarray:
    t = np.clip(0.5 * (x + 1), 0, 1)
    return t * t * (3 - 2 * t)


def _hit(
    hands: np.ndarray, mean: np.ndarray, faces: np.ndarray, origin: np.ndarray, direction: np.ndarray
) -> np.ndarray:
    """Where a ray from inside the mean hand leaves it, on each hand's own skin: [N, 3] (Moeller and Trumbore,
    1997)."""
    corner = mean[faces[:, 0]]
    first, second = mean[faces[:, 1]] - corner, mean[faces[:, 2]] - corner
    across, offset = np.cross(direction, second), origin - corner
    scale = (first * across).sum(1)
    scale = np.where(np.abs(scale) < 1e-9, 1e-9, scale)
    u = (offset * across).sum(1) / scale
    turned = np.cross(offset, first)
    v, distance = turned @ direction / scale, (turned * second).sum(1) / scale
    inside = (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 0)
    face = np.where(inside, distance, np.inf).argmin()
    shares = np.array([1 - u[face] - v[face], u[face], v[face]])
    return np.einsum("k,nkc->nc", shares, hands[:, faces[face]])


def _segment_distance(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    bone = end - start
    along = np.clip((points - start) @ bone / (bone @ bone), -1.5, 1)  # reaches back along the metacarpal
    return np.linalg.norm(points - start - along[:, None] * bone, axis=1)


def vertex_edges(faces: np.ndarray) -> np.ndarray:
    """The mesh's edges [E, 2], each once."""
    return np.unique(
        np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1), axis=0
    )


def smoothed(values: np.ndarray, faces: np.ndarray, rounds: int) -> np.ndarray:
    """Values [V, D] at vertices, each replaced `rounds` times by the mean of itself and its neighbours'
    mean."""
    edges = vertex_edges(faces)
    degree = np.bincount(edges.ravel(), minlength=len(values))[:, None]
    for _ in range(rounds):
        sums = np.zeros_like(values)
        np.add.at(sums, edges[:, 0], values[edges[:, 1]])
        np.add.at(sums, edges[:, 1], values[edges[:, 0]])
        values = 0.5 * values + 0.5 * sums / degree
    return values


def _shortest_turn(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Rotations [N, 3, 3] that take unit vectors [N, 3] to a unit vector the shortest way."""
    axis = np.cross(source, target)
    cosine = (source @ target)[:, None, None]
    skew = np.zeros((len(source), 3, 3))
    skew[:, 0, 1] = -axis[:, 2]
    skew[:, 0, 2] = axis[:, 1]
    skew[:, 1, 2] = -axis[:, 0]
    skew -= skew.transpose(0, 2, 1)
    return np.eye(3) + skew + skew @ skew / (1 + cosine)
