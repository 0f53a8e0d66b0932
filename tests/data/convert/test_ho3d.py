"""HO-3D: a folder of its own format, made of the open hand, comes back as it was made."""

import json

import numpy as np
import pytest
from convert_support import (
    MANO_OF_OP,
    assert_same_hand,
    assert_shows,
    camera_matrix,
    convert_here,
    moved,
    picture,
    python2_pickle,
    reasons,
    recordings,
    rows,
    true_hand,
    write_bytes,
    write_picture,
)

from tempohand.data.convert.rows import Storage
from tempohand.data.table import read_index

K = camera_matrix(160, 120, 150)
FLIP = np.diag([1.0, -1.0, -1.0])  # OpenCV's camera in OpenGL's
TRAIN = {"ABF10": [0, 1, 5], "ABF12": [0], "SS2": [3], "SS3": [4]}
EVALUATION = {"SM1": [0, 7], "AP10": [2]}


def published_box(hand) -> list[float]:
    """The box that the evaluation comes with: not the joints' own bounds."""
    pixels = hand.project(K)
    return [*(pixels.min(0) - [5, 4]), *(pixels.max(0) + [3, 2])]


def meta_of(hand, *, evaluation: bool) -> dict:
    there = moved(hand, FLIP, np.zeros(3))  # in OpenGL's camera
    joints = there.joints[MANO_OF_OP].astype(np.float32) / 1000
    shared = {
        "camMat": K,
        "objName": "010_potted_meat_can",
        "objRot": np.ones((3, 1)),
        "objTrans": np.zeros(3),
        "objLabel": 7,
    }
    if evaluation:
        return shared | {"handJoints3D": joints[0], "handBoundingBox": published_box(hand)}
    return shared | {
        "handPose": there.pose,
        "handBeta": hand.shape,
        "handTrans": there.transl / 1000,
        "handJoints3D": joints,
    }


def write(root, suffix: str) -> dict:
    hands = {}
    for split, sequences in (("train", TRAIN), ("evaluation", EVALUATION)):
        for name, numbers in sequences.items():
            for number in numbers:
                hand = hands[name, number] = true_hand(len(hands), wrist=(20, -30, 600))
                write_picture(
                    root / split / name / "rgb" / f"{number:04d}{suffix}", picture([hand], K, 160, 120)
                )
                meta = python2_pickle(meta_of(hand, evaluation=split == "evaluation"))
                write_bytes(root / split / name / "meta" / f"{number:04d}.pkl", meta)
        lines = [f"{name}/{number:04d}\n" for name, numbers in sequences.items() for number in numbers]
        (root / f"{split}.txt").write_text("".join(reversed(lines) if split == "evaluation" else lines))
    return hands


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "HO3D_v3"
    return root, write(root, ".jpg")


@pytest.mark.parametrize("name, suffix", [("ho3d_v2", ".png"), ("ho3d_v3", ".jpg")])
def test_training_frames_come_with_their_hands_in_two_parts(tmp_path, name, suffix):
    hands = write(tmp_path / "root", suffix)
    table = convert_here(name, tmp_path / "root", tmp_path / "table", hand=None)
    training = rows(table, "train")
    assert sorted(training) == [
        (f"{sequence}/right", number) for sequence, numbers in TRAIN.items() for number in numbers
    ]
    for (sequence, number), row in training.items():
        assert_same_hand(row, hands[sequence.split("/")[0], number])
        assert row["time"] == pytest.approx(number / 30)
    assert sorted(rows(table, "val")) == [("SS2/right", 3), ("SS3/right", 4)]
    assert sorted({**rows(table, "fit"), **rows(table, "val")}) == sorted(training)


def test_cameras_of_one_capture_are_one_recording(folder, tmp_path):
    """The official list of captures by several cameras: ABF1, ... SMu4, the camera's digit behind. SS2 and
    SS3 are captures by one camera."""
    table = convert_here("ho3d_v3", folder[0], tmp_path / "table", hand=None)
    assert recordings(table, "train") == {
        "ABF1": {"ABF10/right", "ABF12/right"},
        "SS2": {"SS2/right"},
        "SS3": {"SS3/right"},
    }
    assert recordings(table, "evaluation") == {"SM1": {"SM1/right"}, "AP1": {"AP10/right"}}


def test_evaluation_frames_have_the_wrist_alone_and_the_published_box(folder, tmp_path):
    root, hands = folder
    table = convert_here("ho3d_v3", root, tmp_path / "table", storage=Storage(crop=False))
    evaluation = rows(table, "evaluation")
    assert len(evaluation) == 3
    for (sequence, number), row in evaluation.items():
        hand = hands[sequence.split("/")[0], number]
        pixels = hand.project(K)
        assert (
            row["joints_mask"].tolist() == [True] + [False] * 20 and not row["has_hand"] and row["has_camera"]
        )
        np.testing.assert_allclose(row["joints"][0], hand.wrist, atol=0.1)
        np.testing.assert_allclose(row["box"], published_box(hand), atol=0.1)
        np.testing.assert_allclose(row["joints2d"][0], pixels[0], atol=0.1)
    order = json.loads((table / "official_evaluation.json").read_text())["order"]
    assert order == [["AP10/right", 2], ["SM1/right", 7], ["SM1/right", 0]]


