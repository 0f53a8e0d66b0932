"""An evaluation's networks, and the split of a frame table that they are evaluated on."""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor
from tqdm import tqdm

from tempohand.assemble.data import plain_view, require_inputs
from tempohand.batch import ClipBatch
from tempohand.data.consistency import faults, measure
from tempohand.data.ledger import Ledger, by_source
from tempohand.data.loader import ClipDataset, listed_batches
from tempohand.data.table import FrameTable, fingerprint, read_index
from tempohand.evaluation.baselines import ConstantHand, CropLabels, fit_constant_hand
from tempohand.evaluation.evaluator import Predictor, TruthKeeper, predict_sequences
from tempohand.evaluation.protocols.registry import find_protocol
from tempohand.evaluation.provenance import code_version, file_hash
from tempohand.evaluation.splits import rows_of_batches
from tempohand.model.network import Network
from tempohand.model.registry import load_stages
from tempohand.model.weights import WEIGHTS_NAME, load_config, locate

STAGES = ("stage1", "stage2")
AUTO = "auto"  # of fit_split and tune_split: the table's own training and validation split
WITHOUT = {
    "fit_split": "no constant hand (mean_pose)",
    "tune_split": "filters have their default settings, and none is tuned for accuracy",
}


class Splits(NamedTuple):
    """A table's folder and the splits of it that an evaluation uses; None: there is no such split.

    notes: what the choice leaves out, in words.
    """

    table: str
    evaluated: str
    fit: str | None
    tune: str | None
    notes: list[str]


def choose_splits(settings: dict) -> Splits:
    """The splits of an evaluation's settings (config/evaluate.yaml), every one by its name.

    Raises ValueError when `data` is a mixture, or the filters would be tuned on what they are scored on.
    """
    tables = settings["data"]["tables"]
    if len(tables) != 1:
        raise ValueError(
            f"data is a mixture of {len(tables)} tables, of which one can be evaluated at a time: "
            f"{', '.join(tables)}"
        )
    (table,) = tables.values()
    protocol = settings["protocol"]
    split = settings["split"] or (find_protocol(protocol).split if protocol else "test")
    if settings["tune_split"] == split and not protocol:
        raise ValueError(
            f"tune_split and split are both '{split}': the filter must not be tuned on the frames it is "
            "scored on"
        )
    present = {name for name, shards in read_index(table["root"])["splits"].items() if shards}
    chosen = {}
    notes = []
    for key, own in (("fit_split", table["train"]), ("tune_split", table["validation"])):
        chosen[key] = own if settings[key] == AUTO else settings[key]
        evaluated = key == "tune_split" and own == split
        if settings[key] == AUTO and (own not in present or evaluated):
            chosen[key] = None
            why = "not in the table" if own not in present else "what is evaluated"
            notes.append(f"{WITHOUT[key]}: split '{own}' is {why} ({key})")
    return Splits(table["root"], split, chosen["fit_split"], chosen["tune_split"], notes)


def constant_hand_of(table: str, split: str, max_rows: int, network: Network) -> ConstantHand | None:
    """The constant hand of a split of the table, in the crops that `network` takes; None: no hand there is
    fully labelled. max_rows: at most so many rows, evenly spread."""
    frames = FrameTable(table, split)
    count = min(len(frames), max_rows)
    labels = frames.labels(np.linspace(0, len(frames) - 1, count).round().astype(int))
    consistent = np.array([not found for found in faults(measure(labels))])
    usable = consistent & labels["has_hand"] & labels["has_camera"] & labels["joints_mask"].all(axis=1)
    crops = CropLabels.of_columns(
        {name: column[usable] for name, column in labels.items()}, plain_view(network.crop)
    )
    return fit_constant_hand(copy.deepcopy(network.hand).cpu(), crops, network.crop.size) if crops else None


