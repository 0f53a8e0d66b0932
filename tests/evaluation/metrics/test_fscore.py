"""F-scores against a naive nearest-neighbour search."""

import numpy as np
import torch

from tempohand.evaluation.metrics.fscore import f_scores


def naive(predicted, true, threshold):
    table = np.linalg.norm(predicted[:, None] - true[None], axis=-1)
    precision, recall = np.mean(table.min(axis=1) < threshold), np.mean(table.min(axis=0) < threshold)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def test_f_scores_are_the_naive_ones():
    rng = np.random.default_rng(0)
    true = rng.normal(0, 40, (5, 200, 3))
    predicted = true + rng.normal(0, 6, true.shape)
    predicted[4] += 1000
    scores = f_scores(torch.from_numpy(predicted[:, :150]), torch.from_numpy(true), (5.0, 15.0))
    expected = [[naive(ours[:150], theirs, t) for t in (5.0, 15.0)] for ours, theirs in zip(predicted, true)]
    np.testing.assert_allclose(scores, expected, atol=1e-12)
    assert 0 < scores[0, 0] < scores[0, 1] and scores[4].tolist() == [0, 0]


def test_a_distance_of_the_threshold_does_not_count_and_shifts_do_not_matter():
    line = torch.arange(10).double()[:, None] * torch.tensor([100.0, 0, 0], dtype=torch.float64)
    near = line + torch.tensor([0, 5.0, 0], dtype=torch.float64)
    assert f_scores(near[None], line[None], (5.0, 5.0 + 1e-9)).tolist() == [[0.0, 1.0]]
    assert f_scores(line[None], line[None], (5.0,)).tolist() == [[1.0]]
    assert f_scores(line[None][:0], line[None][:0], (5.0,)).shape == (0, 1)
