"""One self-contained HTML page about what ran and how well it did: figures, tables, occlusion strips, loss
curves, video."""

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from markupsafe import Markup
from numpy import ndarray

from tempohand.evaluation.report import charts
from tempohand.evaluation.report.accuracy import evaluation_parts
from tempohand.evaluation.report.page import data_uri, jpeg_uri, render_page
from tempohand.evaluation.report.strips import PICTURE_PX, SHOWN_ROWS, TRUTH, Strip
from tempohand.writing import write_whole

MAX_VIDEO_BYTES = 8_000_000
FRAMES_PER_STRIP = 8
MUCH_HIDDEN = 0.5


@dataclass
class ReportContent:
    """What a report is about.

    runs: name -> run directory (metrics.jsonl, config.yaml). metrics: the content of metrics.json. strips:
    strip_<n>.npz files of an evaluation. videos: mp4 files, embedded when smaller than MAX_VIDEO_BYTES.
    stills: RGB frames of the predicted video. commands: what was run, in order. facts: whatever else to
    state, such as the duration.
    """

    title: str
    runs: Mapping[str, str | Path]
    metrics: dict | None = None
    strips: Sequence[str | Path] = ()
    videos: Sequence[str | Path] = ()
    stills: Sequence[UInt8[ndarray, "h w 3"]] = ()
    commands: Sequence[str] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


def write_report(path: str | Path, content: ReportContent) -> None:
    """Writes the page, atomically. Raises FileNotFoundError naming a run, strip or video that is missing,
    before anything is written."""
    logs = {name: charts.read_log(run) for name, run in content.runs.items()}
    page = render_page(
        "report.html",
        title=content.title,
        subtitle=_subtitle(content.metrics),
        metrics=evaluation_parts(content.metrics) if content.metrics else None,
        strips=[_strip(Strip.load(strip)) for strip in content.strips],
        videos=[_video(Path(video)) for video in content.videos],
        stills=[jpeg_uri(_at_most(still, 3 * PICTURE_PX)) for still in content.stills],
        training=[(name, Markup(charts.training_chart(log))) for name, log in logs.items()],
        facts=list({**content.facts, "machine": machine(), "software": software()}.items()),
        commands="\n".join(content.commands),
        configurations=_configurations(content.runs),
    )
    write_whole(path, page)


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
    evaluated = (
        f"Evaluated on {metrics['n']:,} frames of split '{metrics.get('split', '?')}' by "
        f"{processes} process{'es' * (processes > 1)}."
    )
    return evaluated + f" {left_out:,} of its rows are bad data and were left out." * bool(left_out)


def _strip(strip: Strip) -> dict:
    """What report.html shows of a strip: its frames, rows of pictures, and a chart."""
    shown = strip.chosen(FRAMES_PER_STRIP)
    frames = []
    for place in shown:
        hidden = strip.hidden[place]
        words = f"{hidden:.0%} hidden" if np.isfinite(hidden) else ""
        much = bool(hidden >= MUCH_HIDDEN)
        frames.append({"number": strip.frame[place], "hidden": words, "much_hidden": much})
    rows = []
    for row in (TRUTH, *(row for row in SHOWN_ROWS if row in strip.joints)):
        pictures = []
        for place in shown:
            error = strip.mpjpe_root[row][place] if row != TRUTH else np.nan
            pictures.append(
                {
                    "frame": strip.frame[place],
                    "uri": jpeg_uri(strip.picture(place, row)),
                    "error": f"{error:.1f}" if np.isfinite(error) else "",
                }
            )
        name = "true joints" if row == TRUTH else charts.row_name(row)
        colour = "" if row == TRUTH else charts.row_colour(row)
        rows.append({"name": name, "colour": colour, "prefix": "", "pictures": pictures})
    # The constant hand's error would flatten those of the networks.
    networks = {row: errors for row, errors in strip.mpjpe_root.items() if row != "mean_pose"}
    chart = charts.strip_chart(strip.frame, strip.hidden, networks, strip.frame[shown])
    return {"sequence": strip.sequence, "frames": frames, "rows": rows, "chart": Markup(chart)}


def _video(path: Path) -> dict:
    """A video inside the page; without `uri` where it is too large."""
    if not path.is_file():
        raise FileNotFoundError(f"no video at '{path}' for the report")
    size = path.stat().st_size
    uri = data_uri("video/mp4", path.read_bytes()) if size < MAX_VIDEO_BYTES else None
    return {"name": path.name, "megabytes": f"{size / 1e6:.0f}", "uri": uri}


def _at_most(picture: UInt8[ndarray, "h w 3"], edge: int) -> UInt8[ndarray, "_ _ 3"]:
    """The picture, made smaller where its longer edge is above `edge` px."""
    scale = min(1.0, edge / max(picture.shape[:2]))
    if scale == 1:
        return picture
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _configurations(runs: Mapping[str, str | Path]) -> list[tuple[str, str]]:
    """(run, the text of its config.yaml) of the runs that have one."""
    paths = [(name, Path(run) / "config.yaml") for name, run in runs.items()]
    return [(name, path.read_text(encoding="utf-8")) for name, path in paths if path.is_file()]
