"""Depth pictures beside an input's frames: which belongs to which, and what is wrong with them."""

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float

from tempohand.data.depth_files import BadDepth, read_depth
from tempohand.inference.source import Source, SourceFrame, natural_order

SUFFIX = ".png"
MOST_APART_S = 0.02  # of a picture of depth from its frame: half of what lies between frames at 30 a second
_SECONDS = re.compile(r"\d+\.\d+")


class DepthFolder:
    """A folder of depth pictures, PNG of 16 bits registered to the frames of `source`, or one of them.

    They belong to the frames of their names (without the extensions), where any name is a frame's; else,
    where every name is a number with a decimal point, to the nearest ones in time, at most MOST_APART_S away
    (s, by the clock of the pictures' own names, or of a video from its first frame on); else to the frames in
    their order, one each. unit_mm: of the numbers in the files.

    Raises FileNotFoundError without the folder, ValueError for none or another number of pictures.
    """

    def __init__(self, path: str | Path, source: Source, unit_mm: float = 1.0):
        if not (np.isfinite(unit_mm) and unit_mm > 0):
            raise ValueError(f"`depth_unit` is a positive number of mm, not {unit_mm:g}")
        self.path, self.unit_mm = Path(path), unit_mm
        if not self.path.exists():
            raise FileNotFoundError(f"there is no folder '{path}' (`depth`)")
        files = self.path.iterdir() if self.path.is_dir() else [self.path]
        files = [file for file in files if file.suffix.lower() == SUFFIX and not file.name.startswith(".")]
        self.files = sorted(files, key=lambda file: natural_order(file.name))
        if not self.files:
            raise ValueError(f"no pictures of depth in '{path}' (looked for {SUFFIX}, of 16 bits)")
        self._stems = {file.stem: file for file in self.files}
        self._times: np.ndarray | None = None
        self.frames = self.measured = 0  # with a picture of depth, and with any measurement in it
        names = [Path(name).stem for name in source.names]
        self._named = any(name in self._stems for name in names)
        timed = all(map(_SECONDS.fullmatch, [*self._stems, *names]))
        if not self._named and timed:
            self._times = np.array([float(file.stem) for file in self.files])
        elif not self._named:
            self._check_count(source)

    def _check_count(self, source: Source) -> None:
        count = source.expected_count
        if count != len(self.files):  # a header may be wrong
            count = source.count()
        if count != len(self.files) and not (source.incomplete and count < len(self.files)):
            raise ValueError(
                f"'{self.path}' has {len(self.files)} pictures of depth for {count} frames: give one a "
                "frame, or name them as the frames' pictures"
            )

    def of(self, frame: SourceFrame) -> Float[np.ndarray, "h w"] | None:
        """A frame's depth, mm, 0 where nothing was measured; None where it has none. Raises ValueError for a
        picture of another size, in metres, or none of 16 bits."""
        file = self._file(frame)
        if file is None:
            return None
        try:
            depth = read_depth(file, self.unit_mm, "by `depth_unit` how many mm a unit is")
        except BadDepth as error:
            raise ValueError(f"the depth of {frame.name} cannot be used: {error}") from None
        if depth.shape != frame.size[::-1]:
            raise ValueError(
                f"the depth '{file}' is {depth.shape[1]} x {depth.shape[0]} px, {frame.name} {frame.size[0]} "
                f"x {frame.size[1]}: register depth to the colour picture"
            )
        self.frames, self.measured = self.frames + 1, self.measured + bool(depth.any())
        return depth

    def _file(self, frame: SourceFrame) -> Path | None:
        if self._named:
            return self._stems.get(Path(frame.name).stem)
        if self._times is None:
            return self.files[frame.index] if frame.index < len(self.files) else None
        stem = Path(frame.name).stem
        apart = np.abs(self._times - (float(stem) if _SECONDS.fullmatch(stem) else frame.time))
        nearest = int(apart.argmin())
        return self.files[nearest] if apart[nearest] <= MOST_APART_S else None

    def check(self) -> None:
        """What is known once all frames were read. Raises ValueError where no frame has depth, or none has a
        measurement."""
        if not self.frames:
            raise ValueError(
                f"none of the {len(self.files)} pictures of depth in '{self.path}' lies within "
                f"{MOST_APART_S:g} s of a frame: their names have to be seconds by the frames' clock"
            )
        if not self.measured:
            raise ValueError(
                f"nothing is measured in any of the {self.frames} pictures of depth in '{self.path}': they "
                "are 0 everywhere"
            )
