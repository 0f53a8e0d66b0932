"""What is checked in every step: its numbers are those of all micro-steps and processes, and what is not
finite stops all processes before anything is changed."""

import math
import threading

import pytest
import torch
from accelerate import Accelerator
from tests_support import random_batch, small_finder, small_network
from training_support import WEIGHTS, Loop

from tempohand.batch import HandPrediction, Term
from tempohand.model.backbone import Backbone
from tempohand.model.network import Network
from tempohand.model.registry import build_network
from tempohand.training import processes
from tempohand.training.debug.dump import Dump
from tempohand.training.debug.replay import replay
from tempohand.training.objective import combine, weighted_sum
from tempohand.training.step_checks import UpdateRatio


def test_a_step_s_numbers_are_of_all_its_micro_steps(tmp_path):
    loop = Loop(tmp_path)
    before = {name: value.clone() for name, value in loop.network.state_dict().items()}
    batches = [random_batch(2, 1, seed=seed) for seed in (1, 2)]
    means = []
    for batch in batches:
        terms = loop.network.criterion(loop.network(batch), batch)
        means.append(combine(terms, WEIGHTS)[1])
    loop.network.load_state_dict(before)  # statistics of batch normalisation moved
    loop.step(0, *batches, logged=True)
    values = loop.checks.log_values()
    expected = sum(weighted_sum(mean, WEIGHTS).item() for mean in means) / 2
    assert values["loss"].item() == pytest.approx(expected, rel=1e-6)
    joints = (means[0]["joints"] + means[1]["joints"]).item() / 2
    assert values["raw/joints"].item() == pytest.approx(joints, rel=1e-6)
    assert values["loss/joints"].item() == pytest.approx(WEIGHTS["joints"] * joints, rel=1e-6)
    assert "raw/velocity" in values and "loss/velocity" not in values
    assert values["valid/joints"] == 1.0 and values["valid/velocity"] == 0.5


def test_gradients_are_clipped_and_the_share_of_clipped_steps_is_logged(tmp_path):
    loop = Loop(tmp_path, clip=1.0)
    before = {name: value.clone() for name, value in loop.network.named_parameters()}
    loop.step(0, random_batch(2, 1), logged=True)
    values = loop.checks.log_values()
    changes = [(value - before[name]).norm() for name, value in loop.network.named_parameters()]
    assert values["grad_norm"] > 1 and values["clipped"] == 1.0
    # SGD: lr times a gradient of norm 1
    assert torch.stack(changes).norm().item() == pytest.approx(1e-3, rel=1e-3)
    in_backbone = {name: ".backbone." in name for name in before}
    of_parts = []
    for part, wanted in (("backbone", True), ("rest", False)):
        weights = torch.cat(
            [value.flatten() for name, value in before.items() if in_backbone[name] == wanted]
        )
        of_parts.append(values[f"update/{part}"].item() * weights.norm().item())
    assert math.hypot(*of_parts) == pytest.approx(1e-3, rel=1e-3)
    loop.clip = 1e6
    for step in range(1, 4):
        loop.step(step, random_batch(2, 1), logged=step == 3)
    assert loop.checks.log_values()["clipped"] == 0.0


def test_tables_are_printed_as_often_as_asked(tmp_path, capsys, monkeypatch):
    loop = Loop(tmp_path, first_batches=2)
    for step in range(3):
        loop.step(step, random_batch(2, 1))
    printed = capsys.readouterr().out
    assert printed.count("2 clips of 1 frame(s)") == 2 and "step 2: 2 clips" in printed
    assert "of the loss" not in printed
    monkeypatch.setenv("TEMPOHAND_DEBUG_LOSS", "1")
    Loop(tmp_path).step(0, random_batch(2, 1))
    assert capsys.readouterr().out.count("step 1: loss ") == 1


def test_a_missing_label_is_warned_of_in_the_loop(tmp_path, capsys):
    loop, batch = Loop(tmp_path, warn_after=2), random_batch(2, 1)
    batch.target.hand_mask = torch.zeros_like(batch.target.hand_mask)
    for step in range(2):
        loop.step(step, batch)
    warning = "warning: the loss term 'pose' (weight 5) had no valid entry in 2 batches in a row"
    assert capsys.readouterr().out.count(warning) == 1


def test_a_bad_gradient_changes_nothing_and_is_named_alone(tmp_path):
    loop = Loop(tmp_path)
    loop.network.spatial.heads.pose.weight.register_hook(lambda gradient: gradient * torch.inf)
    before = {name: value.clone() for name, value in loop.network.named_parameters()}
    named = r"first in spatial.heads.pose.weight \(1 of \d+ parameters\); samples: row 0, row 1; data and"
    with pytest.raises(ValueError, match=named):
        loop.step(4, random_batch(2, 1))
    assert all(value.equal(before[name]) for name, value in loop.network.named_parameters())
    assert (tmp_path / "debug" / "step-00000005" / "model.safetensors").is_file()


def test_a_sum_that_overflows_is_a_loss_that_is_not_finite(tmp_path):
    loop, batch = Loop(tmp_path), random_batch(2, 1)
    batch.target.joints[:, 0, 1:] = 3e38
    with pytest.raises(ValueError, match="the loss is not finite at optimizer step 1, in joints"):
        loop.step(0, batch)


def test_a_term_that_is_not_trained_on_stops_nothing(tmp_path):
    loop, batch = Loop(tmp_path), random_batch(2, 1)
    batch.target.trans[0] = torch.nan  # depth has no weight here
    loop.step(0, batch)


