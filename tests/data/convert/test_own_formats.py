"""What the labelling tools' formats allow besides: points without groups or names, both hands of a person,
pictures inside of labels, frames of videos, and EXIF."""

import base64
import json

import cv2
import numpy as np
import pytest
from own_support import (
    HEIGHT,
    MATRIX,
    WIDTH,
    Marked,
    by_picture,
    converted,
    marked_hands,
    write_coco,
    write_csv,
    write_cvat,
    write_labelme,
    write_labelstudio,
)
from PIL import ExifTags, Image
from video_support import write_video

from tempohand.data.convert.rows import Storage
from tempohand.skeleton import JOINT_NAMES

WHOLE = Storage(crop=False)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "own"
    return root, marked_hands(root, 4)


def same(row, hand, atol=0.02):
    known = hand.points[:, 2] > 0
    np.testing.assert_array_equal(row["joints2d_mask"], known)
    np.testing.assert_allclose(row["joints2d"][known], hand.points[known, :2], atol=atol)


def test_coco_without_names_is_in_order_and_a_persons_points_are_both_hands(folder):
    root, hands = folder
    write_coco(root, hands)
    path = root / "annotations/person_keypoints_default.json"
    content = json.loads(path.read_text())
    for category in content["categories"]:
        del category["keypoints"]
    path.write_text(json.dumps(content))
    same(converted("coco_keypoints", root, WHOLE).of(hands[0]), hands[0])
    pair = by_picture(hands)[hands[2].picture]
    person = {"id": 5, "image_id": 7, "category_id": 9, "bbox": [0, 0, 9, 9], "iscrowd": 0}
    person["keypoints"] = np.concatenate([hand.points for hand in pair]).ravel().tolist()
    names = [f"{hand.side}_{name}" for hand in pair for name in JOINT_NAMES]
    content |= {"annotations": [person], "categories": [{"id": 9, "name": "person", "keypoints": names}]}
    content["images"] = [{"id": 7, "file_name": f"some/where/{pair[0].picture}"}]
    path.write_text(json.dumps(content))
    found = converted("coco_keypoints", root, WHOLE)
    assert len(found.rows) == 2
    for hand in pair:
        same(found.of(hand), hand)


def test_coco_damage_costs_its_annotation(folder):
    root, hands = folder
    write_coco(root, hands)
    path = root / "annotations/person_keypoints_default.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["keypoints"].pop()
    content["annotations"][1]["image_id"] = 99
    content["annotations"][2]["category_id"] = 5
    path.write_text(json.dumps(content))
    found = converted("coco_keypoints", root)
    assert found.reasons == ["damaged annotation"] * 3 and len(found.rows) == len(hands) - 3
    details = sorted(one.detail for one in found.rejected)
    assert "62 numbers for 21" in details[0] and "picture 99 is not among the images" in details[2]


def test_labelme_holds_the_picture_itself_and_hands_as_lines(folder):
    root, hands = folder
    write_labelme(root, hands)
    hand = hands[0]
    path = (root / hand.picture).with_suffix(".json")
    content = json.loads(path.read_text())
    points = (hand.points[:, :2] + 0.5).tolist()
    content["shapes"] = [{"label": f"hand {hand.side}", "points": points, "shape_type": "linestrip"}]
    content["imageData"] = base64.b64encode((root / hand.picture).read_bytes()).decode()
    path.write_text(json.dumps(content))
    (root / hand.picture).unlink()
    row = converted("labelme", root, WHOLE).of(hand)
    same(row, hand)
    assert row["image"].shape == (HEIGHT, WIDTH, 3) and np.isnan(row["hidden"])


def test_label_studio_without_boxes_goes_by_names_and_by_the_last_annotation(folder):
    root, hands = folder
    write_labelstudio(root, hands)
    path = next(root.glob("*.json"))
    tasks = json.loads(path.read_text())
    for task, own in zip(tasks, by_picture(hands).values()):
        result = task["annotations"][1]["result"]
        for one in result:
            if "parentID" in one:
                place = int(one.pop("parentID")[3:])
                name = one["value"]["keypointlabels"][0]
                one["value"]["keypointlabels"] = [f"{own[place].side}_{name}"]
        task["annotations"][1]["result"] = [one for one in result if one["type"] != "rectanglelabels"]
        task["data"] = {"img": f"/data/local-files/?d=mine/{own[0].picture}"}
    turned = tasks[3]["annotations"][1]["result"]
    turned[0]["image_rotation"] = 90
    path.write_text(json.dumps(tasks))
    found = converted("labelstudio", root, WHOLE)
    assert len(found.rows) == len(hands) - 1 and "turned in Label Studio" in found.rejected[0].detail
    for hand in hands[:-1]:
        same(found.of(hand), hand)


