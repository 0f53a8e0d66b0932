"""docs/own_data.md: each of its commands, in its order, on made pictures."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from export_support import moving_hands, write_predictions
from own_support import marked_hands, write_labelme
from tests_support import compose_config, new_accelerate_state
from video_support import write_video

from tempohand import cli
from tempohand.data.convert.joint_order import GATHERS
from tempohand.data.table import FrameTable

PAGE = (Path(__file__).parents[1] / "docs/own_data.md").read_text(encoding="utf-8")
COMMANDS = [shlex.split(line) for line in re.findall(r"^    tempohand (.*)$", PAGE, re.M)]
# What makes a command small.
SMALL = {
    "prepare": ["processes=1"],
    "evaluate": ["device=cpu", "workers=0", "batch_size=4", "strips=0"],
    "train": [
        *("optim.steps=2", "optim.batch_size=4", "optim.warmup=1", "data.workers=0", "tracker=null"),
        *("log.every=1", "log.validate_every=2", "log.checkpoint_every=2"),
    ],
    "predict": ["--box", "100,60,220,200", "--side", "right", "--no-overlay"],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder as the page has it: labelled pictures in mine/, films, and a calibration."""
    folder = tmp_path_factory.mktemp("own")
    hands = marked_hands(folder / "mine", 12, folder="")
    write_labelme(folder / "mine", hands)
    pictures = [cv2.imread(str(folder / "mine" / hand.picture))[..., ::-1] for hand in hands[:2]]
    write_video(folder / "film.mp4", pictures, codec="libx264", pix_fmt="yuv420p", fps=5)
    return folder


def run(*words: str) -> None:
    with new_accelerate_state():
        cli.main([*words, *SMALL.get(words[0], [])])


def test_every_command_of_the_page_runs(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    done = []
    for words in COMMANDS:
        name = words[0]
        if name == "prepare" and words[1].startswith("--config-name"):
            continue  # below
        if name == "train" and "data=data/demo" in words:
            config = words[1].removeprefix("--config-name=")
            tables = compose_config(config, "data.root=data/demo", *words[3:])["data"]["tables"]
            assert {each: table["weight"] for each, table in tables.items()} == {"table": 0.7, "mine": 0.3}
            assert tables["mine"]["root"] == "data/mine"
            continue
        if name == "predict" and "--checkpoint" not in words:
            cli.make_parser(name).parse_args(words)
            see_from(place, words)
            continue
        run(*words)
        done.append(name)
    said = capsys.readouterr().out
    assert done == [
        *("prepare", "inspect", "check-data", "evaluate", "train", "evaluate", "predict"),
        *("triangulate", "hand"),
    ]
    assert len(FrameTable("data/mine", "train")) + len(FrameTable("data/mine", "val")) == 13
    assert "wrote 'data/mine/inspect.html'" in said and "are OpenPose's" in said
    for which in ("before", "after"):
        metrics = json.loads(Path(f"outputs/{which}/metrics.json").read_text())
        assert np.isfinite(metrics["rows"]["stage1"]["error_2d"])
    assert Path("film-hands/predictions.npz").is_file()
    with np.load("fitted.npz") as fitted:
        assert fitted["converged"].all() and np.median(fitted["residual"]) < 3
        shapes = {right: fitted["shape"][fitted["is_right"] == right] for right in (True, False)}
        assert all((shape == shape[0]).all() for shape in shapes.values())


def see_from(place: Path, words: list[str]) -> None:
    """What a camera of the page sees of moving hands, in place of a film of them; and its calibration."""
    name = Path(words[1]).stem
    number = ("left", "right").index(name)
    turn, shift = np.array([0.0, 0.3 - 0.6 * number, 0.0]), np.array([-0.15 + 0.3 * number, 0.0, 0.05])
    matrix = np.array([[900.0, 0, 640], [0, 900, 360], [0, 0, 1]])
    truth = moving_hands()
    points = truth["joints"].astype(float).reshape(-1, 1, 3)
    pixels = cv2.projectPoints(points, turn, shift * 1000, matrix, np.zeros(5))[0].reshape(-1, 21, 2)
    out = Path(words[words.index("--out") + 1])
    out.mkdir()
    write_predictions(out / "predictions.npz", truth | {"joints2d": pixels.astype(np.float32)})
    rig = json.loads((place / "rig.json").read_text()) if number else {}
    rig[name] = {"K": matrix.tolist(), "dist": [0] * 5, "R": turn.tolist(), "t": shift.tolist()}
    (place / "rig.json").write_text(json.dumps(rig))


def test_the_page_says_what_a_wrong_order_is_answered_with(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    hands = marked_hands(tmp_path / "mine", 10, folder="")
    points = [hand.points[np.argsort(GATHERS["mano"])] for hand in hands]
    whole = [number for number, each in enumerate(points) if (each[:, 2] > 0).all()]
    write_labelme(tmp_path / "mine", [replace(hands[number], points=points[number]) for number in whole])
    with pytest.raises(SystemExit):
        run(*COMMANDS[0])
    error = capsys.readouterr().err.strip()
    (wanted,) = re.findall(r"^    (error: the joints.*)$", PAGE, re.M)
    assert error.splitlines()[-1].startswith(wanted) and not list(Path("data").rglob("*.arrow"))
