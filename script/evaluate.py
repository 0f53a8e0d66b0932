"""Evaluates Stage 1, Stage 2 or both on a split of a frame table: a table in the terminal, metrics.json, and strips for the report.

    python script/evaluate.py stage1=outputs/stage1-tiny/checkpoint/best stage2=outputs/stage2-tiny/checkpoint/best data=data/demo
    torchrun --nproc_per_node 2 script/evaluate.py stage2=outputs/stage2-tiny/checkpoint/best data=data/demo
    python script/evaluate.py protocol=freihand stage1=... data=data/freihand submission=pred.zip

Every row sees every frame of the split that can be used once (bad data is counted and named): mean_pose (a constant hand that knows the box
alone), stage1, stage1_one_euro, stage1_kalman and stage1_accurate (Stage 1 under causal filters tuned on the validation split) and stage2
(histories of 1 to num_frame frames from each sequence's start). Processes share the split out by groups of whole sequences, batches are cut
within groups, and sums per recording are added up, so the numbers do not depend on how many processes there are. Intervals and Stage 2's
differences to the other rows come from a paired bootstrap over recordings.

With `protocol` it prints instead what a data set's official script prints, writes protocol_<name>.json, and with `submission` the file that its
server takes (docs/protocols.md).
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import hydra
import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from tempohand.batch import ClipBatch, HandPrediction
from tempohand.console import run_clearly
from tempohand.data.arguments import data_by_name_or_folder
from tempohand.data.clips import CLOCK_S, MAX_AGE_S, MAX_GAP_S, Clips, clip_rows
from tempohand.data.consistency import faults, measure
from tempohand.data.ledger import Ledger, by_source, left_out_line
from tempohand.data.loader import ClipDataset, listed_batches
from tempohand.data.table import FrameTable, fingerprint, read_index
from tempohand.data.view import View
from tempohand.evaluation.baselines import ConstantHand, CropLabels, fit_constant_hand
from tempohand.evaluation.evaluator import PerFrame, Predictor, Temporal, TruthKeeper, encode_once, predict_sequences, score_sequences
from tempohand.evaluation.official import read_order, read_truth, with_official_truth
from tempohand.evaluation.protocols import (
    check_files,
    check_sources,
    check_truth,
    evaluate_protocol,
    find_protocol,
    protocol_json,
    protocol_table,
)
from tempohand.evaluation.provenance import code_version, file_hash
from tempohand.evaluation.results import METRICS_NAME, StripKeeper, choose_strips, format_tables, to_json, without_sample, write_json
from tempohand.evaluation.samples import COLUMNS, Collector, Truth, merge, predictions
from tempohand.evaluation.splits import ALL, share_of_groups, whole_groups
from tempohand.evaluation.sums import LossOverFrames
from tempohand.evaluation.true_shape import with_true_shape
from tempohand.evaluation.tuning import FILTERED_ROWS, FilterTuning, HandFilter
from tempohand.geometry import mirror_points, mirror_pose
from tempohand.model.registry import load_network
from tempohand.model.weights import WEIGHTS_NAME, locate

CONFIG = Path(__file__).resolve().parents[1] / "config"
AUTO = "auto"


def settle(config: DictConfig) -> tuple[DictConfig, list[str]]:
    """(the configuration with the table's folder as `data` and every split by its name or null; what the choice of splits leaves out, in words).

    Raises ValueError when `data` is a mixture, or the filters would be tuned on what they are scored on.
    """
    tables = config.data.tables
    if len(tables) != 1:
        raise ValueError(f"data is a mixture of {len(tables)} tables, of which one can be evaluated at a time: {', '.join(tables)}")
    (table,) = tables.values()
    split = config.split or (find_protocol(config.protocol).split if config.protocol else "test")
    if config.tune_split == split and not config.protocol:
        raise ValueError(f"tune_split and split are both '{split}': the filter must not be tuned on the frames it is scored on")
    there, chosen, notes = read_index(table.root)["splits"], {"data": table.root, "split": split}, []
    for name, split_of_table, without in (
        ("fit_split", table.train, "no constant hand (mean_pose)"),
        ("tune_split", table.validation, "filters have their default settings, and none is tuned for accuracy"),
    ):
        chosen[name] = split_of_table if config[name] == AUTO else config[name]
        missing = split_of_table not in there
        if config[name] == AUTO and (missing or (name == "tune_split" and split_of_table == split)):
            chosen[name] = None
            notes.append(f"{without}: split '{split_of_table}' is {'not in the table' if missing else 'what is evaluated'} ({name})")
    return OmegaConf.create({**config, **chosen}), notes


def load_networks(config: DictConfig) -> tuple[torch.nn.Module, torch.nn.Module | None, dict[str, dict[str, float]]]:
    """(Stage 1, Stage 2 or None, row -> the loss weights that it was trained with, where its checkpoint says so).

    Where Stage 2 has Stage 1's very weights inside, Stage 1 is that part of it: one backbone pass serves both. Raises ValueError when none is
    given, when one is of the other stage, or when the two take other crops.
    """
    if not config.stage1 and not config.stage2:
        raise ValueError("nothing to evaluate: give stage1=<checkpoint directory>, stage2=<checkpoint directory> or both")
    networks = {}
    for name, temporal in (("stage1", False), ("stage2", True)):
        if config[name]:
            network = networks[name] = load_network(config[name], "posenet")
            if (network.num_frame > 1) != temporal:
                raise ValueError(f"{name}='{config[name]}' is a checkpoint of the other stage (num_frame={network.num_frame})")
    weights = {name: network.config["loss"] for name, network in networks.items() if "loss" in network.config}
    if "stage2" not in networks:
        return networks["stage1"], None, weights
    stage2 = networks["stage2"]
    if "stage1" not in networks:
        return stage2.spatial_only(), stage2, weights
    stage1 = networks["stage1"]
    crops = [(network.size, network.expansion) for network in (stage1, stage2)]
    if crops[0] != crops[1]:
        raise ValueError(f"stage1 and stage2 see different crops (size, expansion: {crops[0]} and {crops[1]}): evaluate them one at a time")
    own, other = stage1.state_dict(), stage2.spatial_only().state_dict()
    shared = own.keys() == other.keys() and all(own[name].shape == other[name].shape and own[name].equal(other[name]) for name in own)
    return (stage2.spatial_only() if shared else stage1), stage2, weights


def fit_baseline(config: DictConfig, network: torch.nn.Module) -> ConstantHand | None:
    """The constant hand of the training split, with the crops that evaluation makes; None: no hand there is fully labelled."""
    table = FrameTable(config.data, config.fit_split)
    view = View(network.size, network.expansion)
    labels = table.labels(np.linspace(0, len(table) - 1, min(len(table), config.fit_rows)).round().astype(int))
    consistent = np.array([not found for found in faults(measure(labels))])
    usable = consistent & labels["has_hand"] & labels["has_camera"] & labels["joints_mask"].all(axis=1)
    parts = []
    for is_right, width in sorted({(bool(side), int(width)) for side, width in zip(labels["is_right"][usable], labels["width"][usable])}):
        chosen = usable & (labels["is_right"] == is_right) & (labels["width"] == width)
        one = {name: torch.from_numpy(np.array(labels[name][chosen])) for name in ("pose", "shape", "joints", "focal", "princpt", "box")}
        plain = view.draw(np.random.default_rng(0), len(one["pose"]))
        placement = view.place(plain, width, one["focal"], one["princpt"], one["box"], is_right)
        pose, joints = (one["pose"], one["joints"]) if is_right else (mirror_pose(one["pose"]), mirror_points(one["joints"]))
        parts.append((pose, one["shape"], joints, placement.focal, placement.princpt))
    if not parts:
        return None
    order = torch.randperm(sum(len(part[0]) for part in parts), generator=torch.Generator().manual_seed(0))
    return fit_constant_hand(network.hand.cpu(), CropLabels(*(torch.cat(column)[order] for column in zip(*parts))), network.size)


class Split:
    """A split's sequences and this process's share of them."""

    def __init__(self, config: DictConfig, split: str, network: torch.nn.Module, accelerator: Accelerator, frames: int | None = None):
        self.config, self.accelerator = config, accelerator
        self.table = FrameTable(config.data, split)
        self.dataset = ClipDataset(self.table, View(network.size, network.expansion), 1)
        self.starts = self.table.sequence_starts()
        first, lengths = np.unique(self.starts, return_counts=True)
        self.sequence = np.searchsorted(first, self.starts)
        self.recording = self.table.recordings()
        if frames and lengths.sum() > frames:
            spread = np.linspace(0, len(first) - 1, max(1, round(len(first) * frames / lengths.sum()))).round().astype(int)
            first, lengths = first[spread], lengths[spread]
        groups = whole_groups(lengths, config.batch_size)
        share = share_of_groups([int(lengths[list(group)].sum()) for group in groups], accelerator.process_index, accelerator.num_processes)
        rows = [np.concatenate([np.arange(first[i], first[i] + lengths[i]) for i in groups[number]]) for number in share]
        self.rows_of_batches = [batch for group in rows for batch in np.array_split(group, -(-len(group) // config.batch_size))]
        self.ledger, self.frame, self.time = Ledger(), self.table.column("frame"), self.table.column("time")

    def batches(self, title: str) -> Iterator[ClipBatch]:
        """This process's frames, on its device; those that cannot be used are left out, and noted in `ledger`."""
        hidden = not self.accelerator.is_main_process
        with tqdm(total=sum(map(len, self.rows_of_batches)), desc=title, unit="frame", disable=hidden, mininterval=1.0) as bar:
            for batch in listed_batches(self.dataset, self.rows_of_batches, self.config.workers, self.ledger):
                yield batch.to(self.accelerator.device)
                bar.update(len(batch.row))


def tune_filters(
    config: DictConfig, network: torch.nn.Module, predictor: PerFrame, accelerator: Accelerator, total
) -> tuple[dict[str, HandFilter], str]:
    """Row -> the filter for Stage 1, chosen on the validation split, and the best there of the rows that are tuned for accuracy and smoothness.
    The defaults without such a split."""
    if not config.tune_split:
        defaults = {name: row.default for name, row in FILTERED_ROWS.items() if row.default}
        return defaults, next(iter(defaults))
    held_out = Split(config, config.tune_split, network, accelerator, config.tune_frames)
    tunings = {name: FilterTuning(row.settings, row.default) for name, row in FILTERED_ROWS.items()}
    batches = held_out.batches("tuning the filters")
    truth = TruthKeeper(network.hand, network.expansion)
    for _, true, hands in predict_sequences(batches, {"raw": predictor}, truth, held_out.sequence, held_out.frame, held_out.time):
        for tuning in tunings.values():
            tuning.add(hands["raw"].joints, true)
    for tuning in tunings.values():
        tuning.sums = total(tuning.sums)
    best = {name: tunings[name].best(row.smooth) for name, row in FILTERED_ROWS.items()}
    smooth = [name for name, row in FILTERED_ROWS.items() if row.smooth]
    return {name: chosen for name, (chosen, _) in best.items()}, min(smooth, key=lambda name: best[name][1])


def build_predictors(
    stage1: torch.nn.Module,
    stage2: torch.nn.Module | None,
    accelerator: Accelerator,
    clips: Clips,
    watch: dict[str, Callable],
    shaped: Callable[[HandPrediction, ClipBatch], HandPrediction] = lambda prediction, _: prediction,
) -> tuple[dict[str, Predictor], PerFrame]:
    """({stage: its predictor}, Stage 1 unwatched). `watch` sees each stage's predictions with their batches, after `shaped` changed them."""
    encode2 = encode_once(stage2, accelerator.autocast) if stage2 else None
    encode1 = encode2 if stage2 and stage1.spatial is stage2.spatial else encode_once(stage1, accelerator.autocast)

    def predict1(batch: ClipBatch) -> HandPrediction:
        features, heatmaps = encode1(batch)
        return shaped(stage1.decode(features, batch, heatmaps), batch)

    found = {"stage1": PerFrame(lambda batch: watch["stage1"](predict1(batch), batch))}
    if stage2:
        rows_of_clip = partial(clip_rows, previous=clips.previous)
        bounds = {"max_gap": MAX_GAP_S + CLOCK_S, "max_age": MAX_AGE_S + CLOCK_S}

        def decode2(features: torch.Tensor, batch: ClipBatch) -> HandPrediction:
            return shaped(stage2.decode(features, batch), batch)

        found["stage2"] = Temporal(
            lambda batch: encode2(batch)[0], decode2, stage2.num_frame, rows_of_clip, **bounds, watch=watch["stage2"]
        )
    return found, PerFrame(predict1)


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
        "left_out": {"rows": ledger.left_out, "of": ledger.read, "by_source": by_source(ledger.bad, split.table)},
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


def run_protocol(config: DictConfig, accelerator: Accelerator, stage1: torch.nn.Module, stage2: torch.nn.Module | None) -> None:
    """Prints and writes what a data set's official script says of each given network."""
    protocol, out, started = find_protocol(config.protocol), Path(config.out), time.perf_counter()

    # ----- what is compared with what ----------------------------------------------------------------------------------------------------
    split = Split(config, config.split, stage1, accelerator)
    table = split.table
    check_sources(protocol, np.unique(table.column("source")), config.data)
    check_files(protocol, config.protocol_root, config.submission)
    order = read_order(config.data, config.split) if config.submission or config.protocol_root else None
    official = read_truth(config.protocol_root, protocol.convention) if config.protocol_root and accelerator.is_main_process else None
    given = [name for name in ("stage1", "stage2") if config[name]]
    for network in filter(None, (stage1, stage2)):
        network.to(accelerator.device)
    unwatched = dict.fromkeys(("stage1", "stage2"), lambda prediction, _: prediction)
    shaped = {"shaped": with_true_shape(stage1.hand)} if protocol.true_shape else {}
    built, _ = build_predictors(stage1, stage2, accelerator, split.dataset.clips, unwatched, **shaped)

    # ----- every frame of the split ------------------------------------------------------------------------------------------------------
    collector = Collector(given, table.column("is_right"), protocol.vertices)
    batches = split.batches(f"predicting {config.split}")
    predictors, truth_keeper = {name: built[name] for name in given}, TruthKeeper(stage1.hand, stage1.expansion)
    for found in predict_sequences(batches, predictors, truth_keeper, split.sequence, split.frame, split.time):
        collector.add(*found)
    parts, ledger = gather(collector.content()), Ledger.total(gather(split.ledger))
    if not accelerator.is_main_process:
        return

    # ----- what the script would print ---------------------------------------------------------------------------------------------------
    if ledger.left_out:
        print(left_out_line(ledger, table))
    merged = merge(parts)
    columns = {name: table.column(name)[merged["row"]] for name in COLUMNS}
    meshes = {name: torch.from_numpy(merged[name]) for name in ("vertices", "vertices_mask") if name in merged}
    truth = Truth.of_columns(columns, **meshes)
    if official:
        truth = with_official_truth(truth, order, *official)
    hands = predictions(merged, given)
    rows = evaluate_protocol(protocol, truth, hands)
    about = {"protocol": config.protocol, "title": protocol.title, "n": len(truth), "truth": config.protocol_root or "the table's labels"}
    about |= {"missing": len(set(order) - set(truth.keys())) if config.protocol_root else None}
    print(f"Evaluated on {len(truth)} samples from all {accelerator.num_processes} processes")
    if config.submission:
        in_table = set(zip(table.column("sequence").tolist(), table.column("frame").tolist()))
        count = protocol.submission(config.submission, order, truth.keys(), in_table, hands[given[-1]])
        print(f"wrote '{config.submission}': {count} samples of {given[-1]} in the official order")
    else:
        check_truth(protocol, truth, rows)
    content = protocol_json(
        rows, drawn_by(table), **about, **provenance(config, ledger, split), seconds=round(time.perf_counter() - started, 2)
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

    # ----- what is compared --------------------------------------------------------------------------------------------------------------
    split = Split(config, config.split, stage1, accelerator)
    constant = fit_baseline(config, stage1) if config.fit_split else None
    if config.fit_split and not constant:
        notes = [*notes, f"no constant hand (mean_pose): no hand of split '{config.fit_split}' is fully labelled (fit_split)"]
    for network in filter(None, (stage1, stage2)):
        network.to(accelerator.device)
    losses = {name: LossOverFrames(network) for name, network in (("stage1", stage1), ("stage2", stage2)) if network}
    stages, unwatched = build_predictors(
        stage1, stage2, accelerator, split.dataset.clips, {name: loss.watch for name, loss in losses.items()}
    )
    filters, best_filter = tune_filters(config, stage1, unwatched, accelerator, total)
    predictors = ({"mean_pose": PerFrame(constant)} if constant else {}) | stages
    rows = [row for row in ("mean_pose", "stage1", *FILTERED_ROWS, "stage2") if row in predictors or row in filters]

    # ----- every frame of the split ------------------------------------------------------------------------------------------------------
    choices = choose_strips(split.table.column("hidden"), split.starts, split.table.column("sequence"), config.strips)
    if accelerator.is_main_process:
        for old in out.glob("strip_*.npz"):
            old.unlink()
    accelerator.wait_for_everyone()
    strips = StripKeeper(choices, out)
    batches = strips.watching(split.batches(f"evaluating {config.split}"))
    sequences = predict_sequences(batches, predictors, TruthKeeper(stage1.hand, stage1.expansion), split.sequence, split.frame, split.time)
    smoothed = {row: ("stage1", smooth) for row, smooth in filters.items()}
    board = score_sequences(sequences, rows, smoothed, split.recording, int(split.recording.max()) + 1, strips.watch)

    # ----- the result --------------------------------------------------------------------------------------------------------------------
    board.reduce(total)
    ledger = Ledger.total(gather(split.ledger))
    totals = {name: loss.sums.totals(gather) for name, loss in losses.items()}
    accelerator.wait_for_everyone()
    count, processes = board.compute()[rows[0]][ALL]["n"], accelerator.num_processes
    assert ledger.read == len(split.table), f"{ledger.read} rows were read, the split has {len(split.table)}"
    assert count + ledger.left_out == ledger.read, f"{count} samples were evaluated and {ledger.left_out} left out, of {ledger.read}"
    accelerator.print(f"Evaluated on {count} samples from all {processes} processes")
    if accelerator.is_main_process:
        if ledger.left_out:
            print(left_out_line(ledger, split.table))
        about = provenance(config, ledger, split)
        about |= {"test_loss": {name: terms.loss(weights[name]) if name in weights else None for name, terms in totals.items()}}
        about |= {"loss_terms": {name: terms.means() for name, terms in totals.items()}}
        about |= {FILTERED_ROWS[row].key: asdict(smooth) | {"tuned_on": config.tune_split} for row, smooth in filters.items()}
        about |= {"notes": notes, "best_filter": best_filter, "seconds": round(time.perf_counter() - started, 2)}
        content = to_json(board, drawn_by(split.table), **about)
        write_json(out / METRICS_NAME, content)
        print("\n" + format_tables(content))
        print("".join(f"\n{note}\n" for note in notes), end="")
        if silent := without_sample(content):
            print(f"\nno valid sample for: {', '.join(silent)}")
        print(f"\nwrote '{out / METRICS_NAME}' and {len(choices)} strips")


@data_by_name_or_folder(CONFIG / "data")
@hydra.main(version_base="1.3", config_path="../config", config_name="evaluate")
@run_clearly
def main(config: DictConfig) -> None:
    if config.submission and not config.protocol or config.protocol_root and not config.protocol:
        raise ValueError("submission and protocol_root belong to a protocol: give protocol=<name>")
    accelerator = Accelerator(mixed_precision=config.mixed_precision, cpu=config.device == "cpu")
    stage1, stage2, weights = load_networks(config)
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
