"""The report's charts: matplotlib figures as inline SVG whose colours follow the page's light or dark
theme."""

import io
import json
import re
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from tempohand.evaluation.metrics.registry import METRICS

# Colours that stand for the page's CSS variables until the SVG is written.
INK = "#010203"
FAINT = "#040506"
GRID = "#070809"
_VARIABLES = {INK: "var(--ink)", FAINT: "var(--faint)", GRID: "var(--line)"}

ROW_NAMES = {
    "mean_pose": "constant hand",
    "landmarks": "landmarks alone",
    "landmarks_fit": "hand fitted to landmarks",
    "stage1": "Stage 1",
    "stage1_one_euro": "Stage 1 + One-Euro",
    "stage1_kalman": "Stage 1 + Kalman",
    "stage1_accurate": "Stage 1, filtered for accuracy",
    "stage2": "Stage 2",
}
ROW_COLOURS = {
    "mean_pose": "#8d93a1",
    "landmarks": "#4db6c6",
    "landmarks_fit": "#d0569d",
    "stage1": "#3d8bd4",
    "stage1_one_euro": "#8f7be0",
    "stage1_kalman": "#2aa17c",
    "stage1_accurate": "#c9a227",
    "stage2": "#e8612c",
}
_OTHER_COLOURS = ("#5e7d92", "#a3694b", "#6c8f3c")
TERM_COLOURS = (
    "#3d8bd4",
    "#e8612c",
    "#2aa17c",
    "#8f7be0",
    "#c9a227",
    "#d0569d",
    "#4db6c6",
    "#8d93a1",
    "#a3694b",
    "#6c8f3c",
)
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "svg.fonttype": "none",  # text stays text, in the page's font
    "text.color": INK,
    "axes.labelcolor": FAINT,
    "axes.edgecolor": GRID,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "legend.fontsize": 8,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "lines.linewidth": 1.6,
}


def row_name(row: str) -> str:
    """A row of metrics.json as the report calls it."""
    return ROW_NAMES.get(row, row)


def row_colour(row: str) -> str:
    """The colour of a row of metrics.json, the same in every chart."""
    return ROW_COLOURS.get(row, _OTHER_COLOURS[sum(map(ord, row)) % len(_OTHER_COLOURS)])


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg)  # inline in HTML none is needed
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'class="chart"', svg, count=1)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px var(--font)", svg)


def _figure(panels: int, width: float, height: float) -> tuple[Figure, list]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(1, panels)))


