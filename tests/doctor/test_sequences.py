"""Planted faults of time and splits, in tables on disk."""

import numpy as np
import pytest
from tests_support import write_table

from tempohand.data.table import FrameTable
from tempohand.doctor.sequences import check_sequences, check_time

ASCENDS, RATE, DISJOINT = "time ascends", "frame rate", "splits are disjoint"


def examine(root, num_frame=7):
    return {
        result.check: result
        for result in check_sequences(FrameTable(root, "train"), FrameTable(root, "val"), num_frame)
    }


@pytest.mark.parametrize(
    ("mistake", "check", "cause"),
    [
        (lambda row: {"time": (row["frame"] * 7 % 11) / 30}, ASCENDS, "sort each sequence's rows by time"),
        (lambda row: {"time": 0.0}, ASCENDS, "every frame has the same time"),
        (lambda row: {"time": row["time"] * 1000}, RATE, "Likely milliseconds. Remedy: divide time by 1000"),
        (lambda row: {"time": 1.7e18 + row["time"] * 1e9}, RATE, "Likely nanoseconds"),
        (lambda row: {"time": float(row["frame"])}, RATE, "Likely frame numbers"),
    ],
    ids=["shuffled", "all zero", "milliseconds", "nanoseconds", "frame numbers"],
)
def test_a_planted_fault_of_time_is_named(planted, mistake, check, cause):
    root = planted(mistake)
    results = examine(root)
    assert results[check].verdict == "FAILED" and cause in results[check].cause
    assert examine(root, num_frame=1)[check].verdict == "warning"  # Stage 1 looks at single frames


def test_single_frames_have_no_time_to_judge():
    assert all(result.verdict == "ok" for result in check_time(np.zeros(0), 1))


def test_a_sequence_in_both_splits_is_named(film, tmp_path):
    result = examine(write_table(tmp_path / "t", {"train": film["train"], "val": [film["train"][2]]}))[
        DISJOINT
    ]
    assert (
        result.verdict == "FAILED"
        and "synthetic-train-000002" in result.cause
        and "1 sequences and 11 frames" in result.value
    )


def test_frames_in_both_splits_are_found_under_another_name(film, tmp_path):
    renamed = [{**row, "sequence": "renamed", "recording": "renamed"} for row in film["train"][2][3:8]]
    result = examine(write_table(tmp_path / "t", {"train": film["train"], "val": [renamed]}))[DISJOINT]
    assert result.verdict == "FAILED" and "0 sequences and 5 frames" in result.value


def test_cameras_of_one_recording_on_both_sides_are_a_warning(film, tmp_path):
    def camera(rows, name, shift):
        return [
            {**row, "sequence": f"r/{name}", "recording": "r", "joints2d": row["joints2d"] + shift}
            for row in rows
        ]

    splits = {
        "train": [*film["train"][:2], camera(film["train"][2], "a", 0)],
        "val": [camera(film["train"][2], "b", 1)],
    }
    result = examine(write_table(tmp_path / "t", splits))[DISJOINT]
    assert (
        result.verdict == "warning"
        and "1 recordings in both" in result.value
        and "split by recording" in result.cause
    )
    assert (
        examine(write_table(tmp_path / "u", {"train": film["train"][:2], "val": film["val"]}))[
            DISJOINT
        ].verdict
        == "ok"
    )


def test_what_is_not_known_of_hiding_is_said(planted):
    results = examine(planted(lambda row: {"hidden": np.nan}))
    assert (
        results["hidden share known"].verdict == "ok"
        and "nothing to say" in results["hidden share known"].value
    )
    assert results["sides"].verdict == "ok"
