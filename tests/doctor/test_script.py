"""`tempohand doctor` and script/doctor.py as users start them."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from tests_support import load_file

from tempohand import cli
from tempohand.doctor import arguments

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
SMALL = [
    "optim.batch_size=4",
    "network.spatial.backbone.options={stem: 16, stages: [[16, 1], [32, 1]], norm_group: 2}",
    "network.size=64",
]


def test_the_command_prints_the_table_writes_json_and_leaves_with_1_when_a_check_failed(planted, tmp_path):
    root = planted(lambda row: {"joints": row["joints"] / 1000, "trans": row["trans"] / 1000}, every=4)
    command = [
        sys.executable,
        "-m",
        "tempohand.cli",
        "doctor",
        "--config-name=stage1-tiny",
        f"data.root={root}",
        *SMALL,
    ]
    done = subprocess.run(
        [*command, "--json", "x/doctor.json"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 1, done.stderr[-2000:]
    assert (
        "multiply joints and trans by 1000" in " ".join(done.stdout.split())
        and "FAILED" in done.stdout.splitlines()[-1]
    )
    assert json.loads((tmp_path / "x" / "doctor.json").read_text())["failed"] >= 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["planted", "x"]  # nothing else is written


def test_a_checkout_is_needed(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(arguments, "SCRIPT", tmp_path / "script" / "doctor.py")
    with pytest.raises(SystemExit) as leave:
        cli.main(["doctor", "--config-name=stage1-tiny"])
    err = capsys.readouterr().err
    assert (
        leave.value.code == 2
        and "run `python script/doctor.py` in a checkout" in err
        and err.count("\n") == 1
    )


def test_the_exit_code_is_the_scripts(monkeypatch):
    given = []
    monkeypatch.setattr(
        arguments.subprocess,
        "run",
        lambda command, check: given.append(command) or subprocess.CompletedProcess(command, 7),
    )
    with pytest.raises(SystemExit) as leave:
        cli.main(["doctor", "--config-name=stage1-tiny", "data.root=x", "optim.steps=3", "--json", "f"])
    assert leave.value.code == 7
    assert given[0][1:] == [
        str(arguments.SCRIPT),
        "--config-name=stage1-tiny",
        "--json",
        "f",
        "data.root=x",
        "optim.steps=3",
    ]


def test_the_script_is_that_of_the_checkout_to_which_the_package_is_linked(tmp_path):
    """As where site-packages holds a link to src."""
    for part in ("src", "script"):
        (tmp_path / "checkout" / part).mkdir(parents=True)
    (tmp_path / "checkout" / "src" / "doctor").mkdir()
    shutil.copy(arguments.__file__, tmp_path / "checkout" / "src" / "doctor")
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "tempohand").symlink_to(tmp_path / "checkout" / "src")
    linked = load_file(tmp_path / "site-packages" / "tempohand" / "doctor" / "arguments.py")
    assert tmp_path.resolve() / "checkout" / "script" / "doctor.py" == linked.SCRIPT
