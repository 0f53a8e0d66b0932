"""Fitting hands to joints that the same hand made: how exactly, how surely, how fast."""

import argparse
import time

import numpy as np
import torch

from tempohand.hand.anatomy import angles_to_pose
from tempohand.hand.fit import fit_hands
from tempohand.hand.layer import HandLayer
from tempohand.synthetic.motion import sample_key_pose

from .report import Report

MISSING = 0.3
NOISE_MM = 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How many hands, and which."""
    parser.add_argument("--hands", type=int, default=1000, help="how many (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of poses, shapes and noise (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> Report:
    """Poses of the synthetic data's sampler, any orientation, betas of unit variance, half a metre away; the
    open hand."""
    count, layer = arguments.hands, HandLayer().double()
    random, generator = np.random.default_rng(arguments.seed), torch.Generator().manual_seed(arguments.seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    angles = torch.from_numpy(np.stack([sample_key_pose(random) for _ in range(count)]))
    axis = torch.nn.functional.normalize(normal(count, 3), dim=-1)
    turn = torch.pi * torch.rand(count, 1, generator=generator, dtype=torch.float64)
    truth = layer(
        angles_to_pose(angles, turn * axis),
        normal(count, 10),
        torch.tensor([0.0, 0.0, 500.0]) + 60 * normal(count, 3),
    )
    seen = torch.rand(count, 21, generator=generator) >= MISSING
    cases = {
        "exact joints": (truth.joints, None, 0.3),
        f"{MISSING:.0%} of the joints missing": (truth.joints, seen, 0.3),
        f"{NOISE_MM:g} mm noise, noise={NOISE_MM:g}": (
            truth.joints + NOISE_MM * normal(count, 21, 3),
            None,
            NOISE_MM,
        ),
    }
    rows, details = [], {}
    for name, (joints, mask, noise) in cases.items():
        start = time.perf_counter()
        fitted = fit_hands(layer, joints, mask, noise=noise)
        seconds = time.perf_counter() - start
        known = ~fitted.pose.isnan().any(-1)
        vertices = layer(fitted.pose[known], fitted.shape[known], fitted.trans[known]).vertices
        distance = (vertices - truth.vertices[known]).norm(dim=-1)
        residual = fitted.residual[~fitted.residual.isnan()]
        figures = {
            "residual_mean_mm": residual.mean().item(),
            "residual_worst_mm": residual.max().item(),
            "vertices_mean_mm": distance.mean().item(),
            "converged": int(fitted.converged.sum()),
            "seconds": seconds,
        }
        details[name] = figures
        rows.append(
            [
                name,
                *(f"{value:.2f}" if isinstance(value, float) else str(value) for value in figures.values()),
            ]
        )
    header = ["given", "residual, mean mm", "worst mm", "vertices, mean mm", f"converged of {count}", "s"]
    return Report(header, rows, {}, {"hands": count, **details})
