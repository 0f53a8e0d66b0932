"""Frames as they come, of a camera, an address or standard input: always the newest one, whatever was missed
meanwhile."""

import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator

import av
import cv2
import numpy as np
from jaxtyping import UInt8

from tempohand.inference.source import SourceFrame

OPEN_S, READ_S = 10.0, 10.0  # that an address may keep us waiting: to answer, and for its next frame
CLOSE_S = 1.0  # that the reading thread gets to end


def open_live(address: str) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """RGB pictures of a camera (its number), an address (rtsp://, http:// and what else FFmpeg opens) or
    standard input ("-": a video in any container that can be read from its beginning).

    A stream that breaks off has ended. Raises ValueError in one line for what cannot be opened, here or at
    the first picture.
    """
    if address.isdecimal():
        return _camera_pictures(int(address))
    if address == "-":
        return _stream_pictures(_Pipe(), "standard input")
    if re.match(r"[a-zA-Z][\w+.-]*://", address):
        return _stream_pictures(address, f"'{address}'")
    raise ValueError(
        f"'{address}' is no camera's number, no address (rtsp://..., http://...) and not -: "
        "of a file take tempohand predict"
    )


class NewestFrames:
    """Pictures from an iterator that a thread of its own reads, as frames for predict_frames: each is the
    newest that there is, and those that came while another was worked on are dropped.

    `dropped` counts these, `read` all. Times are those of arrival, seconds from the first one. Use as a
    context manager, and iterate over it once. An error of the iterator is raised by the iteration.
    """

    kind = "live"
    independent = False

    def __init__(self, pictures: Iterable[UInt8[np.ndarray, "h w 3"]]):
        self.read = self.dropped = 0
        self._pictures = pictures
        self._started: float | None = None  # when the first picture came
        self._newest: SourceFrame | None = None
        self._error: Exception | None = None
        self._ended = False
        self._condition = threading.Condition()
        self._thread = threading.Thread(target=self._read, name="live frames", daemon=True)

    def __enter__(self) -> "NewestFrames":
        self._thread.start()
        return self

    def __exit__(self, kind, error, trace) -> None:
        with self._condition:
            self._ended = True
        self._thread.join(CLOSE_S)  # where it waits for a picture it ends with the process

    def __iter__(self) -> Iterator[SourceFrame]:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._newest or self._ended)
                frame, self._newest = self._newest, None
            if frame is None:
                break
            yield frame
        if self._error is not None:
            raise self._error

    def age(self, frame: SourceFrame) -> float:
        """Seconds since a frame came."""
        return time.monotonic() - self._started - frame.time

    def _read(self) -> None:
        try:
            for picture in self._pictures:
                now = time.monotonic()
                with self._condition:
                    if self._ended:
                        break
                    self._started = now if self._started is None else self._started
                    self.dropped += self._newest is not None
                    self._newest = SourceFrame(self.read, now - self._started, picture, f"frame {self.read}")
                    self.read += 1
                    self._condition.notify_all()
        except Exception as error:  # of a library, of any kind: it belongs to who iterates
            self._error = error
        with self._condition:
            self._ended = True
            self._condition.notify_all()


class _Pipe:
    """Standard input as PyAV reads files, without waiting until a whole block has come."""

    def read(self, count: int) -> bytes:
        """What is there, `count` bytes at most; nothing at the end."""
        return sys.stdin.buffer.read1(count)


def _camera_pictures(number: int) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    camera = cv2.VideoCapture(number)
    try:
        if not camera.isOpened():
            raise ValueError(f"there is no camera {number}, or another program has it")
        while True:
            good, picture = camera.read()
            if not good:
                raise ValueError(f"camera {number} gives no more pictures")
            yield cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    finally:
        camera.release()


def _stream_pictures(file, name: str) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    begun = False
    try:
        waits = {"timeout": (OPEN_S, READ_S)} if isinstance(file, str) else {}
        with av.open(file, **waits) as container:
            if not container.streams.video:
                raise ValueError(f"there is no video in {name}")
            stream = container.streams.video[0]
            stream.codec_context.flags |= av.codec.context.Flags.low_delay
            for frame in container.decode(stream):
                begun = True
                yield frame.to_ndarray(format="rgb24")
    except av.FFmpegError as error:
        if begun:  # a server that closes an HTTP stream of unknown length is an error to FFmpeg, too
            return
        raise ValueError(f"{name} cannot be read as a video: {error.strerror}") from None
