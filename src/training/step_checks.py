"""What is checked in every optimizer step, on all processes together: whether loss and gradient are finite,
how large the gradient is, which loss terms had labels, how much the weights changed."""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from tempohand.batch import ClipBatch, Term
from tempohand.training.debug.dump import write_dump
from tempohand.training.debug.not_finite import (
    ForwardOrder,
    Verdict,
    bad_fields,
    bad_terms,
    bad_weights,
    first_few,
    loss_verdict,
    verdict_in_words,
)
from tempohand.training.debug.tables import describe_batch, describe_terms
from tempohand.training.objective import LabelCount, combine_and_count, weighted_sum, weights_at
from tempohand.training.optim import part_names
from tempohand.training.processes import gather, sum_over_processes

DEBUG_LOSS_VARIABLES = ("TEMPOHAND_DEBUG_LOSS", "UTNET_DEBUG_LOSS")  # the second: UTNet's own, of old
ROWS_SHOWN = 6
OUT_OF_RANGE = 0.25  # share of a term's labels, in a log interval, from which on it is warned of


class StepChecks:
    """Each optimizer step: `begin_step`, for every micro-step `loss`, before the optimizer's step
    `clip_gradient`; and after it `log_values`, where it is logged.

    A loss or a gradient that is not finite ends the run before the optimizer's step: what is looked at is the
    same on all processes, so all end together. The main process raises ValueError, which says in one line
    where it began; the others raise SystemExit(2). Before that, the step is left in <out>/debug/step-<n>
    (debug/dump.py).

    settings: the whole configuration, as plain dicts; config: what the config.json of this run's checkpoints
    says of the network; describe_row: a row of the training table in words; command: what
    `debug.replay=<dump>` is given to.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        network: Any,
        settings: dict,
        config: dict,
        describe_row: Callable[[int], str],
        command: str,
    ):
        debug = settings["debug"]
        self.accelerator = accelerator
        self.network = network
        self.settings = settings
        self.config = config
        self.describe_row = describe_row
        self.command = command
        self.weights = weights_at(settings["loss"], 0, settings["optim"]["steps"])
        self.trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.label_shares = LabelShares(self.weights, debug["warn_after"], accelerator.print, network.terms)
        self.update_ratio = UpdateRatio(network)
        self.order = ForwardOrder(network)
        self.batch_tables_left = debug["first_batches"]
        wanted = any(os.environ.get(name, "0") not in ("", "0") for name in DEBUG_LOSS_VARIABLES)
        self.term_tables = debug["loss"] or wanted
        # of this step
        self.step = 0
        self.logged = False
        self.batches: list[ClipBatch] = []
        self.means: list[dict[str, Tensor]] = []
        # since the last log line
        self.norms: list[float] = []
        self.clipped = 0

    def begin_step(self, step: int, *, logged: bool) -> None:
        """`step` steps are done, the next one begins; `logged`: `log_values` will be asked for after it."""
        self.step = step
        self.weights = weights_at(self.settings["loss"], step, self.settings["optim"]["steps"])
        self.label_shares.weights = self.weights
        self.logged = logged
        self.batches = []
        self.means = []

    def loss(self, batch: ClipBatch, prediction: object, terms: dict[str, Term]) -> Tensor:
        """The loss to differentiate on this process (objective.combine), as a scalar tensor."""
        processes = self.accelerator.num_processes
        sums = sum_over_processes if processes > 1 else None
        loss, means, counts = combine_and_count(terms, self.weights, sums, processes, self.network.terms)
        self.label_shares.add(counts)
        self.batches.append(batch)
        self.means.append(means)
        if self.batch_tables_left > 0:
            self.batch_tables_left -= 1
            self._print_table(describe_batch(batch, prediction))
        if self.term_tables:
            self._print_table(describe_terms(terms, means, self.weights, prediction, batch))
        if verdict := loss_verdict(means, self.weights):
            rows = bad_terms({name: terms[name] for name in verdict["loss"] if name in terms}, batch)
            self._stop(verdict, sorted({row for of_term in rows.values() for row in of_term}))
        return loss

    def clip_gradient(self, limit: float) -> None:
        """Scales the gradients down to a norm of `limit` over all trained parameters, where it is larger.

        Under float16 a norm that is not finite may be the loss scale's doing: the scaler then skips the step
        and halves its scale, until no scale is left to blame.
        """
        self.accelerator.unscale_gradients()
        gradients = [parameter.grad for parameter in self.trained if parameter.grad is not None]
        total = torch.nn.utils.get_total_norm(gradients)
        norm = total.item()
        scaler = self.accelerator.scaler
        if not math.isfinite(norm) and (scaler is None or scaler.get_scale() <= 1):
            rows = [row for batch in self.batches for row in batch.row.tolist()]
            self._stop({"gradient": self.order.bad_gradients()}, rows)
        torch.nn.utils.clip_grads_with_norm_(self.trained, limit, total)
        self.norms.append(norm)
        self.clipped += norm > limit
        if self.logged:
            self.update_ratio.before()

    def log_values(self) -> dict[str, float | Tensor]:
        """After the optimizer's step, of it: the loss and every term's mean (raw/<term>, and times its weight
        loss/<term>), over its micro-steps and all processes; the gradient's norm and how much the weights
        changed. Since the last call: the share of steps that were clipped (and skipped, under float16), and
        of entries that had a label."""
        names = dict.fromkeys(name for means in self.means for name in means)
        raw = {
            name: torch.stack([means[name] for means in self.means if name in means]).mean() for name in names
        }
        values = {"loss": torch.stack([weighted_sum(means, self.weights) for means in self.means]).mean()}
        values |= {f"raw/{name}": value for name, value in raw.items()}
        values |= {
            f"loss/{name}": value * self.weights[name]
            for name, value in raw.items()
            if self.weights.get(name)
        }
        values |= {"grad_norm": self.norms[-1], "clipped": self.clipped / len(self.norms)}
        values |= self.update_ratio.after() | self.label_shares.close_interval()
        if self.accelerator.scaler:
            values["skipped"] = sum(not math.isfinite(norm) for norm in self.norms) / len(self.norms)
        self.norms = []
        self.clipped = 0
        return values

    def _print_table(self, lines: list[str]) -> None:
        processes = self.accelerator.num_processes
        here = f" (the share of process 0 of {processes})" if processes > 1 else ""
        self.accelerator.print(f"\nstep {self.step + 1}{here}: " + "\n".join(lines), flush=True)

    def _stop(self, verdict: Verdict, rows: list[int]) -> None:
        """Leaves a dump and ends the run, on all processes at once. rows: those of this process that had a
        part in it."""
        folder = Path(self.settings["out"]) / "debug" / f"step-{self.step + 1:08d}"
        samples = [self.describe_row(row) for row in rows]
        bad = [
            (field, self.describe_row(row))
            for batch in self.batches
            for field, rows_of_field in bad_fields(batch).items()
            for row in rows_of_field
        ]
        found = gather({"samples": samples, "bad": bad})
        config = {**self.config, "step": self.step}
        debug = {"step": self.step, "verdict": verdict, "settings": self.settings}
        error = write_dump(self.accelerator, folder, self.network, self.batches, config, debug)
        if not self.accelerator.is_main_process:
            raise SystemExit(2)
        what = verdict_in_words(verdict, f" at optimizer step {self.step + 1}")
        if "gradient" in verdict:
            total = sum(parameter.grad is not None for parameter in self.network.parameters())
            what += f" ({len(verdict['gradient'])} of {total} parameters)"
        if samples := list(dict.fromkeys(row for of_process in found for row in of_process["samples"])):
            what += f"; samples: {first_few(samples, ROWS_SHOWN)}"
        cause = self._cause([field_and_row for of_process in found for field_and_row in of_process["bad"]])
        replay = f"to look closer: {self.command} debug.replay={folder}"
        raise ValueError(f"{what}; {cause}; {f'no dump could be left ({error})' if error else replay}")

    def _cause(self, bad: list[tuple[str, str]]) -> str:
        """What was not finite to begin with. bad: the data's fields and in which rows, of all processes."""
        rows_of_field: dict[str, list[str]] = {}
        for field, row in bad:
            rows_of_field.setdefault(field, []).append(row)
        if rows_of_field:
            fields = [f"{field} of {first_few(rows, ROWS_SHOWN)}" for field, rows in rows_of_field.items()]
            return f"not finite in the data: {'; '.join(fields)}"
        if weights := bad_weights(self.network):
            return f"not finite in the weights: {first_few(weights)}"
        return "data and weights are finite"


