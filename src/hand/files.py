"""Finding, reading and writing hand model files: the open hand of the package, MANO's own, and plain copies.

All hold the same tables under the same keys (`tables`). docs/hand_files.md.
"""

import itertools
import os
from collections.abc import Collection
from pathlib import Path

import numpy as np
import safetensors
from safetensors.numpy import save

from tempohand.hand.pickles import read_pickle
from tempohand.hand.tables import (
    SHAPES,
    HandTables,
    LeftShapedirs,
    Side,
    checked_tables,
    mirrored,
    with_left_shapedirs,
)
from tempohand.writing import whole

OPEN_HAND = Path(__file__).with_name("open_hand.npz")
OPEN_HAND_SOURCE = Path(__file__).with_name("open_hand_source.npz")
# Where a folder may keep its MANO files: smplx's layout, the official archive's, those of common code bases.
FOLDERS = (
    "", "mano", "models", "models/mano", "mano/models", "mano_data", "mano_data/mano", "mano_v1_2/models",
    "MANO_v1_2/models", "mano/mano_v1_2/models", "body_models/mano", "data/mano",
)  # fmt: skip
SUFFIXES = (".pkl", ".npz", ".safetensors")
MAX_BYTES = 32_000_000  # an official file has 4 MB; as quoted text it would have up to 16


def read_hand_file(
    path: str | Path | None = None, *, side: Side | None = None, left_shapedirs: LeftShapedirs = "fixed"
) -> HandTables:
    """Reads a hand model.

    path: None for the open hand (a right hand); a .pkl, .npz or .safetensors file with MANO's keys; or a
    folder with MANO_RIGHT.pkl / MANO_LEFT.pkl in one of the usual places (`FOLDERS`), of which `side` picks
    one. side: the hand to return, mirrored if the file holds the other; None for the file's own (its `side`
    entry, or else left if its name holds LEFT; a folder's right one). left_shapedirs: the form of a left
    hand's shape directions, whichever the file has. Their x rows in the official MANO_LEFT.pkl are the right
    hand's: annotations of InterHand2.6M and HOT3D were made with these rows negated ("fixed"), those of
    DexYCB without ("unfixed"). Raises FileNotFoundError for a missing file, ValueError for a file that is not
    a hand model, naming the table and both shapes.
    """
    path = find_hand_file(path, side)
    tables = with_left_shapedirs(read_tables(path), "fixed")
    if side not in (None, tables.side):
        tables = mirrored(tables)
    return with_left_shapedirs(tables, left_shapedirs)


def find_hand_file(path: str | Path | None = None, side: Side | None = None) -> Path:
    """The file that `read_hand_file` would read. Raises FileNotFoundError when there is none, ValueError for
    a file of another kind, TypeError for what is no path."""
    if not isinstance(path, (str, os.PathLike, type(None))):
        raise TypeError(
            f"a hand model is given by its file's path, not by a {type(path).__name__}: HandLayer(path) "
            "makes the layer, layer(pose, betas) poses"
        )
    path = OPEN_HAND if path is None else Path(path)
    name = f"MANO_{(side or 'right').upper()}"
    if path.is_file():
        if path.suffix not in SUFFIXES:
            kinds = "a .pkl, .npz or .safetensors file"
            raise ValueError(f"{path}: a hand model is {kinds}, or a folder that holds {name}.pkl")
        return path
    if not path.is_dir():
        remedy = "leave the path empty for the open hand"
        raise FileNotFoundError(f"{path}: no such hand model file or folder ({remedy})")
    for folder, suffix in itertools.product(FOLDERS, SUFFIXES):
        candidate = path / folder / (name + suffix)
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"{path}: no {name}.pkl in this folder, nor in {', '.join(FOLDERS[1:])} below it")


def read_tables(path: Path) -> HandTables:
    """The tables of one file exactly as it holds them. Raises ValueError for what is no hand model."""
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(
            f"{path}: has {path.stat().st_size / 1e6:.0f} MB; a hand model has 4 MB, and more than "
            f"{MAX_BYTES / 1e6:.0f} are refused"
        )
    raw, side = _READERS[path.suffix](path, SHAPES)
    if side is None:
        side = "left" if "LEFT" in path.name.upper() else "right"
    if side not in ("right", "left"):
        raise ValueError(f"{path}: its side is {side[:20]!r}; a hand is 'right' or 'left'")
    return checked_tables(raw, side=side, source=str(path))


def write_hand_file(tables: HandTables, path: str | Path, *, overwrite: bool = False) -> Path:
    """Writes every table and the side as .npz or .safetensors, by the path's ending; reading gives the same
    bits. Raises ValueError for another ending, FileExistsError if the file is there without `overwrite`."""
    path = Path(path)
    if path.suffix not in (".npz", ".safetensors"):
        raise ValueError(f"{path}: hand models are written as .npz or .safetensors")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there already (`overwrite` replaces it)")
    with whole(path) as part, part.open("wb") as file:
        if path.suffix == ".npz":
            np.savez_compressed(file, allow_pickle=False, **tables.as_file(), side=np.array(tables.side))
        else:
            arrays = {key: np.ascontiguousarray(table) for key, table in tables.as_file().items()}
            file.write(save(arrays, metadata={"side": tables.side}))
    return path


def _read_pkl(path: Path, keys: Collection[str]) -> tuple[dict[str, np.ndarray], str | None]:
    return read_pickle(path, keys), None


def _read_npz(path: Path, keys: Collection[str]) -> tuple[dict[str, np.ndarray], str | None]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if sum(entry.file_size for entry in archive.zip.infolist()) > MAX_BYTES:
                raise ValueError(f"unpacked it has more than {MAX_BYTES / 1e6:.0f} MB")
            side = str(archive["side"]) if "side" in archive else None
            return {key: archive[key] for key in keys if key in archive}, side
    except Exception as error:  # a damaged archive may break its reader anywhere
        raise ValueError(f"{path}: not a readable .npz file of plain arrays ({error})") from error


def _read_safetensors(path: Path, keys: Collection[str]) -> tuple[dict[str, np.ndarray], str | None]:
    try:
        with safetensors.safe_open(path, framework="numpy") as archive:
            side = (archive.metadata() or {}).get("side")
            return {key: archive.get_tensor(key) for key in set(keys) & set(archive.keys())}, side
    except Exception as error:  # as above
        raise ValueError(f"{path}: not a readable .safetensors file ({error})") from error


_READERS = {".pkl": _read_pkl, ".npz": _read_npz, ".safetensors": _read_safetensors}
