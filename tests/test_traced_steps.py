"""A training step under torch.compile on the fake GPU (traced_steps.py): whole, nothing of it on the CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fake_gpu_cases import NETWORKS
from traced_steps import SPOILT

SCRIPT = Path(__file__).with_name("traced_steps.py")
# Graphs of a forward pass of which a part is not compiled: a frozen network that looks twice, where it must.
PARTLY = {"Hand3D with joints": 2}


def traced(kind: str, folder: Path) -> dict:
    """What the script finds."""
    out = folder / "found.json"
    done = subprocess.run([sys.executable, str(SCRIPT), str(out), kind], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text())[kind]


@pytest.mark.parametrize(
    "kind", [kind if kind == "Stage 1" else pytest.param(kind, marks=pytest.mark.slow) for kind in NETWORKS]
)
def test_a_step_is_compiled_whole(kind, tmp_path):
    found = traced(kind, tmp_path)
    assert found.keys() == {"forward", "criterion"}
    for part, said in found.items():
        whole = PARTLY.get(kind, 1) if part == "forward" else 1
        assert said["graphs"] == whole and len(said["breaks"]) == whole - 1, said["breaks"]
        assert said["on the CPU"] == [] and said["operations"] > 20


def test_what_spoils_a_graph_is_found(tmp_path):
    """A question for a value; tensors of the CPU that are made, moved to it, or kept there."""
    found = traced(SPOILT, tmp_path)
    assert {name: said["graphs"] for name, said in found.items()} == {
        "whole": 1,
        "cut": 2,
        "made": 1,
        "moved": 1,
        "kept": 1,
    }
    assert [name for name, said in found.items() if said["breaks"]] == ["cut"]
    assert [name for name, said in found.items() if said["on the CPU"]] == ["made", "moved", "kept"]
