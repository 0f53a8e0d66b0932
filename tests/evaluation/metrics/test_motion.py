"""Errors of motion: what they forgive, their units, and naive versions of the formulae."""

import math

import numpy as np
import pytest
import roma
import torch

from tempohand.evaluation.metrics import motion


def path(seed, frames, points=21):
    """Points on a smooth way, mm."""
    generator = torch.Generator().manual_seed(seed)
    shape = torch.randn(1, points, 3, dtype=torch.float64, generator=generator) * 40
    way = torch.randn(frames, 1, 3, dtype=torch.float64, generator=generator).cumsum(0) * 12
    return shape + way + torch.randn(frames, points, 3, dtype=torch.float64, generator=generator) * 3


def similarity(seed):
    generator = torch.Generator().manual_seed(seed)
    turn = roma.rotvec_to_rotmat(torch.randn(3, dtype=torch.float64, generator=generator))
    return lambda points: 1.4 * points @ turn.mT + torch.tensor([50.0, -20.0, 400.0], dtype=torch.float64)


def test_vibes_acceleration_is_the_naive_one_and_drops_triples_with_an_invisible_frame():
    predicted, true = path(0, 9), path(1, 9)
    visible = torch.tensor([True, True, True, True, False, True, True, True, True])
    error, counted = motion.vibe_acceleration(predicted, true, visible)
    p, t = predicted.numpy(), true.numpy()
    for i in range(1, 8):
        difference = [
            np.linalg.norm((p[i - 1] - 2 * p[i] + p[i + 1] - t[i - 1] + 2 * t[i] - t[i + 1])[j])
            for j in range(21)
        ]
        assert error[i - 1] == pytest.approx(np.mean(difference))
    assert counted.tolist() == [True, True, False, False, False, True, True]


def test_units_of_acceleration():
    """A parabola of 300 mm/s^2 at 30 and 60 frames/s, against a hand at rest: 2 * 0.3 m/s^2."""
    for rate in (30, 60):
        time = torch.arange(40, dtype=torch.float64) / rate
        rest = path(0, 1).expand(40, -1, -1)
        moving = rest + time[:, None, None] ** 2 * torch.tensor([300.0, 0.0, 0.0], dtype=torch.float64)
        error = motion.hawor_acceleration(moving, rest, 1 / rate)
        assert len(error) == 36
        np.testing.assert_allclose(error, 0.6, rtol=1e-6)
        np.testing.assert_allclose(motion.acceleration_error(moving, rest), 600 / rate**2, rtol=1e-6)


def test_arctics_acceleration_is_that_of_vertices_relative_to_the_wrist():
    vertices, true, step = path(0, 8, 30), path(1, 8, 30), 1 / 30
    wrist, true_wrist = path(2, 8, 1)[:, 0], path(3, 8, 1)[:, 0]
    error = motion.arctic_acceleration(vertices, wrist, true, true_wrist, step)
    np.testing.assert_allclose(
        error,
        motion.arctic_acceleration(vertices + 5 * wrist[:, None], 6 * wrist, true, true_wrist, step),
        rtol=1e-9,
    )
    first = (vertices - wrist[:, None] - true + true_wrist[:, None])[:3].numpy()
    assert error[0] == pytest.approx(
        np.mean(np.linalg.norm(first[0] - 2 * first[1] + first[2], axis=-1)) * 900 / 1000
    )


@pytest.mark.parametrize("measure", [motion.w_mpjpe, motion.wa_mpjpe])
def test_stretches_forgive_one_similarity_a_chunk(measure):
    true = path(1, 150)
    moved = torch.cat([similarity(0)(true[:100]), similarity(5)(true[100:])])
    assert measure(moved, true).max() < 1e-6
    assert measure(similarity(0)(true) * torch.tensor([-1.0, 1.0, 1.0]), true).min() > 1, "no mirrors"
    shorter = torch.cat([similarity(0)(true[:50]), similarity(5)(true[50:])])
    assert measure(shorter, true)[:100].max() > 1


def test_w_mpjpe_fits_the_first_two_frames_and_wa_all_of_them():
    true = path(1, 60)
    drifting = true + torch.arange(60).double()[:, None, None] * torch.tensor(
        [2.0, 0, 0], dtype=torch.float64
    )
    drifting[1] = true[1]
    w, wa = motion.w_mpjpe(drifting, true), motion.wa_mpjpe(drifting, true)
    assert w[:2].max() < 1e-9 and w[-1] == pytest.approx(118)
    assert wa.mean() < w.mean() and wa[0] > 1


def test_rte_is_rigid_and_a_share_of_the_way():
    true = path(1, 50, 1)[:, 0]
    turn = roma.rotvec_to_rotmat(torch.tensor([0.3, -1.0, 0.2], dtype=torch.float64))
    assert motion.rte(true @ turn.mT + 100, true).max() < 1e-9
    way = sum(math.dist(a, b) for a, b in zip(true.tolist(), true.tolist()[1:]))
    larger = true.mean(dim=0) + 1.5 * (true - true.mean(dim=0))
    expected = 100 * 0.5 * (true - true.mean(dim=0)).norm(dim=-1) / way
    np.testing.assert_allclose(motion.rte(larger, true), expected, atol=1e-9)
    assert motion.rte(larger, true[:1].expand_as(true)).isnan().all(), "a wrist at rest has gone no way"


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_too_few_frames_have_no_acceleration(frames):
    points = path(0, frames) if frames else torch.zeros(0, 21, 3, dtype=torch.float64)
    assert len(motion.acceleration_error(points, points)) == 0
    error, counted = motion.vibe_acceleration(points, points, torch.ones(frames, dtype=torch.bool))
    assert len(error) == len(counted) == 0
