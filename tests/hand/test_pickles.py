"""Reading pickles without running them: official hand files as they really are, and files that want something
run or eaten."""

import contextlib
import copyreg
import pickle
import pickletools
import struct
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from tempohand.hand.files import read_hand_file
from tempohand.hand.pickles import Record, read_pickle, read_records
from tempohand.hand.tables import SHAPES

TOUCH = "touch HACKED"


class Built:
    """An object of a foreign class as Python 2 pickles it: made without arguments, then given its state."""

    def __init__(self, module: str, name: str, state: dict):
        self.name, self.state = f"{module}\n{name}\n".encode(), state


class Python2:
    """Writes what Python 2's cPickle wrote: protocol 2, or 0, which has quoted text for bytes and rebuilds
    objects through copy_reg."""

    def __init__(self, protocol: int):
        self.old, self.count = protocol == 0, 0

    def file(self, value) -> bytes:
        return (b"" if self.old else b"\x80\x02") + self(value) + b"."

    def __call__(self, value) -> bytes:
        match value:
            case bool() | None:
                return {
                    None: b"N",
                    True: b"I01\n" if self.old else b"\x88",
                    False: b"I00\n" if self.old else b"\x89",
                }[value]
            case int():
                return b"I%d\n" % value if self.old else b"J" + struct.pack("<i", value)
            case str():
                return self.text(value.encode("latin1"))
            case tuple():
                return b"(" + b"".join(map(self, value)) + b"t" + self.memo()
            case list():
                return b"(l" + self.memo() + b"".join(self(item) + b"a" for item in value)
            case set():
                return b"c__builtin__\nset\n" + self.memo() + self((list(value),)) + b"R" + self.memo()
            case dict() if self.old:
                return (
                    b"(d"
                    + self.memo()
                    + b"".join(self(key) + self(each) + b"s" for key, each in value.items())
                )
            case dict():
                return (
                    b"}"
                    + self.memo()
                    + b"("
                    + b"".join(self(key) + self(each) for key, each in value.items())
                    + b"u"
                )
            case np.ndarray():
                head = (
                    b"cnumpy.core.multiarray\n_reconstruct\n"
                    + self.memo()
                    + b"(cnumpy\nndarray\n"
                    + self((0,))
                    + self("b")
                    + b"tR"
                )
                fortran = value.ndim > 1 and value.flags.f_contiguous
                dtype = (
                    b"cnumpy\ndtype\n"
                    + self((value.dtype.str[1:], 0, 1))
                    + b"R"
                    + self((3, "<", None, None, None, -1, -1, 0))
                    + b"b"
                )
                content = self.text(value.tobytes("F" if fortran else "C"))
                return (
                    head + b"(" + self(1) + self(value.shape) + dtype + self(bool(fortran)) + content + b"tb"
                )
            case Built():
                made = (
                    b"(c" + value.name + b"c__builtin__\nobject\nNtR"
                    if self.old
                    else b"c" + value.name + b")\x81"
                )
                made = b"ccopy_reg\n_reconstructor\n" + made if self.old else made
                return made + self.memo() + self(value.state) + b"b"
        raise TypeError(type(value))

    def text(self, content: bytes) -> bytes:
        if self.old:
            return b"S" + repr(content)[1:].encode() + b"\n" + self.memo()
        return (
            (b"U" + bytes([len(content)]) if len(content) < 256 else b"T" + struct.pack("<i", len(content)))
            + content
            + self.memo()
        )

    def memo(self) -> bytes:
        self.count += 1
        return b"p%d\n" % self.count if self.old else b"r" + struct.pack("<I", self.count)


def chumpy_array(x, **more) -> Built:
    return Built(
        "chumpy.ch",
        "Ch",
        {"x": x, "_dirty_vars": {"x"}, "_itr": None, "_status": "new", "_make_dense": False, **more},
    )


