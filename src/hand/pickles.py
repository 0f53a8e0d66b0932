"""The official hand model files, read without running them.

MANO_RIGHT.pkl and MANO_LEFT.pkl are Python 2 pickles of chumpy arrays and scipy matrices. A pickle is a
program that names functions and calls them. Nothing that a file names is looked up, imported or called here:
where it would call something, a `Record` keeps the name, the arguments and the state, and arrays are made of
the records' bytes. Names and instructions that a hand model does not need are refused.
"""

import codecs
import io
import pickletools
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# Every name that hand model files use: arrays of numpy 1 and 2, scipy's compressed matrices at their old and
# new places, chumpy's classes, and Python 2's and 3's sets, bytes and objects in the old protocols.
_KNOWN = re.compile(
    r"numpy\.(ndarray|dtype|_?core\.multiarray\.(_reconstruct|scalar)|_?core\.numeric\._frombuffer)"
    r"|scipy\.sparse(\._?cs[cr])?\.cs[cr]_(matrix|array)"
    r"|chumpy\.(ch|ch_ops|reordering|linalg|logic|utils)\.\w+"
    r"|(__builtin__|builtins)\.(object|set|frozenset|bytes)|copy_?reg\._reconstructor|_codecs\.encode"
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_VALUES = re.compile(
    "(BIN)?(INT|FLOAT|STRING)|BININT[12]|LONG[14]?|SHORT_BINSTRING|UNICODE|"
    "(SHORT_)?BIN(UNICODE|BYTES)|BIN(UNICODE|BYTES)8|BYTEARRAY8"
)
MAX_SPARSE_ENTRIES = 10_000_000
_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}


@dataclass(repr=False)  # a few bytes can nest records so that their text has no end
class Record:
    """What calling `name` with `arguments`, then setting `state`, would make; without arguments the name."""

    name: str
    arguments: tuple | None = None
    state: object = None


def read_pickle(path: Path, keys: Collection[str]) -> dict[str, np.ndarray]:
    """The arrays of a pickled dict under those of `keys` that it has; chumpy arrays evaluated, sparse
    matrices dense. Raises ValueError for a damaged file, for a name or an instruction that a hand model does
    not need, for something else than a dict, and for a key whose value is no array of numbers."""
    try:
        content = read_records(path.read_bytes())
    except Exception as error:  # a damaged or hostile file may break its reader anywhere
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path}: not a readable hand model: {reason}") from error
    if not isinstance(content, dict):
        kind = _kind(content)
        raise ValueError(f"{path}: not a hand model: holds {kind} where a dict of tables is expected")
    arrays = {}
    for key in filter(content.__contains__, keys):
        try:
            arrays[key] = _table(content[key])
        except Exception as error:  # as above
            reason = f"cannot be read as an array of numbers ({str(error) or type(error).__name__})"
            raise ValueError(f"{path}: table {key!r} {reason}") from error
    return arrays


def read_records(data: bytes) -> object:
    """What a pickle describes: dicts, lists (sets too), tuples, numbers, text, bytes, otherwise `Record`s.
    Raises ValueError for names and instructions outside the lists above, any exception for a damaged pickle.
    """
    machine = _Machine()
    for instruction, argument in _instructions(data):
        machine.follow(instruction, argument)
    return machine.stack.pop()


class _Machine:
    """A pickle's stack machine: `stack` holds the values since the last mark, `outer` the stacks before each
    mark, `memo` the values that were numbered to be used again."""

    def __init__(self):
        self.stack: list = []
        self.outer: list[list] = []
        self.memo: dict[int, object] = {}

    def follow(self, instruction: str, argument: Any) -> None:
        """One instruction. Raises ValueError for one that a hand model does not need."""
        stack = self.stack
        match instruction:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "PUT" | "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                self.memo[len(self.memo) if argument is None else argument] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "EMPTY_LIST" | "EMPTY_SET":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(instruction[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "APPEND":
                item = stack.pop()
                stack[-1].append(item)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _filled(stack[-1], [key, value])
            case "MARK":
                self.outer.append(stack)
                self.stack = []
            case (
                "TUPLE" | "LIST" | "FROZENSET" | "DICT" | "APPENDS" | "ADDITEMS" | "SETITEMS" | "INST" | "OBJ"
            ):
                self.stack = self.outer.pop()
                self._take(instruction, argument, stack)
            case "GLOBAL" | "STACK_GLOBAL" | "REDUCE" | "NEWOBJ" | "BUILD":
                self._record(instruction, argument)
            case _ if instruction in _CONSTANTS:
                stack.append(_CONSTANTS[instruction])
            case _ if _VALUES.fullmatch(instruction):
                stack.append(argument)
            case _:
                reason = "which a hand model does not need; it is refused"
                raise ValueError(f"uses the pickle instruction {instruction}, {reason}")

    def _take(self, instruction: str, argument: Any, items: list) -> None:
        """Makes one value of the values since a mark, or puts them into the one before it."""
        stack = self.stack
        match instruction:
            case "TUPLE":
                stack.append(tuple(items))
            case "LIST" | "FROZENSET":
                stack.append(items)
            case "DICT":
                stack.append(_filled({}, items))
            case "SETITEMS":
                _filled(stack[-1], items)
            case "APPENDS" | "ADDITEMS":
                stack[-1].extend(items)
            case "INST":
                stack.append(_called(_named(argument), tuple(items)))
            case "OBJ":
                stack.append(_called(items[0], tuple(items[1:])))

    def _record(self, instruction: str, argument: Any) -> None:
        """Names, and in place of calls what would be called."""
        stack = self.stack
        match instruction:
            case "GLOBAL":
                stack.append(_named(argument))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                are_text = isinstance(module, str) and isinstance(name, str)
                stack.append(_named(f"{module} {name}" if are_text else "no text"))
            case "REDUCE" | "NEWOBJ":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_called(function, arguments))
            case "BUILD":
                state = stack.pop()
                if not (isinstance(stack[-1], Record) and stack[-1].arguments is not None):
                    raise ValueError(f"gives a state to {_kind(stack[-1])}; it is refused")
                stack[-1].state = state


