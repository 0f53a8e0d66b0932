"""Decoded frames of a video as they are to be seen: upright, with square pixels, RGB. FFmpeg's own filters do
the work.

A player turns and mirrors a frame as its display matrix says, stretches it by its pixel aspect ratio and
converts colours by the frame's own matrix and range. The same filters in the same order as the ffmpeg command
inserts them (`-vf scale=iw*sar:ih -pix_fmt rgb24`) give its pixels.
"""

from fractions import Fraction

import av
import av.filter
import numpy as np
from av.sidedata.sidedata import Type
from jaxtyping import Int, UInt8

UNTURNED = (1, 0, 0, 1)
# a pixel aspect ratio beyond 16:1 or 1:16 is an error in the file, and would make pictures of any size
MOST_STRETCH = 16
# sine of the angle up to which ffmpeg, too, takes a display matrix for a multiple of 90 degrees (1 degree)
_LEAN = 0.02


def orientation(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """The frame's display matrix (a, b, c, d): a stored direction (x, y) is shown as (a x + c y, b x + d y),
    each 0, 1 or -1.

    Raises ValueError for an angle that is no multiple of 90 degrees.
    """
    try:
        matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    except ValueError:  # side data of a kind that this PyAV has no name for: it then tells the angle alone
        return {0: UNTURNED, 90: (0, -1, 1, 0), -90: (0, 1, -1, 0)}.get(frame.rotation, (-1, 0, 0, -1))
    if matrix is None:
        return UNTURNED
    return right_angled(np.frombuffer(bytes(matrix), np.int32)[[0, 1, 3, 4]])


def right_angled(matrix: Int[np.ndarray, "4"]) -> tuple[int, int, int, int]:
    """(a, b, c, d) of a display matrix of any scale, as `orientation` returns it. Raises ValueError for
    another angle."""
    a, b, c, d = (float(value) for value in matrix)
    along, across = min(abs(a), abs(d)), min(abs(b), abs(c))
    if max(along, across) == 0:  # no matrix: all zeros, as some writers leave it
        return UNTURNED
    small = max(abs(a), abs(d)) if across > along else max(abs(b), abs(c))
    if small > _LEAN * max(along, across):
        raise ValueError("its display matrix turns the picture by an angle that is no multiple of 90 degrees")
    if across > along:
        return 0, int(np.sign(b)), int(np.sign(c)), 0
    return int(np.sign(a)), 0, 0, int(np.sign(d))


def filters(matrix: tuple[int, int, int, int], aspect: Fraction) -> list[tuple[str, str]]:
    """FFmpeg's filters (name, arguments) that show a stored frame of display matrix (a, b, c, d) and pixel
    aspect ratio (width : height)."""
    a, b, c, d = matrix
    # x and y are exchanged, then the exchanged axes are mirrored.
    steps = [("transpose", "cclock_flip")] if b else []
    steps += [("hflip", "")] if a < 0 or c < 0 else []
    steps += [("vflip", "")] if d < 0 or b < 0 else []
    return steps + ([("scale", "iw*sar:ih")] if aspect != 1 else [])


class Upright:
    """Turns decoded frames of a stream into what is shown.

    aspect: the stream's pixel aspect ratio; None or 0: square. matrix: that of all frames; None: the frames'
    own, which is read where its angle is another than the last frame's. When frames change their size, format
    or orientation midway the filters are set up again.
    """

    def __init__(self, aspect: Fraction | None, matrix: tuple[int, int, int, int] | None = None):
        self.aspect, self.matrix = aspect or Fraction(1), matrix
        if not Fraction(1, MOST_STRETCH) <= self.aspect <= MOST_STRETCH:
            raise ValueError(f"its pixel aspect ratio is {self.aspect.numerator}:{self.aspect.denominator}")
        self._made_for, self._graph = None, None
        self._angle, self._seen = None, UNTURNED

    def __call__(self, frame: av.VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
        """The frame's picture, RGB. Raises ValueError for a display matrix that `orientation` refuses."""
        matrix = self.matrix or self._own(frame)
        made_for = (
            frame.width,
            frame.height,
            frame.format.name,
            int(frame.colorspace),
            int(frame.color_range),
            matrix,
        )
        if made_for != self._made_for:
            self._graph, self._made_for = self._set_up(*made_for), made_for
        self._graph.push(frame)
        return self._graph.pull().to_ndarray()

    def _own(self, frame: av.VideoFrame) -> tuple[int, int, int, int]:
        """`orientation`, read once for frames of one angle: PyAV's list of side data and its frame hold each
        other, so a frame whose list was asked for stays until Python looks for such circles."""
        if frame.rotation != self._angle:
            self._angle, self._seen = frame.rotation, orientation(frame)
        return self._seen

    def _set_up(
        self,
        width: int,
        height: int,
        pixels: str,
        colours: int,
        full_range: int,
        matrix: tuple[int, int, int, int],
    ):
        graph = av.filter.Graph()
        camera = graph.add(
            "buffer",
            video_size=f"{width}x{height}",
            pix_fmt=pixels,
            time_base="1/1000",
            pixel_aspect=f"{self.aspect.numerator}/{self.aspect.denominator}",
            colorspace=str(colours),
            range=str(full_range),
        )
        steps = [graph.add(name, arguments) for name, arguments in filters(matrix, self.aspect)]
        graph.link_nodes(camera, *steps, graph.add("format", "rgb24"), graph.add("buffersink")).configure()
        return graph
