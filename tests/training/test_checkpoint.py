import errno
import json
import os
import threading

import pytest
import torch
from safetensors.torch import load_file

from tempohand import writing
from tempohand.manifest import verify
from tempohand.training import checkpoint
from tempohand.training.checkpoint import (
    NotSaved,
    begun,
    go_back,
    load_state,
    newest_whole,
    save_best,
    save_step,
    save_weights,
)


def weights(value: float) -> dict[str, torch.Tensor]:
    return {"a": torch.full((50, 50), value)}


def save(root, step, keep=3):
    return save_step(root, step, weights(step), {"step": step}, {"step": step}, keep)


def names(root):
    return sorted(path.name for path in root.iterdir())


def test_the_last_ones_are_kept_and_verified(tmp_path):
    for step in (5, 10, 100_000_000, 15):
        save(tmp_path, step, keep=2)
    assert names(tmp_path) == ["last", "step-00000015", "step-100000000"]
    assert (tmp_path / "last").resolve().name == "step-00000015" and newest_whole(
        tmp_path, print
    ).name == "step-100000000"
    assert (
        load_state(tmp_path / "last")["step"] == 15
        and load_file(tmp_path / "last" / "model.safetensors")["a"][0, 0] == 15
    )
    assert json.loads((tmp_path / "last" / "config.json").read_text()) == {"step": 15}


def test_best_is_there_at_every_moment(tmp_path):
    """A reader that opens `best` over and over meets one whole checkpoint or the next."""
    save_best(tmp_path, 0, weights(0), {})
    done, failures, reads = threading.Event(), [], 0

    def read():
        nonlocal reads
        while not done.is_set():
            try:
                assert (tmp_path / "best").is_symlink()
                # Whoever follows the link in the very moment in which it changes finds the other one by
                # trying again.
                assert any((tmp_path / "best" / "config.json").is_file() for _ in range(3))
                reads += 1
            except (OSError, AssertionError) as error:
                failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for step in [1, 2, 2, 3, 1, 4]:
        save_best(tmp_path, step, weights(step), {})
    done.set()
    reader.join()
    assert not failures and reads
    assert names(tmp_path) == ["best", "best-00000004"]
    verify(tmp_path / "best")
    assert load_file(tmp_path / "best" / "model.safetensors")["a"][0, 0] == 4


@pytest.mark.parametrize("where", ["write_manifest", "torch.save", "sync", "rename"])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, where):
    save(tmp_path, 1)
    save_best(tmp_path, 1, weights(1), {})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    def full_in_torch(*_):
        try:
            full()
        finally:
            raise RuntimeError("unexpected pos 64 vs 0")  # what torch's archive makes of it

    target = {
        "write_manifest": (checkpoint, full),
        "sync": (writing, full),
        "torch.save": (torch, full_in_torch),
        "rename": (None, full),
    }
    place, fails = target[where]
    with monkeypatch.context() as patch:
        if place is None:
            patch.setattr(os, "replace", fails)
        else:
            patch.setattr(place, {"torch.save": "save"}.get(where, where), fails)
        with pytest.raises(NotSaved, match="step-00000002' was not saved: No space left on device"):
            save(tmp_path, 2, keep=1)
        if where != "torch.save":
            with pytest.raises(NotSaved, match="best-00000002' was not saved"):
                save_best(tmp_path, 2, weights(2), {})
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert newest_whole(tmp_path, print).name == "step-00000001"
    save(tmp_path, 2, keep=1)
    assert newest_whole(tmp_path, print).name == "step-00000002"


def test_damaged_ones_are_skipped_and_named(tmp_path):
    assert newest_whole(tmp_path, print) is None and not begun(tmp_path)
    for step in (1, 2, 3):
        save(tmp_path, step)
    (tmp_path / "step-00000004.part").mkdir()
    (tmp_path / "step-00000003" / "training.pt").write_bytes(b"")
    (tmp_path / "step-00000002" / "config.json").unlink()
    said = []
    assert newest_whole(tmp_path, said.append).name == "step-00000001"
    assert (
        len(said) == 2
        and "step-00000003/training.pt' is damaged, it has 0 bytes" in said[0]
        and "config.json' is missing" in said[1]
    )
    with pytest.raises(ValueError, match="training.pt' is damaged"):
        load_state(tmp_path / "step-00000003")
    (tmp_path / "step-00000001" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="every checkpoint in .* is damaged: set out="):
        newest_whole(tmp_path, print)


def test_one_that_is_written_again_can_be_found_between_two_renames(tmp_path):
    save(tmp_path, 1).rename(tmp_path / "step-00000001.old")
    assert newest_whole(tmp_path, print).name == "step-00000001.old"
    save(tmp_path, 1)
    assert newest_whole(tmp_path, print).name == "step-00000001" and names(tmp_path) == [
        "last",
        "step-00000001",
    ]


def test_one_that_is_being_deleted_is_no_checkpoint(tmp_path, monkeypatch):
    """A run that is killed while it deletes leaves nothing half under a checkpoint's name."""
    save(tmp_path, 1)
    save_best(tmp_path, 1, weights(1), {})
    real = checkpoint.shutil.rmtree

    def killed(path, **_):
        if path.exists():
            (path / "checksums.json").unlink()
            raise KeyboardInterrupt

    for again in (lambda: save(tmp_path, 2, keep=1), lambda: save_best(tmp_path, 2, weights(2), {})):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint.shutil, "rmtree", killed)
            with pytest.raises(KeyboardInterrupt):
                again()
    for path in tmp_path.iterdir():
        assert path.suffix == ".part" or (path / "checksums.json").is_file()
    go_back(tmp_path, newest_whole(tmp_path, pytest.fail), 2, print)
    assert (
        names(tmp_path) == ["best", "best-00000002", "last", "step-00000002"]
        and checkpoint.shutil.rmtree is real
    )
    (tmp_path / "step-00000002" / "checksums.json").unlink()
    with pytest.raises(ValueError, match="every checkpoint"):
        newest_whole(tmp_path, print)


def test_going_back_sets_newer_ones_aside(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step)
    (tmp_path / "step-00000004.part").mkdir()
    said = []
    go_back(tmp_path, tmp_path / "step-00000001", 1, said.append)
    assert (
        names(tmp_path) == ["last", "step-00000001", "step-00000002.aside", "step-00000003.aside"]
        and len(said) == 2
    )
    assert (tmp_path / "last").resolve().name == "step-00000001" == newest_whole(tmp_path, print).name


def test_states_that_cannot_be_resumed_from_are_refused(tmp_path):
    save_weights(tmp_path / "best", weights(1), {})
    with pytest.raises(FileNotFoundError, match="training.pt is missing"):
        load_state(tmp_path / "best")
    save_weights(tmp_path / "old", weights(1), {}, {"step": 3})
    with pytest.raises(ValueError, match="another version"):
        load_state(tmp_path / "old")
    (tmp_path / "old" / "checksums.json").unlink()
    (tmp_path / "old" / "training.pt").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="training.pt' is not readable"):
        load_state(tmp_path / "old")
