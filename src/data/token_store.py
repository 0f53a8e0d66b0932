"""Where tokens are kept: a folder whose key says what they depend on, with shards that are whole or absent.

    <folder>/key.json        what the tokens were made from, readable
    <folder>/<shard>.npy     one NumPy record a frame, memory-mapped
    <folder>/manifest.json   size and checksum of every shard, written when all are there

A shard is written under another name, synced and renamed. What was made before an interruption is kept.
"""

import fcntl
import hashlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from tempohand.writing import whole

KEY_NAME = "key.json"
MANIFEST_NAME = "manifest.json"
LOCK_NAME = "lock"
POLL_S = 2.0  # between two looks whether another run has finished


def weights_hash(weights: dict[str, Tensor]) -> str:
    """A hash of tensors' names, types, shapes and content."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def key_hash(key: dict) -> str:
    """The short name of a key: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Processes:
    """The processes of a run, which share the making of tokens: this one's `rank` among `count`. `gather`
    gives each of them the objects of all; `say` prints."""

    rank: int = 0
    count: int = 1
    gather: Callable[[object], list] = lambda own: [own]
    say: Callable[[str], None] = print

    @property
    def is_first(self) -> bool:
        """Whether this one speaks and keeps the store's list."""
        return self.rank == 0

    def share(self, items: list) -> list:
        """This one's part."""
        return items[self.rank :: self.count]


ALONE = Processes()


class TokenStore:
    """A folder of tokens made from what `key` says (JSON values, nested dicts).

    Raises ValueError naming what differs when the folder holds tokens of another key, or something else.
    """

    def __init__(self, folder: str | Path, key: dict):
        self.folder, self.key = Path(folder), json.loads(json.dumps(key))
        file = self.folder / KEY_NAME
        if file.is_file():
            other = json.loads(file.read_text(encoding="utf-8"))
            different = list(_differences("", other, self.key))
            if different:
                raise ValueError(
                    f"the tokens in '{folder}' are stale, they were made from something else: "
                    f"{'; '.join(different)}. Name another tokens.folder, or leave it out: "
                    "each network and view then has a folder of its own"
                )
        elif self.folder.is_dir() and any(
            path.name not in (KEY_NAME, LOCK_NAME) and path.suffix != ".part"
            for path in self.folder.iterdir()
        ):
            raise ValueError(
                f"tokens.folder='{folder}' is no folder of tokens ({KEY_NAME} is missing) and not empty: "
                "name another one"
            )

    @contextmanager
    def making(self, processes: Processes = ALONE) -> Generator[None, None, None]:
        """Holds the folder, made where it was not, against other runs that would make the same tokens; waits
        for one that does.

        Of the processes of a run the first holds it for all. They meet every POLL_S seconds while they wait:
        another run may take hours, and a collective that does is taken for one that hangs.
        """
        first = processes.is_first
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOCK_NAME).open("a") as lock:
            reported = False
            while not any(processes.gather(first and _locked(lock))):
                if first and not reported:
                    processes.say(f"another run is making the tokens in '{self.folder}': waiting for it")
                    reported = True
                time.sleep(POLL_S)
            if first:
                for part in self.folder.glob("*.part"):
                    part.unlink()
                if not (self.folder / KEY_NAME).is_file():
                    self.write(KEY_NAME, json.dumps(self.key, indent=1).encode())
            processes.gather(None)
            yield

    def missing(self, names: Iterable[str]) -> list[str]:
        """Those of the shards that are not there yet."""
        return [name for name in names if not (self.folder / name).is_file()]

    def require_space(self, size: int) -> str:
        """How much room the disk has, in words. Raises ValueError when `size` bytes do not fit."""
        free = shutil.disk_usage(self.folder).free
        if size > free:
            raise ValueError(
                f"tokens need {_in_words(size)} and '{self.folder}' has {_in_words(free)} free: "
                "set tokens.folder to another disk, use fewer tokens.views, or train with tokens=online"
            )
        return f"{_in_words(size)} into '{self.folder}' ({_in_words(free)} free)"

    def finish(self, made: Iterable[str]) -> None:
        """Completes the manifest: enters the shards that were just made, and those that an interrupted run
        had."""
        before = self._manifest()
        known = {name: entry for name, entry in before.items() if name not in set(made)}
        for path in self.folder.glob("*.npy"):
            if path.name not in known:
                known[path.name] = {"size": path.stat().st_size, "crc32": _checksum(path)}
        if known != before:
            self.write(MANIFEST_NAME, json.dumps(known, indent=1, sort_keys=True).encode())

    def verify(self, names: Iterable[str]) -> None:
        """Raises ValueError naming the shard where size or content are not what the manifest says."""
        known = self._manifest()
        for name in names:
            path = self.folder / name
            if name not in known:
                raise ValueError(
                    f"the manifest of '{self.folder}' does not know '{name}': "
                    "delete that file and start again"
                )
            size = path.stat().st_size if path.is_file() else 0
            if size != known[name]["size"] or _checksum(path) != known[name]["crc32"]:
                raise ValueError(
                    f"the tokens in '{path}' are damaged ({size:,} bytes, "
                    f"{known[name]['size']:,} were written): delete that file and start again, "
                    "it alone is made anew"
                )

    def read(self, name: str) -> np.ndarray:
        """A shard's records, memory-mapped."""
        return np.load(self.folder / name, mmap_mode="r", allow_pickle=False)

    def _manifest(self) -> dict[str, dict[str, int]]:
        file = self.folder / MANIFEST_NAME
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def write(self, name: str, content: bytes | np.ndarray) -> None:
        """One file, atomically: bytes as they are, a shard's records in NumPy's format."""
        with whole(self.folder / name) as part, part.open("wb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                np.save(file, content, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        directory = os.open(self.folder, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)


def _locked(file: IO) -> bool:
    """Takes the lock of a file for as long as it is open; False where another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            value = zlib.crc32(block, value)
    return value


def _differences(name: str, there: object, here: object) -> Generator[str, None, None]:
    if isinstance(there, dict) and isinstance(here, dict):
        for part in sorted(there.keys() | here.keys()):
            yield from _differences(f"{name}.{part}" if name else part, there.get(part), here.get(part))
    elif there != here:
        short = [
            f"{value[:8]}..." if isinstance(value, str) and len(value) == 64 else value
            for value in (there, here)
        ]
        yield f"{name} is {short[0]} there and {short[1]} here"


def _in_words(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
