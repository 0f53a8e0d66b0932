"""Evaluates Stage 1, Stage 2 or both on a split of a frame table: a table in the terminal, metrics.json, and
strips for the report.

    python script/evaluate.py stage1=outputs/stage1-tiny/checkpoint/best
    stage2=outputs/stage2-tiny/checkpoint/best data=data/demo
    torchrun --nproc_per_node 2 script/evaluate.py stage2=outputs/stage2-tiny/checkpoint/best data=data/demo
    python script/evaluate.py protocol=freihand stage1=... data=data/freihand submission=pred.zip

Every row sees every frame of the split that can be used once (bad data is counted and named): mean_pose (a
constant hand that knows the box alone), stage1, stage1_one_euro, stage1_kalman and stage1_accurate (Stage 1
under causal filters tuned on the validation split) and stage2 (histories of 1 to num_frame frames from each
sequence's start). Processes share the split out by groups of whole sequences, batches are cut within groups,
and sums per recording are added up, so the numbers do not depend on how many processes there are. Intervals
and Stage 2's differences to the other rows come from a paired bootstrap over recordings.

With `protocol` it prints instead what a data set's official script prints, writes protocol_<name>.json, and
with `submission` the file that its server takes (docs/protocols.md).
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import hydra
import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, gather_object
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from tempohand.batch import ClipBatch
from tempohand.console import run_clearly
from tempohand.data.arguments import data_by_name_or_folder
from tempohand.data.clips import CLOCK_S, MAX_AGE_S, MAX_GAP_S, clip_rows
from tempohand.data.consistency import faults, measure
from tempohand.data.ledger import Ledger, by_source, left_out_line
from tempohand.data.loader import ClipDataset, listed_batches
from tempohand.data.table import FrameTable, fingerprint, read_index
from tempohand.data.view import View
from tempohand.evaluation.baselines import ConstantHand, CropLabels, fit_constant_hand
from tempohand.evaluation.evaluator import (
    PerFrame,
    Predictor,
    TruthKeeper,
    predict_sequences,
    score_sequences,
)
from tempohand.evaluation.protocols.challenge_files import read_truth, with_official_truth
from tempohand.evaluation.protocols.official_order import read_order
from tempohand.evaluation.protocols.registry import find_protocol
from tempohand.evaluation.protocols.result import protocol_json, protocol_table
from tempohand.evaluation.provenance import code_version, file_hash
from tempohand.evaluation.results import (
    METRICS_NAME,
    StripKeeper,
    choose_strips,
    summary,
    to_json,
    write_json,
)
from tempohand.evaluation.samples import Collector, Truth, merge, predictions
from tempohand.evaluation.splits import ALL, rows_of_batches
from tempohand.evaluation.stages import Histories, build_predictors
from tempohand.evaluation.sums import LossOverFrames
from tempohand.evaluation.tuning import FILTERED_ROWS, default_filters, tune_filters
from tempohand.model.registry import load_stages
from tempohand.model.weights import WEIGHTS_NAME, load_config, locate
from tempohand.training.launch import PATIENCE, refuse_contradictions

CONFIG = Path(__file__).resolve().parents[1] / "config"
AUTO = "auto"


def settle(config: DictConfig) -> tuple[DictConfig, list[str]]:
    """(the configuration with the table's folder as `data` and every split by its name or null; what the
    choice of splits leaves out, in words).

    Raises ValueError when `data` is a mixture, or the filters would be tuned on what they are scored on.
    """
    tables = config.data.tables
    if len(tables) != 1:
        raise ValueError(
            f"data is a mixture of {len(tables)} tables, of which one can be evaluated at a time: {', '.join(tables)}"
        )
    (table,) = tables.values()
    split = config.split or (find_protocol(config.protocol).split if config.protocol else "test")
    if config.tune_split == split and not config.protocol:
        raise ValueError(
            f"tune_split and split are both '{split}': the filter must not be tuned on the frames it is scored on"
        )
    there, chosen, notes = read_index(table.root)["splits"], {"data": table.root, "split": split}, []
    for name, split_of_table, without in (
        ("fit_split", table.train, "no constant hand (mean_pose)"),
        (
            "tune_split",
            table.validation,
            "filters have their default settings, and none is tuned for accuracy",
        ),
    ):
        chosen[name] = split_of_table if config[name] == AUTO else config[name]
        missing = split_of_table not in there
        if config[name] == AUTO and (missing or (name == "tune_split" and split_of_table == split)):
            chosen[name] = None
            notes.append(
                f"{without}: split '{split_of_table}' is {'not in the table' if missing else 'what is evaluated'} ({name})"
            )
    return OmegaConf.create({**config, **chosen}), notes


def fit_baseline(config: DictConfig, network: torch.nn.Module) -> ConstantHand | None:
    """The constant hand of the training split, with the crops that evaluation makes; None: no hand there is
    fully labelled."""
    table = FrameTable(config.data, config.fit_split)
    labels = table.labels(
        np.linspace(0, len(table) - 1, min(len(table), config.fit_rows)).round().astype(int)
    )
    consistent = np.array([not found for found in faults(measure(labels))])
    usable = consistent & labels["has_hand"] & labels["has_camera"] & labels["joints_mask"].all(axis=1)
    crops = CropLabels.of_columns(
        {name: column[usable] for name, column in labels.items()}, View(network.size, network.expansion)
    )
    return fit_constant_hand(network.hand.cpu(), crops, network.size) if crops else None


class Split:
    """A split's sequences and this process's share of them."""

    def __init__(
        self,
        config: DictConfig,
        split: str,
        network: torch.nn.Module,
        accelerator: Accelerator,
        frames: int | None = None,
    ):
        self.config, self.network, self.accelerator = config, network, accelerator
        self.table = FrameTable(config.data, split)
        self.dataset = ClipDataset(self.table, View(network.size, network.expansion), 1)
        self.starts = self.table.sequence_starts()
        self.sequence = np.unique(self.starts, return_inverse=True)[1]
        self.recording = self.table.recordings()
        rank, world = accelerator.process_index, accelerator.num_processes
        self.rows_of_batches = rows_of_batches(self.starts, config.batch_size, rank, world, frames)
        self.ledger, self.frame, self.time = Ledger(), self.table.column("frame"), self.table.column("time")

    def batches(self, title: str) -> Iterator[ClipBatch]:
        """This process's frames; those that cannot be used are left out, and noted in `ledger`."""
        hidden = not self.accelerator.is_main_process
        with tqdm(
            total=sum(map(len, self.rows_of_batches)),
            desc=title,
            unit="frame",
            disable=hidden,
            mininterval=1.0,
        ) as bar:
            for batch in listed_batches(self.dataset, self.rows_of_batches, self.config.workers, self.ledger):
                yield batch
                bar.update(len(batch.row))

    def histories(self) -> Histories:
        """Which frames a clip of this split has, as live."""
        rule = partial(clip_rows, previous=self.dataset.clips.previous)
        return Histories(rule, max_gap=MAX_GAP_S + CLOCK_S, max_age=MAX_AGE_S + CLOCK_S)

    def predict(
        self, predictors: dict[str, Predictor], title: str, watching: Callable = iter
    ) -> Iterator[tuple]:
        """predict_sequences over this split; `watching` sees the batches in passing."""
        truth = TruthKeeper(self.network.hand, self.network.expansion)
        batches = watching(self.batches(title))
        return predict_sequences(
            batches, predictors, truth, self.sequence, self.frame, self.time, self.accelerator.device
        )