def _instructions(data: bytes) -> Iterator[tuple[str, Any]]:
    """A pickle's instructions, each with its argument; as pickletools.genops, which takes no bytes beyond
    ASCII in Python 2's quoted strings."""
    file, name = io.BytesIO(data), ""
    while name != "STOP":
        opcode = _OPCODES.get(file.read(1).decode("latin1"))
        if opcode is None:
            raise ValueError("not a pickle, or cut off")
        name = opcode.name
        if name == "STRING":
            yield name, codecs.escape_decode(file.readline().rstrip(b"\n")[1:-1])[0].decode("latin1")
        else:
            yield name, opcode.arg.reader(file) if opcode.arg else None


def _named(module_and_name: str) -> Record:
    name = module_and_name.replace(" ", ".")
    if not _KNOWN.fullmatch(name):
        raise ValueError(f"asks for {name[:100]!r}, which a hand model does not need; it is refused")
    return Record(name)


def _called(function: object, arguments: object) -> Record:
    if not (isinstance(function, Record) and function.arguments is None and isinstance(arguments, tuple)):
        raise ValueError(f"calls {_kind(function)}; it is refused")
    if function.name.endswith("._reconstructor"):
        # Python 2 in the old protocols: (class, its base, the base's state)
        return _called(arguments[0], ())
    return Record(function.name, arguments)


def _filled(target: dict, items: list) -> dict:
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | bytes | int):  # a tuple of tuples of tuples could take for ever to hash
            raise ValueError(f"has {_kind(key)} for a key; it is refused")
        target[key] = value
    return target


def _kind(value: object) -> str:
    return value.name if isinstance(value, Record) else f"a {type(value).__name__}"


def _table(value: Any) -> np.ndarray:
    """A numpy array, a chumpy array or a scipy matrix as an array of numbers."""
    if not isinstance(value, Record) or value.arguments is None:
        raise ValueError(f"it is {_kind(value)}")
    kind = value.name.rpartition(".")[2]
    if value.name.startswith("scipy."):
        return _dense(value.state, rows=kind.startswith("csr"))
    if value.name == "chumpy.reordering.Select":  # chosen entries of another array
        chosen = _table(value.state["a"]).ravel()[_numbers(value.state["idxs"]).ravel()]
        return chosen.reshape(value.state.get("preferred_shape", -1))
    if value.name.startswith("chumpy."):
        return _table(value.state["x"])
    return _numbers(value)


def _numbers(value: Any) -> np.ndarray:
    """A numpy array, from its bytes: as large as they are, whatever the file claims."""
    kind = value.name.rpartition(".")[2] if isinstance(value, Record) else ""
    if kind == "_reconstruct":
        *_, shape, dtype, fortran, content = value.state
        return np.frombuffer(_bytes(content), _dtype(dtype)).reshape(shape, order="F" if fortran else "C")
    if kind == "_frombuffer":
        content, dtype, shape, order, *axes = value.arguments
        array = np.frombuffer(_bytes(content), _dtype(dtype))
        return array.reshape(shape).transpose(*axes) if order == "K" else array.reshape(shape, order=order)
    raise ValueError(f"it is {_kind(value)}")


def _dtype(value: Any) -> np.dtype:
    code, order = value.arguments[0].lstrip("<>|="), value.state[1] if value.state else "="
    if not re.fullmatch("f[248]|[iu][1248]", code) or order not in ("<", ">", "|", "="):
        raise ValueError(f"it holds {code[:20]!r}")
    return np.dtype(order + code)


def _bytes(value: Any) -> bytes:
    """Bytes as they are, as Python 2's text, or as Python 3 writes them in the old protocols."""
    if isinstance(value, Record):
        value = value.arguments[0] if value.arguments else b""
    return value.encode("latin1") if isinstance(value, str) else bytes(memoryview(value))


def _dense(state: Any, *, rows: bool) -> np.ndarray:
    """scipy's csc_matrix (the columns' entries one after another) or csr_matrix (the rows')."""
    shape = tuple(int(size) for size in (state["_shape"] if "_shape" in state else state["shape"]))
    if len(shape) != 2 or min(shape) < 1 or shape[0] * shape[1] > MAX_SPARSE_ENTRIES:
        raise ValueError(f"it is a sparse matrix of shape {list(shape)}")
    pointers, indices, entries = (_numbers(state[key]) for key in ("indptr", "indices", "data"))
    if pointers[-1] - pointers[0] != len(indices) or indices.min(initial=0) < 0:
        raise ValueError("it is a damaged sparse matrix")
    major = np.repeat(np.arange(len(pointers) - 1), np.diff(pointers))
    dense = np.zeros(shape)
    np.add.at(dense, (major, indices) if rows else (indices, major), entries)
    return dense
