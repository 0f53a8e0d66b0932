"""How files and folders are written: whole or not at all, and an error names the file that was asked for."""

import errno
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole(path: str | Path) -> Generator[Path, None, None]:
    """A name beside `path`, whose folder is made if needed: what the block writes there becomes `path` when
    the block ends well. Otherwise it is gone, and what was at `path` before is still there.

    Raises OSError, naming `path`, where the disk is full, read-only, or has no such place.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)) from error
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(part)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        with suppress(
            OSError
        ):  # where the folder could not be made, or the name is too long, there is nothing to remove
            part.unlink(missing_ok=True)


def write_whole(path: str | Path, content: str | bytes) -> None:
    """A file of these bytes, or of this text in UTF-8. Raises what `whole` raises."""
    with whole(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_folder(path: str | Path) -> Generator[Path, None, None]:
    """A new folder beside `path`: when the block ends well, what it wrote there is on the disk and the folder
    becomes `path`. Otherwise it is gone, and what was at `path` before is still there.

    A folder that was at `path` is called <path>.old for a moment, so that one of the two is whole whenever
    the process ends. Raises OSError, naming a file below `path`, where the disk is full, read-only, or has no
    such place.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    old = path.with_name(f"{path.name}.old")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        for written in (*part.iterdir(), part):
            sync(written)
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            os.replace(path, old)
        try:
            os.replace(part, path)
        except OSError:
            with suppress(OSError):
                os.replace(old, path)
            raise
        sync(path.parent)
        remove_folder(old)
    except OSError as error:
        if error.errno is None:
            raise
        name = str(error.filename or path).replace(str(part), str(path), 1)
        raise OSError(error.errno, error.strerror, name) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Deletes a folder that may not be there; interrupted, it leaves nothing under the folder's own name."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    with suppress(OSError):
        os.replace(folder, part)
    shutil.rmtree(part, ignore_errors=True)


def sync(path: Path) -> None:
    """Has the disk take what was written to a file, or the names in a folder. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
