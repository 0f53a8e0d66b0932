"""What a frame of a video costs on the CPU from picture to hand, by torch and by ONNX Runtime: following the
hand, looking for new ones, and predicting it. Without decoding and drawing.

Runtimes take turns at every frame. Medians of milliseconds, wall and processor time, and the least processor
time, which a busy machine disturbs least.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

import tempohand
from tempohand.inference.box_propagation import FollowedHands
from tempohand.inference.palm_finder import PalmFinder
from tempohand.inference.palm_following import LOOK_EVERY
from tempohand.inference.predict_files import FOLLOWERS
from tempohand.inference.predictor import HandInput, StreamingPredictor
from tempohand.inference.runtime import NAMES, open_runtime
from tempohand.inference.source import SourceFrame, open_source
from tempohand.model.landmarks import HandLandmarkNetwork
from tempohand.model.palms import PalmDetector

from .report import Report

PARTS = ("follow", "look", "predict", "tracked")
CLOCKS = ("wall", "processor", "least")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to measure."""
    parser.add_argument("video", type=Path, help="a video with a hand")
    parser.add_argument("--runtimes", nargs="+", default=NAMES, choices=NAMES, help="default: both")
    parser.add_argument("--frames", type=int, default=60, help="of the video (default %(default)s)")
    parser.add_argument("--tiles", type=int, default=1, help="predict's --finder-tiles (default %(default)s)")
    parser.add_argument(
        "--follow", choices=FOLLOWERS, default="landmarks", help="predict's (default %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=1, help="default %(default)s")


def run(arguments: argparse.Namespace) -> Report:
    """Milliseconds per frame; `tracked` is a frame in which a known hand is followed and predicted."""
    torch.set_num_threads(arguments.threads)
    follower = FOLLOWERS[arguments.follow]
    ways = {name: _Way(name, arguments.tiles, follower) for name in arguments.runtimes}
    for frame, _ in zip(open_source(arguments.video), range(arguments.frames), strict=False):
        for way in ways.values():
            way.take(frame)
    header = ["runtime", "time", *(f"{part}, ms" for part in PARTS)]
    details = {name: way.milliseconds() for name, way in ways.items()}
    rows = [
        [name, clock, *(f"{details[name][clock][part]:.1f}" for part in PARTS)]
        for name in ways
        for clock in CLOCKS
    ]
    ratios = {}
    if set(NAMES) <= ways.keys():
        ratios = {
            f"torch_vs_onnx_{part}": details["torch"]["processor"][part] / details["onnx"]["processor"][part]
            for part in PARTS
        }
    return Report(header, rows, ratios, {"runtimes": details})


class _Way:
    """One runtime's finder and predictor, and what each frame took."""

    def __init__(self, name: str, tiles: int, follower: type):
        runtime = open_runtime(name)
        finder = PalmFinder(
            runtime.palms(PalmDetector.load()),
            runtime.landmarks(HandLandmarkNetwork.load()),
            tiles=tiles,
            max_hands=1,
        )
        self.finder = follower(finder, LOOK_EVERY)
        self.predictor = StreamingPredictor(tempohand.load(runtime=name))
        self.is_right = True  # as was said last
        self.taken: dict[str, list[tuple[float, float]]] = {part: [] for part in PARTS}

    def take(self, frame: SourceFrame) -> None:
        """One frame of the video, the next one."""
        kind = "look" if self.finder.looks else "follow"
        begun = _clocks()
        found = self.finder.detect(frame)
        followed = _clocks()
        self.taken[kind].append(tuple(followed - begun))
        if not found:
            return
        if found[0].is_right is not None:
            self.is_right = found[0].is_right
        hand = HandInput(image=frame.image, box=found[0].box, time=frame.time, is_right=self.is_right)
        estimates = self.predictor.push_all([hand])
        if isinstance(self.finder, FollowedHands):
            self.finder.follow(estimates)
        done = _clocks()
        self.taken["predict"].append(tuple(done - followed))
        if kind == "follow":
            self.taken["tracked"].append(tuple(done - begun))

    def milliseconds(self) -> dict[str, dict[str, float]]:
        """By clock and part; nan where no frame had the part."""
        values = {}
        for part, taken in self.taken.items():
            both = 1e3 * np.array(taken or [(np.nan, np.nan)])
            values[part] = (*np.median(both, axis=0), both[:, 1].min())
        return {
            clock: {part: float(value[place]) for part, value in values.items()}
            for place, clock in enumerate(CLOCKS)
        }


def _clocks() -> np.ndarray:
    """(wall, processor time), s."""
    return np.array([time.perf_counter(), time.process_time()])
