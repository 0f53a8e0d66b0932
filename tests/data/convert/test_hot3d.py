"""HOT3D-Clips: archives of its own format, made of the open hand before a moving fisheye camera, come back as
pinhole pictures of it."""

import io
import json
import math
import tarfile

import cv2
import numpy as np
import pytest
from convert_support import assert_same_hand, convert_here, moved, recordings, rows, true_hand
from scipy.spatial.transform import Rotation

from tempohand.data.convert.rows import Storage
from tempohand.data.table import read_index

EDGE = 700
PARAMETERS = [
    250.0,
    351.5,
    347.2,
    0.04,
    -0.02,
    0.005,
    -0.002,
    3e-4,
    -2e-5,
    1e-3,
    -2e-3,
    2e-3,
    -5e-4,
    -1.5e-3,
    3e-4,
]
UPRIGHT = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
SKIN = (205, 160, 135)
BETAS = np.random.default_rng(1).normal(0, 0.5, 10)


def fisheye(point):
    """Where the camera sees a point, px, term by term."""
    (f, cx, cy), k, (p0, p1), s = PARAMETERS[:3], PARAMETERS[3:9], PARAMETERS[9:11], PARAMETERS[11:]
    angle = math.atan2(math.hypot(*point[:2]), point[2])
    bent = angle + sum(coefficient * angle ** (2 * power + 3) for power, coefficient in enumerate(k))
    direction = math.atan2(point[1], point[0])
    u, v = bent * math.cos(direction), bent * math.sin(direction)
    r = u**2 + v**2
    u, v = (
        u + p0 * (2 * u**2 + r) + 2 * p1 * u * v + s[0] * r + s[1] * r**2,
        v + p1 * (2 * v**2 + r) + 2 * p0 * u * v + s[2] * r + s[3] * r**2,
    )
    return np.array([f * u + cx, f * v + cy])


def fisheye_picture(hands):
    """Skin everywhere, and a soft dark dot at each wrist."""
    v, u = np.mgrid[:EDGE, :EDGE]
    light = np.ones((EDGE, EDGE))
    for hand in hands:
        x, y = fisheye(hand.joints[0])
        light *= 1 - 0.9 * np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * 1.6**2))
    return (light[..., None] * SKIN).round().astype(np.uint8)


def camera_in_world(frame):
    """X_world = R X_camera + t, mm."""
    return Rotation.from_euler("xyz", [30 + 2 * frame, -50, 80], degrees=True).as_matrix(), np.array(
        [100.0 + 9 * frame, -400.0, 1500.0]
    )


def rigid(rotation, translation):
    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    return {"quaternion_wxyz": [w, x, y, z], "translation_xyz": (np.asarray(translation) / 1000).tolist()}


def hand_entry(hand, rotation, translation, streams, visible):
    world = moved(hand, rotation, translation)
    orient, thetas = world.pca(15)
    return {
        "mano_pose": {"thetas": thetas.tolist(), "wrist_xform": [*orient, *(world.transl / 1000)]},
        "umetrack_pose": {"joint_angles": [0.0] * 20},
        "boxes_amodal": {stream: [0, 0, 9, 9] for stream in streams},
        "visibilities_modeled": dict.fromkeys(streams, visible),
    }


def crop_entry(hand, rotation, streams):
    """A camera that looks at the hand, 40 degrees wide."""
    axis = hand.joints.mean(0) / np.linalg.norm(hand.joints.mean(0))
    side = np.cross([0.0, 1.0, 0.0], axis)
    look = np.stack([side / np.linalg.norm(side), np.cross(axis, side / np.linalg.norm(side)), axis], axis=1)
    crop = {
        "T_world_from_crop_camera": rigid(rotation @ look, [0, 0, 0]),
        "crop_camera_fov": math.radians(40),
    }
    return dict.fromkeys(streams, crop)


