"""Reading hand files: the formats that exist, and what must be refused."""

import pickle

import numpy as np
import pytest
import scipy.sparse

from tempohand.hand.files import FOLDERS, OPEN_HAND, read_hand_file, write_hand_file
from tempohand.hand.tables import SHAPES, mirrored


@pytest.fixture
def tables() -> dict:
    with np.load(OPEN_HAND) as archive:
        return {key: archive[key] for key in SHAPES}


def write(path, content, protocol=2):
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def assert_same(ours, wanted):
    for name in (
        "v_template",
        "faces",
        "shapedirs",
        "posedirs",
        "joint_regressor",
        "weights",
        "hands_mean",
        "hands_components",
    ):
        np.testing.assert_array_equal(getattr(ours, name), getattr(wanted, name), err_msg=name)


def test_open_hand_is_the_default():
    tables = read_hand_file()
    assert tables.side == "right" and tables.faces.dtype == np.int64 and tables.v_template.dtype == np.float32


def test_the_other_side_is_the_mirror_image():
    assert_same(read_hand_file(side="left"), mirrored(read_hand_file()))
    assert read_hand_file(side="left").side == "left"


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_pickles_of_every_protocol_and_sparse_regressors(tmp_path, tables, protocol):
    for sparse in (np.asarray, scipy.sparse.csc_matrix, scipy.sparse.csr_matrix):
        path = write(
            tmp_path / "MANO_RIGHT.pkl",
            tables | {"J_regressor": sparse(tables["J_regressor"]), "bs_style": "lbs"},
            protocol,
        )
        assert_same(read_hand_file(path), read_hand_file())


@pytest.mark.parametrize("folder", FOLDERS)
def test_folders(tmp_path, tables, folder):
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for side in ("RIGHT", "LEFT"):
        write(tmp_path / folder / f"MANO_{side}.pkl", tables)
    assert read_hand_file(tmp_path).side == "right"
    assert read_hand_file(tmp_path, side="left").side == "left"
    assert read_hand_file(tmp_path / folder / "MANO_LEFT.pkl").side == "left"


def test_errors_name_the_path_the_table_and_both_shapes(tmp_path, tables):
    with pytest.raises(FileNotFoundError, match="nowhere: no such hand model"):
        read_hand_file(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no MANO_RIGHT.pkl in this folder, nor in mano, models"):
        read_hand_file(tmp_path)
    path = tmp_path / "MANO_RIGHT.pkl"
    with pytest.raises(ValueError, match=r"MANO_RIGHT.pkl: table 'weights' is missing"):
        read_hand_file(write(path, {key: value for key, value in tables.items() if key != "weights"}))
    with pytest.raises(
        ValueError, match=r"table 'shapedirs' has shape \[778, 3, 5\], a hand model's has \[778, 3, 10\]"
    ):
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
    np.savez(path, **(tables | {"v_template": np.array([print], dtype=object)}))
    with pytest.raises(ValueError, match="not a readable .npz file of plain arrays"):
        read_hand_file(path)


def test_npz_that_unpacks_to_too_much_is_refused(tmp_path, tables):
    path = tmp_path / "hand.npz"
    np.savez_compressed(path, **(tables | {"v_template": np.zeros((6000, 1000))}))
    assert path.stat().st_size < 1_000_000
    with pytest.raises(ValueError, match="unpacked it has more than 32 MB"):
        read_hand_file(path)


def test_damaged_and_disguised_files_are_refused(tmp_path, tables):
    np.save(tmp_path / "array.npy", tables["weights"])
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    (tmp_path / "cut.safetensors").write_bytes(
        write_hand_file(read_hand_file(), tmp_path / "whole.safetensors").read_bytes()[:-100]
    )
    (tmp_path / "pickle.safetensors").write_bytes(pickle.dumps(tables))
    for name in ("array.npz", "cut.safetensors", "pickle.safetensors"):
        with pytest.raises(ValueError, match=f"{name}: not a readable"):
            read_hand_file(tmp_path / name)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_written_files_are_read_back_whatever_their_name(tmp_path, suffix, side):
    tables = read_hand_file(side=side)
    for name in ("hand", "MANO_LEFT", "MANO_RIGHT"):
        path = write_hand_file(tables, tmp_path / (name + suffix))
        assert read_hand_file(path).side == side
        assert_same(read_hand_file(path), tables)
        assert_same(read_hand_file(path, side="right"), read_hand_file())
        assert_same(read_hand_file(path, side="left"), read_hand_file(side="left"))


def test_left_files_come_in_the_form_asked_for(tmp_path, tables):
    """Whichever of the two the file has; right hands have one."""
    fixed, right = read_hand_file(side="left"), read_hand_file()
    unfixed = read_hand_file(side="left", left_shapedirs="unfixed")
    np.testing.assert_array_equal(unfixed.shapedirs[:, 0], right.shapedirs[:, 0])
    np.testing.assert_array_equal(unfixed.shapedirs[:, 1:], fixed.shapedirs[:, 1:])
    for form in (fixed, unfixed):
        path = write(tmp_path / "MANO_LEFT.pkl", form.as_file())
        assert_same(read_hand_file(path), fixed)
        assert_same(read_hand_file(path, left_shapedirs="unfixed"), unfixed)
        assert_same(read_hand_file(path, side="right", left_shapedirs="unfixed"), right)
    assert_same(read_hand_file(left_shapedirs="unfixed"), right)


def test_a_side_that_is_none_is_refused(tmp_path, tables):
    np.savez(tmp_path / "hand.npz", **tables, side=np.array("middle"))
    with pytest.raises(ValueError, match="its side is 'middle'"):
        read_hand_file(tmp_path / "hand.npz")
