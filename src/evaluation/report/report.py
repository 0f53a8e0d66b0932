"""One self-contained HTML page about what ran and how well it did: figures, tables, occlusion strips, loss
curves, video."""

import base64
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray

from tempohand.evaluation.report import charts
from tempohand.evaluation.report.page import card, document, section, table
from tempohand.evaluation.report.strips import PICTURE_PX, SHOWN_ROWS, TRUTH, Strip
from tempohand.evaluation.results import (
    LABELS,
    MAIN_SPLIT,
    compared_rows,
    difference_name,
    excludes_zero,
    number,
)
from tempohand.evaluation.splits import ALL, FINGER_SPEED, WRIST_SPEED
from tempohand.writing import write_whole

MAX_VIDEO_BYTES = 8_000_000
FRAMES_PER_STRIP = 8
MUCH_HIDDEN = 0.5
COLUMNS = (
    "mpjpe_root",
    "pa_mpjpe",
    "mpvpe_root",
    "mpjpe",
    "root_error",
    "error_2d",
    "accel_error",
    "jitter",
    "lag_2d",
    "auc_50",
)
SPEEDS = (*WRIST_SPEED, *FINGER_SPEED)
HIGHER_IS_BETTER = ("auc_50",)
BEST, SURE = ' class="best"', ' class="sure"'
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
}


def write_report(
    path: str | Path,
    *,
    title: str,
    runs: Mapping[str, str | Path],
    metrics: dict | None = None,
    strips: Sequence[str | Path] = (),
    videos: Sequence[str | Path] = (),
    stills: Sequence[UInt8[ndarray, "h w 3"]] = (),
    commands: Sequence[str] = (),
    facts: Mapping[str, str] | None = None,
) -> None:
    """Writes the page, atomically.

    runs: name -> run directory (metrics.jsonl, config.yaml). metrics: the content of metrics.json. strips:
    strip_<n>.npz files of an evaluation. videos: mp4 files, embedded when smaller than MAX_VIDEO_BYTES.
    stills: RGB frames of the predicted video. commands: what was run, in order. facts: whatever else to
    state, such as the duration. Raises FileNotFoundError naming a run, strip or video that is missing, before
    anything is written.
    """
    logs = {name: charts.read_log(run) for name, run in runs.items()}
    loaded = [Strip.load(strip) for strip in strips]
    films = [(Path(video), _read_video(video)) for video in videos]
    facts = {**(facts or {}), "machine": machine(), "software": software()}

    body = []
    if metrics:
        body += [_figures(metrics), _accuracy(metrics), _splits(metrics), _changes(metrics)]
    if loaded:
        note = "Crops as the networks see them (left hands mirrored), with true and predicted joints; below each picture its error in mm."
        body.append(section("Through an occlusion", note, *(_strip(strip) for strip in loaded)))
    if films or len(stills):
        body.append(
            section(
                "On video",
                "The predicted hand drawn over the frames.",
                *(_film(*film) for film in films),
                _stills(stills),
            )
        )
    if logs:
        note = "Faint: every logged step; strong: a moving mean. Terms carry their weights."
        body.append(
            section(
                "Training",
                note,
                *(f"<h3>{escape(n)}</h3>" + card(charts.training_chart(log)) for n, log in logs.items()),
            )
        )
    body.append(_what_ran(runs, commands, facts))

    write_whole(path, document(title, _subtitle(metrics), body))


