"""LeRobot data sets, read by pyarrow and datasets as the documentation of version 3.0 says they are to be."""

import json

import av
import cv2
import datasets
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from export_support import SIZE, moving_hands, write_predictions
from scipy.spatial.transform import Rotation
from video_support import moving_pictures, write_video

from tempohand import cli
from tempohand.inference.formats import lerobot_video
from tempohand.inference.formats.registry import export_predictions
from tempohand.skeleton import JOINT_NAMES

EPISODES = [(0, range(4)), (0, range(7, 10)), (1, range(2, 7))]  # hand, frames
INFO = {  # meta/info.json, as in data sets on the hub
    "codebase_version": str,
    "robot_type": str,
    "total_episodes": int,
    "total_frames": int,
    "total_tasks": int,
    "chunks_size": int,
    "data_files_size_in_mb": int,
    "video_files_size_in_mb": int,
    "fps": int,
    "splits": dict,
    "data_path": str,
    "video_path": type(None),
    "features": dict,
}
DEFAULTS = {  # lerobot.utils.constants.DEFAULT_FEATURES
    "timestamp": "float32",
    **dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64"),
}


@pytest.fixture(scope="module")
def columns():
    return moving_hands()


@pytest.fixture(scope="module")
def root(columns, tmp_path_factory):
    path = write_predictions(tmp_path_factory.mktemp("predictions") / "p.npz", columns)
    return export_predictions(path, "lerobot").out


def as_datasets(features: dict) -> datasets.Features:
    """The types that LeRobot reads the columns as: a single number is a value, more are a fixed list."""
    return datasets.Features(
        {
            name: datasets.Value(one["dtype"])
            if one["shape"] == [1]
            else datasets.Sequence(datasets.Value(one["dtype"]), length=one["shape"][0])
            for name, one in features.items()
        }
    )


def test_the_folder_has_the_schema_of_version_3(root):
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()) == [
        "data/chunk-000/file-000.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/info.json",
        "meta/stats.json",
        "meta/tasks.parquet",
    ]
    info = json.loads((root / "meta/info.json").read_text())
    assert {name: type(value) for name, value in info.items()} == INFO
    assert info["codebase_version"] == "v3.0" and info["splits"] == {"train": "0:3"}
    assert (root / info["data_path"].format(chunk_index=0, file_index=0)).is_file()
    for name, dtype in DEFAULTS.items():
        assert info["features"][name] == {"dtype": dtype, "shape": [1], "names": None}
    for name, one in info["features"].items():
        assert "/" not in name and set(one) == {"dtype", "shape", "names"}
        assert one["names"] is None or [len(set(one["names"]))] == one["shape"]
    file = pq.ParquetFile(root / "data/chunk-000/file-000.parquet")
    assert file.num_row_groups == len(EPISODES) and file.schema_arrow.names == list(info["features"])
    read = datasets.Dataset.from_parquet(
        str(root / "data/chunk-000/file-000.parquet"),
        features=as_datasets(info["features"]),
        cache_dir=str(root.parent / "cache"),
    )
    assert len(read) == info["total_frames"] and read["index"][:] == list(range(len(read)))


