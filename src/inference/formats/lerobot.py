"""A LeRobot data set, version 3.0, of states, and of pictures where they are given (huggingface/lerobot:
docs/source/lerobot-dataset-v3.mdx, src/lerobot/datasets): an episode for every hand's unbroken stretch of
frames.

Metres and radians in OpenCV's camera space. Written without the lerobot package, whose requirements exclude
ours.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tempohand.hand.layer import MM_PER_METRE
from tempohand.inference.formats import lerobot_video as video
from tempohand.inference.formats.predictions import HandTrack, Predictions
from tempohand.inference.formats.rig import rotation_matrices
from tempohand.skeleton import JOINT_NAMES, MANO_JOINT_NAMES
from tempohand.writing import whole_folder, write_whole

VERSION = "v3.0"
_SHARD = "chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_FIRST = _SHARD.format(chunk_index=0, file_index=0)
_STATE = [
    *(f"wrist_{axis}_m" for axis in "xyz"),
    *(f"wrist_rotation_{row}{column}" for column in "xy" for row in "xyz"),
    *(f"{joint}_{axis}_rad" for joint in MANO_JOINT_NAMES[1:] for axis in "xyz"),
]
_JOINTS = [f"{joint}_{axis}_m" for joint in JOINT_NAMES for axis in "xyz"]
_FEATURES = {  # name -> (dtype, names of its numbers, None: a single one)
    "observation.state": ("float32", _STATE),
    "observation.joints": ("float32", _JOINTS),
    "action": ("float32", _STATE),
    "source.frame": ("int64", None),
    "source.time": ("float64", None),
    "source.hand": ("int64", None),
    "timestamp": ("float32", None),
    "frame_index": ("int64", None),
    "episode_index": ("int64", None),
    "index": ("int64", None),
    "task_index": ("int64", None),
}
_TASKS = {True: "move the right hand", False: "move the left hand"}
_QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)


def write(predictions: Predictions, out: Path, pictures: Path | None = None) -> list[str]:
    """out: a folder, made whole; an earlier data set there is replaced. pictures: the input that the
    predictions are of; None: the data set has none.

    Raises ValueError for pictures without a frame rate and for a folder of something else, what
    `lerobot_video.write_pictures` raises, and OSError.
    """
    if not predictions.fps > 0:
        raise ValueError(
            f"'{predictions.source}' has no frame rate, which a LeRobot data set needs: "
            "tempohand predict --fps RATE makes one sequence of pictures"
        )
    if out.is_dir() and any(out.iterdir()) and not (out / "meta" / "info.json").is_file():
        raise ValueError(f"`out` '{out}' is a folder of something else than a LeRobot data set")
    fps, tasks = max(1, round(predictions.fps)), []
    tracks = predictions.tracks()
    for track in tracks:
        if (task := _TASKS[track.is_right]) not in tasks:
            tasks.append(task)
    episodes = list(_episodes(tracks, fps, tasks))
    with whole_folder(out) as part:
        levels = video.write_pictures(part, predictions, pictures, fps) if pictures else []
        for folder in ("data", "meta/episodes"):
            (part / folder / _FIRST).parent.mkdir(parents=True)
        table = pa.concat_tables([_table(episode) for episode in episodes])
        with pq.ParquetWriter(part / "data" / _FIRST, table.schema) as writer:
            for episode in episodes:  # a row group each, by which readers find one
                writer.write_table(table.slice(episode["index"][0], len(episode["index"])))
        pq.write_table(_account(episodes, tasks, levels, fps), part / "meta" / "episodes" / _FIRST)
        named = pd.DataFrame({"task_index": range(len(tasks))}, index=pd.Index(tasks, name="task"))
        named.to_parquet(part / "meta" / "tasks.parquet")
        info = _info(fps, len(episodes), table.num_rows, len(tasks))
        together = {name: np.concatenate([one[name] for one in episodes]) for name in _FEATURES}
        about = _statistics(together)
        if levels:
            info["features"][video.KEY] = video.feature(part, fps)
            info["video_path"] = video.PATH
            about[video.KEY] = video.statistics(np.sum(levels, axis=0), table.num_rows, _QUANTILES)
        write_whole(part / "meta" / "info.json", json.dumps(info, indent=4))
        write_whole(part / "meta" / "stats.json", json.dumps(about, indent=4))
    shown = f"pictures of '{pictures.name}'" if pictures else "no pictures (name their input in `pictures`)"
    notes = [f"episodes: {len(episodes)}; state, joints, action, and {shown}, {fps} frames/s"]
    if abs(predictions.fps - fps) > 1e-6:
        notes.append(
            f"LeRobot has whole frame rates: {predictions.fps:.3f} became {fps}; source.time is exact"
        )
    return notes


def _episodes(tracks: list[HandTrack], fps: int, tasks: list[str]) -> Iterator[dict[str, np.ndarray]]:
    """Columns of each episode, by the names of _FEATURES."""
    number = first = 0
    for track in tracks:
        state = _state(track)
        joints = track.joints.reshape(len(track.joints), -1).astype(np.float64) / MM_PER_METRE
        for rows in track.stretches():
            count = rows.stop - rows.start
            order = np.arange(count)
            values = {
                "observation.state": state[rows],
                "observation.joints": joints[rows],
                "action": state[rows][np.minimum(order + 1, count - 1)],
                "source.frame": track.frame[rows],
                "source.time": track.time[rows],
                "source.hand": np.full(count, track.hand_id),
                "timestamp": order / fps,
                "frame_index": order,
                "episode_index": np.full(count, number),
                "index": first + order,
                "task_index": np.full(count, tasks.index(_TASKS[track.is_right])),
            }
            yield {name: values[name].astype(dtype) for name, (dtype, _) in _FEATURES.items()}
            number, first = number + 1, first + count


def _state(track: HandTrack) -> np.ndarray:
    """[n, 54]: the wrist's place, the first two columns of its rotation matrix (Zhou et al., CVPR 2019, which
    has no jumps), and the finger joints' axis-angles against their parents."""
    turn = rotation_matrices(track.pose)[:, 0, :, :2].transpose(0, 2, 1).reshape(-1, 6)
    place = track.trans.astype(np.float64) / MM_PER_METRE
    return np.concatenate([place, turn, track.pose[:, 3:]], axis=1)


