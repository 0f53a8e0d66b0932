"""One's own labels: the same marked hands, written in every tool's format, become the same table."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from convert_support import assert_shows
from own_support import (
    HEIGHT,
    MEDIAPIPE,
    WHOLEBODY,
    WIDTH,
    WRITERS,
    converted,
    marked_hands,
    write_csv,
    write_labelme,
)

from tempohand.data.convert.convert import Conversion
from tempohand.data.convert.joint_order import GATHERS
from tempohand.data.convert.rows import Storage

WHOLE = Storage(crop=False)
FORMATS = list(WRITERS)


@pytest.fixture
def folder(tmp_path):
    """Ten pictures, eleven hands."""
    root = tmp_path / "own"
    return root, marked_hands(root)


def recordings(rows):
    return {row["recording"] for row in rows.values()}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("storage", [None, WHOLE], ids=["crop", "whole"])
def test_every_format_gives_the_marked_joints_back(folder, tmp_path, form, storage):
    root, hands = folder
    WRITERS[form](root, hands)
    found = converted(form, root, storage)
    assert len(found.rows) == len(hands) == 11 and found.rejected == []
    for hand in hands:
        row, known = found.of(hand), hand.points[:, 2] > 0
        assert row["is_right"] == hand.is_right and not row["has_camera"] and not row["has_hand"]
        np.testing.assert_array_equal(row["joints2d_mask"], known)
        if storage:
            np.testing.assert_allclose(row["joints2d"][known], hand.points[known, :2], atol=0.02)
        assert row["hidden"] == pytest.approx((hand.points[known, 2] == 1).mean())
        if not storage:
            assert_shows(row, hand.hand)


def test_a_marked_box_stands_in_where_joints_are_missing(folder, tmp_path):
    root, hands = folder
    for form in ("coco_keypoints", "labelme", "labelstudio"):
        WRITERS[form](root, hands)
        found = converted(form, root, WHOLE)
        np.testing.assert_allclose(found.of(hands[1])["box"], hands[1].box, atol=0.02)
        points = hands[0].points[:, :2]
        np.testing.assert_allclose(found.of(hands[0])["box"], [*points.min(0), *points.max(0)], atol=0.02)


def test_every_fifth_picture_or_folder_is_for_validation(folder, tmp_path):
    root, hands = folder
    write_csv(root, hands)
    splits = converted("csv", root, WHOLE).splits
    assert len(splits["val"]) == 2 and not recordings(splits["train"]) & recordings(splits["val"])
    for number in range(6):
        hands += [replace(hand) for hand in marked_hands(root, 2, folder=f"day{number}/")]
    write_csv(root, hands)
    splits = converted("csv", root, WHOLE, held_out=3).splits
    assert recordings(splits["val"]) == {"day1", "day4"} and "images" in recordings(splits["train"])
    assert converted("csv", root, WHOLE, held_out=0).splits.keys() == {"train"}


@pytest.mark.parametrize("names", [MEDIAPIPE, WHOLEBODY, tuple(str(n) for n in range(21))], ids="mwn")
def test_usual_names_need_no_file(folder, tmp_path, names):
    root, hands = folder
    write_csv(root, [replace(hand, names=names) for hand in hands])
    found = converted("csv", root, WHOLE)
    np.testing.assert_allclose(found.of(hands[0])["joints2d"], hands[0].points[:, :2], atol=0.02)


@pytest.mark.parametrize("kind", ["list", "mapping"])
def test_a_file_translates_other_names(folder, tmp_path, kind):
    root, hands = folder
    names = [f"punkt {chr(97 + number)}" for number in range(21)]
    write_labelme(root, [replace(hand, names=tuple(names)) for hand in hands])
    with pytest.raises(
        ValueError, match=r"'punkt a', 'punkt b', 'punkt c' and 18 others .*options={names: FILE}"
    ):
        converted("labelme", root)
    file = tmp_path / "names.yaml"
    content = names if kind == "list" else {name: place for place, name in enumerate(names)} | {"cup": None}
    file.write_text(json.dumps(content))
    found = converted("labelme", root, WHOLE, names=str(file))
    np.testing.assert_allclose(found.of(hands[0])["joints2d"], hands[0].points[:, :2], atol=0.02)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[a, b]", "lists 2 names"),
        ("{a: toe_1}", "calls 'a' 'toe_1', which is no joint"),
        ("{a: 21}", "'21', which is no joint"),
        ("3", "neither a mapping of names nor a list of 21"),
        ("{a: [", "is damaged: not YAML"),
    ],
)
def test_a_file_of_names_that_is_none_is_one_line(folder, tmp_path, content, message):
    root, hands = folder
    write_csv(root, hands)
    (tmp_path / "names.yaml").write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        converted("csv", root, names=str(tmp_path / "names.yaml"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("order", ["mano", "interhand", "rhd", "stb", "fpha", "wrist_last", "thumb_last"])
def test_another_order_is_named_and_put_right(folder, tmp_path, order):
    """Points in another order under OpenPose's names."""
    root, hands = folder
    theirs = [replace(hand, points=hand.points[np.argsort(GATHERS[order])]) for hand in hands]
    theirs = [hand for hand in theirs if (hand.points[:, 2] > 0).all()]
    write_csv(root, theirs)
    with pytest.raises(ValueError, match=f"another order than their names say.*{{order: {order}}}") as caught:
        converted("csv", root)
    assert "\n" not in str(caught.value)
    found = converted("csv", root, WHOLE, order=order)
    np.testing.assert_allclose(found.of(hands[0])["joints2d"], hands[0].points[:, :2], atol=0.02)
    left = converted("csv", root, WHOLE, order="openpose")
    np.testing.assert_allclose(left.of(theirs[0])["joints2d"], theirs[0].points[:, :2], atol=0.02)


