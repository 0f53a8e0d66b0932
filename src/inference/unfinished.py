"""What a run leaves behind when it is interrupted, and how the same command goes on from there.

A run notes every few seconds how far it has come: the rows of predictions that are on the disk, and what
tracker, finder and histories know by then. The frames before that are read again, and drawn again, but
neither searched nor predicted.
"""

import fcntl
import hashlib
import io
import json
import os
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray as _multiarray

from tempohand import __version__
from tempohand.inference import export, history, tracker, verification
from tempohand.inference.predictor import HandEstimate
from tempohand.inference.settings import BESIDE, PredictSettings
from tempohand.writing import write_whole

FOLDER = ".unfinished"  # in a run's temporary folder
SAVE_EVERY_S = 10.0
_PROGRESS, _STATE = "progress.json", "state-{}.pt"
_LOCK = "lock"
# What a state is made of besides numbers, texts, lists and tensors: nothing else is read from such a file.
_KINDS: list[Any] = [
    *(tracker.Detection, tracker._Track, history.Seen, verification._Hand),
    *(np.ndarray, np.dtype, _multiarray._reconstruct, _multiarray.scalar),
    *(type(np.dtype(kind)) for kind in (bool, np.int64, np.float32, np.float64)),
]


def key_of(settings: PredictSettings) -> str:
    """What two runs have in common that give the same results: settings, the input and what else is read (by
    their sizes and dates), and versions."""
    finder = settings.finder and settings.finder.removeprefix(BESIDE)
    read = (settings.input, settings.checkpoint, settings.boxes, finder, settings.depth)
    marks = [_mark(path) for path in read if path is not None]
    said = {name: value and str(value) for name, value in asdict(settings).items() if name != "out"}
    text = json.dumps([__version__, torch.__version__, torch.get_num_threads(), said, marks])
    return hashlib.sha256(text.encode()).hexdigest()


def _mark(path: str | Path) -> list:
    """Of a file, or of the files of a folder: names, sizes, dates."""
    path = Path(path)
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.exists() else []
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def lock(stage: Path) -> int | None:
    """A run's hold on its temporary folder, which is made if needed: a file's handle, to be closed when the
    run is over. None where another run has it."""
    (stage / FOLDER).mkdir(parents=True, exist_ok=True)
    handle = os.open(stage / FOLDER / _LOCK, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


class Unfinished:
    """How far a run in the temporary folder `stage` has come. Use as a context manager, and `rows` within it.

    frames: of the input, that an earlier run with the same `key` has answered; 0 where there was none.
    state: what it knew then.
    """

    def __init__(self, stage: Path, key: str):
        self.folder, self.key = stage / FOLDER, key
        self.folder.mkdir(exist_ok=True)
        for left in stage.iterdir():  # drawn anew
            if left.is_dir() and left != self.folder:
                shutil.rmtree(left)
            elif left != self.folder:
                left.unlink()
        self.frames, self.state = 0, None
        rows, kinds = 0, {}
        try:
            noted = json.loads((self.folder / _PROGRESS).read_text())
            if noted["key"] == key:
                with torch.serialization.safe_globals(_KINDS):
                    self.state = torch.load(self.folder / noted["state"], weights_only=True)
                self.frames = noted["frames"]
                rows, kinds = noted["rows"], noted["kinds"]
        except FileNotFoundError:
            pass
        self.rows = export.Rows(self.folder, rows, kinds)
        self._earlier = self.rows.columns() if rows else None
        self.taken = 0  # frames, by this run
        self.noted = self.frames  # from which a later run would go on
        self._saved = time.monotonic()

    def __enter__(self) -> "Unfinished":
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.rows.close()
        if kind is KeyboardInterrupt and self.noted:
            print(f"the same command goes on from frame {self.noted}", file=sys.stderr)

    def hands(self, frame: int) -> list[HandEstimate]:
        """What the earlier run said of a frame."""
        return [] if self._earlier is None else export.estimates_of(self._earlier, frame)

    def due(self) -> bool:
        """Whether it is time to note how far the run has come; asked once for each time."""
        now = time.monotonic()
        if now - self._saved < SAVE_EVERY_S:
            return False
        self._saved = now
        return True

    def keep(self, hands: list[HandEstimate], state: bytes | None) -> None:
        """The next frame's hands, and what is known by then (`packed`), where it was due. Raises OSError."""
        self.taken += 1
        if self.taken > self.frames:
            self.rows.append(hands)
        if state is not None:
            self._note(state, self.taken)

    def _note(self, state: bytes, frames: int) -> None:
        name = _STATE.format(frames)
        self.rows.flush()
        write_whole(self.folder / name, state)
        noted = {"key": self.key, "frames": frames, "rows": len(self.rows), "kinds": self.rows.kinds}
        write_whole(self.folder / _PROGRESS, json.dumps(noted | {"state": name}))
        self.noted = frames
        for old in self.folder.glob(_STATE.format("*")):
            if old.name != name:
                old.unlink()


def packed(state: dict) -> bytes:
    """A state as a file's content, apart from what it was made of."""
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def noted_frames(stage: Path) -> int:
    """How many frames the run in this temporary folder has noted as answered so far; 0 where none has."""
    try:
        return json.loads((stage / FOLDER / _PROGRESS).read_text())["frames"]
    except FileNotFoundError:
        return 0


def has_progress(stage: Path) -> bool:
    """Whether a run could go on from what lies in this temporary folder."""
    return (stage / FOLDER / _PROGRESS).is_file()