def provenance(config: DictConfig, ledger: Ledger, split: Split) -> dict:
    """What was evaluated on what, and what was left out."""
    stages = [name for name in ("stage1", "stage2") if config[name]]
    return {
        "processes": split.accelerator.num_processes,
        "data": str(config.data),
        "split": config.split,
        "stage1": config.stage1,
        "stage2": config.stage2,
        "weights": {name: file_hash(locate(config[name]) / WEIGHTS_NAME) for name in stages},
        "fingerprint": fingerprint(config.data),
        "boxes": split.table.about.get("boxes", {}).get(config.split),
        "version": code_version(),
        "left_out": {
            "rows": ledger.left_out,
            "of": ledger.read,
            "by_source": by_source(ledger.bad, split.table),
        },
    }


def drawn_by(table: FrameTable) -> str:
    """What the bootstrap draws of a table. Says what to do where that is sequences."""
    if table.knows_recordings:
        return "recordings"
    print(
        f"'{table.root}' was prepared before tables knew recordings: cameras and hands of one recording count as independent sequences, and "
        "intervals may be too narrow; prepare it again"
    )
    return "sequences"


def gather(x: object) -> list:
    """Every process's object."""
    return gather_object([x])


def run_protocol(
    config: DictConfig, accelerator: Accelerator, stage1: torch.nn.Module, stage2: torch.nn.Module | None
) -> None:
    """Prints and writes what a data set's official script says of each given network."""
    protocol, out, started = find_protocol(config.protocol), Path(config.out), time.perf_counter()

    # ----- what is compared with what -----------------------------------------------------------------------
    split = Split(config, config.split, stage1, accelerator)
    table = split.table
    protocol.check_sources(np.unique(table.column("source")), config.data)
    protocol.check_files(config.protocol_root, config.submission)
    order = read_order(config.data, config.split) if config.submission or config.protocol_root else None
    official = (
        read_truth(config.protocol_root, protocol.convention)
        if config.protocol_root and accelerator.is_main_process
        else None
    )
    given = [name for name in ("stage1", "stage2") if config[name]]
    for network in filter(None, (stage1, stage2)):
        network.to(accelerator.device)
    shaped = {"shaped": protocol.adapt(stage1.hand)} if protocol.adapt else {}
    built, _ = build_predictors(stage1, stage2, accelerator.autocast, split.histories(), **shaped)

    # ----- every frame of the split -------------------------------------------------------------------------
    collector = Collector(given, table.column("is_right"), protocol.vertices)
    for found in split.predict({name: built[name] for name in given}, f"predicting {config.split}"):
        collector.add(*found)
    parts, ledger = gather(collector.content()), Ledger.total(gather(split.ledger))
    if not accelerator.is_main_process:
        return

    # ----- what the script would print ----------------------------------------------------------------------
    if ledger.left_out:
        print(left_out_line(ledger, table))
    merged = merge(parts)
    truth = Truth.of_merged(merged, table.column)
    if official:
        truth = with_official_truth(truth, order, *official)
    hands = predictions(merged, given)
    rows = protocol.evaluate(truth, hands)
    about = {
        "protocol": config.protocol,
        "title": protocol.title,
        "n": len(truth),
        "truth": config.protocol_root or "the table's labels",
    }
    about |= {"missing": len(set(order) - set(truth.keys())) if config.protocol_root else None}
    print(f"Evaluated on {len(truth)} samples from all {accelerator.num_processes} processes")
    if config.submission:
        in_table = set(zip(table.column("sequence").tolist(), table.column("frame").tolist()))
        count = protocol.submission(config.submission, order, truth.keys(), in_table, hands[given[-1]])
        print(f"wrote '{config.submission}': {count} samples of {given[-1]} in the official order")
    else:
        protocol.check_truth(truth, rows)
    content = protocol_json(
        rows,
        drawn_by(table),
        **about,
        **provenance(config, ledger, split),
        seconds=round(time.perf_counter() - started, 2),
    )
    path = out / f"protocol_{config.protocol}.json"
    write_json(path, content)
    print("\n" + protocol_table(content) + f"\n\nwrote '{path}'")


