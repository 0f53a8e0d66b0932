"""A table at an address gives what it gives in its folder, and reads no picture that nobody asks for."""

import sys
from pathlib import Path

import fsspec
import numpy as np
import pytest
from tests_support import hand_rows, write_table

from tempohand.console import describe
from tempohand.data import remote_shards
from tempohand.data.addresses import Address, on_disk, place
from tempohand.data.check import check_table
from tempohand.data.parallel_jobs import claim
from tempohand.data.pictures import encode_mask
from tempohand.data.table import COLUMNS, ROWS_PER_BATCH, FrameTable, fingerprint


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/", recursive=True)


def uploaded(system, root: Path, name: str = "table") -> str:
    """The address of a copy of a table."""
    for file in root.iterdir():
        system.pipe_file(f"/{name}/{file.name}", file.read_bytes())
    return f"memory://{name}"


@pytest.fixture
def big(tmp_path):
    """A table whose shards have several record batches, and masks in some rows."""
    rows = hand_rows("train-0", ROWS_PER_BATCH + 9, 1)
    for row in rows[::3]:
        row["mask"] = encode_mask(np.ones((row["height"], row["width"]), bool))
    return write_table(tmp_path / "big", {"train": [rows, hand_rows("train-1", 5, 2)]})


def test_an_address_gives_the_same_rows(big, memory):
    near, far = FrameTable(big, "train"), FrameTable(uploaded(memory, big), "train")
    assert len(near) == len(far) > ROWS_PER_BATCH and near.inputs == far.inputs == {"image", "mask"}
    for name in set(COLUMNS) - {"image", "depth", "mask"}:
        np.testing.assert_array_equal(near.column(name), far.column(name))
    for row in (0, 1, ROWS_PER_BATCH - 1, ROWS_PER_BATCH, ROWS_PER_BATCH + 8, len(near) - 1):
        assert near.image_bytes(row) == far.image_bytes(row)
        assert (near.mask(row) is None) == (far.mask(row) is None) and far.depth(row) is None
        np.testing.assert_array_equal(near.image(row), far.image(row))
    assert near.describe_row(7) == far.describe_row(7) and str(far.root) == "memory://table"
    assert fingerprint(big) == fingerprint("memory://table")


def test_several_tables_are_joined_wherever_they_are(table_root, big, memory):
    parts = [FrameTable(table_root, "train"), FrameTable(uploaded(memory, big), "train")]
    both = FrameTable.joined(parts, "train")
    assert both.image_bytes(3) == parts[0].image_bytes(3)
    assert both.image_bytes(len(parts[0]) + 4) == parts[1].image_bytes(4)


def test_opening_reads_no_pictures_and_a_picture_is_one_range(big, memory, monkeypatch):
    address, asked = uploaded(memory, big), []
    read = Address.read_ranges

    def listed(self, ranges):
        asked.extend(ranges)
        return read(self, ranges)

    monkeypatch.setattr(Address, "read_ranges", listed)
    monkeypatch.setattr(remote_shards, "GAP", 64)
    near, table = FrameTable(big, "train"), FrameTable(address, "train")
    pictures = sum(len(near.image_bytes(row)) for row in range(len(near)))
    size = sum(file.stat().st_size for file in big.glob("*.arrow"))
    assert sum(end - start for start, end in asked) < size - 0.9 * pictures + 3 * remote_shards.HEAD
    asked.clear()
    data = table.image_bytes(5)
    ((start, end),) = asked
    assert end - start == len(data) == len(near.image_bytes(5))


@pytest.mark.parametrize("keep", [-1, -8, 5000, 1000, 3, 0])
def test_a_shard_that_is_cut_off_or_no_shard_is_one_line(big, memory, keep):
    address = uploaded(memory, big)
    file = next(path for path in memory.ls("/table", detail=False) if path.endswith(".arrow"))
    memory.pipe_file(file, memory.cat_file(file)[:keep])
    with pytest.raises(ValueError, match="is damaged .*ends too early.*: copy it again"):
        FrameTable(address, "train")
    memory.pipe_file(file, b"no Arrow stream at all" * 99)
    with pytest.raises(ValueError, match="is damaged .it is no Arrow stream.: copy it again"):
        FrameTable(address, "train")


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("memory://nowhere", "no frame table at 'memory://nowhere'"),
        (
            "nonsense://bucket/table",
            "'nonsense://bucket/table/table.json' cannot be read: Protocol not known",
        ),
        ("s3://bucket/table", "Install s3fs"),
    ],
)
def test_a_bad_address_is_one_line(monkeypatch, address, line):
    if "s3fs" in line:
        monkeypatch.setitem(sys.modules, "s3fs", None)  # the package is the user's
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        FrameTable(address, "train")
    assert line in describe(caught.value) and "\n" not in describe(caught.value)


def test_what_must_be_a_folder_is_said(tmp_path):
    for needs in (on_disk, check_table, lambda root: claim(root, {})):
        with pytest.raises(ValueError, match="'memory://table' is an address, and this needs a folder"):
            needs("memory://table")
    assert place(f"file://{tmp_path}") == tmp_path and place("a/b:c") == Path("a/b:c")
    assert place("blockcache::s3://bucket/x") / "y" == Address("blockcache::s3://bucket/x/y")
    assert place("tables/x") == Path("tables/x")
