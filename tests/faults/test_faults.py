"""Runs that are killed, starved of disk and damaged end as the run that nothing disturbed, bit for bit.

`make test` has the short form, `make test-faults` the long one.
"""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from faults_support import ENVIRONMENT, SCRIPT, assert_same_run, record, whole_checkpoints

ROOM = 100_000  # bytes: enough for a line of the log, too little for a checkpoint
SPAN = 2.5  # seconds after its start within which a run is killed: while it builds, trains, validates, saves


def damage(checkpoint: Path, name: str, how: str) -> None:
    """Cuts a file of a checkpoint in half, or turns over one bit in its middle."""
    file = checkpoint / name
    content = bytearray(file.read_bytes())
    if how == "truncated":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 2] ^= 1
    file.write_bytes(content)


def kill_at_random(start, out: Path, kills: int, seed: int, *overrides: str) -> None:
    """Starts the run, kills it, starts it again; every checkpoint that it leaves is whole."""
    random = np.random.default_rng(seed)
    for number in range(kills):
        chosen = signal.SIGTERM if number % 3 == 1 else signal.SIGKILL
        run = start(out, "resume=auto", *overrides)
        time.sleep(SPAN * random.random())
        run.kill(chosen)
        code = run.wait()
        assert code in (0, -chosen, 128 + chosen), run.said()[-3000:]
        if code == 143:
            assert (
                "stopped by SIGTERM after step" in run.said()
                and "resume=auto goes on from there" in run.said()
            )
        if (out / "checkpoint").is_dir():
            whole_checkpoints(out)


def finish(start, out: Path, *overrides: str) -> str:
    """Lets the run go to its end; what it said."""
    run = start(out, "resume=auto", *overrides)
    assert run.wait() == 0, run.said()[-3000:]
    return run.said()


def stop_after(start, out: Path, step: int) -> None:
    """A run that is told to stop once it has checkpoints up to `step`; nothing where it has them already."""

    def reached() -> bool:
        folders = (out / "checkpoint").glob("step-????????")
        return any(int(folder.name.removeprefix("step-")) >= step for folder in folders)

    if reached():  # a new run would be told before it listens
        return
    run = start(out, "resume=auto")
    run.until(reached)
    run.kill(signal.SIGTERM)
    assert run.wait() in (0, 143), run.said()[-3000:]


def test_killed_and_damaged(start, uninterrupted, tmp_path):
    """Three kills, then the newest checkpoint is cut short."""
    out = tmp_path / "run"
    kill_at_random(start, out, 3, seed=0)
    stop_after(start, out, 6)
    damage(whole_checkpoints(out)[-1], "training.pt", "truncated")
    said = finish(start, out)
    assert "skipped a damaged checkpoint" in said and "resumed from" in said
    assert_same_run(out, uninterrupted)


def test_the_disk_is_full_while_saving(start, uninterrupted, tmp_path):
    """The run goes on, says so, leaves no part behind, and ends with an error; its checkpoints are whole and
    it resumes from them."""
    out = tmp_path / "run"
    run = start(
        out, "resume=auto", "data.workers=0"
    )  # the limit would hold for what workers share in memory, too
    run.until((out / "checkpoint" / "step-00000003").is_dir)
    resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (ROOM, resource.RLIM_INFINITY))
    assert run.wait() == 2
    said = run.said()
    assert "was not saved: File too large" in said and "the run goes on" in said and "Traceback" not in said
    assert "the last checkpoint of the run is missing" in said.splitlines()[-1]
    steps = whole_checkpoints(out)
    assert steps and steps[-1].name < "step-00000018" and not list((out / "checkpoint").glob("*.part"))
    assert f"resumed from '{steps[-1]}'" in finish(start, out)
    assert_same_run(out, uninterrupted)


def test_a_signal_to_everybody_saves(start, tmp_path):
    """Schedulers and terminals send signals to decoding workers, too. The validation that was due is made up
    for."""
    out, often = tmp_path / "run", "log.validate_every=1"
    run = start(out, often)
    run.until((out / "checkpoint" / "step-00000003").is_dir)
    for pid in [*run.children(), run.pid]:
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
    assert run.wait() == 143 and "stopped by SIGTERM after step" in run.said(), run.said()[-3000:]
    stopped = int(whole_checkpoints(out)[-1].name.removeprefix("step-"))
    assert 3 <= stopped < 18
    finish(start, out, often)
    for split in ("train", "val"):
        assert [line["step"] for line in record(out) if line["split"] == split] == list(range(1, 19))


@pytest.mark.slow
def test_two_processes_stop_together_and_one_goes_on(start, tmp_path):
    """A scheduler's SIGTERM to the launcher; the rest on another number of processes, with the same losses
    but for the rounding of sums."""
    same = [
        "network.spatial.decoder.dropout=0",
        "optim.steps=30",
        "log.validate_every=15",
        "log.checkpoint_every=15",
        "data.workers=0",
    ]
    alone, out = start(tmp_path / "alone", *same), tmp_path / "run"
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", str(SCRIPT)]
    with subprocess.Popen(
        [sys.executable, *launcher, *alone.arguments[:-1], f"out={out}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    ) as both:
        lines = out / "metrics.jsonl"
        while both.poll() is None and not (lines.is_file() and lines.read_bytes().count(b"\n") >= 3):
            time.sleep(0.01)
        both.terminate()
        said, errors = both.communicate(timeout=120)
    assert "stopped by SIGTERM after step" in said, errors[-3000:]
    (stopped,) = whole_checkpoints(out)
    said = finish(start, out, *same)
    assert (
        f"resumed from '{stopped}'" in said
        and "on 1 processes, before on 2: samples and learning rate are the same" in said
    )
    assert alone.wait() == 0
    first, second = record(out), record(tmp_path / "alone")
    assert [(line["step"], line["split"], line.get("lr")) for line in first] == [
        (line["step"], line["split"], line.get("lr")) for line in second
    ]
    assert [line["loss"] for line in first] == pytest.approx([line["loss"] for line in second], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_twenty_times(start, uninterrupted, tmp_path, seed):
    out = tmp_path / "run"
    kill_at_random(start, out, 20, seed)
    finish(start, out)
    assert_same_run(out, uninterrupted)


@pytest.mark.slow
def test_room_comes_back(start, uninterrupted, tmp_path):
    """A checkpoint that a full disk did not take is saved when the next one is due and there is room
    again."""
    out = tmp_path / "run"
    run = start(out, "data.workers=0")
    run.until((out / "checkpoint" / "step-00000003").is_dir)
    resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (ROOM, resource.RLIM_INFINITY))
    run.until(lambda: "was not saved" in run.said())
    resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert run.wait() == 0, run.said()[-3000:]
    assert_same_run(out, uninterrupted)


@pytest.mark.slow
def test_what_is_printed_cannot_be_written(start, uninterrupted, tmp_path):
    """The output goes to a file on the full disk, too."""
    out = tmp_path / "run"
    (tmp_path / "run.log").symlink_to("/dev/full")
    run = start(out)
    assert run.wait() == 0
    assert_same_run(out, uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["truncated", "flipped"])
@pytest.mark.parametrize("name", ["training.pt", "model.safetensors", "config.json", "checksums.json"])
def test_every_file_can_be_damaged(start, uninterrupted, tmp_path, name, how):
    out = tmp_path / "run"
    stop_after(start, out, 6)
    damage(whole_checkpoints(out)[-1], name, how)
    assert "skipped a damaged checkpoint" in finish(start, out)
    assert_same_run(out, uninterrupted)
