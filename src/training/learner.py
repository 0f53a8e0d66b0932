"""A network with what makes it learn, on one process of several."""

from collections.abc import Mapping
from typing import Any

from accelerate import Accelerator
from torch import nn

from tempohand.training.average import WeightAverage
from tempohand.training.optim import adamw, warmup_cosine
from tempohand.training.processes import average_statistics, sum_over_processes


class Learner:
    """`model` is the network as the accelerator wraps it, which is what the loop calls. settings: the group
    `optim` of a configuration."""

    def __init__(self, network: Any, settings: Mapping, accelerator: Accelerator):
        self.network = network
        self.accelerator = accelerator
        optimizer = adamw(network, settings)
        self.schedule = warmup_cosine(optimizer, settings["warmup"], settings["steps"])
        self.average = WeightAverage.of(network, settings["ema"], accelerator.device)
        self.model, self.optimizer = accelerator.prepare(network, optimizer)

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and saved: with averaged weights where `ema` asks for them."""
        return self.average.module if self.average else self.network

    def states(self) -> dict:
        """By name, all that has a state which resuming needs."""
        parts = {"network": self.network, "optimizer": self.optimizer, "schedule": self.schedule}
        parts |= {"average": self.average.module} if self.average else {}
        return parts | ({"scaler": self.accelerator.scaler} if self.accelerator.scaler else {})

    def end_step(self, step: int) -> None:
        """What follows the optimizer's step number `step`, on all processes at once."""
        self.schedule.step()
        average_statistics(self.network, sum_over_processes, self.accelerator.num_processes)
        if self.average:
            self.average.update(self.network, step=step)

    def release(self) -> None:
        """Lets go of the wrapped model, which holds the process group: after the group's end the last
        reference would be dropped in a destructor that may wait forever."""
        self.model, self.optimizer = self.accelerator.free_memory(self.model, self.optimizer)
