"""What a check found: one line of the doctor's table, and the table."""

import json
import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tempohand.console import text_table
from tempohand.writing import write_whole

Verdict = Literal["ok", "warning", "FAILED"]
HEADER = ("check", "value", "expected", "verdict")
WIDTHS = (34, 54, 42, 8)  # of the columns at most: what is longer wraps
CAUSE_WIDTH = 140


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
    """The results as text: a table with a row for each; under it the cause and remedy of each result that is
    not ok; at the end how many there are."""
    cells = [[result.check, result.value, result.expected, result.verdict] for result in results]
    lines = [text_table(HEADER, cells, left=len(HEADER), widths=WIDTHS)]
    for result in results:
        if result.cause:
            lines += ["", f"{result.verdict}: {result.check}"]
            lines += textwrap.wrap(result.cause, CAUSE_WIDTH, initial_indent="    ", subsequent_indent="    ")
    counts = {
        verdict: sum(result.verdict == verdict for result in results)
        for verdict in ("ok", "warning", "FAILED")
    }
    return "\n".join([*lines, "", ", ".join(f"{count} {verdict}" for verdict, count in counts.items())])


def write_json(results: list[Result], path: str | Path) -> None:
    """The results as one JSON object, appearing when whole: `failed`, how many, and `checks`, a list of
    objects with Result's fields."""
    content = {
        "failed": sum(result.verdict == "FAILED" for result in results),
        "checks": [asdict(result) for result in results],
    }
    write_whole(path, json.dumps(content, indent=1))
