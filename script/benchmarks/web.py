"""The page of `tempohand web` in headless Chromium beside `tempohand predict --runtime onnx`, on the same
frames: how far the 21 joints are apart, and what a frame costs in the browser.

Once with predict's boxes, and once with boxes that the page finds itself. It needs node, and a folder
node_modules with puppeteer-core and @sparticuz/chromium (npm install puppeteer-core @sparticuz/chromium).
"""

import argparse
import json
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np

from tempohand.inference.predict_files import predict_files
from tempohand.inference.settings import NETWORK, PredictSettings
from tempohand.inference.source import open_source
from tempohand.inference.web_page import write_page

from .report import Report

FPS = 30.0
PACKAGES = ("puppeteer-core", "@sparticuz/chromium")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to measure."""
    parser.add_argument("video", type=Path, help="a video with a hand")
    parser.add_argument("--ort", type=Path, required=True, help="as of tempohand web")
    parser.add_argument("--modules", type=Path, required=True, help="a folder node_modules (see above)")
    parser.add_argument("--frames", type=int, default=40, help="of the video (default %(default)s)")
    parser.add_argument("--checkpoint", default=NETWORK, help="as of tempohand web")


def run(arguments: argparse.Namespace) -> Report:
    """mm between joints, and ms a frame. Raises ValueError where node or its packages are missing, or the
    page fails."""
    if shutil.which("node") is None:
        raise ValueError("the page is run by node, which is not installed")
    for name in PACKAGES:
        if not (arguments.modules / name).is_dir():
            raise FileNotFoundError(
                f"'{arguments.modules / name}' is not there: npm install {' '.join(PACKAGES)}"
            )
    header = ["boxes", "hands", "of", "mm, median", "mm, largest", "ms a frame"]
    rows, details = [], {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_page(place / "page", arguments.checkpoint, arguments.ort)
        count = _write_frames(arguments.video, place / "frames", arguments.frames)
        expected = _predicted(place, arguments.checkpoint)
        for name, given in (("predict's", _given(expected, count)), ("its own", [None] * count)):
            found = _in_browser(place, arguments.modules, given)
            distance = _distances(expected, found)
            one = {"hands": len(distance), "of": len(expected["frame"])}
            one |= {"median_mm": float(np.median(distance)), "largest_mm": float(distance.max())}
            one |= {"ms": float(np.median([frame["ms"] for frame in found]))}
            details[name] = one
            mm = [f"{one[key]:.3f}" for key in ("median_mm", "largest_mm")]
            rows.append([name, str(one["hands"]), str(one["of"]), *mm, f"{one['ms']:.0f}"])
    return Report(header, rows, {}, {"boxes": details})


def _write_frames(video: Path, folder: Path, most: int) -> int:
    folder.mkdir()
    for count, frame in enumerate(open_source(video)):
        if count == most:
            return count
        cv2.imwrite(str(folder / f"{count:04d}.png"), frame.image[..., ::-1])
    return count + 1


def _predicted(place: Path, checkpoint: str) -> dict[str, np.ndarray]:
    """What predict writes of the frames."""
    settings = {"checkpoint": checkpoint, "fps": FPS, "tiles": 1, "overlay": False, "runtime": "onnx"}
    summary = predict_files(PredictSettings(place / "frames", out=place / "hands", **settings))
    with np.load(summary.out / "predictions.npz") as file:
        return {name: file[name] for name in ("frame", "hand_id", "is_right", "box", "joints")}


def _given(expected: dict[str, np.ndarray], count: int) -> list[list[dict]]:
    """The boxes of each frame, as the page takes them."""
    given: list[list[dict]] = [[] for _ in range(count)]
    for frame, hand, right, box in zip(*(expected[name].tolist() for name in list(expected)[:4])):
        given[frame].append({"hand": hand, "isRight": right, "box": box})
    return given


def _in_browser(place: Path, modules: Path, given: list[list[dict] | None]) -> list[dict]:
    """The page's answers to all frames."""
    request, answer = place / "request.json", place / "answer.json"
    frames = [
        {"file": f"frames/{k:04d}.png", "time": k / FPS, "given": boxes} for k, boxes in enumerate(given)
    ]
    request.write_text(json.dumps(frames))
    with _served(place) as address:
        words = ["node", Path(__file__).with_suffix(".mjs"), modules.absolute(), address, request, answer]
        result = subprocess.run(words, capture_output=True, text=True, check=False)
    if result.returncode:
        said = [line for line in result.stderr.splitlines() if "Error" in line] or [result.stderr.strip()]
        raise ValueError(f"the page failed in Chromium: {said[0]}")
    return json.loads(answer.read_text())


def _distances(expected: dict[str, np.ndarray], found: list[dict]) -> np.ndarray:
    """mm between the joints of hands that both have, a row a hand."""
    place = {key: k for k, key in enumerate(zip(expected["frame"].tolist(), expected["hand_id"].tolist()))}
    pairs = [
        (np.array(hand["joints"]), expected["joints"][place[frame, hand["hand"]]])
        for frame, answer in enumerate(found)
        for hand in answer["hands"]
        if (frame, hand["hand"]) in place
    ]
    return np.array([np.linalg.norm(one - other, axis=1) for one, other in pairs])


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        """Nothing: the terminal is for the table."""


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """The address at which a folder's files are given."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, name="page", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