def write_clip(path, streams, frames, *, labelled=True, visible=0.8, edit=lambda files: None):
    """frames: {number: {is_right: hand in camera space}}. edit: changes the files, name -> bytes, before they
    are archived."""
    files = {"__hand_shapes.json__": json.dumps({"mano": BETAS.tolist(), "umetrack": {}}).encode()}
    for number, hands in frames.items():
        rotation, translation = camera_in_world(number)
        calibration = {
            "image_width": EDGE,
            "image_height": EDGE,
            "projection_model_type": "CameraModelType.FISHEYE624",
        }
        about = {
            "calibration": calibration | {"projection_params": PARAMETERS},
            "T_world_from_camera": rigid(rotation, translation),
        }
        name = f"{number:06d}"
        sides = {True: "right", False: "left"}
        entries = {
            sides[is_right]: hand_entry(hand, rotation, translation, streams, visible)
            for is_right, hand in hands.items()
        }
        files[f"{name}.cameras.json"] = json.dumps(dict.fromkeys(streams, about)).encode()
        files[f"{name}.info.json"] = b"{}"
        crops = {sides[is_right]: crop_entry(hand, rotation, streams) for is_right, hand in hands.items()}
        files[f"{name}.hand_crops.json"] = json.dumps({"left": None} | crops).encode()
        if labelled:
            files[f"{name}.hands.json"] = json.dumps(entries).encode()
        image = cv2.imencode(
            ".jpg", fisheye_picture(hands.values())[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98]
        )[1].tobytes()
        files |= {f"{name}.image_{stream}.jpg": image for stream in streams}
    edit(files)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def near(seed, is_right, wrist=(0, 40, 400)):
    return true_hand(seed, is_right=is_right, wrist=wrist, pca=15, shape=BETAS)


QUEST = ["1201-1", "1201-2"]


@pytest.fixture
def hands():
    """Four frames: both hands, both, the right one alone, the left one alone."""
    return {
        number: {
            side: near(10 * number + side, side, wrist=(130 if side else -130, 40, 400))
            for side in (True, False)
            if (number, side) not in ((2, False), (3, True))
        }
        for number in range(4)
    }


def assert_dot(row):
    """The picture has the dot where the row's wrist is, to 0.1 px."""
    image = row["image"].astype(float).mean(2)
    column, line = np.round(row["joints2d"][0]).astype(int)
    patch = np.s_[line - 5 : line + 6, column - 5 : column + 6]
    weight = np.maximum(np.mean(SKIN) - 6 - image[patch], 0)
    v, u = np.mgrid[: image.shape[0], : image.shape[1]]
    centre = np.array([(u[patch] * weight).sum(), (v[patch] * weight).sum()]) / weight.sum()
    np.testing.assert_allclose(centre, row["joints2d"][0], atol=0.1)


def test_both_hands_of_every_stream_stand_upright_in_pinhole_pictures(hands, tmp_path):
    write_clip(tmp_path / "hot3d/train_quest3/clip-001849.tar", QUEST, hands)
    table = convert_here("hot3d", tmp_path / "hot3d", tmp_path / "table")
    found = rows(table, "train_quest3")
    wanted = {
        (f"clip-001849/{stream}/{'right' if side else 'left'}", number): hand
        for stream in QUEST
        for number, both in hands.items()
        for side, hand in both.items()
    }
    assert found.keys() == wanted.keys()
    for key, hand in wanted.items():
        assert_same_hand(found[key], moved(hand, UPRIGHT, np.zeros(3)))
        assert_dot(found[key])
        assert found[key]["time"] == pytest.approx(key[1] / 30) and found[key]["hidden"] == pytest.approx(0.2)
    assert recordings(table, "train_quest3") == {"clip-001849": {sequence for sequence, _ in wanted}}
    assert read_index(table)["about"]["rejected"] == {}