def machine() -> str:
    """Processor, cores, memory and GPU in words."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        models = [
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
        name = models[0] if models else name
    words = [
        name,
        f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores",
    ]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        words.append(f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB")
    words += [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ", ".join(words)


def software() -> str:
    """The versions that matter."""
    return f"Python {sys.version.split()[0]}, PyTorch {torch.__version__}, {platform.system()}"


def _subtitle(metrics: dict | None) -> str:
    if not metrics:
        return "Training only; nothing was evaluated."
    processes = metrics.get("processes", 1)
    left_out = metrics.get("left_out", {}).get("rows", 0)
    evaluated = f"Evaluated on {metrics['n']:,} frames of split '{metrics.get('split', '?')}' by {processes} process{'es' * (processes > 1)}."
    return evaluated + f" {left_out:,} of its rows are bad data and were left out." * bool(left_out)


def _number(value: float | None, name: str) -> str:
    if value is None:
        return "–"
    return (
        f"{value:.3f}"
        if name in HIGHER_IS_BETTER
        else f"{value:.{0 if value >= 1000 else 1 if value >= 100 else 2}f}"
    )


def _interval(bounds: Sequence[float] | None, name: str) -> str:
    return (
        ""
        if bounds is None
        else f'<span class="interval">{_number(bounds[0], name)} – {_number(bounds[1], name)}</span>'
    )


def _cells(rows: dict[str, dict], names: Sequence[str], intervals: dict[str, dict]) -> dict[str, list[str]]:
    """`<td>`s of each row with their intervals (row -> name -> bounds), the best value of each column marked
    as it reads."""
    best = {}
    for name in names:
        shown = [float(_number(values[name], name)) for values in rows.values() if values[name] is not None]
        best[name] = (
            (max(shown) if name in HIGHER_IS_BETTER else min(shown, key=abs)) if len(shown) > 1 else None
        )
    cells = {}
    for row, values in rows.items():
        texts = [_number(values[name], name) for name in names]
        marks = [
            text != "–" and best[name] is not None and float(text) == best[name]
            for name, text in zip(names, texts)
        ]
        bounds = [_interval(intervals[row][name], name) for name in names]
        cells[row] = [
            f"<td{mark * BEST}>{text}{bound}</td>" for text, mark, bound in zip(texts, marks, bounds)
        ]
    return cells


def _row_head(row: str) -> str:
    return (
        f'<span class="dot" style="background:{charts.row_colour(row)}"></span>{escape(charts.row_name(row))}'
    )


def _figures(metrics: dict) -> str:
    """The few numbers that say most."""
    rows = metrics["rows"]
    best = "stage2" if "stage2" in rows else "stage1"
    figures = []

    def add(value: float | None, unit: str, words: str) -> None:
        if value is not None:
            figures.append(
                f'<div class="figure"><b>{value:.1f} <small>{unit}</small></b><span>{escape(words)}</span></div>'
            )

    def less(split: dict[str, dict], name: str, than: str) -> float | None:
        values = [split[row][name] if row in split else None for row in (than, best)]
        return None if None in values or not values[0] else 100 * (1 - values[1] / values[0])

    name = charts.row_name(best)
    add(rows[best]["mpjpe_root"], "mm", f"{name}: root-relative MPJPE over all frames")
    add(less(rows, "mpjpe_root", "mean_pose"), "%", f"less error in {name} than the best constant hand")
    if best == "stage2":
        hidden = {row: values[MAIN_SPLIT] for row, values in rows.items()}
        add(
            less(hidden, "mpjpe_root", "stage1"),
            "%",
            "less error than Stage 1 where half of the hand or more is hidden",
        )
        add(less(rows, "accel_error", "stage1"), "%", "less acceleration error than Stage 1")
    return f'<div class="figures">{"".join(figures)}</div>'


def _accuracy(metrics: dict) -> str:
    def block(rows: dict[str, dict], split: str) -> str:
        cells = _cells(rows, COLUMNS, {row: metrics["intervals"][row][split] for row in rows})
        return card(
            table(["", *(LABELS[name] for name in COLUMNS)], [(_row_head(row), cells[row]) for row in rows])
        )

    rows = metrics["rows"]
    hidden = {row: values[MAIN_SPLIT] for row, values in rows.items()}
    count = next(iter(hidden.values()))["n"]
    tuned = {(metrics.get(key) or {}).get("tuned_on") for key in ("one_euro", "kalman")} - {None}
    chosen = (
        f"chosen on split {tuned.pop()!r}, for accuracy alone or for accuracy and smoothness"
        if tuned
        else "the defaults"
    )
    filters = f" The filters are causal, their parameters {chosen}."
    note = (
        "Millimetres, 2D error in per cent of the edge of the hand's box, acceleration error in mm/frame², jitter (jerk of the prediction "
        "itself) in m/s³, lag (of the joints in the picture; positive: late) in frames; AUC between 0 and 1. Root-relative: minus the wrist; "
        "PA: after the best similarity."
        + " The constant hand knows the box alone and never sees the picture." * ("mean_pose" in rows)
        + filters * any(row not in ("mean_pose", "stage1", "stage2") for row in rows)
        + f" Small figures: {metrics['bootstrap']['level']:.0%} intervals, {metrics['bootstrap']['resamples']:,} resamples of "
        f"{metrics['bootstrap']['number']:,} whole {metrics['bootstrap']['drawn']}."
        + "".join(f" {note[0].upper()}{note[1:]}." for note in metrics.get("notes", ()))
    )
    parts = ["<h3>All frames</h3>", block(rows, ALL)]
    if count:
        parts += [
            f"<h3>The {count:,} frames in which half of the hand or more is hidden</h3>",
            block(hidden, MAIN_SPLIT),
        ]
    return section("Accuracy", note, *parts)


def _by_split(metrics: dict, name: str, splits: list[tuple[str, str, int]]) -> str:
    rows, lines = metrics["rows"], []
    for split, words, count in splits:
        values = {row: {name: rows[row]["splits"][split][name]} for row in rows}
        cells = _cells(values, [name], {row: metrics["intervals"][row][split] for row in rows})
        lines.append((words, [f"<td>{count:,}</td>", *(cells[row][0] for row in rows)]))
    return card(table(["", "frames", *(charts.row_name(row) for row in rows)], lines))


def _splits(metrics: dict) -> str:
    rows, known = metrics["rows"], _known_splits(metrics)
    parts = [_by_split(metrics, "mpjpe_root", known)] if known else []
    speeds = [
        split
        for split in known
        if split[0] in SPEEDS and any(row["splits"][split[0]]["lag_2d"] is not None for row in rows.values())
    ]
    if speeds:
        parts += ["<h3>Lag in the picture, frames</h3>", _by_split(metrics, "lag_2d", speeds)]
    if sum(metrics["hidden_curve"]["n"]):
        parts.append(card(charts.hidden_chart(metrics["hidden_curve"]), "narrow"))
    note = "Root-relative MPJPE in mm by how much of the hand something covers, by distance, and by how fast wrist and fingers truly move."
    return section("Where the error is", note, *parts)


def _known_splits(metrics: dict) -> list[tuple[str, str, int]]:
    """(split, its words, frames) of the splits that have frames."""
    first = next(iter(metrics["rows"].values()))["splits"]
    return [
        (split, escape(SPLIT_NAMES.get(split, split)), values["n"])
        for split, values in first.items()
        if values["n"]
    ]


def _changes(metrics: dict) -> str:
    """Stage 2's differences to Stage 1, to the filter that was better on validation, and to the most accurate
    one."""
    others = compared_rows(metrics)
    if not others:
        return ""
    names = [name for name in COLUMNS if name not in HIGHER_IS_BETTER]
    parts = []
    for split, words in ((ALL, "All frames"), (MAIN_SPLIT, "Half of the hand or more hidden")):
        lines = []
        for other in others:
            values = metrics["differences"][difference_name(other)][split]
            if values["mpjpe_root"]["value"] is not None:
                cells = [_difference(values[name]) for name in names]
                lines.append((f"against {_row_head(other)}", cells))
        if lines:
            parts += [f"<h3>{words}</h3>", card(table(["", *(LABELS[name] for name in names)], lines))]
    splits = [(ALL, "all frames", 0), *_known_splits(metrics)]
    points = {
        other: [
            _point(metrics["differences"][difference_name(other)][split]["mpjpe_root"])
            for split, *_ in splits
        ]
        for other in others
    }
    parts.append(card(charts.difference_chart(points, [words for _, words, _ in splits])))
    note = (
        "Stage 2 minus the other, on the same frames: negative is less error. The intervals pair both rows, sequence by sequence; "
        "bold figures and filled dots: the interval excludes 0."
    )
    return section("What Stage 2 changes", note, *parts)


def _difference(difference: dict) -> str:
    value, low, high = (difference[name] for name in ("value", "low", "high"))
    if value is None:
        return "<td>–</td>"
    bounds = (
        "" if low is None else f'<span class="interval">{number(low, True)} … {number(high, True)}</span>'
    )
    return f"<td{SURE * excludes_zero(difference)}>{number(value, True)}{bounds}</td>"


def _point(difference: dict) -> tuple[float, float, float]:
    value, low, high = (
        np.nan if difference[name] is None else difference[name] for name in ("value", "low", "high")
    )
    return value, low, high


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _image(picture: UInt8[ndarray, "h w 3"], words: str) -> str:
    encoded = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 86])[
        1
    ]
    return f'<img alt="{escape(words, quote=True)}" src="{_data_uri("image/jpeg", encoded.tobytes())}">'


def _strip(strip: Strip) -> str:
    shown = strip.chosen(FRAMES_PER_STRIP)
    rows = [TRUTH, *(row for row in SHOWN_ROWS if row in strip.joints)]
    head = []
    for place in shown:
        hidden = strip.hidden[place]
        words = f"{hidden:.0%} hidden" if np.isfinite(hidden) else ""
        head.append(
            f'<td class="hidden{" much" * bool(hidden >= MUCH_HIDDEN)}">frame {strip.frame[place]}<br>{words}</td>'
        )
    lines = [f"<tr><th></th>{''.join(head)}</tr>"]
    for row in rows:
        name = "true joints" if row == TRUTH else charts.row_name(row)
        cells = []
        for place in shown:
            error = strip.mpjpe_root[row][place] if row != TRUTH else np.nan
            words = f'<div class="mm">{error:.1f} mm</div>' if np.isfinite(error) else ""
            cells.append(
                f"<td>{_image(strip.picture(place, row), f'{name}, frame {strip.frame[place]}')}{words}</td>"
            )
        lines.append(f"<tr><th>{_row_head(row) if row != TRUTH else name}</th>{''.join(cells)}</tr>")
    networks = {
        row: errors for row, errors in strip.mpjpe_root.items() if row != "mean_pose"
    }  # its error would flatten theirs
    chart = charts.strip_chart(strip.frame, strip.hidden, networks, strip.frame[shown])
    return (
        f"<h3>{escape(strip.sequence)}</h3>"
        + card(f'<table class="strip">{"".join(lines)}</table>')
        + card(chart)
    )


def _read_video(path: str | Path) -> bytes | None:
    """The file, or None when it is too large to embed."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no video at '{path}' for the report")
    return path.read_bytes() if path.stat().st_size < MAX_VIDEO_BYTES else None


