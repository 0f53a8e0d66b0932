"""Which of a run's checkpoints is the best one."""

import json
import math

import torch
from accelerate import Accelerator

from tempohand.training.learner import Learner
from tempohand.training.run_checkpoints import Progress, RunCheckpoints


class Line(torch.nn.Linear):
    def parts(self) -> dict[str, torch.nn.Module]:
        return {}


def test_the_best_checkpoint_is_the_one_with_the_least_score(tmp_path):
    rates = {"lr": 0.1, "backbone_lr": 0.1, "weight_decay": 0.0, "warmup": 1, "steps": 9, "ema": None}
    learner = Learner(Line(2, 2), rates, Accelerator(cpu=True))
    checkpoints = RunCheckpoints(tmp_path, learner, {"steps": 9}, {"loss": {}})
    progress, best = Progress(), []
    for step, score in enumerate([5.0, math.nan, 3.0, 4.0, 3.0], 1):
        progress.step = step
        checkpoints.save_best(progress, score)
        best.append(json.loads((tmp_path / "best" / "config.json").read_text())["step"])
    assert best == [1, 1, 3, 3, 3] and progress.best == 3.0
