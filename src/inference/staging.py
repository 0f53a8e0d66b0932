"""A run's folder of results: its files appear together once the run has succeeded, and those of an earlier
run leave with it."""

import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tempohand.inference.export import FORMAT, PREDICTIONS
from tempohand.inference.overlay import overlay_name
from tempohand.inference.unfinished import FOLDER, has_progress, lock

_TOP = (PREDICTIONS, "predictions.json", "overlay.mp4", "overlay.png", "overlay.jpg")
_MESH = re.compile(r"\d+-hand\d+\.obj")


@contextmanager
def staged(out: str | Path) -> Generator[Path, None, None]:
    """A temporary folder beside `out`, always the same one unless another run has that. When the block ends
    well, what lies in it is moved into `out` (made if needed), where it replaces what an earlier run left
    there (`earlier_files`): files of the same name, and files that this run does not have. Otherwise it is
    removed, and `out` is as it was; after an interrupt it stays where a run could go on from it
    (unfinished.py). Whatever else is in `out` stays.

    Raises NotADirectoryError when `out` is something else than a folder, and FileExistsError, before anything
    is moved, where a folder is in the place of a file or the other way round.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"`out` '{out}' is not a folder")
    stage = stage_of(out)
    stage.parent.mkdir(parents=True, exist_ok=True)
    handle = lock(stage)
    if handle is None:
        stage = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=stage.parent))
    goes_on = False
    try:
        yield stage
        shutil.rmtree(stage / FOLDER, ignore_errors=True)
        targets = {file: out / file.relative_to(stage) for file in staged_files(stage)}
        for target in targets.values():
            if target.is_dir() or (target.parent.exists() and not target.parent.is_dir()):
                raise FileExistsError(
                    f"'{target}' cannot be written: a file and a folder have the same name there; give "
                    "another `out`"
                )
        stale = set(earlier_files(out)) - set(targets.values())
        for file, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
        for file in stale:
            file.unlink(missing_ok=True)
        for folder in {file.parent for file in stale} - {out}:
            if not any(folder.iterdir()):
                folder.rmdir()
    except KeyboardInterrupt:
        goes_on = has_progress(stage)
        raise
    finally:
        if not goes_on:
            shutil.rmtree(stage, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def stage_of(out: str | Path) -> Path:
    """The temporary folder of a run whose results go to `out`, where no other run has it."""
    out = Path(out)
    return out.absolute().parent / f".{out.name}-unfinished"


def staged_files(stage: Path) -> list[Path]:
    """Every result in a folder, sorted."""
    return sorted(path for path in stage.rglob("*") if path.is_file() and stage / FOLDER not in path.parents)


def earlier_files(out: Path) -> list[Path]:
    """The files that an earlier run has left in `out`: told by its predictions, which name the pictures that
    it drew on, and by the names that a run gives to the others. None where there are no predictions of
    ours."""
    try:
        with np.load(out / PREDICTIONS, allow_pickle=False) as archive:
            ours, names = str(archive["format"]) == FORMAT, archive["names"].tolist()
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return []
    if not ours:
        return []
    meshes = [path for path in (out / "meshes").glob("*.obj") if _MESH.fullmatch(path.name)]
    pictures = [out / "overlay" / overlay_name(name) for name in names]
    return [path for path in [*(out / name for name in _TOP), *meshes, *pictures] if path.is_file()]
