"""Tables for people: what is in a batch and what the network makes of it, and what each loss term is made
of."""

from dataclasses import fields
from functools import singledispatch
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool
from torch import Tensor

from tempohand.batch import BoxPrediction, ClipBatch, HandPrediction, HandTarget, Term
from tempohand.geometry import bone_lengths
from tempohand.skeleton import WRIST
from tempohand.training.objective import per_entry, weighted_sum


def describe_batch(batch: ClipBatch, prediction: object) -> list[str]:
    """Ranges and means of a batch's inputs, of what the network predicts (joints beside the true ones in 2D,
    in camera space and relative to the wrist; a hand finder's scores and boxes), and the share of clips that
    have each kind of label. Labels that are masked out are left out."""
    target = batch.target
    frames = batch.frames
    lines = [
        f"{len(batch)} clips of {batch.num_frame} frame(s), {len(frames)} different ones, "
        f"{_shape(frames.size)} px, table rows {_list(batch.row)}",
        _HEAD,
    ]
    if frames.features is not None:
        lines.append(_line("features (in place of images)", frames.features))
    else:
        lines += [
            _line(f"image {name} (0-255)", frames.image[:, channel].float())
            for channel, name in enumerate(("red", "green", "blue"))
        ]
    if frames.depth is not None:
        lines.append(_line("depth (mm), where measured", frames.depth[frames.depth > 0]))
    for name, unit in (("focal", "px"), ("princpt", "px")):
        lines += [
            _line(f"{name} {axis} ({unit})", getattr(frames, name)[..., place])
            for place, axis in enumerate("xy")
        ]
    lines.append(_line("time (s)", batch.time))
    lines += describe_prediction(prediction, target)
    outside = (target.joints2d.abs() > 0.5).any(dim=-1)[target.joints2d_mask]
    shares = {
        "joints2d": target.joints2d_mask,
        "joints": target.joints_mask,
        "hand": target.hand_mask,
        "camera": target.camera_mask,
        "frames": batch.frame_mask,
        "neighbours": torch.zeros_like(batch.is_right) if batch.previous is None else batch.previous >= 0,
        "right hands": batch.is_right,
        "2D outside the crop": outside,
    }
    return [*lines, "shares: " + ", ".join(f"{name} {_share(mask)}" for name, mask in shares.items())]


def describe_terms(
    terms: dict[str, Term],
    raw: dict[str, Tensor],
    weights: dict[str, float],
    prediction: object,
    batch: ClipBatch,
) -> list[str]:
    """Every loss term: its weight, its mean over all processes (raw, weighted, and as a share of the loss),
    and, of this process's batch, its mean, its largest element and how many entries are valid; then, for
    hands, how far apart joints are before and after root-centring, mm."""
    total = float(weighted_sum(raw, weights))
    head = "".join(f"{name:>12}" for name in ("raw", "weighted", "of the loss", "mean here", "max here"))
    lines = [f"loss {total:.6g}", f"  {'term':<16}{'weight':>9}{head}  valid"]
    for name, term in terms.items():
        valid = per_entry(term)[term.mask]
        weight = weights.get(name) or 0.0
        everywhere = ["-"] * 3
        if name in raw:
            mean = float(raw[name])
            everywhere = [
                f"{mean:.4g}",
                f"{weight * mean:.4g}",
                f"{weight * mean / total:.1%}" if total else "-",
            ]
        here = (
            [f"{valid.mean().item():.4g}", f"{term.value[term.mask].max().item():.4g}"]
            if len(valid)
            else ["-"] * 2
        )
        cells = "".join(f"{cell:>12}" for cell in everywhere + here)
        lines.append(f"  {name:<16}{weight:>9.4g}{cells}  {len(valid)} of {term.mask.numel()}")
    return lines + describe_error(prediction, batch.target)


@singledispatch
def describe_error(prediction: object, target: HandTarget) -> list[str]:
    """How far a prediction is from the truth besides its loss terms; nothing for classes that are not known
    here."""
    return []


