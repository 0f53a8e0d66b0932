"""A step that is not finite stops the run before the optimizer's step, by name, and can be done again from
its dump."""

import pytest
import torch
from tests_support import random_batch, small_network, with_features
from training_support import Loop

from tempohand.batch import ClipBatch, Term
from tempohand.model.registry import build_network, load_network
from tempohand.training.debug.dump import Dump
from tempohand.training.debug.replay import replay


def replayed(folder, network, lines):
    """Whether the step in `folder` is not finite again; `lines`: what is said is appended."""
    return replay(Dump.load(folder), network, say=lines.append)


def spoil_label(loop: Loop, batch: ClipBatch) -> None:
    batch.target.pose[2, 0, 7] = torch.nan
    batch.target.hand_mask[3], batch.target.pose[3] = False, torch.nan  # which is nobody's fault


def spoil_weights(loop: Loop, batch: ClipBatch) -> None:
    loop.network.spatial.heads.shape.bias.data[3] = torch.nan


def spoil_input(loop: Loop, batch: ClipBatch) -> None:
    batch.frames.focal[1] = torch.inf


def spoil_gradient(loop: Loop, batch: ClipBatch) -> None:
    """A criterion whose value is finite and whose gradient is not: the root of zero."""
    criterion = loop.network.criterion

    def with_a_root_of_zero(prediction, batch):
        terms = criterion(prediction, batch)
        terms["shape"] = Term(
            (prediction.shape - prediction.shape.detach()).square().sum(-1).sqrt(), batch.target.hand_mask
        )
        return terms

    loop.network.criterion = with_a_root_of_zero


# What the run's error says, and what the replay says.
PLANTED = {
    spoil_label: (
        [
            "the loss is not finite at optimizer step 3, in pose; samples: row 2;",
            "not finite in the data: target.pose of row 2;",
        ],
        [
            "micro-step 1, process 0: target.pose is not finite in table rows 2",
            "1 not finite, of table rows 2",
        ],
    ),
    spoil_weights: (
        [
            "the loss is not finite at optimizer step 3, in joints, joints2d, shape;",
            "in the weights: spatial.heads.shape.bias;",
        ],
        [
            "weights that are not finite: spatial.heads.shape.bias",
            "output is not finite: spatial.heads.shape (Linear; its own bias is not",
        ],
    ),
    spoil_input: (
        ["the loss is not finite at optimizer step 3", "not finite in the data: focal of row 1;"],
        ["focal is not finite in table rows 1", "first module whose output is not finite"],
    ),
    spoil_gradient: (
        [
            "the gradient is not finite at optimizer step 3, first in spatial.heads.shape.",
            "data and weights are finite",
        ],
        [
            "the one nearest to the loss first: spatial.heads.shape.",
            "'PowBackward0' returned nan",
            "test_replay.py",
        ],
    ),
}


@pytest.mark.parametrize("spoil", PLANTED, ids=lambda spoil: spoil.__name__)
def test_what_is_not_finite_is_named_and_can_be_repeated(tmp_path, spoil):
    loop = Loop(tmp_path)
    loop.step(0, random_batch(4, 1, seed=1))
    loop.step(1, random_batch(4, 1, seed=2))
    good = random_batch(4, 1, seed=3)
    good.row += 100
    bad = random_batch(4, 1, seed=4)
    spoil(loop, bad)
    before = {name: value.clone() for name, value in loop.network.named_parameters()}
    moments = [state["momentum_buffer"].clone() for state in loop.optimizer.state.values()]
    with pytest.raises(ValueError) as stop:
        loop.step(2, good, bad)
    in_error, in_replay = PLANTED[spoil]
    assert all(text in str(stop.value) for text in in_error), stop.value
    for name, value in loop.network.named_parameters():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, equal_nan=True)
    after = [state["momentum_buffer"] for state in loop.optimizer.state.values()]
    assert len(moments) > 10 and all(a.equal(b) for a, b in zip(moments, after, strict=True))

    folder = tmp_path / "debug" / "step-00000003"
    assert f"to look closer: train.py debug.replay={folder}" in str(stop.value)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    network = load_network(folder)
    network.criterion = loop.network.criterion
    lines = []
    assert replayed(folder, network, lines)
    assert "verdict, the same as in the run" in lines[-1]
    for text in in_replay:
        assert any(text in line for line in lines), "\n".join(lines)


