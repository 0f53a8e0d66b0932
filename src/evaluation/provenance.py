"""What made a result: the very weights, and the code."""

import hashlib
import subprocess
from pathlib import Path

import tempohand


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_version() -> str:
    """The package's version, and from a git checkout its commit, with "-dirty" where tracked files differ
    from it: "0.1.0+1a27c9715f2b-dirty"."""
    source = Path(tempohand.__file__).parent
    if not (source.parent / ".git").exists():
        return tempohand.__version__
    command = ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        commit = subprocess.run(
            command, capture_output=True, text=True, timeout=30, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):  # no git here, or a checkout that it does not trust
        return tempohand.__version__
    return f"{tempohand.__version__}+{commit}"
