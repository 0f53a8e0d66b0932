"""How adult hands differ beyond what the source's sliders cover: breadth and thickness of the palm, length
and girth of each finger.

Applied to flat hands, whose fingers are straight, so that each change is a scaling along or across a finger.
"""

import numpy as np

from tempohand.hand.anatomy import AXES, MANO_FINGERS
from tempohand.skeleton import NUM_MANO_JOINTS

# Standard deviations of scale factors that do not follow hand length. The palm's breadth is chosen so that
# hand breadth varies as in surveys (docs/open_hand.md); the others are of the size that surveys find: depth
# some 5 %, one finger against another 2 to 3 % (the 2D:4D ratio's is 0.03).
PALM_BREADTH, PALM_THICKNESS = 0.05, 0.05
ALL_FINGERS_LENGTH, FINGER_LENGTH = 0.025, 0.02
ALL_FINGERS_GIRTH, FINGER_GIRTH = 0.04, 0.015


def vary(
    hands: np.ndarray, joints: np.ndarray, weights: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Flat hands [N, V, 3] and joints [N, 16, 3] (mm, wrist at the origin) with random proportions.

    weights [V, 16] say what belongs to which finger.
    """
    count = len(hands)

    def factors(sigma):
        return sigma * random.standard_normal((count, 1)).clip(-2.5, 2.5)

    belongs = np.stack([weights[:, 1 + 3 * f : 4 + 3 * f].sum(1) for f in range(5)])
    owner = np.array([-1, *(f for f in range(5) for _ in range(3))])
    all_lengths, all_girths = factors(ALL_FINGERS_LENGTH), factors(ALL_FINGERS_GIRTH)
    breadth, thickness = factors(PALM_BREADTH), factors(PALM_THICKNESS)

    points = np.concatenate([hands, joints], axis=1)
    member = np.concatenate([belongs, np.stack([owner == f for f in range(5)])], axis=1)  # [5, V + 16]
    moved = points.copy()
    palm = 1 - member.sum(0)
    moved[..., 2] += breadth * palm * points[..., 2]
    moved[..., 1] += thickness * palm * points[..., 1]
    for f, finger in enumerate(MANO_FINGERS):
        base, bone = joints[:, 1 + 3 * f, None], AXES[3 * f, 2]
        # The finger follows its knuckle, which the palm's breadth carries; the thumb's first bone is part of
        # the palm.
        moved[..., 2] += member[f] * breadth * base[..., 2]
        moved[..., 1] += member[f] * thickness * base[..., 1]
        offset = points - base
        along = (offset @ bone).clip(min=0)
        across = offset - (offset @ bone)[..., None] * bone
        length = all_lengths + factors(FINGER_LENGTH)
        girth = all_girths + factors(FINGER_GIRTH)
        share = member[f] if finger != "thumb" else np.clip(1.5 * member[f] - 0.5, 0, 1)
        moved += (share * along * length)[..., None] * bone + (share * girth)[..., None] * across
    return moved[:, :-NUM_MANO_JOINTS], moved[:, -NUM_MANO_JOINTS:]
