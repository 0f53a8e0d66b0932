"""InterHand2.6M: a folder of its own format, made of the open hand before two turned cameras, comes back as
it was made."""

import json

import numpy as np
import pytest
from convert_support import (
    assert_same_hand,
    camera_matrix,
    convert_here,
    moved,
    picture,
    recordings,
    rows,
    true_hand,
    write_picture,
)
from scipy.spatial.transform import Rotation

from tempohand.data.convert.interhand import frame_step
from tempohand.data.convert.rows import Storage
from tempohand.data.table import read_index

WIDTH, HEIGHT = 256, 170
FROM_OP = [
    4,
    3,
    2,
    1,
    8,
    7,
    6,
    5,
    12,
    11,
    10,
    9,
    16,
    15,
    14,
    13,
    20,
    19,
    18,
    17,
    0,
]  # tip to base, thumb to pinky, the wrist last
CAMERAS = {
    "400262": (
        Rotation.from_euler("xyz", [20, -35, 60], degrees=True).as_matrix(),
        np.array([300.0, -200.0, 900.0]),
    ),
    "410001": (
        Rotation.from_euler("xyz", [25, -40, 75], degrees=True).as_matrix(),
        np.array([350.0, -150.0, 950.0]),
    ),
}
FRAMES = {"ROM01_Two": [12, 18, 24, 36], "0001_fist": [7]}  # a step of 6, and one frame missing
SEQUENCES = {"ROM01_Two": "interacting", "0001_fist": "left"}


def in_world(hand):
    """Hands are drawn before the first camera."""
    rotation, position = CAMERAS["400262"]
    return moved(hand, rotation.T, position)


def seen(hand, camera):
    rotation, position = CAMERAS[camera]
    return moved(hand, rotation, -rotation @ position)


def write_split(root, split, seed):
    """Writes a split; returns (sequence, frame) -> hands of the world."""
    images, annotations, joints, mano, truth = [], [], {}, {}, {}
    for sequence, kind in SEQUENCES.items():
        for frame in FRAMES[sequence]:
            sides = {"right": [True], "left": [False], "interacting": [True, False]}[kind]
            hands = [
                in_world(true_hand(seed + frame, is_right=side, wrist=(60 - 120 * side, 0, 700)))
                for side in sides
            ]
            truth[sequence, frame] = hands
            world, valid = np.full((42, 3), 1.0), np.zeros(42, int)
            fits = dict.fromkeys(("right", "left"))
            for hand in hands:
                part = slice(0, 21) if hand.is_right else slice(21, 42)
                world[part], valid[part] = hand.joints[FROM_OP], 1
                fits["right" if hand.is_right else "left"] = {
                    "pose": hand.relative_pose.tolist(),
                    "shape": hand.shape.tolist(),
                    "trans": (hand.transl / 1000).tolist(),
                }
            joints[str(frame)] = {
                "world_coord": world.tolist(),
                "joint_valid": valid[:, None].tolist(),
                "hand_type": kind,
            }
            mano[str(frame)] = fits
            for camera in CAMERAS:
                name = f"Capture0/{sequence}/cam{camera}/image{frame}.jpg"
                matrix = camera_matrix(WIDTH, HEIGHT, 400)
                write_picture(
                    root / "images" / split / name,
                    picture([seen(hand, camera) for hand in hands], matrix, WIDTH, HEIGHT),
                )
                about = {
                    "id": len(images),
                    "file_name": name,
                    "width": WIDTH,
                    "height": HEIGHT,
                    "capture": 0,
                    "subject": 3,
                }
                images.append(about | {"seq_name": sequence, "camera": camera, "frame_idx": frame})
                labels = {
                    "id": 9000 + len(images),
                    "image_id": about["id"],
                    "bbox": [0, 0, 9, 9],
                    "joint_valid": valid.tolist(),
                }
                annotations.append(labels | {"hand_type": kind, "hand_type_valid": 1})
    matrix = camera_matrix(WIDTH, HEIGHT, 400)
    cameras = {
        "campos": {name: position.tolist() for name, (_, position) in CAMERAS.items()},
        "camrot": {name: rotation.tolist() for name, (rotation, _) in CAMERAS.items()},
        "focal": {name: [matrix[0, 0], matrix[1, 1]] for name in CAMERAS},
        "princpt": {name: matrix[:2, 2].tolist() for name in CAMERAS},
    }
    contents = {"images": images, "annotations": annotations}, {"0": cameras}, {"0": joints}, {"0": mano}
    folder = root / "annotations" / split
    folder.mkdir(parents=True)
    for kind, content in zip(("data", "camera", "joint_3d", "MANO_NeuralAnnot"), contents):
        (folder / f"InterHand2.6M_{split}_{kind}.json").write_text(json.dumps(content))
    return truth


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "InterHand2.6M_5fps_batch1"
    return root, {
        split: write_split(root, split, seed) for split, seed in (("train", 0), ("val", 100), ("test", 200))
    }