@describe_error.register
def _(prediction: HandPrediction, target: HandTarget) -> list[str]:
    mask = target.joints_mask & target.joints_mask[..., WRIST : WRIST + 1]
    before = (prediction.joints - target.joints).abs()
    after = (
        prediction.joints
        - prediction.joints[..., WRIST : WRIST + 1, :]
        - target.joints
        + target.joints[..., WRIST : WRIST + 1, :]
    ).abs()
    if not mask.any():
        return []
    words = [
        f"mean {difference[mask].mean().item():.4g}, max {difference[mask].max().item():.4g} mm"
        for difference in (before, after)
    ]
    return [
        f"  joints' difference, each coordinate: in camera space {words[0]}; after root-centring {words[1]}"
    ]


_HEAD = f"  {'':<32}{'min':>12}{'mean':>12}{'max':>12}"


def _line(name: str, values: Tensor) -> str:
    values = values.detach().float()
    numbers = [values.min(), values.mean(), values.max()] if values.numel() else []
    return f"  {name:<32}" + (
        "".join(f"{number.item():>12.4g}" for number in numbers) or f"{'none valid':>12}"
    )


@singledispatch
def describe_prediction(prediction: Any, target: HandTarget) -> list[str]:
    """Ranges of what a network predicts, beside the truth where its class is known here; else of every field
    of numbers."""
    values = {field.name: getattr(prediction, field.name) for field in fields(prediction)}
    return [_line(f"predicted {name}", value) for name, value in values.items() if isinstance(value, Tensor)]


@describe_prediction.register
def _(prediction: HandPrediction, target: HandTarget) -> list[str]:
    lines = _pair("2D", "uv", "crop", target.joints2d, prediction.joints2d, target.joints2d_mask)
    lines += _pair("3D", "xyz", "mm", target.joints, prediction.joints, target.joints_mask)
    everything = target.joints_mask.all(dim=-1)
    relative = [joints - joints[..., WRIST : WRIST + 1, :] for joints in (target.joints, prediction.joints)]
    for who, joints in zip(("true", "predicted"), relative):
        known = joints[everything]
        lines.append(_line(f"{who} root after centring (mm)", known[:, WRIST]))
        lines.append(_line(f"{who} z - root z (mm)", known[..., 2]))
        lines.append(_line(f"{who} bone length (mm)", bone_lengths(known)))
    return lines + [
        _line(f"{who} shape", shape[target.hand_mask])
        for who, shape in (("true", target.shape), ("predicted", prediction.shape))
    ]


@describe_prediction.register
def _(prediction: BoxPrediction, target: HandTarget) -> list[str]:
    box, known = target.box()
    cells = rearrange(prediction.box, "b t side v u -> (b t v u) side")
    lines = [
        _line(f"score of a {side} hand", prediction.logits[:, :, place].sigmoid())
        for place, side in enumerate(("right", "left"))
    ]
    for who, boxes in (("true", box[known]), ("predicted", cells)):
        low = boxes[:, :2]
        high = boxes[:, 2:]
        lines += [
            _line(f"{who} box centre {axis} (crop)", ((low + high) / 2)[:, place])
            for place, axis in enumerate("uv")
        ]
        lines += [
            _line(f"{who} box {edge} (crop)", (high - low)[:, place])
            for place, edge in enumerate(("width", "height"))
        ]
    return lines


def _pair(
    name: str, axes: str, unit: str, true: Tensor, predicted: Tensor, mask: Bool[Tensor, "b 1 21"]
) -> list[str]:
    return [
        _line(f"{who} {name} {axis} ({unit})", joints[mask][:, place])
        for place, axis in enumerate(axes)
        for who, joints in (("true", true), ("predicted", predicted))
    ]


def _shape(size: tuple[int, int]) -> str:
    height, width = size
    return str(height) if height == width else f"{height} x {width}"


def _share(mask: Tensor) -> str:
    return f"{mask.float().mean().item():.0%}" if mask.numel() else "-"


def _list(rows: Tensor, most: int = 8) -> str:
    return " ".join(map(str, rows[:most].tolist())) + (" ..." if len(rows) > most else "")
