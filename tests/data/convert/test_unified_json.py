"""The unified JSON becomes the table that it was made of; other orders of joints and hands without 2D labels
are named."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from convert_support import camera_matrix, convert_here, picture, reasons, true_hand, write_picture
from convert_support import rows as rows_of
from hand3d_data_support import OP_TO_HAND3D
from tests_support import hand_rows, with_depth, write_table

from tempohand.assemble.export_json import export_json
from tempohand.data.convert.rows import Storage
from tempohand.data.pictures import encode_mask
from tempohand.data.table import LABELS, FrameTable

EDGE = 160
K = camera_matrix(EDGE, EDGE, 400)
OP_TO_STB = (0, 17, 18, 19, 20, 13, 14, 15, 16, 9, 10, 11, 12, 5, 6, 7, 8, 1, 2, 3, 4)
WHOLE = Storage(crop=False)


def entry(root: Path, split: str, number: int, order=OP_TO_HAND3D, *, left: bool = False) -> dict:
    """One picture of a right hand, which may have been a left one, and what the JSON says of it."""
    hand = true_hand(number, wrist=(0, 0, 520))
    name, mask = f"{split}/{number:06d}", np.zeros((EDGE, EDGE), bool)
    pixels = hand.project(K)
    for point in pixels:
        cv2.circle(mask.view(np.uint8), np.rint(point).astype(int).tolist(), 4, 1, -1)
    write_picture(root / f"{name}.jpg", picture([hand], K, EDGE, EDGE))
    (root / f"{name}_mask.png").write_bytes(encode_mask(mask))
    seen = np.ones((21, 1))
    return {
        "image": f"{name}.jpg",
        "mask": f"{name}_mask.png",
        "size": [EDGE, EDGE],
        "joints2d": np.hstack([pixels, seen])[list(order)].tolist(),
        "joints3d": np.hstack([hand.joints, seen])[list(order)].tolist(),
        "camera": [K[0, 0], K[1, 1], K[0, 2], K[1, 2]],
        "numbers": None,
        "hand": {"pose": hand.pose.tolist(), "shape": hand.shape.tolist(), "wrist": hand.wrist.tolist()},
        "mirrored": left,
        "source": "made",
        "sequence": f"film/{'left' if left else 'right'}",
        "frame": number,
    }


def write(root: Path, splits: dict[str, list[dict]], **about) -> Path:
    (root / "annotations.json").write_text(json.dumps({"about": about, "splits": splits}))
    return root


@pytest.fixture
def folder(tmp_path) -> Path:
    train = [entry(tmp_path, "train", number, left=number == 2) for number in range(4)]
    return write(tmp_path, {"train": train, "val": [entry(tmp_path, "val", 9)]}, hand_model="mano")


def test_hands_come_back_with_their_sides(folder, tmp_path):
    table = convert_here("unified_json", folder, tmp_path / "t", storage=WHOLE)
    found = rows_of(table, "train")
    assert list(found) == [("film/right", 0), ("film/right", 1), ("film/right", 3), ("film/left", 2)]
    masks = {key: FrameTable(table, "train").mask(row) for row, key in enumerate(found)}
    for (_, number), row in found.items():
        right, side = true_hand(number, wrist=(0, 0, 520)), np.array([1, 1, 1])
        pixels, pose = right.project(K), right.pose.reshape(16, 3)
        if number == 2:
            pixels = pixels * (-1, 1) + (EDGE - 1, 0)
            side, pose = np.array([-1, 1, 1]), pose * (1, -1, -1)
        assert row["is_right"] == (number != 2)
        assert np.abs(row["joints2d"] - pixels).max() < 1e-4
        assert np.abs(row["joints"] - right.joints * side).max() < 1e-4
        assert np.abs(row["pose"] - pose.ravel()).max() < 1e-6 and row["has_hand"]
        assert np.abs(row["trans"] - right.wrist * side).max() < 1e-4
        projected = row["joints"][:, :2] / row["joints"][:, 2:] * row["focal"] + row["princpt"]
        assert np.abs(projected - pixels).max() < 1e-3
        at = tuple(np.rint(pixels[[0, 9]]).astype(int).T[::-1])
        assert masks["film/left" if number == 2 else "film/right", number][at].all()
        shown = picture([right], K, EDGE, EDGE)
        shown = shown[:, ::-1] if number == 2 else shown
        assert np.abs(row["image"].astype(int) - shown).mean() < 3


def test_a_table_comes_back_exactly(tmp_path):
    """Whole pictures, both sides, what is not known, and two sequences of a recording."""
    original = {
        split: [
            [
                row | {"hidden": 0.25, "recording": f"one-{split}"}
                for row in with_depth(hand_rows(f"{split}/{side}", 3, seed, is_right=side == "right"))
            ]
            for seed, side in enumerate(("right", "left"))
        ]
        for split in ("train", "odd")
    }
    first = original["train"][0]
    first[0] |= {"has_hand": False, "mask": None, "joints_mask": np.arange(21) != 4}
    first[1] |= {"has_camera": False, "has_hand": False, "joints_mask": np.zeros(21, bool)}
    first[2] |= {"joints2d_mask": np.arange(21) != 7, "hidden": float("nan")}
    table = write_table(tmp_path / "a", original)
    path, _ = export_json(table, tmp_path / "json", whole=True)
    again = convert_here("unified_json", path.parent, tmp_path / "b", storage=WHOLE)
    for split in original:
        one, two = FrameTable(table, split), FrameTable(again, split)
        assert len(one) == len(two) == 6
        known = {
            name: two.column(name) for name in ("joints_mask", "joints2d_mask", "has_hand", "has_camera")
        }
        needs = {"joints": "joints_mask", "joints2d": "joints2d_mask", "pose": "has_hand"}
        needs |= {"shape": "has_hand", "trans": "has_hand", "focal": "has_camera", "princpt": "has_camera"}
        for name in LABELS:
            mask = known[needs[name]] if name in needs else slice(None)
            np.testing.assert_array_equal(one.column(name)[mask], two.column(name)[mask], err_msg=name)
        for name in ("sequence", "recording"):
            assert one.column(name).tolist() == two.column(name).tolist()
        for row in range(6):
            given, found = one.mask(row), two.mask(row)
            assert (given is None) == (found is None)
            assert given is None or np.array_equal(given, found)
            assert np.abs(one.image(row).astype(int) - two.image(row)).mean() < 6
    second, _ = export_json(again, tmp_path / "json2", whole=True)
    entries = [json.loads(file.read_text())["splits"] for file in (path, second)]
    for split in original:
        for one, two in zip(*(part[split] for part in entries), strict=True):
            assert one | {"source": "unified_json"} == two


@pytest.mark.parametrize(
    ("order", "said"),
    [(range(21), r"OpenPose \(wrist, then thumb to pinky"), (OP_TO_STB, r"from pinky to thumb \(STB\)")],
)
def test_another_order_is_named(tmp_path, order, said):
    write(tmp_path, {"train": [entry(tmp_path, "train", number, order) for number in range(12)]})
    with pytest.raises(ValueError, match=said) as caught:
        convert_here("unified_json", tmp_path, tmp_path / "t")
    assert "\n" not in str(caught.value) and "index, middle, pinky, ring, thumb" in str(caught.value)
    write(tmp_path, {"train": [entry(tmp_path, "train", number) for number in range(12)]})
    convert_here("unified_json", tmp_path, tmp_path / "t")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"joints2d": None}, "no 2D labels"),
        ({"joints2d": [[0, 0, 0]] * 21}, "no 2D labels"),
        ({"joints2d": [[1, 2, 1]] * 20}, "not 21 joints"),
        ({"image": "train/none.jpg"}, "picture missing"),
        ({"hand": {"pose": [0.0]}}, "damaged annotation"),
    ],
)
def test_a_hand_that_cannot_be_used_is_told_and_costs_itself(folder, tmp_path, changes, reason):
    content = json.loads((folder / "annotations.json").read_text())
    content["splits"]["train"][1] |= changes
    write(folder, content["splits"])
    convert_here("unified_json", folder, tmp_path / "t")
    assert list(reasons(tmp_path / "t").values()) == [reason]
    assert len(FrameTable(tmp_path / "t", "train")) == 3
    told = (tmp_path / "t" / "rejected.jsonl").read_text()
    assert reason != "no 2D labels" or "entry 1 of 'train' (train/000001.jpg) has no known joint" in told


def test_a_mask_of_another_size_is_told(folder, tmp_path):
    (folder / "train/000001_mask.png").write_bytes(encode_mask(np.ones((20, 30), bool)))
    convert_here("unified_json", folder, tmp_path / "t")
    assert list(reasons(tmp_path / "t").values()) == ["mask of another size"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "is missing: root= is a folder that"),
        ("{", "not JSON"),
        ("[]", "has no splits with a list of hands each"),
        ('{"splits": {"train": [3]}}', "has no splits with a list of hands each"),
        ('{"splits": {"train": []}}', "without a single hand"),
    ],
)
def test_a_folder_that_is_none_is_one_line(tmp_path, content, says):
    if content is not None:
        (tmp_path / "annotations.json").write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=says) as caught:
        convert_here("unified_json", tmp_path, tmp_path / "t")
    assert "\n" not in str(caught.value) and "tempohand export-json" in str(caught.value)


def test_bare_entries_are_enough(folder, tmp_path):
    """Of other code: pictures and 2D joints, each picture by itself."""
    content = json.loads((folder / "annotations.json").read_text())
    bare = [{name: each[name] for name in ("image", "joints2d")} for each in content["splits"]["train"]]
    write(folder, {"train": bare})
    table = convert_here("unified_json", folder, tmp_path / "t")
    found = rows_of(table, "train")
    assert list(found) == [(f"train/{number:06d}.jpg/right", 0) for number in range(4)]
    assert not any(row["has_camera"] or row["has_hand"] for row in found.values())
