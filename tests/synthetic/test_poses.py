from itertools import pairwise

import numpy as np
import pytest
import torch
from penetration import penetration_depth

from tempohand.hand.anatomy import ABDUCTION, FLEXION, POSES, RANGE_DEG, angles_to_pose
from tempohand.skeleton import NUM_BETAS
from tempohand.synthetic import poses
from tempohand.synthetic.poses import joints_of, overlap, sample_free_pose, segment_distance


@pytest.fixture(scope="module")
def sample(kit):
    rng = np.random.default_rng(0)
    return np.stack([sample_free_pose(rng, kit.layer) for _ in range(400)])


def test_segment_distance_is_that_of_the_nearest_points():
    a, b, c, d = np.random.default_rng(1).normal(0, 10, (4, 50, 3))
    t = np.linspace(0, 1, 201)[:, None]
    dense = np.array(
        [
            np.linalg.norm((p + t * (q - p))[:, None] - (r + t * (s - r))[None], axis=-1).min()
            for p, q, r, s in zip(a, b, c, d)
        ]
    )
    np.testing.assert_allclose(segment_distance(a, b, c, d), dense, atol=0.05)
    assert (segment_distance(a, b, c, d) <= dense + 1e-9).all()
    np.testing.assert_allclose(
        segment_distance(a, b, a + [0, 0, 7.0], b + [0, 0, 7.0])[np.abs((b - a)[:, 2]) < 1e-9], 7.0
    )


def test_poses_known_to_be_clean_overlap_by_nothing_and_crossed_fingers_do(kit):
    named = np.stack(list(POSES.values()))
    assert overlap(joints_of(kit.layer, named)).max() < 0.3
    crossed = POSES["flat"].copy()
    crossed[0, ABDUCTION], crossed[3, ABDUCTION] = -20, 20  # index and middle finger, one through the other
    inside = POSES["fist"].copy()
    inside[12:, FLEXION] = 45, 55, 0
    inside[12, ABDUCTION] = -20
    assert (overlap(joints_of(kit.layer, np.stack([crossed, inside]))) > 2).all()


def test_angles_stay_in_their_ranges_and_joints_bend_as_hands_do(sample):
    assert (sample >= RANGE_DEG[..., 0] - 1e-9).all() and (sample <= RANGE_DEG[..., 1] + 1e-9).all()
    middle, last = sample[:, [1, 4, 7, 10], FLEXION], sample[:, [2, 5, 8, 11], FLEXION]
    assert np.corrcoef(middle.ravel(), last.ravel())[0, 1] > 0.85, "one tendon bends both"
    knuckle, spread = sample[:, [0, 6, 9], FLEXION], np.abs(sample[:, [0, 6, 9], ABDUCTION])
    assert spread[knuckle > 60].mean() < 0.6 * spread[knuckle < 15].mean(), "bent fingers do not spread"


def test_every_finger_goes_its_own_way(sample):
    bent = sample[:, [13, 1, 4, 10, 7], FLEXION] > [25, 45, 45, 45, 45]  # thumb, index, middle, ring, pinky
    assert len(np.unique(bent @ 2 ** np.arange(5))) >= 31, (
        "nearly every combination of bent and straight fingers"
    )
    curl = sample[:, [1, 4, 10, 7], FLEXION]
    together = np.corrcoef(curl.T)
    assert 0.2 < np.mean([together[i, j] for i, j in pairwise(range(4))]) < 0.8 and together[0, 3] < 0.35
    named = np.stack([pose[[1, 4, 10, 7], FLEXION] for pose in POSES.values()])
    assert np.abs(curl[:, None] - named).max(-1).min(1).mean() > 15, "not the named ones again"


def test_fingers_hardly_pass_through_each_other(sample, kit):
    assert (overlap(joints_of(kit.layer, sample)) == 0).mean() > 0.9
    pose = angles_to_pose(torch.from_numpy(sample[:10])).float()
    vertices = kit.layer(pose, torch.zeros(10, NUM_BETAS)).vertices.double().numpy()
    depth = np.array(
        [penetration_depth(hand, kit.faces, kit.layer.weights.numpy()).max() for hand in vertices]
    )
    assert np.median(depth) < 1.5 and depth.max() < 8.0, "mm, the deepest vertex"


def test_a_touching_thumb_touches(kit, monkeypatch):
    monkeypatch.setattr(poses, "TOUCH_PROBABILITY", 1.0)
    rng = np.random.default_rng(2)
    joints = joints_of(kit.layer, np.stack([sample_free_pose(rng, kit.layer) for _ in range(40)]))
    tips = np.linalg.norm(joints[:, [4]] - joints[:, [8, 12, 16, 20]], axis=-1)
    assert np.median(tips.min(1)) < 18 and len(np.unique(tips.argmin(1))) == 4, (
        "mm between the skins of two tips, on four fingers"
    )
