import math

import numpy as np
import pytest
import torch
from tests_support import random_batch, small_network

from tempohand.batch import HandPrediction
from tempohand.evaluation.validation import FinderValidation, Validation
from tempohand.model.registry import build_network

WEIGHTS = {"joints": 0.5}


def validation(expansion=2.0, sequence=None, count=9):
    return Validation(
        expansion, np.zeros(count, int) if sequence is None else sequence, np.arange(count) / 30
    )


def scores(shares, spoil=lambda batch: None, weights=WEIGHTS):
    """Scores of 9 clips as the first process has them; shares[p] are the sizes of process p's batches."""
    torch.manual_seed(0)
    net, batch = build_network(small_network(1)).eval(), random_batch(9, 1)
    batch.target.hand_mask[2:4] = False
    spoil(batch)
    processes, first = [validation() for _ in shares], 0
    with torch.no_grad():
        prediction = net(
            batch
        )  # once: a network's rounding depends on the size of its batch, and this is not about that
        for process, sizes in zip(processes, shares):
            for size in sizes:
                part = slice(first, first + size)
                share, said = batch[part], prediction[part]
                first += size
                share.previous = None
                said.terms = {
                    name: value[part] if torch.is_tensor(value) else tuple(v[part] for v in value)
                    for name, value in prediction.terms.items()
                }
                process.add(said, share, net.criterion(said, share))
    gathered = [process.sums.totals(lambda x: [x]) for process in processes]
    gathered = [{name: list(entry) for name, entry in part.items()} for part in gathered]
    answers = iter(
        [[None] * len(processes), gathered, [process.paths.kept for process in processes]]
    )  # in the order in which it is asked
    return processes[0].means(lambda _: next(answers), weights)


ALONE = ((9,),)


@pytest.mark.parametrize(
    "shares",
    [((4, 5),), ((4,), (5,)), ((1, 2), (6,)), ((3,), (3, 1), (2,)), ((2, 2), (), (5,), ()), ((), (9,))],
)
def test_any_sharing_out_gives_the_same_means(shares):
    """Over processes and batches; a process may have nothing at all."""
    expected, values = scores(ALONE), scores(shares)
    assert values.pop("processes") == len(shares) and expected.pop("processes") == 1
    assert values.keys() == expected.keys() and values == pytest.approx(expected, rel=1e-12, nan_ok=True)
    assert {"mpjpe", "raw/pose", "raw/heatmap", "loss", "n"} <= values.keys()


def test_loss_is_the_weighted_sum_of_means():
    values = scores(ALONE)
    assert values["n"] == 9 and values["loss"] == pytest.approx(0.5 * values["raw/joints"])


def unlabelled(batch):
    batch.target.joints_mask = torch.zeros_like(batch.target.joints_mask)


def test_nothing_valid_is_nan_and_named():
    values = scores(ALONE, unlabelled, {"joints": 0.5, "joints2d": 2.0})
    silent = ("mpjpe", "mpjpe_root", "pa_mpjpe", "avg_metric", "raw/joints")
    assert values["error_2d"] == scores(ALONE)["error_2d"] > 0
    assert all(math.isnan(values[name]) for name in silent)
    assert values["loss"] == pytest.approx(2 * values["raw/joints2d"])  # as in training, of what there is
    line = Validation.line(values)
    assert line.startswith("Evaluated on 9 samples from all 1 processes: mpjpe_root nan mm")
    named = line.partition("; no valid sample for: ")[2].partition(
        " (it takes a moving hand in rows that follow each other, "
    )
    assert named[0] == "mpjpe_root, pa_mpjpe, mpjpe, lag_2d" and named[2].endswith(
        "), avg_metric, raw/joint_depth, raw/joints"
    )
    assert "no valid sample for: lag_2d (it takes" in Validation.line(scores(ALONE))
    assert math.isnan(scores(ALONE, unlabelled)["loss"])  # of nothing


def test_no_sample_at_all_is_nan_everywhere():
    values = scores(((), ()))
    assert values["n"] == 0 and all(math.isnan(values[name]) for name in (*Validation.UNITS, "loss"))


def test_a_diverged_term_is_not_taken_for_a_missing_one():
    def spoil(batch):
        batch.target.shape[0] = float("inf")

    assert not math.isfinite(scores(ALONE, spoil, {"joints": 0.5, "shape": 0.1})["loss"])


def test_the_2d_error_is_a_share_of_the_hands_box():
    """Of a crop `expansion` boxes wide: a shift by a tenth of a box is 10 %, however wide the crop; unknown
    joints have no part in it."""
    batch = random_batch(3, 1)
    for expansion in (1.6, 2.0):
        scored, shifted = (
            validation(expansion),
            batch.target.joints2d + torch.tensor([0.06, -0.08]) / expansion,
        )
        shifted[:, :, 5] = 9.0
        batch.target.joints2d_mask = (torch.arange(21) != 5).expand(3, 1, 21)
        prediction = HandPrediction(
            *[torch.zeros(3, 1, *shape) for shape in ((48,), (16, 3, 3), (10,), (3,), (21, 3), (778, 3))],
            shifted,
        )
        scored.add(prediction, batch, {})
        assert scored.means(lambda x: [x], {})["error_2d"] == pytest.approx(10.0, rel=1e-5)


