"""Hands in frames as they come, shown in a browser or a window, with what they cost."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import UInt8

from tempohand.batch import HandPrediction
from tempohand.inference.box_propagation import FollowedHands
from tempohand.inference.camera import CameraChoice
from tempohand.inference.live_source import NewestFrames, open_live
from tempohand.inference.overlay import draw_hands
from tempohand.inference.palm_finder import PalmFinder
from tempohand.inference.palm_following import LOOK_EVERY
from tempohand.inference.predict import predict_frames
from tempohand.inference.predictor import HandEstimate, StreamingPredictor
from tempohand.inference.runtime import open_runtime
from tempohand.inference.settings import NETWORK
from tempohand.inference.source import SourceFrame
from tempohand.inference.tracker import SMOOTHING, Tracker
from tempohand.inference.web_view import WebView
from tempohand.inference.window import Window
from tempohand.model import registry
from tempohand.model.landmarks import HandLandmarkNetwork
from tempohand.model.palms import PalmDetector

SAY_EVERY_S = 1.0
REMEMBERED = 30  # frames that rate and latency are of


@dataclass(frozen=True)
class LiveSettings:
    """What `run_live` takes; predict's settings of the same names (settings.py) mean the same."""

    input: str = "0"  # a camera's number, an address, or - (live_source.py)
    checkpoint: str = NETWORK
    host: str = "127.0.0.1"  # of the page
    port: int = 8765
    window: bool = False  # in place of the page
    max_hands: int = 2
    tiles: int = 1
    every: int = LOOK_EVERY
    focal_px: float | None = None
    fov_deg: float | None = None
    runtime: str = "torch"


@dataclass
class Pace:
    """How fast frames are answered: of the last REMEMBERED ones, and how many in all."""

    frames: int = 0

    def __post_init__(self):
        self._done: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)

    def add(self, latency: float) -> None:
        """A frame is done, `latency` seconds after it came."""
        self.frames += 1
        self._done.append((time.monotonic(), latency))

    def words(self, dropped: int) -> str:
        """Median latency, rate, dropped frames."""
        times, latencies = zip(*self._done)
        elapsed = times[-1] - times[0]
        rate = f"{(len(times) - 1) / elapsed:.0f} frames/s" if elapsed > 0 else "one frame"
        return f"{1e3 * float(np.median(latencies)):.0f} ms, {rate}, {dropped} dropped"


def run_live(
    settings: LiveSettings,
    *,
    say: Callable[[str], None] = print,
    take: Callable[[SourceFrame, list[HandEstimate]], None] | None = None,
) -> Pace:
    """Predicts until the input ends or the window is closed. say: is told where to look, and once a second
    latency, rate and dropped frames. take: gets every answered frame with its hands.

    Raises ValueError for input that cannot be read, settings without meaning and a window where there can be
    none, OSError for a taken port.
    """
    runtime = open_runtime(settings.runtime)
    camera = CameraChoice(settings.focal_px, settings.fov_deg)
    pictures = open_live(settings.input)
    device = "cuda" if torch.cuda.is_available() and settings.runtime == "torch" else "cpu"
    network = runtime.network(registry.load_network(settings.checkpoint, HandPrediction))
    predictor = StreamingPredictor(network, device=device)
    finder = PalmFinder(
        runtime.palms(PalmDetector.load()),
        runtime.landmarks(HandLandmarkNetwork.load()),
        device=device,
        tiles=settings.tiles,
        max_hands=settings.max_hands,
    )
    boxes = FollowedHands(finder, settings.every)  # each frame is answered before the next one is taken
    faces = network.hand.faces.cpu().numpy()
    pace, said = Pace(), time.monotonic()
    opened = Window() if settings.window else WebView(settings.host, settings.port)
    with opened as view, NewestFrames(pictures) as source:
        say(f"watch {view.where}")
        for frame, hands in predict_frames(source, boxes, Tracker(smoothing=SMOOTHING), camera, predictor):
            if take is not None:
                take(frame, hands)
            pace.add(source.age(frame))
            words = pace.words(source.dropped)
            if view.is_watched:
                view.show(with_words(draw_hands(frame.image, hands, faces), words))
            if time.monotonic() - said >= SAY_EVERY_S:
                said = time.monotonic()
                say(f"{words}, {len(hands)} hand{'s' * (len(hands) != 1)}")
            if view.has_ended:
                break
        end = "the window was closed" if view.has_ended else "the input has ended"
        say(f"{end}: {source.read} frames, {pace.frames} answered, {source.dropped} dropped")
    return pace


def with_words(picture: UInt8[np.ndarray, "h w 3"], words: str) -> UInt8[np.ndarray, "h w 3"]:
    """The same picture, with a line of text in its lowest rows, which become dark."""
    height = picture.shape[0]
    scale = max(height / 900, 0.35)
    picture[-int(36 * scale) :] //= 3
    place = (int(10 * scale), height - int(11 * scale))
    cv2.putText(picture, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.8 * scale, (255, 255, 255), 1, cv2.LINE_AA)
    return picture
