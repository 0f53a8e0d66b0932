import errno
import io
import json
import os
import sys

import pytest
import torch
from accelerate import Accelerator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tempohand.training import run_record
from tempohand.training.run_record import RunRecord, outlive_a_full_disk


def start(run, step=0, lines=0, tracker=False):
    tracker = "tensorboard" if tracker else None
    accelerator = Accelerator(cpu=True, log_with=tracker, project_dir=run)
    return RunRecord(run, accelerator, {"tracker": tracker}, step=step, lines=lines)


def steps(run):
    return [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def write(record, *numbers):
    for step in numbers:
        record.write(step, "train", {"loss": torch.tensor(float(step))})


def test_a_resumed_record_has_every_line_once(tmp_path):
    record = start(tmp_path)
    write(record, 1, 2, 3)
    lines = record.lines
    record.write(3, "val", {"n": 1})  # of a step that will be validated again
    write(record, 4, 5)
    os.close(record.handle)
    record = start(tmp_path, step=3, lines=lines)
    record.write(3, "val", {"n": 1})
    write(record, 4)
    assert steps(tmp_path) == [1, 2, 3, 3, 4] and record.lines == 5
    record.close()


@pytest.mark.parametrize("end", [b'{"step": 3, "spl', b"\0" * 100, b'\xff\xfe"', b'"step"\n', b"{}\n"])
def test_a_half_written_line_is_dropped(tmp_path, end):
    record = start(tmp_path)
    write(record, 1, 2)
    os.write(record.handle, end)
    os.close(record.handle)
    record = start(tmp_path, step=3, lines=3)
    write(record, 4)
    assert steps(tmp_path) == [1, 2, 4]
    record.close()


def test_lines_that_a_full_disk_does_not_take_wait(tmp_path, monkeypatch, capsys):
    record = start(tmp_path)
    write(record, 1)
    real, room = os.write, 10

    def full(handle, content):
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken, room = min(room, len(content)), 0
        return real(handle, content[:taken])

    monkeypatch.setattr(run_record.os, "write", full)
    write(record, 2, 3)
    assert capsys.readouterr().out.count("No space left on device") == 1 and record.lines == 3
    monkeypatch.setattr(run_record.os, "write", real)
    write(record, 4)
    assert steps(tmp_path) == [1, 2, 3, 4]
    record.close()


class Failing(io.StringIO):
    """A stream to a full disk, or into a pipe that nobody reads."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number

    def write(self, text: str) -> int:
        raise OSError(self.number, os.strerror(self.number))


def test_printing_onto_a_full_disk_is_no_error(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Failing(errno.ENOSPC))
    outlive_a_full_disk()
    print("lost", flush=True)
    print("lost", file=sys.stderr)
    assert not sys.stderr.isatty()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Failing(errno.EPIPE))
    outlive_a_full_disk()
    with pytest.raises(BrokenPipeError):
        print("to nobody")


def test_tensorboard_shows_every_step_once(tmp_path):
    record = start(tmp_path, tracker=True)
    write(record, 1, 2, 3, 4)
    record.close()
    record = start(tmp_path, step=2, lines=2, tracker=True)
    write(record, 3, 4, 5)
    record.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4, 5]
