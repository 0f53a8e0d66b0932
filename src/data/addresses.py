"""Files behind addresses (s3://bucket/table, https://..., memory://...), read through fsspec.

fsspec knows the common ones, and says which package another one needs (s3fs for s3://). Chains are addresses,
too: blockcache::s3://bucket/table keeps what was read on this machine's disk.
"""

import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*::?(//|[a-z])")
_DISK = "file://"


@dataclass(frozen=True)
class Address:
    """A file or a folder somewhere else, with what tables need of `Path`.

    Every request raises FileNotFoundError where there is no such file, ValueError for an address that fsspec
    cannot read, and ConnectionError where it is not to be had.
    """

    text: str

    def __truediv__(self, name: str) -> "Address":
        return Address(f"{self.text.rstrip('/')}/{name}")

    def __str__(self) -> str:
        return self.text

    @property
    def name(self) -> str:
        """Its last part."""
        return self.text.rstrip("/").rpartition("/")[2]

    def is_file(self) -> bool:
        """Whether there is such a file."""
        try:
            return self.size() is not None
        except FileNotFoundError:
            return False

    def size(self) -> int:
        """Bytes."""
        with self._asked() as (system, path):
            return system.info(path)["size"]

    def read_text(self, encoding: str = "utf-8") -> str:
        """The whole file."""
        with self._asked() as (system, path):
            return system.cat_file(path).decode(encoding)

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes from `start` to before `end` of each, at once where the file system can."""
        with self._asked() as (system, path):
            starts, ends = map(list, zip(*ranges))  # lists: fsspec takes anything else for one number
            return system.cat_ranges([path] * len(ranges), starts, ends, on_error="raise")

    @contextmanager
    def _asked(self) -> Generator[tuple[Any, str]]:
        """The file system of this process (one that was inherited from a parent is of no use) and the path in
        it."""
        try:
            yield fsspec.url_to_fs(self.text)
        except FileNotFoundError:
            raise FileNotFoundError(f"there is no '{self.text}'") from None
        except (ImportError, ValueError) as error:
            raise ValueError(f"'{self.text}' cannot be read: {error}") from None
        except Exception as error:  # whatever the package of this file system raises
            said = " ".join(str(error).split()) or "no more is said"
            raise ConnectionError(f"'{self.text}' is not to be had: {type(error).__name__}: {said}") from None


Place = Path | Address


def place(root: str | Place) -> Place:
    """Where something lies: an `Address` where it has the form of one, else (file://, too) a path."""
    if isinstance(root, Path | Address):
        return root
    if root.startswith(_DISK):
        return Path(root.removeprefix(_DISK))
    return Address(root) if _ADDRESS.match(root) else Path(root)


def on_disk(root: str | Place) -> Path:
    """The path of what has to lie on this machine. Raises ValueError for another address."""
    where = place(root)
    if isinstance(where, Address):
        raise ValueError(f"'{root}' is an address, and this needs a folder: copy it to this machine first")
    return where


def size_of(file: Place) -> int:
    """The bytes of a file."""
    return file.size() if isinstance(file, Address) else file.stat().st_size


def read_ranges(file: Place, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """The bytes from `start` to before `end` of each range of a file."""
    if isinstance(file, Address):
        return file.read_ranges(ranges)
    parts = []
    with file.open("rb") as stream:
        for start, end in ranges:
            stream.seek(start)
            parts.append(stream.read(end - start))
    return parts
