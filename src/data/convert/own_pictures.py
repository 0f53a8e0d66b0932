"""The pictures that labels name: files below a folder, found by as much of their names as the labels have,
and frames of a video."""

from collections import defaultdict
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import UInt8

from tempohand.data.convert.frame import Unusable
from tempohand.media.pictures import is_picture, read_head
from tempohand.media.video import Video


class OwnPictures:
    """The pictures below a folder."""

    def __init__(self, root: Path):
        self.root = root
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for path in sorted(root.rglob("*")):
            if not path.name.startswith(".") and path.is_file() and is_picture(read_head(path)):
                relative = path.relative_to(root).as_posix()
                for name in {path.name, path.stem}:
                    self._by_name[name].append(relative)

    def find(self, name: str) -> str | None:
        """The file, below the folder, that a label's name means: the one whose path has the longest end in
        common with it. A name may lack its extension. None where there is none. Raises Unusable where several
        files fit equally."""
        wanted = PurePosixPath(name.replace("\\", "/"))
        found = self._by_name.get(wanted.name, [])
        if len(found) > 1:
            common = [_common(PurePosixPath(each), wanted) for each in found]
            found = [each for each, count in zip(found, common) if count == max(common)]
        if len(found) > 1:
            raise Unusable("picture not clear", f"'{name}' may be {found[0]} or {found[1]}")
        return found[0] if found else None


def _common(path: PurePosixPath, wanted: PurePosixPath) -> int:
    """How many folders before the file's name two paths have in common."""
    count = 0
    for ours, theirs in zip(reversed(path.parent.parts), reversed(wanted.parent.parts)):
        if ours != theirs:
            break
        count += 1
    return count


class VideoFrames:
    """A video's frames by their numbers, from 0, asked for in rising order."""

    def __init__(self, path: Path):
        self._path = path
        self._frames = enumerate(Video(path).pictures())
        self._now: tuple[int, tuple[float, UInt8[np.ndarray, "h w 3"]]] = next(self._frames)

    def __call__(self, number: int) -> tuple[float, UInt8[np.ndarray, "h w 3"]]:
        """(seconds, picture). Raises Unusable beyond the video's end."""
        while self._now[0] < number:
            following = next(self._frames, None)
            if following is None:
                raise Unusable(
                    "frame missing",
                    f"'{self._path.name}' has {self._now[0] + 1} frames, none of number {number}",
                )
            self._now = following
        return self._now[1]
