"""A network that the package does not know: registered by a test, trained, resumed, evaluated, examined and
used for prediction by the same code as every other."""

import contextlib
import io
import json
import shutil
from pathlib import Path

import cv2
import pytest
import torch
from omegaconf import OmegaConf
from tests_support import compose_config, evaluate, load_file, new_accelerate_state
from torch import nn

from tempohand import cli
from tempohand.batch import ClipBatch, HandPrediction, Term
from tempohand.data.table import FrameTable
from tempohand.doctor.examine import examine
from tempohand.geometry import denormalise_pixels, normalise_pixels, project, unproject
from tempohand.hand.layer import HandLayer
from tempohand.model.network import Network
from tempohand.model.registry import NETWORKS, register

SCRIPTS = Path(__file__).parents[1] / "script"
HEIGHT, WIDTH = 48, 64


class Glance(Network):
    """One convolution over a crop that is wider than high; everything else from its means."""

    prediction = HandPrediction
    terms = {"places": "joints2d_mask", "form": "joints_mask, of the wrist too"}
    inherited = ("size", "expansion", "channels")

    def __init__(self, num_frame: int, size: list[int], expansion: float, channels: int):
        super().__init__(num_frame, size, expansion)
        self.hand = HandLayer()
        self.eye = nn.Conv2d(3, channels, 7, stride=4)
        self.mouth = nn.Linear(channels, 61)

    def parts(self) -> dict[str, nn.Module]:
        return {"backbone": self.eye}

    def forward(self, batch: ClipBatch) -> HandPrediction:
        image = batch.frames.image
        assert image.shape[-2:] == self.crop.size
        said = 0.1 * self.mouth(self.eye(image.float() / 255).relu().mean(dim=(2, 3)))[:, None]
        pose, shape, uv, log_depth = said.split([48, 10, 2, 1], dim=-1)
        size, focal, princpt = batch.frames.size[::-1], batch.focal, batch.princpt
        depth = 3 * focal.mean(dim=-1, keepdim=True) * log_depth.exp()
        trans = unproject(denormalise_pixels(uv, size)[..., None, :], depth, focal, princpt)[..., 0, :]
        joints, vertices = self.hand(pose, shape, trans)
        joints2d = normalise_pixels(project(joints, focal, princpt), size)
        rotation = torch.eye(3, device=pose.device).expand(*pose.shape[:2], 16, 3, 3)
        return HandPrediction(pose, rotation, shape, trans, joints, vertices, joints2d)

    def criterion(self, prediction: HandPrediction, batch: ClipBatch) -> dict[str, Term]:
        target = batch.target
        form = [joints - joints[..., :1, :] for joints in (prediction.joints, target.joints)]
        return {
            "places": Term((prediction.joints2d - target.joints2d).abs(), target.joints2d_mask),
            "form": Term((form[0] - form[1]).abs(), target.joints_mask & target.joints_mask[..., :1]),
        }


@pytest.fixture(scope="module", autouse=True)
def registered():
    register("glance", Glance)
    yield
    del NETWORKS["glance"]


def settings(root: Path, out: Path, *overrides: str) -> dict:
    """Of a small run of it; the loss weights change with the step."""
    free = ["mixed_precision=no", "tracker=null", "data.workers=0", f"data.root={root}", f"out={out}"]
    often = ["log.every=1", "log.validate_every=2", "log.checkpoint_every=2", "log.keep=9"]
    few = ["optim.steps=4", "optim.batch_size=4", "view.augmentation.mirror=0", *overrides]
    network = {"name": "glance", "num_frame": 1, "size": [HEIGHT, WIDTH], "expansion": 2.0, "channels": 8}
    loss = {"places": {"start": 3.0, "end": 1.0, "from": 0, "to": 2}, "form": 0.02}
    return compose_config("stage1-tiny", *free, *often, *few) | {"network": network, "loss": loss}


def train(settings: dict) -> str:
    """script/train.py in this process; what it prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()), new_accelerate_state():
        load_file(SCRIPTS / "train.py").main(OmegaConf.create(settings))
    return out.getvalue()


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def run(table_root, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("glance") / "run"
    said = train(settings(table_root, run, "debug.first_batches=1", "debug.loss=true"))
    assert "4 clips of 1 frame(s), 4 different ones, 48 x 64 px" in said
    assert "mpjpe_root on validation" in said and "best wrist-relative MPJPE on validation" in said
    return run


def test_it_trains_by_its_own_terms_whose_weights_follow_the_step(run):
    steps = [line for line in lines(run) if line["split"] == "train"]
    weights = [line["loss/places"] / line["raw/places"] for line in steps]
    assert weights == pytest.approx([3.0, 2.0, 1.0, 1.0])
    assert {"update/backbone", "update/rest", "valid/form"} <= steps[0].keys()
    config = json.loads((run / "checkpoint" / "last" / "config.json").read_text())
    assert config["view"] == {"size": [HEIGHT, WIDTH], "expansion": 2.0}
    assert config["loss"] == {"places": 1.0, "form": 0.02}


def test_a_resumed_run_ends_as_the_uninterrupted_one(run, table_root, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(run, again, symlinks=True)
    shutil.rmtree(again / "checkpoint" / "step-00000004")
    said = train(settings(table_root, again, "resume=auto"))
    assert "at step 2" in said

    def losses(run):
        return [line["loss"] for line in lines(run)]

    assert losses(again) == losses(run) and len(losses(run)) == 6


def test_it_is_evaluated_and_predicts(run, table_root, tmp_path):
    best = run / "checkpoint" / "best"
    done = evaluate(
        load_file(SCRIPTS / "evaluate.py"),
        f"stage1={best}",
        f"data={table_root}",
        f"out={tmp_path / 'results'}",
    )
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "results" / "metrics.json").read_text())
    assert content["loss_terms"]["stage1"].keys() == {"raw/places", "raw/form"}
    picture = tmp_path / "hand.png"
    cv2.imwrite(str(picture), FrameTable(table_root, "test").image(0)[..., ::-1])
    arguments = [str(picture), "--checkpoint", str(best), "--box", "10,10,80,80", "--side", "right"]
    cli.main(["predict", *arguments, "--out", str(tmp_path / "hands"), "--no-overlay"])
    assert (tmp_path / "hands" / "predictions.json").is_file()


def test_the_doctor_examines_it(table_root, tmp_path):
    results = examine(settings(table_root, tmp_path / "run"), say=lambda _: None)
    failed = [result for result in results if result.verdict == "FAILED"]
    assert not failed, failed
    assert "two processes agree with one" in {result.check for result in results}


def test_settings_that_contradict_it_are_refused(table_root, tmp_path):
    given = settings(table_root, tmp_path / "run")
    for change, message in (
        ({"tokens": {"mode": "cached"}}, "tokens.mode=cached: a network with a frozen part takes"),
        ({"loss": {"depth": 1.0}}, r"no term is called \['depth'\], this network has \['form', 'places'\]"),
        ({"network": given["network"] | {"name": "glimpse"}}, "'glimpse' is none of"),
    ):
        with pytest.raises(ValueError, match=message):
            examine(given | change, say=lambda _: None)
    view = given["view"] | {"augmentation": given["view"]["augmentation"] | {"mirror": 0.5}}
    with pytest.raises(ValueError, match="mirror=0.5 shows the other side's hands"):
        examine(given | {"view": view}, say=lambda _: None)
    assert not (tmp_path / "run").exists()