def official(tables: dict) -> dict:
    """The tables in the wrappings of the official files: shapedirs a selection from 20 directions, a sparse
    regressor, text beside them."""
    wide = np.concatenate([tables["shapedirs"], tables["shapedirs"]], axis=2).astype(np.float64)
    chosen = np.arange(wide.size).reshape(wide.shape)[:, :, :10]
    sparse = scipy.sparse.csc_matrix(tables["J_regressor"].astype(np.float64))
    state = {
        "_shape": (16, 778),
        "maxprint": 50,
        **{key: getattr(sparse, key) for key in ("indices", "indptr", "data")},
    }
    select = {
        "a": chumpy_array(wide),
        "idxs": chosen.ravel(),
        "preferred_shape": chosen.shape,
        "_dirty_vars": {"a", "idxs"},
        "_itr": None,
    }
    return {
        **{
            key: table.astype(np.float64) if table.dtype.kind == "f" else table
            for key, table in tables.items()
        },
        "posedirs": np.asfortranarray(tables["posedirs"].astype(np.float64)),
        "v_template": chumpy_array(tables["v_template"].astype(np.float64)),
        "shapedirs": Built("chumpy.reordering", "Select", select),
        "J_regressor": Built("scipy.sparse.csc", "csc_matrix", state),
        "bs_style": "lbs",
        "bs_type": "lrotmin \xe9",
        "J": Built(
            "chumpy.ch_ops", "add", {"a": chumpy_array(np.zeros((16, 3))), "b": chumpy_array(np.zeros(3))}
        ),
    }


@pytest.fixture(scope="module")
def tables() -> dict:
    return read_hand_file().as_file()


@pytest.fixture(scope="module")
def harmless(tables) -> bytes:
    """A good file up to the end of its dict: one more entry and the end can follow."""
    return pickle.dumps(tables, protocol=2)[:-1]


@pytest.mark.parametrize("protocol", [0, 2])
def test_official_files_are_read_without_chumpy(tmp_path, monkeypatch, tables, protocol):
    """Nor does anything called chumpy run that lies in the way."""
    (tmp_path / "chumpy.py").write_text("open('HACKED', 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "MANO_LEFT.pkl"
    path.write_bytes(Python2(protocol).file(official(tables)))
    read = read_hand_file(path)
    assert read.side == "left"
    for key, table in read.as_file().items():
        np.testing.assert_array_equal(table, tables[key], err_msg=key)
    assert "chumpy" not in sys.modules and not Path("HACKED").exists()


@pytest.mark.parametrize("protocol", [0, 2])
def test_the_writer_of_these_tests_writes_what_python_reads(monkeypatch, tables, protocol):
    for name, classes in {
        "chumpy": [],
        "chumpy.ch": ["Ch"],
        "chumpy.reordering": ["Select"],
        "chumpy.ch_ops": ["add"],
    }.items():
        module = types.ModuleType(name)
        module.__dict__.update({each: type(each, (), {}) for each in classes})
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "scipy.sparse.csc", scipy.sparse._csc)
    monkeypatch.setitem(sys.modules, "numpy.core.multiarray", np._core.multiarray)
    content = pickle.loads(Python2(protocol).file(official(tables)), encoding="latin1")
    np.testing.assert_array_equal(content["posedirs"], tables["posedirs"])
    np.testing.assert_array_equal(content["J_regressor"].toarray(), tables["J_regressor"])
    assert content["v_template"]._dirty_vars == {"x"} and content["shapedirs"].preferred_shape == (778, 3, 10)


PLAIN = [
    {"a": [1, -2, 3.5, 2**70, -(2**40)], "b": (), "c": (1,), "d": (1, 2, 3, 4)},
    "é€" * 200,
    "",
    None,
    True,
    False,
    [[], {}, ((),)],
    255,
    256,
    65536,
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_come_as_pickle_gives_them(protocol):
    shared = ["shared"]
    assert read_records(pickle.dumps(PLAIN, protocol)) == PLAIN
    one, other = read_records(pickle.dumps([shared, shared], protocol))
    assert one is other and one == shared


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ["f4", "<f8", ">f8", "f2", "i1", "u2", ">i4", "u8"])
def test_arrays_come_as_numpy_wrote_them(tmp_path, protocol, kind):
    array = np.arange(24).reshape(2, 3, 4).astype(kind)
    arrays = {
        "c": array,
        "f": np.asfortranarray(array),
        "turned": array.transpose(1, 0, 2),
        "part": array[:, 1:],
        "one": array[0, 0, :1],
    }
    arrays |= {
        "csc": scipy.sparse.csc_matrix(array[0].astype("f8")),
        "csr": scipy.sparse.csr_array(array[1].astype("f8")),
    }
    path = tmp_path / "arrays.pkl"
    path.write_bytes(pickle.dumps(arrays, protocol))
    read = read_pickle(path, [*arrays, "absent"])
    assert read.keys() == arrays.keys()
    for name, wanted in arrays.items():
        wanted = wanted.toarray() if name in ("csc", "csr") else wanted
        np.testing.assert_array_equal(read[name], wanted)
        assert read[name].dtype == wanted.dtype


