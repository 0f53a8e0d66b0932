"""A directory's manifest: size and SHA-256 of each of its files, so that a damaged file is found before it is
used."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

MANIFEST_NAME = "checksums.json"


def write_manifest(directory: str | Path) -> None:
    """Notes what every file of a directory (without sub-directories) is, in its `checksums.json`."""
    files = sorted(path for path in Path(directory).iterdir() if path.name != MANIFEST_NAME)
    entries = {path.name: {"size": path.stat().st_size, "sha256": _sha256(path)} for path in files}
    (Path(directory) / MANIFEST_NAME).write_text(json.dumps(entries, indent=1), encoding="utf-8")


def verify(directory: str | Path, names: Iterable[str] | None = None) -> None:
    """Raises ValueError naming the first file that is not what the manifest says; `names`: only these. No
    manifest: nothing is verified."""
    manifest = Path(directory) / MANIFEST_NAME
    if not manifest.is_file():
        return
    try:
        entries = json.loads(manifest.read_text(encoding="utf-8"))
        expected = {name: (entry["size"], entry["sha256"]) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"'{manifest}' is damaged: take another checkpoint") from None
    for name in expected if names is None else expected.keys() & set(names):
        path, (size, digest) = Path(directory) / name, expected[name]
        found = path.stat().st_size if path.is_file() else None
        if found is None:
            raise ValueError(f"'{path}' is missing, {size:,} bytes were written: take another checkpoint")
        if found != size:
            raise ValueError(
                f"'{path}' is damaged, it has {found:,} bytes of {size:,}: take another checkpoint"
            )
        if _sha256(path) != digest:
            raise ValueError(
                f"'{path}' is damaged, its content is not what was written ({MANIFEST_NAME}): take "
                "another checkpoint, or remove "
                f"{MANIFEST_NAME} if you changed it yourself"
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
