"""Stage 1's training steps: steps and pictures a second, peak memory, the used share of the device's rate.

Random weights and one batch of random pictures that is on the device already; each step is the whole one:
forward, criterion, backward, clipping, optimizer, average. Operations are those of matrix products,
convolutions and attention in one step, forward and backward, as torch counts them; over the step's time and
the device's rate they are the MFU (model FLOP utilisation). It runs on a CPU as well, where a rate has to be
given.
"""

import argparse
import time
from dataclasses import dataclass

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch.utils.flop_counter import FlopCounterMode

from tempohand.batch import ClipBatch, Frames, HandTarget
from tempohand.geometry import normalise_pixels, project
from tempohand.hand.layer import HandLayer
from tempohand.model.network import Network
from tempohand.model.registry import build_network
from tempohand.training.launch import new_accelerator
from tempohand.training.learner import Learner
from tempohand.training.objective import combine, weights_at

from .networks import CONFIG
from .report import Report

# A part of the device's name -> its dense rate in 16 bits, 10^12 operations a second, by its data sheet.
RATES = {"H200": 989, "H100": 989, "A100": 312, "L40S": 362, "L4": 121, "A10G": 70, "4090": 165, "3090": 71}
GIB = 2**30


@dataclass(frozen=True)
class Measured:
    """Of one network. memory: bytes, 0 on a CPU. seconds: of the median step."""

    pictures: int
    operations: int
    memory: int
    seconds: float

    def mfu(self, rate: float | None) -> float | None:
        """Of a device of `rate` operations a second; None where that is unknown."""
        return self.operations / self.seconds / rate if rate else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to measure."""
    parser.add_argument(
        "--networks",
        nargs="+",
        default=["dino_small", "dino_base", "dino_large"],
        help="of config/stage1-NAME.yaml (default %(default)s)",
    )
    parser.add_argument("--batch", type=int, default=64, help="pictures a step (default %(default)s)")
    parser.add_argument("--steps", type=int, default=30, help="that are measured (default %(default)s)")
    parser.add_argument("--precision", default="bf16", choices=("bf16", "fp16", "no"))
    parser.add_argument(
        "--rate", type=float, help="the device's, 10^12 operations a second (default: by its name)"
    )


def run(arguments: argparse.Namespace) -> Report:
    """The table, one row a network. Raises ValueError for numbers below 1."""
    for name in ("batch", "steps"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"`{name}` is at least 1, not {getattr(arguments, name)}")
    rate = arguments.rate or device_rate()
    found = {
        name: measure(name, arguments.batch, arguments.steps, arguments.precision)
        for name in arguments.networks
    }
    header = [
        "Stage 1",
        "pictures a step",
        "steps/s",
        "pictures/s",
        "peak memory, GiB",
        "GFLOP a picture",
        "MFU",
    ]
    rows, details = [], {}
    for name, one in found.items():
        mfu = one.mfu(rate and rate * 1e12)
        rows.append(
            [
                name,
                str(one.pictures),
                f"{1 / one.seconds:.2f}",
                f"{one.pictures / one.seconds:.1f}",
                f"{one.memory / GIB:.1f}" if one.memory else "-",
                f"{one.operations / one.pictures / 1e9:.1f}",
                "-" if mfu is None else f"{mfu:.0%}",
            ]
        )
        details[name] = {**vars(one), "mfu": mfu}
    return Report(header, rows, {}, {"precision": arguments.precision, "rate": rate, "networks": details})


def device_rate() -> float | None:
    """Of the GPU that there is, 10^12 operations a second; None where its name is unknown."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return next((rate for part, rate in RATES.items() if part in name), None)


def measure(name: str, batch_size: int, steps: int, precision: str) -> Measured:
    """Steps of config/stage1-<name>.yaml. One goes before those that are measured, and is counted."""
    with initialize_config_dir(str(CONFIG), version_base="1.3"):
        settings = OmegaConf.to_container(compose(f"stage1-{name}"), resolve=True)
    torch.manual_seed(0)
    network = build_network(settings["network"])
    accelerator = new_accelerator(precision)
    network.to(accelerator.device)  # before the optimizer is made of its parameters
    learner = Learner(network, settings["optim"], accelerator)
    batch = random_pictures(network, batch_size).to(accelerator.device)
    weights = weights_at(settings["loss"], 0, settings["optim"]["steps"])
    network.train()
    on_gpu = accelerator.device.type == "cuda"

    def step(number: int) -> None:
        with accelerator.autocast():
            terms = network.criterion(learner.model(batch), batch)
        loss, _ = combine(terms, weights)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(network.parameters(), settings["optim"]["clip"])
        learner.optimizer.step()
        learner.optimizer.zero_grad()
        learner.end_step(number)

    with FlopCounterMode(display=False) as counted:
        step(1)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    taken = []
    for number in range(steps):
        start = time.perf_counter()
        step(number + 2)
        if on_gpu:
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    memory = torch.cuda.max_memory_allocated() if on_gpu else 0
    learner.release()
    return Measured(batch_size, counted.get_total_flops(), memory, sorted(taken)[len(taken) // 2])


def random_pictures(network: Network, count: int) -> ClipBatch:
    """Noise in front of cameras, with hands as labels."""
    generator = torch.Generator().manual_seed(0)
    height, width = network.crop.size

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(count, *shape, generator=generator)

    focal = torch.full((count, 2), 2.0 * width)
    princpt = torch.tensor([width / 2, height / 2]).expand(count, 2)
    pose, betas = normal(1, 48) * 0.3, normal(1, 10) * 0.5
    trans = torch.tensor([0.0, 0.0, 500.0]) + normal(1, 3) * 20
    joints = HandLayer()(pose, betas, trans).joints
    joints2d = normalise_pixels(project(joints, focal[:, None], princpt[:, None]), (width, height))
    yes = torch.ones(count, 1, dtype=torch.bool)
    every = yes[..., None].expand(-1, -1, 21)
    noise = torch.randint(0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8)
    target = HandTarget(
        joints2d, every, joints, every, pose, betas, trans, yes, yes, hidden=torch.zeros(count, 1)
    )
    return ClipBatch(
        frames=Frames((height, width), focal, princpt, torch.zeros(count, dtype=torch.float64), noise),
        index=torch.arange(count)[:, None],
        frame_mask=yes,
        is_right=yes[:, 0],
        row=torch.arange(count),
        target=target,
    )