def _table(episode: dict[str, np.ndarray]) -> pa.Table:
    columns = {}
    for name, values in episode.items():
        flat = pa.array(values.ravel())
        columns[name] = flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    return pa.table(columns)


def _account(
    episodes: list[dict[str, np.ndarray]], tasks: list[str], levels: list[video.Histogram], fps: int
) -> pa.Table:
    """meta/episodes: where each episode lies, and its statistics. levels: of the episodes' pictures, none
    without."""
    rows = []
    for number, episode in enumerate(episodes):
        count, first = len(episode["index"]), int(episode["index"][0])
        row = {"episode_index": number, "tasks": [tasks[episode["task_index"][0]]], "length": count}
        row |= {"data/chunk_index": 0, "data/file_index": 0}
        row |= {"dataset_from_index": first, "dataset_to_index": first + count}
        row |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        about = _statistics(episode)
        if levels:
            row |= video.account(number, count, fps)
            about[video.KEY] = video.statistics(levels[number], count, _QUANTILES)
        for name, values in about.items():
            row |= {f"stats/{name}/{key}": value for key, value in values.items()}
        rows.append(row)
    return pa.Table.from_pylist(rows)


def _statistics(columns: dict[str, np.ndarray]) -> dict[str, dict[str, list]]:
    """Of every feature, over the frames: each a list, of a single number of length 1."""
    found = {}
    for name, values in columns.items():
        numbers = values.reshape(len(values), -1).astype(np.float64)
        kinds = {"min": numbers.min(0), "max": numbers.max(0), "mean": numbers.mean(0), "std": numbers.std(0)}
        quantiles = np.quantile(numbers, _QUANTILES, axis=0)
        kinds |= {f"q{round(100 * share):02d}": one for share, one in zip(_QUANTILES, quantiles)}
        found[name] = {key: one.tolist() for key, one in kinds.items()} | {"count": [len(numbers)]}
    return found


def _info(fps: int, episodes: int, frames: int, tasks: int) -> dict:
    features = {
        name: {"dtype": dtype, "shape": [len(names or [0])], "names": names}
        for name, (dtype, names) in _FEATURES.items()
    }
    return {
        "codebase_version": VERSION,
        "robot_type": "human_hand",
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {"train": f"0:{episodes}"},
        "data_path": f"data/{_SHARD}",
        "video_path": None,
        "features": features,
    }
