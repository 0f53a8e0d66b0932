"""What is installed is what is in the repository, and works without it: a file that setup.py leaves out
imports when the installation is editable and is absent from the wheel."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests_support import SMALL_NETWORK

ROOT = Path(__file__).parents[1]
PACKED = (
    "MANIFEST.in",
    "setup.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "THIRD_PARTY_NOTICES.md",
    "src",
    "script",
    "config",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from the source distribution, as `make build` does."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in PACKED:
        (source / name).symlink_to(ROOT / name)

    def built(kind: str, place: Path) -> Path:
        code = f"from setuptools import build_meta; import sys; print(build_meta.build_{kind}(sys.argv[1]))"
        words = [sys.executable, "-c", code, str(folder)]
        result = subprocess.run(words, cwd=place, capture_output=True, text=True, timeout=120)
        assert result.returncode == 0, result.stderr[-2000:]
        return folder / result.stdout.split()[-1]

    with tarfile.open(built("sdist", source)) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = (path for path in folder.glob("tempohand-*") if path.is_dir())
    assert not (unpacked / "tests").exists()
    return built("wheel", unpacked)


def test_the_wheel_holds_every_module_and_data_file(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    kept = set()
    for folder, home in (
        ("src", "tempohand"),
        ("script", "tempohand/script"),
        ("config", "tempohand/config"),
    ):
        for kind in ("*.py", "*.npz", "*.yaml", "released/*/*", "templates/*", "web/*", "*.mjs"):
            files = (ROOT / folder).rglob(kind)
            kept |= {f"{home}/{path.relative_to(ROOT / folder).as_posix()}" for path in files}
    assert kept <= packed, sorted(kept - packed)
    assert {"LICENSE", "THIRD_PARTY_NOTICES.md"} <= {
        name.rsplit("/", 1)[-1] for name in packed if ".dist-info/" in name
    }


# One process for all commands: importing torch and what goes with it takes longer than they do.
WALK = """
import json, sys
from tempohand import cli
from tests_support import new_accelerate_state

for words, leaves in json.loads(sys.argv[1]):
    code = 0
    with new_accelerate_state():
        try:
            cli.main(words)
        except SystemExit as leave:
            code = leave.code
    assert code == leaves, (words, code)
"""


def test_the_wheel_works_in_an_empty_folder(wheel, tmp_path, table_root):
    """From a table to a trained network, its figures and its predictions, without the repository."""
    site, place = tmp_path / "site", tmp_path / "place"
    place.mkdir()
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        site,
        wheel,
    ]
    subprocess.run(install, check=True, timeout=120)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",  # two threads beside another test's spin (docs/log.md, 2026-11-30)
        "PYTHONPATH": os.pathsep.join([str(site), str(ROOT / "tests")]),
        "ACCELERATE_USE_CPU": "true",
        "HF_HUB_OFFLINE": "1",
    }

    def run(*command: str | Path) -> str:
        done = subprocess.run(
            command, cwd=place, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    assert "train" in run(site / "bin" / "tempohand", "--help")
    assert "stage1-tiny" in run(site / "bin" / "tempohand", "train", "--help")
    assert str(site) in run(sys.executable, "-c", "import tempohand.script as s; print(s.__path__[0])")
    assert list(place.iterdir()) == []

    cv2.imwrite(str(place / "hand.png"), np.full((60, 80, 3), 90, np.uint8))
    table, best = f"data={table_root}", "run/checkpoint/best"
    settings = ["optim.steps=2", "optim.batch_size=4", "data.workers=0", "tracker=null", "out=run"]
    box = ["--box", "10,10,40,40", "--side", "right"]
    walk = [
        (["prepare", "dataset=nothing", "out=table"], 2),
        (["doctor", "--config-name=stage1-tiny", table, "network.hand=absent", "--json", "doctor.json"], 1),
        (["train", "--config-name=stage1-tiny", table, *settings, *SMALL_NETWORK], 0),
        (["evaluate", f"stage1={best}", table, "workers=0", "out=figures"], 0),
        (["predict", "hand.png", *box, "--checkpoint", best], 0),
    ]
    printed = run(sys.executable, "-c", WALK, json.dumps(walk))
    assert "FAILED" in printed and "mean_pose" in printed
    written = {"hand.png", "doctor.json", "run", "figures", "hand-hands"}
    assert {path.name for path in place.iterdir()} == written
