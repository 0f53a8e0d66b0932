"""script/bench.py: the table, and the JSON whose keys others read."""

import argparse
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tempohand.data.bad_rows import inconsistent_rows
from tempohand.data.table import FrameTable

SCRIPT = Path(__file__).parents[1] / "script" / "bench.py"


def bench(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True)


def test_hand_layer_beside_smplx(tmp_path):
    done = bench("hand", "--seconds", "0.05", "--json", str(tmp_path / "new" / "hand.json"))
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "new" / "hand.json").read_text())
    kinds = ("forward", "forward_backward", "joints_alone", "memory")
    assert numbers["ratios"].keys() == {f"{kind}_{batch}" for kind in kinds for batch in (1, 32, 256)}
    for name in ("forward_backward_256", "joints_alone_32"):
        assert numbers["ratios"][name] == pytest.approx(numbers[name]["smplx_ms"] / numbers[name]["ours_ms"])
    assert min(numbers["ratios"][f"memory_{batch}"] for batch in (1, 32, 256)) > 1
    assert re.search(r"\| hands +\| what", done.stdout) and "torch" in done.stdout


def test_without_smplx_the_other_benchmarks_run_and_this_one_says_so(tmp_path):
    """smplx may not be used commercially and is no part of an installation."""
    (tmp_path / "smplx.py").write_text("raise ImportError('not here')")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "hand"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": _first(tmp_path)},
    )
    assert (
        done.returncode == 2
        and "error: smplx is not installed" in done.stderr
        and "Traceback" not in done.stderr
    )


def _first(folder: Path) -> str:
    return os.pathsep.join([str(folder), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]).rstrip(
        os.pathsep
    )


def test_labels(tmp_path):
    done = bench("labels", "--pictures", "20", "--processes", "1", "--json", str(tmp_path / "labels.json"))
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "labels.json").read_text())
    for form in ("coco_keypoints", "labelme"):
        assert numbers[form]["pictures"] == 20 and numbers[form]["rows_per_second"] > 0
    assert re.search(r"\| coco_keypoints +\| 20 ", done.stdout)


def test_fit(tmp_path):
    done = bench("fit", "--hands", "20", "--json", str(tmp_path / "fit.json"))
    assert done.returncode == 0, done.stderr
    exact = json.loads((tmp_path / "fit.json").read_text())["exact joints"]
    assert exact["converged"] == 20 and exact["residual_worst_mm"] < 0.5


def test_step(tmp_path):
    """The parts of a step on a ready batch make up the step; reading is beside it."""
    done = bench("step", "--batch", "4", "--steps", "1", "--json", str(tmp_path / "step.json"))
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "step.json").read_text())
    taken = numbers["milliseconds"]
    outside = ("decode", "crop", "loop", "bare")
    inside = [value for name, value in taken.items() if name not in outside]
    assert sum(inside) == pytest.approx(taken["loop"]) and min(taken[name] for name in outside) > 0
    assert numbers["ratios"]["loop_vs_bare"] == pytest.approx(taken["bare"] / taken["loop"])
    for part in ("forward", "backward", "optimizer", "decoding pictures"):
        assert f"| {part} " in done.stdout


