"""The files that data sets come in, read without running anything in them; what is wrong is said in one line
that names the file."""

import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from jaxtyping import UInt8

from tempohand.console import describe
from tempohand.data.convert.frame import Unusable
from tempohand.media.pictures import BadPicture, cut_off, decode_picture

# What a damaged file, or one of another form than expected, makes a reader raise.
DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    EOFError,
    OverflowError,
    pickle.UnpicklingError,
    tarfile.TarError,
    zipfile.BadZipFile,
    yaml.YAMLError,
)
# What pickled annotations of numpy 1 and 2 name; everything else is refused.
_ALLOWED = {
    *(("numpy", name) for name in ("ndarray", "dtype")),
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    *((f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    *(("builtins", name) for name in ("bytes", "bytearray")),
    ("__builtin__", "bytes"),
    ("_codecs", "encode"),
}


def need(path: Path, what: str) -> Path:
    """The path, if it is there. Raises FileNotFoundError saying `what` it should be."""
    if not path.exists():
        raise FileNotFoundError(f"'{path}' is missing: {what}")
    return path


@contextmanager
def _naming(path: Path, form: str, remedy: str = "download it again") -> Generator[None, None, None]:
    """Raises ValueError naming the file, and the remedy, for what its parser raises within."""
    try:
        yield
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"'{path}' is damaged: not {form} ({describe(error)[:100]}): {remedy}") from None


def read_json(
    path: Path, *, compact: Callable[[dict], Any] | None = None, remedy: str = "download it again"
) -> Any:
    """A JSON file. compact: makes of every object, innermost first, what is kept of it (a file of gigabytes
    is millions of small ones). remedy: for a damaged file.

    Raises FileNotFoundError, or ValueError for a damaged one.
    """
    with _naming(path, "JSON", remedy):
        return json.loads(path.read_bytes(), object_hook=compact)


def read_json_object(path: Path, keys: Iterable[str], title: str, **options) -> dict[str, Any]:
    """A JSON file of the data set `title` that is an object with at least these keys. Raises what `read_json`
    does, and ValueError for other content."""
    content = read_json(path, **options)
    if not isinstance(content, dict) or not content.keys() >= set(keys):
        raise ValueError(f"'{path}' is not what {title} has under this name: download it again")
    return content


def read_yaml(path: Path, *, remedy: str = "download it again") -> Any:
    """A YAML file of plain values. Raises FileNotFoundError, or ValueError for a damaged one."""
    with _naming(path, "YAML", remedy):
        return yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@contextmanager
def refusing_damage(path: str | Path) -> Generator[None, None, None]:
    """Raises Unusable naming the file for whatever goes wrong within, FileNotFoundError apart: a damaged file
    may break its reader anywhere."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        raise Unusable("damaged annotation", f"'{path}': {describe(error)[:120]}") from None


def read_npz(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Arrays of a .npz file; others are not unpacked. Raises Unusable when it is damaged, lacks one, or one
    is no plain array."""
    with refusing_damage(path), np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in names}


def read_picture(source: Path | bytes, name: str) -> tuple[bytes, UInt8[np.ndarray, "h w 3"]]:
    """An encoded picture, or its file: the bytes, and the picture, RGB. Raises Unusable, with `name` for it,
    when it is missing or damaged."""
    try:
        data = source.read_bytes() if isinstance(source, Path) else source
    except FileNotFoundError:
        raise Unusable("picture missing", name) from None
    except OSError as error:
        raise Unusable("picture unreadable", f"{name}: {error.strerror}") from None
    try:
        return data, decode_picture(data)
    except BadPicture as error:
        raise Unusable("picture damaged", f"{name}: {error}") from None


def read_png(path: Path) -> np.ndarray | None:
    """A PNG (depth, a mask) as it is stored, channels in RGB's order; None where there is no such file: not
    everyone downloads them. Raises Unusable for a damaged one."""
    if not path.is_file():
        return None
    data = path.read_bytes()
    stored = None if not data or cut_off(data) else cv2.imdecode(np.frombuffer(data, np.uint8), -1)
    if stored is None:
        raise Unusable("picture damaged", f"'{path.name}' does not decode")
    return stored[..., 2::-1] if stored.ndim == 3 else stored


def read_npy_object(path: Path) -> Any:
    """The one object (a dict, say) that numpy.save pickled into a .npy file, as `read_pickle` reads it."""
    with path.open("rb") as file:
        try:
            header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[np.lib.format.read_magic(file)]
            dtype = header(file)[2]
        except (ValueError, KeyError, EOFError) as error:
            raise Unusable("damaged annotation", f"'{path}': not a .npy file ({error})") from None
        if not dtype.hasobject:
            raise Unusable("damaged annotation", f"'{path}': an array of {dtype}, not a pickled object")
        return read_pickle(file).item()


class _Plain(pickle.Unpickler):
    """Reads numbers, text, containers and numpy arrays; looks up nothing else."""

    def find_class(self, module: str, name: str):
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(
                f"it names {module}.{name}, which annotations do not need; it is refused"
            )
        return super().find_class(module, name)


def read_pickle(source: Path | Any) -> Any:
    """Plain values and numpy arrays of a pickle (a path, or an open binary file), Python 2's included.

    Nothing but numpy's own constructors is ever called. Raises FileNotFoundError, or Unusable for a damaged
    pickle or one that names anything else.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return read_pickle(file)
    with refusing_damage(getattr(source, "name", "pickle")):
        return _Plain(source, encoding="latin1").load()
