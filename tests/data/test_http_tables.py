"""Tables at a web server: the same bytes as on the disk, and one clear line where the server fails."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fsspec.implementations.cached import CachingFileSystem
from fsspec.registry import _registry
from http_support import file_server
from safetensors.torch import load_file
from tests_support import SMALL_NETWORK, hand_rows, write_table

from tempohand import cli
from tempohand.console import describe
from tempohand.data import addresses
from tempohand.data.addresses import Address
from tempohand.data.copying import copy_table
from tempohand.data.loader import ClipDataset, evaluation_batches
from tempohand.data.table import COLUMNS, INPUTS, ROWS_PER_BATCH, FrameTable, fingerprint
from tempohand.data.view import View

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Two splits, one of several record batches."""
    splits = {
        "train": [hand_rows("train-0", ROWS_PER_BATCH + 4, 1), hand_rows("train-1", 5, 2)],
        "val": [hand_rows("val-0", 9, 3)],
    }
    root = write_table(tmp_path_factory.mktemp("web") / "table", splits)
    (root / "official_val.json").write_text('{"order": []}')
    return root


@pytest.fixture
def web(table, monkeypatch):
    monkeypatch.setattr(addresses, "PAUSES", (0.0, 0.0))
    with file_server(table.parent) as server:
        yield server


def failure(web, do=lambda address: FrameTable(address, "train")) -> str:
    """The one line that a user would see."""
    with pytest.raises((ValueError, OSError)) as caught:
        do(f"{web.address}/table")
    line = describe(caught.value)
    assert "\n" not in line and web.address in line
    return line


def test_the_same_rows_and_bytes_as_on_the_disk(table, web):
    address = f"{web.address}/table"
    near, far = FrameTable(table, "train"), FrameTable(address, "train")
    assert not [name for method, name, part in web.asked if method == "GET" and "arrow" in name and not part]
    for name in set(COLUMNS) - set(INPUTS):
        np.testing.assert_array_equal(near.column(name), far.column(name))
    for row in (0, ROWS_PER_BATCH, len(near) - 1):
        web.asked.clear()
        assert far.image_bytes(row) == near.image_bytes(row)
        ((method, _, part),) = web.asked
        first, last = map(int, part.removeprefix("bytes=").split("-"))
        assert method == "GET" and last + 1 - first == len(near.image_bytes(row))
    assert fingerprint(address) == fingerprint(table)


def test_decoding_workers_read_it(table, web):
    def pictures(root, workers):
        dataset = ClipDataset(FrameTable(root, "val"), View((64, 64), 1.6), 1)
        return [batch.frames.image for batch in evaluation_batches(dataset, np.arange(9), 3, workers)]

    near, far = pictures(table, 0), pictures(f"{web.address}/table", 2)
    assert len(near) == 3 and all(one.equal(other) for one, other in zip(near, far))


