"""What an evaluation leaves behind: metrics.json, a table to read, and the strips of frames that the report draws."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tempohand.batch import ClipBatch
from tempohand.evaluation.evaluator import SequenceResult
from tempohand.evaluation.scores import METRICS, ScoreBoard, without_nan
from tempohand.evaluation.splits import ALL, CURVE, HIDDEN_CURVE_EDGES, SPLITS

METRICS_NAME = "metrics.json"
MAIN_SPLIT = "hidden_50"
LABELS = {
    "mpjpe": "MPJPE",
    "mpjpe_root": "root-rel. MPJPE",
    "pa_mpjpe": "PA-MPJPE",
    "pa_mpjpe_reflect": "PA-MPJPE (refl.)",
    "mpvpe_root": "root-rel. MPVPE",
    "root_error": "root error",
    "accel_error": "accel. error",
    "accel_error_root": "root-rel. accel.",
    "auc_50": "AUC 0-50 mm",
}
STRIP_REACH = 24  # frames either side of the most hidden one


def to_json(board: ScoreBoard, **about) -> dict:
    """The content of metrics.json: `n`, `rows` -> row -> metrics of all frames, `hidden_50`, `splits`; `hidden_curve`; and `about`.

    A metric that nothing valid speaks for is None: strict JSON has no nan.
    """
    result = board.compute()
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
    }
    units = dict.fromkeys(METRICS, "mm") | {"auc_50": "1", "accel_error": "mm/frame^2", "accel_error_root": "mm/frame^2"}
    return without_nan({"n": first[ALL]["n"], **about, "units": units, "rows": rows, "hidden_curve": curve})


def write_json(path: str | Path, content: dict) -> None:
    """Strict JSON, atomically: the file is whole or not there."""
    path, part = Path(path), Path(f"{path}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(part, path)


def _table(title: str, rows: dict[str, dict], names: tuple[str, ...]) -> str:
    width = max(len(row) for row in rows) + 2
    lines = [title, " " * width + "".join(f"{LABELS[name]:>18}" for name in names)]
    for row, values in rows.items():
        cells = []
        for name in names:
            value = values[name]
            cells.append("-" if value is None else f"{value:.3f}" if name == "auc_50" else f"{value:.2f}")
        lines.append(f"{row:<{width}}" + "".join(f"{cell:>18}" for cell in cells))
    return "\n".join(lines)


def format_tables(content: dict) -> str:
    """The tables of metrics.json for a terminal: all frames, the half-hidden ones, and one metric over all splits."""
    rows = content["rows"]
    blocks = [_table(f"all {content['n']} frames (mm; accelerations mm/frame^2)", rows, METRICS)]
    hidden = {row: values[MAIN_SPLIT] for row, values in rows.items()}
    n = next(iter(hidden.values()))["n"]
    blocks.append(
        _table(f"the {n} frames in which half of the hand or more is hidden", hidden, METRICS) if n else "no frame is half hidden"
    )
    first = next(iter(rows.values()))["splits"]
    width = max(len(name) for name in first) + 2
    lines = [f"root-rel. MPJPE by split\n{'':<{width}}{'frames':>10}" + "".join(f"{row:>18}" for row in rows)]
    for split, values in first.items():
        cells = [rows[row]["splits"][split]["mpjpe_root"] for row in rows]
        lines.append(f"{split:<{width}}{values['n']:>10}" + "".join(f"{'-' if cell is None else f'{cell:.2f}':>18}" for cell in cells))
    return "\n\n".join([*blocks, "\n".join(lines)])


@dataclass(frozen=True)
class StripChoice:
    """Frames to keep for the report: the rows of a stretch of one sequence."""

    sequence: str
    rows: Int[np.ndarray, "n"]


def choose_strips(
    hidden: Float[np.ndarray, "n"], starts: Int[np.ndarray, "n"], names: np.ndarray, count: int, reach: int = STRIP_REACH
) -> list[StripChoice]:
    """The `count` sequences with the clearest occlusion, each cut to `reach` frames either side of its most hidden frame.

    Clearest: the hidden fraction at the peak minus its mean at the two ends of the stretch. Columns are those of the whole split. Where
    the fraction is unknown everywhere, the middle of the first sequences.
    """
    ranked = []
    for first in np.unique(starts):
        rows = np.flatnonzero(starts == first) if len(starts) < 100_000 else np.arange(first, first + (starts[first:] == first).sum())
        values = np.nan_to_num(hidden[rows])
        peak = int(values.argmax()) if values.max() > 0 else len(rows) // 2
        stretch = slice(max(peak - reach, 0), peak + reach + 1)
        clear = values[peak] - (values[stretch][0] + values[stretch][-1]) / 2
        if len(rows) > 2:
            ranked.append((-clear, int(first), rows[stretch]))
    return [StripChoice(str(names[first]), rows) for _, first, rows in sorted(ranked, key=lambda item: item[:2])[:count]]


class StripKeeper:
    """Keeps crops and results of chosen rows while an evaluation runs, and writes each stretch as strip_<number>.npz."""

    def __init__(self, choices: list[StripChoice], out: str | Path):
        self.choices, self.out = choices, Path(out)
        self._wanted = {int(row) for choice in choices for row in choice.rows}
        self._crops: dict[int, dict[str, np.ndarray]] = {}

    def observe(self, batch: ClipBatch) -> None:
        """Keeps the chosen frames' crops and cameras."""
        for place, row in enumerate(batch.row.tolist()):
            if row in self._wanted:
                parts = {"image": batch.image, "focal": batch.focal, "princpt": batch.princpt}
                self._crops[row] = {name: value[place, -1].cpu().numpy() for name, value in parts.items()}

    def watching(self, batches: Iterable[ClipBatch]) -> Iterator[ClipBatch]:
        """The same batches, observed in passing."""
        for batch in batches:
            self.observe(batch)
            yield batch

    def watch(self, result: SequenceResult) -> None:
        """Writes the stretches that lie in an evaluated sequence."""
        place = {int(row): index for index, row in enumerate(result.rows.tolist())}
        for number, choice in enumerate(self.choices):
            if int(choice.rows[0]) in place:
                self._write(number, choice, result, torch.tensor([place[int(row)] for row in choice.rows]))

    def _write(self, number: int, choice: StripChoice, result: SequenceResult, chosen: Tensor) -> None:
        crops = [self._crops.pop(int(row)) for row in choice.rows]
        rows = list(result.hands)
        errors = torch.stack([result.errors[row].errors["mpjpe_root"].value[chosen] for row in rows])
        known = result.errors[rows[0]].errors["mpjpe_root"].valid[chosen]
        content = {name: np.stack([crop[name] for crop in crops]) for name in crops[0]}
        content |= {
            "sequence": np.array(choice.sequence),
            "rows": np.array(rows),
            "joints": torch.stack([result.hands[row].joints[chosen] for row in rows]).float().numpy(),
            "mpjpe_root": errors.masked_fill(~known, float("nan")).float().numpy(),
            "true_joints": result.true.joints[chosen].numpy(),
            "true_mask": result.true.joints_mask[chosen].numpy(),
            "hidden": result.true.hidden[chosen].numpy(),
            "frame": result.true.frame[chosen].numpy(),
            "time": result.true.time[chosen].numpy(),
        }
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / f"strip_{number}.npz"
        with open(f"{path}.part", "wb") as file:
            np.savez_compressed(file, **content)
        os.replace(f"{path}.part", path)
