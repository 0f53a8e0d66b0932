"""COCO-WholeBody: a folder of its own format, made of the open hand, comes back as it was made."""

import json

import numpy as np
import pytest
from convert_support import (
    assert_shows,
    camera_matrix,
    convert_here,
    picture,
    recordings,
    rows,
    true_hand,
    write_picture,
)

from tempohand.data.convert.rows import Storage
from tempohand.data.table import read_index

WIDTH, HEIGHT = 320, 240
MATRIX = camera_matrix(WIDTH, HEIGHT, 300)


def person(number, image, hands):
    """A person's annotation of the hands that are valid, by side."""
    entry = {
        "id": number,
        "image_id": image,
        "bbox": [0, 0, 9, 9],
        "iscrowd": 0,
        "keypoints": [0] * 51,
        "face_kpts": [0] * 204,
    }
    for side in ("left", "right"):
        entry |= {
            f"{side}hand_valid": side in hands,
            f"{side}hand_box": [0.0] * 4,
            f"{side}hand_kpts": [0.0] * 63,
        }
        if side in hands:
            points = hands[side].project(MATRIX)
            low, high = points.min(0) - 5, points.max(0) + 5
            joints = np.column_stack([points, np.full(21, 2.0)]).ravel().tolist()
            entry |= {f"{side}hand_box": [*low, *(high - low)], f"{side}hand_kpts": joints}
    return entry


def save(root, split, images, people):
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    content = {
        "info": {},
        "images": images,
        "annotations": people,
        "categories": [{"id": 1, "name": "person"}],
    }
    (root / f"annotations/coco_wholebody_{split}_v1.0.json").write_text(json.dumps(content))


@pytest.fixture
def folder(tmp_path):
    """A picture with two people, one with both hands and one with the left one alone; one picture of one
    right hand; a person without hands."""
    root = tmp_path / "coco"
    hands = {
        "left": true_hand(0, is_right=False, wrist=(-150, 0, 500)),
        "right": true_hand(1, is_right=True, wrist=(0, 0, 500)),
        "other": true_hand(2, is_right=False, wrist=(150, 0, 500)),
    }
    images = [{"id": 139, "file_name": "000000000139.jpg"}, {"id": 285, "file_name": "000000000285.jpg"}]
    write_picture(root / "val2017/000000000139.jpg", picture(list(hands.values()), MATRIX, WIDTH, HEIGHT))
    write_picture(root / "val2017/000000000285.jpg", picture([hands["right"]], MATRIX, WIDTH, HEIGHT))
    people = [
        person(11, 139, {"left": hands["left"], "right": hands["right"]}),
        person(12, 139, {"left": hands["other"]}),
        person(13, 285, {"right": hands["right"]}),
        person(14, 285, {}),
    ]
    save(root, "val", images, people)
    truth = {
        ("val/000000000139/11/left", 11): hands["left"],
        ("val/000000000139/11/right", 11): hands["right"],
        ("val/000000000139/12/left", 12): hands["other"],
        ("val/000000000285/13/right", 13): hands["right"],
    }
    return root, truth, images, people


@pytest.mark.parametrize("storage", [None, Storage(crop=False)], ids=["crop", "whole"])
def test_every_valid_hand_of_every_person_comes_with_its_2d_joints(folder, tmp_path, storage):
    root, truth, *_ = folder
    table = convert_here("coco_wholebody", root, tmp_path / "table", storage=storage)
    found = rows(table, "val")
    assert found.keys() == truth.keys() and read_index(table)["about"]["rejected"] == {}
    assert {recording: len(hands) for recording, hands in recordings(table, "val").items()} == {
        "val/000000000139": 3,
        "val/000000000285": 1,
    }
    for key, hand in truth.items():
        row = found[key]
        assert row["is_right"] == hand.is_right and row["joints2d_mask"].all()
        assert not row["joints_mask"].any() and not row["has_hand"] and not row["has_camera"]
        points = hand.project(MATRIX)
        if storage:
            np.testing.assert_allclose(row["joints2d"], points, atol=0.01)
            np.testing.assert_allclose(row["box"], [*points.min(0), *points.max(0)], atol=0.01)
        assert_shows(row, hand)


def test_joints_that_are_not_labelled_are_masked_and_leave_the_published_box(folder, tmp_path):
    root, truth, images, people = folder
    people[2]["righthand_kpts"][3 * 8 : 3 * 12] = [
        0.0
    ] * 12  # the index finger's tip and three of the middle one
    save(root, "val", images, people)
    row = rows(convert_here("coco_wholebody", root, tmp_path / "table", storage=Storage(crop=False)), "val")[
        "val/000000000285/13/right", 13
    ]
    assert np.flatnonzero(~row["joints2d_mask"]).tolist() == [8, 9, 10, 11]
    points = truth["val/000000000285/13/right", 13].project(MATRIX)
    np.testing.assert_allclose(row["box"], [*points.min(0) - 5, *points.max(0) + 5], atol=0.01)


def test_pictures_and_annotations_may_lie_in_either_place_and_one_split_is_enough(folder, tmp_path):
    root, truth, *_ = folder
    (root / "images").mkdir()
    (root / "val2017").rename(root / "images/val2017")
    (root / "annotations/coco_wholebody_val_v1.0.json").rename(root / "coco_wholebody_val_v1.0.json")
    (root / "annotations/coco_wholebody_train_v1.0.json").write_text("{}")  # its pictures are not here
    table = convert_here("coco_wholebody", root, tmp_path / "table")
    assert rows(table, "val").keys() == truth.keys() and list(read_index(table)["splits"]) == ["val"]


def test_damage_costs_its_people_alone(folder, tmp_path):
    root, _, images, people = folder
    people[0]["lefthand_kpts"] = people[0]["lefthand_kpts"][:60]
    people[1]["lefthand_kpts"][2::3] = [0] * 21
    people[1]["lefthand_box"] = [5.0, 5.0, 0.0, 0.0]
    people.append(person(15, 999, {"right": true_hand(3)}))
    write_picture(root / "val2017/cut.jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    (root / "val2017/cut.jpg").write_bytes((root / "val2017/cut.jpg").read_bytes()[:300])
    images += [{"id": 500, "file_name": "cut.jpg"}, {"id": 501, "file_name": "gone.jpg"}]
    people += [person(16, 500, {"right": true_hand(3)}), person(17, 501, {"right": true_hand(3)})]
    save(root, "val", images, people)
    table = convert_here("coco_wholebody", root, tmp_path / "table")
    assert sorted(rows(table, "val")) == [("val/000000000285/13/right", 13)]
    listed = [json.loads(line) for line in (table / "rejected.jsonl").read_text().splitlines()]
    assert {one["number"]: one["reason"] for one in listed} == {
        11: "damaged annotation",
        12: "box without an area",
        15: "no annotation",
        16: "picture damaged",
        17: "picture missing",
    }


def test_other_folders_and_damaged_files_are_refused_in_one_line(folder, tmp_path):
    root, *_ = folder
    with pytest.raises(FileNotFoundError, match="coco_wholebody_{train,val}_v1.0.json"):
        convert_here("coco_wholebody", tmp_path, tmp_path / "table")
    path = root / "annotations/coco_wholebody_val_v1.0.json"
    path.write_text('{"images": [')
    with pytest.raises(ValueError, match="is damaged"):
        convert_here("coco_wholebody", root, tmp_path / "table")
    path.write_text("[]")
    with pytest.raises(ValueError, match="is not what COCO-WholeBody"):
        convert_here("coco_wholebody", root, tmp_path / "table")
