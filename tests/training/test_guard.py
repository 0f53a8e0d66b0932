"""A step that is not finite stops the run: before the optimizer's step, by name, on every process, and can be
done again from its dump."""

import json
import resource
import threading
from dataclasses import fields, replace

import pytest
import torch
from tests_support import random_batch, small_network

from tempohand.batch import ClipBatch, Term
from tempohand.data.tokens import TokenBatch
from tempohand.model.registry import build_network, load_network
from tempohand.training.dump import Dump, load_batch, save_batch
from tempohand.training.features import FromFeatures
from tempohand.training.guard import StepGuard
from tempohand.training.objective import combine
from tempohand.training.processes import seed_step
from tempohand.training.replay import replay

WEIGHTS = {
    "orientation": 1.0,
    "pose": 5.0,
    "shape": 0.05,
    "joints": 0.02,
    "joints2d": 3.0,
    "heatmap": 0.5,
    "side": 0.2,
}
SETTINGS = {"loss": WEIGHTS, "mixed_precision": "no", "seed": 0, "optim": {"dropout_start": 0}}


def gradient_norm(network):
    return torch.nn.utils.get_total_norm([parameter.grad for parameter in network.parameters()])


class Linear(torch.nn.Module):
    """A network of one layer, from pose to shape (the hand layer's kernels are not for threads)."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(48, 10)

    def forward(self, batch):
        return self.layer(batch.target.pose)

    def criterion(self, prediction, batch):
        return {"shape": Term((prediction - batch.target.shape).square(), batch.target.hand_mask)}

    def set_step(self, step, dropout_start):
        pass


class Run:
    """The training loop's part that matters here."""

    def __init__(self, folder, network=None, **guard):
        torch.manual_seed(0)
        description = small_network(1)
        self.network = network or build_network(description)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-3)
        describe = lambda rows: [f"row {row}" for row in rows]  # noqa: E731
        options = {
            "config": lambda: {"network": description},
            "settings": SETTINGS,
            "describe": describe,
            "replay": "python train.py",
        } | guard
        self.guard = StepGuard(self.network, WEIGHTS, folder, **options)

    def step(
        self, number: int, *batches: ClipBatch, weights=WEIGHTS, sum_over_processes=None, processes: int = 1
    ) -> None:
        self.guard.begin(number)
        self.raw = []
        for micro_step, batch in enumerate(batches):
            seed_step(SETTINGS["seed"], number, micro_step, 0)
            terms = self.network.criterion(self.network(batch), batch)
            loss, raw = combine(terms, weights, sum_over_processes, processes)
            self.raw.append(raw)
            self.guard.loss(batch, terms, raw)
            (loss / len(batches)).backward()
        self.guard.gradient(gradient_norm(self.network).item())
        self.optimizer.step()
        self.optimizer.zero_grad()


def spoil_label(run: Run, batch: ClipBatch) -> None:
    batch.target.pose[2, 0, 7] = torch.nan
    batch.target.hand_mask[3], batch.target.pose[3] = False, torch.nan  # which is nobody's fault


def spoil_weights(run: Run, batch: ClipBatch) -> None:
    run.network.spatial.heads.shape.bias.data[3] = torch.nan


def spoil_input(run: Run, batch: ClipBatch) -> None:
    batch.focal[1] = torch.inf


def spoil_gradient(run: Run, batch: ClipBatch) -> None:
    """A criterion whose value is finite and whose gradient is not: the root of zero."""
    criterion = run.network.criterion

    def with_a_root_of_zero(prediction, batch):
        terms = criterion(prediction, batch)
        terms["shape"] = Term(
            (prediction.shape - prediction.shape.detach()).square().sum(-1).sqrt(), batch.target.hand_mask
        )
        return terms

    run.network.criterion = with_a_root_of_zero


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
            "test_guard.py",
        ],
    ),
}


@pytest.mark.parametrize("spoil", PLANTED, ids=lambda spoil: spoil.__name__)
def test_what_is_not_finite_is_named_and_can_be_repeated(tmp_path, spoil):
    run, lines = Run(tmp_path), []
    run.step(0, random_batch(4, 1, seed=1))
    run.step(1, random_batch(4, 1, seed=2))
    good, bad = random_batch(4, 1, seed=3), random_batch(4, 1, seed=4)
    good.row += 100
    spoil(run, bad)
    before = {name: value.clone() for name, value in run.network.named_parameters()}
    moments = [value.clone() for state in run.optimizer.state.values() for value in state.values()]
    with pytest.raises(ValueError) as stop:
        run.step(2, good, bad)
    assert all(text in str(stop.value) for text in PLANTED[spoil][0]), stop.value
    for name, value in run.network.named_parameters():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, equal_nan=True)
    assert all(
        a.equal(b)
        for a, b in zip(
            moments, (value for state in run.optimizer.state.values() for value in state.values())
        )
    )

    folder = tmp_path / "step-00000003"
    assert f"debug.replay={folder}" in str(stop.value) and [path.name for path in tmp_path.iterdir()] == [
        folder.name
    ]
    network = load_network(folder)
    network.criterion = run.network.criterion
    assert replay(Dump.load(folder, ClipBatch), network, network, say=lines.append)
    assert "verdict, the same as in the run" in lines[-1]
    for text in PLANTED[spoil][1]:
        assert any(text in line for line in lines), "\n".join(lines)


