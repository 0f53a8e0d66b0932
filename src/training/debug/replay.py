"""Does the step of a dump again, on one process, and says where values stop being finite."""

import math
import warnings
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tempohand.batch import ClipBatch, Term
from tempohand.training.debug.dump import Dump
from tempohand.training.debug.not_finite import (
    ForwardOrder,
    Verdict,
    bad_fields,
    bad_terms,
    bad_weights,
    first_few,
    label_masks,
    loss_verdict,
    numbers_of,
    rows_where,
    verdict_in_words,
)
from tempohand.training.determinism import deterministic_operations
from tempohand.training.objective import combine, per_entry, weights_at
from tempohand.training.processes import seed_step

PRECISIONS = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}
# Bounds of what a batch can hold, generous: in crop sizes, mm, radians, seconds.
RANGES = {
    "focal": (1.0, 1e6),
    "princpt": (-1e5, 1e5),
    "time": (-60.0, 0.0),
    "target.joints2d": (-2.0, 2.0),
    "target.pose": (-2 * math.pi, 2 * math.pi),
    "target.shape": (-10.0, 10.0),
    "target.joints": (-10_000.0, 10_000.0),
    "target.trans": (-10_000.0, 10_000.0),
}
ROWS_SHOWN = 8


def replay(dump: Dump, network: Any, say: Callable[[str], None] = print) -> bool:
    """Forward, criterion and backward of every batch of a dump by a network (model/network.py); returns
    whether something is not finite, as it was in the run.

    Processes' batches go through the network one by one, with the run's own random numbers, and their terms
    are combined, so the loss is the run's. Raises what `deterministic_operations` raises, where the run was
    deterministic.
    """
    with deterministic_operations(dump.settings.get("deterministic", False)):
        return _replayed(dump, network, say)


def _replayed(dump: Dump, network: Any, say: Callable[[str], None]) -> bool:
    found_in_run = dump.debug["verdict"]
    precision = dump.settings["mixed_precision"]
    network.train()
    network.set_step(dump.step, dump.settings["optim"]["dropout_start"])
    say(
        f"'{dump.folder}': optimizer step {dump.step + 1} of a run that found: "
        f"{verdict_in_words(found_in_run)}"
    )
    for micro_step, batches in enumerate(dump.batches):
        for process, batch in enumerate(batches):
            for line in unusual(batch):
                say(f"  micro-step {micro_step}, process {process}: {line}")
    if bad := bad_weights(network):
        say(f"  weights that are not finite: {first_few(bad, 8)}")
    step = _Step(dump, network)
    outcome = step.run(precision)
    for line in outcome.lines:
        say(line)
    verdict = outcome.verdict
    if "gradient" in verdict or (verdict and outcome.module is None):
        operation = step.backward_with_anomaly_detection(precision)
        say(f"  backward with anomaly detection: {operation or 'no nan (infinite values only)'}")
    if verdict and precision != "no":
        say(f"  in float32 (mixed_precision=no): {verdict_in_words(step.run('no').verdict)}")
    same = "the same as in the run" if verdict == found_in_run else "not as in the run"
    say(f"verdict, {same}: {verdict_in_words(verdict)}")
    return bool(verdict)


def unusual(batch: ClipBatch) -> list[str]:
    """One line for each input or known label with values that are not finite or outside RANGES."""
    lines = [
        f"{name} is not finite in table rows {first_few(rows, ROWS_SHOWN)}"
        for name, rows in bad_fields(batch).items()
    ]
    masks = label_masks(batch)
    for name, value in numbers_of(batch):
        if name in RANGES:
            low, high = RANGES[name]
            wrong = (value < low) | (value > high)
            if name in masks:
                wrong &= masks[name][..., None]
            if rows := rows_where(batch, wrong):
                where = f"in table rows {first_few(rows, ROWS_SHOWN)}"
                lines.append(f"{name} is outside [{low:g}, {high:g}] {where}: {value[wrong][0].item():g}")
    return lines


@dataclass(frozen=True)
class Outcome:
    """What one pass found: its verdict, the first module whose output is not finite, and lines for people."""

    verdict: Verdict
    module: str | None
    lines: list[str]


