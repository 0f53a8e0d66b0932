"""Checkpoints: `step-<n>` directories (the last k are kept), `last` pointing to the newest, and `best`
pointing to `best-<n>`, weights alone.

Each is written under another name, synced to the disk and renamed when whole, so a directory with the right
name is complete; links are replaced in one step, so `best` never is absent. A directory holds
model.safetensors (what evaluation and Stage 2 load: the averaged weights where there is an average),
config.json, for resuming training.pt, and checksums.json, by which a damaged one is found.
"""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from tempohand.manifest import MANIFEST_NAME, verify, write_manifest
from tempohand.writing import remove_folder, sync, whole_folder

STATE_NAME = "training.pt"
STATE_FORMAT = 2  # of training.pt
STEP_DIRECTORY = re.compile(r"step-(\d{8,})(\.old)?")


class NotSaved(Exception):
    """A checkpoint could not be written, for example onto a full disk; what was there before is as it was.
    The message says why."""


def save_weights(
    directory: Path, weights: dict[str, Tensor], config: dict, state: dict | None = None
) -> None:
    """Writes one checkpoint directory, replacing what is there only when the new one is whole. Raises
    NotSaved, leaving no part of it."""
    try:
        with whole_folder(directory) as part:
            tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
            (part / "model.safetensors").write_bytes(safetensors.torch.save(tensors))
            (part / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
            if state is not None:
                with (part / STATE_NAME).open("wb") as file:
                    torch.save(state, file)
            write_manifest(part)
    except (OSError, RuntimeError) as error:
        raise NotSaved(f"'{directory}' was not saved: {_reason(error)}") from error


def save_step(
    root: Path, step: int, weights: dict[str, Tensor], config: dict, state: dict, keep: int
) -> Path:
    """Writes `step-<n>`, points `last` to it, and removes all but the newest `keep`. Raises NotSaved."""
    directory = root / f"step-{step:08d}"
    save_weights(directory, weights, config, {"format": STATE_FORMAT, **state})
    _point(root / "last", directory)
    for _, old in _steps(root)[keep:]:
        remove_folder(old)
    return directory


def save_best(root: Path, step: int, weights: dict[str, Tensor], config: dict) -> None:
    """Writes `best-<n>`, points `best` to it, and removes what it pointed to. Raises NotSaved."""
    directory = root / f"best-{step:08d}"
    # Where the step was trained before, what `best` points to stays until it points elsewhere.
    while directory.exists():
        directory = directory.with_name(directory.name + "x")
    save_weights(directory, weights, config)
    _point(root / "best", directory)
    for old in root.glob("best-*"):
        if old != directory:
            remove_folder(old)


def begun(root: Path) -> bool:
    """Whether the folder holds checkpoints that a run can be resumed from, damaged ones included."""
    return bool(_steps(root))


def newest_whole(root: Path, say: Callable[[str], None]) -> Path | None:
    """The newest checkpoint to resume from; None where there is none. Damaged ones are skipped, and named by
    `say`.

    Raises ValueError when all are damaged.
    """
    steps = _steps(root)
    for _, directory in steps:
        try:
            for name in (MANIFEST_NAME, STATE_NAME):
                if not (directory / name).is_file():
                    raise ValueError(f"'{directory}' lacks its {name}")
            verify(directory)
            return directory
        except ValueError as error:
            say(f"skipped a damaged checkpoint: {error}")
    if steps:
        raise ValueError(
            f"every checkpoint in '{root}' is damaged: set out=... to start anew elsewhere, "
            "or remove that folder"
        )
    return None


def go_back(root: Path, directory: Path, step: int, say: Callable[[str], None]) -> None:
    """Makes a folder ready for a run that goes on from `directory`, at `step`: what is newer is renamed to
    *.aside, unfinished parts go."""
    for part in root.glob("*.part"):
        shutil.rmtree(part) if part.is_dir() and not part.is_symlink() else part.unlink()
    for number, newer in _steps(root):
        if number > step:
            aside = newer.with_name(newer.name + ".aside")
            shutil.rmtree(aside, ignore_errors=True)
            os.replace(newer, aside)
            say(f"'{newer}', newer than where the run goes on from, is now '{aside.name}'")
    if directory.resolve().parent == root.resolve():
        _point(root / "last", directory.resolve())


def load_state(directory: str | Path) -> dict:
    """The training state of a checkpoint.

    Raises FileNotFoundError when it holds weights only, ValueError when it is damaged or was written by an
    earlier version.
    """
    file = Path(directory) / STATE_NAME
    if not file.is_file():
        raise FileNotFoundError(
            f"'{directory}' cannot be resumed from ({STATE_NAME} is missing): give a step directory, "
            "or init_from=... to start anew"
        )
    verify(directory)
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle's and the archive's errors have no common base
        raise ValueError(
            f"'{file}' is not readable ({type(error).__name__}): resume from another checkpoint"
        ) from error
    if state.get("format") != STATE_FORMAT:
        raise ValueError(
            f"'{directory}' was written by another version of script/train.py: "
            "start anew from its weights with init_from=..."
        )
    return state


def _steps(root: Path) -> list[tuple[int, Path]]:
    """Step directories with their numbers, newest first."""
    found = [(STEP_DIRECTORY.fullmatch(path.name), path) for path in root.glob("step-*")]
    return sorted(
        ((int(match[1]), path) for match, path in found if match),
        key=lambda entry: (-entry[0], len(entry[1].name)),
    )


def _point(link: Path, directory: Path) -> None:
    """Makes `link` point to a directory beside it, in one step."""
    part = link.with_name(link.name + ".part")
    part.unlink(missing_ok=True)
    try:
        part.symlink_to(directory.name)
        if link.is_dir() and not link.is_symlink():  # a copy that followed links
            shutil.rmtree(link)
        os.replace(part, link)
        sync(link.parent)
    except OSError as error:
        raise NotSaved(f"'{link}' was not set to '{directory.name}': {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The message of the operating system, which torch.save hides behind one of its own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__context__
    return str(error).splitlines()[0]