def test_cvat_points_make_hands_by_group_by_place_and_by_name(folder):
    root, hands = folder
    write_cvat(root, hands[:1])
    lines = ["<annotations>"]
    by_group, by_place = hands[0], hands[-1]
    name = by_group.picture.rpartition("/")[2].removesuffix(".jpg")
    lines.append(f'<image id="0" name="{name}" width="{WIDTH}" height="{HEIGHT}">')
    for joint, (x, y, v) in zip(JOINT_NAMES, by_group.points):
        lines.append(
            f'<points label="{joint}" group_id="3" points="{x + 0.5},{y + 0.5}" occluded="{int(v == 1)}"/>'
        )
    x0, y0, x1, y1 = by_group.box + 0.5
    lines.append(f'<box label="hand" group_id="3" xtl="{x0}" ytl="{y0}" xbr="{x1}" ybr="{y1}">')
    lines.append(f'<attribute name="side">{by_group.side}</attribute></box></image>')
    places = ";".join(f"{x + 0.5},{y + 0.5}" for x, y, _ in by_place.points)
    name = by_place.picture.rpartition("/")[2]
    lines.append(f'<image id="1" name="{name}" width="{WIDTH}" height="{HEIGHT}">')
    lines.append(f'<points label="{by_place.side}" points="{places}" occluded="0"/></image></annotations>')
    (root / "annotations.xml").write_text("\n".join(lines))
    found = converted("cvat", root, WHOLE)
    same(found.of(by_group), by_group)
    same(found.of(by_place), by_place)
    (root / "annotations.xml").write_text('<annotations><track id="0" label="hand"/></annotations>')
    with pytest.raises(ValueError, match=r"annotations.xml' cannot be read: it is of CVAT for video"):
        converted("cvat", root)


def test_frames_of_a_folder_are_a_sequence(folder):
    root, hands = folder
    write_csv(root, hands)
    found = converted("csv", root, WHOLE, frames=10, held_out=0).rows
    right = [(key, row["time"]) for key, row in found.items() if row["is_right"]]
    assert right == [(("images/right", n), n / 10) for n in (1, 2)]


def test_pictures_are_taken_out_of_a_video(folder, tmp_path):
    """Labels of frames 3 and 7, as CVAT names them, of a video without picture files."""
    root, hands = folder
    shown = [cv2.imread(str(root / hand.picture))[..., ::-1] for hand in (hands[0], hands[1])]
    black = np.zeros_like(shown[0])
    frames = [*[black] * 3, shown[0], *[black] * 3, shown[1], black]
    video = write_video(tmp_path / "clip.mkv", frames, fps=25)
    labels = [
        Marked(f"frame_{number:06d}", hand.is_right, hand.points)
        for number, hand in ((7, hands[1]), (3, hands[0]), (12, hands[1]))
    ]
    only = tmp_path / "labels"
    only.mkdir()
    write_cvat(only, labels)
    found = converted("cvat", only, None, frames=str(video))
    assert {key: round(row["time"], 3) for key, row in found.rows.items()} == {
        (f"clip/{hands[0].side}", 3): 0.12,
        (f"clip/{hands[1].side}", 7): 0.28,
    }
    assert found.reasons == ["frame missing"] and "9 frames" in found.rejected[0].detail
    row = found.rows[f"clip/{hands[0].side}", 3]
    x, y = row["joints2d"][9].round().astype(int)
    assert row["image"][y, x].max() > 40


def test_a_camera_comes_of_exif_or_of_the_option(folder):
    root, hands = folder
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 30
    with Image.open(root / hands[0].picture) as picture:
        picture.save(root / hands[0].picture, exif=exif)
    write_csv(root, hands)
    found = converted("csv", root, WHOLE)
    row, other = found.of(hands[0]), found.of(hands[1])
    assert row["has_camera"] and not other["has_camera"]
    np.testing.assert_allclose(row["focal"], 30 / np.hypot(36, 24) * np.hypot(WIDTH, HEIGHT))
    np.testing.assert_allclose(row["princpt"], [(WIDTH - 1) / 2, (HEIGHT - 1) / 2])
    row = converted("csv", root, WHOLE, focal=MATRIX[0, 0]).of(hands[1])
    assert row["has_camera"] and row["focal"].tolist() == [MATRIX[0, 0]] * 2
