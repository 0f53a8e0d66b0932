"""Files appear whole or not at all, and a disk that does not take them is said in one line, by every
command."""

import errno
import json
import os
import resource
import runpy
import shutil
import sys
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from export_support import moving_hands, write_predictions
from tests_support import hand_rows, write_table

from tempohand import cli
from tempohand.commands.hand import ACTIONS
from tempohand.console import LONGEST_NAME, describe
from tempohand.data.parquet import to_parquet
from tempohand.hand.layer import HandLayer
from tempohand.inference.detector import _MODEL_PARTS
from tempohand.writing import whole, whole_folder, write_whole

ROOT = Path(__file__).parents[1]
LONG = "x" * 300  # file systems take 255 bytes


@contextmanager
def full_disk(left: int = 16):
    """No file of this process grows beyond `left` bytes: as on a full disk, writing raises OSError."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (left, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def files(folder: Path) -> dict[str, bytes]:
    """Everything below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_file_appears_when_it_is_whole(tmp_path):
    with whole(tmp_path / "new" / "file.txt") as part:
        part.write_text("half")
        assert not (tmp_path / "new" / "file.txt").exists()
        part.write_text("whole")
    assert files(tmp_path) == {"new/file.txt": b"whole"}


@pytest.mark.parametrize(
    "error", [ValueError("no"), KeyboardInterrupt(), OSError(errno.EIO, "Input/output error")]
)
def test_what_was_there_stays_when_the_writer_fails(tmp_path, error):
    write_whole(tmp_path / "file", "before")
    with pytest.raises(type(error)), whole(tmp_path / "file") as part:
        part.write_text("half")
        raise error
    assert files(tmp_path) == {"file": b"before"}


def test_a_full_disk_is_named_with_the_file_and_leaves_what_was_there(tmp_path):
    write_whole(tmp_path / "file", "before")
    with full_disk(), pytest.raises(OSError) as caught:
        write_whole(tmp_path / "file", "after " * 1000)
    assert caught.value.filename == str(tmp_path / "file") and caught.value.errno == errno.EFBIG
    assert files(tmp_path) == {"file": b"before"}


def test_a_folder_appears_when_it_is_whole_in_place_of_the_earlier_one(tmp_path):
    for text in ("earlier", "later"):
        with whole_folder(tmp_path / "new" / "folder") as part:
            (part / f"{text}.txt").write_text(text)
            assert not (tmp_path / "new" / "folder" / f"{text}.txt").exists()
    assert files(tmp_path) == {"new/folder/later.txt": b"later"}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["folder"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_folder_that_was_there_stays_when_the_writer_fails(tmp_path, error):
    write_whole(tmp_path / "folder" / "file", "before")
    with pytest.raises(type(error)), whole_folder(tmp_path / "folder") as part:
        (part / "file").write_text("half")
        raise error
    assert files(tmp_path) == {"folder/file": b"before"} and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("failing", ["write", "first rename", "second rename"])
def test_a_full_disk_leaves_the_folder_that_was_there(tmp_path, monkeypatch, failing):
    write_whole(tmp_path / "folder" / "file", "before")
    replace = os.replace
    renamed = []

    def replace_until_full(source, target):
        renamed.append(target)
        if len(renamed) == {"first rename": 1, "second rename": 2}[failing]:
            raise OSError(errno.ENOSPC, "No space left on device", str(source))
        replace(source, target)

    with pytest.raises(OSError) as caught, full_disk():
        if failing != "write":
            monkeypatch.setattr(os, "replace", replace_until_full)
        with whole_folder(tmp_path / "folder") as part:
            (part / "file").write_text("after " * (1000 if failing == "write" else 1))
    assert caught.value.filename.startswith(str(tmp_path / "folder")) and ".part" not in caught.value.filename
    assert files(tmp_path) == {"folder/file": b"before"} and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("file/below", errno.ENOTDIR),
        (LONG, errno.ENAMETOOLONG),
        ("loop/below", errno.ENOTDIR),
        ("/proc/none/below", errno.ENOENT),
    ],
)
def test_places_where_nothing_can_be_written_are_named(tmp_path, place, code):
    (tmp_path / "file").write_text("")
    os.symlink("loop", tmp_path / "loop")
    with pytest.raises(OSError) as caught:
        write_whole(tmp_path / place, "text")
    assert caught.value.errno == code
    assert describe(caught.value).endswith(os.strerror(code)) and place.split("/below")[0][:50] in describe(
        caught.value
    )


