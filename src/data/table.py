"""The frame table: one row per hand per frame, in Arrow, read through Hugging Face `datasets`.

A table is a folder: `table.json` (format, splits and their shards, what made it) and Arrow stream files. Rows
of a sequence lie together in the order of time, and a sequence lies in one shard. Sequences that are not
independent of each other (synchronous cameras, both hands) belong to one recording. `table.json` is written
last, so a folder without it is not a table. A table is read from a folder, or from an address (addresses.py)
to which a folder was copied.
"""

import hashlib
import json
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
from datasets import Dataset, concatenate_datasets
from datasets.table import InMemoryTable
from jaxtyping import Bool, Float, Int, UInt8

from tempohand.data.addresses import Address, Place, place, read_ranges, size_of
from tempohand.data.pictures import REFERENCE, BadPicture, decode, decode_depth, decode_mask
from tempohand.data.remote_shards import fetched, read_shard
from tempohand.skeleton import NUM_BETAS, NUM_JOINTS, POSE_DIM
from tempohand.writing import whole, write_whole

FORMAT = 1
INDEX_NAME = "table.json"
FINGERPRINT_BLOCK = 65536  # bytes
REQUESTS = 16  # shards at an address that are opened at once
ROWS_PER_BATCH = 256  # rows a record batch: small enough that one random row touches little of the disk
END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"  # what an Arrow stream that was written to its end ends with


def _floats(*shape: int) -> pa.DataType:
    return pa.list_(pa.float32(), int(np.prod(shape)))


# name -> (Arrow type, shape of one row's value). Pixels are those of the stored picture; lengths are mm in
# its OpenCV camera space.
COLUMNS = {
    # an encoded picture (JPEG, PNG, WebP), or "path:" and a file's name below the data set's folder
    "image": (pa.binary(), ()),
    # of the picture's size and camera, where there are any: millimetres along the optical axis in a PNG of 16
    # bits (DEPTH_UNIT_MM; 0: not measured), and in one of 1 bit the pixels in which this hand is seen
    "depth": (pa.binary(), ()),
    "mask": (pa.binary(), ()),
    "width": (pa.int32(), ()),
    "height": (pa.int32(), ()),
    "focal": (_floats(2), (2,)),
    "princpt": (_floats(2), (2,)),
    "box": (_floats(4), (4,)),  # xyxy, bounds of the hand's 21 joints, seen or not
    "is_right": (pa.bool_(), ()),
    "joints2d": (_floats(NUM_JOINTS, 2), (NUM_JOINTS, 2)),
    "joints2d_mask": (pa.list_(pa.bool_(), NUM_JOINTS), (NUM_JOINTS,)),
    "joints": (_floats(NUM_JOINTS, 3), (NUM_JOINTS, 3)),
    "joints_mask": (pa.list_(pa.bool_(), NUM_JOINTS), (NUM_JOINTS,)),
    "pose": (_floats(POSE_DIM), (POSE_DIM,)),  # of the hand as it is: a left hand's own pose
    "shape": (_floats(NUM_BETAS), (NUM_BETAS,)),
    "trans": (_floats(3), (3,)),  # the wrist
    "has_hand": (pa.bool_(), ()),  # pose, shape and trans are known
    "has_camera": (pa.bool_(), ()),  # focal and princpt are real
    "hidden": (pa.float32(), ()),  # fraction of the hand that something covers; nan: unknown
    "source": (pa.string(), ()),
    "sequence": (pa.string(), ()),  # unique in the table
    # what was filmed at once, by whichever cameras, of whichever hands; tables from before it lack it
    "recording": (pa.string(), ()),
    "frame": (pa.int32(), ()),
    "time": (pa.float64(), ()),  # s
}
SCHEMA = pa.schema([(name, kind) for name, (kind, _) in COLUMNS.items()])
INPUTS = ("image", "depth", "mask")  # what a network can take of a frame
LABELS = tuple(name for name in COLUMNS if name not in (*INPUTS, "source", "sequence", "recording"))
OPTIONAL = ("depth", "mask")  # columns that a row may lack
LATER = ("recording", *OPTIONAL)  # columns that older tables lack


