"""tempohand check-data: exactly the planted rows, each with its reason, however many processes look; a clean
table is clean."""

import json

import cv2
import numpy as np
import pytest
from tests_support import hand_rows, with_depth, write_table

from tempohand import cli
from tempohand.data.check import check_table
from tempohand.data.pictures import decode_depth, encode_depth

PICTURE = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
JPEG, PNG, WIDE = (
    cv2.imencode(end, picture)[1].tobytes()
    for end, picture in ((".jpg", PICTURE), (".png", PICTURE), (".png", PICTURE[:60]))
)


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory):
    """A table with known faults: (split, row) -> reason."""
    splits = {
        "train": [hand_rows("a", 6, 1), hand_rows("b", 6, 2, is_right=False)],
        "val": [hand_rows("c", 4, 3)],
    }
    a, b = splits["train"]
    a[1]["image"] = b"no picture"
    a[2]["image"] = b""
    a[4]["image"] = JPEG[: len(JPEG) * 2 // 3]
    b[0]["image"] = WIDE
    b[3]["joints"] = b[3]["joints"] / 1000
    splits["val"][0][3]["pose"] = np.full(48, np.nan)
    root = write_table(tmp_path_factory.mktemp("spoiled") / "t", splits)
    planted = {
        ("train", 1): "undecodable picture",
        ("train", 2): "undecodable picture",
        ("train", 4): "picture cut off",
        ("train", 6): "picture of another size",
        ("train", 9): "longest_bone",
        ("val", 3): "not_finite",
    }
    return root, planted


@pytest.mark.parametrize("table", ["{root}", "freihand"], ids=["folder", "name"])
def test_a_clean_table_is_clean(table, table_root, capsys, monkeypatch):
    monkeypatch.setenv("TEMPOHAND_FREIHAND", str(table_root))  # what data=freihand is
    cli.main(["check-data", table.format(root=table_root), "--workers", "0"])
    assert "train: 48 rows, val: 18 rows, test: 20 rows; nothing" in capsys.readouterr().out


def test_exactly_the_planted_rows_are_found_and_listed(spoiled, tmp_path, capsys):
    root, planted = spoiled
    with pytest.raises(SystemExit) as leave:
        cli.main(["check-data", str(root), "--workers", "0", "--json", str(tmp_path / "new" / "bad.jsonl")])
    assert leave.value.code == 1
    lines = [json.loads(line) for line in (tmp_path / "new" / "bad.jsonl").read_text().splitlines()]
    assert {(line["split"], line["row"]) for line in lines} == planted.keys()
    assert {(*place, reason) for place, reason in planted.items()} <= {
        (line["split"], line["row"], line["reason"]) for line in lines
    }
    row9 = next(line for line in lines if line["row"] == 9)
    assert (row9["sequence"], row9["frame"], row9["source"]) == ("b", 3, "test")
    out = capsys.readouterr().out
    assert (
        "6 inconsistent or unreadable" in out
        and "its row says 96 x 96" in out
        and "row 9 (b, frame 3)" in out
    )


def test_processes_find_what_one_finds(spoiled):
    root, _ = spoiled
    assert check_table(root, workers=1) == check_table(root, workers=0)


def test_one_split_can_be_checked_alone(spoiled):
    counts, found = check_table(spoiled[0], ["val"], workers=0)
    assert counts == {"val": 4} and {bad.row for bad in found} == {3}


def test_rows_are_numbered_through_shards_and_batches(tmp_path, monkeypatch):
    from tempohand.data import check, table

    monkeypatch.setattr(table, "ROWS_PER_BATCH", 3)
    monkeypatch.setattr(check, "BATCHES_PER_TASK", 2)
    rows = [hand_rows(name, 8, seed) for seed, name in enumerate("ab")]
    rows[0][7]["image"] = rows[1][4]["image"] = b"x"
    root = tmp_path / "t"
    root.mkdir()
    for number, shard in enumerate(rows):
        table.write_shard(root / f"train-{number}.arrow", shard)
    table.write_index(root, {"train": ["train-0.arrow", "train-1.arrow"]}, {})
    counts, found = check_table(root, workers=0)
    assert counts == {"train": 16} and [bad.row for bad in found] == [7, 12]


# Half of the file; some of its last batch; all but the mark of its end.
@pytest.mark.parametrize("lost", [0.5, 0.01, 8])
def test_a_damaged_shard_is_one_line_and_the_rest_is_checked(tmp_path, capsys, lost):
    root = write_table(tmp_path / "t", {"train": [hand_rows("a", 6, 1)], "val": [hand_rows("c", 4, 3)]})
    shard = root / "train-00000.arrow"
    shard.write_bytes(shard.read_bytes()[: -int(lost if lost > 1 else shard.stat().st_size * lost)])
    with pytest.raises(SystemExit) as leave:
        cli.main(["check-data", str(root), "--workers", "0"])
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if "train-00000.arrow" in line]
    assert (
        leave.value.code == 1
        and "damaged shard" in line
        and "prepare the table again" in line
        and "val: 4 rows" in out
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["absent"], "no frame table at 'absent'"),
        (["TABLE", "--split", "trian"], "no split 'trian'"),
        (["TABLE", "--workers", "-1"], "--workers is at least 0, not -1"),
        (["TABLE", "--hand", "absent.pkl"], "absent.pkl"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(table_root, capsys, arguments, says):
    with pytest.raises(SystemExit) as leave:
        cli.main(["check-data", *[str(table_root) if word == "TABLE" else word for word in arguments]])
    assert leave.value.code == 2 and says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "reason", "says"),
    [
        (lambda mm: mm, None, ""),
        (lambda mm: np.where(mm < 890, mm - 120, mm), None, ""),  # something before the hand
        (lambda mm: mm * 0, "depth_measured", "share of the hand's box with a measurement: 0,"),
        (lambda mm: mm / 1000, "depth_unit", "0.5 to 2 times: is it in metres?"),
        (lambda mm: mm * 4, "depth_unit", ": 4, expected 0.5 to 2 times"),
        (
            lambda mm: np.where(mm > 0, 900.0, mm),
            "depth_at_joints",
            "labelled z: 338, expected at most 60 mm",
        ),
    ],
    ids=["as it is", "covered", "all holes", "metres", "another unit", "the wall alone"],
)
def test_depth_that_contradicts_the_labels_is_named(tmp_path, change, reason, says):
    rows = with_depth(hand_rows("a", 3, 1))
    mm = decode_depth(rows[1]["depth"], 96, 96)
    rows[1]["depth"] = encode_depth(change(mm))
    _, found = check_table(write_table(tmp_path / "t", {"train": [rows]}), workers=0)
    assert [(bad.row, bad.reason) for bad in found] == ([(1, reason)] if reason else [])
    assert says in "".join(bad.detail for bad in found)
