"""A training step under torch.compile on the fake GPU (traced_steps.py): whole, nothing of it on the CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fake_gpu import DEVICE
from fake_gpu_cases import NETWORKS
from traced_steps import Traced, on_the_gpu

SCRIPT = Path(__file__).with_name("traced_steps.py")
# Graphs of a forward pass of which a part is not compiled: a frozen network that looks twice, where it must.
PARTLY = {"Hand3D with joints": 2}


@pytest.mark.parametrize(
    "kind", [kind if kind == "Stage 1" else pytest.param(kind, marks=pytest.mark.slow) for kind in NETWORKS]
)
def test_a_step_is_compiled_whole(kind, tmp_path):
    out = tmp_path / "found.json"
    done = subprocess.run([sys.executable, str(SCRIPT), str(out), kind], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(out.read_text())[kind]
    assert found.keys() == {"forward", "criterion"}
    for part, said in found.items():
        whole = PARTLY.get(kind, 1) if part == "forward" else 1
        assert said["graphs"] == whole and len(said["breaks"]) == whole - 1, said["breaks"]
        assert said["on the CPU"] == [] and said["operations"] > 20


def test_what_spoils_a_graph_is_found():
    """A cut, and tensors of the CPU: made, moved, or kept by what is compiled."""
    kept, traced = torch.ones(3), Traced()

    def cut(x):
        y = x * 2
        torch._dynamo.graph_break()
        return y + 1

    spoilt = {
        "whole": lambda x: x * 2 + 1,
        "cut": cut,
        "made": lambda x: (x, torch.zeros(3)),
        "moved": lambda x: (x * 2).to("cpu"),
        "kept": lambda x: (x, kept * 2),
    }
    found = {}
    with on_the_gpu():
        x = torch.zeros(3, device=DEVICE)
        for name, function in spoilt.items():
            torch._dynamo.reset()
            traced.report()
            torch.compile(function, backend=traced)(x)
            found[name] = traced.report()
    assert [found[name]["graphs"] for name in spoilt] == [1, 2, 1, 1, 1]
    assert [len(found[name]["breaks"]) for name in spoilt] == [0, 1, 0, 0, 0]
    assert [bool(found[name]["on the CPU"]) for name in spoilt] == [False, False, True, True, True]
