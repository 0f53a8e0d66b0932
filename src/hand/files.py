"""Hand model files, read safely: the open hand that comes with the package, and MANO's own files.

Both hold the same tables under the same keys (Romero, Tzionas and Black, "Embodied Hands", 2017). The official MANO_RIGHT.pkl and MANO_LEFT.pkl
are Python 2 pickles of chumpy arrays and scipy matrices. Unpickling runs whatever a file asks for, so these are read with an
allow-list: numpy's own array builders, and stand-ins for the chumpy and scipy classes that only hold data. Nothing else is looked up.
"""

import codecs
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from tempohand.skeleton import MANO_PARENTS, NUM_BETAS, NUM_FACES, NUM_MANO_JOINTS, NUM_VERTICES, POSE_DIM

OPEN_HAND = Path(__file__).with_name("open_hand.npz")
# Where a folder may keep its MANO files: smplx's layout, the official archive's, and those of common code bases.
FOLDERS = ("", "mano", "models", "mano_data/mano", "mano_data", "MANO_v1_2/models", "mano_v1_2/models")
HAND_POSE_DIM = POSE_DIM - 3
SHAPES = {
    "v_template": (NUM_VERTICES, 3),
    "f": (NUM_FACES, 3),
    "shapedirs": (NUM_VERTICES, 3, NUM_BETAS),
    "posedirs": (NUM_VERTICES, 3, 9 * (NUM_MANO_JOINTS - 1)),
    "J_regressor": (NUM_MANO_JOINTS, NUM_VERTICES),
    "weights": (NUM_VERTICES, NUM_MANO_JOINTS),
    "kintree_table": (2, NUM_MANO_JOINTS),
    "hands_mean": (HAND_POSE_DIM,),
    "hands_components": (HAND_POSE_DIM, HAND_POSE_DIM),
}


@dataclass(frozen=True)
class HandTables:
    """The tables of one hand model, in metres, in the model's rest frame. Joints in MANO's order of 16."""

    side: Literal["right", "left"]
    v_template: Float[np.ndarray, "778 3"]
    faces: Int[np.ndarray, "1538 3"]
    shapedirs: Float[np.ndarray, "778 3 10"]
    posedirs: Float[np.ndarray, "778 3 135"]
    joint_regressor: Float[np.ndarray, "16 778"]
    weights: Float[np.ndarray, "778 16"]
    hands_mean: Float[np.ndarray, "45"]
    hands_components: Float[np.ndarray, "45 45"]


def read_hand_file(path: str | Path | None = None, *, side: Literal["right", "left"] = "right") -> HandTables:
    """Reads a hand model.

    path: None for the open hand (a right hand); an .npz or .pkl file with MANO's keys (a left hand if its name holds LEFT); or a folder with
    MANO_RIGHT.pkl / MANO_LEFT.pkl in it or in one of the usual places below it, of which `side` picks one.
    Raises FileNotFoundError for a missing file, ValueError for a file that is not a hand model, naming the table and both shapes.
    """
    if path is None:
        if side != "right":
            raise ValueError("the open hand is a right hand; a left hand needs the path of a MANO_LEFT.pkl")
        path = OPEN_HAND
    path = _find_file(Path(path), side)
    return _checked_tables(_read_npz(path) if path.suffix == ".npz" else _read_pickle(path), path)


def _find_file(path: Path, side: str) -> Path:
    if path.is_file():
        if path.suffix not in (".npz", ".pkl"):
            raise ValueError(f"{path}: a hand model is a .npz or .pkl file, or a folder that holds MANO_{side.upper()}.pkl")
        return path
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such hand model file or folder (leave the path empty for the open hand)")
    for folder in FOLDERS:
        candidate = path / folder / f"MANO_{side.upper()}.pkl"
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"{path}: no MANO_{side.upper()}.pkl in this folder, nor in {', '.join(FOLDERS[1:])} below it")


