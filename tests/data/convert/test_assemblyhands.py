"""AssemblyHands: a folder of its own format, made of the open hand before two moving cameras, comes back as
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

from tempohand.data.convert.rows import Storage
from tempohand.data.table import read_index

WIDTH, HEIGHT = 212, 160
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
SEQUENCE, CAMERAS, FRAMES = "nusar-2021_action_both_9012", ("HMC_84355350", "HMC_21179183"), (520, 522, 526)
MATRIX = camera_matrix(WIDTH, HEIGHT, 260)


def motion(camera, frame):
    """X_cam = R X + t, mm."""
    angle = 20 * CAMERAS.index(camera) + 5 * (frame - 520)
    return Rotation.from_euler("xyz", [10, 140, angle], degrees=True).as_matrix(), np.array(
        [20.0, -30.0 + frame - 520, 650.0]
    )


def seen(hand, camera, frame):
    return moved(hand, *motion(camera, frame))


def write_split(root, split, seed):
    """Writes a split; returns frame -> its two hands of the world, the right one first."""
    images, annotations, extrinsics, joints, truth = [], [], {}, {}, {}
    for frame in FRAMES:
        hands = [
            true_hand(seed + frame + side, is_right=side, wrist=(110 if side else -110, 0, 0))
            for side in (True, False)
        ]
        truth[frame], key = hands, f"{frame:06d}"
        joints[key] = {
            "world_coord": np.concatenate([hand.joints[FROM_OP] for hand in hands]).tolist(),
            "joint_valid": [1] * 42,
        }
        extrinsics[key] = {
            f"{camera}_mono10bit": np.column_stack(motion(camera, frame)).tolist() for camera in CAMERAS
        }
        for camera in CAMERAS:
            name = f"ego_images_rectified/{split}/{SEQUENCE}/{camera}_mono10bit/{frame:06d}.jpg"
            views = [seen(hand, camera, frame) for hand in hands]
            write_picture(root / "images" / name, picture(views, MATRIX, WIDTH, HEIGHT))
            bounds = [[*view.project(MATRIX).min(0) - 3, *view.project(MATRIX).max(0) + 3] for view in views]
            about = {
                "id": 70 + len(images),
                "file_name": name,
                "width": WIDTH,
                "height": HEIGHT,
                "seq_name": SEQUENCE,
            }
            images.append(about | {"camera": camera, "frame_idx": frame})
            labels = {
                "id": len(images),
                "image_id": about["id"],
                "bbox": dict(zip(("right", "left"), bounds)),
                "joint_valid": [1] * 42,
            }
            annotations.append(labels)
    calibration = {
        "intrinsics": {f"{camera}_mono10bit": MATRIX.tolist() for camera in CAMERAS},
        "extrinsics": extrinsics,
    }
    contents = {
        "ego_data": {"images": images, "annotations": annotations},
        "ego_calib": {"calibration": {SEQUENCE: calibration}},
        "joint_3d": {"annotations": {SEQUENCE: joints}},
    }
    folder = root / "annotations" / split
    folder.mkdir(parents=True)
    for kind, content in contents.items():
        (folder / f"assemblyhands_{split}_{kind}_v1-1.json").write_text(json.dumps(content))
    return truth


@pytest.fixture
def val(tmp_path):
    return tmp_path / "assemblyhands", write_split(tmp_path / "assemblyhands", "val", 0)


def change(root, kind, edit):
    path = root / f"annotations/val/assemblyhands_val_{kind}_v1-1.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def name(camera, is_right, split="val"):
    return f"{split}/{SEQUENCE}/{camera}_mono10bit/{'right' if is_right else 'left'}"


def test_both_hands_of_every_camera_and_split_come_with_their_world_moved_to_the_camera(val, tmp_path):
    root, truth = val
    splits = {"val": truth, "train": write_split(root, "train", 50)}
    (root / "annotations/test").mkdir()
    (root / "annotations/test/assemblyhands_test_ego_data_iccv23.json").write_text(
        "{}"
    )  # a challenge's file is not the test split
    table = convert_here("assemblyhands", root, tmp_path / "table")
    assert (
        read_index(table)["splits"].keys() == splits.keys() and read_index(table)["about"]["rejected"] == {}
    )
    for split, hands in splits.items():
        found = rows(table, split)
        assert len(found) == 12
        for (camera, frame), side in ((view, side) for view in np.ndindex(2, 3) for side in (0, 1)):
            camera, frame = CAMERAS[camera], FRAMES[frame]
            row = found[name(camera, not side, split), frame]
            assert_same_hand(row, seen(hands[frame][side], camera, frame), parameters=False)
            assert row["time"] == pytest.approx(frame / 60)
        (filmed,) = recordings(table, split).values()
        assert filmed == {sequence for sequence, _ in found} and len(filmed) == 4


def test_hands_without_a_box_or_ten_joints_are_no_rows_and_missing_joints_leave_the_published_box(
    val, tmp_path
):
    root, truth = val

    def edit(data):
        for one, image in zip(data["annotations"], data["images"]):
            if image["frame_idx"] == 520:
                one["bbox"]["right"] = None
            if image["frame_idx"] == 522:
                one["joint_valid"][21:33] = [0] * 12  # the left thumb, index and middle: nine joints stay
            if image["frame_idx"] == 526:
                one["joint_valid"] = [
                    [valid] for valid in [1] * 16 + [0, 1, 1, 0] + [1] * 22
                ]  # of the right pinky tip and base

    change(root, "ego_data", edit)
    found = rows(convert_here("assemblyhands", root, tmp_path / "table", storage=Storage(crop=False)), "val")
    camera = CAMERAS[0]
    assert {key for key in found if key[0].startswith(f"val/{SEQUENCE}/{camera}")} == {
        (name(camera, False), 520),
        (name(camera, True), 522),
        (name(camera, True), 526),
        (name(camera, False), 526),
    }
    row, view = found[name(camera, True), 526], seen(truth[526][0], camera, 526)
    assert np.flatnonzero(~row["joints_mask"]).tolist() == [17, 20]  # FROM_OP[19], FROM_OP[16]
    assert_same_hand(row, view, parameters=False, joints=False)
    pixels = view.project(MATRIX)
    np.testing.assert_allclose(row["box"], [*pixels.min(0) - 3, *pixels.max(0) + 3], atol=0.01)


def test_damage_costs_its_frames_alone(val, tmp_path):
    root, _ = val
    at = root / f"images/ego_images_rectified/val/{SEQUENCE}/{CAMERAS[0]}_mono10bit"
    (at / "000520.jpg").write_bytes((at / "000520.jpg").read_bytes()[:900])
    (at / "000522.jpg").unlink()
    change(root, "joint_3d", lambda content: content["annotations"][SEQUENCE].pop("000526"))
    change(root, "ego_calib", lambda content: content["calibration"][SEQUENCE]["extrinsics"].pop("000522"))

    def edit(data):
        next(one for one, image in zip(data["annotations"], data["images"]) if image["camera"] == CAMERAS[1])[
            "bbox"
        ]["left"] = [1.0, 2.0]

    change(root, "ego_data", edit)
    table = convert_here("assemblyhands", root, tmp_path / "table")
    assert sorted(rows(table, "val")) == [(name(CAMERAS[1], False), 520), (name(CAMERAS[1], True), 520)]
    listed = [json.loads(line) for line in (table / "rejected.jsonl").read_text().splitlines()]
    assert sorted((one["number"], one["reason"]) for one in listed) == [
        (520, "picture damaged"),
        (522, "no camera"),
        (522, "no camera"),
        (526, "no annotation"),
        (526, "no annotation"),
    ]


def test_a_camera_that_is_no_pinhole_costs_its_view(val, tmp_path):
    root, _ = val

    def edit(content):
        content["calibration"][SEQUENCE]["intrinsics"][f"{CAMERAS[0]}_mono10bit"] = [[1, 0], [0, 1]]
        del content["calibration"][SEQUENCE]["intrinsics"][f"{CAMERAS[1]}_mono10bit"]

    change(root, "ego_calib", edit)
    with pytest.raises(ValueError, match="nothing of AssemblyHands.*no camera"):
        convert_here("assemblyhands", root, tmp_path / "table")


def test_other_folders_and_damaged_files_are_refused_in_one_line(val, tmp_path):
    root, _ = val
    with pytest.raises(FileNotFoundError, match="no annotations/{train,val,test}"):
        convert_here("assemblyhands", tmp_path, tmp_path / "table")
    path = root / "annotations/val/assemblyhands_val_joint_3d_v1-1.json"
    path.write_text('{"annotations": {')
    with pytest.raises(ValueError, match="joint_3d_v1-1.json' is damaged"):
        convert_here("assemblyhands", root, tmp_path / "table")
    path.write_text("[]")
    with pytest.raises(ValueError, match="joint_3d_v1-1.json' is not what"):
        convert_here("assemblyhands", root, tmp_path / "table")
    path.unlink()
    with pytest.raises(FileNotFoundError, match="joint_3d_v1-1.json' is missing"):
        convert_here("assemblyhands", root, tmp_path / "table")