def test_the_names_of_numpy_1_and_2_are_the_same(tmp_path, tables):
    """Whichever of them reads: neither name is looked up."""
    path = tmp_path / "hand.pkl"
    for protocol in (2, 5):
        content = pickle.dumps({"weights": tables["weights"]}, protocol=protocol)
        assert b"numpy._core" in content
        if protocol == 2:  # names are lines of text there, without their length
            content = content.replace(b"numpy._core", b"numpy.core")
        path.write_bytes(content)
        np.testing.assert_array_equal(read_pickle(path, SHAPES)["weights"], tables["weights"])


class Runs:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def stack_call(module: str, name: str, *arguments: bytes) -> bytes:
    return text(module) + text(name) + b"\x93(" + b"".join(arguments) + b"tR"


def array_state(dtype: bytes, content: bytes) -> bytes:
    array = call("numpy.core.multiarray", "_reconstruct", b"cnumpy\nndarray\n", b"K\x00\x85", b"C\x01b")
    return array + b"(K\x01K\x01\x85" + dtype + b"\x89" + content + b"tb"


SYSTEM = call("os", "system", text(TOUCH))
OBJECTS = (
    call("numpy", "dtype", text("O8"), b"\x89", b"\x88")
    + b"(K\x03X\x01\x00\x00\x00|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb"
)
POPEN = b"csubprocess\nPopen\n"
# What the file says (the value of a key), what the refusal names, and whether Python's own pickle falls for
# it.
HOSTILE = {
    "os.system": (SYSTEM, "'os.system'", True),
    "posix.system": (call("posix", "system", text(TOUCH)), "'posix.system'", True),
    "eval": (call("builtins", "eval", text("open('HACKED', 'w')")), "'builtins.eval'", True),
    "Python 2's eval": (call("__builtin__", "eval", text("open('HACKED', 'w')")), "'__builtin__.eval'", True),
    "exec": (call("builtins", "exec", text("open('HACKED', 'w')")), "'builtins.exec'", True),
    "__import__ and getattr": (
        call("builtins", "getattr", call("builtins", "__import__", text("os")), text("system"))
        + text(TOUCH)
        + b"\x85R",
        "'builtins.getattr'",
        True,
    ),
    "an import alone": (
        call("builtins", "__import__", text("this_makes_a_file")),
        "'builtins.__import__'",
        True,
    ),
    "an array of hostile objects": (array_state(OBJECTS, b"]" + SYSTEM + b"a"), "'os.system'", True),
    "a dtype of hostile metadata": (
        call("numpy", "dtype", text("f8")) + b"(K\x03" + SYSTEM + b"tb",
        "'os.system'",
        True,
    ),
    "numpy.savetxt": (call("numpy", "savetxt", text("HACKED"), b"]K\x01a"), "'numpy.savetxt'", True),
    "numpy.load": (call("numpy", "load", text("evil.npy"), b"N", b"\x88"), "'numpy.load'", True),
    "numpy's f2py": (
        call("numpy.f2py.crackfortran", "myeval", text("open('HACKED', 'w')")),
        "'numpy.f2py.crackfortran.myeval'",
        True,
    ),
    "nested": (call("chumpy.ch", "Ch", call("chumpy.ch", "Ch", SYSTEM)), "'os.system'", False),
    "in the state of a chumpy array": (
        b"cchumpy.ch\nCh\n)\x81}X\x01\x00\x00\x00x" + SYSTEM + b"sb",
        "'os.system'",
        False,
    ),
    "dotted names": (stack_call("os", "path.os.system", text(TOUCH)), "'os.path.os.system'", False),
    "dotted names in numpy": (
        stack_call("numpy", "ndarray.__class__.__base__", text(TOUCH)),
        "'numpy.ndarray.__class__",
        False,
    ),
    "dotted names in chumpy": (
        stack_call("chumpy.ch", "os.system", text(TOUCH)),
        "'chumpy.ch.os.system'",
        False,
    ),
    "a module in chumpy": (stack_call("chumpy.evil", "Ch"), "'chumpy.evil.Ch'", False),
    "a module like chumpy": (stack_call("chumpyx.ch", "Ch"), "'chumpyx.ch.Ch'", False),
    "a line break in a module": (
        stack_call("chumpy.ch\nos", "system", text(TOUCH)),
        "'chumpy.ch\\nos.system'",
        False,
    ),
    "a module that is no text": (b"K\x01K\x02\x93)R", "'no.text'", False),
    "torch's tensors": (
        call("torch._utils", "_rebuild_tensor_v2", SYSTEM),
        "'torch._utils._rebuild_tensor_v2'",
        True,
    ),
    "a persistent id": (b"PHACKED\n", "PERSID", False),
    "a persistent id from the stack": (text("HACKED") + b"Q", "BINPERSID", False),
    "an out-of-band buffer": (b"\x97", "NEXT_BUFFER", False),
    "the extension registry": (b"\x82\xf1" + text(TOUCH) + b"\x85R", "EXT1", True),
    "subprocess through copyreg": (
        call("copyreg", "__newobj__", POPEN, text(TOUCH)),
        "'copyreg.__newobj__'",
        False,
    ),
    "a foreign class through copyreg": (
        call("copyreg", "_reconstructor", POPEN, b"cbuiltins\nobject\n", b"N"),
        "'subprocess.Popen'",
        False,
    ),
    "a foreign class": (
        POPEN + b"(]" + text("touch") + b"a" + text("HACKED") + b"at\x81",
        "'subprocess.Popen'",
        False,
    ),
    "a foreign class with keywords": (b"cchumpy.ch\nCh\n)}\x92", "NEWOBJ_EX", False),
    "INST": (b"(" + text(TOUCH) + b"ios\nsystem\n", "'os.system'", True),
    "OBJ": (b"(cos\nsystem\n" + text(TOUCH) + b"o", "'os.system'", True),
    "functools": (
        call("functools", "partial", b"cos\nsystem\n", text(TOUCH)) + b")R",
        "'functools.partial'",
        True,
    ),
    "a call of a text": (text("os.system") + text(TOUCH) + b"\x85R", "calls a str", False),
    "a call of a result": (call("chumpy.ch", "Ch") + text(TOUCH) + b"\x85R", "calls chumpy.ch.Ch", False),
    "a state for a bare name": (b"cchumpy.ch\nCh\n}b", "gives a state to chumpy.ch.Ch", False),
}


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A working directory in which HACKED would appear, with what some attacks need."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("this_makes_a_file.py").write_text("open('HACKED', 'w')")
    with Path("evil.npy").open("wb") as file:
        np.lib.format.write_array(
            file, np.array([Runs(exec, ("open('HACKED', 'w')",))], dtype=object), allow_pickle=True
        )
    copyreg.add_extension("os", "system", 0xF1)
    yield tmp_path
    copyreg.remove_extension("os", "system", 0xF1)
    sys.modules.pop("this_makes_a_file", None)


