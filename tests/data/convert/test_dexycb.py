"""DexYCB: a folder of its own format, made of the open hand, comes back as it was made."""

import json
from collections import Counter

import cv2
import numpy as np
import pytest
import torch
import yaml
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
)

from tempohand.data.convert.dexycb import CAMERAS, _splits
from tempohand.data.convert.mano import ManoHands
from tempohand.data.convert.rows import Storage
from tempohand.data.table import read_index
from tempohand.hand.files import OPEN_HAND
from tempohand.hand.layer import HandLayer

SUBJECTS = {
    1: "20200709-subject-01",
    3: "20200820-subject-03",
    7: "20200928-subject-07",
    8: "20201002-subject-08",
}
BETAS = np.random.default_rng(5).normal(0, 0.6, 10)
K = camera_matrix(160, 120, 150)
FILLED = {
    (1, 0): "right",
    (1, 4): "left",
    (3, 4): "right",
    (7, 15): "right",
    (8, 35): "left",
}  # (subject, sequence) -> side
FRAMES = 2


def name_of(subject: int, sequence: int) -> str:
    return f"{SUBJECTS[subject]}/2020{subject:02d}_{100000 + sequence}"


def dexycb_hand(side: str, seed: int) -> tuple[TrueHand, np.ndarray]:
    """A hand and its pose_m. Left ones are made of MANO_LEFT.pkl's kind of shape directions."""
    rng = np.random.default_rng(seed)
    layer = HandLayer(side=side, left_shapedirs="unfixed").double()
    stored = np.concatenate([rng.normal(0, 0.5, 3), rng.normal(0, 0.4, 45), [0.01, -0.02, 0.62]])
    orient, coefficients, betas = (
        torch.from_numpy(stored[:3]),
        torch.from_numpy(stored[3:48]),
        torch.from_numpy(BETAS),
    )
    pose = torch.cat([orient, coefficients @ layer.hands_components.double() + layer.hands_mean.double()])
    wrist = layer.rest_wrist(betas) + 1000 * torch.from_numpy(stored[48:])
    joints, vertices = (points.numpy() for points in layer(pose, betas, wrist))
    return TrueHand(side == "right", pose.numpy(), BETAS, wrist.numpy(), joints, vertices), stored


