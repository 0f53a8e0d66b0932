"""Training runs that can be ended at any moment, and what is left of them."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file
from tests_support import SMALL_NETWORK

from tempohand.manifest import verify

SCRIPT = Path(__file__).parents[1] / "script" / "train.py"
SMALL = [
    *SMALL_NETWORK,
    "network.spatial.decoder.dropout=0.1",
    "optim={steps: 18, warmup: 2, batch_size: 4, ema: 0.9}",
    "log={every: 1, validate_every: 2, checkpoint_every: 3}",
    "data.workers=1",
    "view.augmentation.photometric.noise=0",
]
ENVIRONMENT = {
    **os.environ,
    "ACCELERATE_USE_CPU": "true",
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "HF_HUB_OFFLINE": "1",
}


class Run:
    """One process of script/train.py, started by the zygote, which ends it and reads what it left."""

    def __init__(self, zygote: subprocess.Popen, out: Path, arguments: list[str]):
        self.zygote, self.out, self.arguments = zygote, out, arguments
        self.log = out.with_name(out.name + ".log")
        self.said_before = len(self.log.read_text()) if self.log.is_file() else 0
        self.pid = self._order({"arguments": arguments, "log": str(self.log)})

    def _order(self, order: dict) -> int:
        self.zygote.stdin.write(json.dumps(order) + "\n")
        self.zygote.stdin.flush()
        return int(self.zygote.stdout.readline())

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Sends a signal; a process that has ended takes it, too."""
        os.kill(self.pid, number)

    def children(self) -> list[int]:
        """Its decoding workers' process ids."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def wait(self) -> int:
        """The exit code, or minus the signal that ended it."""
        return self._order({"wait": self.pid})

    def said(self) -> str:
        """What this process has printed."""
        return self.log.read_text()[self.said_before :] if self.log.is_file() else ""

    def until(self, condition: Callable[[], bool], seconds: float = 120.0) -> None:
        """Waits for something that the run is to do."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.said()[-2000:]
            time.sleep(0.01)


def record(out: Path) -> list[dict]:
    """Every line of metrics.jsonl, without what the clock says."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "clips_per_s"} for line in lines]


def whole_checkpoints(out: Path) -> list[Path]:
    """The step checkpoints, oldest first, after verifying that all that stands there under its right name is
    whole."""
    steps = sorted((out / "checkpoint").glob("step-????????"))
    for directory in steps + [
        link for name in ("best", "last") if (link := out / "checkpoint" / name).is_symlink()
    ]:
        assert (directory / "checksums.json").is_file() and (directory / "model.safetensors").is_file()
        verify(directory)
    return steps


def assert_same_run(out: Path, other: Path) -> None:
    """The same losses, scores and weights, bit for bit, and the same last checkpoint."""
    assert record(out) == record(other)
    assert (
        whole_checkpoints(out)[-1].name == whole_checkpoints(other)[-1].name
    )  # one of a stop may be among the kept
    for name in ("best", "last"):
        first, second = (load_file(root / "checkpoint" / name / "model.safetensors") for root in (out, other))
        assert first.keys() == second.keys() and all(first[key].equal(second[key]) for key in first)
        first, second = (
            json.loads((root / "checkpoint" / name / "config.json").read_text()) for root in (out, other)
        )
        assert first == second
    assert not list((out / "checkpoint").glob("*.part"))
