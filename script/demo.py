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
from pathlib import Path

from tempohand.console import run_clearly
from tempohand.evaluation.report import write_report

ROOT = Path("outputs/demo")
DATA, FILM = Path("data/demo"), Path("data/film")
STAGE1, STAGE2 = ROOT / "stage1", ROOT / "stage2"
FILM_ROWS = ROOT / "film"


class Steps:
    """Runs commands, prints them, times them, and remembers which are done."""

    def __init__(self, record: Path):
        self.record = record
        self.done: dict[str, float] = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
        self.commands: list[str] = []
        # Decoding workers share the cores with the network's threads: threads that wait must not spin.
        self.environment = {**os.environ, "OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "HF_HUB_OFFLINE": "1"}

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


@run_clearly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", help="also predict on this video or picture")
    parser.add_argument("--boxes", help="its hand boxes (.npz, .json or .csv; see docs/predict.md)")
    options = parser.parse_args()
    for path in (options.video, options.boxes):
        if path and not Path(path).is_file():
            raise FileNotFoundError(f"there is no file '{path}'")
    if (ROOT / "report.html").is_file():
        shutil.rmtree(ROOT)
    ROOT.mkdir(parents=True, exist_ok=True)
    steps = Steps(ROOT / "steps.json")

    steps.run("data", "script/prepare.py", "--config-name=synthetic-demo", f"out={DATA}")
    launch = ("-m", "accelerate.commands.launch", "--num_processes=1", "--num_machines=1", "--mixed_precision=bf16", "--dynamo_backend=no")
    steps.run("stage 1", *launch, "script/train.py", "--config-name=stage1-tiny", f"data.root={DATA}", f"out={STAGE1}", "resume=auto")
    best = STAGE1 / "checkpoint" / "best"
    steps.run(
        "stage 2",
        *launch,
        "script/train.py",
        "--config-name=stage2-tiny",
        f"data.root={DATA}",
        f"out={STAGE2}",
        f"init_from={best}",
        "resume=auto",
    )
    steps.run(
        "evaluation", "script/evaluate.py", f"stage1={best}", f"stage2={STAGE2 / 'checkpoint' / 'best'}", f"data={DATA}", f"out={ROOT}"
    )

    videos = []
    steps.run("film", "script/prepare.py", "--config-name=synthetic-film", f"out={FILM}")
    steps.run("cut", "script/film.py", str(FILM), str(FILM_ROWS))
    inputs = [("film", FILM_ROWS / "film.mp4", ["--boxes", str(FILM_ROWS / "boxes.json"), "--focal-from-boxes"])]
    if options.video:
        inputs.append(("video", Path(options.video), ["--boxes", options.boxes] if options.boxes else ["--detect"]))
    for name, path, more in inputs:
        out = ROOT / f"predict_{name}"
        steps.run(
            f"predict {name}",
            "-m",
            "tempohand.cli",
            "predict",
            str(path),
            "--checkpoint",
            str(STAGE2 / "checkpoint" / "best"),
            "--out",
            str(out),
            *more,
        )
        videos += sorted(out.glob("*.mp4"))

    metrics = json.loads((ROOT / "metrics.json").read_text(encoding="utf-8"))
    write_report(
        ROOT / "report.html",
        title="Tempohand demo",
        runs={"Stage 1": STAGE1, "Stage 2": STAGE2},
        metrics=metrics,
        strips=sorted(ROOT.glob("strip_*.npz")),
        videos=videos,
        commands=steps.commands,
        facts={f"time: {name}": f"{seconds:.0f} s" for name, seconds in steps.done.items()},
    )
    print(f"\nthe demo took {sum(steps.done.values()) / 60:.1f} minutes; open {ROOT / 'report.html'}")


if __name__ == "__main__":
    main()
