"""Files behind addresses (s3://bucket/table, https://..., memory://...), read through fsspec.

fsspec knows the common ones, and says which package another one needs (s3fs for s3://). Chains are addresses,
too: blockcache::s3://bucket/table keeps what was read on this machine's disk.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from fsspec.implementations.cached import CachingFileSystem

T = TypeVar("T")
PAUSES = (0.5, 2.0)  # s before a request that got no answer is made again
EXTRAS = {"aiohttp": "http", "s3fs": "s3", "gcsfs": "gcs"}  # package of a file system -> ours that brings it
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*::?(//|[a-z])")
_DISK = "file://"
_MISSING = (404, 410)  # what a web server answers where there is nothing


@dataclass(frozen=True)
class Address:
    """A file or a folder somewhere else, with what tables need of `Path`.

    Every request raises FileNotFoundError where there is no such file, ValueError for an address that fsspec
    cannot read, and ConnectionError where it is not to be had: a request that got no answer, or a part of
    one, is made `PAUSES` times again before.
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
            self._ask(_info)
        except FileNotFoundError:
            return False
        return True

    def size(self) -> int:
        """Bytes. Raises ValueError, too, where the server does not say."""
        size = self._ask(_info)["size"]
        if size is None:
            raise ValueError(f"'{self}' cannot be read by parts: its server does not say how long it is")
        return size

    def read_text(self, encoding: str = "utf-8") -> str:
        """The whole file."""
        return self._ask(lambda system, path: system.cat_file(path)).decode(encoding)

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes from `start` to before `end` of each, at once where the file system can. All of them have
        to be in the file. Raises ValueError, too, where a server has whole files alone."""
        starts, ends = map(list, zip(*ranges))  # lists: fsspec takes anything else for one number

        def read(system: Any, path: str) -> list[bytes]:
            parts = system.cat_ranges([path] * len(ranges), starts, ends, on_error="raise")
            for start, end, part in zip(starts, ends, parts):
                if len(part) > end - start:
                    raise ValueError(
                        "its server sends whole files where a part is asked for (no range requests): copy "
                        "the table to this machine (tempohand table copy)"
                    )
                if len(part) < end - start:
                    raise EOFError(f"{len(part)} of {end - start} bytes came")
            return parts

        return self._ask(read)

    def copy_to(self, path: Path) -> None:
        """Writes the whole file to this machine's disk. Raises OSError, too, where that cannot take it."""
        self._ask(lambda system, there: system.get_file(there, str(path)))

    def _ask(self, request: Callable[[Any, str], T]) -> T:
        """What a request says. It gets the file system of this process (one that was inherited from a parent
        is of no use) and the path in it."""
        pauses = iter(PAUSES)
        while True:
            try:
                return request(*fsspec.url_to_fs(self.text))
            except Exception as error:  # whatever the package of this file system raises
                cause, pause = _cause(error), next(pauses, None)
                if pause is None or not _may_pass(cause):
                    raise self._in_one_line(cause) from None
            time.sleep(pause)

    def _in_one_line(self, error: BaseException) -> Exception:
        said = " ".join(str(error).split()) or "no more is said"
        if isinstance(error, FileNotFoundError) or _status(error) in _MISSING:
            return FileNotFoundError(f"there is no '{self}'")
        if isinstance(error, ImportError):
            install = [f"pip install 'tempohand[{extra}]'" for name, extra in EXTRAS.items() if name in said]
            return ValueError(f"'{self}' cannot be read: {': '.join([said, *install])}")
        if isinstance(error, ValueError):
            return ValueError(f"'{self}' cannot be read: {said}")
        return ConnectionError(f"'{self}' is not to be had: {type(error).__name__}: {said}")


def _info(system: Any, path: str) -> dict[str, Any]:
    """What is known of a file. A cache would list the folder, which a web server has none of."""
    return (system.fs if isinstance(system, CachingFileSystem) else system).info(path)


def _cause(error: Exception) -> BaseException:
    """Why a request failed: fsspec's http says of every failure that there is no such file, for which a
    server that is down, or refuses, is the cause."""
    cause = error.__cause__
    if isinstance(error, FileNotFoundError) and type(cause).__module__.partition(".")[0] == "aiohttp":
        return cause or error
    return error


def _status(error: BaseException) -> int | None:
    """The number that a web server answered with."""
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else None


def _may_pass(error: BaseException) -> bool:
    """Whether the same request may have an answer later."""
    lasting = (FileNotFoundError, PermissionError, ImportError, ValueError)
    return not isinstance(error, lasting) and not 400 <= (_status(error) or 0) < 500


Place = Path | Address


def place(root: str | Place) -> Place:
    """Where something lies: an `Address` where it has the form of one, else (file://, too) a path."""
    if isinstance(root, Path | Address):
        return root
    if root.startswith(_DISK):
        return Path(root.removeprefix(_DISK))
    return Address(root) if _ADDRESS.match(root) else Path(root)


def on_disk(root: str | Place) -> Path:
    """The path of what has to lie on this machine. Raises ValueError for an address of elsewhere."""
    where = place(root)
    if isinstance(where, Address):
        raise ValueError(
            f"'{root}' is an address, and this needs a folder or file of this machine (tempohand table copy "
            "copies a table)"
        )
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