def test_rows_of_every_micro_step_are_named(tmp_path):
    loop, batches = Loop(tmp_path), [random_batch(2, 1, seed=seed) for seed in (1, 2)]
    loop.network.spatial.heads.pose.bias.register_hook(lambda gradient: gradient * torch.nan)
    batches[1].row += 10
    for batch in batches:
        batch.target.trans[1] = torch.nan  # of which nothing is trained
    with pytest.raises(ValueError, match="not finite in the data: target.trans of row 1, row 11;"):
        loop.step(0, *batches)


class Linear(Network):
    """A network of one layer, from pose to shape (the hand layer's kernels are not for threads)."""

    terms = {"shape": "has_hand"}

    def __init__(self):
        super().__init__(1, 64, 2.0)
        self.layer = torch.nn.Linear(48, 10)

    def forward(self, batch):
        target = batch.target
        return HandPrediction(
            pose=target.pose,
            rotation=torch.zeros(len(batch.row), 1, 16, 3, 3),
            shape=self.layer(target.pose),
            trans=target.trans,
            joints=target.joints,
            vertices=torch.zeros(len(batch.row), 1, 778, 3),
            joints2d=target.joints2d,
        )

    def criterion(self, prediction, batch):
        return {"shape": Term((prediction.shape - batch.target.shape).square(), batch.target.hand_mask)}

    def set_step(self, step, dropout_start):
        pass


class OtherAccelerator(Accelerator):
    """What the checks use of an Accelerator, as it would be on another process or another device."""

    process_index = 0
    num_processes = 1
    is_main_process = True
    print = staticmethod(print)

    def __init__(self, unscale_gradients=lambda: None, **attributes):
        self.scaler = None
        self.unscale_gradients = unscale_gradients
        for name, value in attributes.items():
            setattr(self, name, value)


def test_processes_stop_together_and_both_leave_their_batch(tmp_path, monkeypatch):
    """Two processes, as threads: only the second has a bad sample, only the first speaks, and one process
    repeats the step."""
    meeting = threading.Barrier(2, timeout=60)
    own_rank = threading.local()
    slots = [None, None]
    ends = {}

    def exchange(value):
        slots[own_rank.value] = value
        meeting.wait()
        values = list(slots)
        meeting.wait()
        return values

    monkeypatch.setattr(processes, "gather_object", lambda own: [value for (value,) in exchange(own)])
    monkeypatch.setattr(processes, "reduce", lambda x, how: sum(exchange(x)))
    accelerators = [
        OtherAccelerator(process_index=rank, num_processes=2, is_main_process=rank == 0) for rank in (0, 1)
    ]
    loops = [Loop(tmp_path, Linear(), accelerator=own, weights={"shape": 1.0}) for own in accelerators]

    def process(rank):
        own_rank.value = rank
        batch = random_batch(3, 1, seed=rank)
        batch.row += 10 * rank
        batch.target.shape[2] *= 1 if rank == 0 else torch.nan
        try:
            loops[rank].step(7, batch)
        except (ValueError, SystemExit) as end:
            ends[rank] = end

    threads = [threading.Thread(target=process, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends[1].code == 2
    message = (
        "the loss is not finite at optimizer step 8, in shape; samples: row 12; "
        "not finite in the data: target.shape of row 12;"
    )
    assert message in str(ends[0])
    lines, network = [], Linear()
    dump = Dump.load(tmp_path / "debug" / "step-00000008")
    assert replay(dump, network, say=lines.append)
    assert "  micro-step 0, process 1: target.shape is not finite in table rows 12" in lines
    assert lines[-1] == "verdict, the same as in the run: the loss is not finite, in shape"


def test_the_loss_scale_of_float16_may_shrink_first(tmp_path):
    """GradScaler skips steps whose gradients overflow and halves its scale; a run ends once the scale cannot
    be what makes them overflow."""
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    unscale = lambda: scaler.unscale_(loop.optimizer)  # noqa: E731
    loop = Loop(tmp_path, accelerator=OtherAccelerator(unscale, scaler=scaler))
    loop.network.spatial.heads.pose.weight.register_hook(lambda gradient: gradient * torch.inf)
    before = {name: value.clone() for name, value in loop.network.named_parameters()}
    scales = []
    with pytest.raises(ValueError, match="the gradient is not finite at optimizer step 3"):
        for step in range(9):
            scales.append(scaler.get_scale())
            loop.step(step, random_batch(2, 1), logged=True)
            assert loop.checks.log_values()["skipped"] == 1.0
    assert scales == [4.0, 2.0, 1.0]
    assert all(value.equal(before[name]) for name, value in loop.network.named_parameters())


@pytest.mark.parametrize(
    "settings, parts",
    [
        (small_network(1), {"backbone", "rest"}),
        (small_network(2), {"temporal"}),
        (small_finder(), {"backbone", "rest"}),
    ],
    ids=["stage 1", "stage 2", "finder"],
)
def test_the_update_ratio_is_the_change_over_the_weights(settings, parts):
    network = build_network(settings)
    backbone = {
        id(parameter)
        for part in network.modules()
        if isinstance(part, Backbone)
        for parameter in part.parameters()
    }
    ratio = UpdateRatio(network)
    ratio.before()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter *= 1.0 if not parameter.requires_grad else 1.001 if id(parameter) in backbone else 1.01
    found = ratio.after()
    assert found.keys() == {f"update/{part}" for part in parts} and not ratio.copies
    for part in parts:
        change = 0.001 if part == "backbone" else 0.01
        assert found[f"update/{part}"].item() == pytest.approx(change, rel=1e-3)
