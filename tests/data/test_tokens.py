"""Cached tokens give the clips that pictures give, are refused when stale or damaged, and survive
interruption."""

import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests_support import compose_config, hand_rows, small_network, write_table

from tempohand.assemble.tokens import key_of_tokens
from tempohand.data import token_store, tokens
from tempohand.data.clips import ClipSampling
from tempohand.data.loader import ClipDataset, collate, evaluation_batches
from tempohand.data.mixture import Mixture
from tempohand.data.table import FrameTable
from tempohand.data.token_store import Processes, TokenStore, key_hash
from tempohand.data.tokens import Encoder, cached, shard_bounds, token_key
from tempohand.data.view import Augmentation, View
from tempohand.model.registry import build_network
from tempohand.training.objective import combine

SAMPLING = ClipSampling(min_history=2, max_gap=2, consecutive=2, drop=0.2)
KEYS = [(p, int(row)) for p, row in enumerate([11, 23, 30, 47, 1, 14])]


def datasets(root, views: int = 2) -> tuple[ClipDataset, ClipDataset]:
    view = View(64, 2.0, Augmentation())
    return ClipDataset(FrameTable(root, "train"), view, 7, SAMPLING, 3, views), ClipDataset(
        FrameTable(root, "val"), view, 7
    )


def mean_colour(frames) -> torch.Tensor:
    """Stands in for a network where only the bookkeeping is tested."""
    return frames.image.float().mean(dim=(-1, -2))


def make(root, folder, encode=mean_colour, views: int = 2, dtype: str = "fp32", **processes):
    return cached(
        TokenStore(folder, {"made by": "tests"}),
        *datasets(root, views),
        Encoder(encode, dtype),
        Processes(**processes),
        shard_frames=12,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = build_network(small_network(2))
    for layer in (
        network.temporal.out,
        network.temporal.correct,
    ):  # they start at zero, and history would not be seen
        torch.nn.init.normal_(layer.weight, std=0.05)
    return network.eval()


@pytest.mark.parametrize(
    "precision, dtype, tolerance",
    [(torch.float32, "fp32", 1e-5), (torch.bfloat16, "fp16", 1e-3), (torch.bfloat16, "bf16", 5e-3)],
)
def test_cached_and_online_clips_have_the_same_loss(
    table_root, tmp_path, network, precision, dtype, tolerance
):
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16)

    @torch.no_grad()
    def encode(frames):
        with autocast:
            return network.encode(frames).float()

    def losses(batch):
        with torch.no_grad(), autocast:
            terms = network.criterion(network(batch), batch)
        return combine(terms, {"joints": 0.02, "pose": 5.0, "uv": 3.0, "depth": 1.0, "velocity": 0.03})[
            0
        ].item()

    online, held_out = datasets(table_root)
    tokens, held_out_tokens = make(table_root, tmp_path / "tokens", encode, dtype=dtype)
    for seen, kept in (
        (collate([online[key] for key in KEYS]), tokens.collate([tokens[key] for key in KEYS])),
        *zip(
            evaluation_batches(held_out, np.arange(18), 9),
            evaluation_batches(held_out_tokens, np.arange(18), 9),
        ),
    ):
        for name in ("focal", "princpt", "time", "frame_mask", "is_right", "row", "index"):
            assert torch.equal(getattr(seen, name), getattr(kept, name)), name
        assert (seen.previous is None and kept.previous is None) or torch.equal(seen.previous, kept.previous)
        for field in fields(seen.target):
            assert torch.equal(getattr(seen.target, field.name), getattr(kept.target, field.name)), field.name
        assert kept.frames.size == seen.frames.size and kept.frames.image is None
        assert losses(kept) == pytest.approx(losses(seen), rel=tolerance)


def test_a_fixed_view_is_one_along_the_sequence_and_differs_from_others(table_root):
    one, two = (collate([datasets(table_root, views)[0][(p, 20)] for p in range(12)]) for views in (1, 2))
    crops = {int(row): [] for row in one.row}
    for row, image in zip(one.row.tolist(), one.frames.image):
        crops[row].append(image)
    assert all(torch.equal(image, same[0]) for same in crops.values() for image in same)
    assert (
        1 < len({image.numpy().tobytes() for row, image in zip(two.row, two.frames.image) if row == 20}) <= 2
    )


