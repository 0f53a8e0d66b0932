"""Cached tokens give the clips that pictures give, are refused when stale or damaged, and survive interruption."""

import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests_support import hand_rows, small_network, write_table

from tempohand.data.clips import ClipSampling
from tempohand.data.loader import ClipDataset, collate, evaluation_batches
from tempohand.data.table import FrameTable, fingerprint
from tempohand.data.token_store import TokenStore
from tempohand.data.tokens import cached, shard_bounds, token_key
from tempohand.data.view import Augmentation, View
from tempohand.model.registry import build_network
from tempohand.training.features import FromFeatures
from tempohand.training.objective import combine

SAMPLING = ClipSampling(min_history=2, max_gap=2, consecutive=2, drop=0.2)
KEYS = [(p, int(row)) for p, row in enumerate([11, 23, 30, 47, 1, 14])]


def datasets(root, views: int = 2) -> tuple[ClipDataset, ClipDataset]:
    view = View(64, 2.0, Augmentation())
    return ClipDataset(FrameTable(root, "train"), view, 7, SAMPLING, 3, views), ClipDataset(FrameTable(root, "val"), view, 7)


def mean_colour(batch) -> torch.Tensor:
    """Stands in for a network where only the bookkeeping is tested."""
    return batch.image.float().mean(dim=(-1, -2))


def make(root, folder, encode=mean_colour, views: int = 2, dtype: str = "fp32", **options):
    return cached(TokenStore(folder, {"made by": "tests"}), *datasets(root, views), encode, dtype=dtype, shard_frames=12, **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = build_network(small_network(2))
    for layer in (network.temporal.out, network.temporal.correct):  # they start at zero, and history would not be seen
        torch.nn.init.normal_(layer.weight, std=0.05)
    return network.eval()


@pytest.mark.parametrize(
    "precision, dtype, tolerance",
    [(torch.float32, "fp32", 1e-5), (torch.bfloat16, "fp16", 1e-3), (torch.bfloat16, "bf16", 5e-3)],
)
def test_cached_and_online_clips_have_the_same_loss(table_root, tmp_path, network, precision, dtype, tolerance):
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16)

    @torch.no_grad()
    def encode(batch):
        with autocast:
            return network.encode(batch).float()

    def losses(predict, batch):
        with torch.no_grad(), autocast:
            terms = network.criterion(predict(batch), batch)
        return combine(terms, {"joints": 0.02, "pose": 5.0, "uv": 3.0, "depth": 1.0, "velocity": 0.03})[0].item()

    online, held_out = datasets(table_root)
    tokens, held_out_tokens = make(table_root, tmp_path / "tokens", encode, dtype=dtype)
    for seen, kept in (
        (collate([online[key] for key in KEYS]), tokens.collate([tokens[key] for key in KEYS])),
        *zip(evaluation_batches(held_out, np.arange(18), 9), evaluation_batches(held_out_tokens, np.arange(18), 9)),
    ):
        for name in ("focal", "princpt", "time", "frame_mask", "is_right", "row", "previous", "frame"):
            assert torch.equal(getattr(seen, name), getattr(kept, name)), name
        for field in fields(seen.target):
            assert torch.equal(getattr(seen.target, field.name), getattr(kept.target, field.name)), field.name
        assert kept.size == seen.size and kept.to("cpu").image.untyped_storage().nbytes() == 1
        assert losses(FromFeatures(network), kept) == pytest.approx(losses(network, seen), rel=tolerance)


def test_a_fixed_view_is_one_along_the_sequence_and_differs_from_others(table_root):
    one, two = (collate([datasets(table_root, views)[0][(p, 20)] for p in range(12)]) for views in (1, 2))
    crops = {int(row): [] for row in one.row}
    for row, image in zip(one.row.tolist(), one.image[:, -1]):
        crops[row].append(image)
    assert all(torch.equal(image, same[0]) for same in crops.values() for image in same)
    assert 1 < len({image.numpy().tobytes() for row, image in zip(two.row, two.image[:, -1]) if row == 20}) <= 2


