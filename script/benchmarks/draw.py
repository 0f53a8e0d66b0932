"""Where a core's time goes when synthetic sequences are drawn: milliseconds a frame of each part.

Sequences are drawn in this process as `tempohand prepare` draws them, and thrown away. Of what is done once a
sequence (composing, the background's picture) each frame has its share.
"""

import argparse
import importlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from unittest.mock import patch

import cv2
import torch

from tempohand.synthetic.generate import SPLITS, SyntheticConfig, built

from .networks import settings_of
from .report import Report

# What each part is: where its functions are looked up, below tempohand.synthetic. A part that is called by
# another one is taken out of that one.
PARTS = {
    "composing: motion, posing, things": ["generate.compose"],
    "materials: skin, clothes": ["render_sequence.Materials"],
    "the background's picture": [
        "render_sequence.place",
        "backdrop.background",
        "backdrop.photo_background",
        "render_sequence.Surroundings.behind",
    ],
    "the background in the window": ["render_sequence.SequenceRenderer.background"],
    "rasterising": ["render_sequence.rasterise"],
    "normals": ["render_sequence.vertex_normals"],
    "cast shadow": ["render_sequence.cast_shadow"],
    "ambient occlusion": ["render_sequence.openness", "render_sequence.crevices"],
    "lighting vertices": ["render_sequence.light_vertices"],
    "shading pixels": ["render_sequence.expose"],
    "sensor and lens": ["film.Film.develop"],
    "telephone's finish": ["postprocess.Finish.__call__"],
    "encoding": ["film.Film.encode"],
}
REST = "all else"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to draw."""
    parser.add_argument("--config", default="synthetic-wide", help="a file of config (default %(default)s)")
    parser.add_argument("--sequences", type=int, default=24, help="to draw (default %(default)s)")


def run(arguments: argparse.Namespace) -> Report:
    """Processor milliseconds a frame of every part. Raises ValueError for a configuration of another kind."""
    settings = settings_of(arguments.config)
    if settings.get("dataset") != "synthetic":
        raise ValueError(f"`config` is one of synthetic sequences, '{arguments.config}' is none")
    config = _table(settings)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    parts = _Parts()
    with parts.measured():
        _draw(config, range(2))  # kernels are loaded
        parts.seconds.clear()
        frames, taken = _draw(config, range(2, 2 + arguments.sequences))
    milliseconds = {name: 1e3 * parts.seconds[name] / frames for name in PARTS}
    whole = 1e3 * taken / frames
    milliseconds[REST] = whole - sum(milliseconds.values())
    rows = [[name, f"{value:.2f}", f"{value / whole:.0%}"] for name, value in milliseconds.items()]
    rows.append(["a frame", f"{whole:.2f}", f"{1e3 / whole:.0f} frames/s"])
    details = {"milliseconds": milliseconds, "frames": frames, "frames_per_s": 1e3 / whole}
    return Report(["part", "ms a frame", "share"], rows, {}, details)


def _table(settings: dict) -> SyntheticConfig:
    for name in ("dataset", "out", "engine", "processes", "overwrite"):
        settings.pop(name)
    for field, prefix in (("sequences", "num"), ("frames", "frames")):
        settings[field] = {split: settings.pop(f"{prefix}_{split}") for split in SPLITS}
    return built(SyntheticConfig, settings)


def _draw(config: SyntheticConfig, indices: range) -> tuple[int, float]:
    """(frames, processor seconds) of some training sequences."""
    start = time.thread_time()
    frames = sum(1 for index in indices for _ in config.rows("train", index))
    return frames, time.thread_time() - start


class _Parts:
    """Processor seconds of each part, less those of parts inside it."""

    def __init__(self):
        self.seconds: Counter[str] = Counter()
        self.inside = [0.0]  # of each part that is being done: what parts inside it took

    @contextmanager
    def measured(self) -> Iterator[None]:
        """While this is open, every part's functions are measured."""
        with ExitStack() as stack:
            for name, places in PARTS.items():
                for place in places:
                    module, *attributes = place.split(".")
                    owner = importlib.import_module(f"tempohand.synthetic.{module}")
                    for attribute in attributes[:-1]:
                        owner = getattr(owner, attribute)
                    function = getattr(owner, attributes[-1])
                    stack.enter_context(patch.object(owner, attributes[-1], self._timed(name, function)))
            yield

    def _timed(self, name: str, function: Callable) -> Callable:
        @wraps(function, updated=())
        def timed(*arguments, **options):
            start = time.thread_time()
            self.inside.append(0.0)
            result = function(*arguments, **options)
            taken = time.thread_time() - start
            self.seconds[name] += taken - self.inside.pop()
            self.inside[-1] += taken
            return result

        return timed