def read_log(run: str | Path) -> dict[str, dict[str, np.ndarray]]:
    """split -> name -> [[step, value], ...] of a run's metrics.jsonl, without the values that are null.

    Raises FileNotFoundError when the run has none, ValueError naming the line that is not JSON.
    """
    path = Path(run) / "metrics.jsonl"
    if not path.is_file():
        raise FileNotFoundError(
            f"the run at '{run}' has no metrics.jsonl: give the run directory that script/train.py wrote"
        )
    series: dict[str, dict[str, list]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            raise ValueError(f"line {number} of '{path}' is not JSON") from None
        split = series.setdefault(entry.pop("split"), {})
        step = entry.pop("step")
        for name, value in entry.items():
            if value is not None:
                split.setdefault(name, []).append((step, value))
    return {
        split: {name: np.array(values, float) for name, values in named.items()}
        for split, named in series.items()
    }


def smoothed(values: np.ndarray, share: float = 0.04) -> np.ndarray:
    """The mean over a centred window of about `share` of the values, shorter at the ends."""
    reach = int(len(values) * share / 2)
    total = np.concatenate([[0.0], np.cumsum(values)])
    low, high = (
        np.maximum(np.arange(len(values)) - reach, 0),
        np.minimum(np.arange(len(values)) + reach + 1, len(values)),
    )
    return (total[high] - total[low]) / (high - low)


def _line(axis, series: np.ndarray, colour: str, label: str, smooth: bool = True) -> None:
    if smooth and len(series) > 20:
        axis.plot(series[:, 0], series[:, 1], color=colour, alpha=0.22, linewidth=0.8)
        axis.plot(series[:, 0], smoothed(series[:, 1]), color=colour, label=label)
    else:
        axis.plot(
            series[:, 0],
            series[:, 1],
            color=colour,
            label=label,
            marker="o" if len(series) < 40 else None,
            markersize=3,
        )


def training_chart(log: dict[str, dict[str, np.ndarray]]) -> str:
    """Loss, weighted terms and validation errors of one run over its steps."""
    train, held_out = log.get("train", {}), log.get("val", {})
    with matplotlib.rc_context(_STYLE):
        figure, (total, terms, errors) = _figure(3, 11.0, 2.9)
        for name, series, colour in (
            ("training", train.get("loss"), "#3d8bd4"),
            ("validation", held_out.get("loss"), "#e8612c"),
        ):
            if series is not None:
                _line(total, series, colour, name, smooth=name == "training")
        named = {
            name.removeprefix("loss/"): series for name, series in train.items() if name.startswith("loss/")
        }
        largest_first = sorted(named.items(), key=lambda item: -item[1][-1, 1])
        for (name, series), colour in zip(largest_first, TERM_COLOURS):
            _line(terms, series, colour, name)
        for name, colour in (("mpjpe_root", "#e8612c"), ("pa_mpjpe", "#8f7be0")):
            if name in held_out:
                _line(errors, held_out[name], colour, METRICS[name].label, smooth=False)
        for axis, title in (
            (total, "loss"),
            (terms, "training terms, weighted"),
            (errors, "validation error, mm"),
        ):
            axis.set_title(title)
            axis.set_xlabel("optimizer step")
            if axis.lines:
                axis.legend(loc="upper right", ncols=2 if len(axis.get_legend_handles_labels()[0]) > 4 else 1)
        for axis in (total, terms):
            if axis.lines and all((np.asarray(line.get_ydata()) > 0).all() for line in axis.lines):
                axis.set_yscale("log")
        if errors.lines:
            errors.set_ylim(bottom=0)
        return _svg(figure)


def hidden_chart(curve: dict) -> str:
    """Wrist-relative error over the hidden fraction, from metrics.json's hidden_curve, with its intervals and
    frames per point."""
    edges, counts = np.array(curve["edges"]), np.array(curve["n"])
    centre = (edges[1:] + edges[:-1]) / 2 * 100
    with matplotlib.rc_context(_STYLE):
        figure, (axis,) = _figure(1, 7.2, 3.2)
        share = axis.twinx()
        share.bar(centre, counts, width=8.5, color=GRID, zorder=0)
        share.set_ylim(0, max(counts.max(), 1) * 4)
        share.axis("off")
        axis.set_zorder(1)
        axis.patch.set_visible(False)
        for row, values in curve["mpjpe_root"].items():
            y = np.array([np.nan if value is None else value for value in values], float)
            axis.plot(centre, y, color=row_colour(row), label=row_name(row), marker="o", markersize=3.5)
            bounds = [(np.nan, np.nan) if pair is None else pair for pair in curve["interval"][row]]
            axis.fill_between(
                centre, *np.array(bounds, float).T, color=row_colour(row), alpha=0.09, linewidth=0
            )
        for x, count in zip(centre, counts):
            if count:
                share.text(x, count, f"{count}", ha="center", va="bottom", fontsize=7, color=FAINT)
        axis.set_xlim(0, 100)
        axis.set_ylim(bottom=0)
        axis.set_xlabel("hand hidden, % (bars: frames)")
        axis.set_ylabel("root-relative MPJPE, mm")
        figure.legend(*axis.get_legend_handles_labels(), ncols=5, loc="outside upper left")
        return _svg(figure)


def difference_chart(differences: dict[str, list[tuple[float, float, float]]], names: list[str]) -> str:
    """Differences to other rows with their intervals, a line per name: other row -> [(value, low, high),
    ...], nan where unknown.

    Filled where the interval excludes 0.
    """
    with matplotlib.rc_context(_STYLE):
        figure, (axis,) = _figure(1, 9.0, 0.9 + 0.3 * len(names))
        shifts = np.linspace(-0.16, 0.16, len(differences)) if len(differences) > 1 else [0.0]
        for (row, values), shift in zip(differences.items(), shifts):
            value, low, high = np.array(values, float).T
            y = np.arange(len(names)) + shift
            sure = (low > 0) | (high < 0)
            axis.hlines(y, low, high, color=row_colour(row), linewidth=1.6)
            axis.scatter(value[~sure], y[~sure], s=18, facecolors="none", edgecolors=row_colour(row))
            axis.scatter(value[sure], y[sure], s=18, color=row_colour(row))
            axis.plot(
                [], [], color=row_colour(row), marker="o", markersize=4, label=f"against {row_name(row)}"
            )
        axis.axvline(0, color=FAINT, linewidth=0.9)
        axis.set_yticks(range(len(names)), names)
        axis.grid(axis="y", visible=False)
        axis.invert_yaxis()
        axis.set_xlabel("difference in root-relative MPJPE, mm (left: less error)")
        figure.legend(*axis.get_legend_handles_labels(), ncols=3, loc="outside upper left")
        return _svg(figure)


def strip_chart(
    frame: np.ndarray, hidden: np.ndarray, errors: dict[str, np.ndarray], shown: np.ndarray
) -> str:
    """Error frame by frame over one stretch, the hidden fraction shaded behind it; `shown`: the frames that
    have pictures."""
    with matplotlib.rc_context(_STYLE):
        figure, (axis,) = _figure(1, 11.0, 2.3)
        behind = axis.twinx()
        behind.fill_between(frame, 0, np.nan_to_num(hidden) * 100, color=GRID, linewidth=0, zorder=0)
        behind.set_ylim(0, 100)
        behind.set_ylabel("hidden, %")
        behind.grid(False)
        behind.spines["right"].set_visible(False)
        axis.set_zorder(1)
        axis.patch.set_visible(False)
        for row, values in errors.items():
            axis.plot(frame, values, color=row_colour(row), label=row_name(row))
        for place in shown:
            axis.axvline(place, color=FAINT, linewidth=0.6, linestyle=(0, (2, 3)))
        axis.set_xlim(frame.min(), frame.max() if len(frame) > 1 else frame.min() + 1)
        axis.set_ylim(bottom=0)
        axis.set_xlabel("frame")
        axis.set_ylabel("root-rel. MPJPE, mm")
        figure.legend(*axis.get_legend_handles_labels(), ncols=5, loc="outside upper left")
        return _svg(figure)
