"""What an evaluation leaves behind: metrics.json, a table to read, and the strips of frames that the report
draws."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tempohand.batch import ClipBatch
from tempohand.console import text_table
from tempohand.evaluation.bootstrap import LEVEL, Bootstrap
from tempohand.evaluation.evaluator import SequenceResult
from tempohand.evaluation.scores import LAGS, METRICS, ScoreBoard, without_nan
from tempohand.evaluation.splits import ALL, CURVE, FINGER_SPEED, HIDDEN_CURVE_EDGES, SPLITS, WRIST_SPEED
from tempohand.evaluation.sums import RAW
from tempohand.writing import whole, write_whole

METRICS_NAME = "metrics.json"
MAIN_SPLIT = "hidden_50"
LABELS = {
    "mpjpe": "MPJPE",
    "mpjpe_root": "root-rel. MPJPE",
    "pa_mpjpe": "PA-MPJPE",
    "pa_mpjpe_reflect": "PA-MPJPE (refl.)",
    "mpvpe_root": "root-rel. MPVPE",
    "root_error": "root error",
    "error_2d": "2D error",
    "accel_error": "accel. error",
    "accel_error_root": "root-rel. accel.",
    "jitter": "jitter",
    "jitter_root": "root-rel. jitter",
    "auc_50": "AUC 0-50 mm",
    "lag_2d": "lag",
    "lag_wrist": "wrist's lag",
}
UNITS = (
    dict.fromkeys(METRICS, "mm")
    | {"auc_50": "1"}
    | dict.fromkeys(("accel_error", "accel_error_root"), "mm/frame^2")
)
UNITS |= (
    dict.fromkeys(("jitter", "jitter_root"), "m/s^3")
    | {"error_2d": "% of the box's edge"}
    | dict.fromkeys(LAGS, "frames")
)
MAIN_METRICS = (
    "mpjpe_root",
    "pa_mpjpe",
    "mpjpe",
    "root_error",
    "error_2d",
    "accel_error",
    "jitter",
    "lag_2d",
)
COMPARED = "stage2"  # whose differences to the other rows are of interest
STRIP_REACH = 24  # frames either side of the most hidden one


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
        "units": UNITS,
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
    """The rows whose differences to COMPARED are shown: Stage 1, and what filters make of it at best."""
    candidates = ("stage1", content.get("best_filter"), "stage1_accurate")
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
        lines.append(
            [
                row,
                *(
                    number(values[name]) + bounds_text(*(bounds[name] or (None, None)))
                    for name in MAIN_METRICS
                ),
            ]
        )
    return f"{title}\n{text_table(['', *(LABELS[name] for name in MAIN_METRICS)], lines)}"


def _by_split(content: dict, title: str, metric: str, splits: Iterable[str]) -> str:
    rows = [values["splits"] for values in content["rows"].values()]
    lines = [
        [split, f"{rows[0][split]['n']}", *(number(row[split][metric]) for row in rows)] for split in splits
    ]
    return f"{title}\n{text_table(['', 'frames', *content['rows']], lines)}"


def _difference_table(content: dict, other: str) -> str:
    names, counts = MAIN_METRICS, {ALL: content["n"], MAIN_SPLIT: content["rows"][other][MAIN_SPLIT]["n"]}
    lines = []
    for split, values in content["differences"][difference_name(other)].items():
        n = counts.get(split, content["rows"][other]["splits"].get(split, {}).get("n"))
        if n:
            cells = [
                number(values[name]["value"], True)
                + bounds_text(values[name]["low"], values[name]["high"], True)
                for name in names
            ]
            marks = ["* " if excludes_zero(values[name]) else "" for name in names]
            lines.append([split, f"{n}", *(mark + cell for cell, mark in zip(cells, marks))])
    title = f"{difference_name(other)}, negative: {COMPARED} is better (*: the interval excludes 0)"
    return f"{title}\n{text_table(['', 'frames', *(LABELS[name] for name in names)], lines)}"


def format_tables(content: dict) -> str:
    """metrics.json for a terminal: all frames, the half-hidden ones, one metric over all splits, and the
    differences that count."""
    rows, level = content["rows"], content["bootstrap"]["level"]
    drawn = f"{content['bootstrap']['number']} {content['bootstrap']['drawn']}"
    title = (
        f"all {content['n']} frames (mm; 2D % of the box's edge, acceleration mm/frame^2, jitter m/s^3, "
        f"lag frames; {level:.0%} intervals: paired bootstrap over {drawn})"
    )
    blocks = [_main_table(content, title, ALL)]
    n = next(iter(rows.values()))[MAIN_SPLIT]["n"]
    half = f"the {n} frames in which half of the hand or more is hidden"
    blocks.append(_main_table(content, half, MAIN_SPLIT) if n else "no frame is half hidden")
    splits = next(iter(rows.values()))["splits"]
    blocks.append(_by_split(content, "root-rel. MPJPE by split", "mpjpe_root", splits))
    blocks.append(
        _by_split(content, "lag in the picture by speed, frames", "lag_2d", (*WRIST_SPEED, *FINGER_SPEED))
    )
    losses = content.get("test_loss", {}).items()
    unknown = "unknown: its checkpoint does not say the weights that it was trained with"
    blocks += [f"test loss of {row}: {unknown if value is None else number(value)}" for row, value in losses]
    blocks += [f"boxes: {content['boxes']}"] if content.get("boxes") else []
    return "\n\n".join([*blocks, *(_difference_table(content, other) for other in compared_rows(content))])


@dataclass(frozen=True)
class StripChoice:
    """Frames to keep for the report: the rows of a stretch of one sequence."""

    sequence: str
    rows: Int[np.ndarray, "n"]


def choose_strips(
    hidden: Float[np.ndarray, "n"],
    starts: Int[np.ndarray, "n"],
    names: np.ndarray,
    count: int,
    reach: int = STRIP_REACH,
) -> list[StripChoice]:
    """The `count` sequences with the clearest occlusion, each cut to `reach` frames either side of its most
    hidden frame.

    Clearest: the hidden fraction at the peak minus its mean at the two ends of the stretch. Columns are those
    of the whole split. Where the fraction is unknown everywhere, the middle of the first sequences.
    """
    ranked = []
    for first in np.unique(starts):
        rows = (
            np.flatnonzero(starts == first)
            if len(starts) < 100_000
            else np.arange(first, first + (starts[first:] == first).sum())
        )
        values = np.nan_to_num(hidden[rows])
        peak = int(values.argmax()) if values.max() > 0 else len(rows) // 2
        stretch = slice(max(peak - reach, 0), peak + reach + 1)
        clear = values[peak] - (values[stretch][0] + values[stretch][-1]) / 2
        if len(rows) > 2:
            ranked.append((-clear, int(first), rows[stretch]))
    return [
        StripChoice(str(names[first]), rows)
        for _, first, rows in sorted(ranked, key=lambda item: item[:2])[:count]
    ]


class StripKeeper:
    """Keeps crops and results of chosen rows while an evaluation runs, and writes each stretch as
    strip_<number>.npz."""

    def __init__(self, choices: list[StripChoice], out: str | Path):
        self.choices, self.out = choices, Path(out)
        self._wanted = {int(row) for choice in choices for row in choice.rows}
        self._crops: dict[int, dict[str, np.ndarray]] = {}

    def observe(self, batch: ClipBatch) -> None:
        """Keeps the chosen frames' crops and cameras, of a batch on the CPU."""
        for place, row in enumerate(batch.row.tolist()):
            if row in self._wanted:
                self._crops[row] = {
                    name: getattr(batch.frames, name)[place].numpy().copy()
                    for name in ("image", "focal", "princpt")
                }

    def watching(self, batches: Iterable[ClipBatch]) -> Iterator[ClipBatch]:
        """The same batches, observed in passing."""
        for batch in batches:
            self.observe(batch)
            yield batch

    def watch(self, result: SequenceResult) -> None:
        """Writes the stretches that lie in an evaluated sequence."""
        place = {int(row): index for index, row in enumerate(result.rows.tolist())}
        for number, choice in enumerate(self.choices):
            rows = [
                int(row) for row in choice.rows if int(row) in place
            ]  # others were left out, or lie in other sequences
            if rows:
                self._write(number, choice.sequence, rows, result, torch.tensor([place[row] for row in rows]))

    def _write(
        self, number: int, sequence: str, shown: list[int], result: SequenceResult, chosen: Tensor
    ) -> None:
        crops = [self._crops.pop(row) for row in shown]
        rows = list(result.hands)
        errors = torch.stack([result.errors[row].errors["mpjpe_root"].value[chosen] for row in rows])
        known = result.errors[rows[0]].errors["mpjpe_root"].valid[chosen]
        content = {name: np.stack([crop[name] for crop in crops]) for name in crops[0]}
        content |= {
            "sequence": np.array(sequence),
            "rows": np.array(rows),
            "joints": torch.stack([result.hands[row].joints[chosen] for row in rows]).float().numpy(),
            "mpjpe_root": errors.masked_fill(~known, float("nan")).float().numpy(),
            "true_joints": result.true.joints[chosen].numpy(),
            "true_mask": result.true.joints_mask[chosen].numpy(),
            "hidden": result.true.hidden[chosen].numpy(),
            "frame": result.true.frame[chosen].numpy(),
            "time": result.true.time[chosen].numpy(),
        }
        with whole(self.out / f"strip_{number}.npz") as part, part.open("wb") as file:
            np.savez_compressed(file, **content)