def test_a_hand_far_from_the_axis_turns_the_camera_once_for_the_clip(tmp_path):
    """Where any frame is beyond 60 degrees the camera looks at the middle, in all frames by the same turn."""
    angles = np.deg2rad([56, 60, 64, 68])
    hands = {
        number: {True: near(number, True, wrist=(400 * np.sin(a), 40, 400 * np.cos(a)))}
        for number, a in enumerate(angles)
    }
    write_clip(tmp_path / "hot3d/train_aria/clip-000007.tar", ["214-1"], hands)
    found = rows(
        convert_here("hot3d", tmp_path / "hot3d", tmp_path / "table", streams=["214-1"]), "train_aria"
    )
    assert len(found) == 4
    turns = []
    for (_, number), row in found.items():
        joints = row["joints"].astype(float)
        turn, _ = Rotation.align_vectors(joints, hands[number][True].joints)
        turns.append(turn.as_matrix())
        assert_same_hand(row, moved(hands[number][True], turns[-1], np.zeros(3)))
        assert_dot(row)
        assert joints[:, 2].min() > 250  # before the camera, not beside it
    np.testing.assert_allclose(turns, np.broadcast_to(turns[0], (4, 3, 3)), atol=1e-4)
    assert np.linalg.norm(turns[0] - UPRIGHT) > 0.5


def test_streams_are_an_option(hands, tmp_path):
    write_clip(tmp_path / "hot3d/train_aria/clip-000001.tar", ["214-1", *QUEST], {0: hands[0]})
    root = tmp_path / "hot3d"
    assert len(rows(convert_here("hot3d", root, tmp_path / "all"), "train_aria")) == 6
    colour = rows(convert_here("hot3d", root, tmp_path / "colour", streams=["214-1"]), "train_aria")
    assert sorted(colour) == [("clip-000001/214-1/left", 0), ("clip-000001/214-1/right", 0)]
    with pytest.raises(ValueError, match="streams.*'214-2' is none of"):
        convert_here("hot3d", root, tmp_path / "other", streams=["214-2"])


def test_unseen_null_and_unfitted_hands_are_no_rows(hands, tmp_path):
    def edit(files):
        for number, change in enumerate(
            ({"right": None}, {"right": {"mano_pose": None}}, {"left": {"visibilities_modeled": {}}})
        ):
            name = f"{number:06d}.hands.json"
            old = json.loads(files[name])
            new = {
                side: change.get(side, {}) and old[side] | change[side] if side in change else old[side]
                for side in old
            }
            files[name] = json.dumps(new).encode()

    write_clip(
        tmp_path / "hot3d/train_quest3/clip-000001.tar",
        QUEST[:1],
        dict.fromkeys(range(4), hands[0]),
        edit=edit,
    )
    write_clip(tmp_path / "hot3d/train_quest3/clip-000002.tar", QUEST[:1], {0: hands[0]}, visible=0.05)
    table = convert_here("hot3d", tmp_path / "hot3d", tmp_path / "table", streams=QUEST[:1])
    assert sorted(
        (sequence.rpartition("/")[2], number) for sequence, number in rows(table, "train_quest3")
    ) == [
        *[("left", number) for number in (0, 1, 3)],
        *[("right", number) for number in (2, 3)],
    ]
    assert read_index(table)["about"]["rejected"] == {}


def test_clips_without_hands_are_cut_as_the_crops_say(hands, tmp_path):
    write_clip(
        tmp_path / "hot3d/test_aria/clip-003000.tar",
        ["214-1"],
        hands,
        labelled=False,
        edit=lambda files: files.pop("__hand_shapes.json__"),
    )
    for hand in (None, "open"):
        options = {"hand": None} if hand is None else {}
        table = convert_here(
            "hot3d", tmp_path / "hot3d", tmp_path / f"table_{hand}", streams=["214-1"], **options
        )
        found = rows(table, "test_aria")
        assert len(found) == 6
        for (sequence, number), row in found.items():
            assert (
                not row["joints_mask"].any()
                and not row["joints2d_mask"].any()
                and not row["has_hand"]
                and row["has_camera"]
            )
            joints = hands[number][sequence.endswith("right")].joints @ UPRIGHT.T
            middle = ((joints[:, :2] / joints[:, 2:]) * row["focal"] + row["princpt"]).mean(0)
            assert (
                np.abs(middle - (row["box"][:2] + row["box"][2:]) / 2)
                < 0.2 * (row["box"][2:] - row["box"][:2])
            ).all()