def test_every_episode_is_an_unbroken_stretch_of_a_hand(root, columns):
    episodes = pq.read_table(root / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    table = pq.read_table(root / "data/chunk-000/file-000.parquet").to_pydict()
    info = json.loads((root / "meta/info.json").read_text())
    tasks = pd.read_parquet(root / "meta/tasks.parquet")
    assert tasks.index.name == "task" and list(tasks["task_index"]) == [0, 1]
    assert len(episodes) == info["total_episodes"] == len(EPISODES) and info["total_tasks"] == 2
    place = {name: i for i, name in enumerate(info["features"]["observation.state"]["names"])}
    end = 0
    for number, (episode, (hand, frames)) in enumerate(zip(episodes, EPISODES)):
        assert episode["episode_index"] == number and episode["length"] == len(frames)
        assert (episode["dataset_from_index"], episode["dataset_to_index"]) == (end, end + len(frames))
        (task,) = episode["tasks"]
        assert ("right" in task) == (hand == 0)
        rows = slice(end, end := end + len(frames))
        assert set(table["task_index"][rows]) == {tasks.loc[task, "task_index"]}
        assert table["episode_index"][rows] == [number] * len(frames)
        assert table["frame_index"][rows] == list(range(len(frames)))
        assert table["timestamp"][rows] == pytest.approx(np.arange(len(frames)) / 30, abs=1e-7)
        wanted = np.isin(columns["frame"], frames) & (columns["hand_id"] == hand)
        assert table["source.frame"][rows] == list(frames)
        assert table["source.time"][rows] == columns["time"][wanted].tolist()
        joints = np.reshape(table["observation.joints"][rows], (-1, len(JOINT_NAMES), 3))
        np.testing.assert_allclose(joints, columns["joints"][wanted] / 1000, atol=1e-6)
        state = np.array(table["observation.state"][rows])
        wrist = state[:, [place[f"wrist_{axis}_m"] for axis in "xyz"]]
        np.testing.assert_allclose(wrist, columns["joints"][wanted, 0] / 1000, atol=1e-6)
        turns = Rotation.from_rotvec(columns["pose"][wanted, :3]).as_matrix()
        for i, column in enumerate("xy"):
            given = state[:, [place[f"wrist_rotation_{row}{column}"] for row in "xyz"]]
            np.testing.assert_allclose(given, turns[:, :, i], atol=1e-6)
        bend = state[:, [place[f"ring_2_{axis}_rad"] for axis in "xyz"]]
        np.testing.assert_allclose(bend, columns["pose"][wanted].reshape(-1, 16, 3)[:, 11], atol=1e-6)
        action = np.array(table["action"][rows])
        np.testing.assert_array_equal(action, np.concatenate([state[1:], state[-1:]]))


def test_statistics_are_those_of_the_frames(root):
    table = pq.read_table(root / "data/chunk-000/file-000.parquet").to_pydict()
    episodes = pq.read_table(root / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    stats = json.loads((root / "meta/stats.json").read_text())
    assert set(stats) == set(table)
    for name in ("observation.state", "action", "timestamp"):
        parts = [(stats[name], np.array(table[name]))]
        for one in episodes:
            rows = slice(one["dataset_from_index"], one["dataset_to_index"])
            given = {key: one[f"stats/{name}/{key}"] for key in stats[name]}
            parts.append((given, np.array(table[name][rows])))
        for given, values in parts:
            values = values.reshape(len(values), -1)
            assert given["count"] == [len(values)]
            for key, wanted in (
                ("min", values.min(0)),
                ("max", values.max(0)),
                ("mean", values.mean(0)),
                ("std", values.std(0)),
                ("q50", np.median(values, axis=0)),
            ):
                np.testing.assert_allclose(given[key], wanted, atol=1e-5)


def test_a_data_set_is_replaced_and_another_folder_is_not(tmp_path, columns, capsys):
    path = write_predictions(tmp_path / "p.npz", columns)
    out = tmp_path / "set"
    for _ in range(2):
        cli.main(["export", str(path), "--to", "lerobot", "--out", str(out)])
        assert "episodes: 3" in capsys.readouterr().out
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(SystemExit):
        cli.main(["export", str(path), "--to", "lerobot", "--out", str(tmp_path / "mine")])
    assert "--out" in (said := capsys.readouterr().err) and "something else than a LeRobot" in said
    assert [one.name for one in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_pictures_without_a_rate_are_refused(tmp_path, columns):
    path = write_predictions(tmp_path / "p.npz", columns, [f"{number}.png" for number in range(10)])
    with pytest.raises(ValueError, match="has no frame rate"):
        export_predictions(path, "lerobot")
    assert [one.name for one in tmp_path.iterdir()] == ["p.npz"]


KEY = "observation.images.camera"


@pytest.fixture(scope="module")
def film():
    return moving_pictures(10, *SIZE)


@pytest.fixture(scope="module")
def with_pictures(columns, film, tmp_path_factory):
    folder = tmp_path_factory.mktemp("film")
    (folder / "hands").mkdir()
    path = write_predictions(folder / "hands" / "p.npz", columns)
    write_video(folder / "clip.mkv", film).rename(folder / "clip.mp4")  # the name that the predictions tell
    return export_predictions(path, "lerobot").out


def test_every_row_has_its_picture_at_its_time(with_pictures, film):
    """Read as LeRobot does: an episode's file, and in it the frame at from_timestamp + timestamp."""
    info = json.loads((with_pictures / "meta/info.json").read_text())
    table = pq.read_table(with_pictures / "data/chunk-000/file-000.parquet").to_pydict()
    episodes = pq.read_table(with_pictures / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert KEY not in table and len(episodes) == len(EPISODES)
    small = [picture[::8, ::8].astype(float) for picture in film]
    for one in episodes:
        at = {name: one[f"videos/{KEY}/{name}"] for name in ("chunk_index", "file_index")}
        path = with_pictures / info["video_path"].format(video_key=KEY, **at)
        rows = slice(one["dataset_from_index"], one["dataset_to_index"])
        start, end = (one[f"videos/{KEY}/{name}_timestamp"] for name in ("from", "to"))
        assert end - start == pytest.approx(one["length"] / 30)
        with av.open(str(path)) as container:
            frames = list(container.decode(video=0))
            codec = container.streams.video[0].codec_context.name
        times = np.array([frame.time for frame in frames])
        np.testing.assert_allclose(times, start + np.array(table["timestamp"][rows]), atol=1e-4)
        assert len(frames) == one["length"]
        capture = cv2.VideoCapture(str(path))  # a second reader
        for frame, number in zip(frames, table["source.frame"][rows]):
            seen = capture.read()[1][..., ::-1]
            for picture in (frame.to_ndarray(format="rgb24"), seen):
                apart = [np.abs(picture[::8, ::8] - other).mean() for other in small]
                assert np.argmin(apart) == number and apart[number] < 5
        assert not capture.read()[0]
    assert info["features"][KEY] == {
        "dtype": "video",
        "shape": [SIZE[1], SIZE[0], 3],
        "names": ["height", "width", "channels"],
        "info": {
            "video.height": SIZE[1],
            "video.width": SIZE[0],
            "video.codec": codec,
            "video.pix_fmt": frames[0].format.name,
            "video.is_depth_map": False,
            "video.fps": 30,
            "video.channels": 3,
            "has_audio": False,
        },
    }


def test_the_pictures_statistics_are_those_of_all_pixels(with_pictures, film):
    stats = json.loads((with_pictures / "meta/stats.json").read_text())[KEY]
    episodes = pq.read_table(with_pictures / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    numbers = [[number for _, frames in EPISODES for number in frames], list(EPISODES[1][1])]
    ofs = [stats, {key: episodes[1][f"stats/{KEY}/{key}"] for key in stats}]
    for given, chosen in zip(ofs, numbers):
        pixels = np.stack([film[number] for number in chosen]).reshape(-1, 3) / 255
        assert given["count"] == [len(chosen)]
        for key, wanted in {
            "min": pixels.min(0),
            "max": pixels.max(0),
            "mean": pixels.mean(0),
            "std": pixels.std(0),
            "q10": np.quantile(pixels, 0.1, axis=0, method="inverted_cdf"),
            "q99": np.quantile(pixels, 0.99, axis=0, method="inverted_cdf"),
        }.items():
            assert np.shape(given[key]) == (3, 1, 1), key
            np.testing.assert_allclose(np.ravel(given[key]), wanted, atol=1e-6, err_msg=key)


@pytest.mark.parametrize(
    ("pictures", "says"),
    [
        (lambda film: film[:9], "has no frame 9"),
        (lambda film: [picture[:90, :120] for picture in film], "is 120 x 90 px, the predictions are of 640"),
    ],
)
def test_pictures_of_something_else_are_refused(tmp_path, columns, film, pictures, says, capsys):
    path = write_predictions(tmp_path / "p.npz", columns)
    other = write_video(tmp_path / "other.mkv", [np.ascontiguousarray(one) for one in pictures(film)])
    command = ["export", str(path), "--pictures", str(other), "--to"]
    with pytest.raises(SystemExit):
        cli.main([*command, "lerobot", "--out", str(tmp_path / "set")])
    assert says in capsys.readouterr().err and not (tmp_path / "set").exists()
    with pytest.raises(SystemExit):
        cli.main([*command, "csv"])
    assert "--pictures" in capsys.readouterr().err


def test_episodes_beyond_a_chunk_begin_the_next():
    found = lerobot_video.account(lerobot_video.CHUNK + 2, 30, 10)
    places = [found[f"videos/{lerobot_video.KEY}/{name}"] for name in ("chunk_index", "file_index")]
    assert places == [1, 2] and found[f"videos/{lerobot_video.KEY}/to_timestamp"] == 3.0


def test_quantiles_of_levels_are_numpys():
    """Where a share falls between two levels, too."""
    pixels = np.stack([np.repeat([0, 255], 50), np.arange(100), np.full(100, 7)])
    levels = np.stack([np.bincount(channel, minlength=256) for channel in pixels])
    shares = (0.01, 0.5, 0.9, 0.99)
    found = lerobot_video.statistics(levels, 1, shares)
    for share in shares:
        expected = np.quantile(pixels / 255, share, axis=1, method="inverted_cdf")
        np.testing.assert_allclose(np.ravel(found[f"q{round(100 * share):02d}"]), expected)
