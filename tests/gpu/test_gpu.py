"""What only a GPU can show: make test-gpu. Without one every test here is skipped with a line; what these
tests call runs on the CPU in tests/test_fake_gpu.py and tests/test_bench.py."""

import argparse
import copy
import json
import runpy
from pathlib import Path

import pytest
import torch
from hand3d_support import hand3d_batch, small_hand3d
from tests_support import random_batch, small_network
from utnet_support import small_utnet, utnet_batch

from tempohand.model.registry import build_network

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU that torch sees"),
]
GOLDEN = Path(__file__).parents[1] / "golden" / "regenerate.py"
CASES = {
    "Stage 1": lambda: (build_network(small_network(1)), random_batch(4, 1)),
    "Stage 2": lambda: (build_network(small_network(2)), random_batch(4, 7)),
    "UTNet": lambda: (small_utnet(), utnet_batch()),
    "Hand3D": lambda: (small_hand3d(), hand3d_batch()),
}


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Products in float32, and operations that give the same twice."""
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)


def step(network, batch, device: str) -> tuple[dict, dict]:
    """The loss terms' means and the gradients, on the CPU."""
    network, batch = copy.deepcopy(network).eval().to(device), batch.to(device)
    prediction = network(batch)
    means = {
        name: term.value[term.mask].float().mean()
        for name, term in network.criterion(prediction, batch).items()
        if term.mask.any()
    }
    sum(means.values()).backward()
    gradients = {name: p.grad.cpu() for name, p in network.named_parameters() if p.grad is not None}
    return {name: value.item() for name, value in means.items()}, gradients


@pytest.mark.parametrize("name", CASES)
def test_a_step_is_the_cpus(name):
    """In float32; the hand layer's compiled kernels against tensor operations."""
    torch.manual_seed(0)
    network, batch = CASES[name]()
    (wanted, of_cpu), (found, of_gpu) = (step(network, batch, device) for device in ("cpu", "cuda"))
    assert found == pytest.approx(wanted, rel=1e-3, abs=1e-5)
    assert of_cpu.keys() == of_gpu.keys()
    for key, gradient in of_cpu.items():
        assert (of_gpu[key] - gradient).norm() <= 1e-2 * gradient.norm() + 1e-5, key


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", CASES)
def test_half_precision_stays_near(name, precision):
    torch.manual_seed(0)
    network, batch = CASES[name]()
    wanted = network.eval()(batch).joints
    with torch.autocast("cuda", precision), torch.no_grad():
        found = network.to("cuda")(batch.to("cuda")).joints
    assert (found.float().cpu() - wanted).norm(dim=-1).mean() < 5  # mm


def test_the_golden_run(tmp_path):
    """20 steps of both stages on the GPU: the losses of the CPU, as far as float32's rounding carries."""
    golden = runpy.run_path(str(GOLDEN))
    found = golden["train_both"](tmp_path, ACCELERATE_USE_CPU="false")
    stored = json.loads(golden["LOSSES"].read_text(encoding="utf-8"))
    for stage in golden["STAGES"]:
        for expected, line in zip(stored[stage], found[stage], strict=True):
            assert line["loss"] == pytest.approx(expected["loss"], rel=2e-2), f"{stage}, {expected['step']}"


def test_throughput_is_measured(monkeypatch, capsys):
    """The table of ViT-S, B and L in short; tempohand bench gpu measures longer."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "script")
    from benchmarks import gpu

    parser = argparse.ArgumentParser()
    gpu.add_arguments(parser)
    report = gpu.run(parser.parse_args(["--batch", "16", "--steps", "3"]))
    with capsys.disabled():
        print("\n" + report.text())
    found = report.details["networks"]
    assert len(found) == 3 and all(one["memory"] > 0 and one["seconds"] > 0 for one in found.values())
