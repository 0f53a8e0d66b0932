"""The part of the training loop that the checks of a step see."""

import torch
from accelerate import Accelerator
from tests_support import small_network

from tempohand.batch import ClipBatch
from tempohand.model.registry import build_network
from tempohand.training.processes import seed_step
from tempohand.training.step_checks import StepChecks

WEIGHTS = {
    "orientation": 1.0,
    "pose": 5.0,
    "shape": 0.05,
    "joints": 0.02,
    "joints2d": 3.0,
    "heatmap": 0.5,
    "side": 0.2,
}


class Loop:
    """step(number, batch, ...): one optimizer step over micro-steps; dumps go to `out`/debug. debug: keys of
    the configuration's group of this name."""

    def __init__(
        self,
        out,
        network=None,
        description=None,
        accelerator=None,
        weights=WEIGHTS,
        clip=1.0,
        mixed_precision="no",
        **debug,
    ):
        torch.manual_seed(0)
        description = description or small_network(1)
        self.network = network or build_network(description)
        self.accelerator = accelerator or Accelerator(cpu=True)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=1e-3, momentum=0.9)
        self.clip = clip
        settings = {
            "out": str(out),
            "loss": weights,
            "debug": {"first_batches": 0, "loss": False, "warn_after": 50} | debug,
            "mixed_precision": mixed_precision,
            "seed": 0,
            "optim": {"dropout_start": 0, "steps": 100},
        }
        describe_row = "row {}".format
        self.checks = StepChecks(
            self.accelerator, self.network, settings, {"network": description}, describe_row, "train.py"
        )

    def step(self, number: int, *batches: ClipBatch, logged: bool = False) -> None:
        """Raises what the checks raise."""
        scaler = self.accelerator.scaler
        self.checks.begin_step(number, logged=logged)
        for micro_step, batch in enumerate(batches):
            seed_step(0, number, micro_step, self.accelerator.process_index)
            prediction = self.network(batch)
            loss = self.checks.loss(batch, prediction, self.network.criterion(prediction, batch))
            loss = loss / len(batches)
            (scaler.scale(loss) if scaler else loss).backward()
        self.checks.clip_gradient(self.clip)
        if scaler:
            scaler.step(self.optimizer)
            scaler.update()
        else:
            self.optimizer.step()
        self.optimizer.zero_grad()
