"""The rows that a process of a run sees."""

from types import SimpleNamespace

import numpy as np
from accelerate import Accelerator

from tempohand.assemble.data import TrainingData
from tempohand.data.clips import ClipSampling


def test_a_run_goes_on_at_the_micro_step_of_its_step():
    clips = SimpleNamespace(sampling=ClipSampling(consecutive=2))
    data = SimpleNamespace(rows=np.arange(50), frequency=None, seed=3, training=SimpleNamespace(clips=clips))
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)

    def positions(step):
        return [position for position, _ in next(iter(TrainingData.order(data, accelerator, 8, step)))]

    assert positions(0) == [0, 1, 2, 3]  # 4 samples of 2 clips
    assert positions(3) == [24, 25, 26, 27]  # after 3 steps of 2 micro-steps
