"""A run's record: metrics.jsonl (one JSON object a line), config.yaml, and an Accelerate tracker beside
them; and a run's printed lines, which a full disk does not end."""

import errno
import json
import math
import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from accelerate import Accelerator
from torch import Tensor

from tempohand.writing import write_whole


class RunRecord:
    """Writes on the main process only. A resumed run keeps the first `lines` lines up to its `step`, and goes
    on after them.

    What a full disk does not take waits in memory for the next line. config: the whole configuration, as
    plain dicts; where its `tracker` is not None, the accelerator's tracker gets every number too.
    """

    def __init__(self, run: Path, accelerator: Accelerator, config: dict, *, step: int = 0, lines: int = 0):
        self.accelerator = accelerator
        self.tracker = config["tracker"] is not None
        self.handle: int | None = None
        self.lines = 0
        self.waiting = b""
        self.warned = False
        if accelerator.is_main_process:
            run.mkdir(parents=True, exist_ok=True)
            write_whole(run / "config.yaml", yaml.safe_dump(config, sort_keys=False))
            path = run / "metrics.jsonl"
            kept = [line for line in whole_lines(path)[:lines] if json.loads(line)["step"] <= step]
            write_whole(path, "".join(line + "\n" for line in kept))
            self.handle = os.open(path, os.O_WRONLY | os.O_APPEND)
            self.lines = len(kept)
        if self.tracker:  # TensorBoard leaves out what an interrupted run wrote after this step
            accelerator.init_trackers("tensorboard", init_kwargs={"tensorboard": {"purge_step": step + 1}})

    def write(self, step: int, split: str, values: Mapping[str, float | Tensor]) -> None:
        """One line of a split ("train" or "val") after `step` optimizer steps. What is not finite is null in
        metrics.jsonl."""
        numbers = {name: float(value) for name, value in values.items()}
        if self.handle is not None:
            strict = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
            self.waiting += (json.dumps({"step": step, "split": split, **strict}) + "\n").encode()
            self.lines += 1
            self._flush()
        if self.tracker:
            try:
                self.accelerator.log({f"{split}/{name}": value for name, value in numbers.items()}, step=step)
            except OSError as error:
                self.tracker = False
                self._warn(error)

    def sync(self) -> None:
        """Has the disk take every line so far: what a checkpoint counts on."""
        if self.handle is not None:
            self._flush()
            os.fsync(self.handle)

    def close(self) -> None:
        """Ends trackers, files and the process group."""
        try:
            self.accelerator.end_training()
        except OSError as error:
            self._warn(error)
            self.accelerator.state.destroy_process_group()
        if self.handle is not None:
            self.sync()
            os.close(self.handle)

    def _flush(self) -> None:
        try:
            while self.waiting and self.handle is not None:
                self.waiting = self.waiting[os.write(self.handle, self.waiting) :]
        except OSError as error:
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        if not self.warned:
            self.warned = True
            print(
                f"warning: the log cannot be written ({error.strerror}); "
                "the run goes on, lines wait in memory, the tracker ends",
                flush=True,
            )


class _PatientStream:
    """A stream that loses what its disk has no room for; a closed pipe is still an error."""

    def __init__(self, stream: Any):
        self.stream = stream

    def __getattr__(self, name: str):
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        with suppress_full_disk():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress_full_disk():
            self.stream.flush()


@contextmanager
def suppress_full_disk() -> Generator[None, None, None]:
    """Passes over what a full disk, a quota or a limit makes fail, and nothing else."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise


def outlive_a_full_disk() -> None:
    """From here on what is printed may be lost, where it goes to a file on a full disk, and the run goes
    on."""
    sys.stdout = _PatientStream(sys.stdout)
    sys.stderr = _PatientStream(sys.stderr)


def whole_lines(path: Path) -> list[str]:
    """The lines of a file of JSON lines up to the first that was cut off or damaged; none where there is no
    file."""
    lines = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                json.loads(line)["step"]
            except (ValueError, KeyError, TypeError):
                break
            lines.append(line)
    return lines
