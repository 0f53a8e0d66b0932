import argparse
import ast
import os
import re
import resource
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from tempohand import cli
from tempohand.commands import scripts
from tempohand.console import in_flags
from tempohand.inference.settings import PredictSettings
from tempohand.model import registry

# What takes long to import, or must not be needed for a page of help.
HEAVY = ("torch", "numpy", "cv2", "av", "numba", "hydra", "omegaconf", "matplotlib", "scipy", "accelerate")
HELP_SECONDS = 1.0  # of the processor; about 0.1 where nothing heavy is imported, and 3 with torch


@pytest.mark.parametrize("name", [None, *cli.COMMANDS])
def test_help_is_quick_and_imports_nothing_heavy(name):
    words = ["--help"] if name is None else [name, "--help"]
    code = f"""
import sys
from tempohand.cli import main
try:
    main({words})
except SystemExit as leave:
    assert leave.code == 0
print([name for name in {HEAVY} if name in sys.modules])
"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
    assert f"usage: tempohand {name or ''}".strip() in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < HELP_SECONDS


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "tempohand.cli", "prdict"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and "invalid choice" in done.stderr and done.stderr.count("\n") == 1


def test_a_script_gets_its_arguments_as_they_are(monkeypatch):
    given = []
    monkeypatch.setattr(cli, "run_script", lambda *words: given.append(words))
    words = ["--config-name", "stage1-tiny", "--json", "f", "data=x", "optim.steps=3", "--cfg=job"]
    cli.main(["doctor", *words])
    cli.main(["bench", "fit", "--help"])  # has no page but the script's
    assert given == [("doctor", words), ("bench", ["fit", "--help"])]


def test_scripts_lie_beside_the_package_or_in_it(tmp_path):
    """As where site-packages holds a link to src, and as where a wheel was installed."""
    checkout, site, installed = tmp_path / "checkout", tmp_path / "site", tmp_path / "installed"
    shutil.copytree(Path(cli.__file__).parent / "commands", checkout / "src" / "commands")
    (checkout / "src" / "__init__.py").touch()
    shutil.copytree(checkout / "src", installed / "tempohand")
    for folder in (checkout, installed / "tempohand"):
        (folder / "script").mkdir()
    site.mkdir()
    (site / "tempohand").symlink_to(checkout / "src")
    code = "from tempohand.commands import scripts; print(scripts.SCRIPTS, scripts.CONFIGS, sep='\\n')"
    for place, home in ((site, checkout), (installed, installed / "tempohand")):
        environment = {**os.environ, "PYTHONPATH": str(place)}
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert found.stdout.split() == [str(home / "script"), str(home / "config")], found.stderr


def test_the_pages_name_every_configuration_of_their_command():
    trained, prepared = (scripts.configurations(base) for base in (scripts.TRAINED, scripts.SYNTHETIC))
    assert {"stage1-tiny", "stage1-tiny-finetune", "stage2-dino_large", "find-tiny"} <= set(trained)
    for names, key in ((trained, "optim"), (prepared, "num_train")):
        for name in names:
            with initialize_config_dir(str(scripts.CONFIGS), version_base="1.3"):
                assert key in compose(name), name
    others = {path.stem for path in scripts.CONFIGS.glob("*.yaml")} - {*trained, *prepared}
    assert not {name for name in others if name.startswith(("stage", "find", "synthetic"))}


def test_the_library_speaks_of_arguments_and_not_of_flags():
    """Only files of the command line may raise errors that name a flag, others a command to type at most."""
    found = []
    source = Path(cli.__file__).parent
    for path in sorted(source.rglob("*.py")):
        raised = [
            node
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Raise)
        ]
        for node in [] if path.relative_to(source).parts[0] in ("cli.py", "commands") else raised:
            said = "".join(
                one.value
                for one in ast.walk(node)
                if isinstance(one, ast.Constant) and isinstance(one.value, str)
            )
            if re.search(r"--[a-z]", said) and not re.search(
                r"tempohand [a-z-]+|accelerate launch|python script", said
            ):
                found.append(f"{path.name}:{node.lineno}: {said}")
    assert not found


def test_a_command_names_its_flags():
    arguments = cli.make_parser("predict").parse_args(["predict", "x"])
    assert {
        "focal_px": "--focal",
        "smoothing": "--smooth",
        "every": "--look-every",
        "max_gap": "--max-gap",
    }.items() <= arguments.flags.items()
    assert (
        in_flags("`smoothing` and `every`, not `other` or smoothing", arguments.flags)
        == "--smooth and --look-every, not `other` or smoothing"
    )
    nested = cli.make_parser("hand").parse_args(["hand", "fit", "in", "out"])
    assert (
        isinstance(nested, argparse.Namespace)
        and nested.flags["unit"] == "--unit"
        and nested.flags["overwrite"] == "--overwrite"
    )


def test_the_command_line_predicts_with_the_defaults_of_the_library():
    arguments = cli.make_parser("predict").parse_args(["predict", "x"])
    settings = asdict(PredictSettings("x")) | {"input": ["x"]}  # or several
    assert {name: getattr(arguments, name) for name in settings} == settings


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with a good picture and broken companions; the checkpoint `good` loads a fake
    network."""
    monkeypatch.chdir(tmp_path)
    picture = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    cv2.imwrite("hand.png", picture)
    (tmp_path / "text.mp4").write_text("no video " * 50)
    (tmp_path / "boxes.csv").write_text("frame,x0,y0,x1,y1\n0,10,10,40\n")
    np.savez("short.npz", box_xyxy=np.tile([10.0, 10, 40, 40], (3, 1)))
    np.savez("none.npz", box_xyxy=np.zeros((1, 4)), detected=np.zeros(1, bool))
    (tmp_path / "empty_checkpoint").mkdir()
    (tmp_path / "file").write_text("")
    return tmp_path


