"""What the loop does with a step besides training: the loss of all processes, tables on request, numbers for
the log, and a stop when values are not finite."""

import math
import os
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from tempohand.batch import BoxPrediction, ClipBatch, HandPrediction, Term
from tempohand.training.diagnostics import describe_batch, describe_terms
from tempohand.training.guard import StepGuard
from tempohand.training.objective import combine, weighted_sum
from tempohand.training.tally import Tally
from tempohand.training.update_ratio import UpdateRatio

DEBUG_LOSS_VARIABLE = "TEMPOHAND_DEBUG_LOSS"


class StepWatch:
    """Each optimizer step: `begin`, for every micro-step `loss`, before the optimizer's step `gradient`; and
    `numbers` where it is logged.

    settings: the whole configuration, as plain dicts; folder: where dumps go; config: what a checkpoint's
    config.json holds, when asked; describe: rows of the training table to words; command: what
    `debug.replay=<dump>` is given to.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        network: nn.Module,
        settings: dict,
        folder: Path,
        *,
        config: Callable[[], dict],
        describe: Callable[[list[int]], list[str]],
        command: str,
    ):
        self.accelerator, self.weights, debug = accelerator, settings["loss"], settings["debug"]
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.tally, self.ratio = (
            Tally(self.weights, debug["warn_after"], accelerator.print),
            UpdateRatio(network),
        )
        self.tables, self.table_of_terms = (
            debug["first_batches"],
            debug["loss"] or os.environ.get(DEBUG_LOSS_VARIABLE, "0") not in ("", "0"),
        )
        self.guard = StepGuard(
            network,
            self.weights,
            folder,
            settings=settings,
            config=config,
            describe=describe,
            rank=accelerator.process_index,
            gather=lambda own: gather_object([own]),
            scale=lambda: accelerator.scaler.get_scale() if accelerator.scaler else None,
            replay=command,
        )
        self.step, self.logged, self.means, self.norm = 0, False, [], math.nan
        self.steps, self.clipped, self.skipped = 0, 0, 0

    def begin(self, step: int, *, logged: bool) -> None:
        """`step` steps are done, the next one begins; `logged`: `numbers` will be asked for after it."""
        self.step, self.logged, self.means = step, logged, []
        self.guard.begin(step)

    def loss(
        self, batch: ClipBatch, prediction: HandPrediction | BoxPrediction, terms: dict[str, Term]
    ) -> Tensor:
        """The loss to differentiate on this process (objective.combine). Raises ValueError when it is not
        finite."""
        processes = self.accelerator.num_processes
        sums = (lambda x: self.accelerator.reduce(x, "sum")) if processes > 1 else None
        loss, raw = combine(terms, self.weights, sums, processes, self.tally)
        here = f" (the share of process 0 of {processes})" if processes > 1 else ""
        if self.tables > 0:
            self.tables -= 1
            self._say(f"step {self.step + 1}{here}: ", describe_batch(batch, prediction))
        if self.table_of_terms:
            self._say(
                f"step {self.step + 1}{here}: ", describe_terms(terms, raw, self.weights, prediction, batch)
            )
        self.guard.loss(batch, terms, raw)
        self.means.append(raw)
        return loss

    def gradient(self, clip: float) -> None:
        """Clips the gradients to a norm of `clip`. Raises ValueError when they are not finite, before
        anything is changed."""
        self.accelerator.unscale_gradients()
        norm = torch.nn.utils.get_total_norm(
            [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        )
        self.norm = norm.item()
        self.guard.gradient(self.norm)
        torch.nn.utils.clip_grads_with_norm_(self.parameters, clip, norm)
        self.steps += 1
        self.clipped += self.norm > clip
        self.skipped += not math.isfinite(self.norm)
        if self.logged:
            self.ratio.before()

    def numbers(self) -> tuple[Tensor, dict[str, Tensor], dict[str, float | Tensor]]:
        """After the optimizer's step: its loss and every term's mean, over its micro-steps and all processes;
        the gradient's norm and how much the weights changed; since the last call, the share of steps that
        were clipped and of entries that had a label."""
        names = dict.fromkeys(name for raw in self.means for name in raw)
        raw = {
            name: torch.stack([mean[name] for mean in self.means if name in mean]).mean() for name in names
        }
        loss = torch.stack([weighted_sum(mean, self.weights) for mean in self.means]).mean()
        others = {
            "grad_norm": self.norm,
            "clipped": self.clipped / self.steps,
            **self.ratio.after(),
            **self.tally.close_interval(),
        }
        if self.accelerator.scaler:
            others["skipped"] = self.skipped / self.steps
        self.steps, self.clipped, self.skipped = 0, 0, 0
        return loss, raw, others

    def _say(self, head: str, lines: list[str]) -> None:
        self.accelerator.print("\n" + head + "\n".join(lines), flush=True)