@pytest.fixture
def small(tmp_path):
    root = tmp_path / "InterHand2.6M_5fps_batch1"
    return root, write_split(root, "test", 0)


def change(root, kind, edit, split="test"):
    path = root / "annotations" / split / f"InterHand2.6M_{split}_{kind}.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def rejected(table):
    return [json.loads(line) for line in (table / "rejected.jsonl").read_text().splitlines()]


def test_both_hands_of_every_camera_and_split_come_with_their_world_turned_to_the_camera(folder, tmp_path):
    root, truth = folder
    table = convert_here("interhand", root, tmp_path / "table")
    for split in ("train", "val", "test"):
        found = rows(table, split)
        wanted = {
            (f"{split}/Capture0/{sequence}/cam{camera}/{'right' if hand.is_right else 'left'}", frame): seen(
                hand, camera
            )
            for (sequence, frame), hands in truth[split].items()
            for hand in hands
            for camera in CAMERAS
        }
        assert found.keys() == wanted.keys()
        for key, hand in wanted.items():
            assert_same_hand(found[key], hand)
        filmed = recordings(table, split)
        assert set(filmed) == {f"{split}/Capture0/{sequence}" for sequence, _ in truth[split]}
        assert all(
            filmed[name] == {sequence for sequence, _ in wanted if sequence.startswith(f"{name}/")}
            for name in filmed
        )
    assert read_index(table)["about"]["rejected"] == {}


@pytest.mark.parametrize("fps", [5, 30])
def test_times_are_seconds_with_the_step_between_frames_of_the_sequence(small, tmp_path, fps):
    root, _ = small
    found = rows(
        convert_here(
            "interhand", root.rename(root.with_name("InterHand")), tmp_path / "table", hand=None, fps=fps
        ),
        "test",
    )
    times = {
        frame: row["time"]
        for (sequence, frame), row in found.items()
        if sequence == "test/Capture0/ROM01_Two/cam400262/left"
    }
    assert times == pytest.approx({frame: frame / 6 / fps for frame in (12, 18, 24, 36)})


def test_the_step_is_the_commonest_difference():
    assert frame_step({3}) == 1 and frame_step({10, 13, 16, 25, 28}) == 3 and frame_step({1, 7, 10}) == 3


def test_an_invalid_wrist_drops_its_hand_and_an_invalid_joint_itself(small, tmp_path):
    root, truth = small

    def edit(data):
        for one in data["annotations"]:
            frame = data["images"][one["image_id"]]["frame_idx"]
            if frame == 18:
                one["joint_valid"][20] = 0  # the right wrist
            if frame == 24:
                one["joint_valid"][21 + 4] = 0  # the left index finger's tip

    change(root, "data", edit)
    table = convert_here("interhand", root, tmp_path / "table")
    found = rows(table, "test")
    at = "test/Capture0/ROM01_Two/cam400262"
    assert (f"{at}/right", 18) not in found
    assert_same_hand(found[f"{at}/left", 18], seen(truth["ROM01_Two", 18][1], "400262"))
    left = found[f"{at}/left", 24]
    assert np.flatnonzero(~left["joints_mask"]).tolist() == [8] and np.flatnonzero(
        ~left["joints2d_mask"]
    ).tolist() == [8]
    assert_same_hand(left, seen(truth["ROM01_Two", 24][1], "400262"), joints=False)
    assert {(one["sequence"], one["number"], one["reason"]) for one in rejected(table)} == {
        (f"test/Capture0/ROM01_Two/cam{camera}/right", 18, "no box") for camera in CAMERAS
    }