PLAIN = View(64, 2.0, Augmentation())


def key(network, view=PLAIN, data=None, precision="bf16", dtype="fp16", **settings):
    data = data or {"train": "a", "validation": "b"}
    return token_key(
        network.frozen_settings(small_network(2, **settings)),
        network.spatial.state_dict(),
        view,
        data,
        precision=precision,
        dtype=dtype,
    )


def steps(value):
    """One step away from each setting: of every leaf of nested dicts, or of every field of a dataclass, a
    copy with another value."""
    if isinstance(value, dict):
        yield from (value | {name: other} for name, part in value.items() for other in steps(part))
    elif is_dataclass(value):
        yield from (
            replace(value, **{field.name: other})
            for field in fields(value)
            for other in steps(getattr(value, field.name))
        )
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield value + 1
    else:
        yield "another"


VIEWS = [View(65, 2.0, PLAIN.augmentation), View(64, 2.1, PLAIN.augmentation), View(64, 2.0)]
VIEWS += [View(64, 2.0, other) for other in steps(PLAIN.augmentation)]
SPATIAL = {name: value for name, value in small_network(2).items() if name not in ("num_frame", "temporal")}
CHANGES = (
    [{"view": view} for view in VIEWS]
    + [{name: other} for name, value in SPATIAL.items() for other in steps(value)]
    + [{"data": other} for other in steps({"train": "a", "validation": "b"})]
    + [{"precision": "no"}, {"precision": "fp16"}, {"dtype": "bf16"}, {"dtype": "fp32"}]
)


def test_every_setting_that_tokens_depend_on_is_in_their_key(network):
    """Settings of the view, the network, the rows and the precision, changed one by one: no two keys are the
    same."""
    keys = [key_hash(key(network, **change)) for change in [{}, *CHANGES]]
    assert len(CHANGES) > 30 and len(set(keys)) == len(keys)
    for temporal in steps(small_network(2)["temporal"]):  # Stage 2's own part does not matter
        assert key_hash(key(network, temporal=temporal)) == keys[0]


@pytest.mark.parametrize("rule, value", [("MAX_GAP_S", 0.5), ("FORMAT", -1), ("BOUNDS", {}), ("REASONS", ())])
def test_rules_of_the_code_that_decide_records_are_in_their_key(network, monkeypatch, rule, value):
    """Where a pause cuts a sequence, what makes a row bad, how records are laid out."""
    before = key_hash(key(network))
    monkeypatch.setattr(tokens, rule, value)
    assert key_hash(key(network)) != before


def test_a_run_keeps_its_tokens_under_other_settings_of_training(two_tables, network):
    """What script/train.py makes of a configuration: how long, how fast and from how many views is learned is
    no matter of a token's."""
    mixture = a_mixture(two_tables, *BOTH)

    def of(*overrides):
        settings = compose_config("stage2-tiny", *overrides) | {"network": small_network(2)}
        return key_hash(key_of_tokens(settings, PLAIN, mixture, network))

    kept = (
        "optim.lr=1",
        "optim.batch_size=8",
        "optim.steps=9",
        "seed=5",
        "tokens.views=3",
        "sampling.consecutive=2",
        "loss.joints=7",
        "out=x",
    )
    assert {of(override) for override in kept} == {of()}
    assert (
        len(
            {
                of(),
                *(
                    of(override)
                    for override in ("mixed_precision=no", "mixed_precision=fp16", "tokens.dtype=bf16")
                ),
            }
        )
        == 4
    )