@pytest.mark.parametrize("form", FORMATS)
def test_pictures_that_are_not_there_cost_their_hands_alone(folder, tmp_path, form):
    root, hands = folder
    WRITERS[form](root, hands)
    (root / hands[0].picture).unlink()
    data = (root / hands[4].picture).read_bytes()
    (root / hands[4].picture).write_bytes(data[: len(data) // 2])
    cv2.imwrite(str(root / hands[5].picture), np.zeros((HEIGHT // 2, WIDTH // 2, 3), np.uint8))
    found = converted(form, root)
    expected = ["picture damaged", "picture missing", "picture of another size"]
    assert found.reasons == expected and len(found.rows) == 8


def test_hands_without_a_side_or_with_a_joint_twice_are_left_out_with_the_reason(folder, tmp_path):
    root, hands = folder
    write_csv(root, hands)
    text = (root / "labels.csv").read_text().replace(",right,", ",,", 1)
    (root / "labels.csv").write_text(text)
    found = converted("csv", root)
    assert found.reasons == ["no side"] and len(found.rows) == 10
    assert len(converted("csv", root, side="right").rows) == 11
    write_labelme(root, hands)
    path = next(root.glob("images/hand_02.json"))
    content = json.loads(path.read_text())
    for shape in content["shapes"]:
        shape["group_id"] = None
    path.write_text(json.dumps(content))
    (root / "images/hand_03.json").write_text('{"shapes": [{"label": "wrist"}], "imagePath": "hand_03.jpg"}')
    assert converted("labelme", root).reasons == ["damaged annotation", "joint marked twice"]


def test_a_table_of_other_labels_is_another_table(folder):
    """A conversion that is complete is not done again, so what is marked belongs to what it is made of."""
    root, hands = folder

    def made_of(**options):
        return [unit.key for unit in Conversion("csv", str(root), options=options).converter().units()]

    write_csv(root, hands)
    before = made_of()
    assert made_of() == before and made_of(order="mano") != before
    hands[5].points[7, 0] += 0.25
    write_csv(root, hands)
    assert sum(one != other for one, other in zip(made_of(), before, strict=True)) == 1


def test_too_few_points_make_no_row(folder, tmp_path):
    root, hands = folder
    hands[3].points[3:] = 0
    write_csv(root, hands)
    found = converted("csv", root)
    assert found.reasons == ["no box"] and len(found.rows) == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": "both"}, "options.side: 'both' is neither right nor left"),
        ({"focal": -3}, "options.focal is a positive number"),
        ({"frames": 0}, "options.frames is a positive number"),
        ({"order": "cmu"}, "options.order: 'cmu' is none of openpose, mano"),
        ({"names": "nowhere.yaml"}, "options.names: there is no file 'nowhere.yaml'"),
        ({"frames": "nowhere.mp4"}, "'nowhere.mp4' is missing: options.frames"),
        ({"colour": 1}, "csv has no option 'colour'"),
    ],
)
def test_options_that_are_none_are_one_line(folder, tmp_path, options, message):
    root, hands = folder
    write_csv(root, hands)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        converted("csv", root, **options)


@pytest.mark.parametrize("form", FORMATS)
def test_a_folder_without_labels_says_what_is_missing(tmp_path, form):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="has no "):
        converted(form, tmp_path / "empty")
