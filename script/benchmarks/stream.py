"""Streaming inference: what Stage 2 costs per frame beside Stage 1 alone, and beside the whole window anew at
every frame.

Random weights, one hand, the same frames for all; "push" is the whole way from picture to HandEstimate (crop,
network, kinematics), "network" the network with its hand layer. Each network runs on the CPU, where processor
time is measured, and on the GPU where there is one.
"""

import argparse
import time
from dataclasses import replace

import numpy as np
import torch

from tempohand.batch import ClipBatch, Frames
from tempohand.inference.predictor import HandInput, StreamingPredictor
from tempohand.model.registry import build_network

from .networks import stage2_settings
from .report import Report, time_in_turns

NETWORKS = ("tiny", "small", "dino_small")
CLOCKS = {"cpu": time.process_time, "cuda": time.perf_counter}
PICTURE = (720, 1280)
BOX = (560.0, 250.0, 780.0, 470.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to measure and for how long."""
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS, help="default: all")
    parser.add_argument(
        "--seconds",
        type=float,
        default=20.0,
        help="of measuring per network, device and kind (default %(default)g)",
    )
    parser.add_argument(
        "--threads", type=int, default=None, help="of torch on the CPU (default: its own choice)"
    )


def run(arguments: argparse.Namespace) -> Report:
    """Milliseconds per frame; the headline ratios are those of the first network's push on the CPU."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    rows = []
    details = {}
    headline = None
    for name in arguments.networks:
        for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
            for kind, functions in _kinds(name, device).items():
                taken = time_in_turns(functions, seconds=arguments.seconds, clock=CLOCKS[device])
                single, stream, window = (
                    1e3 * taken[which] for which in ("single_frame", "stream", "window")
                )
                ratios = {"stream_vs_single_frame": stream / single, "window_vs_stream": window / stream}
                milliseconds = {"single_frame": single, "stream": stream, "window": window}
                details.setdefault(name, {}).setdefault(device, {})[kind] = {
                    **ratios,
                    "milliseconds": milliseconds,
                }
                headline = headline or ratios
                rows.append(
                    [
                        name,
                        device,
                        kind,
                        *(f"{value:.2f}" for value in (single, stream, window)),
                        *(f"{r:.2f}" for r in ratios.values()),
                    ]
                )
    header = [
        "network",
        "device",
        "kind",
        "Stage 1, ms",
        "stream, ms",
        "window, ms",
        "stream / Stage 1",
        "window / stream",
    ]
    return Report(header, rows, headline, {"networks": details})


def _kinds(name: str, device: str) -> dict[str, dict]:
    """kind -> what is timed, each call being one frame."""
    network = _network(name).to(device)
    single = network.spatial_only().eval()
    picture = np.random.default_rng(0).integers(0, 256, (*PICTURE, 3), dtype=np.uint8)
    clock = {}

    def push(predictor: StreamingPredictor, frames: int = 1):
        def go():
            if frames > 1:
                predictor.reset()
            clock[predictor] = clock.get(predictor, 0) + 1
            times = [(clock[predictor] + frame) / 30 for frame in range(frames)]
            predictor.push_all([HandInput(image=picture, box=BOX, time=time, focal=1000.0) for time in times])

        return go

    clip = _clip(network.num_frame, network.size).to(device)
    last = clip.last_frame()
    with torch.inference_mode():
        features = network.encode(clip.frames)

    @torch.inference_mode()
    def stream():
        now = torch.cat([network.encode(last.frames), features[1:]])
        return network(replace(clip, frames=replace(clip.frames, image=None, features=now)))

    calls = {
        "single_frame": torch.inference_mode()(lambda: single(last)),
        "stream": stream,
        "window": torch.inference_mode()(lambda: network(clip)),
    }
    pushes = {
        "single_frame": push(StreamingPredictor(single, device=device)),
        "stream": push(StreamingPredictor(network, device=device)),
        "window": push(StreamingPredictor(network, device=device), network.num_frame),
    }
    return {"push": pushes, "network": calls}


def _network(name: str) -> torch.nn.Module:
    """Stage 2 with random weights, its temporal encoder no longer at its zero start."""
    torch.manual_seed(0)
    network = stage2_settings(name)["network"]
    stage2 = build_network(network)
    stage2.config = {"network": network}
    for parameter in stage2.temporal.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return stage2.eval()


def _clip(num_frame: int, size: int) -> ClipBatch:
    """One clip of noise."""
    generator = torch.Generator().manual_seed(0)
    index = (torch.arange(num_frame) + 1) % num_frame  # the last frame comes first
    return ClipBatch(
        frames=Frames(
            size=(size, size),
            image=torch.randint(0, 256, (num_frame, 3, size, size), generator=generator, dtype=torch.uint8),
            focal=torch.full((num_frame, 2), 2.0 * size),
            princpt=torch.full((num_frame, 2), size / 2),
            time=torch.arange(num_frame, dtype=torch.float64).roll(1) / 30,
        ),
        index=index[None],
        frame_mask=torch.ones(1, num_frame, dtype=torch.bool),
        is_right=torch.ones(1, dtype=torch.bool),
        row=torch.full((1,), -1),
    )
