"""Frames to predict on: a video, one picture, or a folder of pictures, all as RGB with a time in seconds.

Every source has `kind`, `path`, `names` (of a folder's pictures, in the order of frames), `fps` (None: unknown), `independent` (no frame has
to do with another), `size` ((W, H) of all frames; None where they may differ), `expected_count` (frames as far as known without decoding)
and `count()`.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from jaxtyping import UInt8

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif")
FALLBACK_FPS = Fraction(30)  # of a video that does not say its own
_OPENCV_SILENT = 0


@dataclass(frozen=True)
class Frame:
    """One picture of the input. `index` counts the input's frames (files of a folder) from 0, `time` is in seconds from the first."""

    index: int
    time: float
    image: UInt8[np.ndarray, "h w 3"]  # RGB
    name: str

    @property
    def size(self) -> tuple[int, int]:
        """(W, H) in pixels."""
        return self.image.shape[1], self.image.shape[0]


def read_picture(path: str | Path) -> UInt8[np.ndarray, "h w 3"] | None:
    """The decoded picture, RGB, turned upright as its EXIF says, whatever the file's extension; None when it does not decode."""
    data = np.fromfile(path, np.uint8)
    if not data.size:
        return None
    level = cv2.utils.logging.setLogLevel(_OPENCV_SILENT)  # the caller says what is wrong, in one line
    try:
        return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(level)


class PictureSource:
    """One picture: a single frame at time 0. Raises ValueError when it does not decode."""

    kind, independent, fps = "picture", True, None

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.names = [self.path.name]
        image = read_picture(self.path)
        if image is None:
            raise ValueError(f"'{self.path}' is damaged: the picture does not decode")
        self._frame = Frame(0, 0.0, image, self.path.name)
        self.size, self.expected_count = self._frame.size, 1

    def count(self) -> int:
        """Number of frames."""
        return 1

    def __iter__(self) -> Iterator[Frame]:
        yield self._frame


class FolderSource:
    """A folder's pictures, sorted by name: independent frames, or with `fps` the frames of one sequence.

    Hidden files and files without a picture's extension are no frames. A picture that does not decode is skipped with a warning and keeps its
    index; `unreadable` lists them after an iteration. Raises ValueError for a folder without pictures and, in a sequence, for another size.
    """

    kind = "folder"

    def __init__(self, path: str | Path, fps: float | int | None = None):
        self.path, self.fps, self.independent = Path(path), fps, fps is None
        files = sorted(file for file in self.path.iterdir() if file.is_file() and not file.name.startswith("."))
        self.files = [file for file in files if file.suffix.lower() in PICTURE_SUFFIXES]
        if not self.files:
            raise ValueError(f"no pictures in the folder '{self.path}' (looked for {' '.join(PICTURE_SUFFIXES)})")
        self.names = [file.name for file in self.files]
        self.size, self.expected_count = None, len(self.files)  # pictures may differ in size
        self.unreadable: list[str] = []

    def count(self) -> int:
        """Number of frames, unreadable ones included."""
        return len(self.files)

    def __iter__(self) -> Iterator[Frame]:
        self.unreadable, size = [], None
        for index, file in enumerate(self.files):
            image = read_picture(file)
            if image is None:
                self.unreadable.append(file.name)
                print(f"warning: skipped '{file}': the picture does not decode", file=sys.stderr)
                continue
            frame = Frame(index, 0.0 if self.independent else index / self.fps, image, file.name)
            if not self.independent and size not in (None, frame.size):
                raise ValueError(
                    f"'{file}' is {frame.size[0]} x {frame.size[1]}, the sequence before it {size[0]} x {size[1]}: leave out --fps?"
                )
            size = frame.size
            yield frame
        if len(self.unreadable) == len(self.files):
            raise ValueError(f"none of the {len(self.files)} pictures in '{self.path}' decodes")


class VideoSource:
    """A video's frames, decoded by PyAV and turned upright as the file's display matrix says.

    Times are the presentation times of the file, so a variable frame rate is respected. Raises ValueError when there is no video in the file
    or when it is damaged.
    """

    kind, independent = "video", False

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            with av.open(str(self.path)) as container:
                stream = next(iter(container.streams.video), None)
                rate = stream and (stream.average_rate or stream.guessed_rate)
                self.expected_count = stream.frames or None if stream else None  # quick, possibly wrong
        except (av.error.FFmpegError, OSError) as error:
            raise ValueError(f"'{self.path}' is neither a video nor a picture that can be read ({_reason(error)})") from error
        if stream is None:
            raise ValueError(f"'{self.path}' holds no video")
        self.fps = Fraction(rate) if rate else FALLBACK_FPS
        self.names: list[str] = []  # frames of a video have no names
        self._counted: int | None = None
        self.size = next(iter(self)).size

    def count(self) -> int:
        """Number of frames, counted by decoding."""
        if self._counted is None:
            self._counted = sum(1 for _ in self._decode())
        return self._counted

    def _decode(self) -> Iterator[av.VideoFrame]:
        done = 0
        try:
            with av.open(str(self.path)) as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                for picture in container.decode(stream):
                    yield picture
                    done += 1
        except av.error.FFmpegError as error:
            raise ValueError(f"'{self.path}' is damaged: decoding stops after {done} frames ({_reason(error)})") from error
        if not done:
            raise ValueError(f"'{self.path}' holds no frames")

    def __iter__(self) -> Iterator[Frame]:
        first, before, count = None, None, 0
        for index, picture in enumerate(self._decode()):
            time = picture.time if picture.time is not None else float(index / self.fps)
            first = time if first is None else first
            time -= first
            if before is not None and time <= before:  # broken time stamps: time must go on
                time = before + float(1 / self.fps)
            image = picture.to_ndarray(format="rgb24")
            turns = round(picture.rotation / 90) % 4  # counter-clockwise, as np.rot90
            yield Frame(index, time, np.ascontiguousarray(np.rot90(image, turns)) if turns else image, f"frame {index}")
            before, count = time, index + 1
        self._counted = count


Source = PictureSource | FolderSource | VideoSource


def open_source(path: str | Path, fps: float | int | None = None) -> Source:
    """The frames behind a path: a folder, a picture (told by its content, not its extension) or a video.

    fps: makes a folder's pictures one sequence; ValueError with anything else. Raises FileNotFoundError or ValueError with one clear line.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder '{path}'")
    if fps is not None and not (np.isfinite(fps) and fps > 0):
        raise ValueError(f"--fps is a positive number of frames a second, not {fps:g}")
    if fps is not None and not path.is_dir():
        raise ValueError("--fps is for a folder of pictures: a video has its own times, and one picture has none")
    if path.is_dir():
        return FolderSource(path, fps)
    with path.open("rb") as file:
        head = file.read(6)
    if not head:
        raise ValueError(f"'{path}' is empty")
    # A GIF is a video that OpenCV would read as its first picture.
    if head not in (b"GIF87a", b"GIF89a") and cv2.haveImageReader(str(path)):
        return PictureSource(path)
    return VideoSource(path)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
