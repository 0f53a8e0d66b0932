"""What the report says of an evaluation: its few most telling figures, tables with intervals, and charts."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from tempohand.evaluation.metrics.registry import BEND_SLOPES, METRICS, shown_in
from tempohand.evaluation.report import charts
from tempohand.evaluation.report.page import PageTable, TableCell, TableRow
from tempohand.evaluation.results import (
    MAIN_SPLIT,
    compared_rows,
    difference_name,
    excludes_zero,
    number,
)
from tempohand.evaluation.splits import ALL, FINGER_CHANGES, FINGER_SPEED, WRIST_SPEED

SPEEDS = (*WRIST_SPEED, *FINGER_SPEED)
SPLIT_NAMES = {
    "hidden_0": "nothing hidden",
    "hidden_0_25": "up to 25 % hidden",
    "hidden_25_50": "25 to 50 % hidden",
    "hidden_50_75": "50 to 75 % hidden",
    "hidden_75_100": "75 to 100 % hidden",
    "near_0_400mm": "near, under 400 mm",
    "middle_400_700mm": "middle, 400 to 700 mm",
    "far_700mm_up": "far, 700 mm and more",
    "wrist_0_100mm_s": "wrist under 100 mm/s",
    "wrist_100_300mm_s": "wrist 100 to 300 mm/s",
    "wrist_300mm_s_up": "wrist 300 mm/s and more",
    "fingers_0_50mm_s": "fingers under 50 mm/s",
    "fingers_50_150mm_s": "fingers 50 to 150 mm/s",
    "fingers_150mm_s_up": "fingers 150 mm/s and more",
    "finger_changes_0": "fingers all folded or all extended",
    "finger_changes_1": "one change from index to pinky",
    "finger_changes_2_up": "two or three changes",
}
UNKNOWN = "–"
SPLITS_NOTE = (
    "Root-relative MPJPE in mm by how much of the hand something covers, by distance, by how fast wrist and "
    "fingers truly move, and by how often folded and extended fingers alternate from index to pinky."
)
CHANGES_NOTE = (
    "Stage 2 minus the other, on the same frames: negative is less error. The intervals pair both rows, "
    "sequence by sequence; bold figures and filled dots: the interval excludes 0."
)


def evaluation_parts(metrics: dict) -> dict:
    """What report.html shows of an evaluation. metrics: the content of metrics.json."""
    curve = metrics["hidden_curve"]
    return {
        "figures": _figures(metrics),
        "accuracy_note": _accuracy_note(metrics),
        "accuracy": _accuracy(metrics),
        "splits_note": SPLITS_NOTE,
        "splits": _splits(metrics),
        "hidden_chart": Markup(charts.hidden_chart(curve)) if sum(curve["n"]) else None,
        "changes_note": CHANGES_NOTE,
        **_changes(metrics),
    }


def named_row(row: str, cells: list[TableCell], prefix: str = "") -> TableRow:
    """A row of metrics.json under the name and with the colour that it has in the report."""
    return TableRow(charts.row_name(row), cells, charts.row_colour(row), prefix)


def _number(value: float | None, name: str) -> str:
    """A metric with its digits; UNKNOWN where there is none."""
    if value is None:
        return UNKNOWN
    if METRICS[name].unit == "1":
        return f"{value:.3f}"
    return f"{value:.{0 if value >= 1000 else 1 if value >= 100 else 2}f}"


def _interval(bounds: Sequence[float] | None, name: str) -> str:
    return "" if bounds is None else f"{_number(bounds[0], name)} – {_number(bounds[1], name)}"


def _cells(
    rows: dict[str, dict], names: Sequence[str], intervals: dict[str, dict]
) -> dict[str, list[TableCell]]:
    """Each row's cells with their intervals (row -> name -> bounds), the best value of each column marked as
    it reads."""
    best = {}
    for name in names:
        shown = [float(_number(values[name], name)) for values in rows.values() if values[name] is not None]
        if len(shown) > 1:
            best[name] = min(abs(value - METRICS[name].ideal) for value in shown)
    cells = {}
    for row, values in rows.items():
        cells[row] = []
        for name in names:
            text = _number(values[name], name)
            is_best = name in best and text != UNKNOWN
            is_best = is_best and abs(float(text) - METRICS[name].ideal) == best[name]
            bounds = _interval(intervals[row][name], name)
            cells[row].append(TableCell(text, bounds, "best" if is_best else ""))
    return cells


def _figures(metrics: dict) -> list[dict[str, str]]:
    """The few numbers that say most: value, unit and words of each."""
    rows = metrics["rows"]
    best = "stage2" if "stage2" in rows else "stage1"
    name = charts.row_name(best)

    def less(split: dict[str, dict], metric: str, than: str) -> float | None:
        values = [split[row][metric] if row in split else None for row in (than, best)]
        return None if None in values or not values[0] else 100 * (1 - values[1] / values[0])

    figures = [
        (rows[best]["mpjpe_root"], "mm", f"{name}: root-relative MPJPE over all frames"),
        (less(rows, "mpjpe_root", "mean_pose"), "%", f"less error in {name} than the best constant hand"),
    ]
    if best == "stage2":
        hidden = {row: values[MAIN_SPLIT] for row, values in rows.items()}
        half = "less error than Stage 1 where half of the hand or more is hidden"
        figures.append((less(hidden, "mpjpe_root", "stage1"), "%", half))
        figures.append((less(rows, "accel_error", "stage1"), "%", "less acceleration error than Stage 1"))
    return [
        {"value": f"{value:.1f}", "unit": unit, "words": words}
        for value, unit, words in figures
        if value is not None
    ]


def _accuracy_note(metrics: dict) -> str:
    rows = metrics["rows"]
    tuned = {(metrics.get(key) or {}).get("tuned_on") for key in ("one_euro", "kalman")} - {None}
    chosen = "the defaults"
    if tuned:
        chosen = f"chosen on split {tuned.pop()!r}, for accuracy alone or for accuracy and smoothness"
    bootstrap = metrics["bootstrap"]
    sentences = [
        "Millimetres, 2D error in per cent of the edge of the hand's box, acceleration error in mm/frame², "
        "jitter (jerk of the prediction itself) in m/s³, lag (of the joints in the picture; positive: "
        "late) in frames; AUC between 0 and 1. Root-relative: minus the wrist; PA: "
        "after the best similarity."
    ]
    if "mean_pose" in rows:
        sentences.append("The constant hand knows the box alone and never sees the picture.")
    if "landmarks" in rows:
        sentences.append(
            "The landmarks are MediaPipe's, from one crop of each hand; alone they have no mesh, and their "
            "2D error is that of their own pixels."
        )
    if any(row.startswith("stage1_") for row in rows):
        sentences.append(f"The filters are causal, their parameters {chosen}.")
    sentences.append(
        f"Small figures: {bootstrap['level']:.0%} intervals, {bootstrap['resamples']:,} resamples of "
        f"{bootstrap['number']:,} whole {bootstrap['drawn']}."
    )
    sentences += [f"{note[0].upper()}{note[1:]}." for note in metrics.get("notes", ())]
    return " ".join(sentences)


def _accuracy(metrics: dict) -> list[PageTable]:
    """All metrics over all frames, and over those in which half of the hand or more is hidden."""
    rows = metrics["rows"]
    hidden = {row: values[MAIN_SPLIT] for row, values in rows.items()}
    count = next(iter(hidden.values()))["n"]
    blocks = [("All frames", rows, ALL)]
    if count:
        title = f"The {count:,} frames in which half of the hand or more is hidden"
        blocks.append((title, hidden, MAIN_SPLIT))
    columns, tables = shown_in("report"), []
    head = ["", *(metric.label for metric in columns)]
    for title, values, split in blocks:
        intervals = {row: metrics["intervals"][row][split] for row in values}
        cells = _cells(values, [metric.name for metric in columns], intervals)
        tables.append(PageTable(title, head, [named_row(row, cells[row]) for row in values]))
    return tables


def _by_split(metrics: dict, title: str, metric: str, splits: list[tuple[str, str, int]]) -> PageTable:
    rows = metrics["rows"]
    lines = []
    for split, words, count in splits:
        values = {row: {metric: rows[row]["splits"][split][metric]} for row in rows}
        cells = _cells(values, [metric], {row: metrics["intervals"][row][split] for row in rows})
        lines.append(TableRow(words, [TableCell(f"{count:,}"), *(cells[row][0] for row in rows)]))
    return PageTable(title, ["", "frames", *(charts.row_name(row) for row in rows)], lines)


def _bend_slopes(metrics: dict) -> PageTable:
    """How much of the true bend of each finger the rows predict."""
    rows, names = metrics["rows"], list(BEND_SLOPES.values())
    cells = _cells(rows, names, {row: metrics["intervals"][row][ALL] for row in rows})
    title = "Slope of the predicted bend on the true one (1: right; less: fingers bend too little)"
    return PageTable(title, ["", *BEND_SLOPES], [named_row(row, cells[row]) for row in rows])


def _splits(metrics: dict) -> list[PageTable]:
    """The error by split, that after alignment by how fingers are folded, the lag by speed where it is known,
    and how far fingers bend."""
    known = _known_splits(metrics)
    speeds = [
        split
        for split in known
        if split[0] in SPEEDS
        and any(row["splits"][split[0]]["lag_2d"] is not None for row in metrics["rows"].values())
    ]
    tables = []
    if known:
        tables.append(_by_split(metrics, "", "mpjpe_root", known))
    if speeds:
        tables.append(_by_split(metrics, "Lag in the picture, frames", "lag_2d", speeds))
    changes = [split for split in known if split[0] in FINGER_CHANGES]
    if changes:
        tables.append(_by_split(metrics, "PA-MPJPE, mm, by folded fingers", "pa_mpjpe", changes))
        tables.append(_bend_slopes(metrics))
    return tables


def _known_splits(metrics: dict) -> list[tuple[str, str, int]]:
    """(split, its words, frames) of the splits that have frames."""
    first = next(iter(metrics["rows"].values()))["splits"]
    return [
        (split, SPLIT_NAMES.get(split, split), values["n"]) for split, values in first.items() if values["n"]
    ]


def _changes(metrics: dict) -> dict:
    """Stage 2's differences to the rows of `compared_rows`: tables and a chart, None where there is nothing
    to compare."""
    others = compared_rows(metrics)
    if not others:
        return {"changes": [], "changes_chart": None}
    differences = {other: metrics["differences"][difference_name(other)] for other in others}
    columns = [metric for metric in shown_in("report") if metric.ideal == 0]
    head = ["", *(metric.label for metric in columns)]
    tables = []
    for split, title in ((ALL, "All frames"), (MAIN_SPLIT, "Half of the hand or more hidden")):
        rows = [
            named_row(other, [_difference(values[split][metric.name]) for metric in columns], "against ")
            for other, values in differences.items()
            if values[split]["mpjpe_root"]["value"] is not None
        ]
        if rows:
            tables.append(PageTable(title, head, rows))
    splits = [(ALL, "all frames", 0), *_known_splits(metrics)]
    points = {
        other: [_point(values[split]["mpjpe_root"]) for split, *_ in splits]
        for other, values in differences.items()
    }
    chart = charts.difference_chart(points, [words for _, words, _ in splits])
    return {"changes": tables, "changes_chart": Markup(chart)}


def _difference(difference: dict) -> TableCell:
    value, low, high = (difference[name] for name in ("value", "low", "high"))
    if value is None:
        return TableCell(UNKNOWN)
    bounds = "" if low is None else f"{number(low, True)} … {number(high, True)}"
    return TableCell(number(value, True), bounds, "sure" if excludes_zero(difference) else "")


def _point(difference: dict) -> tuple[float, float, float]:
    value, low, high = (
        np.nan if difference[name] is None else difference[name] for name in ("value", "low", "high")
    )
    return value, low, high
