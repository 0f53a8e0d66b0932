"""Robot hands: a table per robot and hand; its angles are tried in the robots' own models (URDF files)."""

import csv
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch
from export_support import LEFT, moving_hands, write_predictions
from scipy.spatial.transform import Rotation

from tempohand.hand.anatomy import FLEXION, angles_to_pose
from tempohand.inference.formats.registry import export_predictions

dexi_rs = pytest.importorskip("dexi_rs")

ROBOTS = ("leap", "allegro", "shadow")
SLACK = 1.1e-3  # rad: dexi-rs widens limits by a thousandth
NAMES = {0: "hand0_right", 1: "hand1_left"}
TIPS = {
    "leap": ["thumb_tip_head", "index_tip_head", "middle_tip_head", "ring_tip_head"],
    "allegro": ["link_15.0_tip", "link_3.0_tip", "link_7.0_tip", "link_11.0_tip"],
    "shadow": ["thtip", "fftip", "mftip", "rftip", "lftip"],
}


class Urdf:
    """A robot's kinematics, as its file says them."""

    def __init__(self, name: str, side: str):
        path = dexi_rs.asset_path(f"robots/hands/{name}_hand") / f"{name}_hand_{side}.urdf"
        self.joints = {}  # child link -> joint
        for joint in ET.parse(path).getroot().findall("joint"):
            self.joints[joint.find("child").get("link")] = joint

    def place(self, link: str, angles: dict[str, float]) -> np.ndarray:
        point = np.zeros(3)
        while link in self.joints:
            joint = self.joints[link]
            origin = joint.find("origin")
            at, turn = (
                np.array((origin.get(key, "0 0 0") if origin is not None else "0 0 0").split(), float)
                for key in ("xyz", "rpy")
            )
            if joint.get("type") != "fixed":
                axis = np.array(joint.find("axis").get("xyz").split(), float)
                point = Rotation.from_rotvec(axis * angles[joint.get("name")]).apply(point)
            point = at + Rotation.from_euler("xyz", turn).apply(point)
            link = joint.find("parent").get("link")
        return point

    def limits(self) -> dict[str, tuple[float, float]]:
        found = {}
        for joint in self.joints.values():
            if joint.get("type") == "revolute":
                limit = joint.find("limit")
                found[joint.get("name")] = float(limit.get("lower")), float(limit.get("upper"))
        return found


def read(path) -> list[dict[str, float]]:
    with path.open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def angles_of(row: dict[str, float]) -> dict[str, float]:
    return {key.removesuffix("_rad"): value for key, value in row.items() if key.endswith("_rad")}


def test_every_hand_has_a_table_within_the_joints_limits(tmp_path):
    columns = moving_hands()
    done = export_predictions(write_predictions(tmp_path / "p.npz", columns), "robot")
    assert sorted(path.name for path in done.out.iterdir()) == sorted(
        f"{robot}_{name}.csv" for robot in ROBOTS for name in NAMES.values()
    )
    assert [note.split(":")[0] for note in done.notes] == list(ROBOTS)
    for robot in ROBOTS:
        for hand, name in NAMES.items():
            rows = read(done.out / f"{robot}_{name}.csv")
            wanted = columns["hand_id"] == hand
            assert [row["frame"] for row in rows] == columns["frame"][wanted].tolist()
            limits = Urdf(robot, name.split("_")[1]).limits()
            for row in rows:
                angles = angles_of(row)
                assert set(angles) == set(limits)
                assert all(angles[key] == 0 for key in angles if key.startswith("WRJ"))
                assert all(low - SLACK <= angles[key] <= up + SLACK for key, (low, up) in limits.items())


@pytest.mark.parametrize("robot", ROBOTS)
def test_a_finger_that_bends_bends_the_robots_finger_of_that_name(tmp_path, robot):
    """Each of four poses bends one finger: of the robot's tips that one comes farthest down and out of the
    palm, for both hands, by the kinematics of the robot's own file."""
    order = ("index", "middle", "ring")  # all robots have these
    joint = {"index": 0, "middle": 3, "ring": 9}  # of 15 finger joints in MANO's order
    for side in ("right", "left"):
        number = 0 if side == "right" else LEFT
        model, tips = Urdf(robot, side), {}
        for which in ("none", *order):
            angles = torch.zeros(15, 3)
            if which != "none":
                angles[joint[which] : joint[which] + 3, FLEXION] = torch.tensor([60.0, 60.0, 30.0])
            columns = moving_hands({number: list(range(8))}, pose=angles_to_pose(angles))
            file = write_predictions(tmp_path / f"{side}_{which}.npz", columns)
            (path,) = export_predictions(file, "robot").out.glob(f"{robot}_*.csv")
            last = angles_of(read(path)[-1])
            tips[which] = np.array([model.place(link, last) for link in TIPS[robot][1:4]])
        for which in order:
            moved = tips[which] - tips["none"]
            number_of = order.index(which)
            if robot == "allegro" and side == "left":  # its fingers are numbered from its other edge
                number_of = 2 - number_of
            assert np.argmin(moved[:, 2]) == number_of and np.argmax(moved[:, 0]) == number_of, (side, which)
            assert moved[number_of, 2] < -0.03 and moved[number_of, 0] > 0.02
