"""How files are written: whole or not at all, and what goes wrong is said of the file that was asked for."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
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
