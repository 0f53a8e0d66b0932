"""The pictures of a LeRobot data set: an MP4 file an episode, whose frames lie exactly where the rows' times
say."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import Int64, UInt8

from tempohand.inference.formats.predictions import HandTrack, Predictions
from tempohand.inference.source import Source, open_source
from tempohand.media.encode import VideoWriter

KEY = "observation.images.camera"
PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
CHUNK = 1000  # files of a folder
KEY_EVERY = 2  # as LeRobot's own recorder: policies ask for single frames
_LEVELS = np.arange(256) / 255

Histogram = Int64[np.ndarray, "3 256"]  # how many pixels of each channel have each level


def write_pictures(root: Path, predictions: Predictions, where: Path, fps: int) -> list[Histogram]:
    """Writes every episode's frames (each track's stretches, in order) below `root`; the episodes' levels.

    where: the input that the predictions are of. Raises ValueError where its pictures are of another size
    than the predictions' or lack a frame, and what `open_source` raises.
    """
    # A folder's pictures have no times: with a rate they are one sequence.
    source = open_source(where, predictions.fps if where.is_dir() else None)
    found = []
    for track in predictions.tracks():
        pictures = _pictures(source, predictions, track)
        for rows in track.stretches():
            path = root / PATH.format(video_key=KEY, **_place(len(found)))
            path.parent.mkdir(parents=True, exist_ok=True)
            levels = np.zeros((3, 256), np.int64)
            with VideoWriter(path, Fraction(fps), KEY_EVERY) as writer:
                for place in range(rows.stop - rows.start):
                    picture = next(pictures)
                    writer.put(picture, place)
                    for channel in range(3):
                        levels[channel] += np.bincount(picture[..., channel].ravel(), minlength=256)
            found.append(levels)
    return found


def _place(episode: int) -> dict[str, int]:
    return {"chunk_index": episode // CHUNK, "file_index": episode % CHUNK}


def _pictures(
    source: Source, predictions: Predictions, track: HandTrack
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Of a track's frames, in order, by one pass through the source."""
    wanted, sizes = iter(track.frame.tolist()), predictions.image_size
    number = next(wanted, None)
    for frame in source:
        if number is None:
            return
        if frame.index == number:
            size = sizes[np.flatnonzero(predictions.frame == number)[0]].tolist()
            if list(frame.size) != size:
                raise ValueError(
                    f"`pictures` '{source.path}' is {frame.size[0]} x {frame.size[1]} px, the predictions "
                    f"are of {size[0]} x {size[1]}: name the input that they are of"
                )
            yield frame.image
            number = next(wanted, None)
    if number is not None:
        raise ValueError(f"`pictures` '{source.path}' has no frame {number}: name the whole input")


def account(episode: int, length: int, fps: int) -> dict[str, int | float]:
    """An episode's columns in meta/episodes: where its pictures lie."""
    columns = {**_place(episode), "from_timestamp": 0.0, "to_timestamp": length / fps}
    return {f"videos/{KEY}/{name}": value for name, value in columns.items()}


def statistics(levels: Histogram, frames: int, shares: tuple[float, ...]) -> dict[str, list]:
    """Of the pictures' channels, [3, 1, 1] each, levels from 0 to 1: exact, of every pixel."""
    total = levels.sum(axis=1)
    mean = levels @ _LEVELS / total
    there = [_LEVELS[channel > 0] for channel in levels]
    found = {
        "min": np.array([one[0] for one in there]),
        "max": np.array([one[-1] for one in there]),
        "mean": mean,
        "std": np.sqrt((levels * (_LEVELS - mean[:, None]) ** 2).sum(axis=1) / total),
    }
    below = levels.cumsum(axis=1) / total[:, None]
    for share in shares:
        found[f"q{round(100 * share):02d}"] = _LEVELS[(below < share).sum(axis=1)]
    lists = {name: values[:, None, None].tolist() for name, values in found.items()}
    return lists | {"count": [frames]}


def feature(root: Path, fps: int) -> dict:
    """What meta/info.json says of the pictures, as the first file has them."""
    with av.open(str(root / PATH.format(video_key=KEY, **_place(0)))) as container:
        stream = container.streams.video[0]
        height, width = stream.height, stream.width
        codec, layout = stream.codec_context.name, stream.codec_context.pix_fmt
    about = {"height": height, "width": width, "codec": codec, "pix_fmt": layout, "is_depth_map": False}
    about |= {"fps": fps, "channels": 3}
    info = {f"video.{name}": value for name, value in about.items()} | {"has_audio": False}
    names = ["height", "width", "channels"]
    return {"dtype": "video", "shape": [height, width, 3], "names": names, "info": info}