class LabelShares:
    """Adds up which share of each loss term's entries had a label since the last log line, and warns, once a
    term, in one line through `warn`.

    A term with a weight is warned of when nothing of it was valid for `warn_after` batches in a row or in a
    whole log interval, and when more than OUT_OF_RANGE of its labels lie where it cannot represent them.
    Terms that this network or data does not have at all are left alone. Raises ValueError where `warn_after`
    is below 1.

    labels: term -> what switches its labels on, in words (the network's `terms`).
    """

    def __init__(
        self,
        weights: dict[str, float],
        warn_after: int,
        warn: Callable[[str], None] = print,
        labels: Mapping[str, str] | None = None,
    ):
        if warn_after < 1:
            raise ValueError(f"debug.warn_after={warn_after} must be at least 1 batch")
        self.weights = weights
        self.warn_after = warn_after
        self.warn = warn
        self.labels = labels or {}
        self.interval: dict[str, LabelCount] = {}
        self.batches = 0
        self.empty_batches: dict[str, int] = {}  # in a row
        self.warned: set[str] = set()

    def add(self, counts: dict[str, LabelCount]) -> None:
        """One batch of all processes."""
        self.batches += 1
        for name, count in counts.items():
            self.interval[name] = self.interval.get(name, LabelCount()) + count
            empty = count.entries and not count.valid
            self.empty_batches[name] = self.empty_batches.get(name, 0) + 1 if empty else 0
            if self.empty_batches[name] == self.warn_after:
                self._warn_nothing_valid(name, f"{self.warn_after} batches in a row")

    def close_interval(self) -> dict[str, float]:
        """The shares since the last call, for the log: valid/<term>, and out_of_range/<term> where a term has
        a range."""
        shares = {}
        for name, count in self.interval.items():
            if not count.entries:
                continue
            shares[f"valid/{name}"] = count.valid / count.entries
            if not count.valid:
                self._warn_nothing_valid(name, f"all {self.batches} batches since the last log line")
            if count.known != count.valid:
                out = 1 - count.valid / count.known
                shares[f"out_of_range/{name}"] = out
                if out > OUT_OF_RANGE:
                    self._warn_once(
                        f"out of range {name}",
                        f"{out:.0%} of the labels of the loss term '{name}' lie outside what it can "
                        "represent "
                        "and teach it nothing: do boxes enclose their hands, is the augmentation "
                        "(view.augmentation.shift, scale) too strong, are units mm and px?",
                    )
        self.interval = {}
        self.batches = 0
        return shares

    def _warn_nothing_valid(self, name: str, where: str) -> None:
        weight = self.weights.get(name)
        if weight:
            cause = (
                f"the table's {self.labels[name]} switch it on"
                if name in self.labels
                else "its labels' masks are all False"
            )
            self._warn_once(
                name, f"the loss term '{name}' (weight {weight:g}) had no valid entry in {where}: {cause}"
            )

    def _warn_once(self, what: str, message: str) -> None:
        if what not in self.warned:
            self.warned.add(what)
            self.warn(f"warning: {message}")


