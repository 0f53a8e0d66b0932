"""Lint and format, as `make lint`; and what must never be committed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("arguments", [("check",), ("format", "--check")], ids=["lint", "format"])
def test_ruff_is_content(arguments):
    result = subprocess.run(
        [sys.executable, "-m", "ruff", *arguments, "."], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-3000:]


def tracked() -> list[Path]:
    result = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in result.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_nothing_large_licensed_or_compiled_is_tracked():
    for path in tracked():
        assert path.stat().st_size < 20e6, path
        assert not re.search(r"(\.pyc$|__pycache__|MANO_(LEFT|RIGHT)\.pkl$)", str(path)), path


def test_no_absolute_path_of_a_machine():
    pattern = re.compile(r"(?<![\w.])/(work|home|root|mnt)/\w")
    for path in tracked():
        if path.suffix in (".py", ".yaml", ".md", ".toml", ".txt", "") and path.name != Path(__file__).name:
            for number, line in enumerate(path.read_text(encoding="utf-8", errors="ignore").splitlines(), 1):
                assert not pattern.search(line), f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"


def test_source_files_stay_short():
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "script").rglob("*.py")]:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 500, (
            path
        )  # 400 once the files that are being cut apart are