@pytest.mark.parametrize("where", ["v_template", "unused"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_by_name_before_anything_runs(trap, harmless, name, where):
    payload, named, _ = HOSTILE[name]
    Path("MANO_RIGHT.pkl").write_bytes(harmless + text(where) + payload + b"s.")
    with pytest.raises(ValueError) as refusal:
        read_hand_file("MANO_RIGHT.pkl")
    message = str(refusal.value)
    assert (
        message.startswith("MANO_RIGHT.pkl: not a readable hand model")
        and named in message
        and "refused" in message
    )
    assert "\n" not in message and not Path("HACKED").exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name, (_, _, works) in HOSTILE.items() if works])
def test_the_hostile_files_are_hostile(trap, harmless, name):
    with contextlib.suppress(Exception):  # after the deed
        pickle.loads(harmless + text("v_template") + HOSTILE[name][0] + b"s.")
    assert Path("HACKED").exists()


def bomb(levels: int, core: bytes, step: bytes) -> bytes:
    """`step` again and again, each with the one before it on the stack and in memo place 0."""
    return core + (b"q\x00" + step) * levels


BIG = struct.pack("<Q", 2**40)
FLOATS = call("numpy", "dtype", text("f8"), b"\x89", b"\x88")
ARRAY = array_state(FLOATS, b"C\x08" + bytes(8))
ZEROS = array_state(call("numpy", "dtype", text("i8"), b"\x89", b"\x88"), b"C\x08" + bytes(8))
SPARSE = b"cscipy.sparse._csc\ncsc_matrix\n)\x81}("
GREEDY = {
    "a memo place far away": b"Nr\xff\xff\xff\xff",
    "bytes that are not there": b"\x8e" + BIG,
    "a bytearray that is not there": b"\x96" + BIG,
    "text that is not there": b"\x8d" + BIG,
    "a shape that the bytes do not fill": call("numpy.core.multiarray", "_reconstruct")
    + b"(K\x01\x8a\x06\x00\x00\x00\x00\x00\x01\x85"
    + FLOATS
    + b"\x89C\x08"
    + bytes(8)
    + b"tb",
    "ndarray itself with a shape": call("numpy", "ndarray", b"\x8a\x06\x00\x00\x00\x00\x00\x01\x85"),
    "bytes by their number": call("builtins", "bytes", b"\x8a\x06\x00\x00\x00\x00\x00\x01"),
    "a sparse matrix of nothing": SPARSE + text("_shape") + b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86ub",
    "a sparse matrix that repeats": SPARSE
    + text("_shape")
    + b"K\x10K\x10\x86"
    + text("indices")
    + ARRAY
    + text("indptr")
    + array_state(call("numpy", "dtype", text("i8"), b"\x89", b"\x88"), b"C\x08" + b"\xff" * 7 + b"\x7f")
    + text("data")
    + ARRAY
    + b"ub",
    "a key that takes for ever to hash": b"}" + bomb(64, b")", b"h\x00\x86") + b"Ns",
    "lists of lists": bomb(64, b"]", b"h\x00\x86"),
    "a chumpy array in itself": b"cchumpy.ch\nCh\n)\x81q\x01}X\x01\x00\x00\x00xh\x01sb",
    "a selection by itself": b"Ns"
    + text("unused")
    + b"("
    + bomb(
        64, ZEROS, b"cchumpy.reordering\nSelect\n)\x81}(" + text("a") + b"h\x00" + text("idxs") + b"h\x00ub"
    )
    + b"q\x00ts"
    + text("v_template")
    + b"h\x00",
    "deep nesting": b"(" * 20_000 + b"t" * 20_000,
    "objects in an array": array_state(OBJECTS, b"]Na"),
    "a dtype of names": array_state(call("numpy", "dtype", text("f8,O")), b"C\x08" + bytes(8)),
}


