"""Objects that threads share."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from tests_support import small_network

from tempohand.inference.finder import HandFinder
from tempohand.inference.predictor import StreamingPredictor
from tempohand.inference.source import SourceFrame
from tempohand.model.registry import build_network

THREADS, FRAMES = 4, 8


@pytest.fixture(autouse=True)
def eager_switches():
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = build_network(small_network(2)).eval()
    return network


def picture(thread: int, frame: int) -> np.ndarray:
    return np.random.default_rng([thread, frame]).integers(0, 255, (60, 80, 3), np.uint8)


def together(work) -> list:
    """work(thread) of every thread, at one moment."""
    start = threading.Barrier(THREADS)

    def begin(thread: int):
        start.wait()
        return work(thread)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begin, range(THREADS)))


def stream(predictor: StreamingPredictor, thread: int) -> list:
    """A hand of the thread's own, on a clock of its own."""
    return [
        predictor.push(
            picture(thread, frame), (10, 10, 50, 50), 100 * thread + frame / 30, hand=thread, frame=frame
        )
        for frame in range(FRAMES)
    ]


def test_hands_of_several_threads_are_as_in_one(network):
    shared = StreamingPredictor(network)
    for thread, estimates in enumerate(together(lambda thread: stream(shared, thread))):
        for a, b in zip(estimates, stream(StreamingPredictor(network), thread), strict=True):
            assert (a.hand, a.history, a.frame) == (b.hand, b.history, b.frame)
            np.testing.assert_array_equal(a.joints, b.joints)


def test_one_hand_of_several_threads_loses_no_frame(network):
    """The same moments again and again: each replaces the last one, whoever pushed it."""
    shared = StreamingPredictor(network)
    together(lambda thread: [shared.push(picture(thread, 0), (10, 10, 50, 50), 1.0) for _ in range(4)])
    assert shared.push(picture(0, 1), (10, 10, 50, 50), 1.0 + 1 / 30).history == 2


def test_a_finder_has_no_state():
    options = {"stem": 16, "stages": [[16, 1], [32, 1], [32, 1], [32, 1]]}
    torch.manual_seed(0)
    network = build_network(
        {"name": "finder", "num_frame": 1, "size": 64, "expansion": 4.0, "width": 32}
        | {"backbone": {"name": "tempohand_tiny", "weights": None, "options": options}}
    )
    finder = HandFinder(network.eval(), max_hands=4, threshold=0.0)
    frames = [SourceFrame(0, 0.0, picture(thread, 0), "") for thread in range(THREADS)]
    alone = [[one.box for one in finder.detect(frame)] for frame in frames]
    assert all(alone)
    for found, expected in zip(
        together(lambda thread: [finder.detect(frames[thread]) for _ in range(4)]), alone, strict=True
    ):
        for detections in found:
            np.testing.assert_array_equal([one.box for one in detections], expected)