def test_the_refusal_of_stale_tokens_names_what_differs(tmp_path, network):
    other_weights = build_network(small_network(2))
    other_weights.load_state_dict(network.state_dict())
    with torch.no_grad():
        other_weights.spatial.heads.pose.weight[0, 0] += 1e-3
    with TokenStore(tmp_path / "tokens", key(network)).making():
        pass
    for other, message in (
        (key(other_weights), "weights is"),
        (
            key(network, View(64, 2.0, replace(Augmentation(), roll=10.0))),
            "view.augmentation.roll is 180.0 there and 10.0 here",
        ),
        (key(network, View(64, 2.0)), "view.augmentation is"),
        (key(network, data={"train": "c", "validation": "b"}), "data.train is a there and c here"),
        (key(network, precision="no"), "precision is bf16 there and no here"),
        (key(network, dtype="bf16"), "dtype is fp16 there and bf16 here"),
        (key(network, norm_by_hand=True), "network.norm_by_hand is False there and True here"),
    ):
        with pytest.raises(ValueError, match=f"stale.*{message}"):
            TokenStore(tmp_path / "tokens", other)
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "table.json").touch()
    with pytest.raises(ValueError, match="is no folder of tokens"):
        TokenStore(tmp_path / "table", key(network))


@pytest.fixture(scope="module")
def two_tables(tmp_path_factory):
    """Two tables whose splits have the same names and lengths, and other hands; the first once more with one
    label changed."""
    folder = tmp_path_factory.mktemp("two")

    def table(name, seed, change=0.0):
        rows = {
            split: hand_rows(f"{split}-{name}", 6, seed + place)
            for place, split in enumerate(("train", "other", "val"))
        }
        rows["train"][5]["joints"] = rows["train"][5]["joints"] + change
        for row in (row for sequence in rows.values() for row in sequence):
            row["time"] += 1.7e9  # seconds since 1970
        return str(write_table(folder / name, {split: [sequence] for split, sequence in rows.items()}))

    return {"a": table("a", 0), "b": table("b", 10), "a, changed": table("changed", 0, 1.0)}


def a_mixture(roots, *choices):
    """Of (table, training split, validation split or None)."""
    names = ("root", "train", "validation")
    return Mixture(
        {f"{k}": dict(zip(names, (roots[choice[0]], *choice[1:]))) for k, choice in enumerate(choices)}, None
    )


BOTH = ("a", "train", "val"), ("b", "train", "val")
MIXTURES = {
    "both": BOTH,
    "the first one's validation": (BOTH[0], ("b", "train", None)),
    "the second one's validation": (("a", "train", None), BOTH[1]),
    "another split of the first": (("a", "other", "val"), BOTH[1]),
    "another split of the second": (BOTH[0], ("b", "other", "val")),
    "another validation split": (BOTH[0], ("b", "train", "other")),
    "the other order": BOTH[::-1],
    "the first alone": BOTH[:1],
    "a label changed": (("a, changed", "train", "val"), BOTH[1]),
}


def test_which_split_each_table_gives_is_in_the_key(two_tables, network):
    keys = {
        name: key_hash(key(network, data=a_mixture(two_tables, *choices).contents()))
        for name, choices in MIXTURES.items()
    }
    assert len(set(keys.values())) == len(MIXTURES)
    copied = dict(
        two_tables, a=shutil.copytree(two_tables["a"], f"{two_tables['a']}-copied", dirs_exist_ok=True)
    )
    assert key_hash(key(network, data=a_mixture(copied, *BOTH).contents())) == keys["both"]


def test_validation_never_has_the_tokens_of_another_table(two_tables, tmp_path, network):
    """Both tables are trained on, so that shards have equal names and bounds whichever of them is validated
    on."""
    view = View(64, 2.0)
    for name in ("the first one's validation", "the second one's validation"):
        mixture = a_mixture(two_tables, *MIXTURES[name])
        kept = key(network, view, mixture.contents())
        training, held_out = (
            ClipDataset(mixture.train, view, 7, views=1),
            ClipDataset(mixture.validation, view, 7),
        )
        _, tokens = cached(
            TokenStore(tmp_path / key_hash(kept), kept),
            training,
            held_out,
            Encoder(mean_colour, "fp32"),
            Processes(say=lambda _: None),
        )
        rows = np.arange(6)
        for seen, read in zip(evaluation_batches(held_out, rows, 6), evaluation_batches(tokens, rows, 6)):
            assert torch.equal(mean_colour(seen.frames), read.frames.features) and torch.equal(
                seen.target.joints, read.target.joints
            )
            assert torch.equal(seen.time, read.time) and len(read.time.unique()) >= 6


