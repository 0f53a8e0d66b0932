"""A run that is interrupted goes on where it stopped: what comes of it is what an uninterrupted one gives."""

import hashlib
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tempohand.inference import palm_finder, predict_files, unfinished
from tempohand.inference.box_propagation import FollowedHands
from tempohand.inference.palm_finder import FoundHands, PalmFinder
from tempohand.inference.palm_following import FollowedPalms
from tempohand.inference.source import VideoSource

STOP = 13  # frames of 30


class Drifting(PalmFinder):
    """Two hands, which drift for as long as they are followed; counts its looks."""

    def __init__(self):
        self.looked = 0

    def hands(self, image, known=None, new=True, near=True):
        self.looked += 1
        boxes = np.array([[20.0, 15, 50, 45], [60, 40, 95, 75]])
        joints = torch.from_numpy(np.stack([np.linspace(box[:2], box[2:], 21) for box in boxes]))
        sides = torch.tensor([0.99, 0.5]).double()
        return FoundHands(joints if known is None else known + 0.4, sides * 0 + 0.9, sides)

    def detect(self, frame):
        return palm_finder.detections(self.hands(frame.image))


def contents(folder: Path) -> dict[str, str]:
    """Of every file: hashes, of the archive's arrays one by one, since a zip holds the time."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".npz":
            with np.load(path) as file:
                found |= {name: hashlib.sha256(file[name].tobytes()).hexdigest() for name in file.files}
        elif path.is_file():
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture
def clip(tmp_path, video_tools):
    moving_pictures, write_video = video_tools
    return write_video(tmp_path / "clip.mkv", moving_pictures(30))


@pytest.fixture
def finders(monkeypatch):
    """The finders that runs make, in their order; a run notes its progress as often as it can."""
    made = []
    monkeypatch.setattr(unfinished, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(predict_files, "PalmFinder", lambda *_, **__: made.append(Drifting()) or made[-1])
    return made


def stop(monkeypatch, error: type) -> None:
    """Has the next run end with an error once it has taken STOP frames."""
    keep = unfinished.Unfinished.keep

    def ends(self, hands, state):
        if self.taken == STOP:
            raise error
        keep(self, hands, state)

    monkeypatch.setattr(unfinished.Unfinished, "keep", ends)


@pytest.mark.parametrize("follow", ["landmarks", "hand"])
def test_a_run_that_goes_on_gives_what_an_uninterrupted_one_gives(
    clip, tmp_path, predict, monkeypatch, finders, fake_network, capsys, follow
):
    class Sides(fake_network):
        """Sure of a right hand in the first frames, and then a little for a left one: what was said before
        counts."""

        tells_sides = True

        def look(self, frames):
            return frames.focal.new_tensor([[3.0 if frames.time.item() < 0.2 else -1.0], [0.9]])

    words = [clip, "--obj", "--batch-size", 3, "--follow", follow]
    network = Sides()
    whole = contents(predict(*words, network=network, out="whole"))
    with np.load(tmp_path / "whole" / "predictions.npz") as file:
        assert file["is_right"][file["frame"] > STOP].any()
    assert len([name for name in whole if name.endswith(".obj")]) > 30 and "overlay.mp4" in whole
    with monkeypatch.context() as patched:
        stop(patched, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            predict(*words, network=Sides())
    stage = tmp_path / ".out-unfinished"
    noted = json.loads((stage / unfinished.FOLDER / "progress.json").read_text())["frames"]
    assert 3 < noted <= STOP and not (tmp_path / "out").exists()
    assert f"the same command goes on from frame {noted}" in capsys.readouterr().err
    rest = Sides()
    assert contents(predict(*words, network=rest)) == whole
    assert not stage.exists() and rest.encoded < network.encoded
    assert finders[2].looked == 30 - noted or follow == "hand"
    assert f"{noted} frames of them by an earlier run" in capsys.readouterr().out


def test_another_command_begins_anew(clip, tmp_path, predict, monkeypatch, finders):
    with monkeypatch.context() as patched:
        stop(patched, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            predict(clip, "--obj")
    assert list((tmp_path / ".out-unfinished" / "meshes").iterdir())
    other = predict(clip, "--focal", 300, "--no-overlay")
    assert contents(other) == contents(predict(clip, "--focal", 300, "--no-overlay", out="whole"))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_error_leaves_nothing(clip, tmp_path, predict, monkeypatch, finders):
    stop(monkeypatch, ValueError)
    with pytest.raises(ValueError):
        predict(clip)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mkv"]


def test_two_runs_into_one_folder_do_not_share_their_progress(clip, tmp_path, predict, monkeypatch, finders):
    """The second begins while the first is at its 5th frame."""
    frames = VideoSource.__iter__

    def meanwhile(self):
        for frame in frames(self):
            if frame.index == 5 and not seen:
                seen.append(1)
                predict(clip, "--no-overlay", "--focal", 200)
            yield frame

    seen = []
    monkeypatch.setattr(VideoSource, "__iter__", meanwhile)
    out = predict(clip, "--no-overlay", "--focal", 100)
    with np.load(out / "predictions.npz") as file:
        assert (file["focal"] == 100).all() and len(np.unique(file["frame"])) == 30


def test_an_interrupt_before_anything_is_noted_leaves_nothing(
    clip, tmp_path, predict, monkeypatch, finders, capsys
):
    monkeypatch.setattr(unfinished, "SAVE_EVERY_S", 1e9)
    stop(monkeypatch, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        predict(clip)
    assert "goes on from frame" not in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mkv"]


def test_a_second_interrupt_loses_nothing(clip, tmp_path, predict, monkeypatch, finders, capsys):
    """Before the run that goes on has noted anything itself."""
    said = []
    for every in (0.0, 1e9):
        with monkeypatch.context() as patched:
            patched.setattr(unfinished, "SAVE_EVERY_S", every)
            stop(patched, KeyboardInterrupt)
            with pytest.raises(KeyboardInterrupt):
                predict(clip)
        said.append([line for line in capsys.readouterr().err.splitlines() if "goes on from" in line])
    assert said[0] == said[1] and len(said[0]) == 1
    assert (tmp_path / ".out-unfinished" / unfinished.FOLDER / "progress.json").is_file()


def test_what_is_noted_lies_on_the_disk(clip, predict, monkeypatch, finders):
    """At that moment, and not when files are closed: a run that is killed closes none. Of states the last one
    is kept, until the next one is noted."""
    write, noted = unfinished.write_whole, []

    def writing(path, content):
        if path.name == "progress.json":
            progress = json.loads(content)
            noted.append(progress["rows"])
            for name, (kind, shape) in progress["kinds"].items():
                wanted = progress["rows"] * np.dtype(kind).itemsize * int(np.prod(shape))
                assert (path.parent / ".rows" / name).stat().st_size == wanted, name
            states = [file.name for file in path.parent.glob("state-*.pt")]
            assert progress["state"] in states and len(states) <= 2
        write(path, content)

    monkeypatch.setattr(unfinished, "write_whole", writing)
    predict(clip, "--batch-size", 1)
    assert len(noted) > 5 and noted == sorted(set(noted))


def test_it_is_time_once_for_each_time(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(unfinished.time, "monotonic", lambda: now[0])
    (tmp_path / unfinished.FOLDER).mkdir()
    with unfinished.Unfinished(tmp_path, "key") as run:
        asked = []
        for after in (9.9, 0.2, 0.1, 9.8, 0.2):
            now[0] += after
            asked.append(run.due())
    assert asked == [False, True, False, False, True]


def test_the_key_tells_what_gives_other_results(tmp_path, monkeypatch):
    settings = predict_files.PredictSettings
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    key = unfinished.key_of(settings(tmp_path / "a.png"))
    assert key == unfinished.key_of(settings(tmp_path / "a.png", out="elsewhere"))
    assert key != unfinished.key_of(settings(tmp_path / "a.png", max_gap=0.1))
    with monkeypatch.context() as patched:  # sums are rounded otherwise
        patched.setattr(torch, "get_num_threads", lambda: 77)
        assert key != unfinished.key_of(settings(tmp_path / "a.png"))
    os.utime(tmp_path / "a.png", (1, 1))
    assert key != unfinished.key_of(settings(tmp_path / "a.png"))
    (tmp_path / "a.png").write_bytes(b"other")
    assert key != unfinished.key_of(settings(tmp_path / "a.png"))


@pytest.mark.parametrize(
    ("read", "before"),
    [*((name, "") for name in ("input", "checkpoint", "boxes", "finder", "depth")), ("finder", "palms+")],
)
def test_the_key_tells_all_that_is_read(tmp_path, read, before):
    """Files, and every file of a folder; of two finders the one that is read."""
    for name in ("folder", "other"):
        (tmp_path / name).mkdir()
    given = {"input": tmp_path / "other", read: before + str(tmp_path / "folder")}
    keys = []
    for name in ("a", "b", "c"):
        (tmp_path / "folder" / name).write_text(name)
        keys.append(unfinished.key_of(predict_files.PredictSettings(**given)))
    os.utime(tmp_path / "folder" / "b", (1, 1))
    keys.append(unfinished.key_of(predict_files.PredictSettings(**given)))
    assert len(set(keys)) == 4


def test_followers_say_all_that_they_know():
    """A field that `state` lacks would be lost."""
    own = {"finder", "every", "near_every", "verified"}
    for follower in (FollowedPalms, FollowedHands):
        assert len(vars(follower(Drifting(), 2)).keys() - own) == len(follower(Drifting(), 2).state)
