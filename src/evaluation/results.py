"""What an evaluation leaves behind: metrics.json, and tables to read."""

import json
import math
from collections.abc import Iterable
from pathlib import Path

from tempohand.console import text_table
from tempohand.evaluation.bootstrap import LEVEL, Bootstrap
from tempohand.evaluation.metrics.registry import BEND_SLOPES, METRICS, shown_in
from tempohand.evaluation.scores import RAW, ScoreBoard
from tempohand.evaluation.splits import (
    ALL,
    CURVE,
    FINGER_CHANGES,
    FINGER_SPEED,
    HIDDEN_CURVE_EDGES,
    SPLITS,
    WRIST_SPEED,
)
from tempohand.writing import write_whole

METRICS_NAME = "metrics.json"
MAIN_SPLIT = "hidden_50"
COMPARED = "stage2"  # whose differences to the other rows are of interest


def summary(content: dict) -> str:
    """What a terminal shows of metrics.json's content: the tables, its `notes`, and what nothing valid spoke
    for."""
    silent = without_sample(content)
    parts = [
        format_tables(content),
        *content["notes"],
        *([f"no valid sample for: {', '.join(silent)}"] if silent else []),
    ]
    return "".join(f"\n{part}\n" for part in parts)


def to_json(board: ScoreBoard, drawn_by: str = "recordings", **about) -> dict:
    """The content of metrics.json. drawn_by: what the board's recordings are, "sequences" where the table
    knows no others.

    `n`; `about` (what was evaluated, what was left out, `test_loss`: row -> loss or None); `units`; `rows`:
    row -> metrics of all frames, `hidden_50`, `splits`; `hidden_curve`; `bootstrap`: how intervals were made;
    `intervals`: row -> split -> metric -> [low, high]; `differences`: "stage2 - <row>" -> split -> metric ->
    value, low, high. A metric that nothing valid speaks for is None, and so is an interval of too few
    recordings: strict JSON has no nan.
    """
    result, drawn = board.compute(), Bootstrap(board)
    rows = {}
    for row, splits in result.items():
        rows[row] = {
            **splits[ALL],
            MAIN_SPLIT: splits[MAIN_SPLIT],
            "splits": {name: splits[name] for name in SPLITS if name not in (ALL, MAIN_SPLIT)},
        }
    first = result[board.rows[0]]
    curve = {
        "edges": list(HIDDEN_CURVE_EDGES),
        "n": [first[name]["n"] for name in CURVE],
        "mpjpe_root": {row: [splits[name]["mpjpe_root"] for name in CURVE] for row, splits in result.items()},
        "interval": {row: [drawn.interval(row, name, "mpjpe_root") for name in CURVE] for row in board.rows},
    }
    intervals = {
        row: {split: {name: drawn.interval(row, split, name) for name in METRICS} for split in SPLITS}
        for row in board.rows
    }
    differences = {}
    for other in board.rows if COMPARED in board.rows else ():
        if other != COMPARED:
            differences[difference_name(other)] = {
                split: _differences(result, drawn, other, split) for split in SPLITS
            }
    bootstrap = {
        "resamples": drawn.resamples,
        "seed": drawn.seed,
        "level": LEVEL,
        "drawn": drawn_by,
        "number": board.recordings,
    }
    content = {
        "n": first[ALL]["n"],
        **about,
        "units": {name: metric.unit for name, metric in METRICS.items()},
        "rows": rows,
        "hidden_curve": curve,
        "bootstrap": bootstrap,
    }
    return without_nan({**content, "intervals": intervals, "differences": differences})


def without_sample(content: dict) -> list[str]:
    """What metrics.json has no figure for, because nothing valid speaks for it: empty splits, metrics,
    metrics of single splits, losses."""
    rows = content["rows"]
    values = {
        row: {ALL: columns, MAIN_SPLIT: columns[MAIN_SPLIT], **columns["splits"]}
        for row, columns in rows.items()
    }
    names = {}  # a dict, for their order
    for row, splits in values.items():
        for split, columns in splits.items():
            if not columns["n"]:
                names[split] = True
                continue
            for name in METRICS:
                if columns[name] is None and (split == ALL or splits[ALL][name] is not None):
                    names[f"{name} of {row}" if split == ALL else f"{name} of {split}"] = True
    for row, terms in content.get("loss_terms", {}).items():
        names |= {
            f"loss term {name.removeprefix(RAW)} of {row}": True
            for name, value in terms.items()
            if value is None
        }
    return list(names)


def difference_name(other: str) -> str:
    """The key of COMPARED's differences to another row."""
    return f"{COMPARED} - {other}"


def compared_rows(content: dict) -> list[str]:
    """The rows whose differences to COMPARED are shown: what needs no training, Stage 1, and what filters
    make of it at best."""
    candidates = ("landmarks", "landmarks_fit", "stage1", content.get("best_filter"), "stage1_accurate")
    return [str(row) for row in candidates if difference_name(str(row)) in content["differences"]]


def _differences(result: dict, drawn: Bootstrap, other: str, split: str) -> dict[str, dict]:
    values = {}
    for name in METRICS:
        low, high = drawn.interval(COMPARED, split, name, than=other) or (None, None)
        values[name] = {
            "value": result[COMPARED][split][name] - result[other][split][name],
            "low": low,
            "high": high,
        }
    return values


