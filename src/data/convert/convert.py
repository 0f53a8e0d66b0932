"""A data set's folder into a frame table: in parallel, resumable, with an account of what became of every
hand."""

import inspect
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tempohand.console import describe
from tempohand.data.convert.frame import Converter, Unit, Unusable
from tempohand.data.convert.mano import ManoHands
from tempohand.data.convert.read import DAMAGE
from tempohand.data.convert.registry import converter_class
from tempohand.data.convert.residuals import residual_table
from tempohand.data.convert.rows import Rejected, Storage, rows_of
from tempohand.data.parallel_jobs import LOCAL, Engine, claim, need_all
from tempohand.data.summary import summary
from tempohand.data.table import write_index, write_shard
from tempohand.writing import write_whole

VERSION = 2  # of the rows: raised when the same folder and settings give other ones
SHARD_FRAMES = 2000
REJECTED_NAME = "rejected.jsonl"


@dataclass(frozen=True)
class Conversion:
    """What is converted, and how. hand: file or folder of the hand model that the annotations were made with;
    None: joints alone.

    options: the data set's own (its converter's keyword arguments). max_units: only so many units of every
    combination of splits, to try.
    """

    dataset: str
    root: str
    hand: str | None = None
    storage: Storage = Storage()
    options: dict[str, Any] = field(default_factory=dict)
    max_units: int | None = None

    def converter(self) -> Converter:
        """Raises FileNotFoundError or ValueError: unknown data set or option, no such folder, no such hand
        model."""
        kind = converter_class(self.dataset)
        known = [name for name in inspect.signature(kind).parameters if name not in ("root", "hands")]
        if unknown := sorted(set(self.options) - set(known)):
            raise ValueError(
                f"{self.dataset} has no option '{unknown[0]}', it has: {', '.join(known) or 'none'}"
            )
        root = Path(self.root)
        if not root.is_dir():
            raise FileNotFoundError(f"'{root}' is no folder: root= is where {kind.title} lies ({kind.url})")
        hands = ManoHands(self.hand, kind.left_shapedirs) if self.hand else None
        return kind(root, hands, **self.options)


def convert(
    conversion: Conversion, out: str | Path, *, engine: Engine = LOCAL, overwrite: bool = False
) -> bool:
    """Makes the frame table of a data set at `out`; returns whether there was anything left to do. Prints
    what came of it.

    Finished shards of an interrupted run with the same settings are kept. engine: what makes them. Raises
    FileNotFoundError or ValueError, one line, when the folder is not the data set's, when `out` holds
    something else, or when nothing could be used.
    """
    out, began = Path(out), time.perf_counter()
    converter = conversion.converter()
    units = _first_of_each(converter.units(), conversion.max_units)
    jobs = _jobs(conversion, units, out)
    made_of = [[unit.key, unit.size] for unit in units]
    recipe = json.loads(
        json.dumps(asdict(conversion) | {"version": VERSION, "units": made_of, "hand": bool(conversion.hand)})
    )
    recipe.pop("root")  # a folder that was moved is the same data set
    if claim(out, recipe, overwrite=overwrite):
        print(f"'{out}' is complete: nothing to do (overwrite=true makes it again)")
        return False
    todo = [job for job in jobs if not _report(job[2]).exists()]
    total, left = _size(units), sum(_size(job[1]) for job in todo)
    with tqdm(total=total, initial=total - left, unit="frame", desc=conversion.dataset) as bar:
        for job, _ in engine.map(convert_shard, todo):
            bar.update(_size(job[1]))
    need_all(_report(job[2]) for job in jobs)
    _complete(converter, conversion, jobs, out)
    print(f"{conversion.dataset}: done in {time.perf_counter() - began:.0f} s")
    return True


def _first_of_each(units: list[Unit], most: int | None) -> list[Unit]:
    """At most so many units of every combination of splits."""
    seen: Counter = Counter()
    kept = []
    for unit in units:
        seen[unit.splits] += 1
        if most is None or seen[unit.splits] <= most:
            kept.append(unit)
    return kept


def _jobs(conversion: Conversion, units: list[Unit], out: Path) -> list[tuple[Conversion, list[Unit], Path]]:
    """Units that follow each other and belong to the same splits, together until a shard is full."""
    parts: list[list[Unit]] = []
    for unit in units:
        if parts and parts[-1][0].splits == unit.splits and _size(parts[-1]) + unit.size <= SHARD_FRAMES:
            parts[-1].append(unit)
        else:
            parts.append([unit])
    return [(conversion, part, out / f"{number:05d}.arrow") for number, part in enumerate(parts)]


def _size(units: Iterable[Unit]) -> int:
    return sum(unit.size for unit in units)


