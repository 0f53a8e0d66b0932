"""Reading hand files: the formats that exist, and what must be refused."""

import os
import pickle
import sys
import types

import numpy as np
import pytest
import scipy.sparse

from tempohand.hand.files import OPEN_HAND, read_hand_file
from tempohand.hand.tables import SHAPES, mirrored


@pytest.fixture
def tables() -> dict:
    with np.load(OPEN_HAND) as archive:
        return {key: archive[key] for key in SHAPES}


def write(path, content, protocol=2):
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def assert_same(ours, wanted):
    for name in ("v_template", "faces", "shapedirs", "posedirs", "joint_regressor", "weights", "hands_mean", "hands_components"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(wanted, name), err_msg=name)


@pytest.fixture
def chumpy(monkeypatch):
    """A package that pickles as chumpy does: instances with their state in __dict__, of classes in chumpy.ch and chumpy.reordering."""
    ch, reordering = types.ModuleType("chumpy.ch"), types.ModuleType("chumpy.reordering")
    ch.Ch = type("Ch", (), {"__module__": "chumpy.ch"})
    reordering.Select = type("Select", (), {"__module__": "chumpy.reordering"})
    for module in (types.ModuleType("chumpy"), ch, reordering):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return ch, reordering


def test_open_hand_is_the_default():
    tables = read_hand_file()
    assert tables.side == "right" and tables.faces.dtype == np.int64 and tables.v_template.dtype == np.float32


def test_the_other_side_is_the_mirror_image():
    assert_same(read_hand_file(side="left"), mirrored(read_hand_file()))
    assert read_hand_file(side="left").side == "left"


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_pickles_of_every_protocol_and_sparse_regressors(tmp_path, tables, protocol):
    for sparse in (np.asarray, scipy.sparse.csc_matrix, scipy.sparse.csr_matrix):
        path = write(tmp_path / "MANO_RIGHT.pkl", tables | {"J_regressor": sparse(tables["J_regressor"]), "bs_style": "lbs"}, protocol)
        assert_same(read_hand_file(path), read_hand_file())


def test_chumpy_pickle_is_read_without_chumpy(tmp_path, tables, chumpy, monkeypatch):
    ch, reordering = chumpy
    plain, chosen = ch.Ch(), reordering.Select()
    plain.__dict__.update(x=tables["v_template"].astype(np.float64), _dirty_vars=set())
    flat = tables["shapedirs"].ravel()
    order = np.random.default_rng(0).permutation(flat.size)
    shuffled = ch.Ch()
    shuffled.x = flat[order]
    chosen.__dict__.update(a=shuffled, idxs=np.argsort(order), preferred_shape=tables["shapedirs"].shape)
    content = tables | {"v_template": plain, "shapedirs": chosen, "J_regressor": scipy.sparse.csc_matrix(tables["J_regressor"])}
    del plain.__dict__["_dirty_vars"]
    path = write(tmp_path / "MANO_RIGHT.pkl", content)
    for name in ("chumpy", "chumpy.ch", "chumpy.reordering"):
        monkeypatch.delitem(sys.modules, name)
    assert_same(read_hand_file(path), read_hand_file())


def test_python_2_object_protocol(tmp_path, tables):
    """Python 2 writes new-style objects through copy_reg._reconstructor in the old protocols."""
    array = pickle.dumps(tables["v_template"], protocol=2)[2:-1]  # without PROTO and STOP
    chumpy = b"ccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\nc__builtin__\nobject\nNtR}U\x01x" + array + b"sb"
    rest = pickle.dumps({key: value for key, value in tables.items() if key != "v_template"}, protocol=2)[:-1]
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(rest + b"U\x0av_template" + chumpy + b"s.")
    assert_same(read_hand_file(path), read_hand_file())


