"""The installed package starts: its import, and the commands of packages that it works with."""

import subprocess
import sys


def test_a_new_interpreter_imports_timm_and_starts_quickly():
    code = "import tempohand, timm, torchvision; print(timm.__version__)"
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]


def test_the_accelerate_command_starts():
    result = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", "--help"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0 and "--num_processes" in result.stdout, result.stderr[-2000:]