@pytest.mark.slow
def test_nodes(tmp_path):
    """Each way's clips, times and what follows from them; which is faster is not asked."""
    words = ["--batch", "4", "--steps", "1", "--rounds", "1", "--json", str(tmp_path / "nodes.json")]
    done = bench("nodes", *words)
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "nodes.json").read_text())
    steps = numbers["steps"]
    assert {way: found["clips"] for way, found in steps.items()} == {
        "one": 4,
        "two, a half each": 4,
        "two, the same each": 8,
    }
    for way, found in steps.items():
        assert found["wall_ms"] > 0 and found["processor_ms"] > 0
        assert f"| {way} " in done.stdout
        for clock in ("wall_ms", "processor_ms"):
            if way != "one":
                rates = [each["clips"] / each[clock] for each in (found, steps["one"])]
                assert numbers["ratios"][f"{way}, {clock}"] == pytest.approx(rates[0] / rates[1])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch", "3"], "`batch` is shared by two nodes: an even number, not 3"),
        (["--batch", "0"], "`batch` is shared by two nodes: an even number, not 0"),
        (["--steps", "0"], "`steps` is at least 1, not 0"),
        (["--rounds", "0"], "`rounds` is at least 1, not 0"),
    ],
)
def test_numbers_that_measure_no_nodes_are_one_line(words, message, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    from benchmarks import nodes

    parser = argparse.ArgumentParser()
    nodes.add_arguments(parser)
    with pytest.raises(ValueError, match=message):
        nodes.run(parser.parse_args(words))


def test_times_of_nodes(tmp_path, monkeypatch):
    """A step lasts until the slowest node has done it, and costs what all of them do; a node that fails is
    told with what it said last."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    from benchmarks import nodes

    class Node:
        """In place of a node's process. Its output has been written, its times have been noted."""

        def __init__(self, command, env, stdout, stderr):
            self.rank = len(started)
            started.append(command)
            two = "torch.distributed.run" in command
            assert f"--node_rank={self.rank}" in command or not two
            times = [[[1.0, 5.0], [0.5, 0.25]], [[2.0, 4.0], [0.5, 0.5]]][self.rank]
            (tmp_path / f"node{self.rank}.json").write_text(json.dumps(times))
            stdout.write(f"node {self.rank} began\nand then")

        def wait(self):
            return codes[self.rank]

    monkeypatch.setattr(nodes.subprocess, "Popen", Node)
    started, codes = [], [0, 0]
    np.testing.assert_array_equal(nodes.run_nodes(tmp_path, 2, {}), [[2.0, 5.0], [1.0, 0.75]])
    started = []
    np.testing.assert_array_equal(nodes.run_nodes(tmp_path, 1, {}), [[1.0, 5.0], [0.5, 0.25]])
    started, codes = [], [0, 7]
    with pytest.raises(ValueError, match=r"node 1 of 2 ended with 7: node 1 began \| and then"):
        nodes.run_nodes(tmp_path, 2, {})


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [("step", "stage2-tiny", "is a file of Stage 1"), ("draw", "nothing", "there is no config/nothing.yaml")],
)
def test_a_configuration_of_another_kind_is_one_line(name, config, message):
    done = bench(name, "--config", config)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


def test_draw(tmp_path):
    """No part is counted twice, and together they are the whole."""
    done = bench(
        "draw", "--config", "synthetic-demo", "--sequences", "1", "--json", str(tmp_path / "it.json")
    )
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "it.json").read_text())
    taken = numbers["milliseconds"]
    assert sum(taken.values()) == pytest.approx(1e3 / numbers["frames_per_s"]) and numbers["frames"] == 16
    assert min(taken.values()) >= 0 and min(taken["rasterising"], taken["encoding"], taken["all else"]) > 0


def test_find(tmp_path):
    """On the three rendered frames: one hand, seen three times."""
    done = bench(
        "find", "--data", str(Path(__file__).parent / "released/table"), "--json", str(tmp_path / "find.json")
    )
    assert done.returncode == 0, done.stderr
    for numbers in json.loads((tmp_path / "find.json").read_text())["find"].values():
        assert numbers["hands"] == 3 and numbers["found"] == 1 and numbers["cpu_ms"] > 0
    assert "| false boxes a picture" in done.stdout


def test_an_unknown_name_is_one_line():
    done = bench("nothing")
    assert done.returncode == 2 and "invalid choice: 'nothing'" in done.stderr


