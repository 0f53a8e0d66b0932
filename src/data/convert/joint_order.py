"""In which order do joints lie, by their distances alone, in space or in pictures?

A hand's bones are short and its joints' neighbours are known, so a wrong order has long "bones" in every
picture, however the hand is turned. What is compared are medians over the hands, each counted in its own
size, with those of the open hand in named poses seen from everywhere. In space one hand is enough; in
pictures many are needed.
"""

from functools import cache

import numpy as np
import roma
import torch
from jaxtyping import Float

from tempohand.data.convert import orders
from tempohand.hand.anatomy import POSES, angles_to_pose
from tempohand.hand.layer import HandLayer
from tempohand.skeleton import BONES, NUM_BETAS

# The bones, the distances between neighbouring knuckles, and of the thumb's and the index finger's base from
# the far ones, which tell the fingers' own order.
PAIRS = np.array([*BONES, (1, 5), (5, 9), (9, 13), (13, 17), (1, 17), (5, 17)])
LEAST_HANDS = 8  # in pictures fewer say nothing: one hand may be seen from its very side
CLEARLY = 0.75  # another order must differ from a hand so many times as much as the given one, or less
_VIEWS = 100  # of each named pose
_LEAST = 1e-3  # of a hand's size; joints may lie behind each other

# name of an option -> (what it is, the gather that makes OpenPose's order of it)
NAMED = {
    "openpose": orders.OPENPOSE,
    "mano": "MANO's 16 joints, then the fingertips (smplx, manopth, HO3D)",
    "interhand": "fingers from tip to base, the wrist last (InterHand2.6M)",
    "rhd": "the wrist, then fingers from tip to base (RHD)",
    "stb": "the wrist, then fingers from pinky to thumb (STB)",
    "fpha": "the wrist, the five knuckles, then the rest finger by finger (FPHA)",
    "hand3d": "the wrist, then index, middle, pinky, ring, thumb (Boukhayma et al.)",
}
GATHERS = {name: orders.ORDERS[title] for name, title in NAMED.items()}
# fmt: off
_MORE = {
    "wrist_last": ("fingers from base to tip, the wrist last", (20, *range(20))),
    "thumb_last": ("the wrist, index to pinky, the thumb last", (0, *range(17, 21), *range(1, 17))),
    "pinky_to_index": ("the wrist, the thumb, then the other fingers from pinky to index",
                       (0, 1, 2, 3, 4, 17, 18, 19, 20, 13, 14, 15, 16, 9, 10, 11, 12, 5, 6, 7, 8)),
    "pinky_before_ring": ("ring and pinky exchanged",
                          (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 17, 18, 19, 20, 13, 14, 15, 16)),
}
# fmt: on
TITLES = NAMED | {name: title for name, (title, _) in _MORE.items()}
GATHERS |= {name: gather for name, (_, gather) in _MORE.items()}


def gather_of(order: str) -> tuple[int, ...]:
    """The gather that makes OpenPose's order of 21 joints in `order`. Raises ValueError listing the names."""
    if order not in GATHERS:
        raise ValueError(f"options.order: '{order}' is none of {', '.join(GATHERS)}")
    return GATHERS[order]


def misfits(joints: Float[np.ndarray, "n 21 d"]) -> dict[str, float]:
    """For each known order how far hands in it are from a hand: the root mean square of the logarithm of
    distances over a hand's, each the median over hands. joints: in space (d = 3) or in pictures (2). nan: not
    known. In pictures some .1 for varied hands, up to .3 where all are alike, and mostly .5 and more in
    another order."""
    found = {}
    for name, gather in GATHERS.items():
        known = _profile(joints[:, list(gather)]) - _usual(joints.shape[-1])
        found[name] = float(np.sqrt(np.nanmean(np.square(known))))
    return found


def check_order(joints: Float[np.ndarray, "n 21 d"], expected: str = "openpose") -> str | None:
    """The name of the order in which joints (as `misfits` takes them) lie, where it is clearly not the
    expected one; None where it is, or where there are too few: in pictures fewer than LEAST_HANDS whole
    hands. Unknown joints are nan."""
    complete = joints[np.isfinite(joints).all((1, 2))]
    if len(complete) < (1 if joints.shape[-1] == 3 else LEAST_HANDS):
        return None
    found = misfits(complete)
    best = min(found, key=found.get)
    return best if found[best] < CLEARLY * found[expected] else None


def _profile(joints: Float[np.ndarray, "n 21 d"]) -> Float[np.ndarray, "p"]:
    """Logarithms of the distances of PAIRS over the hand's size (root mean square from the middle)."""
    centred = joints - joints.mean(1, keepdims=True)
    size = np.sqrt(np.square(centred).sum(-1).mean(1))
    distance = np.linalg.norm(joints[:, PAIRS[:, 0]] - joints[:, PAIRS[:, 1]], axis=-1)
    return np.median(np.log(np.maximum(distance / size[:, None], _LEAST)), axis=0)


@cache
def _usual(dim: int) -> Float[np.ndarray, "p"]:
    rng = np.random.default_rng(0)
    angles = torch.from_numpy(np.repeat(np.stack(list(POSES.values())), _VIEWS, axis=0))
    turns = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(len(angles), 4))), dim=1)
    pose = angles_to_pose(angles, roma.unitquat_to_rotvec(turns)).float()
    joints = HandLayer().joints(pose, torch.zeros(len(pose), NUM_BETAS))
    return _profile(joints.double().numpy()[..., :dim])
