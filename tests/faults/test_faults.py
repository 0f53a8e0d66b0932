"""Runs that are killed, starved of disk and damaged end as the run that nothing disturbed, bit for bit.

`make test` has the short form, `make test-faults` the long one.
"""

import resource
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from faults_support import assert_same_run, whole_checkpoints

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
            assert "stopped by SIGTERM after step" in run.said() and "resume=auto goes on from there" in run.said()
        if (out / "checkpoint").is_dir():
            whole_checkpoints(out)


def finish(start, out: Path, *overrides: str) -> str:
    """Lets the run go to its end; what it said."""
    run = start(out, "resume=auto", *overrides)
    assert run.wait() == 0, run.said()[-3000:]
    return run.said()


def stop_after(start, out: Path, step: int) -> None:
    """A run that is told to stop once it has checkpoints up to `step`."""
    run = start(out, "resume=auto")
    run.until((out / "checkpoint" / f"step-{step:08d}").is_dir)
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
    """The run goes on, says so, leaves no part behind, and ends with an error; its checkpoints are whole and it resumes from them."""
    out = tmp_path / "run"
    run = start(out, "resume=auto", "data.workers=0")  # the limit would hold for what workers share in memory, too
    run.until((out / "checkpoint" / "step-00000003").is_dir)
    resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (ROOM, resource.RLIM_INFINITY))
    assert run.wait() == 2
    said = run.said()
    assert "was not saved: File too large" in said and "the run goes on" in said and "Traceback" not in said
    assert "the last checkpoint of the run is missing" in said.splitlines()[-1]
    steps = whole_checkpoints(out)
    assert steps and steps[-1].name < "step-00000024" and not list((out / "checkpoint").glob("*.part"))
    assert f"resumed from '{steps[-1]}'" in finish(start, out)
    assert_same_run(out, uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_twenty_times(start, uninterrupted, tmp_path, seed):
    out = tmp_path / "run"
    kill_at_random(start, out, 20, seed)
    finish(start, out)
    assert_same_run(out, uninterrupted)


@pytest.mark.slow
def test_room_comes_back(start, uninterrupted, tmp_path):
    """A checkpoint that a full disk did not take is saved when the next one is due and there is room again."""
    out = tmp_path / "run"
    run = start(out, "data.workers=0")
    run.until((out / "checkpoint" / "step-00000003").is_dir)
    resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (ROOM, resource.RLIM_INFINITY))
    run.until(lambda: "was not saved" in run.said())
    resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert run.wait() == 0, run.said()[-3000:]
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
