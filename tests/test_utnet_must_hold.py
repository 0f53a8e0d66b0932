"""What a working UTNet must do (docs/utnet.md, "What must hold"): nine lines, a test each, on a run from end
to end over a small table of which every second sequence has depth."""

import contextlib
import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tests_support import (
    compose_config,
    evaluate,
    hand_rows,
    load_file,
    new_accelerate_state,
    noise_hand,
    with_depth,
    write_table,
)
from utnet_support import SMALL, small_utnet, utnet_batch

from tempohand.batch import HandPrediction
from tempohand.doctor.examine import examine
from tempohand.doctor.network import check_scale
from tempohand.geometry import normalise_pixels, project
from tempohand.hand.layer import HandLayer
from tempohand.model.utnet_losses import TERMS, utnet_terms

ROOT = Path(__file__).parents[1]
STEPS = 8
NETWORK = SMALL | {"refinement": SMALL["refinement"] | {"maps": [16, 16, 16]}}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Train 4 sequences, validation 2, test 2; of each every second one with depth."""
    splits = {}
    for number, (split, count) in enumerate((("train", 4), ("val", 2), ("test", 2))):
        rows = [hand_rows(f"{split}-{k}", 9, 50 * number + k, is_right=k % 3 != 2) for k in range(count)]
        splits[split] = [with_depth(each) if k % 2 else each for k, each in enumerate(rows)]
    return write_table(tmp_path_factory.mktemp("rgbd"), splits)


def overrides(root: Path, out: Path, *more: str) -> list[str]:
    free = ["tracker=null", "data.workers=0", f"data.root={root}", f"out={out}", "debug.first_batches=3"]
    often = ["log.every=2", "log.validate_every=4", "log.checkpoint_every=4"]
    return [*free, *often, f"optim.steps={STEPS}", "optim.batch_size=4", "optim.warmup=0", *more]


def settings(root: Path, out: Path, *more: str) -> dict:
    return compose_config("utnet-tiny", *overrides(root, out, *more)) | {"network": NETWORK}


@pytest.fixture(scope="module")
def run(root, tmp_path_factory):
    """(folder, what was printed) of a training of one process with UTNET_DEBUG_LOSS=1."""
    folder, out = tmp_path_factory.mktemp("utnet") / "run", io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), new_accelerate_state():
        patch.setenv("UTNET_DEBUG_LOSS", "1")
        with contextlib.redirect_stderr(io.StringIO()):
            load_file(ROOT / "script" / "train.py").main(OmegaConf.create(settings(root, folder)))
    return folder, out.getvalue()


def lines(folder: Path, split: str) -> list[dict]:
    every = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in every if line["split"] == split]


def test_1_the_hand_model_takes_whole_poses_and_official_files(tmp_path):
    """No PCA, identity rotations are the template at rest, `mano_data/mano/MANO_RIGHT.pkl` by its folder,
    nothing patched."""
    pickles = load_file(ROOT / "tests" / "hand" / "test_files.py")
    folder = tmp_path / "mano_data"
    (folder / "mano").mkdir(parents=True)
    pickles.write(folder / "mano" / "MANO_RIGHT.pkl", noise_hand())
    layer = HandLayer(folder)
    joints, vertices = layer(torch.eye(3).expand(1, 16, 3, 3), torch.zeros(1, 10))
    torch.testing.assert_close(vertices[0], layer.template - layer.rest_joints[0], atol=1e-3, rtol=0)
    said = small_utnet(hand=str(folder)).eval()(utnet_batch())
    assert said.joints.isfinite().all() and said.pose.shape == (4, 1, 48)  # 45 angles of fingers: no PCA
    assert "chumpy" not in sys.modules and not hasattr(np, "float_")


def test_2_the_metrics_are_complete_and_never_infinite(run, root, tmp_path):
    folder, _ = run
    for scores in lines(folder, "val"):
        assert {"mpjpe", "mpjpe_root", "pa_mpjpe", "avg_metric", "error_2d", "loss", "n"} <= scores.keys()
        assert {f"raw/{name}" for name in TERMS} <= scores.keys()
        assert not any(value is not None and math.isinf(value) for value in scores.values() if value != "val")
        average = (scores["mpjpe_root"] + scores["pa_mpjpe"]) / 2
        assert scores["avg_metric"] == pytest.approx(average)
    best = json.loads((folder / "checkpoint" / "best" / "config.json").read_text())
    chosen = min(lines(folder, "val"), key=lambda scores: scores["avg_metric"])
    assert best["best_by"] == "avg_metric" and best["scores"]["avg_metric"] == chosen["avg_metric"]
    done = evaluate(
        load_file(ROOT / "script" / "evaluate.py"),
        f"stage1={folder / 'checkpoint' / 'best'}",
        f"data={root}",
        f"out={tmp_path}",
    )
    assert done.returncode == 0, done.stderr
    assert "Infinity" not in (tmp_path / "metrics.json").read_text()


def test_3_losses_are_root_relative_and_both_2d_sides_are_normalised_alike():
    network, batch = small_utnet().eval(), utnet_batch()
    said = network(batch)
    before = utnet_terms(said, batch, network.expansion)
    moved = dict(vars(said)) | {"joints": said.joints + 5000.0}
    after = utnet_terms(HandPrediction(**moved), batch, network.expansion)
    torch.testing.assert_close(after["joints"].value, before["joints"].value, atol=2e-3, rtol=0)
    height, width = network.crop.size
    assert height > width
    for joints, places in ((said.joints, said.joints2d), (batch.target.joints, batch.target.joints2d)):
        pixels = project(joints, batch.focal, batch.princpt)
        torch.testing.assert_close(places[..., 0], pixels[..., 0] / width - 0.5)  # x by the width ...
        torch.testing.assert_close(places[..., 1], pixels[..., 1] / height - 0.5)  # ... y by the height


def test_4_an_evaluation_is_of_every_sample_and_changes(run, root):
    folder, said = run
    counted = re.findall(r"Evaluated on (\d+) samples from all 1 processes", said)
    assert counted == ["18"] * 2  # both sequences of the validation split, of nine frames each
    first, second = lines(folder, "val")
    assert first["mpjpe_root"] != second["mpjpe_root"] and first["pa_mpjpe"] != second["pa_mpjpe"]


def test_5_the_first_batches_and_loss_internals_are_printed(run):
    _, said = run
    for words in (
        "image red (0-255)",
        "depth (mm), where measured",
        "true 2D u (crop)",
        "predicted 3D z (mm)",
        "true root after centring (mm)",
        "predicted root after centring (mm)",
    ):
        assert said.count(words) == 3, words  # of the first three batches
    roots = re.findall(r"root after centring \(mm\) +(\S+) +(\S+) +(\S+)", said)
    assert len(roots) == 6 and all(abs(float(number)) < 1e-3 for each in roots for number in each)
    internals = re.findall(r"in camera space mean \S+, max \S+ mm; after root-centring mean (\S+),", said)
    assert len(internals) == STEPS and "mean here" in said and "max here" in said  # UTNET_DEBUG_LOSS=1


def test_6_every_term_is_logged_with_rate_and_scores(run):
    folder, _ = run
    for line in lines(folder, "train"):
        assert {f"raw/{name}" for name in TERMS} <= line.keys()
        assert {f"loss/{name}" for name in TERMS} <= line.keys()
        assert {"loss", "lr", "grad_norm", "clips_per_s", "update/backbone", "valid/joints"} <= line.keys()
        total = sum(value for name, value in line.items() if name.startswith("loss/"))
        assert line["loss"] == pytest.approx(total, rel=1e-4)


def test_7_the_scale_check_computes(root, tmp_path):
    """2D within [-0.5, 0.5] and mm on both sides, projection consistent; each fault is named."""
    results = {each.check: each for each in examine(settings(root, tmp_path), say=lambda _: None)}
    assert not [each for each in results.values() if each.verdict == "FAILED"]
    names = ("2D in [-0.5, 0.5]", "2D = projection of 3D", "bone length", "depth", "2D extent")
    assert all(results[f"network: {name}"].verdict == "ok" for name in names)
    network, batch = small_utnet().eval(), utnet_batch()
    with torch.no_grad():
        said = network(batch)
    metres = {"joints": said.joints / 1000, "trans": said.trans / 1000}
    pixels = {"joints2d": (said.joints2d + 0.5) * 256}
    collapsed = {"joints2d": said.joints2d / 256}  # a focal length over the height with a centre in pixels
    exchanged = normalise_pixels(project(said.joints, batch.focal, batch.princpt), batch.frames.size)
    swapped = {"joints2d": exchanged}  # x by the height
    for change, check in (
        (metres, "bone length"),
        (pixels, "2D in [-0.5, 0.5]"),
        (collapsed, "2D extent"),
        (swapped, "2D = projection of 3D"),
    ):
        wrong = HandPrediction(**(vars(said) | change))
        found = {each.check: each for each in check_scale([wrong], [batch])}
        assert found[f"network: {check}"].verdict == "FAILED", check


@pytest.mark.slow
def test_8_two_processes_train_as_one(root, tmp_path):
    small = [f"network.{key}={text(value)}" for key, value in NETWORK.items() if key not in ("name", "trunk")]
    small += ["network.trunk.image=null", f"network.trunk.options={text(NETWORK['trunk']['options'])}"]
    losses = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        command = ["-m", "torch.distributed.run", f"--nproc_per_node={processes}", "--standalone"]
        arguments = overrides(root, folder, *small, "network.fusion.dropout=0", "debug.first_batches=0")
        done = subprocess.run(
            [sys.executable, *command, "script/train.py", "--config-name=utnet-tiny", *arguments],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        assert f"Evaluated on 18 samples from all {processes} processes" in done.stdout
        losses.append([line["loss"] for line in lines(folder, "train")])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def text(value) -> str:
    """As Hydra reads it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {text(each)}" for key, each in value.items()) + "}"
    return "null" if value is None else json.dumps(value).replace('"', "")


def test_9_the_first_steps_are_sane(run):
    """Predictions are no zeros, every term is finite, and what the first steps teach falls."""
    folder, said = run
    steps = lines(folder, "train")
    assert all(math.isfinite(line[f"raw/{name}"]) for line in steps for name in TERMS)
    first, last = steps[0], steps[-1]
    assert last["loss"] < first["loss"] and last["raw/heatmap"] < first["raw/heatmap"]
    bones = re.findall(r"predicted bone length \(mm\) +(\S+) +(\S+) +(\S+)", said)
    assert all(5 < float(mean) < 60 for _, mean, _ in bones)