def test_the_table_of_the_stage_2_benchmark_is_one_to_train_on(tmp_path, monkeypatch):
    """Its rows pass the checks that training makes: otherwise nothing of it would be read."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    from benchmarks.stage2 import random_table

    table = FrameTable(random_table(tmp_path / "table", 64), "train")
    assert len(table) and not inconsistent_rows(table)


def test_border(tmp_path):
    """One of the three rendered frames, its hand's box given: the whole picture is itself, the more is cut
    off the farther the hand moves."""
    table = FrameTable(Path(__file__).parent / "released/table", "test")
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos/0.png"), table.image(0)[..., ::-1])
    box = table.labels(np.arange(1))["box"][0].tolist()
    (tmp_path / "boxes.json").write_text(json.dumps([{"frame": "0.png", "box": box}]))
    done = bench(
        "border",
        str(tmp_path / "photos"),
        "--boxes",
        str(tmp_path / "boxes.json"),
        "--json",
        str(tmp_path / "border.json"),
    )
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "border.json").read_text())["border"]
    assert numbers["whole"] == {
        "looks": 1,
        "pa": pytest.approx(0, abs=1e-3),
        "relative": pytest.approx(0, abs=1e-3),
    }
    assert 0 < numbers["cut -0.2"]["pa"] < numbers["cut 0.2"]["pa"] and numbers["cut 0"]["looks"] == 4


def test_gpu(tmp_path):
    """On the CPU: the same steps, whose operations are counted; there is no memory to be measured."""
    words = ["--networks", "tiny", "--batch", "24", "--steps", "1", "--precision", "no", "--rate", "0.1"]
    done = bench("gpu", *words, "--json", str(tmp_path / "gpu.json"))
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "gpu.json").read_text())
    tiny = numbers["networks"]["tiny"]
    assert tiny["pictures"] == 24 and tiny["memory"] == 0 and tiny["operations"] > 1e9
    assert tiny["mfu"] == pytest.approx(tiny["operations"] / tiny["seconds"] / numbers["rate"] / 1e12)
    assert re.search(r"\| tiny +\| 24 ", done.stdout)
    done = bench("gpu", "--steps", "0")
    assert done.returncode == 2 and "`steps` is at least 1, not 0" in done.stderr


def test_live(tmp_path, video_tools):
    """A drawn hand that moves is looked for, followed and predicted; the JSON says what each part takes.
    Which part takes longer is not asked: four frames on a busy machine do not tell."""
    hand = runpy.run_path(str(Path(__file__).parent / "golden" / "mediapipe_hand.py"))["picture"](224)
    frames = [np.roll(hand, 2 * step, axis=1) for step in range(4)]
    video = video_tools[1](tmp_path / "hand.mkv", frames)
    done = bench("live", str(video), "--runtimes", "torch", "--json", str(tmp_path / "live.json"))
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "live.json").read_text())["runtimes"]["torch"]
    assert numbers.keys() == {"wall", "processor", "least"}
    for taken in numbers.values():
        assert taken.keys() == {"follow", "look", "predict", "tracked"}
        assert all(milliseconds > 0 for milliseconds in taken.values())


def test_predict(tmp_path, video_tools):
    """Every step of the command takes some time, and so does the whole of it, in either way."""
    hand = runpy.run_path(str(Path(__file__).parent / "golden" / "mediapipe_hand.py"))["picture"](224)
    frames = [np.roll(hand, 2 * step, axis=1) for step in range(4)]
    video = video_tools[1](tmp_path / "hand.mkv", frames)
    done = bench("predict", str(video), "--runtimes", "torch", "--json", str(tmp_path / "predict.json"))
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "predict.json").read_text())
    assert numbers["ratios"].keys() == {"torch_overlay", "torch_no_overlay"}
    taken = numbers["steps"]["torch"]
    whole = {
        f"{drawn}, {way}" for drawn in ("with overlay", "without") for way in ("ahead", "one after the other")
    }
    assert taken.keys() == {"read", "find", "predict", "draw", "encode", "keep"} | whole
    assert all(wall > 0 and processor >= 0 for wall, processor in taken.values())


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_web_names_the_package_that_is_missing(tmp_path):
    words = ["clip.mp4", "--ort", str(tmp_path), "--modules", str(tmp_path / "node_modules")]
    done = bench("web", *words)
    assert (
        done.returncode == 2 and "puppeteer-core' is not there: npm install" in done.stderr.splitlines()[-1]
    )


def test_memory(tmp_path, video_tools):
    """A looped video has as many frames as were asked for, all of them are predicted, and looks cover the
    whole run."""
    hand = runpy.run_path(str(Path(__file__).parent / "golden" / "mediapipe_hand.py"))["picture"](224)
    video = video_tools[1](tmp_path / "hand.mkv", [np.roll(hand, 2 * step, axis=1) for step in range(4)])
    words = ["--frames", "30", "--size", "160", "120", "--every", "0.1", "--out", str(tmp_path / "hands")]
    predict = ["--no-overlay", "--box", "40,20,120,100", "--checkpoint", "tempohand-tiny"]
    done = bench("memory", *words, "--json", str(tmp_path / "memory.json"), str(video), *predict)
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "memory.json").read_text())
    assert numbers["frames"] == numbers["rows"] == 30
    assert numbers["bytes"] == {
        path.name: path.stat().st_size for path in (tmp_path / "hands").iterdir() if path.is_file()
    }
    with np.load(tmp_path / "hands" / "predictions.npz") as archive:
        assert archive["time"] == pytest.approx(np.arange(30) / 30, abs=1e-3)
    looks = numbers["looks"]
    assert numbers["seconds"] - 2 < looks[-1]["seconds"] < numbers["seconds"]
    assert numbers["processor_seconds"] > 0
    most = max(looks, key=lambda look: look["resident"])
    assert most["resident"] > most["own"] > 50
    assert "| 100% of 30 frames" in done.stdout
    done = bench("memory", str(video), "--no-overlay", "--focal", "-1")
    assert done.returncode == 2 and "tempohand predict failed" in done.stderr
