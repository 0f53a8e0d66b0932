"""Poses of hands that people show: each finger folded, half bent or extended, all 32 patterns of folded and
extended fingers equally often, the thumb over folded fingers, beside the hand or at a fingertip.

`poses.py` draws poses that fill the ranges of motion; in these the fingers' states are plain to see.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from tempohand.hand.anatomy import ABDUCTION, FLEXION, RANGE_DEG, TWIST
from tempohand.hand.layer import HandLayer
from tempohand.synthetic.poses import ROWS, THUMB, TIPS, capsule_gap, joints_of, overlap

CANDIDATES = 32  # hands of one pattern, of which the first is kept that does not pass through itself
TRIES, CLEAN_MM = 3, 0.5  # such searches, until one finds a hand that nothing is wrong with
# Ranges of MCP and PIP flexion, degrees, of a finger in each state.
FOLDED, LOOSE, HALF = ((62, 88), (84, 99)), ((45, 75), (70, 92)), ((15, 60), (30, 70))
EXTENDED, BENT = ((-10, 14), (0, 10)), ((0, 25), (8, 26))
HALF_PROBABILITY = 0.15  # of a finger, whatever the pattern says
LOOSE_PROBABILITY, BENT_PROBABILITY = 0.2, 0.2  # of folded fingers, of extended ones
# A finger that bends more in these two joints together presses its tip into the palm.
MOST_CURLED_DEG = 172.0
END_SHARE = 0.55, 0.75  # of the end joint's flexion in the middle one's: one tendon bends both
PINCH_PROBABILITY = 0.2  # of the thumb at a fingertip, each finger's equally often
PINCHING = (25, 72), (25, 72)  # MCP and PIP flexion of that finger
SPREAD_DEG = {"index": 13.0, "middle": 3.0, "ring": 10.0, "pinky": 17.0}  # of an extended finger at most
CONTACT_GAP_MM = 1.0  # to the thumb, within which it touches
PADS_MM = 15.0  # between the skins of two fingertips that meet, at most

# Ranges of the thumb's base flexion, abduction and twist, MCP and IP flexion, degrees.
AWAY = (-15, 0), (-15, 12), (-8, 5), (-10, 8), (-15, 10)
ALONG = (0, 14), (-8, 8), (-8, 2), (0, 15), (0, 18)
BEFORE = (-5, 15), (14, 30), (-20, -5), (-5, 15), (-5, 15)
ACROSS = (18, 43), (14, 30), (-25, -5), (12, 45), (25, 79)
OPPOSED = (15, 45), (8, 30), (-25, -8), (0, 40), (-5, 50)
EXTENDED_THUMBS = {AWAY: 0.5, ALONG: 0.3, BEFORE: 0.2}


def _fingers(rng: np.random.Generator, folded: dict[str, bool]) -> Float[ndarray, "n 15 3"]:
    """Candidates without thumbs: four fingers in the states of `folded`."""
    angles = np.zeros((CANDIDATES, 15, 3))
    spread = rng.uniform(-0.25, 1.0)
    for finger, row in ROWS.items():
        chance = rng.random(2)
        if chance[0] < HALF_PROBABILITY:
            state = HALF
        elif folded[finger]:
            state = LOOSE if chance[1] < LOOSE_PROBABILITY else FOLDED
        else:
            state = BENT if chance[1] < BENT_PROBABILITY else EXTENDED
        knuckle, middle = (rng.uniform(*span, CANDIDATES) for span in state)
        if finger == "ring" and not folded["ring"] and folded["middle"] and folded["pinky"]:
            # Tendons join it to its neighbours: between two folded ones it does not straighten.
            knuckle = knuckle + rng.uniform(5, 30, CANDIDATES)
        end = rng.uniform(*END_SHARE, CANDIDATES) * middle + rng.normal(0, 2.0, CANDIDATES)
        angles[:, row : row + 3, FLEXION] = np.stack(
            [np.minimum(knuckle, MOST_CURLED_DEG - middle), middle, end], axis=1
        )
        # A bent knuckle's ligaments are tight: fingers spread when straight.
        loose = np.clip(1.0 - knuckle / 75.0, 0.1, 1.0)
        noise = rng.normal(0.0, 2.5, CANDIDATES)
        angles[:, row, ABDUCTION] = loose * (spread * SPREAD_DEG[finger] + noise)
    return angles


class _Touch(NamedTuple):
    """What the thumb does: the ranges of its angles, and the bones (0 the first of a finger, 2 the last) that
    it comes to lie at, any one of them; none for a thumb that touches nothing."""

    span: tuple[tuple[float, float], ...]
    fingers: list[str]
    bone: int

    def cost(self, joints: Float[ndarray, "n 21 3"]) -> Float[ndarray, "n"]:
        """How far hands are from it, and how far they pass through themselves, mm."""
        cost = overlap(joints)
        if self.fingers:
            gaps = [np.abs(capsule_gap(joints, finger, self.bone) - 1.0) for finger in self.fingers]
            cost += np.maximum(np.min(gaps, axis=0) - CONTACT_GAP_MM, 0.0)
        if self.bone == 2:  # pads meet, not a nail and a knuckle
            apart = np.linalg.norm(joints[:, 4] - joints[:, TIPS[self.fingers[0]]], axis=-1)
            cost += 0.5 * np.maximum(apart - PADS_MM, 0.0)
        return cost


def _touch(rng: np.random.Generator, thumb_folded: bool, folded: dict[str, bool]) -> _Touch:
    """A thumb at a fingertip, or in its own state: over the fingers, across the palm, beside the hand."""
    if rng.random() < PINCH_PROBABILITY:
        return _Touch((*OPPOSED, *PINCHING), [str(rng.choice(list(ROWS)))], 2)
    if thumb_folded:
        return _Touch(ACROSS, [finger for finger in ("index", "middle") if folded[finger]], 1)
    spans = list(EXTENDED_THUMBS)
    return _Touch(spans[rng.choice(len(spans), p=list(EXTENDED_THUMBS.values()))], [], 0)


def sample_ordinary_pose(rng: np.random.Generator, layer: HandLayer) -> Float[ndarray, "15 3"]:
    """A pose of an ordinary hand, joint angles in degrees inside the ranges of motion."""
    thumb_folded, *states = ((int(rng.integers(32)) >> np.arange(5)) % 2 == 1).tolist()
    folded = dict(zip(ROWS, states))
    touch = _touch(rng, thumb_folded, folded)
    found = []
    for _ in range(TRIES):
        found.append(_posed(rng, layer, touch, folded))
        if found[-1][0] < CLEAN_MM:
            break
    return min(found, key=lambda hand: hand[0])[1]


def _posed(
    rng: np.random.Generator, layer: HandLayer, touch: _Touch, folded: dict[str, bool]
) -> tuple[float, Float[ndarray, "15 3"]]:
    """The best of some hands of one pattern, after what is wrong with it (`_Touch.cost`, mm)."""
    angles = _fingers(rng, folded)
    moved = [(THUMB, FLEXION), (THUMB, ABDUCTION), (THUMB, TWIST), (THUMB + 1, FLEXION), (THUMB + 2, FLEXION)]
    if touch.bone == 2:
        row = ROWS[touch.fingers[0]]
        moved += [(row, FLEXION), (row + 1, FLEXION)]
        angles[:, row, ABDUCTION] *= 0.3
    joint, axis = np.array(moved).T
    low, high = np.array(touch.span, float).T
    middle, width = (low + high) / 2, (high - low) / 2
    for scale in (1.0, 0.3, 0.1):  # the thumb anywhere, then nearer and nearer to the best place
        tried = middle + scale * width * rng.uniform(-1, 1, (CANDIDATES, len(low)))
        angles[:, joint, axis] = np.clip(tried, low, high)
        if touch.bone == 2:
            angles[:, row + 2, FLEXION] = 0.6 * angles[:, row + 1, FLEXION]
        angles = np.clip(angles, RANGE_DEG[..., 0], RANGE_DEG[..., 1])
        cost = touch.cost(joints_of(layer, angles))
        best = int(np.argmin(cost))
        if cost[best] == 0.0:
            break
        middle = angles[best, joint, axis]
        angles[:] = angles[best]
    return float(cost[best]), angles[best]