def write_shard(path: str | Path, rows: Iterable[dict]) -> int:
    """Writes rows (a dict with every column; arrays of the column's shape) as one shard, atomically; returns
    how many. A row without a `recording` is of a sequence that is a recording of its own; `depth` and `mask`
    may be missing or None.

    Raises ValueError naming the column when a row lacks one or a value has another shape.
    """
    count, pending = 0, []
    with whole(path) as part, pa.OSFile(str(part), "wb") as file, pa.ipc.new_stream(file, SCHEMA) as stream:
        for row in rows:
            row = {"recording": row.get("sequence"), **dict.fromkeys(OPTIONAL), **row}
            pending.append({name: _checked(row, name) for name in COLUMNS})
            count += 1
            if len(pending) == ROWS_PER_BATCH:
                stream.write_batch(pa.RecordBatch.from_pylist(pending, SCHEMA))
                pending = []
        if pending:
            stream.write_batch(pa.RecordBatch.from_pylist(pending, SCHEMA))
    return count


def _checked(row: dict, name: str):
    if name not in row:
        raise ValueError(f"a row of sequence {row.get('sequence')} lacks the column '{name}'")
    shape = COLUMNS[name][1]
    if not shape:
        return row[name]
    value = np.asarray(row[name])
    if value.shape != shape:
        raise ValueError(
            f"column '{name}' of sequence {row.get('sequence')} has shape {value.shape}, expected {shape}"
        )
    return value.reshape(-1)


def write_index(root: str | Path, splits: dict[str, list[str]], about: dict) -> None:
    """Completes a table: names each split's shards (file names under `root`) and says what made it (`about`,
    JSON)."""
    root = Path(root)
    write_whole(root / INDEX_NAME, json.dumps({"format": FORMAT, "splits": splits, "about": about}, indent=1))


def read_index(root: str | Place) -> dict:
    """The content of `table.json`. Raises FileNotFoundError or ValueError with the remedy in the message."""
    path = place(root) / INDEX_NAME
    if not path.is_file():
        raise FileNotFoundError(
            f"no frame table at '{root}' ({INDEX_NAME} is missing): make one with tempohand prepare"
        )
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        said = " ".join(str(error).split())
        raise ValueError(f"'{path}' is damaged ({said}): copy it again, or prepare the table again") from None
    if index.get("format") != FORMAT:
        raise ValueError(
            f"the table at '{root}' has format {index.get('format')}, this version reads {FORMAT}: "
            "prepare it again"
        )
    return index


def split_shards(root: str | Place, index: dict, split: str) -> list[Place]:
    """The shards of a split by a table's index. Raises ValueError for an unknown split, FileNotFoundError for
    a shard that is not there; what is missing at an address shows when it is read."""
    if split not in index["splits"]:
        raise ValueError(f"the table at '{root}' has no split '{split}', it has {sorted(index['splits'])}")
    files = [place(root) / name for name in index["splits"][split]]
    for file in files:
        if isinstance(file, Path) and not file.is_file():
            raise FileNotFoundError(f"the table at '{root}' lacks its shard '{file.name}': prepare it again")
    return files


def is_complete(shard: Path) -> bool:
    """Whether an Arrow stream was written to its end: one that was cut off between two batches opens without
    complaint, and short."""
    size = size_of(shard)
    return read_ranges(shard, [(max(size - len(END_OF_STREAM), 0), size)]) == [END_OF_STREAM]


def fingerprint(root: str | Place) -> str:
    """A hash of what a table holds: its index and splits, and each shard's size and 16 blocks spread over it
    (all of a small one).

    A copy has the same; a table prepared again from other data, settings or seed has another.
    """
    index = read_index(root)
    digest = hashlib.sha256(json.dumps(index, sort_keys=True).encode())
    shards = [file for split in index["splits"] for file in split_shards(root, index, split)]
    for file in sorted(shards, key=str):
        size = size_of(file)
        digest.update(f"{file.name} {size}".encode())
        starts = np.linspace(0, max(size - FINGERPRINT_BLOCK, 0), 16).astype(int).tolist()
        ends = [min(start + FINGERPRINT_BLOCK, size) for start in starts]
        for block in read_ranges(file, list(zip(starts, ends))):
            digest.update(block)
    return digest.hexdigest()


