"""CMU's hand keypoints: folders of their own formats, made of the open hand, come back as they were made."""

import json

import numpy as np
import pytest
from convert_support import (
    assert_shows,
    camera_matrix,
    convert_here,
    picture,
    reasons,
    recordings,
    rows,
    true_hand,
    write_bytes,
    write_picture,
)

from tempohand.data.convert.rows import Storage

K = camera_matrix(160, 120, 150)
NAMES = {  # picture -> (side, joints that are not known)
    "hand_labels/manual_train/000015774_01_l": ("left", [3, 4]),
    "hand_labels/manual_train/Berry_roof_story.flv_000053_r": ("right", []),
    "hand_labels/manual_test/000023121_02_r": ("right", [20]),
    "hand_labels_synth/synth1/0007": ("right", []),
    "hand_labels_synth/synth3/00000001": ("left", []),
}
STUDIO = ("imgs/00000000.jpg", "imgs/00000001.jpg")


def points_of(hand, unknown: list[int]) -> list:
    points = np.concatenate([hand.project(K), np.ones((21, 1))], axis=1)
    points[unknown] = [-3.0, 0.0, 0.0]
    return points.tolist()


@pytest.fixture
def folder(tmp_path):
    root, hands = tmp_path / "root", {}
    for seed, (name, (side, unknown)) in enumerate(NAMES.items()):
        hand = hands[name.split("/", 1)[1]] = true_hand(seed, is_right=side == "right", wrist=(0, 20, 500))
        write_picture(root / f"{name}.jpg", picture([hand], K, 160, 120))
        labels = {
            "hand_pts": points_of(hand, unknown),
            "is_left": float(side == "left"),
            "head_size": 40.0,
            "hand_box_center": [80.0, 60.0],
        }
        write_bytes(root / f"{name}.json", json.dumps(labels).encode())
    entries = []
    for number, name in enumerate(STUDIO):
        hand = hands[f"hand143_panopticdb/0000000{number}"] = true_hand(10 + number, wrist=(0, 20, 500))
        write_picture(root / "hand143_panopticdb" / name, picture([hand], K, 160, 120))
        entries.append(
            {
                "img_paths": name,
                "joint_self": points_of(hand, [7] * number),
                "img_width": 160.0,
                "img_height": 120.0,
            }
        )
    write_bytes(root / "hand143_panopticdb/hands_v143_14817.json", json.dumps({"root": entries}).encode())
    return root, hands


def assert_flat(row: dict, hand, unknown: list[int]) -> None:
    """2D joints to 0.1 px, those that are known, and nothing else."""
    assert row["is_right"] == hand.is_right and not (
        row["has_camera"] or row["has_hand"] or row["joints_mask"].any()
    )
    assert np.flatnonzero(~row["joints2d_mask"]).tolist() == unknown
    np.testing.assert_allclose(
        row["joints2d"][row["joints2d_mask"]], hand.project(K)[row["joints2d_mask"]], atol=0.1
    )
    assert row["time"] == 0


def test_every_part_comes_back(folder, tmp_path):
    root, hands = folder
    table = convert_here("panoptic", root, tmp_path / "table", hand=None, storage=Storage(crop=False))
    unknown = {name.split("/", 1)[1]: without for name, (_, without) in NAMES.items()} | {
        "hand143_panopticdb/00000001": [7]
    }
    everything = rows(table, "train") | rows(table, "test")
    assert len(everything) == len(hands)
    for (sequence, _), row in everything.items():
        name = sequence.rsplit("/", 1)[0]
        assert sequence.rsplit("/", 1)[1] == ("right" if hands[name].is_right else "left")
        assert_flat(row, hands[name], unknown.get(name, []))
        assert_shows(row, hands[name])
    filmed = recordings(table, "train", "test")
    assert {"manual_train/000015774", "manual_train/Berry_roof_story.flv", "manual_test/000023121"} < set(
        filmed
    )
    assert len(filmed) == len(hands)
    parts = {
        split: {name.split("/")[0] for name, _ in rows(table, split)}
        for split in ("manual_train", "synth", "panoptic143", "test")
    }
    assert parts["manual_train"] == {"manual_train"} and parts["synth"] == {"synth1", "synth3"}
    assert parts["panoptic143"] == {"hand143_panopticdb"} and parts["test"] == {"manual_test"}
    assert rows(table, "test").keys() == rows(table, "manual_test").keys()


@pytest.mark.parametrize("below", ["", "hand_labels"])
def test_the_photographs_alone_are_a_data_set(folder, tmp_path, below):
    root, hands = folder
    table = convert_here("mpii_nzsl", root / below, tmp_path / "table", hand=None)
    assert set(rows(table, "manual_train")) == {
        (f"manual_train/{name}", k)
        for k, name in enumerate(("000015774_01_l/left", "Berry_roof_story.flv_000053_r/right"))
    }
    (row,) = rows(table, "manual_test").values()
    assert_shows(row, hands["manual_test/000023121_02_r"])


def test_damaged_files_cost_themselves_alone(folder, tmp_path):
    root, hands = folder
    good = json.loads((root / "hand_labels/manual_train/Berry_roof_story.flv_000053_r.json").read_text())
    image = (root / "hand_labels/manual_train/Berry_roof_story.flv_000053_r.jpg").read_bytes()
    bad = {
        "a": (image[:-50], json.dumps(good)),
        "b": (None, json.dumps(good)),
        "c": (image, "{"),
        "d": (image, json.dumps(good | {"hand_pts": good["hand_pts"][:20]})),
        "e": (image, json.dumps({"is_left": 0})),
        "f": (
            image,
            json.dumps(good | {"hand_pts": [[0, 0, 0]] * 18 + [[30, 30, 1], [40, 50, 1], [60, 60, 1]]}),
        ),
    }
    for name, (data, labels) in bad.items():
        if data:
            write_bytes(root / f"hand_labels/manual_train/{name}.jpg", data)
        write_bytes(root / f"hand_labels/manual_train/{name}.json", labels.encode())
    table = convert_here("mpii_nzsl", root, tmp_path / "table", hand=None)
    assert len(rows(table, "manual_train")) == 2
    assert sorted(reasons(table).values()) == [
        "damaged annotation",
        "damaged annotation",
        "no box",
        "not 21 joints",
        "picture damaged",
        "picture missing",
    ]


def test_other_folders_are_refused_in_one_line(folder, tmp_path):
    root, _ = folder
    for name in ("panoptic", "mpii_nzsl"):
        with pytest.raises(FileNotFoundError, match="has none of hand_labels/manual_train"):
            convert_here(name, root / "hand143_panopticdb/imgs", tmp_path / "table", hand=None)
    (root / "hand143_panopticdb/hands_v143_14817.json").write_text("[]")
    with pytest.raises(ValueError, match="has no list 'root'"):
        convert_here("panoptic", root, tmp_path / "table", hand=None)
    (root / "hand143_panopticdb/hands_v143_14817.json").write_text('{"root": [')
    with pytest.raises(ValueError, match="is damaged: not JSON"):
        convert_here("panoptic", root, tmp_path / "table", hand=None)