def _report(shard: Path) -> Path:
    return shard.with_suffix(".report.json")


# ----- one process ------------------------------------------------------------------------------------------


@cache
def _converter(settings: str) -> Converter:
    values = json.loads(settings)
    return Conversion(**values | {"storage": Storage(**values["storage"])}).converter()


def convert_shard(conversion: Conversion, units: list[Unit], path: Path) -> None:
    """Writes the rows of some units as one shard, and then a report of those that became none."""
    converter = _converter(json.dumps(asdict(conversion), sort_keys=True))
    rejected: list[Rejected] = []
    count = write_shard(
        path, (row for unit in units for row in unit_rows(converter, unit, conversion.storage, rejected))
    )
    write_whole(_report(path), json.dumps({"rows": count, "rejected": [asdict(one) for one in rejected]}))


def unit_rows(converter: Converter, unit: Unit, storage: Storage, rejected: list[Rejected]) -> Iterator[dict]:
    """The rows of a unit, sequence by sequence in the order of their frames; what becomes no row goes into
    `rejected`."""
    try:
        recording = converter.open(unit)
        numbers = list(recording.numbers)
    except DAMAGE as error:
        rejected.append(_rejected(error, unit.key, None))
        return
    sequences: dict[str, list[dict]] = {}
    for number in numbers:
        try:
            frame = recording.frame(number)
            for row in rows_of(frame, converter.root, converter.name, storage):
                if isinstance(row, Rejected):
                    rejected.append(row)
                else:
                    sequences.setdefault(row["sequence"], []).append(row)
        except DAMAGE as error:
            rejected.append(_rejected(error, unit.key, number))
    for rows in sequences.values():
        yield from sorted(rows, key=lambda row: row["frame"])


def _rejected(error: Exception, key: str, number: int | None) -> Rejected:
    if isinstance(error, Unusable):
        return Rejected(key, number, error.reason, error.detail)
    if isinstance(error, FileNotFoundError):
        return Rejected(key, number, "file missing", describe(error)[:200])
    return Rejected(key, number, "damaged annotation", f"{type(error).__name__}: {describe(error)[:200]}")


# ----- the whole --------------------------------------------------------------------------------------------


def _complete(converter: Converter, conversion: Conversion, jobs: Iterable[tuple], out: Path) -> None:
    """Lists rejections, names the splits' shards, writes the official order, and prints the summary."""
    splits: dict[str, list[str]] = {}
    rejected: Counter = Counter()
    lines = []
    reports = [
        (units, shard, json.loads(_report(shard).read_text(encoding="utf-8"))) for _, units, shard in jobs
    ]
    for units, shard, report in reports:
        for split in units[0].splits:
            if report["rows"]:
                splits.setdefault(split, []).append(shard.name)
        rejected.update(one["reason"] for one in report["rejected"])
        lines += [json.dumps(one) + "\n" for one in report["rejected"]]
    if not splits:
        # the next run looks again: what was wrong with the folder may be mended then
        for _, shard, _ in reports:
            shard.unlink(missing_ok=True)
            _report(shard).unlink()
        none = {"sequence": "-", "reason": "no frames", "detail": "no unit has any"}
        first = json.loads(lines[0]) if lines else none
        raise ValueError(
            f"nothing of {converter.title} could be used; "
            f"the first: {first['sequence']}: {first['reason']} ({first['detail']}): "
            f"is '{converter.root}' whole?"
        )
    write_whole(out / REJECTED_NAME, "".join(lines))
    for split, order in converter.official_order().items():
        if split in splits:
            write_whole(out / f"official_{split}.json", json.dumps({"order": order}))
    about = {
        "dataset": converter.name,
        "title": converter.title,
        "licence": converter.licence,
        "url": converter.url,
        "hand": converter.parameters_of,
        "root": str(converter.root.resolve()),
        "boxes": {split: converter.boxes_of(split) for split in splits},
        "rejected": dict(rejected.most_common()),
        "storage": asdict(conversion.storage),
        "options": conversion.options,
    }
    write_index(out, splits, about)
    for _, shard, report in reports:
        if not report["rows"]:
            shard.unlink(missing_ok=True)
        _report(shard).unlink()
    print(summary(out))
    print(f"left out: {rejected.total():,} ({REJECTED_NAME} has each)" if rejected else "left out: nothing")
    for reason, count in rejected.most_common():
        print(f"  {count:9,}  {reason}")
    print(residual_table(out, converter, conversion.hand))
    for note in converter.notes():
        print(note)
    if conversion.hand is None:
        print("hand parameters were not compared with joints: hand=<folder of the MANO files> does that")
