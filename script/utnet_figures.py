"""What depth is worth to UTNet, and what its refinement is: short trainings of one budget each, and every row
scored on the same frames of the test split.

    python script/prepare.py --config-name=synthetic-rgbd out=data/rgbd
    python script/utnet_figures.py

One training after the other, one process of one thread each. Interrupted, it goes on where it was.
"""

import argparse
import copy
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from steps import Steps, training

from tempohand.assemble.data import plain_view
from tempohand.assemble.evaluation import constant_hand_of
from tempohand.batch import ClipBatch, HandPrediction
from tempohand.console import run_clearly, text_table
from tempohand.data.loader import ClipDataset, evaluation_batches
from tempohand.data.table import FrameTable
from tempohand.evaluation.bootstrap import Bootstrap
from tempohand.evaluation.evaluator import PerFrame, TruthKeeper, predict_sequences, score_sequences
from tempohand.evaluation.scores import ScoreBoard
from tempohand.evaluation.splits import ALL
from tempohand.model.network import Network
from tempohand.model.registry import load_network

ROOT = Path("outputs/utnet-figures")
DATA = Path("data/rgbd")
STEPS = 600
# Run -> its configuration, and what it has of its own.
RUNS = {
    "rgbd": ["utnet-tiny"],
    "rgb": ["utnet-tiny", "network.fusion.dropout=1"],
    "coarse": ["utnet-tiny", "network.refinement.kind=null"],
    "max": ["utnet-tiny", "network.refinement.kind=max"],
    # PoseNet on the same frozen backbone, as many pixels, about as large, in the same views.
    "posenet": [
        "stage1-small",
        "data=table",
        "tokens=online",
        *(f"network.spatial.{size}" for size in ("width=128", "decoder.dim=128", "decoder.mlp=256")),
        *("network.spatial.heatmap.upright=false", "network.spatial.side=false"),
        *(f"view.augmentation.{name}" for name in ("upright=0", "roll=10", "scale=0.15", "shift=0.06")),
        *("view.augmentation.mirror=0", "view.augmentation.photometric.probability=0.25"),
    ],
}
# What a column says -> the frames that it is of, and the metric.
FIGURES = {
    "root-relative": (ALL, "mpjpe_root"),
    "PA": (ALL, "pa_mpjpe"),
    "camera space": (ALL, "mpjpe"),
    "camera space, nothing hidden": ("hidden_0", "mpjpe"),
}
MISSING = 0.3  # of the frames, in one row, have no depth
COMPARED = (
    ("RGB-D", "RGB alone"),
    ("RGB-D, depth dropped", "RGB alone"),
    ("RGB-D", "RGB-D, its coarse hand"),
    ("RGB-D, max pooling", "RGB-D, max pooling, its coarse hand"),
    ("RGB-D", "RGB-D, no refinement"),
    ("RGB-D", "RGB-D, max pooling"),
)
TIMED = 20  # passes of one frame


def train(steps: Steps, runs: Collection[str], count: int) -> None:
    """Some of the runs, `count` steps of 16 crops each."""
    shared = [f"data.root={DATA}", "data.workers=1", "data.validation_rows=240", "optim.batch_size=16"]
    budget = [f"optim.steps={count}", f"optim.warmup={count // 10}", "optim.ema=0.99"]
    often = [f"log.validate_every={count // 2}", f"log.checkpoint_every={count // 2}"]
    for name in runs:
        config, *own = RUNS[name]
        settings = [*shared, *budget, *often, f"out={ROOT / name}", *own]
        steps.run(name, *training(config, *settings, precision="no", processes=1))


def shown(network: Network, hidden: Collection[str] = (), missing: np.ndarray | None = None) -> PerFrame:
    """A network that is not shown some inputs, or no depth in the rows that are `missing`."""

    def predict(batch: ClipBatch) -> HandPrediction:
        frames = batch.frames.without(hidden)
        if missing is not None:
            kept = torch.from_numpy(~missing[batch.row.numpy()])
            frames = replace(frames, depth=frames.depth * kept.view(-1, 1, 1, 1))
        return network(replace(batch, frames=frames))

    return PerFrame(predict)


def without_refinement(network: Network) -> Network:
    """The same network, which says its coarse hand."""
    network = copy.deepcopy(network)
    network.refinement = None
    return network


