"""The type check, as `make lint`: the package passes, and the rules that matter are on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TY = [str(Path(sys.executable).with_name("ty")), "check", "--output-format", "concise"]

WRONG = {
    "invalid-argument-type": "HandLayer(side='both')",
    "unknown-argument": "HandLayer(sides='left')",
    "missing-argument": "project()",
    "too-many-positional-arguments": "run_live(LiveSettings(), print)",
    "missing-attribute": "LiveSettings().hosts",
    "import-not-found": "import tempohand.no_such_module",
    "invalid-explicit-return": "def f() -> HandLayer:\n    return project",
    "incompatible-method-override": "class Mine(Source):\n    def pictures(self, more): ...",
}
IMPORTS = """from tempohand.geometry import project
from tempohand.hand.layer import HandLayer
from tempohand.inference.live import LiveSettings, run_live
from tempohand.media.video import Video as Source
"""


def ty(*paths: Path) -> subprocess.CompletedProcess:
    # Without what this process adds to the search for modules: the configuration is to find the package.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [*TY, "--python", sys.prefix, *map(str, paths)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_package_keeps_to_its_types():
    result = ty()
    assert result.returncode == 0, result.stdout[-3000:]


def test_what_is_wrong_is_reported(tmp_path):
    files = {rule: tmp_path / f"{rule}.py" for rule in WRONG}
    for rule, file in files.items():
        file.write_text(f"{IMPORTS}\n{WRONG[rule]}\n", encoding="utf-8")
    lines = ty(*files.values()).stdout.splitlines()
    for rule, file in files.items():
        assert any(file.name in line and f"error[{rule}]" in line for line in lines), (rule, lines)
    assert sum(": error[" in line for line in lines) == len(WRONG), lines


@pytest.mark.parametrize("call", ["HandLayer(side='left').faces.long()", "LiveSettings(port=0).port + 1"])
def test_what_is_right_is_not(tmp_path, call):
    file = tmp_path / "right.py"
    file.write_text(f"{IMPORTS}\n{call}\n", encoding="utf-8")
    assert ty(file).returncode == 0
