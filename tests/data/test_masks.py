"""Masks for tables without any: what GrabCut finds, and what becomes of every row."""

import json
from collections import Counter

import cv2
import numpy as np
import pytest
from tests_support import hand_rows, write_table

from tempohand.cli import main
from tempohand.data.grabcut import THICKNESS, segment
from tempohand.data.masks import make_masks
from tempohand.data.pictures import encode_mask
from tempohand.data.table import COLUMNS, FrameTable, read_index
from tempohand.skeleton import BONES

ALL = np.ones(21, bool)


def drawn(size: int = 200, scale: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A hand of thick strokes, of another colour than the background: picture, joints, true mask."""
    rng = np.random.default_rng(seed)
    row = hand_rows("a", 1, 3)[0]
    joints = row["joints2d"] - row["joints2d"].mean(0)
    joints = joints / np.ptp(joints, axis=0).max() * size * 0.42 * scale + size / 2
    mask = np.zeros((size, size), np.uint8)
    for a, b in BONES:
        ends = (tuple(int(v) for v in np.rint(joints[k])) for k in (a, b))
        cv2.line(mask, *ends, 1, max(int(0.11 * size * 0.42 * scale), 1))
    picture = rng.normal((60, 90, 120), 12, (size, size, 3))
    picture[mask > 0] = rng.normal((205, 150, 120), 12, (int(mask.sum()), 3))
    return np.clip(picture, 0, 255).astype(np.uint8), joints, mask > 0


def before_skin() -> tuple[np.ndarray, np.ndarray]:
    """A hand before something of its own colour: picture, joints."""
    picture, joints, true = drawn()
    blob = cv2.dilate(true.astype(np.uint8), np.ones((25, 25), np.uint8)) > 0
    picture[blob] = np.random.default_rng(0).normal((205, 150, 120), 12, (int(blob.sum()), 3)).clip(0, 255)
    return picture, joints


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize(("size", "scale"), [(200, 1.0), (500, 0.6), (90, 1.0), (200, 1.6)])
def test_a_hand_is_found_at_any_size(size, scale):
    picture, joints, true = drawn(size, scale)
    found = segment(picture, joints, ALL)
    assert found.mask.shape == picture.shape[:2] and found.plausible
    assert iou(found.mask, true) > 0.85


def test_the_mask_moves_with_the_picture_and_is_the_same_again():
    picture, joints, _ = drawn()
    found = segment(picture, joints, ALL).mask
    assert (segment(picture, joints, ALL).mask == found).all()
    shifted = segment(np.roll(picture, (7, -9), (0, 1)), joints + (-9, 7), ALL).mask
    assert iou(shifted, np.roll(found, (7, -9), (0, 1))) > 0.97
    mirrored = segment(np.ascontiguousarray(picture[:, ::-1]), (199, 0) + joints * (-1, 1), ALL).mask
    assert iou(mirrored, found[:, ::-1]) > 0.95


def test_what_is_far_from_the_skeleton_is_never_hand():
    picture, joints, true = drawn()
    picture[:40] = picture[true].mean(0)  # a bar of the hand's own colour along the edge
    found = segment(picture, joints, ALL).mask
    assert not found[:20].any() and found[true].mean() > 0.9


def test_few_joints_are_no_hand_and_some_are_enough():
    picture, joints, _ = drawn()
    known = np.zeros(21, bool)
    assert segment(picture, joints, known) is None
    known[:4] = True  # three bones
    assert segment(picture, joints, known) is None
    known[:13] = True
    assert segment(picture, np.where(known[:, None], joints, 1e9), known).mask.any()


def test_what_is_not_told_from_the_hand_is_implausible():
    picture, joints = before_skin()
    assert segment(picture, joints, ALL).thickness > THICKNESS[1]
    assert not segment(picture, joints, ALL).plausible


def _rows(sequence: str, count: int) -> list[dict]:
    picture, joints, _ = drawn()
    rows = hand_rows(sequence, count, 3)
    data = cv2.imencode(".png", picture[..., ::-1])[1].tobytes()
    box = np.concatenate([joints.min(0), joints.max(0)])
    return [
        row | {"image": data, "width": 200, "height": 200, "joints2d": joints, "box": box} for row in rows
    ]


@pytest.fixture
def table(tmp_path):
    """Two splits: rows with a mask, without, with few joints, implausible and damaged."""
    train, test = _rows("a", 3), _rows("b", 2)
    train[0]["mask"] = encode_mask(np.eye(200, dtype=bool))
    train[1]["joints2d_mask"] = np.zeros(21, bool)
    test[0]["image"] = cv2.imencode(".png", before_skin()[0][..., ::-1])[1].tobytes()
    test[1] |= {"image": test[1]["image"][:200]}
    return write_table(tmp_path / "table", {"train": [train], "test": [test]})


def test_every_row_of_every_split_is_accounted_for(table, tmp_path):
    out, counts = make_masks(table, workers=1)
    assert out == tmp_path / "table-masks"
    expected = {"had one": 1, "made": 1, "implausible": 1, "fewer than 4 bones known in 2D": 1}
    assert counts.total() == 5 and dict(counts) | expected == dict(counts)
    old, new = FrameTable(table, "train"), FrameTable(out, "train")
    assert (new.mask(0) == np.eye(200, dtype=bool)).all() and new.mask(1) is None
    assert iou(new.mask(2), drawn()[2]) > 0.85
    for name in set(COLUMNS) - {"mask", "image", "depth"}:
        assert np.array_equal(old.column(name), new.column(name), equal_nan=name == "hidden")
    assert [old.image_bytes(row) for row in range(3)] == [new.image_bytes(row) for row in range(3)]
    listed = [json.loads(line) for line in (out / "masks.jsonl").read_text().splitlines()]
    assert [(one["sequence"], one["frame"]) for one in listed] == [("a", 1), ("b", 0), ("b", 1)]
    assert Counter(read_index(out)["about"]["masks"]) == counts and not list(out.glob("*.masks.json"))


def test_an_interrupted_run_goes_on_and_a_finished_one_does_nothing(table):
    out, counts = make_masks(table, workers=1)
    whole = {path.name: path.read_bytes() for path in out.iterdir()}
    assert make_masks(table, workers=1) == (out, counts)
    (out / "table.json").unlink()
    (out / "test-00000.arrow").unlink()
    report = [("a", 0, "had one"), ("a", 1, "fewer than 4 bones known in 2D"), ("a", 2, "made")]
    (out / "train-00000.masks.json").write_text(json.dumps(report))
    before = (out / "train-00000.arrow").stat().st_mtime_ns
    assert make_masks(table, workers=1) == (out, counts)
    assert (out / "train-00000.arrow").stat().st_mtime_ns == before
    assert {path.name: path.read_bytes() for path in out.iterdir()} == whole


def test_mistakes_are_one_line(table, tmp_path, capsys):
    def said(*arguments: str) -> str:
        with pytest.raises(SystemExit):
            main(["masks", *arguments])
        return capsys.readouterr().err.strip().splitlines()[-1]

    assert "no frame table" in said(str(tmp_path / "nothing"))
    assert "is the table itself" in said(str(table), "--out", str(table))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("precious")
    line = said(str(table), "--out", str(tmp_path / "full"), "--workers", "1")
    assert "not empty: choose another --out" in line
    assert "--workers=0" in said(str(table), "--workers", "0")
