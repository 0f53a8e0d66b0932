"""UTNet from nothing to a page: frames of a colour and a depth camera, training, evaluation with depth,
without it and with nothing else, a video in colour alone. `make demo-utnet` runs it.

Each step is a command that anyone can run by hand; it is printed before it runs. An interrupted demo goes on
where it stopped; a finished one starts anew, on the data it has.
"""

import json
import shutil
from pathlib import Path

from demo import FILM, cut_film
from steps import Steps, training

from tempohand.console import run_clearly
from tempohand.evaluation.report.report import ReportContent, write_report
from tempohand.evaluation.results import format_tables

ROOT = Path("outputs/demo-utnet")
DATA = Path("data/rgbd")
RUN = ROOT / "utnet"
# What the network is not shown -> what that leaves.
SEEN = {"": "colour and depth", "depth": "colour alone", "image": "depth alone"}
FIGURES = {"mpjpe_root": "root-relative", "pa_mpjpe": "PA", "mpjpe": "camera space"}


def run_steps(steps: Steps) -> None:
    """Data, training, evaluations and the prediction, below outputs/demo-utnet and data."""
    steps.run("data", "script/prepare.py", "--config-name=synthetic-rgbd", f"out={DATA}")
    settings = [f"data.root={DATA}", "data.workers=1", f"out={RUN}", "optim.steps=500", "optim.warmup=50"]
    short = ["optim.ema=0.99", "log.validate_every=250", "log.checkpoint_every=250"]
    steps.run("training", *training("utnet-tiny", *settings, *short, precision="no"))
    network = f"stage1={RUN}/checkpoint/best"
    for hidden, left in SEEN.items():
        out = [f"without=[{hidden}]", f"out={folder_of(hidden)}"]
        steps.run(f"evaluation, {left}", "script/evaluate.py", network, f"data={DATA}", *out)
    steps.run("film", "script/prepare.py", "--config-name=synthetic-film", f"out={FILM}")
    checkpoint = ["--checkpoint", f"{RUN}/checkpoint/best", "--out", f"{ROOT}/predict_film"]
    steps.run("predict", "-m", "tempohand.cli", "predict", *cut_film(ROOT / "film"), *checkpoint)


def folder_of(hidden: str) -> Path:
    """Of the evaluation without something."""
    return ROOT / f"without_{hidden or 'nothing'}"


def metrics_of(hidden: str) -> dict:
    """Of the evaluation without something."""
    return json.loads((folder_of(hidden) / "metrics.json").read_text(encoding="utf-8"))


def line(row: dict) -> str:
    """A row's figures, in words."""
    return ", ".join(f"{label} {row[name]:.1f} mm" for name, label in FIGURES.items())


@run_clearly
def main() -> None:
    if (ROOT / "report.html").is_file():  # finished before
        shutil.rmtree(ROOT)
    ROOT.mkdir(parents=True, exist_ok=True)
    steps = Steps(ROOT / "steps.json", "the demo")
    run_steps(steps)
    metrics = metrics_of("")
    facts = {"constant hand": line(metrics["rows"]["mean_pose"])}
    facts |= {left: line(metrics_of(hidden)["rows"]["stage1"]) for hidden, left in SEEN.items()}
    report = ReportContent(
        title="Tempohand demo: UTNet",
        runs={"UTNet": RUN},
        metrics=metrics,
        strips=sorted(folder_of("").glob("strip_*.npz")),
        videos=sorted((ROOT / "predict_film").glob("*.mp4")),
        commands=steps.commands,
        facts=facts | {f"time: {name}": f"{seconds:.0f} s" for name, seconds in steps.done.items()},
    )
    write_report(ROOT / "report.html", report)
    print("\n" + format_tables(metrics))
    print("\n".join(f"{name:18} {words}" for name, words in facts.items()))
    print(f"the demo took {sum(steps.done.values()) / 60:.1f} minutes; open {ROOT / 'report.html'}")


if __name__ == "__main__":
    main()
