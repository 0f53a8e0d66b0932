"""RHD: a folder of its own format, made of the open hand, comes back as it was made."""

import json
import pickle

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

from tempohand.data.convert.rows import Storage
from tempohand.data.table import read_index

EDGE = 320
FROM_OP = [
    0,
    4,
    3,
    2,
    1,
    8,
    7,
    6,
    5,
    12,
    11,
    10,
    9,
    16,
    15,
    14,
    13,
    20,
    19,
    18,
    17,
]  # the wrist, then tip to base, thumb to pinky
MATRIX = camera_matrix(EDGE, EDGE, 380)


def entry(hands, seen):
    uv = np.concatenate([hand.project(MATRIX)[FROM_OP] for hand in hands])
    return {
        "uv_vis": np.column_stack([uv, np.repeat(seen, 21)]),
        "xyz": np.concatenate([hand.joints[FROM_OP] / 1000 for hand in hands]),
        "K": MATRIX,
    }


@pytest.fixture
def folder(tmp_path):
    """Three training pictures and two of the evaluation; of each a left and a right hand."""
    truth = {}
    for split, numbers in {"training": range(3), "evaluation": range(2)}.items():
        truth[split] = [
            [true_hand(seed, is_right=side, wrist=(80 if side else -80, 0, 600)) for side in (False, True)]
            for seed in numbers
        ]
        for number, hands in enumerate(truth[split]):
            write_picture(
                tmp_path / f"rhd/{split}/color/{number:05d}.png", picture(hands, MATRIX, EDGE, EDGE)
            )
        save(
            tmp_path / "rhd",
            split,
            {number: entry(hands, (1, 1)) for number, hands in enumerate(truth[split])},
        )
    return tmp_path / "rhd", truth


def save(root, split, entries):
    (root / split / f"anno_{split}.pickle").write_bytes(pickle.dumps(entries, protocol=2))


def test_both_hands_of_every_picture_come_as_they_are(folder, tmp_path):
    root, truth = folder
    table = convert_here("rhd", root, tmp_path / "table")
    for split, pictures in truth.items():
        found = rows(table, split)
        assert len(found) == 2 * len(pictures)
        for number, hands in enumerate(pictures):
            for hand, side in zip(hands, ("left", "right")):
                assert_same_hand(found[f"{split}/{number:05d}/{side}", number], hand, parameters=False)
            assert recordings(table, split)[f"{split}/{number:05d}"] == {
                f"{split}/{number:05d}/{side}" for side in ("left", "right")
            }
    assert read_index(table)["about"]["rejected"] == {}


def test_a_hand_that_nearly_nothing_shows_is_no_row_and_hidden_joints_stay_labels(folder, tmp_path):
    root, truth = folder
    entries = [entry(hands, (1, 1)) for hands in truth["evaluation"]]
    entries[0]["uv_vis"][4:21, 2] = 0  # the left hand: four joints are seen
    entries[1]["uv_vis"][26:42, 2] = 0  # the right hand: five
    save(root, "evaluation", dict(enumerate(entries)))
    found = rows(convert_here("rhd", root, tmp_path / "table", storage=Storage(crop=False)), "evaluation")
    assert sorted(found) == [
        ("evaluation/00000/right", 0),
        ("evaluation/00001/left", 1),
        ("evaluation/00001/right", 1),
    ]
    assert_same_hand(found["evaluation/00001/right", 1], truth["evaluation"][1][1], parameters=False)


def test_damage_costs_its_pictures_alone(folder, tmp_path):
    root, truth = folder
    path = root / "training/color/00000.png"
    path.write_bytes(path.read_bytes()[:700])
    (root / "training/color/00001.png").unlink()
    entries = {number: entry(hands, (1, 1)) for number, hands in enumerate(truth["evaluation"])}
    entries[0]["xyz"] = entries[0]["xyz"][:41]
    save(root, "evaluation", entries | {7: {"uv_vis": None}})
    table = convert_here("rhd", root, tmp_path / "table")
    assert {number for _, number in rows(table, "training")} == {2} and {
        number for _, number in rows(table, "evaluation")
    } == {1}
    listed = [json.loads(line) for line in (table / "rejected.jsonl").read_text().splitlines()]
    assert sorted((one["number"], one["reason"]) for one in listed) == [
        (0, "damaged annotation"),
        (0, "picture damaged"),
        (1, "picture missing"),
        (7, "damaged annotation"),
    ]


def test_other_folders_and_damaged_or_unsafe_pickles_are_refused_in_one_line(folder, tmp_path):
    root, _ = folder
    with pytest.raises(FileNotFoundError, match="unpack RHD_v1-1.zip"):
        convert_here("rhd", tmp_path, tmp_path / "table")
    path = root / "training/anno_training.pickle"
    cut = path.read_bytes()[:100]
    for content, message in (
        (cut, "anno_training.pickle"),
        (pickle.dumps(print), "print"),
        (pickle.dumps([]), "is not what RHD"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            convert_here("rhd", root, tmp_path / "table")
