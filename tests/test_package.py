"""What is installed is what is in the repository: a sub-package missing from setup.py imports when editable
and is absent from the wheel."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_every_module_and_data_file(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "THIRD_PARTY_NOTICES.md", "src"):
        (source / name).symlink_to(ROOT / name)
    command = [
        sys.executable,
        "-c",
        "from setuptools import build_meta; import sys; print(build_meta.build_wheel(sys.argv[1]))",
        str(tmp_path),
    ]
    result = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        packed = set(wheel.namelist())
    kept = {
        f"tempohand/{path.relative_to(ROOT / 'src').as_posix()}"
        for kind in ("*.py", "*.npz", "released/*/*")
        for path in (ROOT / "src").rglob(kind)
    }
    assert kept <= packed, sorted(kept - packed)
    assert {"LICENSE", "THIRD_PARTY_NOTICES.md"} <= {
        name.rsplit("/", 1)[-1] for name in packed if ".dist-info/" in name
    }


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
