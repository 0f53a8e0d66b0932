"""Pictures to a video file."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream
from jaxtyping import UInt8

# The size and the error of preset veryfast in three fifths of its time: what makes superfast's files twice as
# large is that it plans no macroblock's quality ahead (mbtree).
X264_OPTIONS = {"crf": "20", "preset": "superfast", "x264-params": "mbtree=1:rc-lookahead=10"}
MPEG4_BITS_PER_PIXEL = 0.25


class VideoWriter:
    """Pictures to an .mp4 (H.264 where this PyAV has libx264, else MPEG-4), each at a whole number of frames
    of `fps` from the beginning.

    Both codecs want even sizes: an odd picture gets its last row or column twice. key_every: frames from one
    key frame to the next at most, for readers that jump; None: as the codec likes. Use as a context manager.
    """

    def __init__(self, path: Path, fps: Fraction, key_every: int | None = None):
        self.path = path
        self.fps = fps
        self.key_every = key_every
        self._opened: tuple[OutputContainer, VideoStream] | None = None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace) -> None:
        if self._opened is not None:
            container, stream = self._opened
            if kind is None:
                container.mux(stream.encode())
            container.close()

    def put(self, picture: UInt8[np.ndarray, "h w 3"], place: int) -> None:
        """Appends an RGB picture at `place`, which rises from call to call."""
        height, width = picture.shape[:2]
        if self._opened is None:
            self._opened = self._open(width + width % 2, height + height % 2)
        container, stream = self._opened
        if height % 2 or width % 2:
            picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        encoded = av.VideoFrame.from_ndarray(picture, format="rgb24")
        encoded.pts = place
        encoded.time_base = 1 / self.fps
        container.mux(stream.encode(encoded))

    def _open(self, width: int, height: int) -> tuple[OutputContainer, VideoStream]:
        container = av.open(f"file:{self.path}", "w")
        if "libx264" in av.codecs_available:
            stream = container.add_stream("libx264", rate=self.fps, options=X264_OPTIONS)
        else:
            stream = container.add_stream("mpeg4", rate=self.fps)
            stream.bit_rate = int(MPEG4_BITS_PER_PIXEL * width * height * self.fps)
        if self.key_every is not None:
            stream.gop_size = self.key_every
        stream.width = width
        stream.height = height
        stream.pix_fmt = "yuv420p"
        return container, stream
