"""Frames to predict on: a video, one picture, or a folder of pictures, all as RGB with a time in seconds.

Every source has `kind`, `path`, `names` (of a folder's pictures, in the order of frames), `fps` (None:
unknown), `independent` (no frame has to do with another), `size` ((W, H) of all frames; None where they may
differ), `expected_count` (frames as far as known without decoding), `incomplete` (after an iteration: what
could not be read; None where everything could) and `count()`.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from tempohand.media.exif import read_file
from tempohand.media.incomplete import Incomplete
from tempohand.media.pictures import BadPicture, decode_picture, is_video
from tempohand.media.video import Video

PICTURE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"),
    *(".avif", ".heic", ".heif", ".hif"),
)


@dataclass(frozen=True)
class SourceFrame:
    """One picture of the input. `index` counts the input's frames (files of a folder) from 0, `time` is in
    seconds from the first."""

    index: int
    time: float
    image: UInt8[np.ndarray, "h w 3"]  # RGB
    name: str
    depth: Float[np.ndarray, "h w"] | None = None  # mm, 0 where nothing is measured
    focal: float | None = None  # px, as the picture's file tells it (EXIF); None: it does not

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return self.image.nbytes + (0 if self.depth is None else self.depth.nbytes)

    @property
    def size(self) -> tuple[int, int]:
        """(W, H) in pixels."""
        return self.image.shape[1], self.image.shape[0]


def natural_order(name: str) -> tuple:
    """A key to sort names by: runs of digits count as numbers, so that frame_2 comes before frame_10. Equal
    numbers go by their text."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name


class PictureSource:
    """One picture: a single frame at time 0. Raises ValueError when it cannot be used."""

    kind = "picture"
    independent = True
    fps = None
    incomplete = None

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.names = [self.path.name]
        try:
            data = self.path.read_bytes()
            image = decode_picture(data)
        except BadPicture as error:
            raise ValueError(f"the picture '{self.path}' cannot be used: {error}") from None
        self._frame = SourceFrame(0, 0.0, image, self.path.name, focal=read_file(data).focal)
        self.size, self.expected_count = self._frame.size, 1

    def count(self) -> int:
        """Number of frames."""
        return 1

    def __iter__(self) -> Iterator[SourceFrame]:
        yield self._frame


class FolderSource:
    """A folder's pictures in the natural order of their names: independent frames, or with `fps` the frames
    of one sequence.

    Hidden files and files without a picture's extension are no frames. A picture that cannot be used is
    skipped with a warning and keeps its index; `unreadable` lists them after an iteration. Raises ValueError
    for a folder without pictures and, in a sequence, for another size.
    """

    kind = "folder"

    def __init__(self, path: str | Path, fps: float | int | None = None):
        self.path = Path(path)
        self.fps = fps
        self.independent = fps is None
        files = [file for file in self.path.iterdir() if file.is_file() and not file.name.startswith(".")]
        files = sorted(files, key=lambda file: natural_order(file.name))
        self.files = [file for file in files if file.suffix.lower() in PICTURE_SUFFIXES]
        if not self.files:
            raise ValueError(
                f"no pictures in the folder '{self.path}' (looked for {' '.join(PICTURE_SUFFIXES)})"
            )
        self.names = [file.name for file in self.files]
        self.size, self.expected_count = None, len(self.files)  # pictures may differ in size
        self.unreadable: list[str] = []

    @property
    def incomplete(self) -> Incomplete | None:
        """What the last iteration could not read."""
        if not self.unreadable:
            return None
        lost, count = len(self.unreadable), len(self.files)
        return Incomplete(
            count,
            count - lost,
            f"{lost} of the {count} pictures cannot be used, the first: '{self.unreadable[0]}'",
        )

    def count(self) -> int:
        """Number of frames, unreadable ones included."""
        return len(self.files)

    def __iter__(self) -> Iterator[SourceFrame]:
        self.unreadable, size = [], None
        for index, file in enumerate(self.files):
            try:
                data = file.read_bytes()
                image = decode_picture(data)
            except BadPicture as error:
                self.unreadable.append(file.name)
                print(f"warning: skipped the picture '{file}': {error}", file=sys.stderr)
                continue
            time = 0.0 if self.independent else index / self.fps
            frame = SourceFrame(index, time, image, file.name, focal=read_file(data).focal)
            if not self.independent and size not in (None, frame.size):
                raise ValueError(
                    f"'{file}' is {frame.size[0]} x {frame.size[1]}, the sequence before it {size[0]} x "
                    f"{size[1]}: leave out `fps`?"
                )
            size = frame.size
            yield frame
        if len(self.unreadable) == len(self.files):
            raise ValueError(f"none of the {len(self.files)} pictures in '{self.path}' can be used")


class VideoSource(Video):
    """A video's frames (media/video.py). Raises ValueError when there is no video in the file or nothing of
    it decodes."""

    kind = "video"
    independent = False

    def __init__(self, path: str | Path):
        super().__init__(path)
        self.names: list[str] = []  # frames of a video have no names

    def __iter__(self) -> Iterator[SourceFrame]:
        for index, (time, picture) in enumerate(self.pictures()):
            yield SourceFrame(index, time, picture, f"frame {index}")


Source = PictureSource | FolderSource | VideoSource


def open_source(path: str | Path, fps: float | int | None = None) -> Source:
    """The frames behind a path: a folder, a picture (told by its content, not its extension) or a video.

    fps: makes a folder's pictures one sequence; ValueError with anything else. Raises FileNotFoundError or
    ValueError with one clear line.
    """
    _refuse_live(str(path))
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder '{path}'")
    if fps is not None and not (np.isfinite(fps) and fps > 0):
        raise ValueError(f"`fps` is a positive number of frames a second, not {fps:g}")
    if fps is not None and not path.is_dir():
        raise ValueError(
            "`fps` is for a folder of pictures: a video has its own times, and one picture has none"
        )
    if path.is_dir():
        return FolderSource(path, fps)
    if not path.is_file():
        raise ValueError(
            f"'{path}' is a pipe or a device, and input is read more than once: save it as a file first"
        )
    if not path.stat().st_size:
        raise ValueError(f"'{path}' is empty")
    return VideoSource(path) if is_video(path) else PictureSource(path)


def _refuse_live(path: str) -> None:
    """Raises ValueError for what other programs take as input, saying what to do in its place."""
    if path == "-":
        raise ValueError(
            "input is read more than once, which standard input cannot be: save it as a file first (cat "
            "> clip.mp4), or take tempohand live"
        )
    if re.match(r"[a-zA-Z][\w+.-]*://", path):
        raise ValueError(
            f"'{path}' is an address, not a file: download it first (curl -L -o clip.mp4 ADDRESS), "
            "or take tempohand live for a stream"
        )
    if path.isdecimal() and not Path(path).exists():
        raise ValueError(
            f"there is no file or folder '{path}'; for a camera take tempohand live {path}, or record a file "
            f"first (ffmpeg -f v4l2 -i /dev/video{path} -t 10 clip.mp4)"
        )
