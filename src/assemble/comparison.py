"""The comparison of an evaluation: a constant hand, MediaPipe's landmarks, Stage 1, Stage 1 under classical
filters and Stage 2, all on the same frames."""

import copy
from dataclasses import asdict, dataclass
from pathlib import Path

from tempohand.assemble.evaluation import Evaluation, EvaluationFrames, constant_hand_of
from tempohand.assemble.landmarks import LandmarkBaseline
from tempohand.data.ledger import Ledger
from tempohand.evaluation.evaluator import PerFrame, Predictor
from tempohand.evaluation.report.strips import StripKeeper, choose_strips
from tempohand.evaluation.results import to_json
from tempohand.evaluation.scores import LossOverFrames, ScoreBoard
from tempohand.evaluation.splits import ALL
from tempohand.evaluation.stages import build_predictors
from tempohand.evaluation.tuning import FILTERED_ROWS, HandFilter, default_filters, tune_filters
from tempohand.model.landmarks import HandLandmarkNetwork


@dataclass
class ComparedRows:
    """The rows of a comparison: predictors, and filters of Stage 1.

    best_filter: the row whose filter was better where they were tuned. losses: stage -> its loss over the
    frames. notes: what to say of rows that are missing.
    """

    predictors: dict[str, Predictor]
    filters: dict[str, HandFilter]
    best_filter: str
    losses: dict[str, LossOverFrames]
    notes: list[str]

    @property
    def names(self) -> list[str]:
        """The rows in the order in which they are shown."""
        order = ("mean_pose", "landmarks", "landmarks_fit", "stage1", *FILTERED_ROWS, "stage2")
        return [row for row in order if row in self.predictors or row in self.filters]

    def smoothed(self) -> dict[str, tuple[str, HandFilter]]:
        """Filtered row -> (the row that is filtered, the filter)."""
        return {row: ("stage1", smooth) for row, smooth in self.filters.items()}


def compared_rows_of(evaluation: Evaluation, frames: EvaluationFrames) -> ComparedRows:
    """What can be compared: the constant hand of `fit_split`, with `landmarks` MediaPipe's alone and a hand
    fitted to them, the stages that are given, and filters tuned on `tune_split`. Call it on all processes at
    once."""
    settings, splits = evaluation.settings, evaluation.splits
    notes = list(splits.notes)
    predictors: dict[str, Predictor] = {}
    if splits.fit:
        constant = constant_hand_of(splits.table, splits.fit, settings["fit_rows"], evaluation.stage1)
        if constant:
            predictors["mean_pose"] = PerFrame(constant)
        else:
            notes.append(
                f"no constant hand (mean_pose): no hand of split '{splits.fit}' is fully labelled (fit_split)"
            )
    if settings["landmarks"]:
        predictors |= landmark_baseline(evaluation).rows()
    losses = {name: LossOverFrames(network) for name, network in evaluation.networks().items()}
    stages, unwatched = build_predictors(
        evaluation.stage1,
        evaluation.stage2,
        evaluation.accelerator.autocast,
        frames.dataset.clips.of_stream,
        {name: loss.watch for name, loss in losses.items()},
    )
    if splits.tune:
        held_out = evaluation.frames(splits.tune, settings["tune_frames"])
        found = held_out.predict({"raw": unwatched}, "tuning the filters")
        filters, best = tune_filters(
            ((hands["raw"].joints, true) for _, true, hands in found), evaluation.total
        )
    else:
        filters, best = default_filters()
    return ComparedRows(predictors | stages, filters, best, losses, notes)


def landmark_baseline(evaluation: Evaluation) -> LandmarkBaseline:
    """MediaPipe's network on the evaluation's device; fits, of small matrices in double precision, on the
    CPU."""
    stage1 = evaluation.stage1
    network = HandLandmarkNetwork.load().to(evaluation.accelerator.device)
    return LandmarkBaseline(network, copy.deepcopy(stage1.hand).cpu(), stage1.crop.expansion)


def new_strips(evaluation: Evaluation, frames: EvaluationFrames, out: Path) -> StripKeeper:
    """The strips to keep for the report, in the folder `out`, from which those of an earlier evaluation are
    removed."""
    table = frames.table
    choices = choose_strips(
        table.column("hidden"), frames.starts, table.column("sequence"), evaluation.settings["strips"]
    )
    if evaluation.accelerator.is_main_process:
        for old in out.glob("strip_*.npz"):
            old.unlink()
    evaluation.accelerator.wait_for_everyone()
    return StripKeeper(choices, out)


def comparison_json(
    evaluation: Evaluation, frames: EvaluationFrames, rows: ComparedRows, board: ScoreBoard
) -> tuple[dict | None, Ledger]:
    """(the content of metrics.json, None on all processes but the main one; the rows that all processes left
    out). board: summed over processes. Call it on all processes at once."""
    ledger = Ledger.total(evaluation.gather(frames.ledger))
    totals = {name: loss.sums.totals(evaluation.gather) for name, loss in rows.losses.items()}
    evaluation.accelerator.wait_for_everyone()
    count = board.compute()[rows.names[0]][ALL]["n"]
    assert ledger.read == len(frames.table), (
        f"{ledger.read} rows were read, the split has {len(frames.table)}"
    )
    assert count + ledger.left_out == ledger.read, (
        f"{count} samples were evaluated and {ledger.left_out} left out, of {ledger.read}"
    )
    if not evaluation.accelerator.is_main_process:
        return None, ledger
    weights = evaluation.loss_weights
    about = {
        **evaluation.provenance(frames, ledger),
        "test_loss": {
            name: terms.loss(weights[name]) if name in weights else None for name, terms in totals.items()
        },
        "loss_terms": {name: terms.means() for name, terms in totals.items()},
        **{
            FILTERED_ROWS[row].key: asdict(smooth) | {"tuned_on": evaluation.splits.tune}
            for row, smooth in rows.filters.items()
        },
        "notes": rows.notes,
        "best_filter": rows.best_filter,
        "seconds": evaluation.seconds(),
    }
    return to_json(board, frames.drawn_by(), **about), ledger