def run_comparison(
    config: DictConfig,
    accelerator: Accelerator,
    stage1: torch.nn.Module,
    stage2: torch.nn.Module | None,
    weights: dict[str, dict[str, float]],
    notes: list[str],
) -> None:
    """Scores every row of the comparison on the same frames. notes: what to say of rows that are missing."""
    out, started = Path(config.out), time.perf_counter()

    def total(x: torch.Tensor) -> torch.Tensor:
        if accelerator.num_processes == 1:
            return x
        return accelerator.reduce(x.to(accelerator.device), "sum").cpu()

    # ----- what is compared ---------------------------------------------------------------------------------
    split = Split(config, config.split, stage1, accelerator)
    constant = fit_baseline(config, stage1) if config.fit_split else None
    if config.fit_split and not constant:
        notes = [
            *notes,
            f"no constant hand (mean_pose): no hand of split '{config.fit_split}' is fully labelled (fit_split)",
        ]
    for network in filter(None, (stage1, stage2)):
        network.to(accelerator.device)
    losses = {
        name: LossOverFrames(network) for name, network in (("stage1", stage1), ("stage2", stage2)) if network
    }
    watch = {name: loss.watch for name, loss in losses.items()}
    stages, unwatched = build_predictors(stage1, stage2, accelerator.autocast, split.histories(), watch)
    if config.tune_split:
        held_out = Split(config, config.tune_split, stage1, accelerator, config.tune_frames)
        found = held_out.predict({"raw": unwatched}, "tuning the filters")
        filters, best_filter = tune_filters(((hands["raw"].joints, true) for _, true, hands in found), total)
    else:
        filters, best_filter = default_filters()
    predictors = ({"mean_pose": PerFrame(constant)} if constant else {}) | stages
    rows = [
        row
        for row in ("mean_pose", "stage1", *FILTERED_ROWS, "stage2")
        if row in predictors or row in filters
    ]

    # ----- every frame of the split -------------------------------------------------------------------------
    choices = choose_strips(
        split.table.column("hidden"), split.starts, split.table.column("sequence"), config.strips
    )
    if accelerator.is_main_process:
        for old in out.glob("strip_*.npz"):
            old.unlink()
    accelerator.wait_for_everyone()
    strips = StripKeeper(choices, out)
    sequences = split.predict(predictors, f"evaluating {config.split}", strips.watching)
    smoothed = {row: ("stage1", smooth) for row, smooth in filters.items()}
    board = score_sequences(
        sequences, rows, smoothed, split.recording, int(split.recording.max()) + 1, strips.watch
    )

    # ----- the result ---------------------------------------------------------------------------------------
    board.reduce(total)
    ledger = Ledger.total(gather(split.ledger))
    totals = {name: loss.sums.totals(gather) for name, loss in losses.items()}
    accelerator.wait_for_everyone()
    count, processes = board.compute()[rows[0]][ALL]["n"], accelerator.num_processes
    assert ledger.read == len(split.table), f"{ledger.read} rows were read, the split has {len(split.table)}"
    assert count + ledger.left_out == ledger.read, (
        f"{count} samples were evaluated and {ledger.left_out} left out, of {ledger.read}"
    )
    accelerator.print(f"Evaluated on {count} samples from all {processes} processes")
    if accelerator.is_main_process:
        if ledger.left_out:
            print(left_out_line(ledger, split.table))
        about = provenance(config, ledger, split)
        about |= {
            "test_loss": {
                name: terms.loss(weights[name]) if name in weights else None for name, terms in totals.items()
            }
        }
        about |= {"loss_terms": {name: terms.means() for name, terms in totals.items()}}
        about |= {
            FILTERED_ROWS[row].key: asdict(smooth) | {"tuned_on": config.tune_split}
            for row, smooth in filters.items()
        }
        about |= {
            "notes": notes,
            "best_filter": best_filter,
            "seconds": round(time.perf_counter() - started, 2),
        }
        content = to_json(board, drawn_by(split.table), **about)
        write_json(out / METRICS_NAME, content)
        print(summary(content), end="")
        print(f"\nwrote '{out / METRICS_NAME}' and {len(choices)} strips")


@data_by_name_or_folder(CONFIG, ConfigStore.instance().store)
@hydra.main(version_base="1.3", config_path="../config", config_name="evaluate")
@run_clearly
def main(config: DictConfig) -> None:
    if config.submission and not config.protocol or config.protocol_root and not config.protocol:
        raise ValueError("submission and protocol_root belong to a protocol: give protocol=<name>")
    refuse_contradictions(os.environ, config.mixed_precision)
    accelerator = Accelerator(
        mixed_precision=config.mixed_precision,
        cpu=config.device == "cpu",
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    stage1, stage2 = load_stages(config.stage1, config.stage2)
    settings = {name: load_config(config[name]) for name in ("stage1", "stage2") if config[name]}
    weights = {name: of_stage["loss"] for name, of_stage in settings.items() if "loss" in of_stage}
    config, notes = settle(config)
    for network in filter(None, (stage1, stage2)):
        network.eval()
    if config.protocol:
        run_protocol(config, accelerator, stage1, stage2)
    else:
        run_comparison(config, accelerator, stage1, stage2, weights, notes)
    accelerator.end_training()


if __name__ == "__main__":
    main()