def two_processes(work) -> list:
    """Runs work(rank, gather) in two threads; gives what both were called with or raised, by rank: the time
    of each gather, and errors."""
    barrier, objects, met, errors = threading.Barrier(2), [None, None], [], []

    def process(rank):
        def gather(own):
            objects[rank] = own
            barrier.wait()
            everyone = list(objects)
            barrier.wait()
            met.append(everyone)
            return everyone

        try:
            work(rank, gather)
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=process, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return met


def test_while_another_run_makes_tokens_processes_meet_again_and_again(tmp_path, monkeypatch):
    """None of them waits in a collective for as long as that takes."""
    monkeypatch.setattr(token_store, "POLL_S", 0.01)
    other, said = TokenStore(tmp_path, {"made by": "tests"}).making(), []
    other.__enter__()
    threading.Timer(0.3, other.__exit__, (None, None, None)).start()

    def work(rank, gather):
        with TokenStore(tmp_path, {"made by": "tests"}).making(Processes(rank, 2, gather, said.append)):
            gather("inside")

    met = two_processes(work)
    assert (
        met.count([False, False]) > 2 * 5
        and met.count([True, False]) == 2
        and met.count(["inside", "inside"]) == 2
    )
    assert len(said) == 1 and said[0].startswith("another run is making the tokens")


def test_processes_share_the_work_and_a_second_run_does_none(table_root, tmp_path):
    make(table_root, tmp_path / "one")
    two_processes(
        lambda rank, gather: make(
            table_root, tmp_path / "two", rank=rank, count=2, gather=gather, say=lambda line: None
        )
    )
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(list((tmp_path / "one").glob("*.npy"))) == 4 * 2 + 1

    def never(frames):
        raise AssertionError("everything is there")

    make(table_root, tmp_path / "one", never)
    (tmp_path / "one" / "manifest.json").unlink()  # an interruption just before the end
    make(table_root, tmp_path / "one", never)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    shutil.copytree(tmp_path / "one", tmp_path / "three")
    encoded = []
    make(
        table_root,
        tmp_path / "three",
        lambda frames: encoded.append(len(frames)) or mean_colour(frames),
        views=3,
    )
    assert sum(encoded) == 48 + 1  # the third view alone, and a frame to see how large a record is


INTERRUPTED = """
import sys, time
sys.path.insert(0, {tests!r})
from test_tokens import make, mean_colour

def slow(frames):
    time.sleep(0.3)
    return mean_colour(frames)

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
    make(table_root, folder, lambda frames: encoded.append(len(frames)) or mean_colour(frames))
    assert sum(encoded) < 2 * 48 + 18 - 30
    make(table_root, tmp_path / "whole")
    assert contents(folder) == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-100],
        lambda data: data[:-100] + bytes([data[-100] ^ 1]) + data[-99:],
        lambda _: b"",
    ],
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
        make(table_root, tmp_path / "large", lambda frames: mean_colour(frames) * 1e6, dtype="fp16")
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


def test_the_other_sides_hands_are_known_as_such(table_root, tmp_path):
    """Stage 1 sees mirrored hands, of which nothing but the side is labelled: in tokens as in pictures."""
    view = View(64, 2.0, Augmentation(mirror=0.5))
    training = ClipDataset(FrameTable(table_root, "train"), view, 1, ClipSampling(), 3, 2)
    held_out = ClipDataset(FrameTable(table_root, "val"), view, 1)
    store = TokenStore(tmp_path / "tokens", {"made by": "tests"})
    tokens, _ = cached(store, training, held_out, Encoder(mean_colour, "fp32"), shard_frames=12)
    keys = [(position, row) for position, row in enumerate(range(24))]
    seen, online = (part.collate([part[key] for key in keys]) for part in (tokens, training))
    assert torch.equal(seen.shows_right, online.shows_right) and 0 < seen.shows_right.sum() < len(keys)
    assert torch.equal(seen.target.hand_mask, online.target.hand_mask)
