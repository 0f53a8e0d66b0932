import cv2
import numpy as np
import pytest
from pyarrow import ipc
from tests_support import hand_rows, with_depth, write_table

from tempohand.data.bad_rows import LeftOut
from tempohand.data.check import check_table
from tempohand.data.loader import ClipDataset
from tempohand.data.pictures import encode_depth, encode_mask
from tempohand.data.table import (
    COLUMNS,
    END_OF_STREAM,
    SCHEMA,
    FrameTable,
    read_index,
    write_index,
    write_shard,
)
from tempohand.data.view import View


def test_rows_come_back_as_written(tmp_path):
    rows = hand_rows("a", 5, seed=1) + hand_rows("b", 3, seed=2)
    table = FrameTable(write_table(tmp_path / "t", {"train": [rows]}), "train")
    assert len(table) == 8
    labels = table.labels(np.array([6, 0]))
    for name, (_, shape) in COLUMNS.items():
        if name in labels:
            assert labels[name].shape == (2, *shape)
            np.testing.assert_allclose(labels[name][0], np.asarray(rows[6][name]).reshape(shape), rtol=1e-6)
    assert labels["time"].dtype == np.float64
    assert table.image(3).shape == (96, 96, 3)
    assert table.image_bytes(3) == rows[3]["image"]
    assert table.sequence_starts().tolist() == [0, 0, 0, 0, 0, 5, 5, 5]


def test_sequences_of_one_recording_are_known_and_other_tables_recordings_are_others(tmp_path):
    def film(*names):
        return [
            [{**row, "recording": name.split("/")[0]} for row in hand_rows(name, 2, seed=1)] for name in names
        ]

    two = [write_table(tmp_path / name, {"train": film("b/left", "a/left", "b/right")}) for name in "xy"]
    one, other = (FrameTable(root, "train") for root in two)
    assert one.knows_recordings and one.recordings().tolist() == [0, 0, 1, 1, 0, 0]
    assert FrameTable.joined([one, other], "both").recordings().tolist() == [
        0,
        0,
        1,
        1,
        0,
        0,
        2,
        2,
        3,
        3,
        2,
        2,
    ]


def test_a_table_from_before_recordings_is_read_with_each_sequence_as_one(tmp_path):
    root = write_table(tmp_path / "old", {"train": [hand_rows("a", 2, seed=1), hand_rows("b", 1, seed=2)]})
    shard = root / "train-00000.arrow"
    with ipc.open_stream(shard.read_bytes()) as stream:
        rows = stream.read_all().drop_columns(["recording"])
    with open(shard, "wb") as file, ipc.new_stream(file, rows.schema) as stream:
        stream.write_table(rows)
    old, new = (
        FrameTable(root, "train"),
        FrameTable(write_table(tmp_path / "new", {"train": [hand_rows("c", 2, seed=1)]}), "train"),
    )
    assert (
        not old.knows_recordings
        and old.column("recording").tolist() == ["a", "a", "b"]
        and old.recordings().tolist() == [0, 0, 1]
    )
    assert old.about_row(2) == {"source": "test", "sequence": "b", "frame": 0} and old.image(2).shape == (
        96,
        96,
        3,
    )
    both = FrameTable.joined([old, new], "both")
    assert not both.knows_recordings and both.recordings().tolist() == [0, 0, 1, 2, 2]
    assert check_table(root)[1] == []


def test_depth_and_mask_come_back_as_written_and_rows_may_lack_them(tmp_path):
    rows = hand_rows("a", 3, seed=1)
    rng = np.random.default_rng(0)
    depth, mask = rng.uniform(200, 5000, (96, 96)), rng.random((96, 96)) < 0.5
    depth[0, :5] = 0, -3, np.nan, 16400, np.inf  # none of these is a measurement
    rows[1] |= {"depth": encode_depth(depth), "mask": encode_mask(mask)}
    rows[2] |= {"depth": None, "mask": None}
    table = FrameTable(write_table(tmp_path / "t", {"train": [rows]}), "train")
    assert table.inputs == {"image", "depth", "mask"}
    known = np.ones_like(mask)
    known[0, :5] = False
    assert np.abs(table.depth(1) - depth)[known].max() <= 0.126 and not table.depth(1)[~known].any()
    np.testing.assert_array_equal(table.mask(1), mask)
    assert [table.depth(row) for row in (0, 2)] == [table.mask(row) for row in (0, 2)] == [None, None]
    assert encode_mask(mask)[24] == 1  # bits a pixel, by the PNG's header


def test_a_table_from_before_depth_is_read_and_joins_one_with_it(tmp_path):
    root = write_table(tmp_path / "old", {"train": [hand_rows("a", 2, seed=1)]})
    shard = root / "train-00000.arrow"
    with ipc.open_stream(shard.read_bytes()) as stream:
        rows = stream.read_all().drop_columns(["depth", "mask"])
    with open(shard, "wb") as file, ipc.new_stream(file, rows.schema) as stream:
        stream.write_table(rows)
    old = FrameTable(root, "train")
    new = FrameTable(
        write_table(tmp_path / "new", {"train": [with_depth(hand_rows("b", 2, seed=1))]}), "train"
    )
    assert old.inputs == {"image"} and old.depth(0) is None and old.image(1).shape == (96, 96, 3)
    both = FrameTable.joined([old, new], "both")
    assert both.inputs == {"image", "depth", "mask"} and both.depth(1) is None
    np.testing.assert_array_equal(both.depth(3), new.depth(1))
    assert check_table(root)[1] == []