@pytest.mark.parametrize("name", GREEDY)
def test_files_that_ask_for_time_or_memory_are_refused_at_once(tmp_path, harmless, name):
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(harmless + text("v_template") + GREEDY[name] + b"s.")
    start = time.process_time()
    with pytest.raises(
        ValueError, match=r"not a readable hand model|'v_template' (cannot be read|has shape)"
    ):
        read_hand_file(path)
    assert time.process_time() - start < 2


def test_huge_files_are_refused_unread(tmp_path):
    path = tmp_path / "MANO_RIGHT.pkl"
    with path.open("wb") as file:
        file.truncate(10**10)
    with pytest.raises(ValueError, match="MANO_RIGHT.pkl: has 10000 MB"):
        read_hand_file(path)


def test_damaged_files_are_refused(tmp_path, tables):
    """Cut off or changed anywhere: a file is refused or its tables are hand tables, and nothing else
    happens."""
    good = Python2(2).file(
        {"weights": tables["weights"][:2, :2], "J_regressor": official(tables)["J_regressor"]}
    )
    path, random = tmp_path / "hand.pkl", np.random.default_rng(0)
    starts = [position for _, _, position in pickletools.genops(good)]
    for trial in range(400):
        content = bytearray(good)
        if trial % 2:
            del content[random.integers(len(good)) :]
        else:
            content[min(random.choice(starts) + random.integers(3), len(good) - 1)] = random.integers(256)
        path.write_bytes(content)
        try:
            arrays = read_pickle(path, SHAPES)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")
        else:
            assert all(array.dtype.kind in "fiu" for array in arrays.values())


def test_a_record_says_what_a_file_wanted():
    assert read_records(b"\x80\x02cchumpy.ch\nCh\n(K\x01K\x02tRK\x03b.") == Record("chumpy.ch.Ch", (1, 2), 3)


def test_something_else_than_a_dict_is_refused(tmp_path):
    path = tmp_path / "hand.pkl"
    for content, kind in (
        ([1], "a list"),
        (None, "a NoneType"),
        (np.zeros(3), "numpy._core.multiarray._reconstruct"),
    ):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(ValueError, match=f"not a hand model: holds {kind} where a dict"):
            read_pickle(path, SHAPES)
