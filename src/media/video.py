"""The frames of a video file, as they are shown, and what is lacking of them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from tempohand.media.containers import missing_bytes
from tempohand.media.incomplete import Incomplete
from tempohand.media.upright import Upright

FALLBACK_FPS = Fraction(30)  # of a video that does not say its own
_SHORT_S = 0.25  # by how much a stream's frames may end before the time that its own tag says


class Video:
    """One video stream, the one that a player shows. size: (W, H) of the first frame as shown; fps: average
    rate, FALLBACK_FPS when unknown.

    expected_count: what the header announces, quick and possibly wrong; None where it does not. `incomplete`
    says after a pass through the frames what is lacking of them, and is None for a whole file; frames that
    came are given in any case. Raises ValueError when there is no video in the file, or none of its frames
    decodes.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.incomplete: Incomplete | None = None
        self._missing = missing_bytes(self.path)
        self._counted: int | None = None
        with self._opened() as (_, stream):
            rate = stream.average_rate or stream.guessed_rate
            self.expected_count = stream.frames or None
            try:
                self._aspect = Upright(stream.sample_aspect_ratio).aspect
            except ValueError as error:
                raise ValueError(f"'{self.path}' cannot be shown: {error}") from None
        self.fps = Fraction(rate) if rate else FALLBACK_FPS
        _, first = next(self.pictures())
        self.size = first.shape[1], first.shape[0]

    def count(self) -> int:
        """Number of frames, counted by decoding."""
        if self._counted is None:
            for _ in self._decode():
                pass
            assert self._counted is not None, "decoding counts"
        return self._counted

    def pictures(self) -> Iterator[tuple[float, UInt8[np.ndarray, "h w 3"]]]:
        """(seconds from the first frame, picture) of every frame. Times are the file's own, so a variable
        frame rate is respected."""
        upright = Upright(self._aspect)
        first = before = None
        for index, frame in enumerate(self._decode()):
            time = frame.time if frame.time is not None else float(index / self.fps)
            first = time if first is None else first
            time -= first
            if before is not None and time <= before:  # broken time stamps: time must go on
                time = before + float(1 / self.fps)
            try:
                picture = upright(frame)
            except ValueError as error:
                raise ValueError(
                    f"'{self.path}' cannot be shown: {error}; convert it first: ffmpeg -i IN OUT.mp4"
                ) from None
            yield time, picture
            before = time

    @contextmanager
    def _opened(self):
        try:
            container = av.open(f"file:{self.path}")  # else a colon in its name would end a protocol's
        except (av.error.FFmpegError, OSError) as error:
            if self._missing:
                raise ValueError(
                    f"'{self.path}' is cut off: {self._missing:,} bytes are missing, "
                    "and no frame can be found"
                ) from error
            raise ValueError(
                f"'{self.path}' is neither a video nor a picture that can be read ({_reason(error)})"
            ) from error
        with container:
            stream = container.streams.best("video")
            if stream is None:
                raise ValueError(f"'{self.path}' holds no video")
            yield container, stream

    def _decode(self) -> Iterator[av.VideoFrame]:
        """All frames that decode: what is damaged is passed over, as the ffmpeg command does."""
        done, end = 0, None
        faults: list[str] = []
        with self._opened() as (container, stream):
            stream.thread_type = "AUTO"
            for frame in _frames(container, stream, faults):
                if frame.is_corrupt:
                    faults.append(f"frame {done} is damaged")
                done, end = done + 1, _end(frame, self.fps)
                yield frame
            self._counted = done
            self.incomplete = self._lacking(container, stream, done, end, faults)
        if not done:
            cause = faults[0] if faults else "there is none"
            raise ValueError(f"'{self.path}' is damaged: none of its frames decodes ({cause})")

    def _lacking(
        self, container, stream, done: int, end: float | None, faults: list[str]
    ) -> Incomplete | None:
        causes = [f"{self._missing:,} bytes are missing at its end"] if self._missing else []
        if faults:
            causes.append(
                faults[0]
                if len(faults) == 1
                else f"{len(faults)} errors while decoding, the first: {faults[0]}"
            )
        announced = _announced_end(container, stream)
        if announced and end is not None and end < announced - _SHORT_S:
            causes.append(f"its frames end at {end:.1f} s of {announced:.1f} s")
        if not causes:
            return None
        duration = float(stream.duration * stream.time_base) if stream.duration else announced
        expected = self.expected_count or (round(duration * self.fps) if duration else None)
        of = f" of the {expected} that it announces" if expected else ""
        return Incomplete(expected, done, f"{done} frames{of} decode ({'; '.join(causes)})")


def _frames(container, stream, faults: list[str]) -> Iterator[av.VideoFrame]:
    """The stream's frames; what goes wrong between them is added to `faults`."""
    read, packets = 0, container.demux(stream)
    try:
        for packet in packets:
            read += packet.size > 0
            if packet.is_corrupt:
                faults.append(f"packet {read - 1} is damaged")
            try:
                yield from packet.decode()
            except av.error.FFmpegError as error:
                faults.append(_reason(error))
    except av.error.FFmpegError as error:
        faults.append(_reason(error))
        yield from stream.decode()  # what the decoder still holds
    # An MP4's index lists every packet of the file, whatever an edit list shows of them.
    if not faults and "mp4" in container.format.name and read < len(stream.index_entries):
        faults.append(f"{len(stream.index_entries) - read} packets of its index are not in the file")


def _end(frame: av.VideoFrame, fps: Fraction) -> float | None:
    """Seconds at which a frame ends; None when it has no time."""
    if frame.time is None:
        return None
    return frame.time + float(frame.duration * frame.time_base if frame.duration else 1 / fps)


def _announced_end(container, stream) -> float | None:
    """Seconds at which the stream's last frame ends by the tag that Matroska writers leave; None without
    it."""
    tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if tag is None or "matroska" not in container.format.name:
        return None
    hours, minutes, seconds = map(float, tag.groups())
    return 3600 * hours + 60 * minutes + seconds


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