@pytest.mark.parametrize(
    ("column", "data", "message"),
    [
        ("depth", encode_depth(np.full((96, 90), 500.0)), "of another size .* its depth is 90 x 96 px"),
        ("depth", cv2.imencode(".png", np.zeros((96, 96), np.uint8))[1].tobytes(), "1 x 8 bits, not one"),
        ("depth", encode_depth(np.full((96, 96), 500.0))[:-20], "picture cut off .* of its depth lack"),
        ("depth", b"", "undecodable picture .* of its depth do not decode"),
        ("mask", encode_mask(np.ones((90, 96), bool)), "of another size .* its mask is 96 x 90 px"),
        ("mask", cv2.imencode(".png", np.zeros((96, 96, 3), np.uint8))[1].tobytes(), "3 x 8 bits, not one"),
    ],
)
def test_bad_depth_and_bad_masks_are_named_and_left_out(tmp_path, column, data, message):
    rows = with_depth(hand_rows("a", 2, seed=1))
    rows[1][column] = data
    root = write_table(tmp_path / "t", {"train": [rows]})
    table = FrameTable(root, "train")
    with pytest.raises(ValueError, match=message) as caught:
        getattr(table, column)(1)
    assert "row 1 (sequence a)" in str(caught.value) and "\n" not in str(caught.value)
    dataset = ClipDataset(table, View(64), 1, inputs=("image", column))
    assert isinstance(dataset.clip(1), LeftOut) and not isinstance(dataset.clip(0), LeftOut)
    (bad,) = check_table(root, workers=0)[1]
    assert bad.row == 1 and bad.detail in str(caught.value)


def test_pictures_are_rgb(tmp_path):
    rows = hand_rows("a", 1, seed=1)  # joints are drawn red (255, 12 k, 60)
    picture = FrameTable(write_table(tmp_path / "t", {"train": [rows]}), "train").image(0)
    u, v = np.round(rows[0]["joints2d"][4]).astype(int)
    assert picture[v, u, 0] == 255 and picture[v, u, 2] == 60


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda root: (root / "table.json").unlink(), "make one with tempohand prepare"),
        (lambda root: (root / "train-00000.arrow").unlink(), "lacks its shard 'train-00000.arrow'"),
        (lambda root: write_index(root, {"val": []}, {}), "has no split 'train'"),
        (lambda root: write_index(root, {"train": []}, {}), "is empty"),
        (lambda root: (root / "table.json").write_text('{"format": 99, "splits": {}}'), "has format 99"),
    ],
)
def test_a_bad_table_is_told_of_in_one_line(tmp_path, spoil, message):
    root = write_table(tmp_path / "t", {"train": [hand_rows("a", 2, seed=1)]})
    spoil(root)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        FrameTable(root, "train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 7, 0.3, 0.9, -8, "a whole batch", "without its middle"])
def test_a_truncated_shard_is_one_clear_line_at_start(tmp_path, kept):
    """Also where it was cut between two batches, and would open as a shorter table."""
    root = write_table(tmp_path / "t", {"train": [hand_rows("a", 300, seed=1)]})
    shard = root / "train-00000.arrow"
    data = shard.read_bytes()
    if kept == "a whole batch":
        with (
            open(root / "first.arrow", "wb") as file,
            ipc.new_stream(file, SCHEMA) as stream,
            ipc.open_stream(data) as whole,
        ):
            stream.write_batch(next(whole))
        cut = (root / "first.arrow").read_bytes()[: -len(END_OF_STREAM)]
        assert data.startswith(cut) and ipc.open_stream(cut).read_all().num_rows == 256  # it can be read
    elif kept == "without its middle":
        cut = data[: len(data) // 2] + data[-8:]
    else:
        cut = data[: int(kept * len(data)) if isinstance(kept, float) else kept]
    shard.write_bytes(cut)
    with pytest.raises(ValueError, match=r"train-00000.arrow' is damaged \(.*\): copy it again") as caught:
        FrameTable(root, "train")
    assert "\n" not in str(caught.value)


def test_a_row_with_a_wrong_shape_is_named_and_leaves_no_shard(tmp_path):
    row = hand_rows("a", 1, seed=1)[0]
    with pytest.raises(ValueError, match=r"column 'pose' of sequence a has shape \(45,\), expected \(48,\)"):
        write_shard(tmp_path / "x.arrow", [{**row, "pose": np.zeros(45)}])
    assert not (tmp_path / "x.arrow").exists()


def test_an_undecodable_picture_is_named(tmp_path):
    rows = hand_rows("a", 2, seed=1)
    rows[1]["image"] = b"not a picture"
    table = FrameTable(write_table(tmp_path / "t", {"train": [rows]}), "train")
    with pytest.raises(ValueError, match=r"row 1 \(sequence a\)"):
        table.image(1)


def test_index_says_what_made_the_table(table_root):
    assert read_index(table_root)["about"] == {"made_by": "tests"}
