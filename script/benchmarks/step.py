"""Where a training step's processor time goes, and the training loop beside the bare network.

A step of the loop is what script/train.py does of it: forward, loss terms, checks, backward, the gradient's
norm, optimizer, schedule, averaged weights. The bare network does forward, loss, backward and optimizer on
the same ready batch, in turns with the loop. Reading (decoding pictures; crops, augmentation, collating) is
measured in this process, though worker processes do it in training: on a machine without a GPU they share the
cores with the network.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from tempohand.assemble.data import training_view
from tempohand.assemble.network import checkpoint_config
from tempohand.batch import ClipBatch
from tempohand.data.addresses import place
from tempohand.data.clips import ClipSampling
from tempohand.data.loader import ClipDataset, training_batches
from tempohand.data.table import FrameTable
from tempohand.data.training_order import TrainingOrder
from tempohand.model.registry import build_network, network_class
from tempohand.training.launch import new_accelerator
from tempohand.training.learner import Learner
from tempohand.training.objective import combine
from tempohand.training.optim import adamw
from tempohand.training.processes import seed_step
from tempohand.training.step_checks import StepChecks

from .networks import settings_of
from .report import Report
from .stage2 import random_table

PARTS = {
    "decode": "decoding pictures",
    "crop": "crops, augmentation, collating",
    "forward": "forward",
    "criterion": "loss terms",
    "checks": "means, counts, whether all is finite",
    "backward": "backward",
    "clip": "the gradient's norm",
    "optimizer": "optimizer",
    "end": "schedule and averaged weights",
    "rest": "all else: random numbers, Accelerate",
}
READING = ("decode", "crop")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to measure."""
    parser.add_argument(
        "--config", default="stage1-tiny", help="a Stage 1 file of config (default %(default)s)"
    )
    parser.add_argument(
        "--data", type=place, help="a table with a split 'train' (default: pictures of noise)"
    )
    parser.add_argument("--batch", type=int, help="clips a step (default: the configuration's)")
    parser.add_argument("--steps", type=int, default=30, help="of each way (default %(default)s)")
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        help="of torch (default %(default)s: with more, processor time holds what threads spin for each "
        "other while another process has a core)",
    )


def run(arguments: argparse.Namespace) -> Report:
    """Processor milliseconds of each part of a step, medians, and the loop's throughput over the bare
    network's. Raises ValueError for a network of another stage than 1, which needs a checkpoint."""
    torch.set_num_threads(arguments.threads)
    settings = settings_of(arguments.config, "data.root=table")
    if network_class(settings["network"]).stage != 1:
        raise ValueError(f"`config` is a file of Stage 1, '{arguments.config}' is none")
    settings["optim"]["batch_size"] = arguments.batch or settings["optim"]["batch_size"]
    with tempfile.TemporaryDirectory() as folder:
        settings["out"] = folder
        root = arguments.data or random_table(Path(folder) / "table", settings["network"]["size"])
        loop = Loop(settings, FrameTable(root, "train"))
        bare = _bare_step(settings, loop.accelerator.device)
        batch = loop.read()
        taken: dict[str, list[float]] = {"bare": [], "loop": []}
        for step in range(arguments.steps + 2):
            if step == 2:  # what is made once was made
                loop.clock.parts.clear()
                taken = {"bare": [], "loop": []}
            taken["bare"].append(_processor_seconds(bare, batch))
            taken["loop"].append(_processor_seconds(loop.step, step, batch))
            loop.clock.parts.setdefault("rest", []).append(taken["loop"][-1] - loop.clock.of_step)
            batch = loop.read()
    return _report({**loop.clock.parts, **taken}, settings)