def test_an_endless_name_is_shortened_in_the_line():
    line = describe(OSError(errno.ENAMETOOLONG, "File name too long", "/data/" + LONG + "/end.mp4"))
    assert (
        len(line) < LONGEST_NAME + 40
        and line.startswith("'/data/xx")
        and "/end.mp4': File name too long" in line
    )
    assert describe(OSError(errno.ENOSPC, "No space left on device")) == "No space left on device"
    assert describe(OSError("said by a library,\n in words")) == "said by a library, in words"


def write_rig(folder: Path, joints: np.ndarray) -> None:
    """A calibration of two cameras, and where each sees the joints (mm)."""
    cameras = {}
    for name, x in (("a", 0.1), ("b", -0.1)):
        cameras[name] = {"K": [[500, 0, 40], [0, 500, 30], [0, 0, 1]], "R": [0, 0, 0], "t": [x, 0, 0]}
        seen = joints + [x * 1000, 0, 0]
        np.savez(folder / f"view_{name}.npz", joints2d=seen[..., :2] / seen[..., 2:] * 500 + [40, 30])
    (folder / "rig.json").write_text(json.dumps(cameras))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with good input of every kind, but for one picture of its table."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").write_text("")
    rows = hand_rows("one", 3, 0)
    rows[1]["image"] = b"no picture"
    write_table(tmp_path / "table", {"test": [rows]})
    to_parquet(tmp_path / "table", tmp_path / "parquet")
    cv2.imwrite("hand.png", np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8))
    rng = np.random.default_rng(1)
    values = {"joints_3d_mm": rng.normal(0, 30, (3, 21, 3)), "joints_2d": rng.uniform(0, 50, (3, 21, 2))}
    np.savez("opinion.npz", box_xyxy=np.tile([0.0, 0, 50, 50], (3, 1)), **values)
    joints, _ = HandLayer()(torch.zeros(1, 48), torch.zeros(1, 10), torch.tensor([[0.0, 0.0, 500.0]]))
    np.savez("joints.npz", joints=joints.numpy())
    write_rig(tmp_path, joints.numpy())
    with zipfile.ZipFile("mediapipe.whl", "w") as archive:
        for path in _MODEL_PARTS.values():
            archive.writestr(path, b"weights" * 100)
    write_predictions(tmp_path / "predictions.npz", moving_hands())
    (tmp_path / "out").mkdir()
    return tmp_path


# A command with a place for its input and one for its output, None where it has none.
COMMANDS = {
    "predict": (
        "hand.png",
        "out/run",
        lambda i, o: ["predict", i, "--box", "10,10,40,40", "--side", "right", "--out", o],
    ),
    "compare": ("opinion.npz", "out/it.json", lambda i, o: ["compare", i, "opinion.npz", "--json", o]),
    "detector-model": ("mediapipe.whl", "out/it.task", lambda i, o: ["detector-model", o, "--wheel", i]),
    "check-data": (
        "table",
        "out/it.jsonl",
        lambda i, o: ["check-data", i, "--split", "test", "--workers", "0", "--json", o],
    ),
    "inspect": (
        "table",
        "out/it.html",
        lambda i, o: ["inspect", i, "--split", "test", "--rows", "1", "--out", o],
    ),
    "export-json": ("table", "out/it", lambda i, o: ["export-json", i, "--out", o]),
    "table to-parquet": ("table", "out/it", lambda i, o: ["table", "to-parquet", i, o]),
    "table from-parquet": ("parquet", "out/it", lambda i, o: ["table", "from-parquet", i, o]),
    "masks": ("table", "out/it", lambda i, o: ["masks", i, "--workers", "1", "--out", o]),
    "hand check": (
        str(ROOT / "src/hand/open_hand.npz"),
        "out/it.png",
        lambda i, o: ["hand", "check", i, "--picture", o],
    ),
    "hand convert": (
        str(ROOT / "src/hand/open_hand.npz"),
        "out/it.safetensors",
        lambda i, o: ["hand", "convert", i, o],
    ),
    "export": (
        "predictions.npz",
        "out/it.csv",
        lambda i, o: ["export", i, "--to", "csv", "--out", o],
    ),
    "onnx": ("tempohand-tiny", "out/graphs", lambda i, o: ["onnx", "--checkpoint", i, "--out", o]),
    "triangulate": (
        "rig.json",
        "out/it.npz",
        lambda i, o: ["triangulate", i, "a=view_a.npz", "b=view_b.npz", "--out", o],
    ),
    "web": ("tempohand-tiny", "out/page", lambda i, o: ["web", "--checkpoint", i, "--out", o]),
    "hand fit": ("joints.npz", "out/it.npz", lambda i, o: ["hand", "fit", i, o]),
}
SHOWS = {"view", "live", "calibrate"}  # and write no new file
ELSEWHERE = {name for name, command in cli.COMMANDS.items() if command.script}  # below, as scripts


