"""What the training loop does with a step, with a real Accelerator on one process."""

import pytest
import torch
from accelerate import Accelerator
from tests_support import random_batch, small_network

from tempohand.model.registry import build_network
from tempohand.training.objective import combine, weighted_sum
from tempohand.training.watch import StepWatch

WEIGHTS = {"pose": 5.0, "joints": 0.02, "joints2d": 3.0, "heatmap": 0.5}


@pytest.fixture
def loop(tmp_path):
    """loop(step, *batches): one optimizer step; its parts are attributes."""

    class Loop:
        def __init__(self, clip=1.0, **debug):
            torch.manual_seed(0)
            description = small_network(1)
            self.network, self.clip = build_network(description), clip
            self.optimizer = torch.optim.SGD(self.network.parameters(), lr=1e-3)
            debug = {"first_batches": 0, "loss": False, "warn_after": 50} | debug
            settings = {
                "loss": WEIGHTS,
                "debug": debug,
                "mixed_precision": "no",
                "seed": 0,
                "optim": {"dropout_start": 0},
            }
            words = {
                "config": lambda: {"network": description},
                "describe": lambda rows: [f"row {row}" for row in rows],
                "command": "again",
            }
            self.watch = StepWatch(
                Accelerator(cpu=True, mixed_precision="no"), self.network, settings, tmp_path, **words
            )

        def __call__(self, step, *batches, logged=True):
            self.watch.begin(step, logged=logged)
            for batch in batches:
                prediction = self.network(batch)
                loss = self.watch.loss(batch, prediction, self.network.criterion(prediction, batch))
                (loss / len(batches)).backward()
            self.watch.gradient(self.clip)
            self.optimizer.step()
            self.optimizer.zero_grad()

    return Loop


def test_a_step_s_numbers_are_of_all_its_micro_steps(loop):
    run, batches = loop(), [random_batch(2, 1, seed=seed) for seed in (1, 2)]
    raws = []
    for batch in batches:
        terms = run.network.criterion(run.network(batch), batch)
        raws.append(combine(terms, WEIGHTS)[1])
    run.network.load_state_dict(loop().network.state_dict())
    run(0, *batches)
    loss, raw, others = run.watch.numbers()
    assert loss.item() == pytest.approx(sum(weighted_sum(r, WEIGHTS).item() for r in raws) / 2, rel=1e-6)
    assert raw["joints"].item() == pytest.approx((raws[0]["joints"] + raws[1]["joints"]).item() / 2, rel=1e-6)
    assert others["valid/joints"] == 1.0 and others["valid/velocity"] == 0.5


def test_gradients_are_clipped_and_the_share_of_clipped_steps_is_told(loop):
    run = loop(clip=1.0)
    before = {name: value.clone() for name, value in run.network.named_parameters()}
    run(0, random_batch(2, 1))
    _, _, others = run.watch.numbers()
    change = torch.stack(
        [(value - before[name]).norm() for name, value in run.network.named_parameters()]
    ).norm()
    assert others["grad_norm"] > 1 and others["clipped"] == 1.0
    assert change.item() == pytest.approx(1e-3, rel=1e-3)  # SGD: lr times a gradient of norm 1
    weights = {
        part: [v for n, v in before.items() if (".backbone." in n) == (part == "backbone")]
        for part in ("backbone", "rest")
    }
    parts = {
        part: others[f"update/{part}"].item() * torch.cat([v.flatten() for v in values]).norm()
        for part, values in weights.items()
    }
    assert torch.stack(list(parts.values())).norm().item() == pytest.approx(1e-3, rel=1e-3)
    run.clip = 1e6
    for step in range(1, 4):
        run(step, random_batch(2, 1), logged=step == 3)
    assert run.watch.numbers()[2]["clipped"] == 0.0


def test_a_bad_gradient_changes_nothing(loop, tmp_path):
    run = loop()
    run.network.spatial.heads.pose.bias.register_hook(lambda gradient: gradient * torch.nan)
    before = {name: value.clone() for name, value in run.network.named_parameters()}
    with pytest.raises(
        ValueError, match=r"first in spatial.heads.pose.bias \(1 of \d+ parameters\).*again debug.replay="
    ):
        run(4, random_batch(2, 1))
    assert all(value.equal(before[name]) for name, value in run.network.named_parameters())
    assert (tmp_path / "step-00000005" / "model.safetensors").is_file()


def test_tables_are_printed_as_often_as_asked(loop, capsys, monkeypatch):
    run = loop(first_batches=2)
    for step in range(3):
        run(step, random_batch(2, 1))
    said = capsys.readouterr().out
    assert (
        said.count("2 clips of 1 frame(s)") == 2 and "step 2: 2 clips" in said and "of the loss" not in said
    )
    monkeypatch.setenv("TEMPOHAND_DEBUG_LOSS", "1")
    run = loop()
    run(0, random_batch(2, 1))
    assert capsys.readouterr().out.count("step 1: loss ") == 1


def test_a_missing_label_is_warned_of_in_the_loop(loop, capsys):
    run, batch = loop(warn_after=2), random_batch(2, 1)
    batch.target.hand_mask = torch.zeros_like(batch.target.hand_mask)
    for step in range(2):
        run(step, batch, logged=False)
    assert (
        capsys.readouterr().out.count(
            "warning: the loss term 'pose' (weight 5) had no valid entry in 2 batches in a row"
        )
        == 1
    )
