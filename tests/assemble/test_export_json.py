"""A table as pictures and one JSON file: everything follows the crop and the mirror."""

import json

import cv2
import numpy as np
import pytest
import torch
from hand3d_data_support import OP_TO_HAND3D, by_the_script
from tests_support import hand_rows, write_table

from tempohand.assemble.export_json import export_json
from tempohand.cli import main
from tempohand.data.pictures import decode_mask, encode_mask
from tempohand.hand.layer import HandLayer
from tempohand.model.hand3d_parameters import WeakHand

UNKNOWN = 7  # of the second row, a joint in OpenPose's order


def tall(row: dict) -> dict:
    """The row's picture with 40 more rows above it: higher than wide. Its mask: discs about the joints."""
    picture = cv2.imdecode(np.frombuffer(row["image"], np.uint8), cv2.IMREAD_COLOR)
    picture = cv2.copyMakeBorder(picture, 40, 0, 0, 0, cv2.BORDER_REPLICATE)
    moved = {"joints2d": row["joints2d"] + (0, 40), "box": row["box"] + (0, 40, 0, 40)}
    mask = np.zeros(picture.shape[:2], np.uint8)
    for point in moved["joints2d"]:
        cv2.circle(mask, np.rint(point).astype(int).tolist(), 3, 1, -1)
    return (
        row
        | moved
        | {
            "image": cv2.imencode(".png", picture)[1].tobytes(),
            "mask": encode_mask(mask > 0),
            "height": row["height"] + 40,
            "princpt": row["princpt"] + (0, 40),
        }
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(rows of a right and a left hand, folder, JSON, counts)."""
    place = tmp_path_factory.mktemp("export")
    right, left = (
        [tall(row) for row in hand_rows(name, 2, seed, is_right=name == "right")]
        for seed, name in ((1, "right"), (2, "left"))
    )
    right[1]["joints2d_mask"] = np.arange(21) != UNKNOWN
    right[1] |= {"mask": None, "has_hand": False, "joints_mask": np.zeros(21, bool)}
    left[1]["joints2d_mask"] = np.arange(21) == UNKNOWN
    table = write_table(place / "table", {"train": [right], "test": [left]})
    path, counts = export_json(table, place / "json")
    return {"train": right, "test": left}, path.parent, json.loads(path.read_text()), counts


def entries(exported):
    rows, folder, content, _ = exported
    for split in ("train", "test"):
        for row, entry in zip(rows[split], content["splits"][split]):
            yield row, folder, entry


def test_joints_are_the_published_rules(exported):
    count = 0
    for row, _, entry in entries(exported):
        known = row["joints2d_mask"]
        stored = row["joints2d"].astype(np.float32).astype(float)
        matrix = by_the_script(stored[known], row["width"], row["height"])
        expected = np.zeros((21, 3))
        expected[known] = np.column_stack([matrix, np.ones(known.sum())])
        if not row["is_right"]:
            expected[known, 0] = 319 - expected[known, 0]
        assert np.abs(np.array(entry["joints2d"]) - expected[list(OP_TO_HAND3D)]).max() < 1e-9
        count += 1
    assert count == 3 and exported[3] == {"train": 2, "test": 1, "without an extent in 2D": 1}


def test_pictures_and_masks_show_what_the_labels_say(exported):
    for row, folder, entry in entries(exported):
        picture = cv2.imread(str(folder / entry["image"]))[..., ::-1].astype(int)
        assert picture.shape == (320, 320, 3) and entry["size"] == [320, 320]
        joints = np.array([joint[:2] for joint in entry["joints2d"] if joint[2]])
        at = picture[tuple(np.rint(joints).astype(int).T[::-1])]
        assert (at[:, 0] > 150).all() and (at[:, 2] < 120).all()  # the dots are red
        assert (entry["mask"] is None) == (row["mask"] is None)
        if entry["mask"]:
            mask = decode_mask((folder / entry["mask"]).read_bytes(), 320, 320)
            assert mask[tuple(np.rint(joints).astype(int).T[::-1])].all() and mask.mean() < 0.3


def test_numbers_camera_and_joints_are_one_hand(exported):
    layer, seen = HandLayer(), []
    for row, _, entry in entries(exported):
        assert (entry["numbers"] is None) == (not row["has_hand"])
        if entry["numbers"] is None:
            assert entry["joints3d"] is None
            continue
        assert len(entry["numbers"]) == 23 and entry["numbers"][0] == 1.0
        focal, princpt = torch.tensor(entry["camera"])[None].split(2, dim=-1)
        posed = WeakHand.unpacked(torch.tensor(entry["numbers"][1:])[None]).posed(layer, focal, princpt)
        joints = np.array(entry["joints3d"])[:, :3]
        camera = np.array(entry["camera"])
        pixels = joints[:, :2] / joints[:, 2:] * camera[:2] + camera[2:]
        assert np.abs(pixels - np.array(entry["joints2d"])[:, :2]).max() < 2e-2
        again = layer(posed.rotation, posed.shape, posed.wrist).joints[0].numpy()[list(OP_TO_HAND3D)]
        # six components do not bend fingers as these rows do: wrist and knuckles are the rotation's
        assert np.abs(again - joints)[[0, 1, 5, 9, 13, 17]].max() < 0.2
        seen.append(entry["mirrored"])
    assert seen == [False, True]


def test_whole_pictures_stay_as_they_are(exported, tmp_path):
    rows, folder, _, _ = exported
    main(["export-json", str(folder.parent / "table"), "--out", str(tmp_path / "whole"), "--whole"])
    content = json.loads((tmp_path / "whole" / "annotations.json").read_text())
    (right, _), (left,) = content["splits"]["train"], content["splits"]["test"]
    assert right["size"] == left["size"] == [96, 136]
    stored = [rows[split][0]["joints2d"][list(OP_TO_HAND3D)] for split in ("train", "test")]
    assert np.abs(np.array(right["joints2d"])[:, :2] - stored[0]).max() < 1e-4
    assert (
        np.abs(
            np.array(left["joints2d"])[:, :2] - (95 - stored[1][:, 0])[:, None] * [1, 0] - stored[1] * [0, 1]
        ).max()
        < 1e-4
    )


def test_numbers_of_another_hand_model_are_left_out(tmp_path):
    table = write_table(tmp_path / "table", {"train": [hand_rows("a", 1, 1)]})
    about = json.loads((table / "table.json").read_text())
    about["about"] = {"hand": "mano"}
    (table / "table.json").write_text(json.dumps(about))
    path, _ = export_json(table, tmp_path / "json")
    (entry,) = json.loads(path.read_text())["splits"]["train"]
    assert entry["numbers"] is None and entry["joints3d"] is not None
