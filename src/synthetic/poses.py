"""Hand poses finger by finger: every finger straight, relaxed, hooked or curled on its own, the thumb
anywhere or against a fingertip.

Candidates are drawn in bulk and the one in which the fingers pass least through each other is kept: bones as
capsules tell that well enough.
"""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from tempohand.hand.anatomy import ABDUCTION, FLEXION, RANGE_DEG, TWIST, angles_to_pose
from tempohand.hand.layer import HandLayer
from tempohand.skeleton import NUM_BETAS

CANDIDATES = 5  # whole hands, of which the best is kept
TOUCHES = 32  # tries to bring the thumb to a fingertip, twice: anywhere, then near the best
ROWS = {
    "index": 0,
    "middle": 3,
    "ring": 9,
    "pinky": 6,
}  # first rows, thumb's side first: neighbours tend to do alike
THUMB = 12
TIPS = {"index": 8, "middle": 12, "ring": 16, "pinky": 20}

# What a finger does: share, MCP and PIP flexion in degrees (least, greatest).
STATES = (
    (0.30, (-10, 12), (0, 12)),  # straight
    (0.16, (8, 35), (15, 45)),  # relaxed
    (0.22, (62, 90), (80, 100)),  # curled into the palm
    (0.08, (-5, 25), (65, 100)),  # hooked
    (0.10, (40, 90), (0, 30)),  # bent at the knuckle alone
    (0.14, (-15, 90), (0, 100)),  # anything
)
ALIKE = 0.55  # of a finger doing what its neighbour on the thumb's side does: tendons and muscles are shared
# What the thumb does: share, and ranges of base flexion, abduction and twist, MCP and IP flexion.
THUMB_STATES = (
    (0.20, (-15, 2), (-15, 12), (-8, 5), (-10, 8), (-15, 12)),  # away from the hand, in its plane
    (0.15, (0, 15), (-8, 8), (-8, 2), (0, 25), (0, 30)),  # along the index finger
    (0.20, (-5, 20), (15, 30), (-22, -5), (-5, 20), (-5, 30)),  # before the palm
    (0.30, (18, 45), (8, 30), (-25, -5), (5, 55), (0, 75)),  # across the palm or over the fingers
    (0.15, (-15, 45), (-20, 30), (-25, 10), (-10, 55), (-15, 80)),  # anything
)
TOUCH_PROBABILITY = 0.22  # of the thumb meeting a fingertip; which one:
TOUCHED = {"index": 0.4, "middle": 0.25, "ring": 0.2, "pinky": 0.15}
THUMB_REACH = np.array([(5, 45), (0, 30), (-25, 0), (0, 50), (-5, 65)], float)  # of a touching thumb
FINGER_REACH = np.array([(5, 80), (10, 90)], float)  # MCP and PIP of the finger it touches

# Capsules: bones of the 21 joints with their radii in mm, and the pairs that must not overlap.
RADIUS = {
    "thumb": (10.0, 9.0),
    "index": (8.5, 7.5, 7.0),
    "middle": (8.5, 7.5, 7.0),
    "ring": (8.0, 7.0, 6.5),
    "pinky": (7.0, 6.0, 5.5),
}
PALM_RADIUS = 11.0
FINGERTIP = 0.7  # where a fingertip's capsule ends between last joint and tip: the tip is skin
CONTACT_MM = 2.0  # flesh gives way that much


