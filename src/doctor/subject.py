"""What the doctor examines: the data sets, batches and network that script/train.py would make of the same
settings."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import nn

from tempohand.assemble.data import TrainingData
from tempohand.assemble.network import check_settings, inherit, start_network
from tempohand.batch import ClipBatch
from tempohand.data.loader import collate
from tempohand.data.training_order import TrainingOrder
from tempohand.model.network import Network
from tempohand.model.registry import network_class
from tempohand.training.objective import weights_at

BATCHES = 3
MOST_CLIPS, MOST_CLIPS_LARGE = 64, 8  # of a batch, for a network that a CPU trains in no time and for others
LARGE = 20e6  # parameters


@dataclass
class Subject:
    """settings: a training configuration, resolved. Everything else is made from it, once. Raises as training
    would, for what is missing or contradicts itself."""

    settings: dict
    say: Callable[[str], None]

    def __post_init__(self):
        settings = self.settings = copy.deepcopy(self.settings)
        check_settings(settings)
        self.kind = network_class(settings["network"])
        inherit(settings, settings["init_from"], self.say)
        self.data = TrainingData(settings)
        self.mixture = self.data.mixture
        self.training = self.data.training
        self.training_rows = self.data.rows
        self.train_table, self.validation_table = self.mixture.train, self.mixture.validation

    @property
    def weights(self) -> dict[str, float]:
        """Of the loss terms, in the first step."""
        return weights_at(self.settings["loss"], 0, self.settings["optim"]["steps"])

    @property
    def hand(self) -> str | None:
        """Path of the hand model; None: the open hand, or a network without one."""
        return self.settings["network"].get("hand")

    @cached_property
    def network(self) -> Network:
        """The network as training would start with it. To be left as it is: `fresh_network` is for
        changing."""
        return start_network(self.settings, lambda _: None)

    def fresh_network(self) -> Network:
        """A copy of the network in training mode, before its first step, without dropout."""
        network = copy.deepcopy(self.network).train()
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.eval()
        return network

    @cached_property
    def samples(self) -> list[list]:
        """The samples of the first batches of training. Raises ValueError where no row can be used."""
        large = sum(parameter.numel() for parameter in self.network.parameters()) > LARGE
        consecutive = self.settings["sampling"]["consecutive"]
        clips = min(self.settings["optim"]["batch_size"], MOST_CLIPS_LARGE if large else MOST_CLIPS)
        count = max(2 * (clips // consecutive // 2), 2)  # even: two processes share it
        batches = iter(TrainingOrder(self.training_rows, count, seed=self.settings["seed"]))
        return [[self.training[key] for key in next(batches)] for _ in range(BATCHES)]

    @cached_property
    def batches(self) -> list[ClipBatch]:
        """The same as batches."""
        return [collate(samples) for samples in self.samples]

    def label_rows(self, train: int, validation: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Labels of rows evenly spread over both splits, and each one's source."""
        parts, sources = [], []
        for table, count in ((self.train_table, train), (self.validation_table, validation)):
            rows = evenly_spread(len(table), count)
            parts.append(table.labels(rows))
            sources.append(table.column("source")[rows])
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, np.concatenate(
            sources
        ).astype(str)


def evenly_spread(rows: int, count: int) -> np.ndarray:
    """At most `count` of so many rows, evenly spread."""
    return np.unique(np.linspace(0, rows - 1, min(rows, count)).round().astype(int))
