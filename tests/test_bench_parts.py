"""Where benchmarks say that time goes, by a clock that moves when it is told to."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tempohand.batch import Term
from tempohand.synthetic import generate

SCRIPT = Path(__file__).parents[1] / "script"


class Clock:
    """In place of the processor's: `work` takes time."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT)
    clock = Clock()
    for name in ("process_time", "thread_time"):
        monkeypatch.setattr(f"time.{name}", clock)
    return clock


def parsed(benchmark, *words: str):
    import argparse

    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    return parser.parse_args(words)


def test_what_is_drawn_in_a_part_is_taken_out_of_the_one_around_it(clock):
    from benchmarks import draw

    parts = draw._Parts()
    inner = parts._timed("inner", lambda seconds: clock.work(seconds) or "said")

    def around():
        clock.work(1)
        assert inner(2) == inner(seconds=4) == "said"
        clock.work(8)

    parts._timed("outer", around)()
    assert parts.seconds == {"outer": 9, "inner": 6}


def test_a_frame_of_a_drawing(clock, monkeypatch):
    """Two sequences go before those that count: kernels are loaded. Functions are themselves again after."""
    from benchmarks import draw

    drawn = []

    def rows(split, index):
        drawn.append((split, index))
        generate.compose("words")  # as its module names it
        clock.work(100 if index < 2 else 1)
        yield from range(4)

    def compose(words):
        clock.work(50 if len(drawn) < 3 else 3)

    monkeypatch.setattr(generate, "compose", compose)
    monkeypatch.setattr(draw, "_table", lambda settings: SimpleNamespace(rows=rows))
    report = draw.run(parsed(draw, "--config", "synthetic-demo", "--sequences", "3"))
    assert drawn == [("train", index) for index in range(5)] and generate.compose is compose
    details = report.details
    assert details["frames"] == 12 and details["frames_per_s"] == 1.0
    spent = {name: value for name, value in details["milliseconds"].items() if value}
    assert spent == {"composing: motion, posing, things": 750, "all else": 250}
    assert report.rows[0] == ["composing: motion, posing, things", "750.00", "75%"]
    assert report.rows[-1] == ["a frame", "1000.00", "1 frames/s"]


def test_a_step_and_its_parts(clock, monkeypatch):
    """Two steps go before those that count. All of a step that is no part of it is the rest."""
    from benchmarks import step

    class Loop:
        def __init__(self, settings, table):
            self.settings, self.clock = settings, step._Clock()
            self.accelerator = SimpleNamespace(device=torch.device("cpu"))

        def read(self):
            with self.clock("decode"):
                clock.work(0.5)
            self.clock.parts.setdefault("crop", []).append(1.5)
            return "batch"

        def step(self, number, batch):
            assert batch == "batch"
            self.clock.of_step = 0.0
            clock.work(0.25 if number > 1 else 64)
            for name, seconds in (("forward", 2), ("backward", 3)):
                with self.clock(name):
                    clock.work(seconds if number > 1 else 64)

    bare = iter([64, 64, 4, 4])
    monkeypatch.setattr(step, "Loop", Loop)
    monkeypatch.setattr(step, "FrameTable", lambda root, split: "table")
    monkeypatch.setattr(step, "_bare_step", lambda settings, device: lambda batch: clock.work(next(bare)))
    threads = torch.get_num_threads()
    words = ["--batch", "6", "--steps", "2", "--threads", str(threads), "--data", "table"]
    report = step.run(parsed(step, *words))
    taken = {"decode": 500, "crop": 1500, "forward": 2000, "backward": 3000, "rest": 250}
    assert report.details == {"milliseconds": taken | {"bare": 4000, "loop": 5250}, "batch": 6}
    assert report.ratios == {
        "loop_vs_bare": pytest.approx(4 / 5.25),
        "loop_and_reading_vs_bare": pytest.approx(4 / 7.25),
    }
    assert ["backward", "3000.0", "41.4%"] in report.rows
    assert ["the loop on a ready batch", "5250.0", "72.4%"] in report.rows


def test_reading_is_what_is_left_without_decoding(clock):
    """Pictures are decoded a second time, to know."""
    from benchmarks import step

    loop = step.Loop.__new__(step.Loop)
    loop.clock, decoded = step._Clock(), []

    def batches():
        clock.work(5)
        yield SimpleNamespace(row=torch.tensor([4, 2]))

    def image(row):
        decoded.append(row)
        clock.work(1)

    loop.batches = batches()
    loop.dataset = SimpleNamespace(table=SimpleNamespace(image=image))
    assert loop.read().row.tolist() == decoded == [4, 2]
    assert loop.clock.parts == {"decode": [2], "crop": [3]}


def test_the_bare_network_learns_in_the_runs_precision(monkeypatch):
    """Forward and criterion under autocast; the optimizer steps, and gradients are gone."""
    monkeypatch.syspath_prepend(SCRIPT)
    from benchmarks import step

    class Small(torch.nn.Linear):
        kinds = []

        def forward(self, batch):
            found = super().forward(batch)
            self.kinds.append(found.dtype)
            return found

        def criterion(self, prediction, batch):
            self.kinds.append((prediction.mT @ batch).dtype)
            return {"one": Term(prediction.float().square(), torch.ones(2, 1, dtype=torch.bool))}

        def parts(self):
            return {}

    network = Small(3, 1)
    monkeypatch.setattr(step, "_network", lambda settings: network)
    optim = {"lr": 0.1, "backbone_lr": 0.1, "weight_decay": 0.0}
    for precision, kind in (("bf16", torch.bfloat16), ("no", torch.float32)):
        before = network.weight.detach().clone()
        settings = {"optim": optim, "mixed_precision": precision, "loss": {"one": 1.0, "two": None}}
        step._bare_step(settings, torch.device("cpu"))(torch.ones(2, 3))
        assert network.kinds == [kind, kind]
        network.kinds.clear()
        assert not torch.equal(network.weight, before) and network.weight.grad is None