LABELS = {
    "3D and 2D": ("all", "all"),
    "2D": ("none", "all"),
    "some 2D": ("none", "some"),
    "3D": ("all", "none"),
    "wrist": ("wrist", "all"),
}
LABELS |= {"no wrist": ("some", "all"), "nothing": ("none", "none")}
MASKS = {"all": range(21), "some": (4, 8), "wrist": (0,), "none": ()}
BY = {
    "3D and 2D": "mpjpe_root",
    "3D": "mpjpe_root",
    "2D": "error_2d",
    "some 2D": "error_2d",
    "wrist": "error_2d",
    "no wrist": "error_2d",
}


@pytest.mark.parametrize("labels", LABELS)
def test_a_best_score_exists_for_every_kind_of_labels(labels):
    """It has a value in a validation of such rows, be it that only one of them is labelled; without any label
    there is no training for it."""

    def spoil(batch):
        for name, kind in zip(("joints_mask", "joints2d_mask"), LABELS[labels]):
            mask = torch.zeros(9, 1, 21, dtype=torch.bool)
            mask[3, 0, list(MASKS[kind])] = True
            setattr(batch.target, name, mask)
        masks.append((batch.target.joints_mask[:, 0].numpy(), batch.target.joints2d_mask[:, 0].numpy()))

    masks = []
    values = scores(ALONE, spoil)
    if labels == "nothing":
        with pytest.raises(
            ValueError,
            match=(
                "none of the 9 validation rows has labels by which .*3D joints, the wrist and another, or "
                "2D joints.*: set data"
            ),
        ):
            Validation.best(*masks[0])
        return
    best = Validation.best(*masks[0])
    assert best.name == BY[labels] and 0 < values[best.name] < math.inf
    assert FinderValidation.best(masks[0][0], np.ones((9, 21), bool)).name == "missed"
    with pytest.raises(ValueError, match="2D joints, all 21"):
        FinderValidation.best(masks[0][0], np.arange(21)[None] < [[20]] * 9)


FRAMES = 60


def late_batches(frames, expansion=2.0, size=5):
    """(prediction, batch) of a hand that moves across a picture, in crops that follow it; the prediction
    repeats it `frames` frames later."""

    def places(when):  # [n, 21, 2], in boxes
        wrist = torch.stack([1.5 * torch.sin(4 * when), torch.sin(3 * when + 1)], dim=-1)
        return wrist[:, None] + torch.randn(21, 2, generator=torch.Generator().manual_seed(1)).double() / 4

    time = torch.arange(FRAMES).double() / 30
    true, said = places(time), places(time - frames / 30)
    centre = true.mean(dim=1, keepdim=True)
    for rows in torch.arange(FRAMES).split(size):
        batch = random_batch(len(rows), 1)
        everything = torch.ones(len(rows), 1, 21, dtype=torch.bool)
        batch.row, batch.target.joints2d_mask = rows, everything
        batch.target.joints2d = ((true - centre)[rows, None] / expansion).float()
        batch.frames.focal = torch.full((len(rows), 2), 100.0)
        batch.frames.princpt = ((-centre[rows, 0] / expansion + 0.5) * batch.edge).float()
        shapes = ((48,), (16, 3, 3), (10,), (3,), (21, 3), (778, 3))
        yield (
            HandPrediction(
                *[torch.zeros(len(rows), 1, *shape) for shape in shapes],
                ((said - centre)[rows, None] / expansion).float(),
            ),
            batch,
        )


@pytest.mark.parametrize("frames", [0, 1, 2.5])
def test_rows_that_follow_each_other_have_a_lag_whoever_saw_them(frames):
    processes = [validation(count=FRAMES) for _ in range(3)]
    for number, (prediction, batch) in enumerate(late_batches(frames)):
        processes[number % 3].add(prediction, batch, {})
    kept = [process.paths.kept for process in processes]
    assert processes[0].paths.lag(lambda _: kept) == pytest.approx(frames, abs=0.05)


@pytest.mark.parametrize("case", ["spread", "short sequences", "one row missing", "nothing"])
def test_rows_that_do_not_follow_each_other_have_none(case):
    sequence = np.arange(FRAMES) // 15 if case == "short sequences" else np.zeros(FRAMES, int)
    scored = validation(sequence=sequence, count=FRAMES)
    for prediction, batch in late_batches(1) if case != "nothing" else ():
        chosen = {"spread": batch.row % 2 == 0, "one row missing": batch.row != 30}.get(case, batch.row >= 0)
        scored.add(prediction[chosen], batch[chosen], {})
    assert math.isnan(scored.means(lambda x: [x], {})["lag_2d"]) == (case != "one row missing")