def test_null_fits_and_fits_beside_the_joints_leave_joints_alone(small, tmp_path):
    root, truth = small

    def edit(mano):
        mano["0"]["12"]["right"] = None
        mano["0"]["18"] = None
        mano["0"]["24"]["left"]["trans"][2] += 0.03
        del mano["0"]["36"]

    change(root, "MANO_NeuralAnnot", edit)
    found = rows(convert_here("interhand", root, tmp_path / "table"), "test")
    for (sequence, frame), hands in truth.items():
        for hand in hands:
            row = found[f"test/Capture0/{sequence}/cam410001/{'right' if hand.is_right else 'left'}", frame]
            fitted = frame == 7 or (frame == 12 and not hand.is_right) or (frame == 24 and hand.is_right)
            assert_same_hand(row, seen(hand, "410001"), parameters=fitted)


def test_without_the_hand_file_or_the_fits_there_are_joints_alone(small, tmp_path):
    root, truth = small
    tables = [convert_here("interhand", root, tmp_path / "table", hand=None)]
    (root / "annotations/test/InterHand2.6M_test_MANO_NeuralAnnot.json").unlink()
    tables.append(convert_here("interhand", root, tmp_path / "again"))
    for table in tables:
        row = rows(table, "test")["test/Capture0/0001_fist/cam400262/left", 7]
        assert_same_hand(row, seen(truth["0001_fist", 7][0], "400262"), parameters=False)


def test_damage_costs_its_frames_alone(small, tmp_path):
    root, _ = small
    at = root / "images/test/Capture0/ROM01_Two/cam400262"
    whole = (at / "image12.jpg").read_bytes()
    (at / "image12.jpg").write_bytes(whole[: len(whole) // 2])
    (at / "image18.jpg").unlink()

    def edit_joints(joints):
        del joints["0"]["24"]
        joints["0"]["36"]["world_coord"] = [[1.0, 2.0, 3.0]] * 41

    def edit_data(data):
        data["annotations"].pop()  # of 0001_fist before the second camera

    change(root, "joint_3d", edit_joints)
    change(root, "data", edit_data)
    table = convert_here("interhand", root, tmp_path / "table")
    assert sorted({(sequence.split("/")[3], frame) for sequence, frame in rows(table, "test")}) == [
        ("cam400262", 7),
        ("cam410001", 12),
        ("cam410001", 18),
    ]
    reasons = {(one["sequence"].split("/")[3], one["number"]): one["reason"] for one in rejected(table)}
    assert reasons == {
        ("cam400262", 12): "picture damaged",
        ("cam400262", 18): "picture missing",
        **{(f"cam{camera}", 24): "no annotation" for camera in CAMERAS},
        **{(f"cam{camera}", 36): "damaged annotation" for camera in CAMERAS},
        ("cam410001", 7): "no annotation",
    }


def test_a_camera_that_is_missing_or_damaged_costs_its_view(small, tmp_path):
    root, _ = small

    def edit(cameras):
        del cameras["0"]["campos"]["400262"]
        cameras["0"]["camrot"]["410001"] = [[1, 0], [0, 1]]

    change(root, "camera", edit)
    with pytest.raises(ValueError, match="nothing of InterHand2.6M.*no camera.*campos"):
        convert_here("interhand", root, tmp_path / "table")


def test_pictures_can_stay_where_they_are(small, tmp_path):
    root, truth = small
    found = rows(convert_here("interhand", root, tmp_path / "table", storage=Storage(crop=False)), "test")
    for (sequence, frame), hands in truth.items():
        row = found[f"test/Capture0/{sequence}/cam400262/left", frame]
        assert (row["width"], row["height"]) == (WIDTH, HEIGHT)
        assert_same_hand(row, seen(hands[-1], "400262"))


def test_other_folders_and_unknown_rates_are_refused_in_one_line(small, tmp_path):
    root, _ = small
    (tmp_path / "other_30fps").mkdir()
    with pytest.raises(FileNotFoundError, match="InterHand2.6M.annotations.30.fps.zip"):
        convert_here("interhand", tmp_path / "other_30fps", tmp_path / "table")
    with pytest.raises(ValueError, match="options=.*fps: 5"):
        convert_here("interhand", tmp_path, tmp_path / "table")
    (root / "annotations/test/InterHand2.6M_test_joint_3d.json").write_text('{"0": ')
    with pytest.raises(ValueError, match="joint_3d.json' is damaged"):
        convert_here("interhand", root, tmp_path / "table")
    (root / "annotations/test/InterHand2.6M_test_data.json").write_text("[]")
    with pytest.raises(ValueError, match="data.json' is not what"):
        convert_here("interhand", root, tmp_path / "table")
