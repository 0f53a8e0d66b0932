"""Does the step of a dump again, on one process, and says where values stop being finite."""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tempohand.batch import BoxPrediction, ClipBatch, HandPrediction, Term
from tempohand.training.dump import Dump
from tempohand.training.finite import (
    ForwardOrder,
    bad_fields,
    bad_terms,
    bad_weights,
    label_masks,
    rows_where,
    some,
    tensors_of,
)
from tempohand.training.objective import combine, per_entry, weighted_sum
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


@dataclass(frozen=True)
class Outcome:
    """What one pass found: every term's mean, the first module whose output is not finite, and the parameters
    whose gradients are not."""

    raw: dict[str, float]
    module: str | None
    gradients: list[str]

    def verdict(self, weights: dict[str, float]) -> dict[str, list[str]]:
        """In the words of a dump: {} when everything is finite."""
        names = sorted(
            name for name, value in self.raw.items() if weights.get(name) and not math.isfinite(value)
        )
        if names or not math.isfinite(
            weighted_sum({name: torch.tensor(value) for name, value in self.raw.items()}, weights)
        ):
            return {"loss": names or ["their sum"]}
        return {"gradient": self.gradients} if self.gradients else {}


def replay(dump: Dump, network: nn.Module, predict: nn.Module, say: Callable[[str], None] = print) -> bool:
    """Forward, criterion and backward of every batch of a dump; returns whether something is not finite, as
    it was in the run.

    `predict` is what batches go through: the network, or its part that starts from tokens. Processes' batches
    go through it one by one, with the run's own random numbers, and their terms are combined, so the loss is
    the run's.
    """
    debug, settings = dump.debug, dump.debug["settings"]
    precision, weights = settings["mixed_precision"], settings["loss"]
    network.train()
    network.set_step(debug["step"], settings["optim"]["dropout_start"])
    say(
        f"'{dump.folder}': optimizer step {debug['step'] + 1} of a run that found: {_words(debug['verdict'])}"
    )
    for micro, batches in enumerate(dump.batches):
        for process, batch in enumerate(batches):
            for line in unusual(batch):
                say(f"  micro-step {micro}, process {process}: {line}")
    if bad := bad_weights(network):
        say(f"  weights that are not finite: {some(bad, 8)}")
    outcome = _run(dump, network, predict, precision, say)
    verdict = outcome.verdict(weights)
    if verdict.keys() == {"gradient"} or (verdict and outcome.module is None):
        operation = _anomaly(dump, network, predict, precision)
        say(f"  backward with anomaly detection: {operation or 'no nan (infinite values only)'}")
    if verdict and precision != "no":
        say(
            f"  in float32 (mixed_precision=no): {_words(_run(dump, network, predict, 'no').verdict(weights))}"
        )
    same = "the same as in the run" if verdict == debug["verdict"] else "not as in the run"
    say(f"verdict, {same}: {_words(verdict)}")
    return bool(verdict)


def unusual(batch: ClipBatch) -> list[str]:
    """One line for each input or known label with values that are not finite or outside RANGES."""
    lines = [
        f"{name} is not finite in table rows {some(rows, 8)}" for name, rows in bad_fields(batch).items()
    ]
    masks = label_masks(batch) if batch.target is not None else {}
    for name, value in tensors_of(batch):
        if name in RANGES:
            low, high = RANGES[name]
            wrong = (value < low) | (value > high)
            if name in masks:
                wrong &= masks[name][..., None]
            if rows := rows_where(batch, wrong):
                lines.append(
                    f"{name} is outside [{low:g}, {high:g}] in table rows {some(rows, 8)}: {value[wrong][0].item():g}"
                )
    return lines


def _run(
    dump: Dump, network: nn.Module, predict: nn.Module, precision: str, say: Callable | None = None
) -> Outcome:
    """One optimizer step's forward and backward; with `say` it tells what it sees."""
    weights, order, means = dump.debug["settings"]["loss"], ForwardOrder(network), []
    network.zero_grad(set_to_none=True)
    with _first_module_not_finite(network) as found:
        for micro, batches in enumerate(dump.batches):
            loss, raw, terms = _forward(dump, network, predict, micro, precision)
            if say:
                _say_terms(terms, raw, weights, batches, say)
            if loss.requires_grad:
                (loss / len(dump.batches)).backward()
            means.append(raw)
    if say and found:
        say(f"  first module whose output is not finite: {found[0]}")
    gradients = order.bad_gradients()
    if say and gradients:
        say(f"  gradients that are not finite, the one nearest to the loss first: {some(gradients, 8)}")
    raw = {
        name: sum(float(mean.get(name, 0.0)) for mean in means) / len(means)
        for name in dict.fromkeys(n for mean in means for n in mean)
    }
    return Outcome(raw, found[0] if found else None, gradients)


