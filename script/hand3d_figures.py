"""What pretraining, masks, 3D labels and batches are worth to Hand3D: short trainings of one budget each, and
every network scored on the same frames of the test split.

    python script/hand3d_figures.py

It makes its data as the demo does, trains one network after the other, one process of one thread each, and
prints a table of the pretrainings, one of the trainings, and differences. Interrupted, it goes on where it
was.
"""

import argparse
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from demo_hand3d import HANDS, MASKS, make_data
from steps import Steps, training
from torch import Tensor

from tempohand.assemble.data import plain_view
from tempohand.assemble.evaluation import constant_hand_of
from tempohand.batch import ClipBatch
from tempohand.console import run_clearly, text_table
from tempohand.data.loader import ClipDataset, evaluation_batches
from tempohand.data.table import FrameTable
from tempohand.evaluation.bootstrap import mean_interval
from tempohand.evaluation.evaluator import PerFrame, TruthKeeper, predict_sequences
from tempohand.evaluation.hands import Compared
from tempohand.evaluation.metrics.alignment import with_palm
from tempohand.evaluation.metrics.curves import curve_area
from tempohand.evaluation.metrics.errors import mpjpe_root, pa_mpjpe, point_distance
from tempohand.evaluation.protocols.quantity import FROM_20_MM, WHOLE_MM
from tempohand.model.hand3d import Hand3D
from tempohand.model.hand3d_losses import PARTS, nearest_turn
from tempohand.model.hand3d_parameters import WeakHand, framed, weak_hand
from tempohand.model.registry import load_network
from tempohand.model.weights import load_config

ROOT = Path("outputs/hand3d-figures")
STEPS = 600  # of a training, with batches of BATCH
BATCH = 16
PRETRAINING = 3  # times as many steps, and batches twice as large
EMA = 0.98  # for batches of BATCH


class Run(NamedTuple):
    """A training: what its row is called, its settings, what it starts from, its batches."""

    title: str
    settings: list[str]
    start: str | None = "l2"
    batch: int = BATCH


NO_3D = ["data.share_3d=0"]
# Where nothing else is said there are 2D joints, masks by the schedule and normalised 3D joints of all rows.
RUNS = {
    "2d": Run("2D alone", [*NO_3D, "loss.mask=0"]),
    "mask": Run("2D and mask", NO_3D),
    "normalised": Run("3D normalised", ["loss.joints3d=normalised"]),
    "weak_perspective": Run("3D in weak perspective", ["loss.joints3d=weak_perspective"]),
    "not_detached": Run("3D normalised, not detached", ["loss.joints3d=normalised_not_detached"]),
    "unpretrained": Run("no pretraining", [], None),
    "tenth": Run("3D of a tenth", ["data.share_3d=0.1"]),
    "mask_100": Run("2D and mask of 100 to the end", [*NO_3D, "loss.mask=100"]),
    "mask_10": Run("2D and mask of 10", [*NO_3D, "loss.mask=10"]),
    "batch_64": Run("batches of 64", [], batch=64),
    "batch_8": Run("batches of 8", [], batch=8),
    "random": Run("random weights", ["network.encoder.weights=null"], None),
}
PRETRAININGS = {"l2": "squares", "l1": "absolute"}
CONSTANT, PRETRAINED = "constant hand", "pretraining alone"
# (a run, and what it is compared with)
COMPARED = (
    ("mask", "2d"),
    *((way, "mask") for way in ("normalised", "weak_perspective", "not_detached", "tenth")),
    ("tenth", "normalised"),
    *((other, "normalised") for other in ("weak_perspective", "not_detached", "unpretrained", "random")),
    *((weight, "mask") for weight in ("mask_100", "mask_10")),
    *((batch, "normalised") for batch in ("batch_8", "batch_64")),
)
# Column -> (each frame's figure, digits). AUC: 3dhand's thresholds, joints counted from the palm's centre.
FIGURES: dict[str, tuple[Callable[[Compared], Tensor], int]] = {
    "AUC 0-50 mm": (lambda hands: area(hands, WHOLE_MM), 3),
    "AUC 20-50 mm": (lambda hands: area(hands, FROM_20_MM), 3),
    "PA, mm": (lambda hands: pa_mpjpe(*hands.joints, hands.known).value, 1),
    "root-relative, mm": (lambda hands: mpjpe_root(*hands.joints, hands.known).value, 1),
    "2D extent / true": (lambda hands: extent(hands), 3),
}
OF_JOINTS = ("PA, mm", "root-relative, mm")
Scores = dict[str, dict[str, Tensor]]  # row -> column -> a number a frame [n]


