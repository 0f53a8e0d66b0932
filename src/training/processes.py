"""What makes training the same on any number of processes: shares of a batch, random numbers, moving
statistics, decisions that all of them share."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object, reduce
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

R = TypeVar("R")


def clips_per_process(batch_size: int, processes: int, accumulate: int, consecutive: int) -> int:
    """What each process sees in a micro-step of the `batch_size` clips of an optimizer step.

    Raises ValueError when they cannot be shared evenly, in whole samples of `consecutive` clips.
    """
    shares = processes * accumulate * consecutive
    if batch_size < 1 or batch_size % shares:
        near = max(batch_size // shares, 1) * shares
        raise ValueError(
            f"optim.batch_size={batch_size} cannot be shared evenly: it is the clips of an optimizer step, "
            f"among {processes} processes x "
            f"{accumulate} micro-steps (optim.accumulate) "
            f"x {consecutive} clips a sample (sampling.consecutive); "
            f"the nearest are {near} and {near + shares}"
        )
    return batch_size // (processes * accumulate)


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of all processes' tensors, on every process; all call it at once."""
    return reduce(x, "sum")


def gather(value: object) -> list:
    """Every process's `value`, in the order of their numbers, on every process; all call it at once."""
    return gather_object([value])


def seed_step(seed: int, step: int, micro_step: int, rank: int) -> None:
    """Sets torch's random numbers (dropout's masks) for a process's micro-step: they depend on nothing that
    went before."""
    torch.manual_seed(
        int(np.random.SeedSequence([seed, step, micro_step, rank]).generate_state(1, np.uint64)[0] >> 1)
    )


def average_statistics(
    network: nn.Module, sum_over_processes: Callable[[Tensor], Tensor], processes: int
) -> None:
    """Gives every process the mean of all processes' moving statistics, of the batch normalisations that are
    in training."""
    norms = [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
    ]
    pairs = ((norm.running_mean, norm.running_var) for norm in norms)
    buffers = [buffer for pair in pairs for buffer in pair if buffer is not None]
    if processes == 1 or not buffers:
        return
    means = sum_over_processes(torch.cat(buffers)) / processes
    for buffer, mean in zip(buffers, means.split([len(buffer) for buffer in buffers])):
        buffer.copy_(mean)


def on_main_process(accelerator: Accelerator, work: Callable[[], R]) -> R:
    """What `work` returns on the main process, or the ValueError or FileNotFoundError that it raises there,
    on every process."""
    outcome: list = [None, None]
    if accelerator.is_main_process:
        try:
            outcome[0] = work()
        except (ValueError, FileNotFoundError) as error:
            outcome[1] = error
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]
