"""Real pictures under a teacher's answers: a source written as its README says, and answers of hands that are
known, come back as rows; whoever is not sure is left out."""

import csv
import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from convert_support import convert_here, picture, posed, reasons, recordings, rows, true_hand

from tempohand.assemble.label_pictures import label_folder, relabel_folder
from tempohand.assemble.second_look import SecondLabels, SecondLook
from tempohand.assemble.teacher import Teacher, TeacherLabels
from tempohand.data.convert.real_hands import USUAL_DISTANCE, RealHands, listed_pictures
from tempohand.geometry import mirror_points

SIZE = (320, 240)
FOCAL = 420.0  # larger than the diagonal, so that the hands' own size decides: below
HEAD = ("file", "width", "group", "boxes_xyxy")


def hands() -> list:
    """Of either side, at the distance that is assumed of pictures without a camera."""
    return [true_hand(seed, is_right=seed % 2 == 0, wrist=(10.0, 40.0, 520.0)) for seed in range(16)]


def write_source(root, name: str, pictures: list[np.ndarray], boxes: dict[int, str]) -> None:
    """Two pictures a group."""
    folder = root / name
    folder.mkdir(parents=True)
    with (
        tarfile.open(folder / f"{name}.tar", "w") as tar,
        open(folder / "files.csv", "w", newline="") as file,
    ):
        table = csv.writer(file)
        table.writerow(HEAD)
        for number, image in enumerate(pictures):
            content = cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()
            info = tarfile.TarInfo(f"{name}_{number:03d}.jpg")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
            table.writerow([info.name, image.shape[1], f"person_{number // 2}", boxes.get(number, "")])


def answers_of(source: str, truth: list, camera: np.ndarray, **changes) -> dict[str, np.ndarray]:
    count = len(truth)
    joints = np.stack([hand.joints for hand in truth])
    return {
        "picture": np.array([f"{source}_{number:03d}.jpg" for number in range(count)]),
        "size": np.tile(np.array(SIZE, float), (count, 1)),
        "joints2d": np.stack([hand.project(camera) for hand in truth]).astype(np.float32),
        "joints": (joints - joints.mean(1, keepdims=True)).astype(np.float32),
        "spread": np.full((count, 21), 3.0, np.float32),
        "presence": np.full(count, 0.97, np.float32),
        "side": np.array([0.95 if hand.is_right else 0.05 for hand in truth], np.float32),
    } | changes


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(root, which has the answers as `labels` too; the true hands)."""
    root, truth = tmp_path_factory.mktemp("real"), hands()
    (root / "labels").mkdir()
    camera = np.array([[FOCAL, 0, (SIZE[0] - 1) / 2], [0, FOCAL, (SIZE[1] - 1) / 2], [0, 0, 1.0]])
    for source in ("asl_digits", "one_person"):
        write_source(root, source, [picture([hand], camera, *SIZE) for hand in truth], {})
        answers = answers_of(source, truth, camera)
        if source == "one_person":
            answers["presence"][0], answers["side"][1], answers["spread"][2] = 0.3, 0.5, 30.0
            answers["joints2d"][3] = answers["joints2d"][3, ::-1]
        np.savez(root / "labels" / f"{source}.npz", **answers)
    return root, truth


@pytest.fixture(scope="module")
def table(made, tmp_path_factory):
    out = tmp_path_factory.mktemp("table") / "table"
    return convert_here("real_hands", made[0], out, hand=None, labels=str(made[0] / "labels"))


def test_the_hands_come_back(made, table):
    found = rows(table, "asl_digits_train")
    assert len(found) == 14
    for number in range(14):
        truth = made[1][number]
        side = "right" if truth.is_right else "left"
        row = found[f"asl_digits/asl_digits_{number:03d}.jpg/{number}/{side}", number]
        joints = row["joints"] - row["joints"][0]
        assert np.linalg.norm(joints - (truth.joints - truth.joints[0]), axis=1).mean() < 6
        assert row["is_right"] == truth.is_right and row["has_hand"] and not row["has_camera"]
        fitted = posed(truth.is_right, row["pose"], row["shape"], row["trans"])  # by its own side's model
        assert np.linalg.norm(fitted.joints - row["joints"], axis=1).max() < 0.5


def test_groups_are_held_out_whole_and_one_persons_are_not(table):
    held, seen = (set(recordings(table, f"asl_digits_{split}")) for split in ("val", "train"))
    assert held == {"asl_digits/person_7"} and not held & seen
    assert {sequence.split("/")[0] for sequence, _ in rows(table, "val")} == {"asl_digits"}


def test_who_is_not_sure_is_left_out(table):
    assert len(rows(table, "one_person_train")) == 12
    assert [reason for _, reason in sorted(reasons(table).items())] == [
        "no hand there",
        "right or left is not clear",
        "the teacher's crops disagree",
        "the fitted hand is off",
    ]


def test_hands_are_taken_for_as_far_as_they_usually_are():
    camera_less = RealHands(Path("."), labels=".")
    answers = answers_of("x", hands()[:2], np.array([[400, 0, 160], [0, 400, 120], [0, 0, 1.0]]))
    fitted, cameras = camera_less._fit(answers)
    assert cameras[0].focal[0] == pytest.approx(np.hypot(*SIZE)) and not cameras[0].known
    fitted, cameras = camera_less._fit(answers | {"size": np.full((2, 2), 30.0)})
    assert (np.abs(fitted.trans[:, 2].numpy() - USUAL_DISTANCE) < 150).all()


@pytest.fixture
def rounds(made, tmp_path):
    """Folders of a first round that is wrong by up to 15 mm and 2 % of the picture, and of a second that is
    wrong the other way."""
    rng = np.random.default_rng(0)
    with np.load(made[0] / "labels/asl_digits.npz") as true:
        answers = dict(true)
    off, off2d = rng.normal(0, 6, (16, 21, 3)), rng.normal(0, 2, (16, 21, 2))
    for name, sign in (("first", 1), ("second", -1)):
        (tmp_path / name).mkdir()
        wrong = {"joints": answers["joints"] + sign * off, "joints2d": answers["joints2d"] + sign * off2d}
        np.savez(tmp_path / name / "asl_digits.npz", **answers | wrong)
    return tmp_path


def labels_off(made, converter: RealHands) -> float:
    """Mean distance of the labels' joints from the true ones, wrists apart, mm."""
    unit = next(unit for unit in converter.units() if "asl_digits_train" in unit.splits)
    recording, off = converter.open(unit), []
    for number in recording.numbers:
        joints, truth = recording.frame(number).hands[0].joints, made[1][number].joints
        off.append(np.linalg.norm((joints - joints[0]) - (truth - truth[0]), axis=1).mean())
    return float(np.mean(off))