def test_training_from_it_is_training_from_the_disk(table, web, tmp_path):
    settings = ["tracker=null", "optim.steps=2", "optim.warmup=1", "optim.batch_size=4", "data.workers=1"]
    weights = []
    for name, data in (("near", table), ("far", f"{web.address}/table")):
        words = [*SMALL_NETWORK, *settings, f"data={data}", f"out={tmp_path / name}"]
        done = subprocess.run(
            [sys.executable, str(ROOT / "script/train.py"), "--config-name=stage1-tiny", *words],
            capture_output=True,
            text=True,
            env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        weights.append(load_file(tmp_path / name / "checkpoint/last/model.safetensors"))
    near, far = weights
    assert near.keys() == far.keys() and all(far[name].equal(value) for name, value in near.items())


def test_what_is_not_there_is_said(web):
    web.fault = lambda method, name: 404 if name.endswith("json") else None
    assert "no frame table at 'http" in failure(web)
    web.fault = lambda method, name: 404 if name.endswith("arrow") else None
    assert "there is no 'http" in failure(web) and "train-00000.arrow" in failure(web)


@pytest.mark.parametrize(
    ("fault", "said"), [(403, "403"), (500, "500"), ("silent", "ServerDisconnected"), ("drop", "Payload")]
)
@pytest.mark.parametrize("of", ["json", "arrow"])
def test_a_server_that_fails_is_not_a_table_that_is_missing(web, fault, said, of):
    web.fault = lambda method, name: fault if name.endswith(of) else None
    line = failure(web)
    assert "is not to be had" in line and said in line
    tries, asked = (1 if fault == 403 else 1 + len(addresses.PAUSES)), web.asked.count(web.asked[-1])
    assert asked == tries if isinstance(fault, int) else asked >= tries  # aiohttp itself asks again, too


def test_an_answer_that_is_shorter_than_asked_for_is_said(web):
    web.fault = lambda method, name: "short" if method == "GET" and name.endswith("arrow") else None
    assert "is not to be had: EOFError: 2048 of 4096 bytes came" in failure(web)


def test_a_server_that_is_down_is_said(table, monkeypatch):
    monkeypatch.setattr(addresses, "PAUSES", ())
    with file_server(table.parent) as web:
        pass
    assert "is not to be had" in failure(web) and "Cannot connect" in failure(web)


@pytest.mark.parametrize("fault", ["drop", "silent", 503])
def test_a_request_that_failed_is_made_again(table, web, fault):
    """Each of them fails twice."""
    seen = {}

    def twice(method, name):
        key = method, name, len(web.asked) and web.asked[-1][2]
        seen[key] = seen.get(key, 0) + 1
        return fault if method == "GET" and seen[key] <= 2 else None

    web.fault = twice
    far = FrameTable(f"{web.address}/table", "train")
    assert far.image_bytes(3) == FrameTable(table, "train").image_bytes(3)
    assert max(seen.values()) >= 3


def test_a_server_without_ranges_is_said_and_its_table_can_be_copied(table, web, tmp_path, capsys):
    web.ranges = False
    assert "no range requests" in failure(web) and "tempohand table copy" in failure(web)
    cli.main(["table", "copy", f"{web.address}/table", str(tmp_path / "copy")])
    assert f"wrote '{tmp_path / 'copy'}' (4 files)" in capsys.readouterr().out
    assert fingerprint(tmp_path / "copy") == fingerprint(table)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # fsspec leaves its blocks' files open
@pytest.mark.parametrize("cache", ["blockcache", "simplecache"])
def test_what_a_cache_holds_is_not_asked_for_again(table, web, cache):
    far = FrameTable(f"{cache}::{web.address}/table", "val")
    pictures = [far.image_bytes(row) for row in range(9)]
    web.asked.clear()
    assert [far.image_bytes(row) for row in range(9)] == pictures
    assert pictures == [FrameTable(table, "val").image_bytes(row) for row in range(9)]
    assert not [name for _, name, _ in web.asked if "val-" in name]
    del far
    CachingFileSystem.clear_instance_cache()
    gc.collect()  # while the warning is ignored


def test_an_answer_of_unknown_length_is_said(web):
    web.fault = lambda method, name: "endless" if name.endswith("arrow") else None
    assert "does not say how long it is" in failure(web)


def test_a_page_in_place_of_the_index_is_said(web, tmp_path):
    web.folder = tmp_path
    (tmp_path / "table").mkdir()
    (tmp_path / "table/table.json").write_text("<html>log in</html>")
    assert "table.json' is damaged (Expecting value" in failure(web)


def test_a_copy_goes_on_and_is_whole_or_no_table(table, web, tmp_path):
    web.fault = lambda method, name: "drop" if "val-0" in name and method == "GET" else None
    out = tmp_path / "copy"
    assert "val-00000.arrow' is not to be had" in failure(web, lambda address: copy_table(address, out))
    assert not (out / "table.json").exists() and not list(out.glob("*.part"))
    web.fault = lambda method, name: None
    web.asked.clear()
    files = copy_table(f"{web.address}/table", out)
    assert not [name for method, name, _ in web.asked if method == "GET" and "train-" in name]
    assert sorted(path.name for path in files) == sorted(path.name for path in out.iterdir())
    for path in files:
        assert path.name == "table.json" or path.read_bytes() == (table / path.name).read_bytes()
    assert fingerprint(out) == fingerprint(table)
    with pytest.raises(ValueError, match="is a table already: choose another `out`"):
        copy_table(f"{web.address}/table", out)


@pytest.mark.parametrize(
    ("address", "package", "extra"),
    [
        ("http://127.0.0.1:1/table", "aiohttp", "http"),
        ("s3://bucket/table", "s3fs", "s3"),
        ("gs://bucket/table", "gcsfs", "gcs"),
        ("blockcache::https://example.org/table", "aiohttp", "http"),
    ],
)
def test_a_package_that_is_missing_is_named(monkeypatch, address, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
    for name in ("http", "https", "s3", "gs"):
        monkeypatch.delitem(_registry, name, raising=False)
    with pytest.raises(ValueError, match=rf"{package}.*pip install 'tempohand\[{extra}\]'") as caught:
        Address(address).read_text()
    assert "\n" not in describe(caught.value)