class Evaluation:
    """The networks of an evaluation on the accelerator's device, its settings and its splits.

    settings: config/evaluate.yaml, resolved. stage2 is None where none is given; given: the names of the
    stages that checkpoints are given for; loss_weights: stage -> term -> weight in its training, where the
    checkpoint says it. Raises ValueError or FileNotFoundError for what is missing or contradicts itself.
    """

    def __init__(self, settings: dict, accelerator: Accelerator):
        self.settings = settings
        self.accelerator = accelerator
        self.started = time.perf_counter()
        self.given = [name for name in STAGES if settings[name]]
        self.stage1, self.stage2 = load_stages(settings["stage1"], settings["stage2"])
        configs = {name: load_config(settings[name]) for name in self.given}
        self.loss_weights = {name: config["loss"] for name, config in configs.items() if "loss" in config}
        self.splits = choose_splits(settings)
        unknown = set(settings["without"]) - set(self.stage1.inputs)
        if unknown:
            raise ValueError(
                f"without={sorted(unknown)}: {self.stage1.title} is not shown that, but "
                f"{', '.join(self.stage1.inputs)}"
            )
        for network in self.networks().values():
            network.eval().to(accelerator.device)

    def networks(self) -> dict[str, Network]:
        """Stage -> its network; Stage 1 also where it is that inside Stage 2."""
        pairs = zip(STAGES, (self.stage1, self.stage2))
        return {name: network for name, network in pairs if network is not None}

    def frames(self, split: str, count: int | None = None) -> "EvaluationFrames":
        """The frames of a split. count: about so many of them, in whole sequences; None: all."""
        return EvaluationFrames(self, split, count)

    def gather(self, content: object) -> list:
        """Every process's object, in the order of the processes."""
        return gather_object([content])

    def total(self, sums: Tensor) -> Tensor:
        """The sum of every process's tensor (float64), on the CPU."""
        if self.accelerator.num_processes == 1:
            return sums
        return self.accelerator.reduce(sums.to(self.accelerator.device), "sum").cpu()

    def provenance(self, frames: "EvaluationFrames", ledger: Ledger) -> dict:
        """What was evaluated on what, and what was left out, as it stands in metrics.json."""
        return {
            "processes": self.accelerator.num_processes,
            "data": str(self.splits.table),
            "split": self.splits.evaluated,
            "stage1": self.settings["stage1"],
            "stage2": self.settings["stage2"],
            "weights": {name: file_hash(locate(self.settings[name]) / WEIGHTS_NAME) for name in self.given},
            "fingerprint": fingerprint(self.splits.table),
            "without": list(self.settings["without"]),
            "boxes": frames.table.about.get("boxes", {}).get(self.splits.evaluated),
            "version": code_version(),
            "left_out": {
                "rows": ledger.left_out,
                "of": ledger.read,
                "by_source": by_source(ledger.bad, frames.table),
            },
        }

    def counted(self, samples: int) -> str:
        """What was evaluated, in a line."""
        return f"Evaluated on {samples} samples from all {self.accelerator.num_processes} processes"

    def seconds(self) -> float:
        """How long the evaluation took so far."""
        return round(time.perf_counter() - self.started, 2)


class EvaluationFrames:
    """A split's frames, sequence by sequence, and this process's share of them: groups of whole sequences.

    Batches are cut within groups, so figures do not depend on the number of processes. `ledger` counts the
    rows that this process left out.
    """

    def __init__(self, evaluation: Evaluation, split: str, count: int | None = None):
        self.evaluation = evaluation
        network = evaluation.stage1
        accelerator = evaluation.accelerator
        self.table = FrameTable(evaluation.splits.table, split)
        require_inputs(self.table, network.needed)
        self.dataset = ClipDataset(self.table, plain_view(network.crop), 1, inputs=network.inputs)
        self.starts = self.table.sequence_starts()
        self.recording = self.table.recordings()
        self.rows_of_batches = rows_of_batches(
            self.starts,
            evaluation.settings["batch_size"],
            accelerator.process_index,
            accelerator.num_processes,
            count,
        )
        self.ledger = Ledger()

    def batches(self, title: str) -> Iterator[ClipBatch]:
        """This process's frames as batches of single frames on the CPU; those that cannot be used are left
        out, and noted in `ledger`."""
        with tqdm(
            total=sum(map(len, self.rows_of_batches)),
            desc=title,
            unit="frame",
            disable=not self.evaluation.accelerator.is_main_process,
            mininterval=1.0,
        ) as bar:
            workers = self.evaluation.settings["workers"]
            hidden = self.evaluation.settings["without"]
            for batch in listed_batches(self.dataset, self.rows_of_batches, workers, self.ledger):
                yield replace(batch, frames=batch.frames.without(hidden)) if hidden else batch
                bar.update(len(batch.row))

    def predict(
        self, predictors: dict[str, Predictor], title: str, watching: Callable = iter
    ) -> Iterator[tuple]:
        """predict_sequences over these frames; `watching` sees the batches in passing."""
        network = self.evaluation.stage1
        return predict_sequences(
            watching(self.batches(title)),
            predictors,
            TruthKeeper(network.hand, network.crop.expansion),
            np.unique(self.starts, return_inverse=True)[1],
            self.table.column("frame"),
            self.table.column("time"),
            self.evaluation.accelerator.device,
        )

    def drawn_by(self) -> str:
        """What the bootstrap draws of the table. Says what to do where that is sequences."""
        if self.table.knows_recordings:
            return "recordings"
        print(
            f"'{self.table.root}' was prepared before tables knew recordings: cameras and hands of one "
            "recording count as independent sequences, and intervals may be too narrow; prepare it again"
        )
        return "sequences"