def area(hands: Compared, thresholds: Tensor) -> Tensor:
    """Each frame's share of the area below the curve of correct joints (2019's rule: STB's and RHD's)."""
    predicted, true = map(with_palm, hands.joints)
    return curve_area(point_distance(predicted, true, hands.known), thresholds).mean(dim=1)


def extent(hands: Compared) -> Tensor:
    """The predicted joints' extent in the picture over the true ones', the mean of width and height."""
    predicted, true = (places.amax(dim=1) - places.amin(dim=1) for places in hands.places)
    return (predicted / true).mean(dim=1).double()


# ----- trainings --------------------------------------------------------------------------------------------


def pretrain(steps: Steps, root: Path, name: str, count: int) -> None:
    """One of PRETRAININGS: by squared differences, or by absolute ones whose weights are matched to them."""
    own = ["stage=hand3d_pretrain_l1", *matched_weights(root)] if name == "l1" else []
    settings = [f"data.root={HANDS}", *budget(PRETRAINING * count, 2 * BATCH), *own, f"out={root / name}"]
    steps.run(name, *training("hand3d-tiny-pretrain", *settings, precision="no", processes=1))


def train(steps: Steps, root: Path, names: Collection[str], count: int) -> None:
    """Some of RUNS, all with as many samples."""
    for name in names:
        run = RUNS[name]
        start = [] if run.start is None else [f"init_from={root / run.start}/checkpoint/last"]
        settings = [f"data.root={MASKS}", *start, *budget(max(count * BATCH // run.batch, 1), run.batch)]
        command = training(
            "hand3d-tiny", *settings, *run.settings, f"out={root / name}", precision="no", processes=1
        )
        steps.run(name, *command)


def budget(count: int, batch: int) -> list[str]:
    """Settings of a short run: its warm-up and its averaged weights go by samples, and its end counts."""
    decay = EMA ** (batch / BATCH)
    often = [f"log.{what}={count}" for what in ("validate_every", "checkpoint_every")]
    small = ["data.workers=1", "data.validation_rows=80", f"optim.batch_size={batch}", f"optim.steps={count}"]
    return [*small, *often, f"optim.warmup={count // 10}", f"optim.ema={decay:.4f}"]


def matched_weights(root: Path) -> list[str]:
    """Settings by which absolute differences pull at every part as hard as squared ones do where training
    begins: w |d| has the gradient w, v d^2 has 2 v |d|."""
    network, squared = network_of(root, "l2"), load_config(root / "l2/checkpoint/last")["loss"]
    true = true_numbers(network, FrameTable(HANDS, "val"))
    start = WeakHand.unpacked(network.mean)
    means = {part: (getattr(true, part) - getattr(start, part)).abs().mean().item() for part in PARTS}
    return [f"loss.{part}_l1={2 * squared[part] * means[part]:.4g}" for part in PARTS]


# ----- scores -----------------------------------------------------------------------------------------------


def network_of(root: Path, name: str) -> Hand3D:
    """A run's network as it was at the end."""
    return load_network(root / name / "checkpoint/last").eval()


def frames(network: Hand3D, table: FrameTable) -> Iterator[ClipBatch]:
    """All of a split, in the network's plain crops."""
    dataset = ClipDataset(table, plain_view(network.crop), 1, inputs=("image",))
    return evaluation_batches(dataset, np.arange(len(table)), 50, workers=0)


def numbers_of(network: Hand3D, batch: ClipBatch) -> WeakHand:
    """What the labelled hands of a batch should be said by."""
    target, camera = batch.target, framed(batch.focal[:, -1:], batch.princpt[:, -1:], batch.edge)
    return weak_hand(network.hand, target.pose, target.shape, target.trans, *camera)


def true_numbers(network: Hand3D, table: FrameTable) -> WeakHand:
    """Of all of a split."""
    return WeakHand.unpacked(
        torch.cat([numbers_of(network, batch).packed() for batch in frames(network, table)])
    )


def errors_of_parts(said: WeakHand, true: WeakHand) -> dict[str, Tensor]:
    """Mean absolute differences, a number a frame, of scale, translation, rotation, pose and shape."""
    pairs = {part: (getattr(said, part), getattr(true, part)) for part in PARTS}
    pairs["rotation"] = (said.rotation, nearest_turn(true.rotation, said.rotation))
    return {part: (one - two).abs().flatten(1).mean(dim=1).double() for part, (one, two) in pairs.items()}


def scores_of_joints(table: FrameTable, predictors: dict[str, Callable], network: Hand3D) -> Scores:
    """Every row's FIGURES on every frame. network: whose crops all see."""
    found = {row: {column: [] for column in FIGURES} for row in predictors}
    sequences = predict_sequences(
        frames(network, table),
        {row: PerFrame(predict) for row, predict in predictors.items()},
        TruthKeeper(network.hand, network.crop.expansion),
        np.unique(table.sequence_starts(), return_inverse=True)[1],
        table.column("frame"),
        table.column("time"),
    )
    for _, true, hands in sequences:
        for row, predicted in hands.items():
            compared = Compared.of(predicted, true)
            for column, (figure, _) in FIGURES.items():
                found[row][column].append(figure(compared))
    return {row: {name: torch.cat(parts) for name, parts in of.items()} for row, of in found.items()}


def pretraining_scores(root: Path, names: Collection[str]) -> Scores:
    """Of a constant hand (of the numbers their means over the validation split) and some of PRETRAININGS, on
    drawn hands that none has seen."""
    networks = {PRETRAININGS[name]: network_of(root, name) for name in names}
    network, table = networks[PRETRAININGS["l2"]], FrameTable(HANDS, "test")
    true, mean = (true_numbers(network, FrameTable(HANDS, split)) for split in ("test", "val"))
    mean = WeakHand.unpacked(mean.packed().mean(dim=0, keepdim=True).expand_as(true.packed()))
    predictors = {CONSTANT: constant_hand_of(str(HANDS), "train", 2000, network)} | networks
    scores = scores_of_joints(table, predictors, network)
    scores = {row: {name: of[name] for name in OF_JOINTS} for row, of in scores.items()}
    scores[CONSTANT] = errors_of_parts(mean, true) | scores[CONSTANT]
    for name, each in networks.items():
        with torch.no_grad():
            said = torch.cat([each(batch).terms["numbers"] for batch in frames(each, table)])
        scores[name] = errors_of_parts(WeakHand.unpacked(said), true) | scores[name]
    return scores


def training_scores(root: Path, names: Collection[str]) -> Scores:
    """Of the constant hand, the pretraining by itself, and the runs, on the video's test frames."""
    network = network_of(root, "l2")
    predictors = {CONSTANT: constant_hand_of(str(MASKS), "train", 2000, network), PRETRAINED: network}
    predictors |= {RUNS[name].title: network_of(root, name) for name in names}
    return scores_of_joints(FrameTable(MASKS, "test"), predictors, network)


# ----- tables -----------------------------------------------------------------------------------------------


def cell(values: Tensor, recording: np.ndarray, digits: int) -> str:
    """The mean with its interval, recordings drawn together."""
    bounds = mean_interval(values[:, None], torch.ones(len(values), 1), recording)
    shown = "" if bounds is None else f" [{bounds[0]:.{digits}f}, {bounds[1]:.{digits}f}]"
    return f"{values.mean():.{digits}f}{shown}"


def digits_of(column: str) -> int:
    """How many are shown after the point."""
    return FIGURES[column][1] if column in FIGURES else 3


def show(scores: Scores, recording: np.ndarray, pairs: Collection[tuple[str, str]]) -> None:
    """Prints a table of the rows, and one of the paired differences of those that are there."""
    columns = list(next(iter(scores.values())))

    def line(name: str, of: dict[str, Tensor]) -> list[str]:
        return [name, *(cell(of[column], recording, digits_of(column)) for column in columns)]

    print(text_table(["", *columns], [line(*row) for row in scores.items()], style="github") + "\n")
    differences = [
        line(f"{one} less {two}", {column: scores[one][column] - scores[two][column] for column in columns})
        for one, two in pairs
        if {one, two} <= scores.keys()
    ]
    print(text_table(["", *columns], differences, style="github") + "\n")


@run_clearly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--steps", type=int, default=STEPS, help=f"of a training in batches of {BATCH} (default %(default)s)"
    )
    choices = [*RUNS, "l1"]
    parser.add_argument(
        "--runs", nargs="+", choices=choices, default=choices, help="which to train and score (default: all)"
    )
    arguments = parser.parse_args()
    root = ROOT / f"{arguments.steps}-steps"
    root.mkdir(parents=True, exist_ok=True)
    steps = Steps(root / "steps.json", "the figures")
    make_data(steps)
    names = [name for name in RUNS if name in arguments.runs]
    pretrainings = ["l2", *({"l1"} & set(arguments.runs))]
    pretrain(steps, root, "l2", arguments.steps)
    train(steps, root, names, arguments.steps)
    for name in pretrainings[1:]:
        pretrain(steps, root, name, arguments.steps)
    pairs = [("squares", CONSTANT), ("absolute", CONSTANT), ("absolute", "squares")]
    show(pretraining_scores(root, pretrainings), FrameTable(HANDS, "test").recordings(), pairs)
    pairs = [(RUNS[one].title, RUNS[two].title) for one, two in COMPARED]
    pairs.insert(0, (RUNS["normalised"].title, PRETRAINED))
    show(training_scores(root, names), FrameTable(MASKS, "test").recordings(), pairs)


if __name__ == "__main__":
    main()