@dataclass(frozen=True)
class _Step:
    """The optimizer step of a dump, which can be done again and again: the weights are not changed."""

    dump: Dump
    network: Any

    @property
    def weights(self) -> dict[str, float]:
        """Of the loss terms."""
        settings = self.dump.settings
        return weights_at(settings["loss"], self.dump.step, settings["optim"]["steps"])

    def run(self, precision: str) -> Outcome:
        """Forward, criterion and backward of every micro-step."""
        order = ForwardOrder(self.network)
        means: list[dict[str, Tensor]] = []
        lines: list[str] = []
        self.network.zero_grad(set_to_none=True)
        with _first_module_not_finite(self.network) as found:
            for micro_step, batches in enumerate(self.dump.batches):
                loss, raw, terms = self._forward(micro_step, precision)
                lines += self._term_lines(terms, raw, batches)
                if loss.requires_grad:
                    (loss / len(self.dump.batches)).backward()
                means.append(raw)
        if found:
            lines.append(f"  first module whose output is not finite: {found[0]}")
        gradients = order.bad_gradients()
        if gradients:
            names = first_few(gradients, 8)
            lines.append(f"  gradients that are not finite, the one nearest to the loss first: {names}")
        names = dict.fromkeys(name for raw in means for name in raw)
        zero = torch.zeros(())
        raw = {name: sum((raw.get(name, zero) for raw in means), zero) / len(means) for name in names}
        verdict = loss_verdict(raw, self.weights)
        if gradients and not verdict:
            verdict = {"gradient": gradients}
        return Outcome(verdict, found[0] if found else None, lines)

    def backward_with_anomaly_detection(self, precision: str) -> str | None:
        """The operation whose backward makes the first nan, and the line of code that it belongs to."""
        with warnings.catch_warnings(record=True) as caught, torch.autograd.set_detect_anomaly(True):
            warnings.simplefilter("always")
            try:
                for micro_step in range(len(self.dump.batches)):
                    self._forward(micro_step, precision)[0].backward()
            except RuntimeError as error:
                lines = [line.strip() for entry in caught for line in str(entry.message).splitlines()]
                places = [
                    f"{line} {code}"
                    for line, code in zip(lines, lines[1:])
                    if line.startswith("File ") and "/torch/" not in line
                ]
                place = f" The operation is of {places[-1]}" if places else ""
                return " ".join(str(error).split()) + place
        return None

    def _forward(
        self, micro_step: int, precision: str
    ) -> tuple[Tensor, dict[str, Tensor], list[dict[str, Term]]]:
        """The loss, every term's mean, and the terms of each process."""
        settings = self.dump.settings
        device = next(self.network.parameters()).device
        dtype = PRECISIONS[precision]
        terms: list[dict[str, Term]] = []
        for process, batch in enumerate(self.dump.batches[micro_step]):
            batch = batch.to(device)
            seed_step(settings["seed"], self.dump.step, micro_step, process)
            with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                terms.append(self.network.criterion(self.network(batch), batch))
        loss, raw = combine(_joined(terms), self.weights)
        return loss, raw, terms

    def _term_lines(
        self, terms: list[dict[str, Term]], raw: dict[str, Tensor], batches: list[ClipBatch]
    ) -> list[str]:
        """A line for each term of a micro-step: its weight, mean and range, and what is not finite."""
        lines = []
        for name, term in _joined(terms).items():
            weight = self.weights.get(name) or 0
            mean = float(raw.get(name, math.nan))
            line = f"  {name:<16} weight {weight:<8g} mean {mean:<12.5g}"
            values = per_entry(term).detach()[term.mask]
            if len(values):
                line += f" from {values.min().item():.4g} to {values.max().item():.4g}, {len(values)} valid"
            rows = [
                row
                for of_process, batch in zip(terms, batches)
                if name in of_process
                for row in bad_terms({name: of_process[name]}, batch).get(name, [])
            ]
            if rows:
                bad = (~values.isfinite()).sum()
                line += f", {bad} not finite, of table rows {first_few(rows, ROWS_SHOWN)}"
            lines.append(line)
        return lines


def _joined(terms: list[dict[str, Term]]) -> dict[str, Term]:
    """The terms of several processes as those of one."""
    joined = {}
    for name in dict.fromkeys(name for of_process in terms for name in of_process):
        parts = [of_process[name] for of_process in terms if name in of_process]
        joined[name] = Term(
            torch.cat([part.value for part in parts]), torch.cat([part.mask for part in parts])
        )
    return joined


@contextmanager
def _first_module_not_finite(network: nn.Module) -> Generator[list[str], None, None]:
    """Hooks that put the first module whose output is not finite into the list, with what it was given."""
    found: list[str] = []

    def check_output(name: str):
        def hook(module: nn.Module, inputs: tuple, output) -> None:
            if not found and not _finite(output):
                parameters = module.named_parameters(recurse=False)
                bad = [parameter for parameter, value in parameters if not value.isfinite().all()]
                if bad:
                    cause = f"its own {first_few(bad)} is not finite"
                else:
                    cause = f"its inputs are {'finite' if _finite(inputs) else 'not finite either'}"
                found.append(f"{name or 'the network'} ({type(module).__name__}; {cause})")

        return hook

    with ExitStack() as stack:
        for name, module in network.named_modules():
            stack.enter_context(module.register_forward_hook(check_output(name)))
        yield found


def _finite(value) -> bool:
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool(value.isfinite().all())
    if is_dataclass(value):  # a prediction
        return all(_finite(getattr(value, field.name)) for field in fields(value) if field.name != "terms")
    if isinstance(value, tuple | list):
        return all(_finite(x) for x in value)
    return True
