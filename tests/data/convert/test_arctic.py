"""ARCTIC: a folder of its own format, made of the open hand, comes back as it was made, from every camera."""

import json

import cv2
import numpy as np
import pytest
import torch
from convert_support import (
    TrueHand,
    assert_same_hand,
    assert_shows,
    camera_matrix,
    convert_here,
    picture,
    posed,
    reasons,
    recordings,
    rows,
    write_bytes,
    write_picture,
)
from scipy.spatial.transform import Rotation

from tempohand.data.convert.rows import Storage
from tempohand.data.table import read_index
from tempohand.hand.layer import HandLayer

SIZE = (280, 200)
K = camera_matrix(*SIZE, 220)
DISTORTION = np.array([-0.5, 0.1, 0.002, -0.003, 0.01, 0.05, 0.0, 0.0])
OFFSETS, COUNT = {"s01": 2, "s05": 0}, 23
NUMBERS = range(10, COUNT - 10)
SEQUENCES = ("s01/box_use_01", "s01/phone_grab_02", "s05/mixer_use_01")
LAYERS = {side: HandLayer(side=side, left_shapedirs="unfixed").double() for side in ("right", "left")}
WHOLE = Storage(crop=False)
WAVES = (
    110 + 80 * np.sin(np.arange(SIZE[0]) / 4) * np.sin(np.arange(SIZE[1]) / 4)[:, None]
)  # what shows a shift anywhere in a picture


def extrinsics(seed: int) -> np.ndarray:
    """4 x 4, world to a camera that looks at the world's origin from 0.7 m, metres."""
    rng = np.random.default_rng([seed, 3])
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(rng.normal(0, 1, 3)).as_matrix()
    matrix[:3, 3] = [*rng.normal(0, 0.02, 2), 0.7]
    return matrix


def world_hands(seed: int) -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return {
        side: {
            "rot": rng.normal(0, 1, (COUNT, 3)),
            "pose": rng.normal(0, 0.2, (COUNT, 45)),
            "trans": rng.normal(0, 0.02, (COUNT, 3)),
            "shape": rng.normal(0, 0.5, 10),
            "fitting_err": np.zeros(COUNT),
        }
        for side in ("right", "left")
    }


def in_camera(stored: dict, side: str, index: int, matrix: np.ndarray) -> TrueHand:
    """The hand as the toolkit has it: MANO in the world, its points taken to the camera."""
    layer = LAYERS[side]
    rot, fingers, trans, betas = (
        np.asarray(x, np.float32).astype(float)
        for x in (*(stored[n][index] for n in ("rot", "pose", "trans")), stored["shape"])
    )
    pose = np.concatenate([rot, fingers + layer.hands_mean.double().numpy()])
    wrist = layer.rest_wrist(torch.from_numpy(betas)).numpy() + 1000 * trans
    joints, vertices = (
        points.numpy() for points in layer(*(torch.from_numpy(x) for x in (pose, betas, wrist)))
    )
    rotation, translation = matrix[:3, :3], 1000 * matrix[:3, 3]
    pose[:3] = Rotation.from_matrix(rotation @ Rotation.from_rotvec(rot).as_matrix()).as_rotvec()
    joints, vertices = joints @ rotation.T + translation, vertices @ rotation.T + translation
    return TrueHand(side == "right", pose, betas, joints[0], joints, vertices)


