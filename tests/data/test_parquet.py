"""Tables as Parquet: another program reads every value, and what it writes is a table again."""

import shutil
from pathlib import Path

import duckdb
import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from tempohand import cli
from tempohand.data.parquet import from_parquet, to_parquet
from tempohand.data.table import COLUMNS, FrameTable, fingerprint


def assert_same_rows(one: FrameTable, other: FrameTable) -> None:
    assert len(one) == len(other)
    for name in set(COLUMNS) - {"image", "depth", "mask"}:
        np.testing.assert_array_equal(one.column(name), other.column(name))
    for row in range(len(one)):
        assert one.image_bytes(row) == other.image_bytes(row)


def test_duckdb_reads_every_row_and_value(table_root, tmp_path, capsys):
    cli.main(["table", "to-parquet", str(table_root), str(tmp_path / "out")])
    table = FrameTable(table_root, "train")
    assert f"{len(table):9,}  train" in capsys.readouterr().out
    files = f"'{tmp_path}/out/**/*.parquet'"
    counts = duckdb.sql(f"SELECT split, count(*) FROM {files} GROUP BY split").fetchall()
    assert dict(counts) == {name: len(FrameTable(table_root, name)) for name in ("train", "val", "test")}
    columns = "image, joints, is_right, sequence, frame, time"
    order = "ORDER BY sequence, frame"
    rows = duckdb.sql(f"SELECT {columns} FROM {files} WHERE split = 'train' {order}").fetchall()
    for row, (image, joints, is_right, sequence, frame, time) in enumerate(rows):
        assert image == table.image_bytes(row)
        np.testing.assert_array_equal(np.float32(joints).reshape(21, 3), table.column("joints")[row])
        about = table.about_row(row)
        assert (sequence, frame) == (about["sequence"], about["frame"])
        assert (is_right, time) == (table.column("is_right")[row], table.column("time")[row])


def test_there_and_back_is_the_same_table(table_root, tmp_path):
    counts = to_parquet(table_root, tmp_path / "parquet")
    assert from_parquet(tmp_path / "parquet", tmp_path / "back") == counts
    for split in counts:
        assert_same_rows(FrameTable(table_root, split), FrameTable(tmp_path / "back", split))
    assert FrameTable(tmp_path / "back", "train").about == FrameTable(table_root, "train").about


def test_what_duckdb_has_chosen_is_a_table(table_root, tmp_path):
    to_parquet(table_root, tmp_path / "parquet")
    (tmp_path / "chosen/split=train").mkdir(parents=True)
    shutil.copy(tmp_path / "parquet/about.json", tmp_path / "chosen")
    source, target = f"{tmp_path}/parquet/split=train/*.parquet", f"{tmp_path}/chosen/split=train/0.parquet"
    choice = f"SELECT * EXCLUDE (split) FROM '{source}' WHERE is_right"
    duckdb.sql(f"COPY ({choice} ORDER BY sequence, time) TO '{target}'")
    assert from_parquet(tmp_path / "chosen", tmp_path / "table")["train"] == 3 * 12
    whole, chosen = FrameTable(table_root, "train"), FrameTable(tmp_path / "table", "train")
    kept = np.flatnonzero(whole.column("is_right"))
    np.testing.assert_array_equal(chosen.column("pose"), whole.column("pose")[kept])
    assert chosen.image_bytes(5) == whole.image_bytes(int(kept[5]))

    for order in ("time, sequence", "sequence, time DESC"):
        duckdb.sql(f"COPY ({choice} ORDER BY {order}) TO '{target}'")
        with pytest.raises(ValueError, match="ORDER BY sequence, time"):
            from_parquet(tmp_path / "chosen", tmp_path / "mixed")
    duckdb.sql(f"COPY (SELECT sequence, time FROM '{source}') TO '{target}'")
    with pytest.raises(ValueError, match="has not the columns of a frame table"):
        from_parquet(tmp_path / "chosen", tmp_path / "few")
    assert not (tmp_path / "mixed").exists() and not (tmp_path / "few").exists()
    with pytest.raises(ValueError, match="is there already"):
        from_parquet(tmp_path / "chosen", tmp_path / "table")
    with pytest.raises(FileNotFoundError, match="has no split=<name> folders"):
        from_parquet(tmp_path, tmp_path / "none")


def test_a_table_at_an_address_is_written_with_its_pictures(table_root, tmp_path):
    system = fsspec.filesystem("memory")
    for file in filter(Path.is_file, table_root.iterdir()):  # beside it may lie tokens
        system.pipe_file(f"/parquet-table/{file.name}", file.read_bytes())
    to_parquet("memory://parquet-table", tmp_path / "out")
    system.rm("/parquet-table", recursive=True)
    images = pq.read_table(tmp_path / "out" / "split=test", columns=["image"])["image"].to_pylist()
    table = FrameTable(table_root, "test")
    assert images == [table.image_bytes(row) for row in range(len(table))]
    assert fingerprint(table_root)