@pytest.mark.parametrize("above", [False, True])
def test_the_evaluation_truth_is_used_where_it_lies_beside_or_above(folder, tmp_path, above):
    root, hands = folder
    order = [("AP10", 2), ("SM1", 7), ("SM1", 0)]
    truth = [(hands[key].joints[MANO_OF_OP] * [1, -1, -1] / 1000).tolist() for key in order]
    (root.parent if above else root).joinpath("evaluation_xyz.json").write_text(json.dumps(truth))
    table = convert_here("ho3d_v3", root, tmp_path / "table")
    evaluation = rows(table, "evaluation")
    whole = rows(convert_here("ho3d_v3", root, tmp_path / "whole", storage=Storage(crop=False)), "evaluation")
    by_truth = convert_here(
        "ho3d_v3", root, tmp_path / "by_truth", storage=Storage(crop=False), boxes="truth"
    )
    for name, number in order:
        hand, key = hands[name, number], (f"{name}/right", number)
        assert_same_hand(evaluation[key], hand, parameters=False)
        np.testing.assert_allclose(
            whole[key]["box"], published_box(hand), atol=0.1
        )  # no crop of the test is made of its truth
        pixels = hand.project(K)
        np.testing.assert_allclose(
            rows(by_truth, "evaluation")[key]["box"], [*pixels.min(0), *pixels.max(0)], atol=0.1
        )  # but by name
    said = [read_index(one)["about"]["boxes"]["evaluation"] for one in (table, by_truth)]
    assert said == ["handBoundingBox, official", "bounds of the true joints"]
    (root / "evaluation_xyz.json").write_text("[[1, 2, 3]]")
    with pytest.raises(ValueError, match="1 samples, evaluation.txt 3"):
        convert_here("ho3d_v3", root, tmp_path / "again")


def test_boxes_of_the_truth_need_the_truth(folder, tmp_path):
    for boxes, message in (
        ("truth", "truth needs evaluation_xyz.json"),
        ("mine", "neither official .* nor truth"),
    ):
        with pytest.raises(ValueError, match=message):
            convert_here("ho3d_v3", folder[0], tmp_path / "table", boxes=boxes)


def test_pictures_may_stay_where_they_are(folder, tmp_path):
    root, hands = folder
    training = rows(convert_here("ho3d_v3", root, tmp_path / "table", storage=Storage(crop=False)), "train")
    for (sequence, number), row in training.items():
        assert row["image"].shape == (120, 160, 3)
        assert_same_hand(row, hands[sequence.split("/")[0], number])
        assert_shows(row, hands[sequence.split("/")[0], number])


def test_bad_frames_cost_themselves_alone(folder, tmp_path):
    root, hands = folder
    sequence = root / "train" / "ABF10"
    hand = hands["ABF10", 0]
    more = {
        10: {"handJoints3D": None, "handPose": None},
        11: {"handPose": np.zeros(45)},
        12: {"handJoints3D": np.zeros((20, 3))},
        13: {},
    }
    more |= {14: {}, 15: {}, 16: {}, 17: {"camMat": None}}
    for number, change in more.items():
        write_picture(sequence / f"rgb/{number:04d}.jpg", picture([hand], K, 160, 120))
        write_bytes(
            sequence / f"meta/{number:04d}.pkl", python2_pickle(meta_of(hand, evaluation=False) | change)
        )
    whole = (sequence / "rgb/0013.jpg").read_bytes()
    (sequence / "rgb/0013.jpg").write_bytes(whole[:-20])
    (sequence / "rgb/0014.jpg").unlink()
    (sequence / "meta/0015.pkl").unlink()
    (sequence / "meta/0016.pkl").write_bytes(b"\x80\x02cos\nsystem\nU\x04echo\x85R.")
    (root / "train.txt").write_text("".join(f"ABF10/{number:04d}\n" for number in [0, *more, 5]))
    table = convert_here("ho3d_v3", root, tmp_path / "table")
    assert sorted(number for _, number in rows(table, "train")) == [0, 5]
    found = {number: reason for (_, number), reason in reasons(table).items()}
    assert found == {
        10: "not annotated",
        11: "damaged annotation",
        12: "damaged annotation",
        13: "picture damaged",
        14: "picture missing",
        15: "file missing",
        16: "damaged annotation",
        17: "no camera",
    }


def test_other_folders_are_refused_in_one_line(folder, tmp_path):
    root, _ = folder
    with pytest.raises(ValueError, match="holds .jpg pictures, HO-3D v2 has .png"):
        convert_here("ho3d_v2", root, tmp_path / "table")
    with pytest.raises(FileNotFoundError, match="neither train/ nor evaluation/"):
        convert_here("ho3d_v3", root / "train" / "ABF10", tmp_path / "table")
    (root / "train.txt").write_text("not/a/list\n")
    with pytest.raises(ValueError, match="train.txt' is not a list of HO-3D v3: 'not/a/list'"):
        convert_here("ho3d_v3", root, tmp_path / "table")
    (root / "train.txt").unlink()
    with pytest.raises(FileNotFoundError, match="train.txt' is missing"):
        convert_here("ho3d_v3", root, tmp_path / "table")