def labels_of(hand: TrueHand, stored: np.ndarray) -> dict:
    return {
        "seg": np.zeros((120, 160), np.uint8),
        "pose_y": np.zeros((2, 3, 4), np.float32),
        "pose_m": stored[None].astype(np.float32),
        "joint_3d": hand.joints[None].astype(np.float32) / 1000,
        "joint_2d": hand.project(K)[None].astype(np.float32),
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("dexycb")
    for subject in SUBJECTS:
        for sequence in range(100):
            (root / name_of(subject, sequence)).mkdir(parents=True)
    (root / "calibration/extrinsics_20200702_151821").mkdir(parents=True)
    (root / "models").mkdir()
    lens = {"fx": float(K[0, 0]), "fy": float(K[1, 1]), "ppx": float(K[0, 2]), "ppy": float(K[1, 2])}
    for camera in CAMERAS:
        write_bytes(
            root / f"calibration/intrinsics/{camera}_640x480.yml",
            yaml.safe_dump({"color": lens, "depth": lens}).encode(),
        )
    hands = {}
    for (subject, sequence), side in FILLED.items():
        folder = root / name_of(subject, sequence)
        calibrated = f"20200709_140042_subject-{subject:02d}_{side}"
        meta = {
            "serials": list(CAMERAS),
            "num_frames": FRAMES,
            "mano_sides": [side],
            "mano_calib": [calibrated],
            "ycb_ids": [2],
        }
        write_bytes(folder / "meta.yml", yaml.safe_dump(meta).encode())
        write_bytes(
            root / f"calibration/mano_{calibrated}/mano.yml",
            yaml.safe_dump({"betas": BETAS.tolist()}).encode(),
        )
        for number in range(FRAMES):
            hand, stored = dexycb_hand(side, 10 * subject + sequence + number)
            image = picture([hand], K, 160, 120)
            _, code = cv2.imencode(".jpg", image[..., ::-1])
            for camera in CAMERAS:
                hands[f"{name_of(subject, sequence)}/{camera}/{side}", number] = hand
                write_bytes(folder / camera / f"color_{number:06d}.jpg", code.tobytes())
                np.savez_compressed(folder / camera / f"labels_{number:06d}.npz", **labels_of(hand, stored))
    return root, hands


@pytest.fixture(scope="module")
def table(made, tmp_path_factory):
    return convert_here("dexycb", made[0], tmp_path_factory.mktemp("table") / "table")


def test_hands_of_both_sides_come_back(made, table):
    _, hands = made
    found = rows(table, "s2_train") | rows(table, "s2_val") | rows(table, "s2_test")
    assert sorted(found) == sorted(hands)
    for key, row in found.items():
        assert row["time"] == pytest.approx(key[1] / 30)
        if hands[key].is_right:
            assert_same_hand(row, hands[key])
        else:
            np.testing.assert_allclose(row["joints"], hands[key].joints, atol=0.1)
            np.testing.assert_allclose(row["trans"], hands[key].wrist, atol=0.1)
            np.testing.assert_allclose(row["pose"], hands[key].pose, atol=1e-4)
            assert row["has_hand"] and not row["is_right"]
            assert_shows(row, hands[key])


def test_a_sequence_in_all_its_cameras_is_one_recording(made, table):
    found = recordings(table, "s2_train", "s2_val", "s2_test")
    assert found == {
        name_of(*key): {f"{name_of(*key)}/{camera}/{side}" for camera in CAMERAS}
        for key, side in FILLED.items()
    }


def test_betas_of_left_hands_are_those_of_the_nearest_mirrored_hand(made, table):
    """With their own betas a mirrored hand's joints are off by what this halves."""
    left = {key: row for key, row in rows(table, "s0_val").items() if not row["is_right"]}
    assert left
    for key, row in left.items():
        truth = made[1][key]
        ours, untouched = (
            posed(False, truth.pose, shape, truth.wrist).joints
            for shape in (row["shape"].astype(float), BETAS)
        )
        error, before = (np.linalg.norm(joints - truth.joints, axis=1).mean() for joints in (ours, untouched))
        assert error < min(2.0, before / 2)
    for form in ("fixed", "unfixed"):
        np.testing.assert_allclose(ManoHands(OPEN_HAND, form).shape(BETAS, is_right=True), BETAS)
    np.testing.assert_allclose(ManoHands(OPEN_HAND, "fixed").shape(BETAS, is_right=False), BETAS, atol=1e-9)


def test_every_setup_splits_as_the_official_toolkit(table):
    expected = {
        "s0_train": [(1, 0), (7, 15), (8, 35)],
        "s0_val": [(1, 4)],
        "s0_test": [(3, 4)],
        "s1_train": [(1, 0), (1, 4), (3, 4)],
        "s1_val": [(7, 15)],
        "s1_test": [(8, 35)],
        "s3_train": [(1, 0), (1, 4), (3, 4)],
        "s3_val": [(7, 15)],
        "s3_test": [(8, 35)],
    }
    for split, sequences in expected.items():
        assert {name.rsplit("/", 2)[0] for name, _ in rows(table, split)} == {
            name_of(*sequence) for sequence in sequences
        }, split
    cameras = {"s2_train": set(CAMERAS[:6]), "s2_val": {CAMERAS[6]}, "s2_test": {CAMERAS[7]}}
    for split, expected_cameras in cameras.items():
        assert {name.split("/")[2] for name, _ in rows(table, split)} == expected_cameras
    assert len(read_index(table)["splits"]) == 12


def test_setups_have_the_official_sizes():
    count = Counter(
        split
        for subject in range(10)
        for sequence in range(100)
        for camera in range(8)
        for split in _splits(subject, sequence, camera)
    )
    parts = {
        "s0": (6400, 320, 1280),
        "s1": (5600, 800, 1600),
        "s2": (6000, 1000, 1000),
        "s3": (6000, 800, 1200),
    }
    assert count == {
        f"{setup}_{part}": n
        for setup, sizes in parts.items()
        for part, n in zip(("train", "val", "test"), sizes)
    }
    assert {subject for subject in range(10) if "s1_test" in _splits(subject, 0, 0)} == {7, 8}


def test_the_official_order_is_subjects_sequences_cameras_frames(table):
    order = json.loads((table / "official_s2_test.json").read_text())["order"]
    assert order == [
        [f"{name_of(*key)}/{CAMERAS[7]}/{side}", number]
        for key, side in FILLED.items()
        for number in range(FRAMES)
    ]
    order = json.loads((table / "official_s0_test.json").read_text())["order"]
    assert order == [
        [f"{name_of(3, 4)}/{camera}/right", number] for camera in CAMERAS for number in range(FRAMES)
    ]
    assert not (table / "official_s0_train.json").exists()


def copied(made, tmp_path):
    """Subject 1 alone, with its own files."""
    root, hands = made
    for name in ("calibration", SUBJECTS[1]):
        for path in (root / name).rglob("*"):
            target = tmp_path / "root" / path.relative_to(root)
            target.mkdir(parents=True, exist_ok=True) if path.is_dir() else write_bytes(
                target, path.read_bytes()
            )
    return tmp_path / "root", hands


def test_frames_without_a_hand_and_damaged_ones_cost_themselves_alone(made, tmp_path):
    root, hands = copied(made, tmp_path)
    folder = root / name_of(1, 0)
    cut, invalid, shapeless, poseless, unlit, untold, lost, empty = (folder / camera for camera in CAMERAS)
    whole = dict(np.load(cut / "labels_000000.npz"))
    (cut / "labels_000000.npz").write_bytes((cut / "labels_000000.npz").read_bytes()[:300])
    nothing = {
        "joint_3d": np.full((1, 21, 3), -1.0),
        "joint_2d": np.full((1, 21, 2), -1.0),
        "pose_m": np.zeros((1, 51)),
    }
    np.savez(invalid / "labels_000000.npz", **whole | nothing)
    np.savez(shapeless / "labels_000000.npz", **whole | {"joint_3d": np.zeros((1, 20, 3))})
    np.savez(poseless / "labels_000000.npz", **whole | {"pose_m": np.zeros((1, 51))})
    (unlit / "color_000000.jpg").write_bytes((unlit / "color_000000.jpg").read_bytes()[:-30])
    (untold / "labels_000000.npz").unlink()
    (lost / "color_000000.jpg").unlink()
    np.savez(empty / "labels_000000.npz", joint_3d=whole["joint_3d"])
    (root / f"calibration/intrinsics/{CAMERAS[7]}_640x480.yml").write_text("color: {fx: [")
    write_bytes(root / name_of(1, 1) / "meta.yml", b"num_frames: 1\nmano_sides: [both]\n")
    table = convert_here("dexycb", root, tmp_path / "table", storage=Storage(crop=False))
    found = {key: row for split in ("s2_train", "s2_val") for key, row in rows(table, split).items()}
    assert {key for key in found if name_of(1, 0) in key[0]} == {
        (f"{name_of(1, 0)}/{camera}/right", number) for camera in CAMERAS[:7] for number in range(FRAMES)
    } - {
        (f"{path.parent.relative_to(root)}/{path.name}/right", 0)
        for path in (cut, invalid, shapeless, unlit, untold, lost)
    }
    for key, row in found.items():
        if hands[key].is_right:
            without = key == (f"{name_of(1, 0)}/{poseless.name}/right", 0)
            assert_same_hand(row, hands[key], parameters=not without)
            assert row["image"].shape == (120, 160, 3)
    why = {key: reason for key, reason in reasons(table).items() if name_of(1, 0) in key[0]}
    assert {(sequence.split("/")[2], number): reason for (sequence, number), reason in why.items()} == {
        (cut.name, 0): "damaged annotation",
        (invalid.name, 0): "no hand annotated",
        (shapeless.name, 0): "damaged annotation",
        (unlit.name, 0): "picture damaged",
        (untold.name, 0): "file missing",
        (lost.name, 0): "picture missing",
        (CAMERAS[7], None): "damaged annotation",
    }
    assert (
        sum(reason == "file missing" for (name, _), reason in reasons(table).items() if name_of(1, 2) in name)
        == 8
    )
    assert reasons(table)[f"{name_of(1, 1)}/{CAMERAS[0]}", None] == "damaged annotation"


def test_without_the_hand_file_there_are_joints_alone(made, tmp_path):
    root, hands = made
    table = convert_here("dexycb", root, tmp_path / "table", hand=None)
    for key, row in rows(table, "s1_val").items():
        assert_same_hand(row, hands[key], parameters=False)


def test_other_folders_are_refused_in_one_line(made, tmp_path):
    root, _ = made
    with pytest.raises(FileNotFoundError, match="calibration' is missing"):
        convert_here("dexycb", root / SUBJECTS[1], tmp_path / "table")
    (tmp_path / "root/calibration").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="no folder <date>-subject-XX"):
        convert_here("dexycb", tmp_path / "root", tmp_path / "table")
    (tmp_path / "root/20200709-subject-01/20200709_141754").mkdir(parents=True)
    with pytest.raises(ValueError, match="has 1 sequences, DexYCB 100"):
        convert_here("dexycb", tmp_path / "root", tmp_path / "table")