def _film(path: Path, content: bytes | None) -> str:
    if content is None:
        return f'<p class="note">{escape(path.name)} ({path.stat().st_size / 1e6:.0f} MB) is too large to embed.</p>'
    return card(f'<video controls loop muted playsinline src="{_data_uri("video/mp4", content)}"></video>')


def _stills(stills: Sequence[UInt8[ndarray, "h w 3"]]) -> str:
    images = []
    for place, still in enumerate(stills):
        scale = min(1.0, 3 * PICTURE_PX / max(still.shape[:2]))
        picture = (
            cv2.resize(still, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else still
        )
        images.append(_image(picture, f"predicted frame {place + 1} of {len(stills)}"))
    return card(f'<div class="stills">{"".join(images)}</div>') if images else ""


def _what_ran(runs: Mapping[str, str | Path], commands: Sequence[str], facts: Mapping[str, str]) -> str:
    parts = [
        card(
            "<dl>"
            + "".join(
                f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items()
            )
            + "</dl>"
        )
    ]
    if commands:
        parts.append(card("<pre>" + escape("\n".join(commands)) + "</pre>"))
    for name, run in runs.items():
        config = Path(run) / "config.yaml"
        if config.is_file():
            text = escape(config.read_text(encoding="utf-8"))
            parts.append(
                f"<details><summary>configuration of {escape(name)}</summary>{card(f'<pre>{text}</pre>')}</details>"
            )
    return section("What ran", "Enough to run it again.", *parts)
