import math

import pytest
import torch
from tests_support import random_batch, small_network

from tempohand.evaluation.validation import Validation, evenly_spread
from tempohand.model.registry import build_network


def scores(shares, spoil=lambda batch: None):
    """Scores of 9 clips, handed in shares to as many Validations, whose sums are added up."""
    torch.manual_seed(0)
    net, batch = build_network(small_network(1)).eval(), random_batch(9, 1)
    spoil(batch)
    parts, first = [], 0
    with torch.no_grad():
        for size in shares:
            part = Validation()
            share = batch[first : first + size]
            first += size
            share.previous[:] = -1
            prediction = net(share)
            part.add(prediction, share.target, net.criterion(prediction, share))
            parts.append(part)
    totals = []
    for part in parts:
        part.means(lambda sums: totals.append(sums) or sums, {})
    return parts[0].means(lambda sums: sum(totals), {"joints": 0.5})


@pytest.mark.parametrize("shares", [(4, 5), (1, 8), (3, 3, 3)])
def test_shares_add_up(shares):
    assert scores(shares) == pytest.approx(scores((9,)), rel=1e-5)


def test_loss_is_the_weighted_sum_of_means():
    values = scores((9,))
    assert values["n"] == 9 and values["loss"] == pytest.approx(0.5 * values["raw/joints"])


def unlabelled(batch):
    batch.target.joints_mask = torch.zeros_like(batch.target.joints_mask)


def test_nothing_valid_is_nan():
    values = scores((9,), unlabelled)
    assert all(math.isnan(values[name]) for name in ("mpjpe", "mpjpe_root", "pa_mpjpe"))


def test_rows_are_evenly_spread_and_fixed():
    assert evenly_spread(10, 4).tolist() == [0, 3, 6, 9]
    assert evenly_spread(3, None).tolist() == evenly_spread(3, 9).tolist() == [0, 1, 2]