@pytest.mark.parametrize("folder", ["", "mano", "models", "mano_data/mano", "MANO_v1_2/models"])
def test_folders(tmp_path, tables, folder):
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for side in ("RIGHT", "LEFT"):
        write(tmp_path / folder / f"MANO_{side}.pkl", tables)
    assert read_hand_file(tmp_path).side == "right"
    assert read_hand_file(tmp_path, side="left").side == "left"
    assert read_hand_file(tmp_path / folder / "MANO_LEFT.pkl").side == "left"


class Runs:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "call, name",
    [
        ((os.system, ("touch HACKED",)), f"{os.system.__module__}.system"),
        ((eval, ("1 + 1",)), "eval"),
        ((getattr, ("x", "upper")), "getattr"),
        ((np.load, ("x",)), "numpy"),
    ],
)
def test_pickle_that_runs_code_is_refused_by_name(tmp_path, monkeypatch, tables, call, name):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "MANO_RIGHT.pkl", tables | {"v_template": Runs(*call)})
    with pytest.raises(ValueError, match=f"asks for .*{name}.*refused"):
        read_hand_file(path)
    assert not (tmp_path / "HACKED").exists()


def test_reconstructor_builds_stand_ins_only(tmp_path):
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(b"ccopy_reg\n_reconstructor\n(cnumpy\nndarray\nc__builtin__\nobject\nNtR.")
    with pytest.raises(ValueError, match="holds numpy.ndarray where a dict"):
        read_hand_file(path)


def test_errors_name_the_path_the_table_and_both_shapes(tmp_path, tables):
    with pytest.raises(FileNotFoundError, match="nowhere: no such hand model"):
        read_hand_file(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no MANO_RIGHT.pkl in this folder, nor in mano, models"):
        read_hand_file(tmp_path)
    path = tmp_path / "MANO_RIGHT.pkl"
    with pytest.raises(ValueError, match=r"MANO_RIGHT.pkl: table 'weights' is missing"):
        read_hand_file(write(path, {key: value for key, value in tables.items() if key != "weights"}))
    with pytest.raises(ValueError, match=r"table 'shapedirs' has shape \[778, 3, 5\], a hand model's has \[778, 3, 10\]"):
        read_hand_file(write(path, tables | {"shapedirs": tables["shapedirs"][..., :5]}))
    with pytest.raises(ValueError, match="table 'v_template' cannot be read as an array of numbers"):
        read_hand_file(write(path, tables | {"v_template": "no"}))
    with pytest.raises(ValueError, match="table 'v_template' holds values that are not finite"):
        read_hand_file(write(path, tables | {"v_template": tables["v_template"] * np.nan}))
    with pytest.raises(ValueError, match="table 'kintree_table' has another tree"):
        read_hand_file(write(path, tables | {"kintree_table": tables["kintree_table"][:, ::-1]}))
    with pytest.raises(ValueError, match="table 'f' names vertices outside"):
        read_hand_file(write(path, tables | {"f": tables["f"] + 1}))
    with pytest.raises(ValueError, match="holds a list"):
        read_hand_file(write(path, [1]))
    path.write_bytes(b"not a pickle")
    with pytest.raises(ValueError, match="not a readable hand model"):
        read_hand_file(path)
    (tmp_path / "hand.npz").write_bytes(b"not a zip file")
    with pytest.raises(ValueError, match="not a readable .npz"):
        read_hand_file(tmp_path / "hand.npz")
    (tmp_path / "hand.txt").write_text("x")
    with pytest.raises(ValueError, match="a hand model is a .pkl, .npz or .safetensors file"):
        read_hand_file(tmp_path / "hand.txt")


def test_npz_with_pickled_objects_is_refused(tmp_path, tables):
    path = tmp_path / "hand.npz"
    np.savez(path, **(tables | {"v_template": np.array([Runs(eval, ("1",))], dtype=object)}))
    with pytest.raises(ValueError, match="not a readable .npz file of plain arrays"):
        read_hand_file(path)
