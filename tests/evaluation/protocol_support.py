"""Made samples for the protocol tests: hands with known truth, in any number of sequences."""

import numpy as np
import torch

from tempohand.evaluation.samples import Prediction, Truth


def points(seed, count, number, spread=40.0, centre=(0.0, 0.0, 500.0)):
    generator = torch.Generator().manual_seed(seed)
    shift = torch.randn(count, 1, 3, dtype=torch.float64, generator=generator) * 60 + torch.tensor(
        centre, dtype=torch.float64
    )
    return torch.randn(count, number, 3, dtype=torch.float64, generator=generator) * spread + shift


def samples(
    count=8,
    noise=8.0,
    seed=0,
    sequence=lambda i: f"{i:08d}/right",
    frame=lambda i: i,
    is_right=lambda i: True,
    rate=30.0,
):
    """(truth, prediction) of `count` hands; the prediction is off by some `noise` mm."""
    joints, vertices = points(seed, count, 21), points(seed + 1, count, 778)
    sequences = np.array([sequence(i) for i in range(count)])
    frames = np.array([frame(i) for i in range(count)])
    truth = Truth(
        sequence=sequences,
        frame=frames,
        time=torch.from_numpy(frames / rate),
        is_right=torch.tensor([is_right(i) for i in range(count)]),
        joints=joints,
        joints_mask=torch.ones(count, 21, dtype=torch.bool),
        has_camera=torch.ones(count, dtype=torch.bool),
        joints2d=torch.zeros(count, 21, 2, dtype=torch.float64),
        joints2d_mask=torch.ones(count, 21, dtype=torch.bool),
        box=torch.tensor([[10.0, 20.0, 110.0, 170.0]], dtype=torch.float64).expand(count, 4),
        focal=torch.full((count, 2), 400.0, dtype=torch.float64),
        princpt=torch.full((count, 2), 128.0, dtype=torch.float64),
        cluster=np.unique(sequences, return_inverse=True)[1],
        vertices=vertices,
        vertices_mask=torch.ones(count, dtype=torch.bool),
    )
    generator = torch.Generator().manual_seed(seed + 2)
    off = [noise * torch.randn(x.shape, dtype=torch.float64, generator=generator) for x in (joints, vertices)]
    return truth, Prediction(joints + off[0], vertices + off[1])


def values(figures):
    return {figure.name: figure.value for figure in figures}
