"""In which order do joints lie, by their distances in pictures alone?

A hand's bones are short and its joints' neighbours are known, so a wrong order has long "bones" in every
picture, however the hand is turned. What is compared are medians over many hands, each counted in its own
size, with those of the open hand in named poses seen from everywhere.
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
LEAST_HANDS = 8  # fewer say nothing: one hand may be seen from its very side
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


def misfits(joints2d: Float[np.ndarray, "n 21 2"]) -> dict[str, float]:
    """For each known order how far hands in it are from a hand: the root mean square of the logarithm of
    distances over a hand's, each the median over hands. nan: not known. Some .1 for varied hands, up to .3
    where all are alike; in another order .5 and more."""
    found = {}
    for name, gather in GATHERS.items():
        known = _profile(joints2d[:, list(gather)]) - _usual()
        found[name] = float(np.sqrt(np.nanmean(np.square(known))))
    return found


def check_order(joints2d: Float[np.ndarray, "n 21 2"]) -> str | None:
    """The name of the order in which joints lie, where it is clearly not OpenPose's; None where it is, or
    where LEAST_HANDS hands are not given. Unknown joints are nan."""
    complete = joints2d[np.isfinite(joints2d).all((1, 2))]
    if len(complete) < LEAST_HANDS:
        return None
    found = misfits(complete)
    best = min(found, key=found.get)
    return best if found[best] < CLEARLY * found["openpose"] else None


def _profile(joints2d: Float[np.ndarray, "n 21 2"]) -> Float[np.ndarray, "p"]:
    """Logarithms of the distances of PAIRS over the hand's size (root mean square from the middle)."""
    centred = joints2d - joints2d.mean(1, keepdims=True)
    size = np.sqrt(np.square(centred).sum(-1).mean(1))
    distance = np.linalg.norm(joints2d[:, PAIRS[:, 0]] - joints2d[:, PAIRS[:, 1]], axis=-1)
    return np.median(np.log(np.maximum(distance / size[:, None], _LEAST)), axis=0)


@cache
def _usual() -> Float[np.ndarray, "p"]:
    rng = np.random.default_rng(0)
    angles = torch.from_numpy(np.repeat(np.stack(list(POSES.values())), _VIEWS, axis=0))
    turns = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(len(angles), 4))), dim=1)
    pose = angles_to_pose(angles, roma.unitquat_to_rotvec(turns)).float()
    joints = HandLayer().joints(pose, torch.zeros(len(pose), NUM_BETAS))
    return _profile(joints.double().numpy()[..., :2])