def distorted(image: np.ndarray) -> np.ndarray:
    """What the head's lens makes of a pinhole picture."""
    width, height = SIZE
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).reshape(-1, 1, 2).astype(np.float64)
    straight = cv2.undistortPoints(grid, K, DISTORTION, P=K).reshape(height, width, 2).astype(np.float32)
    return cv2.remap(
        image, straight[..., 0], straight[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def save_object(path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, value, allow_pickle=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder, the true hands by (sequence with view and side, number), and the pinhole pictures of the
    head's camera."""
    root, hands, straight = tmp_path_factory.mktemp("arctic"), {}, {}
    cameras = {
        subject: [extrinsics(10 * k + view) for view in range(1, 9)] for k, subject in enumerate(OFFSETS)
    }
    misc = {
        subject: {
            "ioi_offset": offset,
            "image_size": [[*SIZE]] * 9,
            "intris_mat": [K.tolist()] * 8,
            "world2cam": [matrix.tolist() for matrix in cameras[subject]],
            "gender": "female",
        }
        for subject, offset in OFFSETS.items()
    }
    write_bytes(root / "meta/misc.json", json.dumps(misc).encode())
    for k, name in enumerate(SEQUENCES):
        subject, stored = name.split("/")[0], world_hands(k)
        save_object(
            root / f"raw_seqs/{name}.mano.npy",
            {side: {key: np.float32(v) for key, v in hand.items()} for side, hand in stored.items()},
        )
        head = [extrinsics(1000 * (k + 1) + index) for index in range(COUNT)]
        ego = {
            "R_k_cam_np": np.stack([m[:3, :3] for m in head]),
            "T_k_cam_np": np.stack([m[:3, 3:] for m in head]),
        }
        ego |= {"intrinsics": K, "dist8": DISTORTION, "ego_markers.label": ["a", "b"], "R0": np.eye(3)}
        save_object(root / f"raw_seqs/{name}.egocam.dist.npy", ego)
        for view in (0, 1, 6):
            for number in NUMBERS:
                index = number - OFFSETS[subject]
                matrix = head[index] if view == 0 else cameras[subject][view - 1]
                both = {side: in_camera(stored[side], side, index, matrix) for side in stored}
                for side, hand in both.items():
                    hands[f"{name}/{view}/{side}", number] = hand
                image = picture(list(both.values()), K, *SIZE)
                if view == 0:
                    image[..., 1] = WAVES
                    straight[f"{name}/0", number] = image
                    image = distorted(image)
                write_picture(root / f"images/{name}/{view}/{number:05d}.jpg", image)
    return root, hands, straight


@pytest.fixture(scope="module")
def table(made, tmp_path_factory):
    return convert_here("arctic", made[0], tmp_path_factory.mktemp("table") / "table", storage=WHOLE)


def assert_both(found: dict, hands: dict) -> None:
    for key, row in found.items():
        truth = hands[key]
        if truth.is_right:
            assert_same_hand(row, truth)
        else:  # betas of left hands are another hand's, the joints are not
            np.testing.assert_allclose(row["joints"], truth.joints, atol=0.1)
            np.testing.assert_allclose(row["trans"], truth.wrist, atol=0.1)
            assert row["has_hand"] and not row["is_right"]
            rotations = (Rotation.from_rotvec(pose[:3]).as_matrix() for pose in (row["pose"], truth.pose))
            np.testing.assert_allclose(*rotations, atol=1e-4)


def test_both_hands_come_back_from_every_camera(made, table):
    _, hands, _ = made
    found = rows(table, "train") | rows(table, "val")
    assert sorted(found) == sorted(hands)
    assert_both(found, hands)
    for (_, number), row in found.items():
        assert row["time"] == pytest.approx(number / 30)
        np.testing.assert_allclose(
            [*row["focal"], *row["princpt"]], [K[0, 0], K[1, 1], K[0, 2], K[1, 2]], rtol=1e-5
        )


def test_betas_of_left_hands_are_those_of_the_nearest_mirrored_hand(made, table):
    """They were fitted with MANO_LEFT.pkl as it is: with their own betas a mirrored hand's joints are off by
    what this halves."""
    left = {
        key: row for key, row in (rows(table, "train") | rows(table, "val")).items() if not row["is_right"]
    }
    errors = np.array(
        [
            [
                np.linalg.norm(
                    posed(False, row["pose"].astype(float), shape.astype(float), truth.wrist).joints
                    - truth.joints,
                    axis=1,
                ).mean()
                for shape in (row["shape"], truth.shape)
            ]
            for key, row in left.items()
            if (truth := made[1][key]) is not None
        ]
    )
    assert len(errors) >= 6 and (errors[:, 0] < np.minimum(2.5, errors[:, 1] / 2)).all(), errors


def test_a_sequence_is_one_recording_in_all_its_views_and_of_both_hands(made, table):
    found = recordings(table, "train", "val")
    assert found == {
        recording: {sequence for sequence, _ in made[1] if sequence.rsplit("/", 2)[0] == recording}
        for recording in {sequence.rsplit("/", 2)[0] for sequence, _ in made[1]}
    }
    assert all(len(sequences) >= 4 for sequences in found.values())


def test_pictures_of_the_head_are_undistorted(made, table):
    _, _, straight = made
    found = {key: row for split in ("p2_train", "p2_val") for key, row in rows(table, split).items()}
    assert len(found) == 2 * len(straight)
    for (name, number), row in found.items():
        expected = straight[name.rsplit("/", 1)[0], number]
        inside = np.s_[20:-20, 30:-30, 1]  # what the lens sees, of the channel with the waves
        error, without = (
            np.abs(image[inside].astype(float) - expected[inside]).mean()
            for image in (row["image"], distorted(expected))
        )
        assert error < 0.2 * without


def test_subjects_and_views_make_the_splits(table):
    assert sorted(read_index(table)["splits"]) == ["p1_train", "p1_val", "p2_train", "p2_val", "train", "val"]
    for split, subject, views in (
        ("p1_train", "s01", {"1", "6"}),
        ("p1_val", "s05", {"1", "6"}),
        ("p2_train", "s01", {"0"}),
        ("p2_val", "s05", {"0"}),
    ):
        names = [name.split("/") for name, _ in rows(table, split)]
        assert {name[0] for name in names} == {subject} and {name[2] for name in names} == views


def copied(made, tmp_path, pictures: str = "images", suffix: str = "6/*.jpg"):
    """The folder with a part of its pictures."""
    root = tmp_path / "root"
    for pattern, folder in (
        ("meta/*", "meta"),
        ("raw_seqs/*/*", "raw_seqs"),
        (f"images/*/*/{suffix}", pictures),
    ):
        for path in made[0].glob(pattern):
            write_bytes(root / folder / path.relative_to(made[0] / pattern.split("/")[0]), path.read_bytes())
    return root


def test_the_official_lists_decide_where_they_are(made, tmp_path):
    root = copied(made, tmp_path)
    write_bytes(
        root / "splits_json/protocol_p1.json",
        json.dumps({"train": [SEQUENCES[2]], "val": [SEQUENCES[0]], "test": [SEQUENCES[1]]}).encode(),
    )
    table = convert_here("arctic", root, tmp_path / "table")
    for split, name in zip(("p1_train", "p1_val", "p1_test"), (SEQUENCES[2], SEQUENCES[0], SEQUENCES[1])):
        found = rows(table, split)
        assert {key[0].rsplit("/", 2)[0] for key in found} == {name}
        assert_both(found, made[1])


@pytest.mark.parametrize("published", [False, True])
def test_cropped_pictures_come_with_their_own_cameras(made, tmp_path, published):
    """Placed by the toolkit's processed sequences, or by the published splits."""
    root = copied(made, tmp_path, "cropped_images", "[06]/*.jpg")
    for path in root.glob("cropped_images/*/*/0/*.jpg"):
        write_picture(
            path, cv2.resize(cv2.imread(str(path))[..., ::-1], (84, 60), interpolation=cv2.INTER_AREA)
        )
    squares = np.tile(np.float32([140.3, 95.2, 0.9]), (COUNT, 9, 1))  # 270 px
    for path in root.glob("cropped_images/*/*/6/*.jpg"):
        whole = cv2.copyMakeBorder(cv2.imread(str(path))[..., ::-1], 100, 100, 100, 100, cv2.BORDER_CONSTANT)
        write_picture(
            path,
            cv2.resize(
                whole[100 - 40 : 100 + 230, 100 + 5 : 100 + 275], (1000, 1000), interpolation=cv2.INTER_CUBIC
            ),
        )
    if published:
        save_object(
            root / "splits/p1_train.npy",
            {"data_dict": {name: {"bbox": squares} for name in SEQUENCES[:2]}, "imgnames": ["a.jpg"]},
        )
    else:
        for name in SEQUENCES[:2]:
            save_object(
                root / f"processed_seqs/{name}.npy", {"bbox": squares, "params": {"query_names": ["box"]}}
            )
    table = convert_here("arctic", root, tmp_path / "table", storage=WHOLE)
    cropped, head = rows(table, "p1_train"), rows(table, "p2_train")
    assert len(cropped) == len(head) == 2 * 2 * len(NUMBERS)
    assert_both(cropped | head, made[1])
    for key, row in cropped.items():
        assert row["image"].shape == (1000, 1000, 3)
        # A pixel (u, v) of the whole picture is a square of 1000 / 270 px here, its first one beginning at
        # the square's corner.
        pixels = (made[1][key].project(K) - (5, -40) + 0.5) * 1000 / 270 - 0.5
        np.testing.assert_allclose(
            row["joints2d"][row["joints2d_mask"]], pixels[row["joints2d_mask"]], atol=0.1
        )
    for row in head.values():
        np.testing.assert_allclose(
            row["princpt"], [(K[0, 2] + 0.5) * 0.3 - 0.5, (K[1, 2] + 0.5) * 0.3 - 0.5], atol=1e-4
        )
    assert set(reasons(table).items()) == {((f"{SEQUENCES[2]}/6", None), "crop unknown")}


def test_damaged_files_cost_themselves_alone(made, tmp_path):
    root = copied(made, tmp_path, suffix="[06]/*.jpg")
    folder = root / "images" / SEQUENCES[0]
    (folder / "6/00010.jpg").write_bytes((folder / "6/00010.jpg").read_bytes()[:-30])
    (folder / "6/00011.jpg").unlink()
    (folder / "0/00011.jpg").write_bytes(b"\xff\xd8")
    (folder / "0/00012.jpg").unlink()
    path = root / f"raw_seqs/{SEQUENCES[1]}.mano.npy"
    path.write_bytes(path.read_bytes()[:500])
    path = root / f"raw_seqs/{SEQUENCES[2]}.egocam.dist.npy"
    ego = np.load(path, allow_pickle=True).item()
    save_object(path, ego | {"R_k_cam_np": ego["R_k_cam_np"][:12]})
    table = convert_here("arctic", root, tmp_path / "table")
    found = rows(table, "train") | rows(table, "val")
    assert {(name.rsplit("/", 1)[0], number) for name, number in found} == {
        (f"{SEQUENCES[0]}/6", 12),
        (f"{SEQUENCES[0]}/0", 10),
        (f"{SEQUENCES[2]}/0", 10),
        (f"{SEQUENCES[2]}/0", 11),
        *((f"{SEQUENCES[2]}/6", number) for number in NUMBERS),
    }
    assert_both(found, made[1])
    assert reasons(table) == {
        (f"{SEQUENCES[0]}/6", 10): "picture damaged",
        (f"{SEQUENCES[0]}/6", 11): "picture missing",
        (f"{SEQUENCES[0]}/0", 11): "picture damaged",
        (f"{SEQUENCES[0]}/0", 12): "picture missing",
        (f"{SEQUENCES[1]}/0", None): "damaged annotation",
        (f"{SEQUENCES[1]}/6", None): "damaged annotation",
        (f"{SEQUENCES[2]}/0", 12): "damaged annotation",
    }


def test_crops_show_the_hands(made, tmp_path):
    table = convert_here("arctic", made[0], tmp_path / "table", views=[0, 6])
    found = rows(table, "val")
    assert {name.split("/")[2] for name, _ in found} == {"0", "6"}
    for key, row in found.items():
        if made[1][key].is_right:
            continue  # the left one is drawn last, in front
        assert_shows(row, made[1][key])


def test_other_folders_and_settings_are_refused_in_one_line(made, tmp_path):
    root = made[0]
    with pytest.raises(ValueError, match="no joints: pass hand="):
        convert_here("arctic", root, tmp_path / "table", hand=None)
    with pytest.raises(ValueError, match="ARCTIC has 0 .the head's. to 8, got .9."):
        convert_here("arctic", root, tmp_path / "table", views=[9])
    save_object(tmp_path / "cropped/splits/p1_val.npy", {"imgnames": []})
    write_bytes(tmp_path / "cropped/meta/misc.json", b"{}")
    (tmp_path / "cropped/cropped_images").mkdir()
    with pytest.raises(ValueError, match="p1_val.npy' is no split of ARCTIC"):
        convert_here("arctic", tmp_path / "cropped", tmp_path / "table")
    with pytest.raises(FileNotFoundError, match="misc.json' is missing"):
        convert_here("arctic", root / "images", tmp_path / "table")
    (tmp_path / "root/meta").mkdir(parents=True)
    (tmp_path / "root/meta/misc.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="has no raw_seqs"):
        convert_here("arctic", tmp_path / "root", tmp_path / "table")
    save_object(tmp_path / "root/raw_seqs/s01/box_use_01.mano.npy", {})
    (tmp_path / "root/images/s01/box_use_01/3").mkdir(parents=True)
    with pytest.raises(ValueError, match="misc.json has no camera 3 of subject s01"):
        convert_here("arctic", tmp_path / "root", tmp_path / "table")