class FrameTable:
    """One split of a table, memory-mapped: labels by rows, pictures one at a time, which at an address are
    requested when they are asked for. `joined` makes one of several tables.

    Raises FileNotFoundError where there is no table, ValueError for an unknown split, one without rows or a
    damaged shard.
    """

    def __init__(self, root: str | Place, split: str):
        index = read_index(root)
        shards = _open_shards(split_shards(root, index, split))
        if not sum(len(shard) for shard in shards):
            raise ValueError(
                f"split '{split}' of the table at '{root}' is empty: prepare it again with more data"
            )
        self.root = place(root)
        self.split = split
        self.about = index["about"]
        self.knows_recordings = all("recording" in shard.column_names for shard in shards)
        self._fill(concatenate_datasets([_with_later(shard) for shard in shards]), [self])

    def _fill(self, rows: Dataset, parts: list["FrameTable"]) -> None:
        self._rows = rows.with_format("arrow")
        self.parts, self.offsets = parts, np.cumsum([0] + [len(part._rows) for part in parts])
        # Labels are small (0.8 kB a row) and read for every sample: whole columns, shared by the worker
        # processes that are forked later.
        self._labels = {name: to_numpy(self._rows.data.column(name), name) for name in LABELS}
        self._pictures = self._rows.select_columns(list(INPUTS))
        columns = {name: self._rows.data.column(name) for name in INPUTS}
        self.inputs = frozenset(
            name for name, column in columns.items() if column.null_count < len(column)
        )  # those that any row has

    @classmethod
    def joined(cls, tables: Sequence["FrameTable"], split: str) -> "FrameTable":
        """The rows of several tables, one table after the other, as a table named `split`. `parts` are the
        tables, `offsets` where their rows begin, and where the last one's end."""
        if len(tables) == 1:
            return tables[0]
        whole = cls.__new__(cls)
        whole.root = Path(" + ".join(str(table.root) for table in tables))
        whole.split = split
        whole.about = {}
        whole.knows_recordings = all(table.knows_recordings for table in tables)
        whole._fill(concatenate_datasets([table._rows.with_format(None) for table in tables]), list(tables))
        # millions of rows: their labels are held once
        for part, first, end in zip(tables, whole.offsets, whole.offsets[1:]):
            part._labels = {name: column[first:end] for name, column in whole._labels.items()}
        return whole

    def set_has_hand(self, has_hand: Bool[np.ndarray, "rows"]) -> None:
        """From now on these rows have hand parameters and the others none: those of another hand model than
        the network's teach a wrong pose."""
        self._labels["has_hand"] = has_hand

    def hide_3d(self, rows: Bool[np.ndarray, "rows"]) -> None:
        """From now on these rows have neither 3D joints nor hand parameters."""
        self._labels["has_hand"] = self._labels["has_hand"] & ~rows
        self._labels["joints_mask"] = self._labels["joints_mask"] & ~rows[:, None]

    def part_of(self, row: int) -> tuple["FrameTable", int]:
        """The table that a row comes from, and its row there."""
        part = int(np.searchsorted(self.offsets, row, side="right")) - 1
        return self.parts[part], int(row) - int(self.offsets[part])

    def __len__(self) -> int:
        return len(self._rows)

    def column(self, name: str) -> np.ndarray:
        """A whole column [rows, ...] as one array (not for pictures)."""
        return self._labels[name] if name in self._labels else to_numpy(self._rows.data.column(name), name)

    def labels(self, rows: Int[np.ndarray, "n"]) -> dict[str, np.ndarray]:
        """Every numeric column of the given rows, [n, ...] each."""
        return {name: column[rows] for name, column in self._labels.items()}

    def image_bytes(self, row: int) -> bytes:
        """The encoded picture of a row. Raises FileNotFoundError for one that is referred to and not
        there."""
        encoded = self._encoded(row, "image")
        assert encoded is not None, "every row has a picture"
        return resolved(encoded, self.part_of(row)[0].about)

    def image(self, row: int) -> UInt8[np.ndarray, "h w 3"]:
        """The decoded picture of a row, RGB. Raises BadPicture, a ValueError naming table, row and sequence,
        when it does not decode, is cut off, or has another size than the row says."""
        return self._decoded(decode, self.image_bytes(row), row)

    def depth(self, row: int) -> Float[np.ndarray, "h w"] | None:
        """The depth of a row's picture, mm along the optical axis, 0 where nothing was measured; None: the
        row has none. Raises BadPicture as `image`."""
        data = self._encoded(row, "depth")
        return None if data is None else self._decoded(decode_depth, data, row)

    def mask(self, row: int) -> Bool[np.ndarray, "h w"] | None:
        """Where a row's hand is seen in its picture; None: not known. Raises BadPicture as `image`."""
        data = self._encoded(row, "mask")
        return None if data is None else self._decoded(decode_mask, data, row)

    def _encoded(self, row: int, name: str) -> bytes | None:
        return fetched(self._pictures[int(row)].column(name)[0].as_py())

    def _decoded(self, decoder: Callable, data: bytes, row: int) -> np.ndarray:
        try:
            return decoder(data, int(self._labels["width"][row]), int(self._labels["height"][row]))
        except BadPicture as error:
            (part, place), sequence = self.part_of(row), self.about_row(row)["sequence"]
            where = f"row {place} (sequence {sequence}) in split '{part.split}' of the table at '{part.root}'"
            raise BadPicture(error.reason, f"{error.reason} in {where}: {error}") from None

    def about_row(self, row: int) -> dict[str, str | int]:
        """Where a row comes from: its source, sequence and frame."""
        return {
            name: self._rows.data.column(name)[int(row)].as_py() for name in ("source", "sequence", "frame")
        }

    def describe_row(self, row: int) -> str:
        """Where a row comes from, in words: its number, source, sequence and frame."""
        return "row {} ({source}, sequence {sequence}, frame {frame})".format(row, **self.about_row(row))

    def sequence_starts(self) -> Int[np.ndarray, "rows"]:
        """For every row the first row of its sequence."""
        codes = self._rows.data.column("sequence").combine_chunks().dictionary_encode().indices.to_numpy()
        new = np.union1d(np.flatnonzero(np.diff(codes, prepend=-1)), self.offsets[:-1])
        return np.repeat(new, np.diff(np.append(new, len(codes))))

    def recordings(self) -> Int[np.ndarray, "rows"]:
        """For every row the number of its recording, from 0 on in the order of their first rows. Those of
        different tables are different. Where `knows_recordings` is False (a table from before there were
        recordings) each sequence counts as one."""
        names, numbers = self._rows.data.column("recording"), []
        for first, end in zip(self.offsets[:-1], self.offsets[1:]):
            codes = names.slice(first, end - first).combine_chunks().dictionary_encode().indices.to_numpy()
            numbers.append(codes + (numbers[-1].max() + 1 if numbers else 0))
        return np.concatenate(numbers)


