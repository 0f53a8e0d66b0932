"""One's own recordings: every layout of the intrinsics, with labels and without, and what is wrong with depth
is said."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from convert_support import (
    assert_same_hand,
    camera_matrix,
    convert_here,
    picture,
    reasons,
    rows,
    true_hand,
    write_picture,
)

from tempohand.data.convert.rows import Storage
from tempohand.data.table import FrameTable

K = camera_matrix(160, 120, 260)
LAYOUTS = {
    "realsense": ("intrinsics.json", {"fx": K[0, 0], "fy": K[1, 1], "ppx": K[0, 2], "ppy": K[1, 2]}),
    "open3d": ("intrinsic.json", {"width": 160, "height": 120, "intrinsic_matrix": K.T.ravel().tolist()}),
    "record3d": ("metadata.json", {"K": K.T.ravel().tolist(), "w": 160, "h": 120, "fps": 60}),
}


def depth_of(hand) -> np.ndarray:
    """uint16 mm: discs at the joints' depth before a wall, the picture's left tenth unmeasured."""
    depth = np.full((120, 160), 1200, np.uint16)
    depth[:, :16] = 0
    for (u, v), z in sorted(zip(hand.project(K), hand.joints[:, 2]), key=lambda joint: -joint[1]):
        cv2.circle(depth, (round(u), round(v)), 3, round(z), -1)
    return depth


def write(root: Path, layout: str = "realsense", numbers=range(3), **changes) -> list:
    name, about = LAYOUTS[layout]
    hands = [true_hand(number, is_right=bool(number % 2), wrist=(10, 0, 500)) for number in numbers]
    for number, hand in enumerate(hands):
        write_picture(root / ("rgb" if layout == "record3d" else "color") / f"{number:03d}.jpg",
                      picture([hand], K, 160, 120))  # fmt: skip
        (root / "depth").mkdir(exist_ok=True)
        cv2.imwrite(str(root / "depth" / f"{number:03d}.png"), depth_of(hand))
        label = [{"side": "right" if hand.is_right else "left", "joints": hand.joints.tolist()}]
        (root / "labels").mkdir(exist_ok=True)
        (root / "labels" / f"{number:03d}.json").write_text(json.dumps(label))
    (root / name).write_text(json.dumps(about | changes))
    return hands


@pytest.fixture
def folder(tmp_path):
    """Five recordings: one of them is for validation."""
    for number in range(5):
        write(tmp_path / f"r{number}")
    return tmp_path


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("crop", [True, False])
def test_pictures_come_with_their_hands_and_depth(tmp_path, layout, crop):
    hands = write(tmp_path / "one", layout)
    convert_here("rgbd", tmp_path / "one", tmp_path / "t", hand=None, storage=Storage(crop=crop, max_edge=80))
    table = FrameTable(tmp_path / "t", "train")
    assert table.inputs == {"image", "depth"}
    found = rows(tmp_path / "t", "train")
    for row in range(len(table)):
        about = table.about_row(row)
        hand, label = hands[about["frame"]], found[about["sequence"], about["frame"]]
        assert_same_hand(label, hand, parameters=False)
        assert label["time"] == pytest.approx(about["frame"] / (60 if layout == "record3d" else 30))
        depth, source = table.depth(row), depth_of(hand)
        assert depth.shape == (label["height"], label["width"])
        for uv, stored in zip(hand.project(K), label["joints2d"]):
            (u, v), (x, y) = np.rint(uv).astype(int), np.rint(stored).astype(int)
            if not (0 <= x < label["width"] and 0 <= y < label["height"]):
                continue
            around = source[max(v - 2, 0) : v + 3, max(u - 2, 0) : u + 3].astype(float)
            assert np.abs(around - depth[y, x]).min() <= 0.13  # it is one of the samples around it


def test_several_recordings_fifths_for_validation_and_none_labelled(tmp_path):
    for number in range(5):
        write(tmp_path / f"r{number}", numbers=[number], side="left", box=[20, 10, 140, 110])
    (tmp_path / "r0/labels/000.json").unlink()
    convert_here("rgbd", tmp_path, tmp_path / "t", hand=None)
    train, val = rows(tmp_path / "t", "train"), rows(tmp_path / "t", "val")
    assert [key[0].split("/")[0] for key in (*train, *val)] == ["r0", "r1", "r2", "r3", "r4"]
    unlabelled = train["r0/left", 0]
    assert not unlabelled["joints_mask"].any() and not unlabelled["joints2d_mask"].any()
    assert unlabelled["has_camera"] and not unlabelled["is_right"]


@pytest.mark.parametrize(
    ("depth", "reason"),
    [
        (np.full((60, 80), 500, np.uint16), "depth of another size"),
        (np.ones((120, 160), np.uint16), "depth in metres"),
        (np.ones((120, 160), np.uint8), "depth of another format"),
        (None, "depth missing"),
    ],
)
def test_depth_that_cannot_be_used_costs_its_frame_and_is_named(tmp_path, depth, reason):
    write(tmp_path / "one")
    (tmp_path / "one/depth/001.png").unlink()
    if depth is not None:
        cv2.imwrite(str(tmp_path / "one/depth/001.png"), depth)
    convert_here("rgbd", tmp_path / "one", tmp_path / "t", hand=None)
    assert list(reasons(tmp_path / "t").values()) == [reason]
    assert len(FrameTable(tmp_path / "t", "train")) == 2


def test_metres_are_millimetres_by_their_scale(tmp_path):
    write(tmp_path / "one", depth_scale=0.0001)
    convert_here("rgbd", tmp_path / "one", tmp_path / "t", hand=None, storage=Storage(crop=False))
    assert FrameTable(tmp_path / "t", "train").depth(0)[0, -1] == 120.0


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda root: (root / "intrinsics.json").unlink(), "has none of intrinsics.json"),
        (lambda root: (root / "intrinsics.json").write_text('{"fx": 3}'), "fx, fy, ppx and ppy are needed"),
        (lambda root: (root / "color").rename(root / "colour"), "has no recording"),
    ],
)
def test_a_folder_that_is_none_is_one_line(tmp_path, spoil, says):
    write(tmp_path / "one")
    spoil(tmp_path / "one")
    with pytest.raises((ValueError, FileNotFoundError), match=says) as caught:
        convert_here("rgbd", tmp_path / "one", tmp_path / "t", hand=None)
    assert "\n" not in str(caught.value)