def test_clips_belong_to_their_folder_and_to_the_splits_that_list_them(hands, tmp_path):
    root = tmp_path / "hot3d"
    for folder, clips in {"train_aria": (1, 2, 3), "test_aria": (9,)}.items():
        for clip in clips:
            write_clip(
                root / folder / f"clip-{clip:06d}.tar",
                ["214-1"],
                {0: hands[2]},
                labelled=folder != "test_aria",
            )
    splits = {
        "train": {"Aria": [1, 2, 3], "Quest3": [4]},
        "test_ht_pose": {"Aria": [9]},
        "test_bop": {"Aria": [9]},
    }
    people = {1: "P0001_a", 2: "P0001_a", 3: "P0003_c", 4: "P0009_d", 9: "P0004_e"}
    (root / "clip_splits.json").write_text(json.dumps(splits))
    (root / "clip_definitions.json").write_text(
        json.dumps({str(clip): {"sequence_id": name} for clip, name in people.items()})
    )
    table = convert_here("hot3d", root, tmp_path / "table", streams=["214-1"])
    found = {
        split: {int(name[5:11]) for name, _ in rows(table, split)} for split in read_index(table)["splits"]
    }
    assert found == {
        "train_aria": {1, 2, 3},
        "train": {1, 2, 3},
        "fit": {1, 2},
        "val": {3},  # and clip 4, which is not here
        **dict.fromkeys(("test_aria", "test_ht_pose", "test_bop"), {9}),
    }
    cut_from = {
        recording: {int(name[5:11]) for name in names}
        for recording, names in recordings(table, "train", "test_aria").items()
    }
    assert cut_from == {"P0001_a": {1, 2}, "P0003_c": {3}, "P0004_e": {9}}


def test_clips_of_val_have_the_official_boxes_unless_the_truths_are_asked_for(hands, tmp_path):
    root = tmp_path / "hot3d"
    for clip in (1, 2, 3):
        write_clip(root / f"train_aria/clip-{clip:06d}.tar", ["214-1"], {0: hands[2]})
    (root / "clip_splits.json").write_text(json.dumps({"train": {"Aria": [1, 2, 3]}}))
    people = {str(clip): {"sequence_id": f"P000{clip}_a"} for clip in (1, 2, 3)}
    (root / "clip_definitions.json").write_text(json.dumps(people))
    tables = {
        boxes: convert_here("hot3d", root, tmp_path / boxes, streams=["214-1"], boxes=boxes)
        for boxes in ("official", "truth")
    }
    for boxes, table in tables.items():
        for split in ("fit", "val"):
            for row in rows(table, split).values():
                bounds = np.concatenate([row["joints2d"].min(0), row["joints2d"].max(0)])
                official = boxes == "official" and split == "val"
                assert np.allclose(row["box"], bounds, atol=0.1) != official and row["joints_mask"].all()
                if (
                    official
                ):  # 40 degrees wide, turned with the camera: its inner half is that of a square of rays
                    crop = 2 * row["focal"] * math.tan(math.radians(20)) / 2
                    assert (row["box"][2:] - row["box"][:2] > 0.9 * crop).all() and (
                        row["box"][2:] - row["box"][:2] < 2 * crop
                    ).all()
        said = read_index(table)["about"]["boxes"]
        assert ("official" in said["val"]) == (boxes == "official") and said[
            "fit"
        ] == "bounds of the true joints"
    uncropped = {
        "train_aria/clip-000003.tar": lambda files: files.update(
            {"000000.hand_crops.json": b'{"left": null, "right": null}'}
        )
    }
    for name, edit in uncropped.items():
        write_clip(root / name, ["214-1"], {0: hands[2]}, edit=edit)
    table = convert_here("hot3d", root, tmp_path / "uncropped", streams=["214-1"])
    assert read_index(table)["about"]["rejected"] == {"no official box": 1}


