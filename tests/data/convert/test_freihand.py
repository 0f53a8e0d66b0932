"""FreiHAND: a folder of its own format, made of the open hand, comes back as it was made."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from convert_support import (
    assert_same_hand,
    camera_matrix,
    convert_here,
    picture,
    recordings,
    rows,
    true_hand,
    write_picture,
)
from tests_support import compose_config, load_file

from tempohand.data.check import check_table
from tempohand.data.convert.registry import converter_class
from tempohand.data.convert.rows import Storage
from tempohand.data.parallel_jobs import LOCAL
from tempohand.data.table import FrameTable, read_index

IDS = 3
SCRIPT = Path(__file__).parents[3] / "script" / "prepare.py"


def centred(hand, camera):
    """The camera whose picture has the hand in its middle, as FreiHAND's have."""
    pixels = hand.project(camera)
    moved = camera.copy()
    moved[:2, 2] += 112 - (pixels.min(0) + pixels.max(0)) / 2
    return moved


@pytest.fixture
def folder(tmp_path):
    """Three training ids on four backgrounds, two evaluation pictures without truth."""
    hands = [true_hand(number, wrist=(0, 0, 600)) for number in range(IDS)]
    cameras = [centred(hand, camera_matrix(224, 224, 480 + 10 * number)) for number, hand in enumerate(hands)]
    for number, (hand, camera) in enumerate(zip(hands, cameras)):
        for background in range(4):
            image = picture([hand], camera, 224, 224) // (1 + (background > 0))
            write_picture(tmp_path / f"training/rgb/{number + background * IDS:08d}.jpg", image)
        if number < 2:
            write_picture(tmp_path / f"evaluation/rgb/{number:08d}.jpg", picture([hand], camera, 224, 224))
    write = {
        "training_K": [camera.tolist() for camera in cameras],
        "training_xyz": [(hand.joints / 1000).tolist() for hand in hands],
        "training_mano": [[[*hand.relative_pose, *hand.shape, 0.0, 0.0, 1.0]] for hand in hands],
        "training_verts": [(hand.vertices / 1000).tolist() for hand in hands],
        "training_scale": [0.03] * IDS,
        "evaluation_K": [camera.tolist() for camera in cameras[:2]],
        "evaluation_scale": [0.03] * 2,
    }
    for name, values in write.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(values))
    return tmp_path, hands


def test_every_picture_comes_with_its_hand(folder, tmp_path):
    root, hands = folder
    table = convert_here("freihand", root, tmp_path / "table")
    training = rows(table, "training")
    assert sorted(training) == [(f"{number:08d}/right", number) for number in range(4 * IDS)]
    for (_, number), row in training.items():
        assert_same_hand(row, hands[number % IDS])
    four = recordings(table, "training")
    assert four == {f"training/{i:08d}": {f"{i + k * IDS:08d}/right" for k in range(4)} for i in range(IDS)}
    assert set(recordings(table, "evaluation")) == {"evaluation/00000000", "evaluation/00000001"}
    assert read_index(table)["about"]["rejected"] == {}


def test_evaluation_pictures_without_truth_are_rows_without_labels_in_the_official_order(folder, tmp_path):
    root, hands = folder
    table = convert_here("freihand", root, tmp_path / "table")
    evaluation = rows(table, "evaluation")
    assert not any(
        row["joints_mask"].any() or row["joints2d_mask"].any() or row["has_hand"]
        for row in evaluation.values()
    )
    assert all(row["has_camera"] and row["box"].tolist() == [56, 56, 168, 168] for row in evaluation.values())
    assert json.loads((table / "official_evaluation.json").read_text())["order"] == [
        ["00000000/right", 0],
        ["00000001/right", 1],
    ]
    (root / "evaluation_xyz.json").write_text(
        json.dumps([(hand.joints / 1000).tolist() for hand in hands[:2]])
    )
    again = convert_here("freihand", root, tmp_path / "again")
    by_truth = convert_here(
        "freihand", root, tmp_path / "by_truth", boxes="truth", storage=Storage(crop=False)
    )
    with_truth, fitted = rows(again, "evaluation"), rows(by_truth, "evaluation")
    for number in range(2):
        row = with_truth[f"{number:08d}/right", number]
        assert_same_hand(row, hands[number], parameters=False)
        assert row["box"].tolist() == [
            56,
            56,
            168,
            168,
        ]  # no crop of the test is made of its truth, but by name
        pixels = row["joints2d"]
        np.testing.assert_allclose(
            fitted[f"{number:08d}/right", number]["box"], [*pixels.min(0), *pixels.max(0)], atol=0.1
        )
    said = [read_index(one)["about"]["boxes"]["evaluation"] for one in (again, by_truth)]
    assert said == ["the middle half of the picture, which is the official crop", "bounds of the true joints"]
    (root / "evaluation_xyz.json").unlink()
    with pytest.raises(ValueError, match="truth needs .*evaluation_xyz.json"):
        convert_here("freihand", root, tmp_path / "never", boxes="truth")


def test_without_the_hand_file_there_are_joints_alone(folder, tmp_path):
    root, hands = folder
    for (_, number), row in rows(
        convert_here("freihand", root, tmp_path / "table", hand=None), "training"
    ).items():
        assert_same_hand(row, hands[number % IDS], parameters=False)


def test_version_1_is_refused(folder, tmp_path):
    root, _ = folder
    (root / "training_verts.json").unlink()
    with pytest.raises(ValueError, match="v1.*FreiHAND_pub_v2.zip"):
        convert_here("freihand", root, tmp_path / "table")


