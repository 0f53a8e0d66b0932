"""Shards that are not on this machine: labels are read when a table is opened, pictures when they are asked
for, each by the range of bytes where it lies.

An Arrow stream is a row of messages; a message of rows is a small head, which says where in its body the
buffers of each column lie, and that body. What pictures take of the body is left out, and Arrow reads the
rest. https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tempohand.data.addresses import Address

GAP = 16384  # bytes between two ranges that are read rather than asked past
HEAD = 4096  # bytes that are read at first of a message: more than the head of our columns takes
CONTINUED = 0xFFFFFFFF  # what a message begins with
ROWS = 3  # kind of a message, by Message.fbs
REFERENCE = b"range:"  # a picture that is still where it was: first byte, end, and address


@dataclass(frozen=True)
class Message:
    """Of an Arrow stream: its head as it stands in the file, where its body begins, and how long that is;
    of rows also each buffer's place in the body and length."""

    head: bytes
    body: int
    length: int
    buffers: list[tuple[int, int]] | None


@dataclass(frozen=True)
class _Table:
    """A table of FlatBuffers, in which the heads are written: what a field is, is said by its number in
    Arrow's Message.fbs."""

    data: bytes
    place: int

    @classmethod
    def root(cls, data: bytes) -> "_Table":
        return cls(data, *struct.unpack_from("<I", data))

    def number(self, field: int, form: str) -> int:
        place = self._place(field)
        return struct.unpack_from(form, self.data, place)[0] if place else 0

    def table(self, field: int) -> "_Table":
        return _Table(self.data, self._followed(field))

    def pairs(self, field: int) -> list[tuple[int, int]]:
        begin = self._followed(field)
        (count,) = struct.unpack_from("<I", self.data, begin)
        return list(struct.iter_unpack("<qq", self.data[begin + 4 : begin + 4 + 16 * count]))

    def _followed(self, field: int) -> int:
        place = self._place(field)
        return place + struct.unpack_from("<I", self.data, place)[0]

    def _place(self, field: int) -> int:
        """Where a field is; 0: it is not there."""
        fields = self.place - struct.unpack_from("<i", self.data, self.place)[0]
        (end,) = struct.unpack_from("<H", self.data, fields)
        entry = 4 + 2 * field
        offset = struct.unpack_from("<H", self.data, fields + entry)[0] if entry < end else 0
        return self.place + offset if offset else 0


def read_shard(file: Address, pictures: tuple[str, ...]) -> pa.Table:
    """The rows of a shard, with references (`fetched`) in the columns `pictures`. Raises
    pa.ArrowInvalid or struct.error where it is damaged, and what `Address` raises."""
    first, *others = _messages(file, file.size())
    schema = pa.ipc.read_schema(pa.py_buffer(first.head))
    return pa.Table.from_batches([_rows(file, each, schema, pictures) for each in others], schema)


def fetched(value: bytes | None) -> bytes | None:
    """A picture's bytes, of what its column holds."""
    if value is None or not value.startswith(REFERENCE):
        return value
    _, start, end, address = value.split(b":", 3)
    return Address(address.decode()).read_ranges([(int(start), int(end))])[0]


def _messages(file: Address, size: int) -> Iterator[Message]:
    """The schema, and then the rows."""
    start = 0
    while start + 8 <= size:
        (begin,) = file.read_ranges([(start, min(start + HEAD, size))])
        mark, length = struct.unpack_from("<II", begin)
        if mark != CONTINUED:
            raise pa.ArrowInvalid("it is no Arrow stream")
        if not length:
            return
        body = start + 8 + length
        if body > size:
            break
        if len(begin) < 8 + length:
            begin += file.read_ranges([(start + len(begin), body)])[0]
        head = begin[: 8 + length]
        message = _Table.root(head[8:])
        body_length = message.number(3, "<q")
        if body + body_length > size:
            break
        buffers = message.table(2).pairs(2) if message.number(1, "<B") == ROWS else None
        yield Message(head, body, body_length, buffers)
        start = body + body_length
    raise pa.ArrowInvalid("ends too early")


def _rows(file: Address, message: Message, schema: pa.Schema, pictures: tuple[str, ...]) -> pa.RecordBatch:
    """A message of rows, read without its pictures."""
    number, data = 0, {}  # of each column with pictures: which buffer holds them
    for field in schema:
        if field.name in pictures:
            data[field.name] = number + 2
        number += _buffers(field.type)
    assert message.buffers is not None  # it is a message of rows
    wanted = [pair for each, pair in enumerate(message.buffers) if each not in data.values()]
    ranges = _merged(wanted)
    begin = len(message.head)
    content = bytearray(begin + message.length)  # pages that nobody writes to take no memory
    content[:begin] = message.head
    places = [(message.body + start, message.body + end) for start, end in ranges]
    for (start, end), part in zip(ranges, file.read_ranges(places)):
        content[begin + start : begin + end] = part
    batch = pa.ipc.read_record_batch(pa.ipc.read_message(pa.py_buffer(content)), schema)
    for name, each in data.items():
        column, first = batch.column(name), message.body + message.buffers[each][0]
        offsets = (first + np.frombuffer(column.buffers()[1], np.int32, len(column) + 1)).tolist()
        values = [
            b"%s%d:%d:%s" % (REFERENCE, start, end, file.text.encode()) if known else None
            for start, end, known in zip(offsets, offsets[1:], column.is_valid().to_pylist())
        ]
        index = schema.get_field_index(name)
        batch = batch.set_column(index, schema.field(index), pa.array(values, pa.binary()))
    return batch


def _buffers(kind: pa.DataType) -> int:
    """How many buffers a column has."""
    if pa.types.is_fixed_size_list(kind):
        return 1 + _buffers(kind.value_type)
    return 3 if pa.types.is_binary(kind) or pa.types.is_string(kind) else 2


def _merged(buffers: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges (start, end) that hold all buffers (start, length); those that are near each other are one."""
    ranges: list[tuple[int, int]] = []
    for start, length in sorted(pair for pair in buffers if pair[1]):
        if ranges and start <= ranges[-1][1] + GAP:
            ranges[-1] = (ranges[-1][0], max(start + length, ranges[-1][1]))
        else:
            ranges.append((start, start + length))
    return ranges
