"""Training, validation and prediction of every network on a device that is not the CPU (fake_gpu.py): nothing stays behind on the CPU, and
what is waited for is what docs/architecture.md says."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from fake_gpu import DEVICE, put, watched
from tests_support import compose_config, random_batch, small_network

from tempohand.data.tokens import TokenBatch
from tempohand.evaluation.validation import VALIDATIONS
from tempohand.model.registry import build_network
from tempohand.training.features import FromFeatures
from tempohand.training.processes import average_statistics
from tempohand.training.watch import StepWatch

FINDER = {"name": "finder", "num_frame": 1, "size": 64, "expansion": 4.0, "width": 16, "backbone": {
    "name": "tempohand_tiny", "weights": None, "options": {"stem": 16, "stages": [[16, 1], [32, 1], [32, 1], [32, 1]]}}}  # fmt: skip
HEATMAP = {"spatial": small_network(1)["spatial"] | {"heads": {"translation": "heatmap"}}, "norm_by_hand": True}
# name -> network, its configuration, and what a forward pass waits for
NETWORKS = {
    "Stage 1": (small_network(1), "stage1-tiny", []),
    "Stage 1 with other heads": (small_network(1, **HEATMAP), "stage1-tiny", []),
    "Stage 2 from pictures": (small_network(2), "stage2-tiny", ["unique", "mask"]),  # which frames its clips share
    "Stage 2 from tokens": (small_network(2), "stage2-tiny", []),
    "finder": (FINDER, "find-tiny", []),
}


@pytest.fixture(params=NETWORKS)
def case(request, monkeypatch):
    """(network, what batches go through, batch, settings, the waits of a forward pass), all on the device."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # it knows devices that compute alone
    settings, name, waits = NETWORKS[request.param]
    torch.manual_seed(0)
    network, batch = build_network(settings), random_batch(4, settings["num_frame"])
    batch.frame = torch.arange(batch.time.numel()).view_as(batch.time)
    predict = network
    if request.param == "Stage 2 from tokens":
        features = torch.zeros(*batch.time.shape, network.spatial.token_dim + network.spatial.detail_dim)
        batch, predict = TokenBatch(**vars(batch), features=features), FromFeatures(network)
    put(network)
    batch = put(batch)
    return network, predict, batch, compose_config(name), waits


def test_a_step_waits_for_the_loss_and_the_gradients_norm(case, tmp_path):
    network, predict, batch, settings, waits = case
    accelerator = Accelerator(cpu=True)
    watch = StepWatch(accelerator, network, settings, tmp_path, config=dict, describe=list, command="")
    with watched() as waited:
        watch.begin(0, logged=True)
        prediction = predict(batch)
        terms = network.criterion(prediction, batch)
        assert waited == waits
        loss = watch.loss(batch, prediction, terms)
        assert waited == [*waits, "cpu"]
        loss.backward()
        watch.gradient(1.0)
        assert waited == [*waits, "cpu", "item"]
        # (The optimizer's own step is PyTorch's, and knows its devices by name.)
        average_statistics(network, lambda x: x, 2)
        assert waited == [*waits, "cpu", "item"]
    assert all(parameter.grad is None or parameter.grad.device == DEVICE for parameter in network.parameters())
    with watched():
        watch.numbers()


def test_validation(case):
    """It waits once for its sums; of every batch it asks whether predictions are finite, takes their paths (PoseNet), or finds peaks (finder)."""
    network, predict, batch, settings, _ = case
    network.eval()
    batch = replace(batch, previous=None)
    validation = VALIDATIONS[settings["network"]["name"]](2.0, np.zeros(4, int), np.arange(4) / 30)
    with watched() as waited, torch.no_grad():
        prediction = predict(batch)
        validation.add(prediction, batch, network.criterion(prediction, batch))
        scores = validation.means(lambda x: [x], settings["loss"])
    assert set(validation.UNITS) <= scores.keys() and waited.count("tolist") == 1
    assert set(waited) <= {"tolist", "bool", "nonzero", "unique", "mask", "cpu"}


def test_what_a_gpu_refuses_is_refused():
    here, there, place = torch.zeros(4), put(torch.zeros(4)), torch.tensor([0, 1])
    with watched() as waited:
        for wrong in (
            lambda: here + there,
            lambda: here.__setitem__(put(place), there[:2]),
            lambda: here.__setitem__(place, there[:2]),
            lambda: there.__setitem__(place, here[:2]),
            lambda: here[put(place)],
            lambda: torch.where(there > 0, here, there),
        ):
            with pytest.raises(RuntimeError):
                wrong()
        assert waited == []
        float(there[0]), there.sum().item(), there[there > 0], there.cpu(), bool(there.any()), there.new_tensor([1.0])
    assert waited == ["float", "item", "mask", "cpu", "bool", "values of the host"]
