"""What a check found: one line of the doctor's table, and the table."""

import json
import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tempohand.writing import write_whole

Verdict = Literal["ok", "warning", "FAILED"]
HEADER = ("check", "value", "expected", "verdict")
WIDTHS = (34, 54, 42)  # of the first three columns at most: what is longer wraps


@dataclass(frozen=True)
class Result:
    """A check's name, what was measured and what was expected (in words, with units), the verdict, and where
    it is not ok: likely cause and remedy. `number` is the measured value for programs."""

    check: str
    value: str
    expected: str
    verdict: Verdict = "ok"
    cause: str = ""
    number: float | None = None


def judge(share: float, warn: float = 0.0, fail: float = 0.05) -> Verdict:
    """The verdict on a share of bad rows: systematic above `fail`, single ones above `warn`."""
    return "FAILED" if share > fail else "warning" if share > warn else "ok"


def table(results: list[Result]) -> str:
    """The results as text, a line each; under a result that is not ok its cause and remedy, wrapped; at the
    end how many there are."""
    cells = [(result.check, result.value, result.expected) for result in results]
    widths = [
        min(limit, max(len(row[place]) for row in (HEADER, *cells))) for place, limit in enumerate(WIDTHS)
    ]
    lines = _line(HEADER[:3], widths, HEADER[3]) + ["-" * (sum(widths) + 13)]
    for result, row in zip(results, cells):
        lines += _line(row, widths, result.verdict)
        if result.cause:
            lines += textwrap.wrap(
                result.cause, sum(widths) + 9, initial_indent="    ", subsequent_indent="    "
            )
    counts = {
        verdict: sum(result.verdict == verdict for result in results)
        for verdict in ("ok", "warning", "FAILED")
    }
    return "\n".join([*lines, "", ", ".join(f"{count} {verdict}" for verdict, count in counts.items())])


def _line(cells: tuple[str, ...], widths: list[int], verdict: str) -> list[str]:
    columns = [textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, widths)]
    lines = []
    for number in range(max(map(len, columns))):
        parts = [
            (column[number] if number < len(column) else "").ljust(width)
            for column, width in zip(columns, widths)
        ]
        lines.append("  ".join([*parts, verdict if number == 0 else ""]).rstrip())
    return lines


def write_json(results: list[Result], path: str | Path) -> None:
    """The results as one JSON object, appearing when whole: `failed`, how many, and `checks`, a list of
    objects with Result's fields."""
    content = {
        "failed": sum(result.verdict == "FAILED" for result in results),
        "checks": [asdict(result) for result in results],
    }
    write_whole(path, json.dumps(content, indent=1))
