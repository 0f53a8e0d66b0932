"""Parameter groups and the learning-rate schedule."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR


def part_names(network: Any) -> dict[str, str]:
    """Of every parameter, by its name, the part of the network (its `parts()`) that it belongs to; `rest` for
    those of none."""
    part = {
        id(parameter): name for name, module in network.parts().items() for parameter in module.parameters()
    }
    return {name: part.get(id(parameter), "rest") for name, parameter in network.named_parameters()}


def parameter_groups(network: nn.Module, lr: float, backbone_lr: float, weight_decay: float) -> list[dict]:
    """Trainable parameters in four groups: backbone or not, with weight decay (matrices) or without (biases,
    norms, vectors).

    Frozen parameters are in none. Raises ValueError when nothing is trainable.
    """
    groups, part = {}, part_names(network)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((part[name] == "backbone", parameter.ndim >= 2), []).append(parameter)
    if not groups:
        raise ValueError("the network has no trainable parameter")
    return [
        {
            "params": parameters,
            "lr": backbone_lr if backbone else lr,
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (backbone, decays), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]


def adamw(network: nn.Module, settings: Mapping) -> torch.optim.AdamW:
    """The optimizer of a configuration's group `optim`."""
    rates = (settings["lr"], settings["backbone_lr"], settings["weight_decay"])
    return torch.optim.AdamW(parameter_groups(network, *rates), betas=(0.9, 0.99), fused=True)


def warmup_cosine(optimizer: torch.optim.Optimizer, warmup: int, steps: int, final: float = 0.0) -> LambdaLR:
    """Linear warm-up, then a cosine to `final` of each group's rate, counted in optimizer steps.

    Do not hand it to Accelerator.prepare: a prepared scheduler advances once per process.
    """

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = min((step - warmup) / max(steps - warmup, 1), 1.0)
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)
