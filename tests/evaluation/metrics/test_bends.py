import pytest
import roma
import torch

from tempohand.evaluation.bootstrap import Bootstrap
from tempohand.evaluation.hands import Hands, TrueHands
from tempohand.evaluation.metrics.bends import bend_slope, finger_changes, joint_bends, slope_sums
from tempohand.evaluation.metrics.registry import BEND_SLOPES, METRICS, frame_errors
from tempohand.evaluation.scores import ScoreBoard
from tempohand.geometry import mirror_points
from tempohand.hand.anatomy import POSES, angles_to_pose
from tempohand.hand.layer import HandLayer
from tempohand.skeleton import FINGERS

EVERYTHING = torch.ones(1, 21, dtype=torch.bool)


def chain(angles):
    """A finger in a plane, [5, 2] from the wrist to the tip, with these bends at its three joints."""
    turn = torch.cat([torch.zeros(1), torch.as_tensor(angles)]).cumsum(0).deg2rad()
    bones = torch.stack([turn.cos(), turn.sin()], dim=-1) * torch.tensor([80.0, 40.0, 25.0, 20.0])[:, None]
    return torch.cat([torch.zeros(1, 2), bones.cumsum(0)])


def planar_hand(bends):
    """Joints [1, 21, 3] of a hand whose fingers each lie in a plane, with bends [5, 3]."""
    fingers = torch.stack([chain(angles)[1:] for angles in bends])
    joints = torch.cat([torch.zeros(1, 2), fingers.flatten(0, 1)])
    return torch.nn.functional.pad(joints, (0, 1))[None]


def posed(angles):
    """The open hand's joints at anatomical angles [n, 15, 3]."""
    return HandLayer()(angles_to_pose(angles).float(), torch.zeros(len(angles), 10)).joints


def test_bends_are_the_angles_between_bones_whatever_place_size_and_side():
    bends = torch.rand(5, 3, generator=torch.Generator().manual_seed(0)) * 170
    joints = planar_hand(bends).double()
    torch.testing.assert_close(joint_bends(joints)[0], bends.double(), atol=1e-4, rtol=0)
    moved = 0.3 * joints @ roma.random_rotmat().double().mT + torch.tensor([5.0, 9.0, 700.0])
    for other in (moved, mirror_points(moved)):
        torch.testing.assert_close(joint_bends(other), joint_bends(joints), atol=1e-4, rtol=0)


def test_changes_are_those_of_the_named_poses():
    joints = posed(torch.stack([torch.from_numpy(POSES[name]) for name in POSES]))
    changes = dict(zip(POSES, finger_changes(joints, EVERYTHING.expand(len(joints), -1)).tolist()))
    wanted = {"flat": 0, "rest": 0, "fist": 0, "point": 1, "victory": 1}
    assert {name: changes[name] for name in wanted} == wanted


@pytest.mark.parametrize("folded, count", [("0000", 0), ("1111", 0), ("0011", 1), ("0110", 2), ("1010", 3)])
def test_changes_count_neighbours_that_differ_from_index_to_pinky(folded, count):
    bends = torch.tensor([[10.0, 80.0, 80.0]] + [[60.0, 50.0 * int(one), 44.0] for one in folded])
    joints, unknown = planar_hand(bends), EVERYTHING.clone()
    assert finger_changes(joints, unknown).item() == count  # 44 degrees are extended, 94 folded
    unknown[:, :5] = False  # wrist and thumb do not matter
    assert finger_changes(joints, unknown).item() == count
    joints[:, 19], unknown[:, 19] = torch.nan, False
    assert finger_changes(joints, unknown).isnan().all()


def test_the_slope_is_that_of_a_line_however_frames_are_shared_out():
    true = torch.rand(40, 5, generator=torch.Generator().manual_seed(1)).double() * 200
    noise = torch.randn(40, 5, generator=torch.Generator().manual_seed(2)).double() * 15
    mask = EVERYTHING.expand(40, -1)
    for place, finger in enumerate(FINGERS):
        sums, known = slope_sums(30 + 0.6 * true, true, mask, finger)
        assert known.all() and bend_slope(sums.mean(dim=0)).item() == pytest.approx(0.6)
        predicted = 0.8 * true + noise
        sums, _ = slope_sums(predicted, true, mask, finger)
        line = torch.linalg.lstsq(
            torch.stack([true[:, place], torch.ones(40).double()], dim=-1), predicted[:, place, None]
        )
        assert bend_slope(sums.mean(dim=0)).item() == pytest.approx(line.solution[0].item())
        parts = torch.stack([part.mean(dim=0) for part in sums.split(10)])
        torch.testing.assert_close(bend_slope(parts.mean(dim=0)), bend_slope(sums.mean(dim=0)))
    constant = torch.full_like(true, 77.7)
    assert bend_slope(slope_sums(constant, true, mask, "ring")[0].mean(dim=0)).abs() < 1e-9
    assert bend_slope(slope_sums(true, constant, mask, "ring")[0].mean(dim=0)).isnan()


def test_a_finger_counts_where_it_and_the_wrist_are_known():
    bends, mask = torch.zeros(3, 5).double(), EVERYTHING.repeat(3, 1)
    mask[0, 6], mask[1, 0] = False, False
    known = {finger: slope_sums(bends, bends, mask, finger)[1][:, 0].tolist() for finger in FINGERS}
    assert known == dict.fromkeys(FINGERS, [True, False, True]) | {"index": [False, False, True]}


def test_single_pictures_have_a_slope_and_an_interval():
    """One frame says nothing of a slope, many recordings of one frame do."""
    generator = torch.Generator().manual_seed(0)
    fist = torch.from_numpy(POSES["fist"])
    share = torch.rand(30, 1, 1, generator=generator).double()
    true, less = (posed(share * fist * part) for part in (1.0, 0.5))
    board = ScoreBoard(["stage1"], ["all"], 30)
    for number in range(30):
        errors = frame_errors(Hands(less[number, None], torch.zeros(1, 778, 3)), a_truth(true[number, None]))
        board.add("stage1", number, errors, {"all": torch.ones(1, dtype=torch.bool)})
    drawn, found = Bootstrap(board), board.compute()["stage1"]["all"]
    assert set(BEND_SLOPES) == set(FINGERS) and set(BEND_SLOPES.values()) <= set(METRICS)
    for name in BEND_SLOPES.values():
        low, high = drawn.interval("stage1", "all", name)
        assert low - 1e-9 <= found[name] <= high + 1e-9 and 0.35 < found[name] < 0.65
    assert drawn.interval("stage1", "all", "lag_2d") is None


def a_truth(joints):
    count = len(joints)
    return TrueHands(
        joints=joints,
        joints_mask=EVERYTHING.expand(count, -1),
        vertices=torch.zeros(count, 778, 3),
        hand_mask=torch.ones(count, dtype=torch.bool),
        camera_mask=torch.ones(count, dtype=torch.bool),
        hidden=torch.zeros(count),
        frame=torch.arange(count),
        time=torch.arange(count).double() / 30,
        joints2d=torch.zeros(count, 21, 2),
        joints2d_mask=EVERYTHING.expand(count, -1),
        focal=torch.full((count, 2), 300.0),
        princpt=torch.zeros(count, 2),
    )