GOOD_BOX = ["--box", "10,10,40,40"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "required: COMMAND"),
        (["prdict"], "invalid choice: 'prdict'"),
        (["predict"], "required: INPUT"),
        (["predict", "hand.png", "--box", "1,2,3,4", "--detect"], "not allowed with argument"),
        (["predict", "hand.png", "--finder", "absent"], "no checkpoint at 'absent'"),
        (
            ["predict", "absent.mp4", *GOOD_BOX, "--checkpoint", "empty_checkpoint"],
            "no file or folder 'absent.mp4'",
        ),
        (
            ["predict", "text.mp4", *GOOD_BOX, "--checkpoint", "empty_checkpoint"],
            "neither a video nor a picture",
        ),
        (["predict", "hand.png", *GOOD_BOX, "--checkpoint", "absent"], "absent"),
        (["predict", "hand.png", *GOOD_BOX, "--checkpoint", "empty_checkpoint"], "empty_checkpoint"),
        (
            ["predict", "hand.png", "--box", "100,10,140,40", "--checkpoint", "x"],
            "outside the picture of 80 x 60",
        ),
        (["predict", "hand.png", "--box", "10,10,10,40", "--checkpoint", "x"], "has no area"),
        (["predict", "hand.png", "--box", "10,10,40", "--checkpoint", "x"], "--box is four numbers"),
        (["predict", "hand.png", "--boxes", "absent.npz", "--checkpoint", "x"], "no boxes file"),
        (["predict", "hand.png", "--boxes", "boxes.csv", "--checkpoint", "x"], "line 2"),
        (["predict", "hand.png", "--boxes", "short.npz", "--checkpoint", "x"], "3 rows for 1 frames"),
        (["predict", "hand.png", "--boxes", "none.npz", "--checkpoint", "x"], "no box in any frame"),
        (
            ["predict", "hand.png", *GOOD_BOX, "--checkpoint", "x", "--focal", "-5"],
            "--focal is a positive number",
        ),
        (["predict", "hand.png", *GOOD_BOX, "--checkpoint", "x", "--fov", "180"], "--fov is an angle"),
        (
            ["predict", "hand.png", *GOOD_BOX, "--checkpoint", "x", "--focal", "wide"],
            "invalid float value: 'wide'",
        ),
        (
            ["predict", "hand.png", *GOOD_BOX, "--checkpoint", "x", "--princpt", "7"],
            "--princpt is two numbers",
        ),
        (["predict", "hand.png", *GOOD_BOX, "--checkpoint", "x", "--smooth", "1"], "--smooth is a weight"),
        (["predict", "hand.png", *GOOD_BOX, "--checkpoint", "x", "--opacity", "2"], "--opacity is between"),
        (["predict", "hand.png", *GOOD_BOX, "--checkpoint", "x", "--fps", "30"], "--fps is for a folder"),
        (
            ["predict", "hand.png", *GOOD_BOX, "--checkpoint", "good", "--batch-size", "0"],
            "--batch-size is at least 1",
        ),
        (
            ["predict", "hand.png", *GOOD_BOX, "--checkpoint", "good", "--out", "file"],
            "'file' is not a folder",
        ),
        (["predict", "hand.png", *GOOD_BOX, "--checkpoint", "diverged"], "is not finite"),
        (["detector-model", "m.task", "--wheel", "absent.whl"], "no wheel 'absent.whl'"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_file(
    place, capsys, monkeypatch, fake_checkpoints, arguments, says
):
    before = sorted(place.rglob("*"))
    with pytest.raises(SystemExit) as leave:
        cli.main(arguments)
    lines = [
        line for line in capsys.readouterr().err.splitlines() if "frame/s" not in line and line.strip()
    ]  # without the progress bar
    assert leave.value.code == 2 and len(lines) == 1 and says in lines[0], lines
    assert sorted(place.rglob("*")) == before


@pytest.fixture
def fake_checkpoints(monkeypatch, network_for):
    """Checkpoints `good` and `diverged` are fake networks; others go the ordinary way."""
    ordinary = registry.load_network
    monkeypatch.setattr(
        registry,
        "load_network",
        lambda path, *kind: network_for[path]() if path in network_for else ordinary(path, *kind),
    )


@pytest.fixture
def network_for():
    import torch
    from torch import nn

    from tempohand.batch import HandPrediction
    from tempohand.hand.layer import HandLayer
    from tempohand.model.network import Crop

    class Still(nn.Module):
        """One hand whatever it sees."""

        num_frame, feature_dim, tells_sides = 1, 1, False
        crop = Crop(32, 32, 2.0)
        needed = ()

        def __init__(self, depth: float):
            super().__init__()
            self.hand, self.depth, self.config = HandLayer(), depth, {}

        def certainty(self, features):
            return None

        def encode(self, frames):
            return frames.image[:, 0, 0, :1].float()

        def forward(self, batch):
            n = len(batch)
            trans = torch.tensor([0.0, 0.0, self.depth]).expand(n, 1, 3)
            joints, vertices = self.hand(torch.zeros(n, 1, 48), torch.zeros(n, 1, 10), trans)
            rotation = torch.eye(3).expand(n, 1, 16, 3, 3)
            return HandPrediction(
                torch.zeros(n, 1, 48),
                rotation,
                torch.zeros(n, 1, 10),
                trans,
                joints,
                vertices,
                torch.zeros(n, 1, 21, 2),
            )

    return {"good": lambda: Still(500.0), "diverged": lambda: Still(float("nan"))}


def test_a_good_call_writes_its_files(place, fake_checkpoints, capsys):
    cli.main(["predict", "hand.png", *GOOD_BOX, "--checkpoint", "good"])
    assert sorted(path.name for path in (place / "hand-hands").iterdir()) == [
        "overlay.png",
        "predictions.json",
        "predictions.npz",
    ]
    assert "1 frame, 1 with a hand, 1 prediction;" in capsys.readouterr().out