def test_a_replay_says_when_the_precision_is_to_blame(tmp_path):
    loop = Loop(tmp_path, mixed_precision="fp16")
    # beyond half precision's 65,504; what follows normalises it
    loop.network.spatial.decoder.layers[0].mlp[2].weight.data *= 1e8
    with (
        torch.autocast("cpu", dtype=torch.float16),
        pytest.raises(ValueError, match="the loss is not finite"),
    ):
        loop.step(0, random_batch(2, 1))
    folder, lines = tmp_path / "debug" / "step-00000001", []
    assert replayed(folder, load_network(folder), lines)
    assert "  in float32 (mixed_precision=no): everything is finite" in lines, "\n".join(lines)
    assert "the same as in the run" in lines[-1]


def test_a_replay_drops_out_what_the_run_did(tmp_path):
    """The random numbers are the run's: every term comes out the same, under dropout too."""
    network = build_network(small_network(1))
    network.spatial.heads.register_forward_pre_hook(
        lambda _, tokens: (torch.nn.functional.dropout(tokens[0], 0.5),)
    )
    loop = Loop(tmp_path, network)
    network.spatial.heads.pose.weight.register_hook(lambda gradient: gradient * torch.nan)
    with pytest.raises(ValueError, match="the gradient is not finite"):
        loop.step(5, *(random_batch(2, 1, seed=seed) for seed in (1, 2)))
    torch.manual_seed(123)
    lines = []
    assert replayed(tmp_path / "debug" / "step-00000006", network, lines)
    again = [float(line.split("mean")[1].split()[0]) for line in lines if line.startswith("  pose ")]
    expected = [means["pose"].item() for means in loop.checks.means]
    assert again == pytest.approx(expected, rel=1e-4) and again[0] != again[1]


def test_a_step_from_tokens_is_repeated(tmp_path):
    """Stage 2 from cached tokens: the batch has features in place of pictures."""
    loop = Loop(tmp_path, description=small_network(2), weights={"pose": 1.0})
    clips = random_batch(4, 7)
    batch = with_features(clips, loop.network.encode(clips.frames))
    batch.frames.features[batch.index[1, 3], 5] = torch.inf
    prediction = loop.network(batch)
    with pytest.raises(
        ValueError, match=r"in pose; samples: row 1; not finite in the data: features of row 1;"
    ):
        loop.checks.loss(batch, prediction, loop.network.criterion(prediction, batch))
    folder, lines = tmp_path / "debug" / "step-00000001", []
    assert replayed(folder, load_network(folder), lines)
    assert "  micro-step 0, process 0: features is not finite in table rows 1" in lines
    assert "the same as in the run" in lines[-1]


def test_a_step_that_is_finite_now_is_said_to_be(tmp_path):
    loop, batch = Loop(tmp_path), random_batch(2, 1)
    spoil_weights(loop, batch)
    with pytest.raises(ValueError):
        loop.step(0, batch)
    folder, lines = tmp_path / "debug" / "step-00000001", []
    network = load_network(folder)
    network.spatial.heads.shape.bias.data.zero_()
    assert not replayed(folder, network, lines)
    assert lines[-1] == "verdict, not as in the run: everything is finite"


@pytest.mark.parametrize("settings", [{}, {"deterministic": False}, {"deterministic": True}])
def test_a_replay_is_deterministic_where_the_run_was(tmp_path, settings):
    """Dumps of older runs do not say so."""
    loop = Loop(tmp_path)
    loop.checks.settings |= settings
    batch = random_batch(4, 1)
    spoil_label(loop, batch)
    with pytest.raises(ValueError):
        loop.step(0, batch)
    asked, criterion = [], loop.network.criterion

    def noting(prediction, batch):
        asked.append(torch.are_deterministic_algorithms_enabled())
        return criterion(prediction, batch)

    loop.network.criterion = noting
    assert replayed(tmp_path / "debug" / "step-00000001", loop.network, [])
    assert asked and set(asked) == {settings.get("deterministic", False)}
    assert not torch.are_deterministic_algorithms_enabled()
