"""script/train.py when values are not finite: two processes stop together, say why in one line, and one
process repeats the step."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests_support import SMALL_NETWORK, small_network

from tempohand.model.registry import build_network

SCRIPT = Path(__file__).parents[1] / "script" / "train.py"


@pytest.fixture(scope="module")
def stopped(table_root, tmp_path_factory):
    """A run that starts from weights of which one is nan: (its folder, what it printed and returned)."""
    folder = tmp_path_factory.mktemp("wrong")
    torch.manual_seed(0)
    weights = {
        name: value.contiguous() for name, value in build_network(small_network(1)).state_dict().items()
    }
    name = next(
        name for name in weights if name.startswith("spatial.decoder.") and name.endswith("key_value.weight")
    )
    weights[name].view(-1)[3] = torch.nan
    save_file(weights, folder / "begin.safetensors")
    overrides = [
        *SMALL_NETWORK,
        "tracker=null",
        "optim.batch_size=4",
        "optim.accumulate=2",
        "data.workers=0",
        "debug.first_batches=1",
        f"data.root={table_root}",
        f"out={folder / 'run'}",
        f"init_from={folder / 'begin.safetensors'}",
    ]
    environment = {
        **os.environ,
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TEMPOHAND_DEBUG_LOSS": "1",
    }
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    command = [*launcher, str(SCRIPT), "--config-name=stage1-tiny", *overrides]
    result = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    return folder / "run", name, result


def test_both_processes_stop_and_one_says_why(stopped):
    run, name, result = stopped
    assert result.returncode != 0
    errors = re.findall(r"error: (.*)", result.stderr)
    assert len(errors) == 1, result.stderr[-3000:]
    assert re.match(
        r"the loss is not finite at optimizer step 1, in depth, joints, joints2d, .*; samples: row \d+ "
        r"\(test, sequence train-",
        errors[0],
    )
    assert f"not finite in the weights: {name};" in errors[0]
    assert (
        f"python script/train.py --config-name=stage1-tiny debug.replay={run / 'debug' / 'step-00000001'}"
        in errors[0]
    )
    assert not (run / "checkpoint").exists()
    assert sorted(path.name for path in (run / "debug" / "step-00000001").iterdir()) == [
        *("batch-0-0.safetensors", "batch-0-1.safetensors", "config.json", "model.safetensors")
    ]


def test_tables_come_from_the_main_process_alone(stopped):
    _, _, result = stopped
    table = "step 1 (the share of process 0 of 2): 1 clips of 1 frame(s), 1 different ones, 64 px"
    assert result.stdout.count(table) == 1
    assert result.stdout.count("step 1 (the share of process 0 of 2): loss nan") == 1
    assert (
        "predicted root after centring (mm)" in result.stdout
        and "joints' difference, each coordinate" in result.stdout
    )


def test_one_process_repeats_the_step(stopped, capsys):
    run, name, _ = stopped
    replay_dump = runpy.run_path(str(SCRIPT), run_name="imported")["replay_dump"]
    assert replay_dump(str(run / "debug" / "step-00000001")) == 1
    said = capsys.readouterr().out
    assert f"weights that are not finite: {name}" in said and "its own weight is not finite" in said
    assert said.splitlines()[-1].startswith(
        "verdict, the same as in the run: the loss is not finite, in depth, joints, joints2d"
    )
