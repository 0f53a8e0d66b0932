"""Hand3D from nothing to a page: hands whose numbers are known, pretraining on them, video with masks,
training on weak labels four ways, evaluations, a film. `make demo-hand3d` runs it.

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

ROOT = Path("outputs/demo-hand3d")
HANDS = Path("data/hand3d-small")
VIDEO = Path("data/hand3d-video")
MASKS = Path("data/hand3d-video-masks")
# Of the training recordings a tenth has its 3D labels; all have 2D joints, and masks by tempohand masks.
WEAK = ["data.share_3d=0.1"]
WAYS = {
    "2d": ("2D only", ["data.share_3d=0", "loss.mask=0"]),
    "weak_perspective": ("2D, masks, 3D in weak perspective", [*WEAK, "loss.joints3d=weak_perspective"]),
    "normalised": ("2D, masks, 3D normalised", [*WEAK, "loss.joints3d=normalised"]),
    "normalised_not_detached": (
        "2D, masks, 3D normalised, not detached",
        [*WEAK, "loss.joints3d=normalised_not_detached"],
    ),
}
SHOWN = "normalised"  # whose pictures the page shows
FIGURES = {
    "mpjpe_root": "root-relative {:.1f} mm",
    "pa_mpjpe": "PA {:.1f} mm",
    "auc_50": "AUC 0-50 mm {:.3f}",
    "error_2d": "2D {:.1f} %",
}


def make_data(steps: Steps) -> None:
    """Hands whose numbers are known, a video's frames, and masks for these, below data."""
    few = ["num_train=3000", "num_val=200", "num_test=200"]
    steps.run("hands", "script/prepare.py", "--config-name=synthetic-hand3d", f"out={HANDS}", *few)
    few = ["num_train=600", "frames_train=4", "num_val=20", "frames_val=8", "num_test=40", "frames_test=8"]
    steps.run("video", "script/prepare.py", "--config-name=synthetic-demo", f"out={VIDEO}", *few)
    steps.run("masks", "-m", "tempohand.cli", "masks", str(VIDEO), "--out", str(MASKS))


def run_steps(steps: Steps) -> None:
    """Data, pretraining, training, evaluations and the prediction, below outputs/demo-hand3d and data."""
    make_data(steps)
    short = ["data.workers=1", "data.validation_rows=160", "optim.warmup=50", "optim.ema=0.99"]
    steps.run(
        "pretraining",
        *training("hand3d-tiny-pretrain", f"data.root={HANDS}", f"out={run_of('pretrain')}", precision="no"),
        *(*short, "optim.steps=600", "log.validate_every=300", "log.checkpoint_every=300"),
    )
    short += ["optim.steps=400", "log.validate_every=200", "log.checkpoint_every=200"]
    for way, (title, settings) in WAYS.items():
        start = f"init_from={run_of('pretrain')}/checkpoint/last"
        places = [f"data.root={MASKS}", f"out={run_of(way)}", start]
        command = training("hand3d-tiny", *places, precision="no")
        steps.run(f"training, {title}", *command, *short, *settings)
    for way, (title, _) in WAYS.items():
        network = f"stage1={run_of(way)}/checkpoint/best"
        out = f"out={run_of(way)}/evaluation"
        steps.run(f"evaluation, {title}", "script/evaluate.py", network, f"data={MASKS}", out)
    steps.run("film", "script/prepare.py", "--config-name=synthetic-film", f"out={FILM}")
    checkpoint = ["--checkpoint", f"{run_of(SHOWN)}/checkpoint/best", "--out", f"{ROOT}/predict_film"]
    steps.run("predict", "-m", "tempohand.cli", "predict", *cut_film(ROOT / "film"), *checkpoint)


def run_of(way: str) -> Path:
    """The training run's folder."""
    return ROOT / way


def metrics_of(way: str) -> dict:
    """Of a run's evaluation."""
    return json.loads((run_of(way) / "evaluation" / "metrics.json").read_text(encoding="utf-8"))


def line(row: dict) -> str:
    """A row's figures, in words."""
    return ", ".join(words.format(row[name]) for name, words in FIGURES.items())


@run_clearly
def main() -> None:
    if (ROOT / "report.html").is_file():  # finished before
        shutil.rmtree(ROOT)
    ROOT.mkdir(parents=True, exist_ok=True)
    steps = Steps(ROOT / "steps.json", "the demo")
    run_steps(steps)
    metrics = metrics_of(SHOWN)
    facts = {"constant hand": line(metrics["rows"]["mean_pose"])}
    facts |= {title: line(metrics_of(way)["rows"]["stage1"]) for way, (title, _) in WAYS.items()}
    report = ReportContent(
        title="Tempohand demo: Hand3D",
        runs={title: run_of(way) for way, (title, _) in WAYS.items()},
        metrics=metrics,
        strips=sorted((run_of(SHOWN) / "evaluation").glob("strip_*.npz")),
        videos=sorted((ROOT / "predict_film").glob("*.mp4")),
        commands=steps.commands,
        facts=facts | {f"time: {name}": f"{seconds:.0f} s" for name, seconds in steps.done.items()},
    )
    write_report(ROOT / "report.html", report)
    print("\n" + format_tables(metrics))
    print("\n".join(f"{name:40} {words}" for name, words in facts.items()))
    print(f"the demo took {sum(steps.done.values()) / 60:.1f} minutes; open {ROOT / 'report.html'}")


if __name__ == "__main__":
    main()
