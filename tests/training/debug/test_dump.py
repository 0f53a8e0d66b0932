"""The dump of a step: batches and weights, whole or not at all."""

import json
import resource
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from tests_support import random_batch, with_features
from training_support import Loop

from tempohand.training.debug.dump import Dump, load_batch, save_batch
from tempohand.training.debug.not_finite import named_tensors


@pytest.fixture
def bad_loop(tmp_path):
    """A loop whose next step stops at the weights, with its dumps in tmp_path/debug."""
    loop = Loop(tmp_path)
    loop.network.spatial.heads.shape.bias.data[3] = torch.nan
    return loop


def test_a_dump_that_cannot_be_written_is_said_in_the_same_line(bad_loop, tmp_path):
    (tmp_path / "debug").write_text("a file where the folder should be")
    with pytest.raises(ValueError, match="spatial.heads.shape.bias; no dump could be left"):
        bad_loop.step(0, random_batch(2, 1))


def test_a_full_disk_is_said_in_the_same_line_and_no_part_of_a_dump_stays(bad_loop, tmp_path):
    batch = random_batch(2, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # What is longer fails as on a full disk: here the weights or a batch.
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, before[1]))
    try:
        with pytest.raises(ValueError, match="spatial.heads.shape.bias; no dump could be left .*safetensors"):
            bad_loop.step(0, batch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "debug").iterdir()) == []


def test_a_later_dump_of_the_same_step_replaces_the_earlier_one(bad_loop, tmp_path):
    for micro_steps in (2, 1):
        with pytest.raises(ValueError, match="to look closer"):
            bad_loop.step(0, *[random_batch(2, 1)] * micro_steps)
        dump = Dump.load(tmp_path / "debug" / "step-00000001")
        assert [len(batches) for batches in dump.batches] == [1]  # the first micro-step was the last
    assert [path.name for path in (tmp_path / "debug").iterdir()] == ["step-00000001"]


def test_a_batch_comes_back_whole(tmp_path):
    """Field by field, of pictures and of features, with labels and without."""
    pictures = random_batch(3, 7)
    for batch in (pictures, with_features(pictures, torch.rand(21, 5)), replace(pictures, target=None)):
        save_batch(tmp_path / "batch", batch)
        again = load_batch(tmp_path / "batch")
        before, after = dict(named_tensors(batch)), dict(named_tensors(again))
        assert before.keys() == after.keys() and again.frames.size == (64, 64)
        for name, value in before.items():
            assert after[name].equal(value) and after[name].dtype == value.dtype, name


def test_a_dump_of_an_earlier_version_is_refused_in_one_line(tmp_path):
    """Its batches held a picture for every frame of every clip."""
    old = {"image": torch.zeros(2, 7, 3, 8, 8, dtype=torch.uint8)}
    (tmp_path / "batch").write_bytes(safetensors.torch.save(old, {"expanded": "{}"}))
    with pytest.raises(
        ValueError, match="batch' was written by an earlier version of tempohand.*repeat the run"
    ):
        load_batch(tmp_path / "batch")


def test_what_is_no_dump_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="debug.replay: no dump at"):
        Dump.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"network": {}}))
    with pytest.raises(ValueError, match="is a checkpoint and holds no batch"):
        Dump.load(tmp_path)