def _forward(
    dump: Dump, network: nn.Module, predict: nn.Module, micro: int, precision: str
) -> tuple[Tensor, dict[str, Tensor], list[dict[str, Term]]]:
    device, settings = next(network.parameters()).device, dump.debug["settings"]
    terms: list[dict[str, Term]] = []
    for process, batch in enumerate(dump.batches[micro]):
        batch = batch.to(device)
        seed_step(settings["seed"], dump.debug["step"], micro, process)
        with torch.autocast(
            device.type, dtype=PRECISIONS[precision], enabled=PRECISIONS[precision] is not None
        ):
            prediction: HandPrediction | BoxPrediction = predict(batch)
            terms.append(network.criterion(prediction, batch))
    loss, raw = combine(_together(terms), settings["loss"])
    return loss, raw, terms


def _together(terms: list[dict[str, Term]]) -> dict[str, Term]:
    """The terms of several processes as those of one."""
    joined = {}
    for name in dict.fromkeys(name for own in terms for name in own):
        parts = [own[name] for own in terms if name in own]
        joined[name] = Term(
            torch.cat([part.value for part in parts]), torch.cat([part.mask for part in parts])
        )
    return joined


def _say_terms(
    terms: list[dict[str, Term]],
    raw: dict[str, Tensor],
    weights: dict,
    batches: list[ClipBatch],
    say: Callable,
) -> None:
    for name, term in _together(terms).items():
        values = per_entry(term).detach()[term.mask]
        rows = [
            row
            for process, own in enumerate(terms)
            if name in own
            for row in bad_terms({name: own[name]}, batches[process]).get(name, [])
        ]
        line = (
            f"  {name:<16} weight {weights.get(name) or 0:<8g} mean {float(raw.get(name, math.nan)):<12.5g}"
        )
        if len(values):
            line += f" from {values.min().item():.4g} to {values.max().item():.4g}, {len(values)} valid"
        say(
            line
            + (f", {(~values.isfinite()).sum()} not finite, of table rows {some(rows, 8)}" if rows else "")
        )


def _anomaly(dump: Dump, network: nn.Module, predict: nn.Module, precision: str) -> str | None:
    """The operation whose backward makes the first nan, and the line of code that it belongs to."""
    with warnings.catch_warnings(record=True) as caught, torch.autograd.set_detect_anomaly(True):
        warnings.simplefilter("always")
        try:
            for micro in range(len(dump.batches)):
                _forward(dump, network, predict, micro, precision)[0].backward()
        except RuntimeError as error:
            lines = [line.strip() for entry in caught for line in str(entry.message).splitlines()]
            places = [
                f"{line} {code}"
                for line, code in zip(lines, lines[1:])
                if line.startswith("File ") and "/torch/" not in line
            ]
            return " ".join(str(error).split()) + (f" The operation is of {places[-1]}" if places else "")
    return None


@contextmanager
def _first_module_not_finite(network: nn.Module) -> Iterator[list[str]]:
    """Hooks that put the first module whose output is not finite into the list, with what it was given."""
    found: list[str] = []

    def look(name: str):
        def hook(module: nn.Module, inputs: tuple, output) -> None:
            if not found and not _finite(output):
                own = [
                    key for key, value in module.named_parameters(recurse=False) if not value.isfinite().all()
                ]
                cause = (
                    f"its own {some(own)} is not finite"
                    if own
                    else f"its inputs are {'finite' if _finite(inputs) else 'not finite either'}"
                )
                found.append(f"{name or 'the network'} ({type(module).__name__}; {cause})")

        return hook

    with ExitStack() as stack:
        for name, module in network.named_modules():
            stack.enter_context(module.register_forward_hook(look(name)))
        yield found


def _finite(value) -> bool:
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool(value.isfinite().all())
    if isinstance(value, BoxPrediction):
        return _finite((value.logits, value.box))
    if isinstance(value, HandPrediction):
        return all(_finite(x) for x in (value.joints, value.joints2d, value.rotation, value.shape))
    if isinstance(value, tuple | list):
        return all(_finite(x) for x in value)
    return True


def _words(verdict: dict[str, list[str]]) -> str:
    if "loss" in verdict:
        return f"the loss is not finite, in {some(verdict['loss'], 99)}"
    if "gradient" in verdict:
        return f"the gradient is not finite, first in {some(verdict['gradient'])}"
    return "everything is finite"
