"""What was left out: counted where batches arrive, added up over processes, listed in a file, and too much of
it stops the run."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, InitVar, dataclass, field
from pathlib import Path

from tempohand.data.bad_rows import BadRows
from tempohand.data.table import FrameTable
from tempohand.writing import write_whole

BAD_ROWS_NAME = "bad_rows.jsonl"
LEAST_READ = 1000  # frames, or one pass over a smaller split: before, a share says nothing


@dataclass
class Ledger:
    """How many rows of a split were read, how many of these left out, and which rows are bad.

    In training a row counts each time that it is read, in evaluation once.
    """

    read: int = 0
    left_out: int = 0
    bad: BadRows = field(default_factory=dict)

    def add(self, other: "Ledger") -> None:
        """Enters what came of a batch, or of a process."""
        self.read += other.read
        self.left_out += other.left_out
        self.bad |= other.bad

    @property
    def share(self) -> float:
        """The part that was left out; 0 where nothing was read."""
        return self.left_out / max(self.read, 1)

    @classmethod
    def total(cls, ledgers: Iterable["Ledger"]) -> "Ledger":
        """The sum of all processes'."""
        whole = cls()
        for ledger in ledgers:
            whole.add(ledger)
        whole.bad = dict(sorted(whole.bad.items()))
        return whole


def by_source(bad: BadRows, table: FrameTable) -> dict[str, dict[str, int]]:
    """source -> reason -> rows, the worst source and the most frequent reason first."""
    counts: dict[str, Counter] = {}
    for row, reason in bad.items():
        counts.setdefault(table.about_row(row)["source"], Counter())[reason] += 1
    return {
        source: dict(reasons.most_common())
        for source, reasons in sorted(counts.items(), key=lambda item: -item[1].total())
    }


def in_words(bad: BadRows, table: FrameTable) -> str:
    """The same in words: "ho3d: undecodable picture 8, reprojection 3; hot3d: depth 1"."""
    sources = by_source(bad, table).items()
    return "; ".join(
        f"{source}: " + ", ".join(f"{reason} {count}" for reason, count in reasons.items())
        for source, reasons in sources
    )


def listed(bad: BadRows, table: FrameTable) -> list[dict]:
    """split, row, sequence, frame, source and reason of each."""
    return [
        {"split": table.split, "row": row, **table.about_row(row), "reason": reason}
        for row, reason in bad.items()
    ]


def write_list(path: Path, entries: list[dict]) -> None:
    """One JSON object a line, atomically."""
    write_whole(path, "".join(json.dumps(entry) + "\n" for entry in entries))


@dataclass
class BadRowWatch:
    """Watches over what a training run leaves out: says it, lists it in `file`, and stops the run above the
    share `max_bad`.

    gather(x) gives every process's x; `say` prints on the main process, which alone writes. Rows that an
    earlier part of the run (`resumed`) listed stay in the list; counts begin anew.
    """

    file: Path
    max_bad: float
    _: KW_ONLY
    gather: Callable[[object], list] = lambda x: [x]
    say: Callable[[str], None] = print
    main: bool = True
    resumed: InitVar[bool] = False
    entries: dict[tuple[str, int], dict] = field(default_factory=dict, init=False)
    reported: bool = field(default=False, init=False)

    def __post_init__(self, resumed: bool):
        if not 0 <= self.max_bad <= 1:
            raise ValueError(f"data.max_bad={self.max_bad} is a share between 0 and 1")
        if resumed and self.file.is_file():
            for line in self.file.read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                self.entries[entry["split"], entry["row"]] = entry
        elif self.main:
            self.file.unlink(missing_ok=True)

    def known(self, bad: BadRows, table: FrameTable, *, judged: bool) -> None:
        """Enters what the labels of a whole split say before it is read; `judged`: too many of them stop the
        run."""
        if bad:
            self._enter(bad, table)
            self.say(
                f"bad data: {len(bad):,} of {len(table):,} rows of split '{table.split}' are left out "
                f"({in_words(bad, table)})"
            )
        if judged:
            self._judge(Ledger(len(table), len(bad), bad), table, "rows")

    def total(self, ledger: Ledger, table: FrameTable) -> Ledger:
        """The sum of all processes' ledgers, its bad rows listed: call it on all of them at once."""
        total = Ledger.total(self.gather(ledger))
        self._enter(total.bad, table)
        return total

    def check(self, ledger: Ledger, table: FrameTable) -> None:
        """Looks at what training left out so far, on all processes at once: says the first row, and stops the
        run where it is too much.

        Raises ValueError on the main process then, and exits the others.
        """
        total = self.total(ledger, table)
        if total.left_out and not self.reported:
            self.reported = True
            first = listed(total.bad, table)[0]
            self.say(
                f"bad data: left out row {first['row']} of split '{table.split}' ({first['source']}, "
                f"sequence {first['sequence']}, frame {first['frame']}): {first['reason']}; "
                f"others are counted, and listed in '{self.file}'"
            )
        if total.read >= min(LEAST_READ, len(table)):
            self._judge(total, table, "frames read")

    def line(self, total: Ledger, table: FrameTable) -> str:
        """How much training left out so far."""
        if not total.left_out:
            return f"bad data: none in {total.read:,} frames read"
        share = f"{total.left_out:,} of {total.read:,} frames read ({total.share:.2%})"
        return (
            f"bad data: left out {share}, {len(total.bad):,} rows ({in_words(total.bad, table)}), listed "
            f"in '{self.file}'"
        )

    def _enter(self, bad: BadRows, table: FrameTable) -> None:
        new = {row: reason for row, reason in bad.items() if (table.split, row) not in self.entries}
        if new and self.main:
            self.entries |= {(entry["split"], entry["row"]): entry for entry in listed(new, table)}
            write_list(self.file, [self.entries[key] for key in sorted(self.entries)])

    def _judge(self, total: Ledger, table: FrameTable, what: str) -> None:
        if total.share <= self.max_bad:
            return
        if not self.main:
            raise SystemExit(2)
        source, reasons = next(iter(by_source(total.bad, table).items()))
        counts = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
        raise ValueError(
            f"bad data: {total.share:.1%} of the {what} of split '{table.split}' "
            f"({total.left_out:,} of {total.read:,}) had to be left out, "
            f"data.max_bad={self.max_bad} allows {self.max_bad:.1%}; worst source '{source}': {counts}; "
            f"they are listed in '{self.file}', "
            f"and all of the table are found by: tempohand check-data {table.root}"
        )


def left_out_line(total: Ledger, table: FrameTable) -> str:
    """One line on what an evaluation left out; empty when that is nothing."""
    if not total.left_out:
        return ""
    return (
        f"left out {total.left_out:,} of {total.read:,} rows of split '{table.split}' as bad data "
        f"({in_words(total.bad, table)})"
    )