def test_every_command_is_tried():
    assert {name.split()[0] for name in COMMANDS} | ELSEWHERE | SHOWS == set(cli.COMMANDS)
    assert {name.split()[1] for name in COMMANDS if name.startswith("hand ")} == set(ACTIONS)


def refuses(capsys, arguments: list[str]) -> str:
    """The one line that a command ends with."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as leave:
        cli.main(arguments)
    said = capsys.readouterr().err.strip().splitlines()
    assert leave.value.code == 2, said
    assert said[-1].startswith("error: ") and "Traceback" not in "\n".join(said) and len(said[-1]) < 400
    return said[-1]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_name_that_is_too_long_is_one_line(place, capsys, name):
    good, out, command = COMMANDS[name]
    before = files(place)
    assert "too long" in refuses(capsys, command(LONG + Path(good).suffix, out)) or name == "check-data"
    assert "xxx" in refuses(capsys, command(good, f"out/{LONG}{Path(out).suffix}"))
    assert "a_file" in refuses(capsys, command(good, f"a_file/{Path(out).name}"))
    assert files(place) == before


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_is_one_line_and_leaves_the_file_that_was_there(place, capsys, name):
    good, out, command = COMMANDS[name]
    with suppress(SystemExit):  # check-data finds something
        cli.main(command(good, out))
    assert (place / out).exists()
    before = files(place)
    if name in (
        "hand convert",
        "masks",
        "table from-parquet",
    ):  # they never replace anything without being asked
        shutil.rmtree(place / out) if (place / out).is_dir() else (place / out).unlink()
        before = files(place)
    with full_disk():
        line = refuses(capsys, command(good, out))
    assert "too large" in line or "space" in line
    assert files(place) == before


SCRIPTS = {
    "bench": lambda long: ["fit", "--hands", "2", "--json", f"{long}/it.json"],
    "release": lambda long: ["name", long, "--note", "none"],
    "demo": lambda long: ["--video", long],
    "train": lambda long: ["--config-name=stage1-tiny", f"data.root={long}", "tracker=null", f"out={long}"],
    "evaluate": lambda long: [f"stage1={long}", f"data={long}", f"out={long}"],
    "prepare": lambda long: [
        "--config-name=synthetic-demo",
        f"out={long}",
        "num_train=1",
        "num_val=0",
        "num_test=0",
    ],
    "doctor": lambda long: ["--config-name=stage1-tiny", f"data.root={long}"],
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_say_it_in_one_line_too(place, capsys, monkeypatch, name):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *SCRIPTS[name](LONG)])
    monkeypatch.syspath_prepend(ROOT / "script")
    before = files(place)
    with pytest.raises(SystemExit) as leave:
        runpy.run_path(str(ROOT / "script" / f"{name}.py"), run_name="__main__")
    said = capsys.readouterr().err.strip().splitlines()
    assert leave.value.code == 2 and said[-1].startswith("error: ") and "Traceback" not in "\n".join(said), (
        said[-5:]
    )
    assert files(place) == before


def test_a_file_is_exchanged_and_never_written_over(tmp_path):
    """Whoever has the earlier file open, or linked, goes on reading it whole."""
    path, link = tmp_path / "a.txt", tmp_path / "link.txt"
    write_whole(path, "earlier")
    os.link(path, link)
    write_whole(path, "later")
    assert (path.read_text(), link.read_text()) == ("later", "earlier")
