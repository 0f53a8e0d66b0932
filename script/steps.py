"""Long work as a list of commands: each is printed, run, timed and remembered, so that interrupted work goes
on where it stopped."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

from tempohand.writing import write_whole

# One process per core, one thread each: faster on few cores than one process with several threads.
PROCESSES = 1 if torch.cuda.is_available() else min(2, os.cpu_count() or 1)


def precision_here() -> str:
    """bf16 where the processor or the GPU computes in it; elsewhere "no": there bfloat16 is seven times
    slower than float32 (docs/log.md)."""
    return "bf16" if torch.cuda.is_available() or torch.cpu._is_avx512_bf16_supported() else "no"


class Steps:
    """Runs commands, prints them, times them, and remembers in the file `record` which are done; `what` names
    the whole in messages."""

    def __init__(self, record: Path, what: str):
        self.record = record
        self.what = what
        self.done: dict[str, float] = (
            json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
        )
        self.commands: list[str] = []
        # Decoding workers share the cores with the network's threads: threads that wait must not spin.
        self.environment = {
            **os.environ,
            "OMP_WAIT_POLICY": "passive",
            "GOMP_SPINCOUNT": "0",
            "HF_HUB_OFFLINE": "1",
        }
        if not torch.cuda.is_available():
            self.environment["ACCELERATE_USE_CPU"] = "true"

    def run(self, name: str, *arguments: str) -> None:
        """One step; stops the work where it fails, with the step's own message above."""
        shown = "python " + " ".join(arguments)
        self.commands.append(shown)
        if name in self.done:
            print(f"[{name}] done before, {self.done[name]:.0f} s")
            return
        print(f"\n[{name}] {shown}", flush=True)
        start = time.perf_counter()
        code = subprocess.run([sys.executable, *arguments], env=self.environment, check=False).returncode
        if code:
            sys.exit(
                f"{self.what} stopped in step '{name}' (exit code {code}); "
                "run the same command to go on from there"
            )
        self.done[name] = time.perf_counter() - start
        write_whole(self.record, json.dumps(self.done))
        print(f"[{name}] {self.done[name]:.0f} s", flush=True)


def training(
    config: str, *settings: str, precision: str | None = None, processes: int = PROCESSES
) -> list[str]:
    """The command that trains a configuration on all cores, or on the GPU, and goes on where it was.
    precision: mixed_precision; None: the one for this machine."""
    precision = precision or precision_here()
    return [
        "-m",
        "accelerate.commands.launch",
        f"--num_processes={processes}",
        "--num_machines=1",
        f"--mixed_precision={precision}",
        "--dynamo_backend=no",
        "--num_cpu_threads_per_process=1",
        *(["--multi_gpu"] if processes > 1 else []),
        "script/train.py",
        f"--config-name={config}",
        f"mixed_precision={precision}",
        "resume=auto",
        *settings,
    ]
