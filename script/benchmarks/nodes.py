"""A training step on two nodes beside one, of the same batch and of the same batch for each process.

Each node is a process with one thread of torch, and two of them meet on this machine's loopback as torchrun
has two machines meet. So what a batch costs more when it is shared is measured (gloo's sums of gradients,
loss terms and statistics, waiting for each other) and not what a network between machines adds to it. Steps
are those of `bench step`, on one ready batch; before each the nodes wait for each other.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from tempohand.data.table import FrameTable
from tempohand.writing import write_whole

from .networks import settings_of
from .report import Report
from .stage2 import random_table
from .step import Loop

WARMUP = 2  # steps of each start that are not counted
# way -> (nodes, whether each has the whole batch)
WAYS = {
    "one": (1, True),
    "two, a half each": (2, False),
    "two, the same each": (2, True),
}
SCRIPT = Path(__file__).resolve().parents[1]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to measure."""
    parser.add_argument(
        "--config", default="stage1-tiny", help="a Stage 1 file of config (default %(default)s)"
    )
    parser.add_argument("--batch", type=int, default=48, help="clips a step, even (default %(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="of each start (default %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="starts of each way, in turns (default %(default)s)"
    )


def run(arguments: argparse.Namespace) -> Report:
    """Milliseconds of a step by the clock and of all processors, medians. Raises ValueError for numbers that
    do not make a measurement, and what a node that fails has said last."""
    if arguments.batch < 2 or arguments.batch % 2:
        raise ValueError(f"`batch` is shared by two nodes: an even number, not {arguments.batch}")
    for name in ("steps", "rounds"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"`{name}` is at least 1, not {getattr(arguments, name)}")
    settings = settings_of(arguments.config, "data.root=table")
    taken: dict[str, list[np.ndarray]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        random_table(root / "table", settings["network"]["size"])
        for _ in range(arguments.rounds):
            for way, (nodes, whole) in WAYS.items():
                clips = arguments.batch if whole else arguments.batch // nodes
                task = {"config": arguments.config, "clips": clips, "steps": arguments.steps}
                taken[way].append(run_nodes(root, nodes, task))
    return _report({way: np.concatenate(values, axis=1) for way, values in taken.items()}, arguments.batch)


def run_nodes(root: Path, nodes: int, task: dict) -> np.ndarray:
    """What steps take on so many nodes: [2, steps], seconds by the clock of the slowest node, and of the
    processors of all. root: holds the table, and what nodes leave. Raises ValueError with the end of what a
    node said that failed."""
    port = free_port()
    started = []
    for rank in range(nodes):
        launcher = ["torch.distributed.run", f"--nnodes={nodes}", f"--node_rank={rank}", "--nproc_per_node=1"]
        launcher += ["--master_addr=127.0.0.1", f"--master_port={port}", "-m"]
        words = ["-m", *(launcher if nodes > 1 else []), "benchmarks.nodes", str(root), json.dumps(task)]
        with (root / f"node{rank}.txt").open("w") as log:
            started.append(
                subprocess.Popen(
                    [sys.executable, *words], env=_environment(), stdout=log, stderr=subprocess.STDOUT
                )
            )
    for rank, code in enumerate([node.wait() for node in started]):
        if code:
            said = (root / f"node{rank}.txt").read_text(errors="replace").strip().splitlines()
            raise ValueError(f"node {rank} of {nodes} ended with {code}: {' | '.join(said[-3:])}")
    found = np.array([json.loads((root / f"node{rank}.json").read_text()) for rank in range(nodes)])
    return np.stack([found[:, 0].max(axis=0), found[:, 1].sum(axis=0)])


def _environment() -> dict[str, str]:
    paths = [str(SCRIPT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    more = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    return {**os.environ, **more, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def free_port() -> int:
    """One of the loopback that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _report(taken: dict[str, np.ndarray], batch: int) -> Report:
    rows, details = [], {}
    for way, (nodes, whole) in WAYS.items():
        clips = batch * nodes if whole else batch
        wall, processor = 1e3 * np.median(taken[way], axis=1)
        rows.append(
            [way, str(clips), f"{wall:.0f}", f"{processor:.0f}", f"{clips / wall * 1e3:.0f}"]
            + [f"{processor / clips:.2f}"]
        )
        details[way] = {"clips": clips, "wall_ms": wall, "processor_ms": processor}
    one = details["one"]
    ratios = {
        f"{name}, {clock}": one[clock] / one["clips"] * found["clips"] / found[clock]
        for name, found in details.items()
        if found is not one
        for clock in ("wall_ms", "processor_ms")
    }
    header = ["nodes", "clips a step", "ms by the clock", "processor ms", "clips/s", "processor ms a clip"]
    return Report(header, rows, ratios, {"steps": details})


def work(root: Path, task: dict) -> None:
    """One node's part: what its steps take, into a file. Called in a process of its own."""
    torch.set_num_threads(1)
    settings = settings_of(task["config"], "data.root=table")
    settings["optim"]["batch_size"] = task["clips"]
    settings["out"] = str(root)
    loop = Loop(settings, FrameTable(root / "table", "train"))
    batch = loop.read()
    taken = []
    for step in range(WARMUP + task["steps"]):
        loop.accelerator.wait_for_everyone()
        start, processor = time.perf_counter(), time.process_time()
        loop.step(step, batch)
        taken.append((time.perf_counter() - start, time.process_time() - processor))
    rank = loop.accelerator.process_index
    write_whole(root / f"node{rank}.json", json.dumps(np.array(taken[WARMUP:]).T.tolist()))
    loop.accelerator.wait_for_everyone()
    loop.learner.release()
    loop.accelerator.end_training()


if __name__ == "__main__":
    work(Path(sys.argv[1]), json.loads(sys.argv[2]))