def test_damaged_pictures_and_labels_cost_their_rows_alone(folder, tmp_path):
    root, _ = folder
    whole = (root / "training/rgb/00000001.jpg").read_bytes()
    (root / "training/rgb/00000001.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "training/rgb/00000005.jpg").unlink()
    (root / "training/rgb/00000009.jpg").write_bytes(b"")
    joints = json.loads((root / "training_xyz.json").read_text())
    joints[0] = joints[0][:20]
    joints[2][4][1] = 5.0
    (root / "training_xyz.json").write_text(json.dumps(joints))
    table = convert_here("freihand", root, tmp_path / "table")
    assert sorted(number for _, number in rows(table, "training")) == [4, 7, 10]
    reasons = {
        json.loads(line)["number"]: json.loads(line)["reason"]
        for line in (table / "rejected.jsonl").read_text().splitlines()
    }
    assert (
        reasons.pop(1) == "picture damaged"
        and reasons.pop(5) == "picture missing"
        and reasons.pop(9) == "damaged annotation"
    )
    assert [reasons[number] for number in (0, 3, 6)] == ["damaged annotation"] * 3 and all(
        "inconsistent" in reasons[n] for n in (2, 8, 11)
    )


def test_a_damaged_file_of_all_labels_is_one_line(folder, tmp_path):
    root, _ = folder
    (root / "training_xyz.json").write_text("[[[0.1, 0.2")
    with pytest.raises(ValueError, match="training_xyz.json' is damaged.*download it again"):
        convert_here("freihand", root, tmp_path / "table")
    (root / "training_xyz.json").write_text("[]")
    with pytest.raises(ValueError, match="differ in length"):
        convert_here("freihand", root, tmp_path / "table")


def test_the_last_ids_are_held_out_with_all_their_backgrounds(tmp_path):
    for name in ("K", "xyz", "mano", "verts"):
        (tmp_path / f"training_{name}.json").write_text(json.dumps([None] * 40))
    (tmp_path / "training/rgb").mkdir(parents=True)
    ids = {}
    for unit in converter_class("freihand")(tmp_path).units():
        first, entries, _ = unit.payload
        for split in unit.splits:
            ids.setdefault(split, []).extend(range(first, first + len(entries)))
    assert sorted(ids["training"]) == list(range(160)) == sorted(ids["fit"] + ids["val"])
    assert {number % 40 for number in ids["val"]} == {38, 39} and len(ids["val"]) == 8


def test_pictures_may_stay_where_they_are_and_move_with_their_folder(folder, tmp_path, monkeypatch):
    root, hands = folder
    table = convert_here("freihand", root, tmp_path / "table", storage=Storage(crop=False))
    assert sum(path.stat().st_size for path in table.glob("*.arrow")) < 40_000
    for (_, number), row in rows(table, "training").items():
        assert_same_hand(row, hands[number % IDS])
        assert row["image"].shape == (224, 224, 3)
    assert check_table(table, workers=0) == ({"evaluation": 2, "fit": 12, "training": 12}, [])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (root / "training").rename(elsewhere / "training")
    with pytest.raises(FileNotFoundError, match="FREIHAND_ROOT"):
        FrameTable(table, "training").image(0)
    monkeypatch.setenv("FREIHAND_ROOT", str(elsewhere))
    assert FrameTable(table, "training").image(0).shape == (224, 224, 3)


def test_an_interrupted_conversion_goes_on_and_a_finished_one_is_left_alone(folder, tmp_path, capsys):
    root, _ = folder
    whole = convert_here("freihand", root, tmp_path / "whole")
    names = sorted(path.name for path in whole.glob("*.arrow"))
    table = convert_here("freihand", root, tmp_path / "table")
    (
        table / "table.json"
    ).unlink()  # as if it had been stopped after the first shard: its report is there, the others are not
    for name in names[1:]:
        (table / name).unlink()
    (table / names[0]).with_suffix(".report.json").write_text(json.dumps({"rows": 12, "rejected": []}))
    first = (table / names[0]).stat().st_mtime_ns
    convert_here("freihand", root, table)
    assert (table / names[0]).stat().st_mtime_ns == first
    assert [(table / name).read_bytes() for name in names] == [(whole / name).read_bytes() for name in names]
    capsys.readouterr()
    convert_here("freihand", root, table)
    assert "is complete: nothing to do" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"made with other settings \(hand\)"):
        convert_here("freihand", root, table, hand=None)


def prepare(*overrides: str) -> None:
    """script/prepare.py's own function, with its configuration."""
    settings = compose_config("prepare", *overrides)
    load_file(SCRIPT).prepare_public(settings.pop("dataset"), settings, LOCAL)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["root=x"], "'x' is no folder: root= is where FreiHAND v2 lies"),
        ([], "Pass root=<its folder> or set FREIHAND_ROOT"),
        (["root=.", "options={fps: 3}"], "freihand has no option 'fps', it has: boxes"),
        (["root=."], "neither training/rgb nor evaluation/rgb"),
        (["root=.", "hand=nowhere.pkl"], "nowhere.pkl: no such hand model"),
        (["root=.", "quality=0"], "quality 1 to 100"),
    ],
)
def test_a_mistake_is_said_before_anything_is_made(overrides, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FREIHAND_ROOT", raising=False)
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)) as error:
        prepare("dataset=freihand", "out=y", *overrides)
    assert "\n" not in str(error.value) and list(tmp_path.iterdir()) == []


def test_without_a_name_the_names_are_listed_in_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "out=y"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2 and "freihand, hamer_tars" in done.stderr and done.stderr.count("\n") == 1, (
        done.stderr
    )
    with pytest.raises(ValueError, match="no data set 'freehand'"):
        converter_class("freehand")
