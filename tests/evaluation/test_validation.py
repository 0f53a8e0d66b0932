import math

import pytest
import torch
from tests_support import random_batch, small_network

from tempohand.evaluation.validation import Validation
from tempohand.model.registry import build_network

WEIGHTS = {"joints": 0.5}


def scores(shares, spoil=lambda batch: None, weights=WEIGHTS):
    """Scores of 9 clips as the first process has them; shares[p] are the sizes of process p's batches."""
    torch.manual_seed(0)
    net, batch = build_network(small_network(1)).eval(), random_batch(9, 1)
    batch.target.hand_mask[2:4] = False
    spoil(batch)
    processes, first = [Validation() for _ in shares], 0
    with torch.no_grad():
        prediction = net(batch)  # once: a network's rounding depends on the size of its batch, and this is not about that
        for process, sizes in zip(processes, shares):
            for size in sizes:
                part = slice(first, first + size)
                share, said = batch[part], prediction[part]
                first += size
                share.previous = torch.full_like(share.previous, -1)
                said.terms = {
                    name: value[part] if torch.is_tensor(value) else tuple(v[part] for v in value)
                    for name, value in prediction.terms.items()
                }
                process.add(said, share.target, net.criterion(said, share))
    gathered = [process.sums.totals(lambda x: [x]) for process in processes]
    gathered = [{name: list(entry) for name, entry in part.items()} for part in gathered]
    return processes[0].means(lambda x: gathered, weights)


ALONE = ((9,),)


@pytest.mark.parametrize("shares", [((4, 5),), ((4,), (5,)), ((1, 2), (6,)), ((3,), (3, 1), (2,)), ((2, 2), (), (5,), ()), ((), (9,))])
def test_any_sharing_out_gives_the_same_means(shares):
    """Over processes and batches; a process may have nothing at all."""
    expected, values = scores(ALONE), scores(shares)
    assert values.pop("processes") == len(shares) and expected.pop("processes") == 1
    assert values.keys() == expected.keys() and values == pytest.approx(expected, rel=1e-12)
    assert {"mpjpe", "raw/pose", "raw/heatmap", "loss", "n"} <= values.keys()


def test_loss_is_the_weighted_sum_of_means():
    values = scores(ALONE)
    assert values["n"] == 9 and values["loss"] == pytest.approx(0.5 * values["raw/joints"])


def unlabelled(batch):
    batch.target.joints_mask = torch.zeros_like(batch.target.joints_mask)


def test_nothing_valid_is_nan_and_named():
    values = scores(ALONE, unlabelled, {"joints": 0.5, "joints2d": 2.0})
    silent = ("mpjpe", "mpjpe_root", "pa_mpjpe", "raw/joints")
    assert all(math.isnan(values[name]) for name in silent)
    assert values["loss"] == pytest.approx(2 * values["raw/joints2d"])  # as in training, of what there is
    line = Validation.line(values)
    assert line.startswith("Evaluated on 9 samples from all 1 processes: mpjpe nan mm")
    assert line.endswith("; no valid sample for: mpjpe, mpjpe_root, pa_mpjpe, raw/joint_depth, raw/joints")
    assert "no valid sample" not in Validation.line(scores(ALONE))
    assert math.isnan(scores(ALONE, unlabelled)["loss"])  # of nothing


def test_no_sample_at_all_is_nan_everywhere():
    values = scores(((), ()))
    assert values["n"] == 0 and all(math.isnan(values[name]) for name in ("mpjpe", "mpjpe_root", "pa_mpjpe", "loss"))


def test_a_diverged_term_is_not_taken_for_a_missing_one():
    def spoil(batch):
        batch.target.shape[0] = float("inf")

    assert not math.isfinite(scores(ALONE, spoil, {"joints": 0.5, "shape": 0.1})["loss"])
