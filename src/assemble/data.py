"""The tables of a training configuration as samples."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from accelerate import Accelerator

from tempohand.data.clips import ClipSampling
from tempohand.data.loader import ClipDataset
from tempohand.data.mixture import Balance, Mixture, RowFilter, spread_over_parts
from tempohand.data.photometric import Photometric
from tempohand.data.table import INPUTS, FrameTable
from tempohand.data.training_order import TrainingOrder
from tempohand.data.view import Augmentation, View
from tempohand.model.network import Crop
from tempohand.model.registry import network_class


def plain_view(crop: Crop) -> View:
    """The crops that a network takes (`network.crop`) in evaluation and prediction."""
    return View(crop.size, crop.expansion)


def training_view(settings: dict) -> View:
    """The crops and augmentation of a training configuration."""
    augmentation = dict(settings["view"]["augmentation"])
    photometric = Photometric(**augmentation.pop("photometric"))
    crop = Crop.of(settings["network"])
    return View(crop.size, crop.expansion, Augmentation(photometric=photometric, **augmentation))


def loader_workers(settings: dict) -> int:
    """Processes that read for a training process; none for cached tokens, whose records are read quicker than
    they are passed between processes."""
    return 0 if settings["tokens"]["mode"] == "cached" else settings["data"]["workers"]


def require_inputs(table: FrameTable, demanded: Sequence[str]) -> None:
    """Raises ValueError where no row of a split holds something that a network has to be given."""
    if lacking := sorted(set(demanded) - table.inputs):
        raise ValueError(
            f"split '{table.split}' of the table at '{table.root}' holds no {lacking[0]}, and the network "
            f"demands it (network.{lacking[0]}=required, or it never learned without): take a "
            "table of a depth camera (synthetic-rgbd, dataset=rgbd), or train with network.depth=optional"
        )


class TrainingData:
    """What a run trains and validates on. settings: a whole training configuration, resolved; settings that
    the network takes from a checkpoint are in their places.

    rows: those on which training clips end, after the filter, of the `eligible` ones; frequency: how often
    each comes in an epoch, None: once. Raises ValueError or FileNotFoundError for what is missing or makes no
    sense.
    """

    def __init__(self, settings: dict):
        network, data = settings["network"], settings["data"]
        kind = network_class(network)
        lacking = set(kind.inputs) - set(INPUTS)
        if lacking:
            raise ValueError(
                f"network.name={network['name']} takes {sorted(lacking)}, which tables do not hold"
            )
        self.inputs = kind.inputs
        view, sampling = training_view(settings), ClipSampling(**settings["sampling"])
        self.num_frame = network["num_frame"]
        self.seed = settings["seed"]
        if data["share_3d"] < 1 and settings["tokens"]["mode"] == "cached":
            raise ValueError(
                "data.share_3d: cached tokens hold all labels; use tokens=online, or a share of 1"
            )
        self.mixture = Mixture(data["tables"], network.get("hand"), data["share_3d"])
        for table in (self.mixture.train, self.mixture.validation):
            require_inputs(table, kind.demands(network))
        self.training = ClipDataset(
            self.mixture.train,
            view,
            self.num_frame,
            sampling,
            self.seed,
            settings["tokens"]["views"],
            self.inputs,
        )
        self.eligible = self.training.clips.training_rows()
        self.rows = self.mixture.kept(self.eligible, RowFilter(**data["filter"]))
        balance = Balance(**data["balance"]) if data["balance"] else None
        self.frequency = self.mixture.frequencies(self.rows, balance)
        self._validation_rows = data["validation_rows"]

    @cached_property
    def held_out(self) -> ClipDataset:
        """The validation split, in plain crops."""
        view = self.training.view
        return ClipDataset(self.mixture.validation, view, self.num_frame, inputs=self.inputs)

    @cached_property
    def validation_rows(self) -> np.ndarray:
        """The rows of the validation split that are scored."""
        return spread_over_parts(self.mixture.validation, self._validation_rows)

    def order(self, accelerator: Accelerator, clips: int, step: int) -> TrainingOrder:
        """Which rows this process sees from optimizer step `step` on, in micro-steps of `clips` clips."""
        return TrainingOrder(
            self.rows,
            clips // self.training.clips.sampling.consecutive,
            frequency=self.frequency,
            rank=accelerator.process_index,
            world=accelerator.num_processes,
            seed=self.seed,
            start=step * accelerator.gradient_accumulation_steps,
        )

    def account(self) -> list[str]:
        """What an epoch will hold, a line each."""
        return self.mixture.account(self.eligible, self.rows, self.frequency)
