"""The validation of a training run: which rows are scored, by what, and the one score that decides which
checkpoint is best."""

from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from tempohand.assemble.data import TrainingData, loader_workers
from tempohand.data.ledger import BAD_ROWS_NAME, BadRowWatch, Ledger, left_out_line
from tempohand.data.loader import ClipReader, evaluation_batches
from tempohand.evaluation.validation import BATCH, BestScore, scores_of
from tempohand.model.network import Network
from tempohand.model.registry import network_class
from tempohand.training.objective import weights_at
from tempohand.training.processes import gather


def watch_bad_rows(
    settings: dict, data: TrainingData, accelerator: Accelerator, resumed: bool
) -> BadRowWatch:
    """The watch over what a run leaves out, which knows what the labels of both splits say already. Raises
    ValueError where too many training rows contradict themselves."""
    watch = BadRowWatch(
        Path(settings["out"]) / BAD_ROWS_NAME,
        settings["data"]["max_bad"],
        gather=gather,
        say=accelerator.print,
        main=accelerator.is_main_process,
        resumed=resumed,
    )
    for clips, judged in ((data.training, True), (data.held_out, False)):
        watch.known(clips.inconsistent, clips.table, judged=judged)
    return watch


class RunValidation:
    """Scores a network on the validation rows of a run, shared out among processes. settings: the whole
    training configuration; bad_rows: is told what was left out.

    Raises ValueError where no row has labels by which a best checkpoint could be chosen.
    """

    def __init__(self, settings: dict, data: TrainingData, accelerator: Accelerator, bad_rows: BadRowWatch):
        self.accelerator = accelerator
        self.bad_rows = bad_rows
        self.training_table = data.mixture.train
        self.table = data.mixture.validation
        self.rows = data.validation_rows
        kind = network_class(settings["network"])
        self.scores = scores_of(kind.prediction)
        self.expansion = settings["network"]["expansion"]
        self.loss, self.steps = settings["loss"], settings["optim"]["steps"]
        self.batch_size = min(settings["optim"]["batch_size"], BATCH)
        self.workers = loader_workers(settings)
        usable = np.setdiff1d(self.rows, list(data.held_out.inconsistent))
        masks = (self.table.column(name)[usable] for name in ("joints_mask", "joints2d_mask"))
        self.best: BestScore = self.scores.best(*masks, kind.best_by)

    @torch.no_grad()
    def __call__(self, network: Network, clips: ClipReader, step: int, ledger: Ledger) -> dict[str, float]:
        """The scores after `step` optimizer steps, which are printed too. clips: the validation split, of
        pictures or of features; ledger: what training left out so far. The network is in evaluation mode
        afterwards."""
        network.eval()
        results = self.scores(self.expansion, self.table.sequence_starts(), self.table.column("time"))
        left_out = Ledger()
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        for batch in evaluation_batches(
            clips, self.rows, self.batch_size, self.workers, left_out, rank=rank, world=world
        ):
            batch = batch.to(self.accelerator.device)
            with self.accelerator.autocast():
                prediction = network(batch)
                terms = network.criterion(prediction, batch)
            results.add(prediction, batch, terms)
        scores = results.means(gather, weights_at(self.loss, step, self.steps))
        missing = self.bad_rows.total(left_out, self.table)
        training = self.bad_rows.total(ledger, self.training_table)
        lines = [results.line(scores), left_out_line(missing, self.table)]
        lines += [self.bad_rows.line(training, self.training_table)] if training.left_out else []
        for line in lines:
            if line:
                self.accelerator.print(f"step {step}: {line}")
        return scores | {"left_out": missing.left_out}
