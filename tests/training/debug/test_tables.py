import re

import pytest
import torch
from tests_support import random_batch, small_network

from tempohand.model.registry import build_network
from tempohand.training.debug.tables import describe_batch, describe_terms
from tempohand.training.objective import combine

WEIGHTS = {"joints": 0.02, "pose": 5.0}


@pytest.fixture
def predicted():
    torch.manual_seed(0)
    network, batch = build_network(small_network(1)).eval(), random_batch(4, 1)
    with torch.no_grad():
        prediction = network(batch)
        return network, batch, prediction, network.criterion(prediction, batch)


def numbers(lines, start):
    (line,) = [line for line in lines if line.strip().startswith(start)]
    return [float(x) for x in line.strip().removeprefix(start).split()]


def extent(values):
    return pytest.approx([values.min().item(), values.mean().item(), values.max().item()], rel=1e-3)


def test_a_batch_is_described_in_numbers_that_are_its_own(predicted):
    _, batch, prediction, _ = predicted
    batch.target.joints2d_mask = torch.arange(21).expand(4, 1, 21) < 7
    batch.target.joints2d[..., 7:, :] = torch.nan
    lines = describe_batch(batch, prediction)
    red = batch.frames.image[:, 0].float()
    assert numbers(lines, "image red (0-255)") == extent(red)
    v = batch.target.joints2d[..., :7, 1]
    assert numbers(lines, "true 2D v (crop)") == extent(v)
    z = prediction.joints[..., 2]
    assert numbers(lines, "predicted 3D z (mm)") == extent(z)
    assert numbers(lines, "true root after centring (mm)") == [0, 0, 0]
    assert 10 < numbers(lines, "true bone length (mm)")[1] < 60
    assert "joints2d 33%, joints 100%, hand 100%" in lines[-1] and "neighbours 50%" in lines[-1]
    assert not any("nan" in line for line in lines)


def test_a_batch_without_labels_is_described_too(predicted):
    _, batch, prediction, _ = predicted
    for name in ("joints_mask", "joints2d_mask", "hand_mask"):
        setattr(batch.target, name, torch.zeros_like(getattr(batch.target, name)))
    lines = describe_batch(batch, prediction)
    assert sum("none valid" in line for line in lines) >= 8 and "joints 0%" in lines[-1]


def test_terms_are_taken_apart(predicted):
    """Moving the prediction as a whole shows before root-centring and not after; the weighted values are the
    loss."""
    _, batch, prediction, terms = predicted
    batch.target.joints = prediction.joints + torch.tensor([0.0, 0.0, 90.0])
    loss, raw = combine(terms, WEIGHTS)
    lines = describe_terms(terms, raw, WEIGHTS, prediction, batch)
    assert lines[0] == f"loss {loss.item():.6g}"
    weighted = [float(line.split()[3]) for line in lines[2:-1] if float(line.split()[1])]
    assert sum(weighted) == pytest.approx(loss.item(), rel=1e-3) and len(weighted) == 2
    (joints,) = [line.split() for line in lines if line.strip().startswith("joints ")]
    value = terms["joints"].value
    assert [float(x) for x in joints[5:7]] == pytest.approx(
        [value.mean().item(), value.max().item()], rel=1e-3
    ) and joints[-3:] == [
        "84",
        "of",
        "84",
    ]
    distances = [float(x) for x in re.findall(r"(?:mean|max) ([\d.e-]+)", lines[-1])]
    assert distances == pytest.approx([30, 90, 0, 0], abs=1e-3)


def test_a_term_without_labels_is_a_dash(predicted):
    network, batch, prediction, _ = predicted
    batch.target.hand_mask = torch.zeros_like(batch.target.hand_mask)
    terms = network.criterion(prediction, batch)
    _, raw = combine(terms, WEIGHTS)
    (pose,) = [line for line in describe_terms(terms, raw, WEIGHTS, prediction, batch) if "pose" in line]
    assert pose.split()[2:] == ["-"] * 5 + ["0", "of", "4"]
