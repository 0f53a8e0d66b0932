"""The evaluation by a data set's own protocol: its official files, and what networks predict of its
samples."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from tempohand.assemble.evaluation import Evaluation, EvaluationFrames
from tempohand.data.addresses import on_disk, place
from tempohand.data.ledger import Ledger, left_out_line
from tempohand.evaluation.protocols.challenge_files import read_truth, with_official_truth
from tempohand.evaluation.protocols.official_order import Key, order_name, read_order
from tempohand.evaluation.protocols.protocol import Protocol
from tempohand.evaluation.samples import Collector, Prediction, Truth, merge, predictions
from tempohand.evaluation.stages import build_predictors, unchanged


@dataclass
class OfficialFiles:
    """The official order of a split's samples, and their official joints [m, 21, 3] and vertices [m, 778, 3]
    (mm, OpenCV camera space) in that order; None where they are not asked for, or not on this process."""

    order: list[Key] | None
    truth: tuple[Float[Tensor, "m 21 3"], Float[Tensor, "m 778 3"]] | None

    @classmethod
    def read(cls, evaluation: Evaluation, protocol: Protocol, frames: EvaluationFrames) -> "OfficialFiles":
        """Checks that table and settings are of the protocol, and reads what they ask for.

        Raises ValueError or FileNotFoundError in one line.
        """
        settings, splits = evaluation.settings, evaluation.splits
        root, submission = (
            settings[name] and on_disk(settings[name]) for name in ("protocol_root", "submission")
        )
        protocol.check_sources(np.unique(frames.table.column("source")), splits.table)
        protocol.check_files(root, submission)
        file = place(splits.table) / order_name(splits.evaluated)
        order = read_order(file) if submission or root else None
        if not (root and evaluation.accelerator.is_main_process):
            return cls(order, None)
        assert protocol.convention is not None, "a protocol with official files says their convention"
        return cls(order, read_truth(root, protocol.convention))


def predict_samples(
    evaluation: Evaluation, protocol: Protocol, frames: EvaluationFrames, official: OfficialFiles
) -> tuple[Truth, dict[str, Prediction], Ledger] | None:
    """(the truth, each given stage's prediction of it, the rows that all processes left out); None on all
    processes but the main one, which says what was left out. Call it on all processes at once."""
    built, _ = build_predictors(
        evaluation.stage1,
        evaluation.stage2,
        evaluation.accelerator.autocast,
        frames.dataset.clips.of_stream,
        shaped=protocol.adapt(evaluation.stage1.hand) if protocol.adapt else unchanged,
    )
    collector = Collector(evaluation.given, frames.table.column("is_right"), protocol.vertices)
    title = f"predicting {evaluation.splits.evaluated}"
    for found in frames.predict({name: built[name] for name in evaluation.given}, title):
        collector.add(*found)
    parts = evaluation.gather(collector.content())
    ledger = Ledger.total(evaluation.gather(frames.ledger))
    if not evaluation.accelerator.is_main_process:
        return None
    if ledger.left_out:
        print(left_out_line(ledger, frames.table))
    merged = merge(parts)
    truth = Truth.of_merged(merged, frames.table.column)
    if official.truth and official.order:
        truth = with_official_truth(truth, official.order, *official.truth)
    return truth, predictions(merged, evaluation.given), ledger


def write_submission(
    evaluation: Evaluation,
    protocol: Protocol,
    frames: EvaluationFrames,
    order: list[Key],
    truth: Truth,
    hands: dict[str, Prediction],
) -> str:
    """Writes the official file of the last given stage; what was written, in words. Raises ValueError where a
    sample has no prediction."""
    path, stage = on_disk(evaluation.settings["submission"]), evaluation.given[-1]
    table = frames.table
    in_table = set(zip(table.column("sequence").tolist(), table.column("frame").tolist()))
    assert protocol.submission is not None, "checked before (check_files)"
    count = protocol.submission(path, order, truth.keys(), in_table, hands[stage])
    return f"wrote '{path}': {count} samples of {stage} in the official order"