def test_a_second_round_outweighs_the_first_ones_errors(made, rounds):
    first = labels_off(made, RealHands(made[0], labels=str(rounds / "first")))
    both = RealHands(made[0], labels=str(rounds / "first"), second=str(rounds / "second"))
    assert labels_off(made, both) < 0.8 * first


def test_a_second_round_is_of_the_same_hands(made, rounds):
    with np.load(rounds / "second/asl_digits.npz") as answers:
        other = dict(answers) | {"picture": answers["picture"][::-1]}
    np.savez(rounds / "second/asl_digits.npz", **other)
    converter = RealHands(made[0], labels=str(rounds / "first"), second=str(rounds / "second"))
    with pytest.raises(ValueError, match="answers to other hands than"):
        labels_off(made, converter)


class AskedAgain(SecondLook):
    """Answers with what it is told."""

    def __init__(self):
        self.sides = []

    def label(self, pictures, joints2d, is_right):
        assert len(pictures) == len(joints2d)
        self.sides += is_right.tolist()
        return SecondLabels(joints2d + 1, torch.zeros(len(joints2d), 21, 3), joints2d[..., 0])


def test_a_network_is_asked_about_the_teachers_hands(tmp_path):
    images = [np.full((40, 60, 3), 40 * number, np.uint8) for number in range(3)]
    write_source(tmp_path / "root", "some", images, {1: "1 2 31 32;5 6 35 38"})
    labels, out, look = tmp_path / "labels", tmp_path / "second", AskedAgain()
    label_folder(tmp_path / "root", labels, Asked())
    for _ in range(2):
        assert relabel_folder(tmp_path / "root", labels, out, look) == out
    assert look.sides == [True] * 4
    with np.load(out / "some.npz") as answers:
        assert answers["picture"].tolist() == [f"some_{number:03d}.jpg" for number in (0, 1, 1, 2)]
        assert answers["joints2d"][:, 0].tolist() == [[1, 1], [2, 3], [6, 7], [1, 1]]
    label_folder(tmp_path / "root", labels, Asked(), most=1)
    with pytest.raises(ValueError, match="has not every hand of some: remove it"):
        relabel_folder(tmp_path / "root", labels, tmp_path / "third", look)


def test_a_list_is_read_with_its_boxes(tmp_path):
    write_source(tmp_path, "some", [np.zeros((8, 8, 3), np.uint8)] * 3, {1: "1 2 3 4;5 6 7.5 8"})
    listed = listed_pictures(tmp_path / "some")
    assert [len(one.boxes) for one in listed] == [0, 2, 0] and listed[1].boxes[1].tolist() == [5, 6, 7.5, 8]
    (tmp_path / "some/files.csv").write_text("file,group\na.jpg,b\n")
    with pytest.raises(ValueError, match="is no list of pictures"):
        listed_pictures(tmp_path / "some")


def test_labels_are_needed(tmp_path):
    with pytest.raises(ValueError, match="options.labels"):
        RealHands(tmp_path)


class Asked(Teacher):
    """A teacher that answers each box's corners."""

    def __init__(self):
        self.hands = 0

    def label(self, pictures, box):
        self.hands += len(box)
        joints2d = box[:, None, :2].repeat(1, 21, 1)
        joints = mirror_points(torch.zeros(len(box), 21, 3))
        ones = torch.ones(len(box))
        return TeacherLabels(joints2d, joints, joints2d[..., 0], joints2d[..., 1], ones, ones)


def test_the_teacher_is_asked_about_every_hand_once(tmp_path):
    images = [np.full((40, 60, 3), 40 * number, np.uint8) for number in range(3)]
    write_source(tmp_path / "root", "some", images, {1: "1 2 31 32;5 6 35 38"})
    teacher, out = Asked(), tmp_path / "labels"
    for _ in range(2):
        assert label_folder(tmp_path / "root", out, teacher) == out
    assert teacher.hands == 4
    with np.load(out / "some.npz") as answers:
        assert answers["picture"].tolist() == [f"some_{number:03d}.jpg" for number in (0, 1, 1, 2)]
        assert answers["joints2d"][:, 0].tolist() == [[0, 0], [1, 2], [5, 6], [0, 0]]
        assert (answers["size"] == [60, 40]).all()
    label_folder(tmp_path / "root", out, teacher, most=2)  # the first and the last
    assert teacher.hands == 6 and len(np.load(out / "some.npz")["picture"]) == 2
    with pytest.raises(FileNotFoundError, match="has no <source>/files.csv"):
        label_folder(tmp_path / "labels", out, teacher)
