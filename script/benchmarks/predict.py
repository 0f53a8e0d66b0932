"""What a frame of `tempohand predict` costs on the CPU, step by step, with torch and with ONNX Runtime; and
the whole command, its steps one after the other and ahead of each other.

Means of milliseconds a frame, wall and processor time; of the steps without loading, of the whole with it.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import tempohand
from tempohand.inference import export, predict_files
from tempohand.inference.camera import CameraChoice
from tempohand.inference.overlay import VideoOverlay, draw_hands
from tempohand.inference.palm_finder import VIDEO_TILES, PalmFinder
from tempohand.inference.palm_following import LOOK_EVERY, FollowedPalms
from tempohand.inference.predict import AHEAD, answers
from tempohand.inference.predict_files import BATCH_SIZES
from tempohand.inference.predictor import StreamingPredictor
from tempohand.inference.runtime import NAMES, open_runtime
from tempohand.inference.settings import PredictSettings
from tempohand.inference.source import VideoSource
from tempohand.inference.tracker import SMOOTHING, Tracker
from tempohand.model.landmarks import HandLandmarkNetwork
from tempohand.model.palms import PalmDetector

from .report import Report

STEPS = ("read", "find", "predict", "draw", "encode", "keep")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to measure."""
    parser.add_argument("video", type=Path, help="a video with a hand")
    parser.add_argument("--runtimes", nargs="+", default=NAMES, choices=NAMES, help="default: both")
    parser.add_argument("--turns", type=int, default=1, help="of the whole command (default %(default)s)")


def run(arguments: argparse.Namespace) -> Report:
    """Milliseconds a frame."""
    rows, details = [], {}
    for name in arguments.runtimes:
        taken, frames = _steps(arguments.video, name)
        details[name] = {step: (1e3 * taken[step] / frames).tolist() for step in STEPS}
        rows += [[name, step, *(f"{value:.1f}" for value in details[name][step])] for step in STEPS]
        total = np.sum([details[name][step] for step in STEPS], axis=0)
        rows.append([name, "all steps", *(f"{value:.1f}" for value in total)])
    ratios = {}
    for name in arguments.runtimes:
        for overlay in (True, False):
            drawn = "with overlay" if overlay else "without"
            ways = _whole(arguments.video, name, overlay, arguments.turns)
            for way, clocks in ways.items():
                rows.append([name, f"command {drawn}, {way}", *(f"{value:.1f}" for value in clocks)])
                details[name][f"{drawn}, {way}"] = clocks.tolist()
            ratios[f"{name}_{'overlay' if overlay else 'no_overlay'}"] = float(
                ways["one after the other"][0] / ways["ahead"][0]
            )
    return Report(["runtime", "step", "wall, ms", "processor, ms"], rows, ratios, {"steps": details})


def _steps(video: Path, name: str) -> tuple[dict[str, np.ndarray], int]:
    """(wall, processor time) of every step in s, and the number of frames; all in one thread."""
    taken: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(2))

    def timed(step: str, function: Callable) -> Callable:
        def call(*given, **named):
            begun = _clocks()
            try:
                return function(*given, **named)
            finally:
                taken[step] += _clocks() - begun

        return call

    def read() -> Iterator:
        step = timed("read", pictures.__next__)
        while True:
            try:
                yield step()
            except StopIteration:
                return

    runtime = open_runtime(name)
    source = VideoSource(video)
    pictures = source.pictures()
    source.pictures = read
    palms, landmarks = runtime.palms(PalmDetector.load()), runtime.landmarks(HandLandmarkNetwork.load())
    boxes = FollowedPalms(PalmFinder(palms, landmarks, tiles=VIDEO_TILES, max_hands=8), LOOK_EVERY)
    boxes.detect = timed("find", boxes.detect)
    network = tempohand.load(runtime=name)
    predictor = StreamingPredictor(network, batch_size=BATCH_SIZES["cpu"])
    predictor.push_all, predictor.look = (
        timed("predict", predictor.push_all),
        timed("predict", predictor.look),
    )
    faces = network.hand.faces.numpy()
    frames = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        export.Rows(folder) as rows,
        VideoOverlay(Path(folder) / "overlay.mp4", source.fps) as overlay,
    ):
        for answer in answers(source, boxes, Tracker(smoothing=SMOOTHING), CameraChoice(), predictor):
            picture = timed("draw", draw_hands)(answer.frame.image, answer.hands, faces)
            timed("encode", overlay.write)(answer.frame, picture)
            timed("keep", rows.append)(answer.hands)
            frames += 1
    return taken, frames


def _whole(video: Path, name: str, overlay: bool, turns: int) -> dict[str, np.ndarray]:
    """The least (wall, processor time) a frame of the command in ms, the ways taking turns."""
    ways = {"one after the other": 0, "ahead": AHEAD}
    taken = {way: [] for way in ways}
    for _ in range(turns):
        for way, most in ways.items():
            predict_files.AHEAD = most
            with tempfile.TemporaryDirectory() as folder:
                begun = _clocks()
                settings = PredictSettings(video, out=folder, overlay=overlay, runtime=name, device="cpu")
                summary = predict_files.predict_files(settings)
                taken[way].append(1e3 * (_clocks() - begun) / summary.frames)
    return {way: np.min(values, axis=0) for way, values in taken.items()}


def _clocks() -> np.ndarray:
    """(wall, processor time), s."""
    return np.array([time.perf_counter(), time.process_time()])
