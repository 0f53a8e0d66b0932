"""Joints in another order are recognised by their distances in pictures, and those in OpenPose's never
refused."""

import numpy as np
import pytest
import roma
import torch

from tempohand.data.convert.joint_names import JointNames, side_of
from tempohand.data.convert.joint_order import GATHERS, LEAST_HANDS, check_order, misfits
from tempohand.hand.anatomy import POSES, angles_to_pose
from tempohand.hand.layer import HandLayer
from tempohand.skeleton import JOINT_NAMES

LAYER = HandLayer()


def hands(count: int, seed: int, alike: bool = False) -> np.ndarray:
    """Joints [n, 21, 2] of people's hands, marked to some 2 % of the hand: in every pose from everywhere, or
    all in one pose from about one side."""
    rng = np.random.default_rng(seed)
    poses = list(POSES.values())
    first = rng.integers(len(poses))
    chosen = [poses[first if alike else number % len(poses)] for number in range(count)]
    turns = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(count, 4))), dim=1)
    turns = roma.unitquat_to_rotmat(turns)
    if alike:
        turns = roma.rotvec_to_rotmat(torch.from_numpy(rng.normal(0, 0.3, (count, 3)))) @ turns[:1]
    pose = angles_to_pose(torch.from_numpy(np.stack(chosen)), roma.rotmat_to_rotvec(turns)).float()
    joints = LAYER.joints(pose, torch.from_numpy(rng.normal(0, 1, (count, 10))).float()).double().numpy()
    return joints[..., :2] * rng.uniform(0.2, 3) + rng.normal(0, 2, (count, 21, 2)) * 0.2


@pytest.mark.parametrize("order", [name for name in GATHERS if name != "openpose"])
def test_every_other_order_is_recognised(order):
    theirs = hands(30, 4)[:, np.argsort(GATHERS[order])]
    assert check_order(theirs) == order
    assert check_order(theirs[:, list(GATHERS[order])]) is None


def test_hands_that_are_alike_or_few_are_never_refused():
    for seed in range(40):
        assert check_order(hands(LEAST_HANDS, seed, alike=True)) is None
    few = hands(LEAST_HANDS, 1)[:, np.argsort(GATHERS["mano"])]
    assert check_order(few) == "mano" and check_order(few[1:]) is None
    few[0, 5] = np.nan  # of what is not whole nothing is said
    assert check_order(few) is None


def test_in_space_a_single_hand_tells():
    """Every named pose of other people's hands: never refused as it should be, always where it should not."""
    angles = torch.from_numpy(np.stack(list(POSES.values())))
    pose = angles_to_pose(angles, torch.zeros(len(angles), 3, dtype=torch.float64)).float()
    betas = torch.from_numpy(np.random.default_rng(2).normal(0, 1, (len(pose), 10))).float()
    for hand in LAYER.joints(pose, betas).double().numpy()[:, None]:
        theirs = {name: hand[:, np.argsort(gather)] for name, gather in GATHERS.items()}
        assert check_order(hand) is None and check_order(theirs["hand3d"], "hand3d") is None
        assert check_order(hand, "hand3d") == "openpose" and check_order(theirs["mano"]) == "mano"


def test_left_hands_lie_like_right_ones_and_sizes_do_not_matter():
    joints = hands(20, 0)
    for other in (joints * [-1, 1], joints * 7 + 1000):
        assert misfits(other) == pytest.approx(misfits(joints))


def test_names_of_every_kind_mean_the_joint_that_they_say():
    joint = JointNames()
    for place, name in enumerate(JOINT_NAMES):
        assert joint(name) == (place, None) and joint(f"left_{name}") == (place, False)
    for text, place, side in (
        ("RIGHT_INDEX_FINGER_PIP", 6, True),
        ("THUMB_CMC", 1, None),
        ("thumb-IP", 3, None),
        ("pinky_finger4", 20, None),
        ("right_hand_root", 0, True),
        ("kpt_13", 13, None),
        ("LeftRingTip", 16, False),
        ("L_wrist", 0, False),
        ("little finger 1", 17, None),
    ):
        assert joint(text) == (place, side), text
    for text in ("21", "toe_1", "index", "thumb_5", "index_ip", "palm", "", "index_finger_mcp_2"):
        with pytest.raises(KeyError):
            joint(text)
    assert side_of("lefthand") is False and side_of("Hand-Right") is True and side_of("left or right") is None
