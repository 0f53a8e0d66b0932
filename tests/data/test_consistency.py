"""Measurements of rows: nothing is held against exact labels, whatever is masked; each planted inconsistency
is named, in its row alone."""

import numpy as np
import pytest
from tests_support import hand_rows, write_table

from tempohand.data.consistency import BOUNDS, HandModels, describe, faults, measure
from tempohand.data.table import FrameTable


@pytest.fixture(scope="module")
def hands():
    return HandModels()


@pytest.fixture
def labels(table_root):
    """Both sides."""
    table = FrameTable(table_root, "train")
    return {name: value.copy() for name, value in table.labels(np.arange(0, len(table), 4)).items()}


def test_exact_labels_have_no_fault_and_no_residual(labels, hands):
    measures = measure(labels, hands)
    assert measures.keys() == BOUNDS.keys() and not labels["is_right"].all() and labels["is_right"].any()
    assert faults(measures) == [[]] * len(labels["box"])
    assert (
        measures["reprojection"].max() < 1e-5
        and measures["pose"].max() < 0.01
        and measures["wrist"].max() < 0.01
    )


@pytest.mark.parametrize("anything", [np.nan, np.inf, 1e6, 0.0])
def test_what_is_masked_may_hold_anything(labels, hands, anything):
    for mask, names in (
        ("joints_mask", ["joints"]),
        ("joints2d_mask", ["joints2d"]),
        ("has_hand", ["pose", "shape", "trans"]),
    ):
        labels[mask][...] = False
        for name in names:
            labels[name][...] = anything
    labels["has_camera"][...] = False
    labels["focal"][...] = 1e7  # a guess, but one to divide by
    measures = measure(labels, hands)
    assert (
        not any(faults(measures))
        and np.isnan(measures["reprojection"]).all()
        and np.isnan(measures["pose"]).all()
    )


def test_some_unknown_joints_leave_the_others_to_be_measured(labels, hands):
    labels["joints_mask"][:, 5:9] = labels["joints2d_mask"][:, 7:12] = False
    labels["joints"][:, 5:9], labels["joints2d"][:, 7:12] = np.nan, 1e4
    assert not any(faults(measure(labels, hands)))
    labels["joints"][2, 3] += 200
    assert [bool(row) for row in faults(measure(labels, hands))] == [
        number == 2 for number in range(len(labels["box"]))
    ]


def stretch(labels, name, row, factor):
    labels[name][row] = labels[name][row] * factor


PLANTED = {
    "not_finite": lambda labels, row: labels["joints"].__setitem__((row, 3), np.nan),
    "picture_size": lambda labels, row: labels["height"].__setitem__(row, 0),
    "box_side": lambda labels, row: labels["box"].__setitem__((row, 2), labels["box"][row, 0]),
    "box_misses": lambda labels, row: labels["box"].__setitem__(row, labels["box"][row] + 200),
    "box_too_large": lambda labels, row: labels["box"].__setitem__(row, [-500, -500, 600, 600]),
    "focal": lambda labels, row: labels["focal"].__setitem__(row, 0),
    "focal_ratio": lambda labels, row: labels["focal"].__setitem__((row, 1), 1000),
    "depth": lambda labels, row: stretch(labels, "joints", row, [1, -1, -1]),
    "shortest_bone": lambda labels, row: stretch(labels, "joints", row, 0.001),
    "longest_bone": lambda labels, row: labels["joints"].__setitem__(
        (row, 12), labels["joints"][row, 12] + 200
    ),
    "reprojection": lambda labels, row: labels["joints2d"].__setitem__(row, labels["joints2d"][row] + 10),
    "wrist": lambda labels, row: labels["trans"].__setitem__(row, labels["trans"][row] + 30),
    "pose": lambda labels, row: labels["pose"].__setitem__(
        (row, slice(3, None)), labels["pose"][row, 3:] + 0.8
    ),
}


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("row", [1, -2], ids=["right", "left"])
def test_a_planted_inconsistency_is_named_in_its_row(labels, hands, name, row):
    PLANTED[name](labels, row)
    found = faults(measure(labels, hands))
    assert name in found[row]
    found[row] = []
    assert not any(found)


@pytest.mark.parametrize(
    "name", ["joints", "joints2d", "pose", "shape", "trans", "focal", "princpt", "box", "time"]
)
def test_a_value_that_is_not_finite_is_found_in_every_column(labels, name):
    labels[name].reshape(len(labels[name]), -1)[3, -1] = np.nan
    labels[name].reshape(len(labels[name]), -1)[4, 0] = np.inf
    assert ["not_finite" in found for found in faults(measure(labels))] == [
        row in (3, 4) for row in range(len(labels["box"]))
    ]


def test_a_hand_of_another_model_differs_in_every_row(labels, hands):
    labels["shape"] += 4.0
    assert all("pose" in row for row in faults(measure(labels, hands)))


def test_faults_are_told_in_words(labels):
    labels["joints"] /= 1000
    value = float(measure(labels)["longest_bone"][0])
    assert describe("longest_bone", value).startswith("the longest bone: 0.0") and "5 to 150 mm" in describe(
        "longest_bone", value
    )


def test_unreadable_rows_do_not_disturb_others(tmp_path, hands):
    rows = hand_rows("a", 3, seed=1)
    rows[1] = {
        name: np.full_like(value, np.nan) if getattr(value, "dtype", None) == np.float32 else value
        for name, value in rows[1].items()
    }
    table = FrameTable(write_table(tmp_path / "t", {"train": [rows]}), "train")
    found = faults(measure(table.labels(np.arange(3)), hands))
    assert found[1] and not found[0] and not found[2]


def test_one_joint_alone_has_no_extent_to_be_measured_against(labels, hands):
    """HO-3D's evaluation rows: the wrist is all that is known, and its stored 2D is rounded."""
    alone = labels | {
        name: np.arange(21) == np.zeros((len(labels["box"]), 1)) for name in ("joints_mask", "joints2d_mask")
    }
    alone["joints2d"] = alone["joints2d"] + np.float32(1e-4)
    assert np.isnan(measure(alone, hands)["reprojection"]).all() and not any(faults(measure(alone, hands)))