def test_damage_costs_its_frames_or_its_clip(hands, tmp_path):
    def edit(files):
        files["000000.image_1201-1.jpg"] = files["000000.image_1201-1.jpg"][:3000]
        del files["000001.image_1201-1.jpg"]
        files["000002.hands.json"] = files["000002.hands.json"][:50]
        cameras = json.loads(files["000003.cameras.json"])
        cameras["1201-1"]["calibration"]["projection_params"] = PARAMETERS[:8]
        files["000003.cameras.json"] = json.dumps(cameras).encode()
        hand = json.loads(files["000004.hands.json"])
        hand["right"]["mano_pose"]["wrist_xform"] = [0.0] * 5
        files["000004.hands.json"] = json.dumps(hand).encode()

    root = tmp_path / "hot3d/train_quest3"
    write_clip(
        root / "clip-000001.tar",
        QUEST[:1],
        {number: {True: hands[0][True]} for number in range(6)},
        edit=edit,
    )
    write_clip(root / "clip-000002.tar", QUEST[:1], {0: {True: hands[0][True]}})
    whole = (root / "clip-000002.tar").read_bytes()
    (root / "clip-000002.tar").write_bytes(whole[: len(whole) // 2 - 1000])
    (root / "clip-000003.tar").write_bytes(b"")
    table = convert_here("hot3d", tmp_path / "hot3d", tmp_path / "table", streams=QUEST[:1])
    assert sorted(rows(table, "train_quest3")) == [("clip-000001/1201-1/right", 5)]
    listed = [json.loads(line) for line in (table / "rejected.jsonl").read_text().splitlines()]
    reasons = {
        (one["sequence"], one["number"]): one["reason"] for one in listed if one["sequence"].endswith("right")
    }
    assert reasons == {
        ("clip-000001/1201-1/right", 0): "picture damaged",
        ("clip-000001/1201-1/right", 1): "file missing",
        ("clip-000001/1201-1/right", 2): "damaged annotation",
        ("clip-000001/1201-1/right", 3): "no camera",
        ("clip-000001/1201-1/right", 4): "damaged annotation",
        ("clip-000002/1201-1/right", None): "damaged annotation",
        ("clip-000003/1201-1/right", None): "damaged annotation",
    }


def test_without_crop_the_picture_is_the_window_around_the_hand(hands, tmp_path):
    write_clip(tmp_path / "hot3d/train_quest3/clip-000001.tar", QUEST[:1], {0: hands[0]})
    found = rows(
        convert_here(
            "hot3d", tmp_path / "hot3d", tmp_path / "table", streams=QUEST[:1], storage=Storage(crop=False)
        ),
        "train_quest3",
    )
    for (sequence, _), row in found.items():
        assert_same_hand(row, moved(hands[0][sequence.endswith("right")], UPRIGHT, np.zeros(3)))
        assert_dot(row)


def test_other_folders_and_a_missing_hand_model_are_refused_in_one_line(hands, tmp_path):
    with pytest.raises(FileNotFoundError, match="train_aria.*download HOT3D-Clips"):
        convert_here("hot3d", tmp_path, tmp_path / "table")
    write_clip(tmp_path / "train_aria/clip-000001.tar", ["214-1"], {0: hands[0]})
    with pytest.raises(ValueError, match="pass hand="):
        convert_here("hot3d", tmp_path, tmp_path / "table", hand=None)
    (tmp_path / "clip_splits.json").write_text('{"train": [1, 2]}')
    with pytest.raises(ValueError, match="clip_splits.json' is not split"):
        convert_here("hot3d", tmp_path, tmp_path / "table")
