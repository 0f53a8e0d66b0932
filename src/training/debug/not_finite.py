"""Where values that are not finite are: in a batch, in a network's weights, in its gradients, in loss terms.

A verdict says where they were met first: {"loss": names of terms} or {"gradient": names of parameters, the
one nearest to the loss first}, and {} where everything is finite. A dump keeps it as JSON.
"""

import math
from collections.abc import Iterator
from dataclasses import fields

import torch
from torch import Tensor, nn

from tempohand.batch import ClipBatch, Term
from tempohand.training.objective import per_entry, weighted_sum

NAMES_SHOWN = 4

Verdict = dict[str, list[str]]


def loss_verdict(means: dict[str, Tensor], weights: dict[str, float]) -> Verdict:
    """What the terms' means over all processes say of the loss: {} when it is finite."""
    if math.isfinite(weighted_sum(means, weights)):
        return {}
    names = [name for name, value in means.items() if weights.get(name) and not math.isfinite(value)]
    return {"loss": sorted(names) or ["their sum"]}


def verdict_in_words(verdict: Verdict, when: str = "") -> str:
    """One clause; `when`, such as " at optimizer step 3", is put after "is not finite"."""
    if "loss" in verdict:
        return f"the loss is not finite{when}, in {', '.join(verdict['loss'])}"
    if "gradient" in verdict:
        return f"the gradient is not finite{when}, first in {first_few(verdict['gradient'])}"
    return "everything is finite"


def named_tensors(batch: ClipBatch) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of every field that a batch has; its frames' fields are called frames.<name>, its
    target's target.<name>."""
    for prefix, part in (("", batch), ("frames.", batch.frames), ("target.", batch.target)):
        for field in fields(part) if part is not None else ():
            value = getattr(part, field.name)
            if isinstance(value, Tensor):
                yield prefix + field.name, value


def numbers_of(batch: ClipBatch) -> Iterator[tuple[str, Tensor]]:
    """(name, values [B, ...]) of every kind of number that a clip has: of its frames by their own names, and
    its labels; `time` is relative to the last frame."""
    for name, value in named_tensors(batch):
        if value.is_floating_point() and name != "frames.time":
            of_frames = name.startswith("frames.")
            yield name.removeprefix("frames."), value[batch.index] if of_frames else value
    yield "time", batch.time


def label_masks(batch: ClipBatch) -> dict[str, Tensor]:
    """Where each kind of label is known, in the shape of its leading axes; {} without labels."""
    target = batch.target
    if target is None:
        return {}
    masks = {"target.joints2d": target.joints2d_mask, "target.joints": target.joints_mask}
    return masks | dict.fromkeys(("target.pose", "target.shape", "target.trans"), target.hand_mask)


def rows_where(batch: ClipBatch, wrong: Tensor) -> list[int]:
    """Table rows of the clips that have a True in `wrong` [B, ...]."""
    return batch.row[wrong.reshape(len(wrong), -1).any(dim=1)].tolist()


def bad_fields(batch: ClipBatch) -> dict[str, list[int]]:
    """Inputs, and labels that are not masked out, with values that are not finite: name -> table rows.
    (`hidden` is nan where unknown.)"""
    masks = label_masks(batch)
    found = {}
    for name, value in numbers_of(batch):
        if name != "target.hidden":
            wrong = ~value.isfinite()
            if name in masks:
                wrong = wrong & masks[name][..., None]
            if rows := rows_where(batch, wrong):
                found[name] = rows
    return found


def bad_terms(terms: dict[str, Term], batch: ClipBatch) -> dict[str, list[int]]:
    """Loss terms with entries that count and are not finite: name -> table rows."""
    found = {name: rows_where(batch, term.mask & ~per_entry(term).isfinite()) for name, term in terms.items()}
    return {name: rows for name, rows in found.items() if rows}


def bad_weights(network: nn.Module) -> list[str]:
    """Parameters with values that are not finite."""
    return [name for name, parameter in network.named_parameters() if not parameter.isfinite().all()]


class ForwardOrder:
    """The order in which a network's modules run, taken down in its first forward pass by hooks that then
    remove themselves. In a pass that is compiled they do nothing, for they would cut it into pieces: the
    order is then that in which the modules were made."""

    def __init__(self, network: nn.Module):
        self.network = network
        self.place: dict[str, int] = {}
        for name, module in network.named_modules():
            if next(module.parameters(recurse=False), None) is not None:
                self._note_first_run(name, module)

    def _note_first_run(self, name: str, module: nn.Module) -> None:
        def note(*_):
            if torch.compiler.is_compiling():
                return
            self.place[name] = len(self.place)
            handle.remove()

        handle = module.register_forward_hook(note)

    def bad_gradients(self) -> list[str]:
        """Parameters whose gradients are not finite, those of the last modules first: backward goes through
        them first, and what begins in one is in everything before it."""
        place = self.place or {name: number for number, (name, _) in enumerate(self.network.named_modules())}
        bad = [
            name
            for name, parameter in self.network.named_parameters()
            if parameter.grad is not None and not parameter.grad.isfinite().all()
        ]
        return sorted(bad, key=lambda name: -place.get(name.rpartition(".")[0], -1))


def first_few(names: list, most: int = NAMES_SHOWN) -> str:
    """The first few of a list, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more