def _checked_tables(raw: dict, path: Path) -> HandTables:
    tables = {}
    for key, shape in SHAPES.items():
        if key not in raw:
            raise ValueError(f"{path}: table {key!r} is missing; a hand model has {', '.join(SHAPES)}")
        try:
            table = _to_array(raw[key])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: table {key!r} cannot be read as an array of numbers ({error})") from error
        if table.shape != shape:
            raise ValueError(f"{path}: table {key!r} has shape {list(table.shape)}, a hand model's has {list(shape)}")
        if not np.isfinite(table).all():
            raise ValueError(f"{path}: table {key!r} holds values that are not finite")
        tables[key] = np.ascontiguousarray(table, dtype=np.int64 if key in ("f", "kintree_table") else np.float32)
    if tuple(tables["kintree_table"][0, 1:]) != MANO_PARENTS[1:]:  # the root's parent is stored as -1 or as 2**32 - 1
        raise ValueError(f"{path}: table 'kintree_table' has another tree than MANO's: {tables['kintree_table'][0].tolist()}")
    if tables["f"].min() < 0 or tables["f"].max() >= NUM_VERTICES:
        raise ValueError(f"{path}: table 'f' names vertices outside 0..{NUM_VERTICES - 1}")
    return HandTables(
        side="left" if "LEFT" in path.name.upper() else "right",
        faces=tables["f"],
        joint_regressor=tables["J_regressor"],
        **{key: tables[key] for key in ("v_template", "shapedirs", "posedirs", "weights", "hands_mean", "hands_components")},
    )


def _read_npz(path: Path) -> dict:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in SHAPES if key in archive}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a readable .npz file of plain arrays ({error})") from error


class _Stub:
    """Stands in for an instance of a foreign class: keeps its state, does nothing."""

    def __init__(self, *args):
        self.state = {}

    def __new__(cls, *args):
        stub = object.__new__(cls)
        stub.state = {}
        return stub

    def __setstate__(self, state):
        self.state = state


class _ChumpyArray(_Stub):
    def to_array(self) -> np.ndarray:
        return _to_array(self.state["x"])


class _ChumpySelect(_Stub):
    """chumpy.reordering.Select: chosen entries of another array."""

    def to_array(self) -> np.ndarray:
        selected = _to_array(self.state["a"]).ravel()[np.asarray(self.state["idxs"]).ravel()]
        return selected.reshape(self.state.get("preferred_shape", -1))


class _SparseColumns(_Stub):
    """scipy's csc_matrix: the columns' entries one after another."""

    rows = False

    def to_array(self) -> np.ndarray:
        shape = tuple(self.state["_shape"] if "_shape" in self.state else self.state["shape"])
        pointers, indices = np.asarray(self.state["indptr"]), np.asarray(self.state["indices"])
        major = np.repeat(np.arange(len(pointers) - 1), np.diff(pointers))
        dense = np.zeros(shape)
        np.add.at(dense, (major, indices) if self.rows else (indices, major), np.asarray(self.state["data"]))
        return dense


class _SparseRows(_SparseColumns):
    """scipy's csr_matrix."""

    rows = True


def _to_array(value) -> np.ndarray:
    if isinstance(value, _Stub):
        value = value.to_array()
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"it holds {array.dtype}")
    return array


def _rebuild(cls, base, state):
    """copyreg._reconstructor for stand-ins only: what Python 2 calls for an object of a new-style class."""
    if not (isinstance(cls, type) and issubclass(cls, _Stub)):
        raise pickle.UnpicklingError("rebuilds an object of a class that is not a hand model's")
    return cls()


def _encode(text, encoding="latin1"):
    """_codecs.encode for bytes as Python 3 writes them in the old protocols."""
    return codecs.encode(text, "latin1")


class _HandUnpickler(pickle.Unpickler):
    """Knows the names below and no others."""

    SPARSE = {"csc_matrix": _SparseColumns, "csr_matrix": _SparseRows}
    BUILDERS = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("copy_reg", "_reconstructor"): _rebuild,
        ("copyreg", "_reconstructor"): _rebuild,
        ("__builtin__", "object"): object,
        ("builtins", "object"): object,
        ("_codecs", "encode"): _encode,
    }

    def find_class(self, module: str, name: str):
        if (module, name) in self.BUILDERS:
            return self.BUILDERS[module, name]
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name in ("_reconstruct", "scalar"):
            return getattr(np._core.multiarray, name)
        if module in ("numpy.core.numeric", "numpy._core.numeric") and name == "_frombuffer":
            return np._core.numeric._frombuffer
        if module.startswith("scipy.sparse") and name in self.SPARSE:
            return self.SPARSE[name]
        if module == "chumpy" or module.startswith("chumpy."):
            return _ChumpySelect if name == "Select" else _ChumpyArray
        raise pickle.UnpicklingError(f"asks for {module}.{name}, which a hand model does not need; it is refused")


def _read_pickle(path: Path) -> dict:
    try:
        with path.open("rb") as file:
            raw = _HandUnpickler(file, encoding="latin1").load()
    except Exception as error:  # a damaged or hostile pickle may raise anything
        raise ValueError(f"{path}: not a readable hand model: {error}") from error
    if not isinstance(raw, dict):
        raise ValueError(f"{path}: not a hand model: holds a {type(raw).__name__} where a dict of tables is expected")
    return raw