def _report(taken: dict[str, list[float]], settings: dict) -> Report:
    medians = {name: 1e3 * float(np.median(values)) for name, values in taken.items()}
    whole = medians["loop"] + sum(medians[name] for name in READING)
    rows = [
        [PARTS[name], f"{medians[name]:.1f}", f"{medians[name] / whole:.1%}"]
        for name in PARTS
        if name in medians
    ]
    rows += [
        ["the loop on a ready batch", f"{medians['loop']:.1f}", f"{medians['loop'] / whole:.1%}"],
        ["the bare network on it", f"{medians['bare']:.1f}", f"{medians['bare'] / whole:.1%}"],
    ]
    # Of each step the two ways stand side by side in time: what the machine does besides reaches both.
    beside = float(np.median(np.divide(taken["bare"], taken["loop"])))
    ratios = {"loop_vs_bare": beside, "loop_and_reading_vs_bare": medians["bare"] / whole}
    details = {"milliseconds": medians, "batch": settings["optim"]["batch_size"]}
    rows.append(["the loop's throughput over the bare network's", f"{beside:.3f}", ""])
    return Report(["of a step", "processor ms", "share"], rows, ratios, details)


class _Clock:
    """Processor seconds of the parts of steps."""

    def __init__(self):
        self.parts: dict[str, list[float]] = {}
        self.of_step = 0.0  # what parts took since the step began

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.parts.setdefault(name, []).append(time.process_time() - start)
        self.of_step += self.parts[name][-1]


class Loop:
    """script/train.py's loop, its parts measured."""

    def __init__(self, settings: dict, table: FrameTable):
        self.settings = settings
        self.clock = _Clock()
        self.accelerator = new_accelerator(settings["mixed_precision"], accumulate=1)
        network = _network(settings)
        self.learner = Learner(network, settings["optim"], self.accelerator)
        about = checkpoint_config(settings, "loss")
        self.checks = StepChecks(
            self.accelerator, network, settings, about, table.describe_row, "script/train.py"
        )
        sampling = ClipSampling(**settings["sampling"])
        self.dataset = ClipDataset(table, training_view(settings), 1, sampling, settings["seed"])
        rows = self.dataset.clips.training_rows()
        order = TrainingOrder(rows, settings["optim"]["batch_size"], seed=settings["seed"])
        self.batches = training_batches(self.dataset, order, workers=0)
        network.train()

    def read(self) -> ClipBatch:
        """The next batch. Its pictures are decoded once more, which says what that takes."""
        start = time.process_time()
        batch = next(self.batches)
        whole = time.process_time() - start
        with self.clock("decode"):
            for row in batch.row.tolist():
                self.dataset.table.image(row)
        self.clock.parts.setdefault("crop", []).append(whole - self.clock.parts["decode"][-1])
        return batch

    def step(self, number: int, batch: ClipBatch) -> None:
        """A whole step on a ready batch."""
        clock, checks = self.clock, self.checks
        accelerator = self.accelerator
        model, optimizer = self.learner.model, self.learner.optimizer
        clock.of_step = 0.0
        checks.begin_step(number, logged=False)
        batch = batch.to(accelerator.device, non_blocking=True)
        seed_step(self.settings["seed"], number, 0, accelerator.process_index)
        with accelerator.accumulate(model):
            with accelerator.autocast():
                with clock("forward"):
                    prediction = model(batch)
                with clock("criterion"):
                    terms = self.learner.network.criterion(prediction, batch)
            with clock("checks"):
                loss = checks.loss(batch, prediction, terms)
            with clock("backward"):
                accelerator.backward(loss)
            with clock("clip"):
                checks.clip_gradient(self.settings["optim"]["clip"])
            with clock("optimizer"):
                optimizer.step()
                optimizer.zero_grad()
        with clock("end"):
            self.learner.end_step(number + 1)


def _bare_step(settings: dict, device: torch.device) -> Callable[[ClipBatch], None]:
    """Forward, loss, backward and optimizer of a network of the same settings, and nothing else."""
    network = _network(settings).to(device).train()
    optimizer = adamw(network, settings["optim"])
    precision = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(settings["mixed_precision"])
    weights = {name: value for name, value in settings["loss"].items() if isinstance(value, float)}

    def step(batch: ClipBatch) -> None:
        batch = batch.to(device)
        with torch.autocast(device.type, precision, enabled=precision is not None):
            terms = network.criterion(network(batch), batch)
        combine(terms, weights)[0].backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _network(settings: dict) -> torch.nn.Module:
    torch.manual_seed(settings["seed"])
    return build_network(settings["network"])


def _processor_seconds(work: Callable[..., object], *given: object) -> float:
    start = time.process_time()
    work(*given)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.process_time() - start