def test_a_sum_that_overflows_is_a_loss_that_is_not_finite(tmp_path):
    run, batch = Run(tmp_path), random_batch(2, 1)
    batch.target.joints[:, 0, 1:] = 3e38
    with pytest.raises(ValueError, match="the loss is not finite at optimizer step 1, in joints"):
        run.step(0, batch)


def test_a_gradient_that_a_hook_spoils_is_named_alone(tmp_path):
    run = Run(tmp_path)
    run.network.spatial.heads.pose.weight.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(
        ValueError,
        match=r"first in spatial.heads.pose.weight \(1 of \d+ parameters\); samples: row 0, row 1; data and",
    ):
        run.step(0, random_batch(2, 1))


def test_a_term_that_is_not_trained_on_stops_nothing(tmp_path):
    run, batch = Run(tmp_path), random_batch(2, 1)
    batch.target.trans[0] = torch.nan  # depth has no weight here
    run.step(0, batch)


def test_processes_stop_together_and_both_leave_their_batch(tmp_path):
    """Two processes, as threads: only the second has a bad sample, only the first speaks, and one process
    repeats the step."""
    meeting, slots, ends = threading.Barrier(2, timeout=60), [None, None], {}

    def exchange(rank, value):
        slots[rank] = value
        meeting.wait()
        values = list(slots)
        meeting.wait()
        return values

    def process(rank):
        run = Run(
            tmp_path,
            Linear(),
            settings=SETTINGS | {"loss": {"shape": 1.0}},
            rank=rank,
            gather=lambda own: exchange(rank, own),
        )
        batch = random_batch(3, 1, seed=rank)
        batch.row += 10 * rank
        batch.target.shape[2] *= 1 if rank == 0 else torch.nan
        try:
            run.step(
                7,
                batch,
                weights={"shape": 1.0},
                sum_over_processes=lambda x: sum(exchange(rank, x)),
                processes=2,
            )
        except (ValueError, SystemExit) as end:
            ends[rank] = end

    threads = [threading.Thread(target=process, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends[1].code == 2
    said = "the loss is not finite at optimizer step 8, in shape; samples: row 12; not finite in the data: target.shape of row 12;"
    assert said in str(ends[0])
    lines, network = [], Linear()
    assert replay(Dump.load(tmp_path / "step-00000008", ClipBatch), network, network, say=lines.append)
    assert "  micro-step 0, process 1: target.shape is not finite in table rows 12" in lines
    assert lines[-1] == "verdict, the same as in the run: the loss is not finite, in shape"


def test_the_loss_scale_of_float16_may_shrink_first(tmp_path):
    """GradScaler skips steps whose gradients overflow and halves its scale; a run ends once the scale cannot
    be what makes them overflow."""
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    run = Run(tmp_path, scale=scaler.get_scale)
    run.network.spatial.heads.pose.weight.register_hook(lambda gradient: gradient * torch.inf)
    before, scales = {name: value.clone() for name, value in run.network.named_parameters()}, []
    with pytest.raises(ValueError, match="the gradient is not finite at optimizer step 3"):
        for step in range(9):
            scales.append(scaler.get_scale())
            run.guard.begin(step)
            batch = random_batch(2, 1)
            terms = run.network.criterion(run.network(batch), batch)
            loss, raw = combine(terms, WEIGHTS)
            run.guard.loss(batch, terms, raw)
            scaler.scale(loss).backward()
            scaler.unscale_(run.optimizer)
            norm = gradient_norm(run.network)
            run.guard.gradient(norm.item())
            torch.nn.utils.clip_grads_with_norm_(run.network.parameters(), 1.0, norm)
            scaler.step(run.optimizer)
            scaler.update()
            run.optimizer.zero_grad()
    assert scales == [4.0, 2.0, 1.0]
    assert all(value.equal(before[name]) for name, value in run.network.named_parameters())


def test_a_replay_says_when_the_precision_is_to_blame(tmp_path):
    run = Run(tmp_path, settings=SETTINGS | {"mixed_precision": "fp16"})
    run.network.spatial.decoder.layers[0].mlp[
        2
    ].weight.data *= 1e8  # beyond half precision's 65,504; what follows normalises it
    with (
        torch.autocast("cpu", dtype=torch.float16),
        pytest.raises(ValueError, match="the loss is not finite"),
    ):
        run.step(0, random_batch(2, 1))
    lines, network = [], load_network(tmp_path / "step-00000001")
    assert replay(Dump.load(tmp_path / "step-00000001", ClipBatch), network, network, say=lines.append)
    assert (
        "  in float32 (mixed_precision=no): everything is finite" in lines
        and "the same as in the run" in lines[-1]
    ), "\n".join(lines)


def test_a_replay_drops_out_what_the_run_did(tmp_path):
    """The random numbers are the run's: every term comes out the same, under dropout too."""
    network = build_network(small_network(1))
    network.spatial.heads.register_forward_pre_hook(
        lambda _, tokens: (torch.nn.functional.dropout(tokens[0], 0.5),)
    )
    run, batches = Run(tmp_path, network), [random_batch(2, 1, seed=seed) for seed in (1, 2)]
    network.spatial.heads.pose.weight.register_hook(lambda gradient: gradient * torch.nan)
    with pytest.raises(ValueError, match="the gradient is not finite"):
        run.step(5, *batches)
    torch.manual_seed(123)
    lines = []
    assert replay(Dump.load(tmp_path / "step-00000006", ClipBatch), network, network, say=lines.append)
    said = [float(line.split("mean")[1].split()[0]) for line in lines if line.startswith("  pose ")]
    assert said == pytest.approx([raw["pose"].item() for raw in run.raw], rel=1e-4) and said[0] != said[1]


def test_a_step_from_tokens_is_repeated(tmp_path):
    """Stage 2 from cached tokens: the batch has features in place of pictures, and goes through the network's
    second half."""
    torch.manual_seed(0)
    network, clips = build_network(small_network(2)), random_batch(4, 7)
    features = network.encode(clips).detach()
    image = torch.zeros(1, dtype=torch.uint8).expand(clips.image.shape)
    known = {field.name: getattr(clips, field.name) for field in fields(clips)}
    batch = TokenBatch(**known | {"image": image, "features": features, "frame": torch.arange(28).view(4, 7)})
    batch.features[1, 3, 5] = torch.inf
    words = {
        "describe": lambda rows: [f"row {row}" for row in rows],
        "config": lambda: {"network": small_network(2)},
    }
    guard = StepGuard(network, {"pose": 1.0}, tmp_path, settings=SETTINGS | {"loss": {"pose": 1.0}}, **words)
    guard.begin(0)
    terms = network.criterion(FromFeatures(network)(batch), batch)
    with pytest.raises(
        ValueError, match=r"in pose; samples: row 1; not finite in the data: features of row 1;"
    ):
        guard.loss(batch, terms, combine(terms, {"pose": 1.0})[1])
    lines, again = [], load_network(tmp_path / "step-00000001")
    assert replay(
        Dump.load(tmp_path / "step-00000001", TokenBatch), again, FromFeatures(again), say=lines.append
    )
    assert (
        "  micro-step 0, process 0: features is not finite in table rows 1" in lines
        and "the same as in the run" in lines[-1]
    )


def test_a_step_that_is_finite_now_is_said_to_be(tmp_path):
    run, batch = Run(tmp_path), random_batch(2, 1)
    spoil_weights(run, batch)
    with pytest.raises(ValueError):
        run.step(0, batch)
    lines, network = [], load_network(tmp_path / "step-00000001")
    network.spatial.heads.shape.bias.data.zero_()
    assert not replay(Dump.load(tmp_path / "step-00000001", ClipBatch), network, network, say=lines.append)
    assert lines[-1] == "verdict, not as in the run: everything is finite"


def test_a_dump_that_cannot_be_written_is_said_in_the_same_line(tmp_path):
    blocked = tmp_path / "debug"
    blocked.write_text("a file where the folder should be")
    run, batch = Run(blocked), random_batch(2, 1)
    spoil_weights(run, batch)
    with pytest.raises(ValueError, match="spatial.heads.shape.bias; no dump could be left"):
        run.step(0, batch)


def test_a_full_disk_is_said_in_the_same_line_and_no_part_of_a_dump_stays(tmp_path):
    run, batch = Run(tmp_path / "debug"), random_batch(2, 1)
    spoil_weights(run, batch)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (64 * 1024, before[1])
    )  # what is longer fails as on a full disk: here the weights or a batch
    try:
        with pytest.raises(ValueError, match="spatial.heads.shape.bias; no dump could be left .*safetensors"):
            run.step(0, batch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "debug").iterdir()) == []


def test_a_batch_comes_back_whole(tmp_path):
    """Field by field, and pictures that are one expanded value take no room."""
    batch = replace(random_batch(3, 7), frame=torch.arange(21).view(3, 7))
    batch.image = torch.zeros(1, dtype=torch.uint8).expand(3, 7, 3, 512, 512)
    save_batch(tmp_path / "batch", batch)
    again = load_batch(tmp_path / "batch", ClipBatch)
    assert (tmp_path / "batch").stat().st_size < 20_000
    for name in ("image", "focal", "time", "frame_mask", "row", "frame"):
        assert (
            getattr(again, name).equal(getattr(batch, name))
            and getattr(again, name).dtype == getattr(batch, name).dtype
        )
    assert again.target.pose.equal(batch.target.pose) and again.target.joints_mask.equal(
        batch.target.joints_mask
    )


def test_what_is_no_dump_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="debug.replay: no dump at"):
        Dump.load(tmp_path, ClipBatch)
    (tmp_path / "config.json").write_text(json.dumps({"network": {}}))
    with pytest.raises(ValueError, match="is a checkpoint and holds no batch"):
        Dump.load(tmp_path, ClipBatch)
