"""The whole way, from nothing to a report: data, Stage 1, Stage 2, evaluation, a video, a page of pictures. `make demo` runs it.

Each step is a command that anyone can run by hand; it is printed before it runs. An interrupted demo goes on where it stopped; a finished
one starts anew, on the data it has.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from tempohand.console import run_clearly
from tempohand.data.table import FrameTable
from tempohand.evaluation.report import write_report
from tempohand.evaluation.results import format_tables
from tempohand.inference.overlay import VideoOverlay
from tempohand.inference.source import Frame

ROOT = Path("outputs/demo")
DATA, FILM = Path("data/demo"), Path("data/film")
STAGE1, STAGE2 = ROOT / "stage1", ROOT / "stage2"
# One process per core, one thread each: faster on few cores than one process with several threads.
PROCESSES = 1 if torch.cuda.is_available() else min(2, os.cpu_count() or 1)


class Steps:
    """Runs commands, prints them, times them, and remembers which are done."""

    def __init__(self, record: Path):
        self.record = record
        self.done: dict[str, float] = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
        self.commands: list[str] = []
        # Decoding workers share the cores with the network's threads: threads that wait must not spin.
        self.environment = {**os.environ, "OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "HF_HUB_OFFLINE": "1"}
        if not torch.cuda.is_available():
            self.environment["ACCELERATE_USE_CPU"] = "true"

    def run(self, name: str, *arguments: str) -> None:
        """One step; stops the demo where it fails, with the step's own message above."""
        shown = "python " + " ".join(arguments)
        self.commands.append(shown)
        if name in self.done:
            print(f"[{name}] done before, {self.done[name]:.0f} s")
            return
        print(f"\n[{name}] {shown}", flush=True)
        start = time.perf_counter()
        code = subprocess.run([sys.executable, *arguments], env=self.environment, check=False).returncode
        if code:
            sys.exit(f"the demo stopped in step '{name}' (exit code {code}); run the same command to go on from there")
        self.done[name] = time.perf_counter() - start
        self.record.write_text(json.dumps(self.done), encoding="utf-8")
        print(f"[{name}] {self.done[name]:.0f} s", flush=True)


def training(stage: int, *more: str) -> list[str]:
    """The command that trains a stage."""
    launch = ["-m", "accelerate.commands.launch", f"--num_processes={PROCESSES}", "--num_machines=1", "--mixed_precision=bf16"]
    launch += ["--dynamo_backend=no", "--num_cpu_threads_per_process=1", *(["--multi_gpu"] if PROCESSES > 1 else [])]
    out = STAGE1 if stage == 1 else STAGE2
    settings = [f"data.root={DATA}", f"out={out}", "resume=auto", "data.workers=1"]
    return [*launch, "script/train.py", f"--config-name=stage{stage}-tiny", *settings, *more]


def cut_film(folder: Path) -> list[str]:
    """The filmed sequence as a video with its boxes; the arguments that predict on it."""
    table = FrameTable(FILM, "test")
    labels = table.labels(np.arange(len(table)))
    folder.mkdir(exist_ok=True)
    np.savez(folder / "boxes.npz", box_xyxy=labels["box"], is_right=labels["is_right"])
    with VideoOverlay(folder / "film.mp4", Fraction(30)) as video:
        for row, seconds in enumerate(labels["time"]):
            picture = table.image(row)
            video.write(Frame(row, float(seconds), picture, ""), picture)
    focal, (u, v) = labels["focal"][0, 0], labels["princpt"][0]
    return [str(folder / "film.mp4"), "--boxes", str(folder / "boxes.npz"), f"--focal={focal:.2f}", f"--princpt={u:.2f},{v:.2f}"]


@run_clearly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", help="also predict on this video or picture")
    parser.add_argument("--boxes", help="its hand boxes (.npz, .json or .csv; see docs/predict.md); without: MediaPipe finds them")
    options = parser.parse_args()
    for path in (options.video, options.boxes):
        if path and not Path(path).is_file():
            raise FileNotFoundError(f"there is no file '{path}'")
    if (ROOT / "report.html").is_file():
        shutil.rmtree(ROOT)
    ROOT.mkdir(parents=True, exist_ok=True)
    steps = Steps(ROOT / "steps.json")

    steps.run("data", "script/prepare.py", "--config-name=synthetic-demo", f"out={DATA}")
    steps.run("stage 1", *training(1))
    steps.run("stage 2", *training(2, f"init_from={STAGE1}/checkpoint/best"))
    networks = [f"stage1={STAGE1}/checkpoint/best", f"stage2={STAGE2}/checkpoint/best"]
    steps.run("evaluation", "script/evaluate.py", *networks, f"data={DATA}", f"out={ROOT}")
    steps.run("film", "script/prepare.py", "--config-name=synthetic-film", f"out={FILM}")
    inputs = {"film": cut_film(ROOT / "film")}
    if options.video:
        inputs["video"] = [options.video, *(["--boxes", options.boxes] if options.boxes else ["--detect"])]
    for name, arguments in inputs.items():
        checkpoint = ["--checkpoint", f"{STAGE2}/checkpoint/best", "--out", f"{ROOT}/predict_{name}"]
        steps.run(f"predict {name}", "-m", "tempohand.cli", "predict", *arguments, *checkpoint)

    metrics = json.loads((ROOT / "metrics.json").read_text(encoding="utf-8"))
    write_report(
        ROOT / "report.html",
        title="Tempohand demo",
        runs={"Stage 1": STAGE1, "Stage 2": STAGE2},
        metrics=metrics,
        strips=sorted(ROOT.glob("strip_*.npz")),
        videos=sorted(ROOT.glob("predict_*/*.mp4")),
        commands=steps.commands,
        facts={f"time: {name}": f"{seconds:.0f} s" for name, seconds in steps.done.items()},
    )
    print("\n" + format_tables(metrics))
    print(f"the demo took {sum(steps.done.values()) / 60:.1f} minutes; open {ROOT / 'report.html'}")


if __name__ == "__main__":
    main()
