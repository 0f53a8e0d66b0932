"""docs/examples: each program runs on a small film and leaves what it says; the index shows each."""

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pytest
from tests_support import load_file, new_accelerate_state

from tempohand import cli

FOLDER = Path(__file__).parents[1] / "docs/examples"
EXAMPLES = sorted(path for path in FOLDER.glob("[0-9]*"))
NEEDS = {"04": "trimesh", "05": "dexi_rs", "10": "onnxruntime"}  # example -> its optional package
MORE = {  # arguments that make an example small
    "06": ["optim.steps=2", "log.every=1", "log.validate_every=2", "log.checkpoint_every=2", "optim.warmup=1"]
}
SMALL = ["frames_test=10", "camera.image_size=320", "person.both_probability=0"]
SAYS = {  # example -> what it prints
    "01": r"predictions of 1 hand;.*predictions\.csv",
    "02": r"right hand: index fingertip at -?\d+, -?\d+, \d+ mm",
    "03": r"frame 9: hand 0 at \[",
    "04": r"hand0_right_mesh: 778 vertices",
    "05": r"leap: 4 fingertips are",
    "06": r"before: joints [\d.]+ % .*after: joints [\d.]+ %",
    "07": r"landmarks_fit +\d.*stage2 +\d",
    "08": r"of the fitted hand, all 21: [\d.]+ mm",
    "09": r"1 of 126 joints.*the hands' [\d.]+ mm",
    "10": r"wrist at \[.*index fingertip at \[",
}


OURS = [sys.executable, "-m", "tempohand.cli"]
in_a_process = subprocess.run


def run_command(*words: str) -> None:
    before = sys.argv  # scripts replace it
    with new_accelerate_state():
        cli.main(list(words))
    sys.argv = before


def run_here(command: list[str], **options):
    """subprocess.run, but that commands of ours run in this process."""
    if list(command[:3]) != OURS:
        return in_a_process(command, **options)
    return run_command(*command[3:])


def run_example(path: Path, monkeypatch) -> None:
    if path.suffix == ".sh":
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        assert lines and all(line.startswith("tempohand ") for line in lines)
        for line in lines:
            run_command(*shlex.split(line)[1:])
        return
    monkeypatch.setattr("subprocess.run", run_here)
    monkeypatch.setattr(sys, "argv", [str(path), *MORE.get(path.name[:2], [])])
    runpy.run_path(str(path), run_name="__main__")
    plt.close("all")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the film, the predictions of it and the graphs of a network."""
    folder = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        film = load_file(FOLDER / "film.py")
        monkeypatch.setattr("subprocess.run", run_here)
        film.make_film(*SMALL)
        run_command("predict", "film.mp4")
    return folder


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_an_example_runs(place, monkeypatch, capsys, path):
    number = path.name[:2]
    if number in NEEDS:
        pytest.importorskip(NEEDS[number])
    monkeypatch.chdir(place)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    if number == "10":
        run_command("onnx", "--out", "graphs")
    run_example(path, monkeypatch)
    assert re.search(SAYS[number], capsys.readouterr().out, re.DOTALL)
    if f"{path.stem}.png" in path.read_text():
        picture = cv2.imread(f"{path.stem}.png")
        assert picture.std() > 1, "something is drawn"


def test_graphs_alone_say_what_the_package_says(place, monkeypatch, capsys):
    """Example 10 cuts its crop by itself: its hand is that of the package for the same box and camera, where
    that turns no crop upright."""
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(place)
    if not Path("graphs").is_dir():
        run_command("onnx", "--out", "graphs")
    told = runpy.run_path(str(FOLDER / "10_onnx.py"))
    from tempohand.inference.predictor import StreamingPredictor
    from tempohand.model.release import load

    given = {name: told[name] for name in ("box", "focal")} | {"princpt": told["middle"]}
    picture = np.ascontiguousarray(told["picture"])
    monkeypatch.setattr("tempohand.model.spatial.MOST_TURNS", 0)
    hand = StreamingPredictor(load()).push(picture, given.pop("box"), 0.0, is_right=True, **given)
    np.testing.assert_allclose(told["joints"], hand.joints, atol=0.2)  # mm


def test_the_index_shows_every_example():
    page, readme = (FOLDER / "README.md").read_text(), (FOLDER.parents[1] / "README.md").read_text()
    for path in EXAMPLES:
        assert f"]({path.name})" in page and len(path.read_text().splitlines()) < 60
    for name in re.findall(r"\]\((\.\./[^)]+)\)", page):
        assert (FOLDER / name).exists(), name
    shown = {path.stem for path in (FOLDER.parent / "images/examples").iterdir()}
    assert set(re.findall(r"images/examples/(\w+)\.jpg", page)) == shown
    assert "docs/examples/README.md" in readme


def test_every_format_has_its_picture():
    from tempohand.inference.formats.registry import FORMATS

    folder = FOLDER.parent / "images/export"
    page = (FOLDER.parent / "export.md").read_text()
    files = sorted(folder.iterdir())
    assert [path.stem for path in files] == sorted(FORMATS)
    assert all(f"](images/export/{path.name})" in page and path.stat().st_size < 60e3 for path in files)
