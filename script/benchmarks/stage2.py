"""Training steps of Stage 2: from cached tokens, and with the backbone run for 7 frames at every step,
without and with its gradients.

Random weights and random pictures, the same clips for all; each step is the whole one: batch, forward,
criterion, backward, optimizer. Tokens are read from shards on disk as in training. With gradients the
backbone is in the graph and its parameters get gradients, which is what training a frozen network without
taking it out of the graph costs.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from tempohand.batch import ClipBatch, Frames, HandPrediction, frames_in_order
from tempohand.data.clips import ClipSampling
from tempohand.data.loader import ClipDataset, collate, training_batches
from tempohand.data.table import COLUMNS, LABELS, FrameTable, write_index, write_shard
from tempohand.data.token_store import TokenStore
from tempohand.data.tokens import Encoder, cached
from tempohand.data.training_order import TrainingOrder
from tempohand.data.view import Augmentation, View
from tempohand.hand.layer import HandLayer
from tempohand.model.registry import build_network
from tempohand.training.objective import combine
from tempohand.training.optim import parameter_groups

from .networks import stage2_settings
from .report import Report

SEQUENCES, FRAMES = 2, 12  # of the random table
QUICK_STEPS = 5  # cached ones to one of each other way: a single one is over before the processor has settled


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to measure."""
    default = "dino_large" if torch.cuda.is_available() else "dino_small"
    parser.add_argument("--network", default=default, help="a file of config/network (default %(default)s)")
    parser.add_argument(
        "--batch",
        type=int,
        default=16 if torch.cuda.is_available() else 8,
        help="clips a step (default %(default)s)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=40.0,
        help="of measuring, after one step of each way (default %(default)g)",
    )


def run(arguments: argparse.Namespace) -> Report:
    """Clips per second of the three ways, measured in turns."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    settings = stage2_settings(arguments.network)
    network = build_network(settings["network"]).to(device)
    with tempfile.TemporaryDirectory() as folder:
        steps = _steps(Path(folder), network, settings["loss"], arguments.batch, device)
        for step in steps.values():
            step()
        taken, end = {name: [] for name in steps}, time.perf_counter() + arguments.seconds
        while time.perf_counter() < end or not taken["grad"]:
            for name, step in steps.items():
                taken[name] += [_seconds(step, device) for _ in range(QUICK_STEPS if name == "cached" else 1)]
    speed = {name: arguments.batch / float(np.median(values)) for name, values in taken.items()}
    ratios = {
        "cached_vs_grad": speed["cached"] / speed["grad"],
        "cached_vs_no_grad": speed["cached"] / speed["no_grad"],
    }
    labels = {
        "cached": "cached tokens",
        "no_grad": "backbone for 7 frames, no gradients",
        "grad": "backbone for 7 frames in the graph",
    }
    rows = [
        [
            labels[name],
            str(len(taken[name])),
            f"{1e3 * arguments.batch / value:.1f}",
            f"{value:.2f}",
            f"{speed['cached'] / value:.1f}",
        ]
        for name, value in speed.items()
    ]
    details = {"network": arguments.network, "batch": arguments.batch, "clips_per_s": speed, "seconds": taken}
    return Report(["a step", "steps", "ms", "clips/s", "cached is faster by"], rows, ratios, details)


def _steps(
    folder: Path, network: torch.nn.Module, weights: dict[str, float], batch_size: int, device: torch.device
) -> dict[str, Callable[[], None]]:
    """name -> one training step under the loss's weights."""
    table = FrameTable(random_table(folder / "table", network.size), "train")
    clips = ClipDataset(
        table,
        View(network.size, network.expansion, Augmentation()),
        network.num_frame,
        ClipSampling(),
        views=1,
    )

    @torch.no_grad()
    def encode(frames: Frames) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return network.encode(frames.to(device)).cpu()

    held_out = ClipDataset(table, clips.view, network.num_frame)
    tokens, _ = cached(TokenStore(folder / "tokens", {}), clips, held_out, Encoder(encode, "fp16"))
    order = TrainingOrder(clips.clips.training_rows(), batch_size)
    read = iter(training_batches(tokens, order, workers=0))
    keys = next(iter(order))
    pictures = collate([clips[key] for key in keys])  # decoded before: the comparison is of networks
    pictures = _each_its_own(pictures).to(device)

    optimizer = torch.optim.AdamW(parameter_groups(network, 1e-5, 1e-5, 1e-4), fused=True)
    single = network.spatial_only()

    def in_graph(batch: ClipBatch) -> HandPrediction:
        network.spatial.requires_grad_(True)
        features = single.encode(batch.frames)
        return network(replace(batch, frames=replace(batch.frames, image=None, features=features)))

    def step(forward: Callable, batch: ClipBatch) -> None:
        with torch.autocast(device.type, torch.bfloat16):
            terms = network.criterion(forward(batch), batch)
        loss, _ = combine(terms, weights)
        loss.backward()
        optimizer.step()
        network.zero_grad(set_to_none=True)
        network.spatial.requires_grad_(False)

    return {
        "cached": lambda: step(network, next(read).to(device)),
        "no_grad": lambda: step(network, pictures),
        "grad": lambda: step(in_graph, pictures),
    }


def _each_its_own(batch: ClipBatch) -> ClipBatch:
    """The same clips, none of which shares a frame with another or shows one twice."""
    places = batch.index.flatten()
    order, index = frames_in_order(torch.arange(len(places)).view_as(batch.index))
    return replace(batch, frames=batch.frames[places[order]], index=index)


def random_table(root: Path, size: int) -> Path:
    """A table of noise for pictures, with hands as labels."""
    rng, layer = np.random.default_rng(0), HandLayer()
    root.mkdir(parents=True)

    def row(sequence: int, frame: int) -> dict:
        picture = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
        pose, trans = rng.normal(0, 0.2, 48), np.array([0.0, 0.0, 500.0])
        joints = (
            layer(*(torch.from_numpy(value).float()[None] for value in (pose, np.zeros(10), trans)))
            .joints[0]
            .numpy()
        )
        focal, princpt = np.full(2, 1.5 * size), np.full(2, size / 2)
        joints2d = joints[:, :2] / joints[:, 2:] * focal + princpt
        known = {
            "image": cv2.imencode(".jpg", picture)[1].tobytes(),
            "width": size,
            "height": size,
            "focal": focal,
            "princpt": princpt,
            "box": np.concatenate([joints2d.min(axis=0), joints2d.max(axis=0)]),
            "is_right": True,
            "joints2d": joints2d,
            "joints": joints,
            "trans": joints[0],
            "pose": pose,
            "source": "noise",
            "sequence": str(sequence),
            "recording": str(sequence),
            "frame": frame,
            "time": frame / 30,
        }
        valid = {
            "joints2d_mask": np.ones(21, bool),
            "joints_mask": np.ones(21, bool),
            "has_hand": True,
            "has_camera": True,
        }
        return (
            {name: np.zeros(COLUMNS[name][1]) if COLUMNS[name][1] else 0.0 for name in LABELS} | known | valid
        )

    write_shard(
        root / "train.arrow",
        (row(sequence, frame) for sequence in range(SEQUENCES) for frame in range(FRAMES)),
    )
    write_index(root, {"train": ["train.arrow"]}, {"made_by": "benchmark"})
    return root


def _seconds(step: Callable[[], None], device: torch.device) -> float:
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start
