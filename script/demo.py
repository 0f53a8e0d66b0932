"""The whole way, from nothing to a report: data, Stage 1, Stage 2, evaluation, a video, a page of pictures.
`make demo` runs it.

Each step is a command that anyone can run by hand; it is printed before it runs. An interrupted demo goes on
where it stopped; a finished one starts anew, on the data it has.
"""

import argparse
import json
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
from steps import Steps, training

from tempohand.console import run_clearly
from tempohand.data.table import FrameTable
from tempohand.evaluation.report.report import ReportContent, write_report
from tempohand.evaluation.results import format_tables
from tempohand.inference.overlay import VideoOverlay
from tempohand.inference.source import SourceFrame

ROOT = Path("outputs/demo")
DATA = Path("data/demo")
FILM = Path("data/film")
STAGE1 = ROOT / "stage1"
STAGE2 = ROOT / "stage2"


def cut_film(folder: Path) -> list[str]:
    """The filmed sequence as a video with its boxes; the arguments that predict on it."""
    table = FrameTable(FILM, "test")
    labels = table.labels(np.arange(len(table)))
    folder.mkdir(exist_ok=True)
    np.savez(folder / "boxes.npz", box_xyxy=labels["box"], is_right=labels["is_right"])
    with VideoOverlay(folder / "film.mp4", Fraction(30)) as video:
        for row, seconds in enumerate(labels["time"]):
            picture = table.image(row)
            video.write(SourceFrame(row, float(seconds), picture, ""), picture)
    focal = labels["focal"][0, 0]
    u, v = labels["princpt"][0]
    return [
        str(folder / "film.mp4"),
        "--boxes",
        str(folder / "boxes.npz"),
        f"--focal={focal:.2f}",
        f"--princpt={u:.2f},{v:.2f}",
    ]


def read_options() -> argparse.Namespace:
    """The command line. Raises FileNotFoundError for a file that is not there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", help="also predict on this video or picture")
    parser.add_argument(
        "--boxes",
        help="its hand boxes (.npz, .json or .csv; see docs/predict.md); without: the hand finder finds them",
    )
    parser.add_argument(
        "--from-scratch",
        action="store_true",
        help="train Stage 1 from random weights, not from the package's network",
    )
    options = parser.parse_args()
    for path in (options.video, options.boxes):
        if path and not Path(path).is_file():
            raise FileNotFoundError(f"there is no file '{path}'")
    return options


def run_steps(steps: Steps, options: argparse.Namespace) -> None:
    """Data, both stages, the evaluation and the predictions, below outputs/demo and data."""
    steps.run("data", "script/prepare.py", "--config-name=synthetic-demo", f"out={DATA}")
    data = [f"data.root={DATA}", "data.workers=1"]
    first = "stage1-tiny" if options.from_scratch else "stage1-tiny-finetune"
    steps.run("stage 1", *training(first, *data, f"out={STAGE1}"))
    start = f"init_from={STAGE1}/checkpoint/best"
    steps.run("stage 2", *training("stage2-tiny", *data, f"out={STAGE2}", start))
    networks = [f"stage1={STAGE1}/checkpoint/best", f"stage2={STAGE2}/checkpoint/best"]
    steps.run("evaluation", "script/evaluate.py", *networks, f"data={DATA}", f"out={ROOT}")
    steps.run("film", "script/prepare.py", "--config-name=synthetic-film", f"out={FILM}")
    inputs = {"film": cut_film(ROOT / "film")}
    if options.video:
        inputs["video"] = [options.video, *(["--boxes", options.boxes] if options.boxes else [])]
    for name, arguments in inputs.items():
        checkpoint = ["--checkpoint", f"{STAGE2}/checkpoint/best", "--out", f"{ROOT}/predict_{name}"]
        steps.run(f"predict {name}", "-m", "tempohand.cli", "predict", *arguments, *checkpoint)


@run_clearly
def main() -> None:
    options = read_options()
    if (ROOT / "report.html").is_file():  # finished before
        shutil.rmtree(ROOT)
    ROOT.mkdir(parents=True, exist_ok=True)
    steps = Steps(ROOT / "steps.json", "the demo")
    run_steps(steps, options)
    metrics = json.loads((ROOT / "metrics.json").read_text(encoding="utf-8"))
    report = ReportContent(
        title="Tempohand demo",
        runs={"Stage 1": STAGE1, "Stage 2": STAGE2},
        metrics=metrics,
        strips=sorted(ROOT.glob("strip_*.npz")),
        videos=sorted(ROOT.glob("predict_*/*.mp4")),
        commands=steps.commands,
        facts={f"time: {name}": f"{seconds:.0f} s" for name, seconds in steps.done.items()},
    )
    write_report(ROOT / "report.html", report)
    print("\n" + format_tables(metrics))
    print(f"the demo took {sum(steps.done.values()) / 60:.1f} minutes; open {ROOT / 'report.html'}")


if __name__ == "__main__":
    main()
