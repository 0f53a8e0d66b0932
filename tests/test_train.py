"""script/train.py as users start it: both stages, one and two processes, resuming, and what it says of
mistakes."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests_support import SMALL_NETWORK, hand_rows, write_table

from tempohand.data.loader import ClipDataset, evaluation_batches
from tempohand.data.table import FrameTable
from tempohand.data.view import View
from tempohand.evaluation.validation import Validation
from tempohand.model.registry import load_network

ROOT = Path(__file__).parents[1]
SMALL = [
    *SMALL_NETWORK,
    "tracker=null",
    "optim.steps=6",
    "optim.warmup=2",
    "optim.batch_size=4",
    "optim.ema=0.9",
    "log.every=1",
    "log.validate_every=3",
    "log.checkpoint_every=3",
    "data.workers=0",
    "view.augmentation.photometric.noise=0",
]


def train(name: str, *overrides, processes: int = 1, check: bool = True) -> subprocess.CompletedProcess:
    launcher = (
        ["-m", "torch.distributed.run", f"--nproc_per_node={processes}", "--standalone"]
        if processes > 1
        else []
    )
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [
        sys.executable,
        *launcher,
        str(ROOT / "script" / "train.py"),
        f"--config-name={name}",
        *map(str, overrides),
    ]
    result = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert not check or result.returncode == 0, result.stderr[-3000:]
    return result


def losses(run: Path, split: str = "train") -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["split"] == split]


@pytest.fixture(scope="module")
def stage1(table_root, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "stage1"
    train("stage1-tiny", *SMALL, f"data.root={table_root}", f"out={run}")
    return run


def test_stage_1_leaves_checkpoints_and_a_record(stage1):
    assert {"best", "last", "step-00000003", "step-00000006"} <= {
        path.name for path in (stage1 / "checkpoint").iterdir()
    }
    assert len(losses(stage1)) == 6 and len(losses(stage1, "val")) == 2
    assert (stage1 / "config.yaml").is_file()
    line = json.loads((stage1 / "metrics.jsonl").read_text().splitlines()[0])
    assert {"loss", "lr", "grad_norm", "raw/joints", "loss/joints", "raw/heatmap"} <= line.keys()


def test_what_is_validated_and_saved_is_the_average(stage1, table_root):
    """By `optim.ema`; and the validation that a checkpoint's config.json tells of is that of the weights
    beside it."""
    last, best = (stage1 / "checkpoint" / name for name in ("last", "best"))
    saved, state = load_file(last / "model.safetensors"), torch.load(last / "training.pt", weights_only=True)
    assert all(saved[name].equal(tensor) for name, tensor in state["average"].items())
    assert not all(saved[name].equal(tensor) for name, tensor in state["network"].items())
    scores = [
        json.loads(line) for line in (stage1 / "metrics.jsonl").read_text().splitlines() if '"val"' in line
    ]
    chosen = min(scores, key=lambda line: line["mpjpe_root"])
    step = stage1 / "checkpoint" / f"step-{chosen['step']:08d}"
    assert (best / "model.safetensors").read_bytes() == (step / "model.safetensors").read_bytes()
    for directory in (last, best):
        network, config = load_network(directory), json.loads((directory / "config.json").read_text())
        assert config["best_by"] == "mpjpe_root"
        table, view, rows = (
            FrameTable(table_root, "val"),
            View(network.size, network.expansion),
            np.arange(18),
        )
        validation = Validation(network.expansion, table.sequence_starts(), table.column("time"))
        with torch.no_grad():
            for batch in evaluation_batches(ClipDataset(table, view, 1), rows, 4):
                prediction = network(batch)
                validation.add(prediction, batch, network.criterion(prediction, batch))
        here = validation.means(lambda x: [x], config["loss"])
        assert np.isnan(here["lag_2d"])  # the sequences are too short
        for name in {"loss", *Validation.UNITS} - {"lag_2d"}:
            assert here[name] == pytest.approx(config["scores"][name], rel=1e-5), name


def test_a_table_with_2d_labels_alone_has_a_best_checkpoint(tmp_path):
    nothing = {"joints_mask": np.zeros(21, bool), "has_hand": False, "has_camera": False}
    rows = {
        split: [{**row, **nothing} for row in hand_rows(split, 9, seed)]
        for seed, split in enumerate(("train", "val"))
    }
    table, run = (
        write_table(tmp_path / "table", {split: [sequence] for split, sequence in rows.items()}),
        tmp_path / "run",
    )
    result = train("stage1-tiny", *SMALL, "optim.steps=3", f"data.root={table}", f"out={run}")
    assert "the best checkpoint is the one with the least error_2d on validation (2D error)" in result.stdout
    config = json.loads((run / "checkpoint" / "best" / "config.json").read_text())
    assert config["best_by"] == "error_2d" and config["scores"]["error_2d"] > 0
    best = (
        f"best 2D error on validation: {config['scores']['error_2d']:.2f} % of the box's edge; checkpoints in"
    )
    assert best in result.stdout and "inf" not in result.stdout.replace("info", "")


def test_two_processes_see_what_one_sees(stage1, table_root, tmp_path):
    """The same command: the same learning rates, and the same losses but for the rounding of sums."""
    run = tmp_path / "two"
    result = train("stage1-tiny", *SMALL, f"data.root={table_root}", f"out={run}", processes=2)
    rates = [
        [json.loads(line).get("lr") for line in (r / "metrics.jsonl").read_text().splitlines()]
        for r in (stage1, run)
    ]
    assert rates[0] == rates[1]
    for split in ("train", "val"):
        assert losses(run, split) == pytest.approx(losses(stage1, split), rel=1e-4)
    assert "Evaluated on 18 samples from all 2 processes" in result.stdout

    one, two = (load_file(of / "checkpoint" / "last" / "model.safetensors") for of in (stage1, run))
    for name in (name for name in one if name.endswith(("running_mean", "running_var"))):
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-5)
    before = losses(run)  # and two processes go on as exactly as one does
    shutil.rmtree(run / "checkpoint" / "step-00000006")
    result = train("stage1-tiny", *SMALL, f"data.root={table_root}", f"out={run}", "resume=auto", processes=2)
    assert "at step 3" in result.stdout and losses(run) == before


def test_a_resumed_run_ends_as_the_uninterrupted_one(stage1, table_root, tmp_path):
    run = tmp_path / "resumed"
    train("stage1-tiny", *SMALL, f"data.root={table_root}", f"out={run}", "optim.steps=6", "log.keep=9")
    shutil.rmtree(run / "checkpoint" / "step-00000006")
    result = train("stage1-tiny", *SMALL, f"data.root={table_root}", f"out={run}", "resume=auto")
    assert "at step 3" in result.stdout
    assert losses(run) == losses(stage1)
    first, second = (
        load_file(r / "checkpoint" / "step-00000006" / "model.safetensors") for r in (stage1, run)
    )
    assert all(first[name].equal(second[name]) for name in first)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.mark.slow
def test_two_nodes_train_what_one_does(stage1, table_root, tmp_path):
    """Two machines with a process each, as torchrun starts them (here on loopback): the gradients of every
    step, the losses and the last weights are those of one machine, but for the rounding of sums."""
    run, port = tmp_path / "nodes", free_port()
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    nodes = []
    for rank in range(2):
        launcher = ["-m", "torch.distributed.run", "--nnodes=2", f"--node_rank={rank}", "--nproc_per_node=1"]
        launcher += ["--master_addr=127.0.0.1", f"--master_port={port}", str(ROOT / "script" / "train.py")]
        words = ["--config-name=stage1-tiny", *SMALL, f"data.root={table_root}", f"out={run}"]
        with (tmp_path / f"node{rank}.txt").open("w") as log:
            command = [sys.executable, *launcher, *words]
            nodes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT))
    codes = [node.wait(timeout=600) for node in nodes]
    said = [(tmp_path / f"node{rank}.txt").read_text() for rank in range(2)]
    assert codes == [0, 0], said
    assert "Evaluated on 18 samples from all 2 processes" in said[0]
    for split in ("train", "val"):
        assert losses(run, split) == pytest.approx(losses(stage1, split), rel=1e-4)
    norms = [
        [json.loads(line).get("grad_norm") for line in (r / "metrics.jsonl").read_text().splitlines()]
        for r in (stage1, run)
    ]
    assert [n for n in norms[1] if n] == pytest.approx([n for n in norms[0] if n], rel=1e-3)
    one, two = (load_file(of / "checkpoint" / "last" / "model.safetensors") for of in (stage1, run))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-2, atol=1e-4, msg=name)


FIND = [entry for entry in SMALL if "network.spatial" not in entry] + [
    "network.backbone.options={stem: 16, stages: [[16, 1], [32, 1], [32, 1], [32, 1]], norm_group: 2}"
]


def test_the_hand_finder_goes_through_the_same_loop(table_root, tmp_path):
    """With every table that can be asked for."""
    run = tmp_path / "find"
    result = train(
        "find-tiny",
        *FIND,
        f"data.root={table_root}",
        f"out={run}",
        "debug.first_batches=1",
        "debug.loss=true",
    )
    assert (
        "score of a left hand" in result.stdout
        and "Evaluated on 18 samples from all 1 processes: iou" in result.stdout
    )
    assert "best share of hands missed on validation" in result.stdout and len(losses(run)) == 6
    line = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    assert {"raw/centre", "raw/offset", "loss/size", "grad_norm"} <= line.keys()


@pytest.mark.slow
def test_the_hand_finder_is_resumed_and_replayed(table_root, tmp_path):
    run, small = tmp_path / "find", [*FIND, f"data.root={table_root}"]
    train("find-tiny", *small, f"out={run}", "log.keep=9")
    before = losses(run)
    shutil.rmtree(run / "checkpoint" / "step-00000006")
    train("find-tiny", *small, f"out={run}", "resume=auto", "log.keep=9")
    assert len(before) == 6 and losses(run) == before
    bad = train(
        "find-tiny", *small, f"out={tmp_path / 'bad'}", "optim.lr=1e38", "optim.warmup=0", check=False
    )
    assert bad.returncode and "not finite" in bad.stderr
    again = train("find-tiny", f"debug.replay={next((tmp_path / 'bad' / 'debug').iterdir())}", check=False)
    assert again.returncode == 1 and "verdict, the same as in the run" in again.stdout, (
        again.stdout + again.stderr
    )


@pytest.mark.parametrize(
    "more, message",
    [
        ([], "holds a run with checkpoints: resume=auto continues it"),
        (["resume=auto", "optim.lr=1"], "with other settings: optim.lr was 0.0012 and is 1"),
    ],
)
def test_a_run_is_continued_as_itself_alone(stage1, table_root, more, message):
    before = {path: path.read_bytes() for path in stage1.rglob("*") if path.is_file()}
    result = train("stage1-tiny", *SMALL, f"data.root={table_root}", f"out={stage1}", *more, check=False)
    assert result.returncode == 2 and message in result.stderr and "Traceback" not in result.stderr
    assert {path: path.read_bytes() for path in stage1.rglob("*") if path.is_file()} == before


STAGE2 = [s for s in SMALL if not s.startswith("network.spatial")] + [
    "network.temporal={width: 32, layers: 1, heads: 2}",
    "sampling={consecutive: 2, drop: 0.1}",
    "optim.ema=null",
]


def test_stage_2_inherits_and_trains_on_two_processes(stage1, table_root, tmp_path):
    """By default from cached tokens; training from pictures in the same views is the same training, and one
    process makes the same tokens."""
    best = stage1 / "checkpoint" / "best"
    settings = [*STAGE2, f"data.root={table_root}", f"init_from={best}", "tokens.views=2"]
    runs = {name: tmp_path / name for name in ("two", "cached", "online")}
    both = train(
        "stage2-tiny",
        *settings,
        f"out={runs['two']}",
        f"tokens.folder={tmp_path / 'shared'}",
        "tokens.dtype=fp32",
        processes=2,
    )
    assert (
        "inherited network.spatial.decoder.dim = 32" in both.stdout
        and "tokens: 114 frames to encode (2 views)" in both.stdout
    )
    before, after = (
        load_file(run / "checkpoint" / name / "model.safetensors")
        for run, name in ((stage1, "best"), (runs["two"], "last"))
    )
    assert all(after[name].equal(tensor) for name, tensor in before.items() if name.startswith("spatial."))
    assert any(name.startswith("temporal.") for name in after)
    record = [json.loads(line) for line in (runs["two"] / "metrics.jsonl").read_text().splitlines()]
    assert "raw/velocity" in record[0] and "raw/wrist_velocity" in record[0]

    train("stage2-tiny", *settings, f"out={runs['cached']}", "tokens.dtype=fp32")
    (made,) = (table_root / "tokens").iterdir()
    for file in made.glob("*.npy"):
        assert file.read_bytes() == (tmp_path / "shared" / file.name).read_bytes()
    train("stage2-tiny", *settings, f"out={runs['online']}", "tokens=online")
    for split in ("train", "val"):
        assert losses(runs["cached"], split) == pytest.approx(losses(runs["online"], split), rel=1e-4)
    other = train(
        "stage2-tiny",
        *settings,
        f"tokens.folder={tmp_path / 'shared'}",
        f"out={tmp_path / 'other'}",
        check=False,
    )
    assert "dtype is fp32 there and fp16 here" in other.stderr and "Traceback" not in other.stderr


@pytest.mark.parametrize(
    "name, overrides, message",
    [
        ("stage1-tiny", ["network.num_frame=7"], "network.num_frame=7 contradicts Stage 1"),
        ("stage2-tiny", ["network.num_frame=1", "init_from=x"], "network.num_frame=1 contradicts Stage 2"),
        (
            "stage2-tiny",
            ["view.augmentation.mirror=0.1", "init_from=tempohand-tiny"],
            "view.augmentation.mirror=0.1 shows the other side's hands",
        ),
        (
            "stage1-tiny",
            ["network.spatial.side=false"],
            "view.augmentation.mirror=0.125 shows the other side's hands",
        ),
        ("stage2-tiny", [], "Stage 2 needs init_from="),
        ("stage2-tiny", ["init_from=nowhere"], "there is no checkpoint at 'nowhere'"),
        ("stage1-tiny", ["data.root=nowhere"], "no frame table at 'nowhere'"),
        ("stage1-tiny", ["network.hand=nowhere/MANO_RIGHT.pkl"], "nowhere/MANO_RIGHT.pkl"),
        ("stage1-tiny", ["network.spatial.backbone.weights=nowhere.pt"], "no file 'nowhere.pt'"),
        ("stage1-tiny", ["tokens=cached"], "tokens.mode=cached: a network with a frozen part takes"),
        ("stage1-tiny", ["loss.joint=1"], "Could not override 'loss.joint'"),
        ("stage1-tiny", ["optim.accumulate=5"], "optim.batch_size=48 cannot be shared evenly"),
        ("stage1-tiny", ["log.keep=0"], "log.keep=0 must be at least 1"),
        ("stage2-tiny", ["resume=auto"], "Stage 2 needs init_from="),
        ("stage1-tiny", ["optim.batch_sise=4"], "Could not override 'optim.batch_sise'"),
    ],
)
def test_a_mistake_is_one_clear_line(table_root, tmp_path, name, overrides, message):
    root = [] if any(o.startswith("data.root") for o in overrides) else [f"data.root={table_root}"]
    result = train(name, *root, f"out={tmp_path / 'run'}", *overrides, check=False)
    assert result.returncode != 0
    assert message in result.stderr and "Traceback" not in result.stderr, result.stderr[-2000:]
    assert not (tmp_path / "run").exists()


def test_help_lists_the_configs():
    result = train("stage1-tiny", "--help")
    assert "stage2-tiny" in result.stdout and "batch_size" in result.stdout