def utnet_rows(table: FrameTable, networks: dict[str, Network]) -> dict[str, PerFrame]:
    """Row -> its predictor, of the runs that are there."""
    rgbd, missing = networks["rgbd"], np.random.default_rng(0).random(len(table)) < MISSING
    rows = {
        "constant hand": PerFrame(constant_hand_of(DATA, "train", 20000, rgbd)),
        "depth alone": shown(rgbd, ["image"]),
        "RGB-D, depth dropped": shown(rgbd, ["depth"]),
        f"RGB-D, {MISSING:.0%} lack depth": shown(rgbd, missing=missing),
        "RGB-D": shown(rgbd),
        "RGB-D, its coarse hand": shown(without_refinement(rgbd)),
    }
    if "rgb" in networks:
        rows["RGB alone"] = shown(networks["rgb"])
    if "coarse" in networks:
        rows["RGB-D, no refinement"] = shown(networks["coarse"])
    if "max" in networks:
        rows["RGB-D, max pooling"] = shown(networks["max"])
        rows["RGB-D, max pooling, its coarse hand"] = shown(without_refinement(networks["max"]))
    return rows


def score(table: FrameTable, network: Network, predictors: dict[str, PerFrame]) -> ScoreBoard:
    """Every row on every frame, in the network's crops."""
    dataset = ClipDataset(table, plain_view(network.crop), 1, inputs=("image", "depth"))
    recording = table.recordings()
    sequences = predict_sequences(
        evaluation_batches(dataset, np.arange(len(table)), 50, workers=1),
        predictors,
        TruthKeeper(network.hand, network.crop.expansion),
        np.unique(table.sequence_starts(), return_inverse=True)[1],
        table.column("frame"),
        table.column("time"),
    )
    return score_sequences(sequences, list(predictors), {}, recording, int(recording.max()) + 1)


def cell(value: float, interval: tuple[float, float] | None) -> str:
    """A figure, with its interval where there is one."""
    return f"{value:.1f}" + ("" if interval is None else f" [{interval[0]:.1f}, {interval[1]:.1f}]")


def lines_of(board: ScoreBoard) -> list[list[str]]:
    """A line of the table for each row."""
    values, drawn = board.compute(), Bootstrap(board)
    return [
        [
            row,
            *(
                cell(values[row][split][name], drawn.interval(row, split, name))
                for split, name in FIGURES.values()
            ),
        ]
        for row in board.rows
    ]


def differences_of(board: ScoreBoard) -> list[list[str]]:
    """A line for each of COMPARED: paired differences, mm, and of the other's figure."""
    values, drawn = board.compute(), Bootstrap(board)
    lines = []
    for row, other in COMPARED:
        if not {row, other} <= values.keys():
            continue
        line = [f"{row} less {other}"]
        for split, name in FIGURES.values():
            one, two = (values[each][split][name] for each in (row, other))
            interval = drawn.interval(row, split, name, than=other)
            line.append(f"{cell(one - two, interval)} ({one / two - 1:+.0%})")
        lines.append(line)
    return lines


def milliseconds(table: FrameTable, network: Network) -> float:
    """Of processor time, for one frame with what the network takes, on one thread."""
    dataset = ClipDataset(table, plain_view(network.crop), 1, inputs=network.inputs)
    batch, spent = dataset.collate([dataset.clip(0)]), []
    torch.set_num_threads(1)
    with torch.inference_mode():
        for _ in range(TIMED):
            start = time.process_time()
            network(batch)
            spent.append(time.process_time() - start)
    return 1000 * float(np.median(spent))


@run_clearly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--steps", type=int, default=STEPS, help="of each training (default %(default)s)")
    parser.add_argument(
        "--runs", nargs="+", choices=RUNS, default=list(RUNS), help="which to train and score (default: all)"
    )
    arguments = parser.parse_args()
    ROOT.mkdir(parents=True, exist_ok=True)
    runs = {"rgbd", *arguments.runs}
    train(Steps(ROOT / "steps.json", "the figures"), [name for name in RUNS if name in runs], arguments.steps)
    table = FrameTable(DATA, "test")
    networks = {name: load_network(ROOT / name / "checkpoint/best") for name in runs}
    board = score(table, networks["rgbd"], utnet_rows(table, networks))
    lines, head = lines_of(board), ["mm", *FIGURES]
    if "posenet" in networks:
        posenet = networks["posenet"]
        lines += lines_of(score(table, posenet, {"PoseNet, RGB alone": shown(posenet)}))
    print(text_table(head, lines, style="github"))
    print("\n" + text_table(head, differences_of(board), style="github"))
    for name in runs:
        print(f"{name}: {milliseconds(table, networks[name]):.0f} ms of processor time a frame, one thread")


if __name__ == "__main__":
    main()
