"""Reading the layers of .tflite files: the tables of TensorFlow Lite's FlatBuffers schema (version 3,
tensorflow/lite/schema/schema.fbs) that say which operators a network has and what their weights are.

The `tflite` package has classes for the whole schema, and `flatbuffers` under it; five tables of it are read
here, once for each release of weights.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

IDENTIFIER = b"TFL3"  # at byte 4 of every file of this schema
FLOATS = {0: "<f4", 1: "<f2"}  # TensorType -> numpy's, of the types that weights have
DEQUANTIZE = 6
# BuiltinOperator -> PyTorch's layer, and the order in which it has the axes of the operator's weights
LAYERS = {
    3: (nn.Conv2d, (0, 3, 1, 2)),  # [out, height, width, in]
    4: (nn.Conv2d, (3, 0, 1, 2)),  # depthwise: [1, height, width, channels]
    9: (nn.Linear, (0, 1)),  # [out, in]
    54: (nn.PReLU, (2, 0, 1)),  # [1, 1, channels]
}


@dataclass(frozen=True)
class Operator:
    """An operator that has weights: its number in the schema's BuiltinOperator, and its weights (and biases)
    as stored, in the order of its inputs."""

    code: int
    weights: tuple[np.ndarray, ...]


class _Table:
    """A FlatBuffers table at byte `place`: its fields by number, absent ones with a default."""

    def __init__(self, data: bytes, place: int):
        self.data, self.place = data, place
        self.fields = place - self._number("<i", place)  # the vtable: its size, the table's, fields' places

    def _number(self, kind: str, place: int) -> int:
        return struct.unpack_from(kind, self.data, place)[0]

    def _field(self, number: int) -> int:
        """The place of a field, 0 for an absent one."""
        entry = 4 + 2 * number
        if entry >= self._number("<H", self.fields):
            return 0
        offset = self._number("<H", self.fields + entry)
        return self.place + offset if offset else 0

    def number(self, field: int, kind: str) -> int:
        place = self._field(field)
        return self._number(kind, place) if place else 0

    def vector(self, field: int, dtype: str) -> np.ndarray:
        start = self._vector(field)
        return (
            np.frombuffer(self.data, dtype, self._number("<I", start), start + 4)
            if start
            else np.empty(0, dtype)
        )

    def tables(self, field: int) -> list["_Table"]:
        start = self._vector(field) + 4
        offsets = self.vector(field, "<u4")
        return [_Table(self.data, start + 4 * index + int(offset)) for index, offset in enumerate(offsets)]

    def _vector(self, field: int) -> int:
        """The place of a vector, which begins with its length; 0 for an absent one."""
        place = self._field(field)
        return place + self._number("<I", place) if place else 0


def read_operators(data: bytes, source: str | Path) -> list[Operator]:
    """The operators of a network that have weights (float16 or float32, also behind DEQUANTIZE), in the order
    of the file, which is one they can be computed in.

    Raises ValueError, naming `source`, when the data is not a whole .tflite file.
    """
    if data[4:8] != IDENTIFIER:
        raise ValueError(f"'{source}' is not a .tflite file: it has no '{IDENTIFIER.decode()}' at byte 4")
    try:
        return _operators(_Table(data, int.from_bytes(data[:4], "little")))
    except (struct.error, IndexError, ValueError) as error:
        raise ValueError(f"'{source}' is a damaged .tflite file ({error}): get it anew") from None


def _operators(model: _Table) -> list[Operator]:
    # A code below 127 stands in the older, one byte wide field, too; a larger one in the newer alone.
    codes = [max(code.number(0, "<b"), code.number(3, "<i")) for code in model.tables(1)]
    graph, buffers = model.tables(2)[0], model.tables(4)
    stored = {}  # number of a tensor -> its constant values
    for index, tensor in enumerate(graph.tables(0)):
        values = buffers[tensor.number(2, "<I")].vector(0, "u1")
        if values.size and tensor.number(1, "<b") in FLOATS:
            dtype = FLOATS[tensor.number(1, "<b")]
            stored[index] = values.view(dtype).reshape(tensor.vector(0, "<i4"))
    found = []
    for operator in graph.tables(3):
        code = codes[operator.number(0, "<I")]
        inputs, outputs = operator.vector(1, "<i4"), operator.vector(2, "<i4")
        weights = tuple(stored[index] for index in inputs.tolist() if index in stored)
        if code == DEQUANTIZE and weights:
            stored[int(outputs[0])] = weights[0]
        elif weights:
            found.append(Operator(code, weights))
    return found


def state_dict_of(module: nn.Module, operators: list[Operator], source: str | Path) -> dict[str, Tensor]:
    """The weights of a module whose layers are defined in the order of a file's operators, by the module's
    names and in the file's precision.

    Raises ValueError, naming `source`, when number, kind or shape of the layers differ.
    """
    layers = [
        (name, layer)
        for name, layer in module.named_modules()
        if isinstance(layer, tuple(kind for kind, _ in LAYERS.values()))
    ]
    wrong = f"'{source}' is another network than {type(module).__name__}: "
    if len(layers) != len(operators):
        raise ValueError(f"{wrong}it has {len(operators)} layers with weights, not {len(layers)}")
    weights = {}
    for (name, layer), operator in zip(layers, operators):
        kind, axes = LAYERS.get(operator.code, (None, ()))
        own = [(f"{name}.{key}", parameter) for key, parameter in layer.named_parameters()]
        given = [
            values.transpose(axes) if values.ndim == len(axes) else values for values in operator.weights
        ]
        given = [values.ravel() if kind is nn.PReLU else values for values in given]
        shapes = [[tuple(values.shape) for values in side] for side in (given, [p for _, p in own])]
        if kind is None or not isinstance(layer, kind) or shapes[0] != shapes[1]:
            raise ValueError(f"{wrong}at '{name}' it has weights {shapes[0]}, not {shapes[1]}")
        weights |= {key: torch.from_numpy(values.copy()) for (key, _), values in zip(own, given)}
    return weights
