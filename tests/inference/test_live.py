"""Live input: always the newest frame, from a loopback stream, standard input or an iterator, through the
command to the page."""

import io
import runpy
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from tempohand import cli
from tempohand.inference.live import LiveSettings, Pace, run_live
from tempohand.inference.live_source import NewestFrames, open_live
from tempohand.inference.web_view import WebView
from tempohand.inference.window import Window

golden = runpy.run_path(str(Path(__file__).parents[1] / "golden/mediapipe_hand.py"))


def numbered(number: int) -> np.ndarray:
    return np.full((8, 8, 3), number, np.uint8)


def test_a_slow_consumer_sees_the_newest_frame_and_none_twice():
    """Pictures come five at a time while the consumer works on the first of them that it got: the next one
    that it gets is the fifth."""
    go, made = threading.Semaphore(0), threading.Semaphore(0)

    def pictures():
        for number in range(20):
            if number % 5 == 0:
                go.acquire()
            yield numbered(number)
            if number % 5 == 4:
                made.release()

    seen, ages, waited = [], [], set()
    with NewestFrames(pictures()) as source:
        go.release()
        for frame in source:
            seen.append((frame.index, int(frame.image[0, 0, 0])))
            ages.append(source.age(frame))
            if frame.index // 5 not in waited:
                waited.add(frame.index // 5)
                assert made.acquire(timeout=10)
            if frame.index % 5 == 4:
                go.release()
    indices = [index for index, _ in seen]
    assert indices == sorted(set(indices)) and all(index == number for index, number in seen)
    assert source.read == 20 and source.dropped == 20 - len(seen) >= 12 and indices[-1] == 19
    assert min(ages) >= 0


def test_times_are_those_of_arrival():
    def pictures():
        for number in range(3):
            yield numbered(number)
            time.sleep(0.05)

    with NewestFrames(pictures()) as source:
        times = [frame.time for frame in source]
    assert times[0] == 0 and 0.04 < times[1] < times[2] < 5


def test_an_error_reaches_who_iterates_and_a_reader_that_waits_holds_nobody_up():
    def broken():
        yield numbered(1)
        raise ValueError("the cable is out")

    with NewestFrames(broken()) as source, pytest.raises(ValueError, match="the cable is out"):
        list(source)

    never = threading.Event()

    def endless():
        yield numbered(1)
        never.wait()

    begun = time.monotonic()
    with NewestFrames(endless()) as source:
        assert next(iter(source)).index == 0
    assert time.monotonic() - begun < 5
    never.set()


@pytest.fixture
def film(tmp_path, video_tools) -> bytes:
    """A drawn hand that moves, as MPEG-TS, which can be read from its beginning."""
    hand = golden["picture"](224)
    pictures = [np.roll(hand, 3 * step, axis=1) for step in range(6)]
    path = video_tools[1](tmp_path / "film.ts", pictures, codec="mpeg4", pix_fmt="yuv420p")
    return path.read_bytes()


@pytest.fixture
def address(film):
    """A loopback stream of the film."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "video/mp2t")
            self.end_headers()
            self.wfile.write(film)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/film.ts"
    server.shutdown()
    server.server_close()


def test_an_address_and_standard_input_give_the_films_pictures(address, film, monkeypatch):
    by_address = list(open_live(address))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(film)))
    by_input = list(open_live("-"))
    assert len(by_address) == len(by_input) == 6
    for one, other in zip(by_address, by_input):
        np.testing.assert_array_equal(one, other)
        assert one.shape == (224, 224, 3)
    assert abs(by_address[0].astype(int) - golden["picture"](224)).mean() < 8


def test_the_page_shows_the_newest_picture_and_waits_for_nobody():
    with WebView() as view:
        assert not view.is_watched
        page = urllib.request.urlopen(view.url, timeout=10).read()
        assert b"stream" in page
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(view.url + "nothing", timeout=10)
        with urllib.request.urlopen(view.url + "stream", timeout=10) as stream:
            until(lambda: view.is_watched)
            for number in (10, 200):
                view.show(numbered(number))
                assert stream.readline() == b"--picture\r\n"
                stream.readline()
                length = int(stream.readline().split()[-1])
                stream.readline()
                picture = cv2.imdecode(np.frombuffer(stream.read(length), np.uint8), 1)
                assert abs(picture.astype(int) - number).max() < 4
                stream.readline()
        for number in range(500):  # nobody reads any more
            view.show(numbered(number % 256))
    assert not view._thread.is_alive() or view._closed


def until(true) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_stream_becomes_hands(address):
    """From loopback to estimates: the page is told, the hand is found and answered, and every frame is
    answered or counted."""
    lines, hands = [], []
    settings = LiveSettings(address, port=0, max_hands=1)
    pace = run_live(settings, say=lines.append, take=lambda frame, found: hands.append((frame.index, found)))
    assert lines[0].startswith("watch http://127.0.0.1:")
    read, answered, dropped = (int(word) for word in lines[-1].replace(",", "").split() if word.isdecimal())
    assert read == 6 == answered + dropped and pace.frames == answered == len(hands)
    assert hands[-1][0] == 5 and all(len(found) == 1 for _, found in hands)
    (last,) = hands[-1][1]
    assert last.joints.shape == (21, 3) and (last.joints[:, 2] > 100).all()


class FakeScreen:
    """OpenCV's windows: what was shown, and from which picture on a key is pressed or the window is away."""

    def __init__(self, monkeypatch, key_at: int = -1, gone_at: int = -1):
        self.shown, self.closed = [], 0
        monkeypatch.setenv("DISPLAY", ":0")
        for name, does in {
            "currentUIFramework": lambda: "QT5",
            "namedWindow": lambda *_: None,
            "resizeWindow": lambda _, *size: self.shown.append(size),
            "imshow": lambda _, picture: self.shown.append(picture),
            "pollKey": lambda: 27 if 0 <= key_at < len(self.shown) else -1,
            "getWindowProperty": lambda *_: 0.0 if 0 <= gone_at < len(self.shown) else 1.0,
            "destroyAllWindows": self.close,
        }.items():
            monkeypatch.setattr(cv2, name, does)

    def close(self) -> None:
        self.closed += 1


def test_a_window_shows_what_the_page_would(address, monkeypatch):
    screen, lines = FakeScreen(monkeypatch), []
    pace = run_live(LiveSettings(address, window=True, max_hands=1), say=lines.append)
    size, *pictures = screen.shown
    assert len(pictures) == pace.frames and size == pictures[0].shape[1::-1] and screen.closed == 1
    assert lines[0] == "watch in the window: Esc or q ends it" and lines[-1].startswith("the input has ended")


def test_the_window_has_the_pictures_colours(monkeypatch):
    screen = FakeScreen(monkeypatch)
    with Window() as window:
        window.show(np.full((4, 6, 3), (250, 20, 10), np.uint8))
    assert screen.shown[1][0, 0].tolist() == [10, 20, 250]  # OpenCV shows BGR


def test_without_a_desktop_there_is_no_window(monkeypatch):
    FakeScreen(monkeypatch)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(ValueError, match="needs a desktop"):
        Window()


@pytest.mark.parametrize("how", ["key_at", "gone_at"])
def test_closing_the_window_ends_it(address, monkeypatch, how):
    screen, lines = FakeScreen(monkeypatch, **{how: 1}), []
    pace = run_live(LiveSettings(address, window=True, max_hands=1), say=lines.append)
    assert pace.frames == 1 and screen.closed == 1 and lines[-1].startswith("the window was closed: ")


def test_the_pace_is_of_the_last_frames():
    pace = Pace()
    for latency in (0.02, 0.03, 0.5):
        pace.add(latency)
    assert pace.frames == 3 and pace.words(4).startswith("30 ms, ") and pace.words(4).endswith("4 dropped")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["film.mp4"], "take tempohand predict"),
        (["http://127.0.0.1:1/none", "--port", "0"], "cannot be read as a video"),
        (["977", "--port", "0"], "there is no camera 977"),
        (["0", "--focal", "-3"], "--focal"),
        (["ADDRESS", "--window"], "--window"),
        (["0", "--look-every", "0"], "at least 1 frame"),
    ],
)
def test_bad_input_is_one_line(arguments, says, capfd, monkeypatch, address):
    monkeypatch.setattr(cv2, "currentUIFramework", lambda: "")  # as the headless OpenCV says
    arguments = [address if argument == "ADDRESS" else argument for argument in arguments]
    with pytest.raises(SystemExit) as leave:
        cli.main(["live", *arguments])
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error")]
    assert leave.value.code == 2 and len(lines) == 1 and says in lines[0], lines
