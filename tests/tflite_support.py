"""Writing small .tflite files, for the tests of what reads them."""

import struct

import numpy as np
from torch import nn

CODES = {nn.Conv2d: 3, nn.Linear: 9, nn.PReLU: 54}
DEPTHWISE, DEQUANTIZE, FLOAT16 = 4, 6, 1
Fields = dict  # number of a field -> a number, an array, a table's fields or a list of them


def flatbuffer(root: Fields) -> bytes:
    """A FlatBuffers file of TensorFlow Lite's with this root table."""
    data = bytearray(b"\0\0\0\0TFL3")
    struct.pack_into("<I", data, 0, _table(data, root))
    return bytes(data)


def _table(data: bytearray, fields: Fields) -> int:
    data += bytes(-len(data) % 4)
    vtable, numbers = len(data), sorted(fields)
    entries = [4 + 4 * numbers.index(n) if n in fields else 0 for n in range(max(numbers, default=-1) + 1)]
    data += struct.pack(f"<{2 + len(entries)}H", 4 + 2 * len(entries), 4 + 4 * len(fields), *entries)
    data += bytes(-len(data) % 4)
    place = len(data)
    data += struct.pack("<i", place - vtable) + bytes(4 * len(fields))
    for index, number in enumerate(numbers):
        at, value = place + 4 + 4 * index, fields[number]
        if isinstance(value, int):
            struct.pack_into("<i", data, at, value)
        else:
            struct.pack_into("<I", data, at, _value(data, value) - at)
    return place


def _value(data: bytearray, value: np.ndarray | list) -> int:
    data += bytes(-len(data) % 4)
    place = len(data)
    data += struct.pack("<I", len(value))
    if isinstance(value, np.ndarray):
        data += value.tobytes()
        return place
    data += bytes(4 * len(value))
    for index, fields in enumerate(value):
        at = place + 4 + 4 * index
        struct.pack_into("<I", data, at, _table(data, fields) - at)
    return place


def tflite_of(module: nn.Module) -> bytes:
    """A module's convolutions, linear layers and PReLUs as operators, their weights in half precision behind
    DEQUANTIZE: what mediapipe's files have, without the operators that have no weights."""
    codes, tensors, operators, buffers = [DEQUANTIZE], [], [], [{}]
    for layer in module.modules():
        if type(layer) not in CODES and not isinstance(layer, nn.Conv2d):
            continue
        code = CODES.get(type(layer), 3)
        code = DEPTHWISE if code == 3 and layer.groups > 1 else code
        inputs = []
        for values in (parameter.detach().half().numpy() for parameter in layer.parameters()):
            if values.ndim == 4:
                values = values.transpose(1, 2, 3, 0) if code == DEPTHWISE else values.transpose(0, 2, 3, 1)
            values = values.reshape(1, 1, -1) if code == CODES[nn.PReLU] else values
            buffers.append({0: np.frombuffer(values.tobytes(), np.uint8)})
            shape = np.array(values.shape, np.int32)
            tensors += [{0: shape, 1: FLOAT16, 2: len(buffers) - 1}, {0: shape}]
            inputs.append(len(tensors) - 1)
            operators.append({0: 0, **_connected([len(tensors) - 2], [len(tensors) - 1])})
        tensors += [{}, {}]
        codes.append(code)
        operators.append({0: len(codes) - 1, **_connected([len(tensors) - 2, *inputs], [len(tensors) - 1])})
    graph = {0: tensors, 3: operators}
    return flatbuffer({1: [{0: min(code, 127), 3: code} for code in codes], 2: [graph], 4: buffers})


def _connected(inputs: list[int], outputs: list[int]) -> Fields:
    return {1: np.array(inputs, np.int32), 2: np.array(outputs, np.int32)}
