"""The dump of a step: batches and weights, whole or not at all."""

import json
import resource
from dataclasses import replace

import pytest
import torch
from tests_support import random_batch
from training_support import Loop

from tempohand.batch import ClipBatch
from tempohand.training.debug.dump import Dump, load_batch, save_batch


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
        dump = Dump.load(tmp_path / "debug" / "step-00000001", ClipBatch)
        assert [len(batches) for batches in dump.batches] == [1]  # the first micro-step was the last
    assert [path.name for path in (tmp_path / "debug").iterdir()] == ["step-00000001"]


def test_a_batch_comes_back_whole(tmp_path):
    """Field by field, and pictures that are one expanded value take no room."""
    batch = replace(random_batch(3, 7), frame=torch.arange(21).view(3, 7))
    batch.image = torch.zeros(1, dtype=torch.uint8).expand(3, 7, 3, 512, 512)
    save_batch(tmp_path / "batch", batch)
    again = load_batch(tmp_path / "batch", ClipBatch)
    assert (tmp_path / "batch").stat().st_size < 20_000
    for name in ("image", "focal", "time", "frame_mask", "row", "frame"):
        assert getattr(again, name).equal(getattr(batch, name)), name
        assert getattr(again, name).dtype == getattr(batch, name).dtype
    assert again.target.pose.equal(batch.target.pose)
    assert again.target.joints_mask.equal(batch.target.joints_mask)


def test_what_is_no_dump_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="debug.replay: no dump at"):
        Dump.load(tmp_path, ClipBatch)
    (tmp_path / "config.json").write_text(json.dumps({"network": {}}))
    with pytest.raises(ValueError, match="is a checkpoint and holds no batch"):
        Dump.load(tmp_path, ClipBatch)
