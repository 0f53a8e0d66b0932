"""The doctor sees depth that is beside its picture, and depth that contradicts labels; without depth it says
nothing."""

import numpy as np
import pytest
from tests_support import hand_rows, with_depth, write_table

from tempohand.data.pictures import decode_depth, encode_depth
from tempohand.data.table import FrameTable
from tempohand.doctor.depth import check_depth

SIZE = 192


def results(tmp_path, change):
    rows = [with_depth(hand_rows(f"s{seed}", 1, seed, SIZE)) for seed in range(24)]
    for (row,) in rows:
        row["depth"] = encode_depth(change(decode_depth(row["depth"], SIZE, SIZE)))
    return check_depth([FrameTable(write_table(tmp_path / "t", {"train": rows}), "train")])


@pytest.mark.parametrize(
    ("shift", "verdict"), [((0, 0), "ok"), ((0, 27), "FAILED"), ((-30, 6), "FAILED"), ((12, 0), "warning")]
)
def test_an_offset_of_depth_is_measured(tmp_path, shift, verdict):
    _, aligned = results(tmp_path, lambda depth: np.roll(depth, shift, (0, 1)))
    assert aligned.verdict == verdict, aligned
    assert aligned.number == pytest.approx(max(map(abs, shift)), abs=2)
    assert bool(aligned.cause) == (verdict != "ok")


def test_depth_in_metres_is_named(tmp_path):
    agrees, _ = results(tmp_path, lambda depth: depth / 1000)
    assert agrees.verdict == "FAILED" and "is it in metres?" in agrees.cause


def test_pictures_without_depth_are_no_matter(table_root):
    assert check_depth([FrameTable(table_root, "train")]) == []