def excludes_zero(difference: dict) -> bool:
    """Whether the interval says that a difference is not chance."""
    return difference["low"] is not None and (difference["low"] > 0 or difference["high"] < 0)


def without_nan(value):
    """The same nest of dicts and lists with None for numbers that are not finite: what strict JSON can
    say."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: str | Path, content: dict) -> None:
    """Strict JSON, atomically: the file is whole or not there."""
    write_whole(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def number(value: float | None, signed: bool = False) -> str:
    """A figure with as many digits as it deserves."""
    if value is None:
        return "-"
    digits = 3 if abs(value) < 1 else 2 if abs(value) < 100 else 1 if abs(value) < 1000 else 0
    return f"{value:{'+' if signed else ''}.{digits}f}"


def bounds_text(low: float | None, high: float | None, signed: bool = False) -> str:
    """An interval behind its figure; nothing where there is none."""
    return "" if low is None else f" [{number(low, signed)}, {number(high, signed)}]"


def _main_table(content: dict, title: str, split: str) -> str:
    lines = []
    for row, values in content["rows"].items():
        values = values if split == ALL else values[split]
        bounds = content["intervals"][row][split]
        cells = [
            number(values[name]) + bounds_text(*(bounds[name] or (None, None)))
            for name in (metric.name for metric in shown_in("terminal"))
        ]
        lines.append([row, *cells])
    return f"{title}\n{text_table(['', *(metric.label for metric in shown_in('terminal'))], lines)}"


def _bend_table(content: dict) -> str:
    lines = []
    for row, values in content["rows"].items():
        bounds = content["intervals"][row][ALL]
        cells = [
            number(values[name]) + bounds_text(*(bounds[name] or (None, None)))
            for name in BEND_SLOPES.values()
        ]
        lines.append([row, *cells])
    title = (
        "slope of the predicted bend on the true one, all frames (1: right, less: fingers bend too little)"
    )
    return f"{title}\n{text_table(['', *BEND_SLOPES], lines)}"


def _by_split(content: dict, title: str, metric: str, splits: Iterable[str]) -> str:
    rows = [values["splits"] for values in content["rows"].values()]
    lines = [
        [split, f"{rows[0][split]['n']}", *(number(row[split][metric]) for row in rows)] for split in splits
    ]
    return f"{title}\n{text_table(['', 'frames', *content['rows']], lines)}"


def _difference_table(content: dict, other: str) -> str:
    counts = {ALL: content["n"], MAIN_SPLIT: content["rows"][other][MAIN_SPLIT]["n"]}
    shown, lines = shown_in("terminal"), []
    for split, values in content["differences"][difference_name(other)].items():
        n = counts.get(split, content["rows"][other]["splits"].get(split, {}).get("n"))
        if n:
            lines.append([split, f"{n}", *(_difference_text(values[metric.name]) for metric in shown)])
    title = f"{difference_name(other)}, negative: {COMPARED} is better (*: the interval excludes 0)"
    return f"{title}\n{text_table(['', 'frames', *(metric.label for metric in shown)], lines)}"


def _difference_text(difference: dict) -> str:
    value, low, high = (difference[name] for name in ("value", "low", "high"))
    return "* " * excludes_zero(difference) + number(value, True) + bounds_text(low, high, True)


def format_tables(content: dict) -> str:
    """metrics.json for a terminal: all frames, the half-hidden ones, one metric over all splits, and the
    differences that count."""
    rows, level = content["rows"], content["bootstrap"]["level"]
    drawn = f"{content['bootstrap']['number']} {content['bootstrap']['drawn']}"
    units = [f"{metric.label} {metric.unit}" for metric in shown_in("terminal") if metric.unit != "mm"]
    title = (
        f"all {content['n']} frames (mm; {', '.join(units)}; {level:.0%} intervals: paired bootstrap over "
        f"{drawn})"
    )
    blocks = [_main_table(content, title, ALL)]
    n = next(iter(rows.values()))[MAIN_SPLIT]["n"]
    half = f"the {n} frames in which half of the hand or more is hidden"
    blocks.append(_main_table(content, half, MAIN_SPLIT) if n else "no frame is half hidden")
    splits = next(iter(rows.values()))["splits"]
    blocks.append(_by_split(content, f"{METRICS['mpjpe_root'].label} by split", "mpjpe_root", splits))
    blocks.append(
        _by_split(content, "lag in the picture by speed, frames", "lag_2d", (*WRIST_SPEED, *FINGER_SPEED))
    )
    changes = "PA-MPJPE by changes between folded and extended fingers, index to pinky"
    blocks.append(_by_split(content, changes, "pa_mpjpe", FINGER_CHANGES))
    blocks.append(_bend_table(content))
    losses = content.get("test_loss", {}).items()
    unknown = "unknown: its checkpoint does not say the weights that it was trained with"
    blocks += [f"test loss of {row}: {unknown if value is None else number(value)}" for row, value in losses]
    blocks += [f"boxes: {content['boxes']}"] if content.get("boxes") else []
    return "\n\n".join([*blocks, *(_difference_table(content, other) for other in compared_rows(content))])
