import numpy as np
import pytest
import torch
from penetration import penetration_depth

from tempohand.hand.anatomy import ABDUCTION, FLEXION, RANGE_DEG, angles_to_pose
from tempohand.skeleton import NUM_BETAS
from tempohand.synthetic import ordinary_poses
from tempohand.synthetic.motion import wrist_rotation
from tempohand.synthetic.ordinary_poses import MOST_CURLED_DEG, sample_ordinary_pose
from tempohand.synthetic.poses import ROWS, joints_of, overlap

KNUCKLES = list(ROWS.values())


def draw(kit, count, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([sample_ordinary_pose(rng, kit.layer) for _ in range(count)])


@pytest.fixture(scope="module")
def sample(kit):
    return draw(kit, 300)


def test_all_patterns_of_folded_and_extended_fingers_are_equally_frequent(kit, monkeypatch):
    for name in ("HALF_PROBABILITY", "PINCH_PROBABILITY"):
        monkeypatch.setattr(ordinary_poses, name, 0.0)
    poses = draw(kit, 640)
    curl = poses[:, KNUCKLES, FLEXION] + poses[:, [row + 1 for row in KNUCKLES], FLEXION]
    thumb = poses[:, 14, FLEXION] > 22
    folded = np.column_stack([thumb, curl > 85])
    count = np.bincount(folded @ 2 ** np.arange(5), minlength=32)
    # Chi-squared with 31 degrees of freedom: 61 is exceeded once in a thousand times.
    assert ((count - 20) ** 2 / 20).sum() < 61


def test_angles_stay_in_their_ranges_and_bends_are_strong(sample):
    assert (sample >= RANGE_DEG[..., 0] - 1e-9).all() and (sample <= RANGE_DEG[..., 1] + 1e-9).all()
    knuckle, middle, end = (sample[:, [row + k for row in KNUCKLES], FLEXION] for k in range(3))
    assert (knuckle + middle <= MOST_CURLED_DEG + 1e-9).all()
    folded = (knuckle > 60) & (middle > 80)
    assert 0.2 < folded.mean() < 0.5 and np.median(middle[folded]) > 88 and np.median(end[folded]) > 52
    assert 0.25 < ((knuckle < 15) & (middle < 12)).mean() < 0.5
    assert np.corrcoef(middle.ravel(), end.ravel())[0, 1] > 0.95, "one tendon bends both"
    spread = np.abs(sample[:, KNUCKLES, ABDUCTION])
    assert spread[knuckle > 60].mean() < 0.5 * spread[knuckle < 10].mean(), "bent fingers do not spread"


def test_hardly_a_finger_passes_through_another(sample, kit):
    assert (overlap(joints_of(kit.layer, sample)) < 1.0).mean() > 0.9
    pose = angles_to_pose(torch.from_numpy(sample[:40])).float()
    vertices = kit.layer(pose, torch.zeros(40, NUM_BETAS)).vertices.double().numpy()
    depth = [penetration_depth(hand, kit.faces, kit.layer.weights.numpy()).max() for hand in vertices]
    assert np.median(depth) < 1.5 and np.percentile(depth, 90) < 5.0, "mm, the deepest vertex"


def test_a_pinching_thumb_meets_every_fingertip(kit, monkeypatch):
    monkeypatch.setattr(ordinary_poses, "PINCH_PROBABILITY", 1.0)
    joints = joints_of(kit.layer, draw(kit, 60, seed=2))
    tips = np.linalg.norm(joints[:, [4]] - joints[:, [8, 12, 16, 20]], axis=-1)
    assert np.percentile(tips.min(1), 80) < 20 and len(np.unique(tips.argmin(1))) == 4, "mm between skins"


def test_every_finger_folds_by_itself(sample):
    """Knowing one finger tells nothing of another; fists and open hands are among them all the same."""
    curl = sample[:, KNUCKLES, FLEXION] + sample[:, [row + 1 for row in KNUCKLES], FLEXION]
    between = np.corrcoef(curl.T)[~np.eye(4, dtype=bool)]
    assert np.abs(between).max() < 0.25
    assert (curl > 110).all(1).mean() > 0.01 and (curl < 45).all(1).mean() > 0.01


def test_hands_of_the_released_networks_set_are_seen_from_every_side(settings):
    motion, rng = settings("synthetic-hands").motion, np.random.default_rng(0)
    times = np.array([0.0, 1 / 30])
    turns = np.stack([wrist_rotation(rng, times, motion.of_ordinary_hand(rng))[0] for _ in range(800)])
    fingers, back = -turns[:, :, 0], turns[:, :, 1]
    shares = {
        "palm": (back[:, 2] > 0.5).mean(),
        "back": (back[:, 2] < -0.5).mean(),
        "edge on": (np.abs(back[:, 2]) < 0.35).mean(),
        "up": (fingers[:, 1] < -0.7).mean(),
        "sideways": (np.abs(fingers[:, 0]) > 0.7).mean(),
        "toward the camera or away": (np.abs(fingers[:, 2]) > 0.7).mean(),
    }
    least = (0.25, 0.15, 0.1, 0.15, 0.15, 0.08)
    assert all(share > bound for share, bound in zip(shares.values(), least)), shares