def test_what_changes_tokens_changes_their_key_and_the_refusal_names_it(table_root, tmp_path, network):
    plain = View(64, 2.0, Augmentation())

    def key(network=network, view=plain, table=table_root, dtype="fp16", **settings):
        return token_key(
            small_network(2, **settings), network.spatial.state_dict(), view, fingerprint(table), precision="bf16", dtype=dtype
        )

    other_weights = build_network(small_network(2))
    other_weights.load_state_dict(network.state_dict())
    with torch.no_grad():
        other_weights.spatial.heads.pose.weight[0, 0] += 1e-3
    rows = hand_rows("train-0", 12, 0), hand_rows("val-0", 9, 100)
    tables = [write_table(tmp_path / name, {"train": [rows[0]], "val": [rows[1]]}) for name in ("a", "b")]
    rows[0][5]["joints"] = rows[0][5]["joints"] + 1
    changed = write_table(tmp_path / "changed", {"train": [rows[0]], "val": [rows[1]]})
    assert key(table=tables[0]) == key(table=tables[1])  # a copy
    with TokenStore(tmp_path / "tokens", key()).making():
        pass
    TokenStore(tmp_path / "tokens", key(temporal={"width": 64, "layers": 2, "heads": 2}))  # Stage 2's own part does not matter
    for other, message in (
        (key(network=other_weights), "weights is"),
        (key(view=View(64, 2.0, replace(Augmentation(), roll=10.0))), "view.augmentation.roll is 180.0 there and 10.0 here"),
        (key(view=View(64, 2.0)), "view.augmentation is"),
        (key(table=changed), "table is"),
        (key(dtype="bf16"), "dtype is fp16 there and bf16 here"),
        (key(norm_by_hand=True), "network.norm_by_hand is False there and True here"),
    ):
        with pytest.raises(ValueError, match=f"stale.*{message}"):
            TokenStore(tmp_path / "tokens", other)
    assert key(table=changed)["table"] != key(table=tables[0])["table"]
    with pytest.raises(ValueError, match="is no folder of tokens"):
        TokenStore(tables[0], key())


def test_processes_share_the_work_and_a_second_run_does_none(table_root, tmp_path):
    make(table_root, tmp_path / "one")
    barrier, errors = threading.Barrier(2), []

    def process(rank):
        try:
            make(table_root, tmp_path / "two", rank=rank, processes=2, wait=barrier.wait, say=lambda line: None)
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=process, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(list((tmp_path / "one").glob("*.npy"))) == 4 * 2 + 1

    def never(batch):
        raise AssertionError("everything is there")

    make(table_root, tmp_path / "one", never)
    (tmp_path / "one" / "manifest.json").unlink()  # an interruption just before the end
    make(table_root, tmp_path / "one", never)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    shutil.copytree(tmp_path / "one", tmp_path / "three")
    encoded = []
    make(table_root, tmp_path / "three", lambda batch: encoded.append(len(batch.row)) or mean_colour(batch), views=3)
    assert sum(encoded) == 48 + 1  # the third view alone, and a frame to see how large a record is


INTERRUPTED = """
import sys, time
sys.path.insert(0, {tests!r})
from test_tokens import make, mean_colour

def slow(batch):
    time.sleep(0.3)
    return mean_colour(batch)

make({root!r}, {folder!r}, slow)
"""


def test_a_killed_run_is_continued_bit_for_bit(table_root, tmp_path):
    folder = tmp_path / "killed"
    code = INTERRUPTED.format(tests=str(Path(__file__).parent), root=str(table_root), folder=str(folder))
    environment = {"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen([sys.executable, "-c", code], env=environment)
    deadline = time.monotonic() + 120
    while len(list(folder.glob("*.npy"))) < 3:
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait()
    kept = contents(folder)
    assert "manifest.json" not in kept and 3 <= sum(name.endswith(".npy") for name in kept) < 10
    (folder / "train-view1-000000000-000000012.npy.part").write_bytes(b"half of it")
    encoded = []
    make(table_root, folder, lambda batch: encoded.append(len(batch.row)) or mean_colour(batch))
    assert sum(encoded) < 2 * 48 + 18 - 30
    make(table_root, tmp_path / "whole")
    assert contents(folder) == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-100], lambda data: data[:-100] + bytes([data[-100] ^ 1]) + data[-99:], lambda _: b""]
)
def test_a_damaged_shard_is_named_and_made_anew_when_deleted(table_root, tmp_path, damage):
    make(table_root, tmp_path / "tokens")
    whole = contents(tmp_path / "tokens")
    file = sorted((tmp_path / "tokens").glob("*.npy"))[3]
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=f"{file.name}' are damaged.*delete that file"):
        make(table_root, tmp_path / "tokens")
    file.unlink()
    make(table_root, tmp_path / "tokens")
    assert contents(tmp_path / "tokens") == whole


def test_what_does_not_fit_is_refused(table_root, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="do not fit tokens.dtype=fp16"):
        make(table_root, tmp_path / "large", lambda batch: mean_colour(batch) * 1e6, dtype="fp16")
    with pytest.raises(ValueError, match="dtype one of"):
        make(table_root, tmp_path / "int8", dtype="int8")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 100, 0))
    with pytest.raises(ValueError, match="tokens need .* and .* has 0 bytes free: set tokens.folder"):
        make(table_root, tmp_path / "full")
    assert not list((tmp_path / "full").glob("*.npy"))


def test_shards_are_whole_sequences():
    starts = np.repeat(np.cumsum([0, 5, 30, 2, 8]), [5, 30, 2, 8, 7])
    assert shard_bounds(starts, 10).tolist() == [0, 35, 45, 52]
    assert shard_bounds(starts, 1000).tolist() == [0, 52]
