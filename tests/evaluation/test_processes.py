"""Evaluation and validation by 1, 2, 3 and 4 real processes: the same numbers, every sample once, whatever
does not divide by what."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests_support import hand_rows, small_network, write_table

from tempohand.model.registry import build_network
from tempohand.training.checkpoint import save_weights

REPOSITORY = Path(__file__).resolve().parents[2]
# Frames of the test split's sequences: 29 in all, in 5 groups of at least BATCH; the tuning split is one
# sequence, which one process gets.
LENGTHS, BATCH, BAD = (5, 3, 8, 1, 4, 6, 2), 4, 6
PROCESSES = (1, 2, 3, 4)

# One interpreter imports everything and is copied for each process, before it starts any thread: gloo and
# Accelerate as under torchrun.
CODE = """
import importlib.util, json, os, socket, sys
from pathlib import Path
import numpy as np, torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from hydra import compose, initialize_config_dir
from tempohand.data.ledger import Ledger
from tempohand.data.loader import ClipDataset, evaluation_batches
from tempohand.data.table import FrameTable
from tempohand.data.view import View
from tempohand.evaluation.validation import Validation
from tempohand.model.registry import load_network

repository, root, table, batch = sys.argv[1:5]
spec = importlib.util.spec_from_file_location("evaluate_script", repository + "/script/evaluate.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)

def evaluate(out, processes):
    with initialize_config_dir(repository + "/config", version_base="1.3"):
        options = [f"stage1={root}/stage1", f"stage2={root}/stage2", "data=table", f"data.root={table}"]
        options += [f"out={out}", f"batch_size={batch}", "workers=0", "device=cpu"]
        script.main(compose("evaluate", options))

def validate(out, processes):
    accelerator = Accelerator(cpu=True)
    network, ledger, rows = load_network(root + "/stage2"), Ledger(), FrameTable(table, "test")
    results = Validation(network.expansion, rows.sequence_starts(), rows.column("time"))
    held_out = ClipDataset(rows, View(network.size, network.expansion), network.num_frame)
    share = {"rank": accelerator.process_index, "world": accelerator.num_processes}
    with torch.no_grad():
        for batch in evaluation_batches(held_out, np.arange(len(held_out)), 9, 0, ledger, **share):
            prediction = network(batch)
            results.add(prediction, batch, network.criterion(prediction, batch))
    scores = results.means(lambda x: gather_object([x]), network.config["loss"])
    total = Ledger.total(gather_object([ledger]))
    if accelerator.is_main_process:
        scores["left_out"] = [total.read, total.left_out]
        (Path(out) / "validation.json").write_text(json.dumps(scores))
    accelerator.end_training()

for processes in map(int, sys.argv[5:]):
    out = f"{root}/{processes}"
    os.makedirs(out)
    for task in (evaluate, validate):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        children = []
        for rank in range(processes):
            child = os.fork()
            if not child:
                if processes > 1:
                    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
                    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
                task(out, processes)
                sys.stdout.flush()
                os._exit(0)
            children.append(child)
        codes = [os.waitpid(child, 0)[1] for child in children]
        assert not any(codes), f"{task.__name__} by {processes} processes"
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """processes -> (metrics.json, validation's scores), and what was printed."""
    root = tmp_path_factory.mktemp("processes")
    test = [hand_rows(f"test-{k}", length, 40 + k, is_right=k % 3 != 1) for k, length in enumerate(LENGTHS)]
    test[1][BAD - LENGTHS[0]]["image"] = b"no picture"
    splits = {"train": [hand_rows("train-0", 8, 1)], "val": [hand_rows("val-0", 9, 2)], "test": test}
    table = write_table(root / "table", splits)
    torch.manual_seed(0)
    one, two = small_network(1), small_network(2)
    stage1, stage2 = build_network(one), build_network(two)
    stage2.spatial.load_state_dict(stage1.spatial.state_dict())
    for layer in (stage2.temporal.out, stage2.temporal.correct):
        torch.nn.init.normal_(layer.weight, std=0.05)
    losses = {"joints": 0.02, "joints2d": 3.0, "shape": 0.1, "heatmap": 0.5}
    save_weights(root / "stage1", stage1.state_dict(), {"network": one, "loss": losses})
    save_weights(root / "stage2", stage2.state_dict(), {"network": two, "loss": losses})
    command = [
        sys.executable,
        "-c",
        CODE,
        str(REPOSITORY),
        str(root),
        str(table),
        str(BATCH),
        *map(str, PROCESSES),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    read = {
        p: [json.loads((root / str(p) / name).read_text()) for name in ("metrics.json", "validation.json")]
        for p in PROCESSES
    }
    return read, done.stdout


def figures(content, name=""):
    """Every number of a nest, by its path, but for those that say how it was made."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key not in ("processes", "seconds"):
                yield from figures(value, f"{name}/{key}")
    elif isinstance(content, list):
        for place, value in enumerate(content):
            yield from figures(value, f"{name}/{place}")
    else:
        yield name, content


@pytest.mark.parametrize("processes", PROCESSES[1:])
def test_every_figure_is_that_of_one_process(results, processes):
    """Metrics of every row and split, intervals, differences, test loss, the tuned filters, and the scores of
    a validation."""
    (metrics, validation), (expected, expected_validation) = results[0][processes], results[0][1]
    for content, other in ((metrics, expected), (validation, expected_validation)):
        assert content["processes"] == processes and other["processes"] == 1
        content, other = dict(figures(content)), dict(figures(other))
        assert content.keys() == other.keys()
        numbers = [name for name, value in other.items() if isinstance(value, float)]
        assert {name: content[name] for name in numbers} == pytest.approx(
            {name: other[name] for name in numbers}, rel=1e-9, nan_ok=True
        )
        assert {name: value for name, value in content.items() if name not in numbers} == {
            n: v for n, v in other.items() if n not in numbers
        }
    assert len(dict(figures(metrics))) > 2000 and metrics["intervals"]["stage2"]["all"]["mpjpe"] is not None


def test_every_sample_is_counted_once_and_said(results):
    read, printed = results
    good = sum(LENGTHS) - 1
    for processes, (metrics, validation) in read.items():
        assert (
            metrics["n"] == validation["n"] == good
            and printed.count(f"Evaluated on {good} samples from all {processes} processes") == 1
        )
        assert metrics["left_out"] == {
            "rows": 1,
            "of": good + 1,
            "by_source": {"test": {"undecodable picture": 1}},
        }
        assert validation["left_out"] == [good + 1, 1]
    assert printed.count(
        "left out 1 of 29 rows of split 'test' as bad data (test: undecodable picture 1)"
    ) == len(PROCESSES)


def test_stage_2_is_as_good_in_validation_as_in_evaluation(results):
    """Windows that are cut from the table, and histories of kept tokens: the same loss, also around a frame
    that is missing."""
    metrics, validation = results[0][1]
    assert metrics["rows"]["stage2"]["mpjpe"] == pytest.approx(validation["mpjpe"], rel=1e-5)
    assert (
        metrics["test_loss"]["stage2"] == pytest.approx(validation["loss"], rel=1e-5)
        and metrics["test_loss"]["stage1"] > 0
    )


def test_what_a_result_was_made_from_is_in_it(results):
    metrics = results[0][1][0]
    assert [len(digest) for digest in (metrics["fingerprint"], *metrics["weights"].values())] == [64, 64, 64]
    assert metrics["weights"]["stage1"] != metrics["weights"]["stage2"] and metrics["version"].startswith(
        "0."
    )


def test_what_no_sample_speaks_for_is_named(results):
    metrics, printed = results[0][1][0], results[1]
    assert metrics["rows"]["stage1"]["splits"]["far_700mm_up"]["mpjpe"] is None
    (line,) = {line for line in printed.splitlines() if line.startswith("no valid sample for: ")}
    assert "far_700mm_up" in line and "hidden_0," not in line