class UpdateRatio:
    """Norm of an optimizer step's change over the norm of the weights before it, for each of the
    network's parts and the rest: a healthy rate is some 1e-3 a step, and 0 is a part that does not learn.

    `before` keeps a copy of every trainable parameter until `after`: use it at the steps that are logged.
    """

    def __init__(self, network: nn.Module):
        self.parts: dict[str, list[nn.Parameter]] = {}
        part = part_names(network)
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                self.parts.setdefault(part[name], []).append(parameter)
        self.copies: dict[str, list[Tensor]] = {}

    def before(self) -> None:
        """Notes the weights as they are."""
        self.copies = {
            part: [parameter.detach().clone() for parameter in parameters]
            for part, parameters in self.parts.items()
        }

    @torch.no_grad()
    def after(self) -> dict[str, Tensor]:
        """update/<part> since `before`."""
        ratios = {}
        for part, parameters in self.parts.items():
            now = [parameter.detach() for parameter in parameters]
            change = list(torch._foreach_sub(now, self.copies[part]))
            ratios[f"update/{part}"] = _norm(change) / _norm(self.copies[part])
        self.copies = {}
        return ratios


def _norm(tensors: list[Tensor]) -> Tensor:
    return torch.stack(torch._foreach_norm(tensors)).norm()