@cache
def _capsules() -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """Ends [n, 2] and radii [n] of the capsules, and the pairs [p], [p] that are compared: bones of different
    fingers; and the outer bones of fingers and thumb with the palm's, from the index finger's to the
    pinky's."""
    ends, radii = [], []
    owner, outer = [], []
    for finger, first in (("thumb", 2), ("index", 5), ("middle", 9), ("ring", 13), ("pinky", 17)):
        for k, radius in enumerate(RADIUS[finger]):
            ends.append((first + k, first + k + 1))
            radii.append(radius)
            owner.append(finger)
            outer.append(k == len(RADIUS[finger]) - 1 or (finger != "thumb" and k > 0))
    for knuckle in (5, 9, 13, 17):
        ends.append((0, knuckle))
        radii.append(PALM_RADIUS)
        owner.append("palm")
        outer.append(False)
    pairs = []
    for i, a in enumerate(owner):
        for j in range(i):
            b = owner[j]
            both = a != b and "palm" not in (a, b)
            # Neighbouring first bones lie side by side in every hand.
            side_by_side = (
                both
                and "thumb" not in (a, b)
                and ends[i][0] in (5, 9, 13, 17)
                and ends[j][0] in (5, 9, 13, 17)
            )
            if (both and not side_by_side) or (a == "palm" and b != "palm" and outer[j]):
                pairs.append((i, j))
    first, second = np.array(pairs).T
    return np.array(ends), np.array(radii), first, second


def segment_distance(
    a: Float[ndarray, "*n 3"], b: Float[ndarray, "*n 3"], c: Float[ndarray, "*n 3"], d: Float[ndarray, "*n 3"]
) -> Float[ndarray, "*n"]:
    """Distance between the segments ab and cd, none of them a point (Ericson, "Real-Time Collision
    Detection", 2005, section 5.1.9)."""
    u, v, w = b - a, d - c, a - c
    uu, vv, uv, uw, vw = ((x * y).sum(-1) for x, y in ((u, u), (v, v), (u, v), (u, w), (v, w)))
    s = np.clip((uv * vw - uw * vv) / np.maximum(uu * vv - uv * uv, 1e-9), 0.0, 1.0)
    t = np.clip((uv * s + vw) / vv, 0.0, 1.0)
    s = np.clip((uv * t - uw) / uu, 0.0, 1.0)
    return np.linalg.norm(w + s[..., None] * u - t[..., None] * v, axis=-1)


def _fingertips_in(joints: Float[ndarray, "n 21 3"]) -> Float[ndarray, "n 21 3"]:
    """The joints with the tips moved back to where their capsules end."""
    last, tips = [3, 7, 11, 15, 19], [4, 8, 12, 16, 20]
    inner = joints.copy()
    inner[:, tips] = joints[:, last] + FINGERTIP * (joints[:, tips] - joints[:, last])
    return inner


def overlap(joints: Float[ndarray, "n 21 3"]) -> Float[ndarray, "n"]:
    """How far fingers pass through each other and the palm: the sum of the capsules' overlaps beyond what
    flesh yields, mm."""
    ends, radii, i, j = _capsules()
    joints = _fingertips_in(joints)
    a, b = joints[:, ends[:, 0]], joints[:, ends[:, 1]]
    gap = segment_distance(a[:, i], b[:, i], a[:, j], b[:, j]) - radii[i] - radii[j]
    return np.maximum(-CONTACT_MM - gap, 0.0).sum(-1)


def capsule_gap(joints: Float[ndarray, "n 21 3"], finger: str, bone: int) -> Float[ndarray, "n"]:
    """Room between the thumb's last capsule and that of a finger's bone (0 the first, 2 the last), mm;
    negative where they overlap."""
    inner, first = _fingertips_in(joints), TIPS[finger] - 3 + bone
    apart = segment_distance(inner[:, 3], inner[:, 4], inner[:, first], inner[:, first + 1])
    return apart - RADIUS["thumb"][-1] - RADIUS[finger][bone]


def joints_of(layer: HandLayer, angles: Float[ndarray, "n 15 3"]) -> Float[ndarray, "n 21 3"]:
    """Joints of the mean hand, mm from the wrist."""
    pose = angles_to_pose(torch.from_numpy(angles)).float()
    return layer.joints(pose, torch.zeros(len(angles), NUM_BETAS)).double().numpy()