def resolved(image: bytes, about: dict) -> bytes:
    """An image column's value as an encoded picture: a reference is read below the folder that the table was
    made of.

    about: the index's. The environment variable <DATASET>_ROOT (FREIHAND_ROOT, ...) says where that folder is
    now. Raises FileNotFoundError naming both.
    """
    if not image.startswith(REFERENCE):
        return image
    variable = root_variable(about["dataset"])
    path = Path(os.environ.get(variable, about["root"])) / image.removeprefix(REFERENCE).decode()
    if not path.is_file():
        raise FileNotFoundError(
            f"'{path}' is missing, the table refers to it: set {variable} to where the data set is, or "
            "prepare with crop=true"
        )
    return path.read_bytes()


def root_variable(dataset: str) -> str:
    """The environment variable that says where a data set's folder is."""
    return f"{dataset.upper()}_ROOT"


def _open_shards(files: list[Place]) -> list[Dataset]:
    """All of a split's; those at an address several at once, for what takes time is waiting for answers."""
    if not files or isinstance(files[0], Path):
        return [_open_shard(file) for file in files]
    with ThreadPoolExecutor(REQUESTS) as pool:
        return list(pool.map(_open_shard, files))


def _open_shard(file: Place) -> Dataset:
    """A shard, memory-mapped; of one at an address the labels."""
    damage = "ends too early"
    if isinstance(file, Address):
        try:
            rows = InMemoryTable(read_shard(file, INPUTS))
            return Dataset(rows, fingerprint=hashlib.sha256(str(file).encode()).hexdigest()[:16])
        except (pa.ArrowException, struct.error) as error:
            damage = " ".join(str(error).split())
    elif is_complete(file):
        try:
            return Dataset.from_file(str(file))
        except (pa.ArrowException, OSError, ValueError) as error:
            damage = " ".join(str(error).split()) or type(error).__name__
    raise ValueError(f"the shard '{file}' is damaged ({damage}): copy it again, or prepare the table again")


def shard_batches(file: Place) -> list[pa.RecordBatch]:
    """The rows of a shard, memory-mapped (at an address with references to their pictures, see `fetched`),
    with every column of SCHEMA in its order. Raises ValueError for a damaged shard."""
    rows = _with_later(_open_shard(file)).data.table
    return rows.select(SCHEMA.names).cast(SCHEMA).to_batches(ROWS_PER_BATCH)


def _with_later(shard: Dataset) -> Dataset:
    """A shard with the columns that it is too old for: each sequence is a recording, and nothing has depth or
    a mask."""
    if "recording" not in shard.column_names:
        shard = shard.add_column("recording", shard.data.column("sequence"))
    for name in OPTIONAL:
        if name not in shard.column_names:
            shard = shard.add_column(name, pa.nulls(len(shard), pa.binary()))
    return shard


def to_numpy(column: pa.ChunkedArray, name: str) -> np.ndarray:
    """A column of a table as one array [rows, ...] of the shape that COLUMNS says."""
    shape = COLUMNS[name][1]
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    if shape:
        array = array.flatten()
    values = array.to_numpy(zero_copy_only=False)
    return values.reshape(-1, *shape)
