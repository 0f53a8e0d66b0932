"""STB: a folder of its own format, made of the open hand before its stereo and its depth camera, comes back
as it was made."""

import json

import cv2
import numpy as np
import pytest
from convert_support import (
    assert_same_hand,
    convert_here,
    moved,
    picture,
    recordings,
    rows,
    true_hand,
    write_picture,
)
from scipy.io import savemat

from tempohand.data.convert.rows import Storage
from tempohand.data.table import read_index

STEREO = np.array([[822.79041, 0, 318.47345], [0, 822.79041, 250.31296], [0, 0, 1]])
COLOUR = np.array([[607.92271, 0, 314.78337], [0, 607.88192, 236.42484], [0, 0, 1]])
TURN, SHIFT = (
    cv2.Rodrigues(np.array([0.00531, -0.01196, 0.00301]))[0],
    np.array([-24.0381, -0.4563, -1.2326]),
)  # colour to depth, mm
FRAMES = 2


def to_file(hand):
    """21 joints: the palm's centre, then pinky to thumb, each from base to tip. The palm lies midway between
    wrist and middle base."""
    fingers = [np.arange(first, first + 4) for first in (17, 13, 9, 5, 1)]
    return np.concatenate([[(hand.joints[0] + hand.joints[9]) / 2], hand.joints[np.concatenate(fingers)]])


@pytest.fixture
def folder(tmp_path):
    """Two frames of a test and of a train sequence: sequence -> the hands of the left and of the colour
    camera."""
    root, truth = tmp_path / "STB", {}
    (root / "labels").mkdir(parents=True)
    for number, sequence in enumerate(("B1Counting", "B4Random")):
        hands = [
            true_hand(10 * number + frame, is_right=False, wrist=(60, 0, 550)) for frame in range(FRAMES)
        ]
        truth[sequence] = hands
        for frame, hand in enumerate(hands):
            right = moved(hand, np.eye(3), np.array([-120.054, 0, 0]))
            for camera, view, matrix in (
                ("BB_left", hand, STEREO),
                ("BB_right", right, STEREO),
                ("SK_color", hand, COLOUR),
            ):
                write_picture(
                    root / f"images/{sequence}/{camera}_{frame}.png", picture([view], matrix, 640, 480)
                )
        depth = [moved(hand, TURN, SHIFT) for hand in hands]
        for kind, views in (("BB", hands), ("SK", depth)):
            savemat(
                root / f"labels/{sequence}_{kind}.mat",
                {"handPara": np.stack([to_file(view).T for view in views], axis=2)},
            )
    return root, truth


def test_every_camera_comes_with_its_hand_and_an_extrapolated_wrist(folder, tmp_path):
    root, truth = folder
    table = convert_here("stb", root, tmp_path / "table")
    for split, sequence in (("test", "B1Counting"), ("train", "B4Random")):
        found = rows(table, split)
        assert len(found) == 3 * FRAMES
        for frame, hand in enumerate(truth[sequence]):
            views = {
                "BB_left": hand,
                "BB_right": moved(hand, np.eye(3), np.array([-120.054, 0, 0])),
                "SK_color": hand,
            }
            for camera, view in views.items():
                row = found[f"{sequence}/{camera}/left", frame]
                assert_same_hand(row, view, parameters=False)
                assert row["time"] == pytest.approx(frame / 30)
        assert recordings(table, split) == {
            sequence: {f"{sequence}/{camera}/left" for camera in ("BB_left", "BB_right", "SK_color")}
        }
    assert read_index(table)["about"]["rejected"] == {}


def test_the_stored_camera_is_the_files(folder, tmp_path):
    root, truth = folder
    found = rows(
        convert_here("stb", root, tmp_path / "table", cameras=["SK_color"], storage=Storage(crop=False)),
        "test",
    )
    assert sorted(found) == [("B1Counting/SK_color/left", frame) for frame in range(FRAMES)]
    row = found["B1Counting/SK_color/left", 1]
    np.testing.assert_allclose(
        [*row["focal"], *row["princpt"]], COLOUR[[0, 1, 0, 1], [0, 1, 2, 2]], rtol=1e-6
    )
    np.testing.assert_allclose(row["joints2d"], truth["B1Counting"][1].project(COLOUR), atol=0.01)


def test_the_wrist_can_be_left_out(folder, tmp_path):
    root, truth = folder
    found = rows(convert_here("stb", root, tmp_path / "table", cameras=["BB_left"], wrist=False), "test")
    for frame, hand in enumerate(truth["B1Counting"]):
        row = found["B1Counting/BB_left/left", frame]
        assert (
            np.flatnonzero(~row["joints_mask"]).tolist()
            == np.flatnonzero(~row["joints2d_mask"]).tolist()
            == [0]
        )
        np.testing.assert_allclose(row["joints"][1:], hand.joints[1:], atol=0.1)


def test_damage_costs_its_frames_or_its_labels_camera(folder, tmp_path):
    root, _ = folder
    path = root / "images/B1Counting/BB_left_0.png"
    path.write_bytes(path.read_bytes()[:5000])
    (root / "images/B1Counting/BB_right_1.png").unlink()
    label = root / "labels/B1Counting_SK.mat"
    label.write_bytes(label.read_bytes()[:150])
    savemat(root / "labels/B4Random_BB.mat", {"handPara": np.zeros((3, 20, FRAMES))})
    (root / "labels/B4Random_SK.mat").unlink()
    table = convert_here("stb", root, tmp_path / "table")
    assert sorted(rows(table, "test")) == [("B1Counting/BB_left/left", 1), ("B1Counting/BB_right/left", 0)]
    listed = [json.loads(line) for line in (table / "rejected.jsonl").read_text().splitlines()]
    assert sorted(
        (one["sequence"].removesuffix("/left"), one["number"], one["reason"]) for one in listed
    ) == [
        ("B1Counting/BB_left", 0, "picture damaged"),
        ("B1Counting/BB_right", 1, "picture missing"),
        ("B1Counting/SK_color", None, "damaged annotation"),
        ("B4Random/BB_left", None, "damaged annotation"),
        ("B4Random/BB_right", None, "damaged annotation"),
        ("B4Random/SK_color", None, "file missing"),
    ]


def test_other_folders_and_unknown_cameras_are_refused_in_one_line(folder, tmp_path):
    root, _ = folder
    with pytest.raises(FileNotFoundError, match="unpack STB there"):
        convert_here("stb", tmp_path, tmp_path / "table")
    with pytest.raises(ValueError, match="'SK_depth' is none of BB_left, BB_right, SK_color"):
        convert_here("stb", root, tmp_path / "table", cameras=["SK_depth"])