def _fingers(rng: np.random.Generator) -> Float[ndarray, "15 3"]:
    """Four fingers and a thumb, each on its own."""
    angles = np.zeros((15, 3))
    shares = [state[0] for state in STATES]
    state, spread = STATES[0], rng.uniform(-0.3, 1.0)
    for finger, row in ROWS.items():
        if finger == "index" or rng.random() > ALIKE:
            state = STATES[rng.choice(len(STATES), p=shares)]
        knuckle, middle = rng.uniform(*state[1]), rng.uniform(*state[2])
        # One tendon bends the last two joints: the end joint follows the middle one.
        angles[row : row + 3, FLEXION] = (
            knuckle,
            middle,
            middle * rng.uniform(0.4, 0.8) + rng.normal(0.0, 4.0),
        )
        # A bent knuckle's ligaments are tight: fingers spread when straight.
        loose = 1.0 - 0.85 * max(knuckle, 0.0) / 90.0
        reach = {"index": 13.0, "middle": 2.0, "ring": 9.0, "pinky": 16.0}[finger]
        angles[row, ABDUCTION] = loose * (spread * reach + rng.normal(0.0, 3.5))
        angles[row, TWIST] = rng.normal(0.0, 1.5)
    _, *ranges = THUMB_STATES[rng.choice(len(THUMB_STATES), p=[state[0] for state in THUMB_STATES])]
    _set_thumb(angles, np.array([rng.uniform(*span) for span in ranges]))
    return np.clip(angles, RANGE_DEG[..., 0], RANGE_DEG[..., 1])


def _set_thumb(angles: Float[ndarray, "*n 15 3"], thumb: Float[ndarray, "*n 5"]) -> None:
    """Puts thumbs into `angles`: base flexion, abduction and twist, MCP and IP flexion, degrees."""
    angles[..., THUMB, [FLEXION, ABDUCTION, TWIST]] = thumb[..., :3]
    angles[..., [THUMB + 1, THUMB + 2], FLEXION] = thumb[..., 3:]


def _touching(
    rng: np.random.Generator, layer: HandLayer, angles: Float[ndarray, "15 3"]
) -> Float[ndarray, "15 3"]:
    """The hand with its thumb at, or just before, the tip of one finger."""
    finger = str(rng.choice(list(TOUCHED), p=list(TOUCHED.values())))
    row, tip = ROWS[finger], TIPS[finger]
    space = np.concatenate([THUMB_REACH, FINGER_REACH])
    middle, width = space.mean(1), np.ptp(space, axis=1) / 2
    for scale in (1.0, 0.25):
        tries = np.clip(
            middle + scale * width * rng.uniform(-1, 1, (TOUCHES, len(space))), space[:, 0], space[:, 1]
        )
        hands = np.repeat(angles[None], TOUCHES, axis=0)
        _set_thumb(hands, tries[:, :5])
        hands[:, row, FLEXION] = tries[:, 5]
        hands[:, row + 1, FLEXION] = tries[:, 6]
        hands[:, row + 2, FLEXION] = 0.6 * tries[:, 6]
        hands[:, row, ABDUCTION] *= 0.3
        joints = joints_of(layer, hands)
        # Pads meet, not a nail and a knuckle: the tips are near each other too.
        apart = np.linalg.norm(joints[:, 4] - joints[:, tip], axis=-1)
        best = int(np.argmin(np.abs(capsule_gap(joints, finger, 2) + 1.0) + 0.3 * apart + overlap(joints)))
        middle = tries[best]
    return hands[best]


def sample_free_pose(rng: np.random.Generator, layer: HandLayer) -> Float[ndarray, "15 3"]:
    """A pose in which every finger goes its own way, joint angles in degrees inside the ranges of motion."""
    if rng.random() < TOUCH_PROBABILITY:
        return _touching(rng, layer, _fingers(rng))
    # The first that is clean, not the cleanest: that would be an open hand more often than not.
    least, best = np.inf, np.empty(0)
    for _ in range(CANDIDATES):
        hand = _fingers(rng)
        passes = float(overlap(joints_of(layer, hand[None]))[0])
        if passes < least:
            least, best = passes, hand
        if least == 0.0:
            break
    return best
