"""`tempohand predict`: 3D hands in a video, a picture or a folder of pictures."""

import argparse
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from tempohand.console import EXIT_INCOMPLETE, in_flags
from tempohand.inference.settings import PredictSettings

SETTINGS = {field.name: field.default for field in fields(PredictSettings)}

DESCRIPTION = """Predicts 3D hands in a video, a picture or a folder of pictures, with the network that
comes with the package or your own.

Writes into --out: predictions.npz (everything), predictions.json (without vertices) and the overlay.
docs/predict.md has all formats."""

EXAMPLES = """examples:
  a video, with everything that comes with the package:
    tempohand predict clip.mp4
  one hand in a picture, a left one:
    tempohand predict hand.jpg --box 310,120,520,400 --side left
  a video with one box a frame, from a camera of known focal length:
    tempohand predict clip.mp4 --boxes boxes.npz --focal 1050
  a video, hands found by MediaPipe (pip install 'tempohand[detect]', then tempohand detector-model):
    tempohand predict clip.mp4 --detect
  many videos, those whose results are there left out:
    tempohand predict videos/*.mp4 --out hands --resume
  networks of your own:
    tempohand predict clip.mp4 --checkpoint outputs/run/checkpoint/best --finder outputs/find/checkpoint/best
  a folder of frames of one sequence:
    tempohand predict frames/ --boxes boxes.csv --fps 30
  a depth camera beside it, for a network that takes depth:
    tempohand predict frames/ --depth depth/ --focal 610 --checkpoint outputs/utnet-tiny/checkpoint/best"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tempohand predict`. `dest` is the library's name of an argument: cli.py makes the flag of
    it in messages."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument(
        "input",
        metavar="INPUT",
        nargs="+",
        help=(
            "a video, a picture, or a folder of pictures (in natural order of their names; independent "
            "unless --fps is given); of several each is done by a process, or a worker of --engine ray"
        ),
    )
    parser.add_argument(
        "--checkpoint",
        metavar="DIR",
        help="checkpoint directory of a trained network (model.safetensors and config.json), or the name of "
        "one that comes with the package (default %(default)s)",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="folder for the results (default: INPUT's name with -hands, in the working directory); with "
        "several INPUTs the folder for theirs",
    )

    _add_boxes(parser)
    _add_hands(parser)
    _add_camera(parser)
    _add_output(parser)
    parser.set_defaults(**{name: default for name, default in SETTINGS.items() if name != "input"})


def _add_boxes(parser: argparse.ArgumentParser) -> None:
    boxes = parser.add_argument_group(
        "where the hands are (one of these; default: they are found)"
    ).add_mutually_exclusive_group()
    boxes.add_argument(
        "--boxes",
        metavar="FILE",
        help="boxes per frame: .npz (box_xyxy, detected), .json or .csv (frame,x0,y0,x1,y1[,side[,hand]])",
    )
    boxes.add_argument(
        "--box",
        metavar="X0,Y0,X1,Y1",
        help=(
            "one box in pixels, around the hand's 21 joints without a margin, for every frame "
            "(--box=... if X0 is negative)"
        ),
    )
    boxes.add_argument(
        "--detect", action="store_true", help="find hands with MediaPipe (optional dependency)"
    )
    boxes.add_argument(
        "--finder",
        metavar="NAME",
        help="what finds hands: palms, MediaPipe's networks, which come with the package; the checkpoint "
        "directory of a find-* run of tempohand train, or tempohand-finder, the package's; or both, "
        "palms+NAME (default: palms in videos and sequences, palms+tempohand-finder in pictures)",
    )


def _add_hands(parser: argparse.ArgumentParser) -> None:
    hands = parser.add_argument_group("hands over time")
    hands.add_argument(
        "--side",
        choices=("right", "left"),
        help=(
            "side of every hand, whatever boxes or detector say (default: theirs, else what the network sees)"
        ),
    )
    hands.add_argument(
        "--max-gap",
        type=float,
        metavar="SECONDS",
        help=(
            "time without a hand after which its history begins anew (default 0.4, as far as training "
            "looks back)"
        ),
    )
    hands.add_argument(
        "--smooth",
        dest="smoothing",
        type=float,
        metavar="W",
        help=(
            "weight of the box before, 0 to below 1 (default 0.3 where hands are found, 0 with --boxes "
            "and --box)"
        ),
    )
    hands.add_argument("--max-hands", type=int, metavar="N", help="most hands to find in a frame (default 8)")
    hands.add_argument(
        "--finder-tiles",
        dest="tiles",
        type=int,
        metavar="N",
        help="2 or more: also look for hands from so many times as near, for smaller ones; 1: only in the "
        "whole picture (default: 4 for independent pictures, 3 for videos and sequences; of a trained finder "
        "2 and 1)",
    )
    hands.add_argument(
        "--look-every",
        dest="every",
        type=int,
        metavar="N",
        help=(
            "frames of a video from one look for new hands to the next; between them those that are known "
            "are followed (default 5; of a trained finder 1)"
        ),
    )
    hands.add_argument(
        "--follow",
        choices=("landmarks", "hand"),
        help="what follows a hand between looks: MediaPipe's landmark network, or the predicted hand, which "
        "saves that network's pass (default %(default)s)",
    )
    hands.add_argument(
        "--detector-model", metavar="FILE.task", help="MediaPipe's hand model (default hand_landmarker.task)"
    )
    hands.add_argument(
        "--fps", type=float, metavar="RATE", help="makes a folder's pictures the frames of one sequence"
    )


def _add_camera(parser: argparse.ArgumentParser) -> None:
    camera = parser.add_argument_group("camera (depth scales with the focal length)")
    camera.add_argument(
        "--focal",
        dest="focal_px",
        type=float,
        metavar="PX",
        help="focal length in pixels of the input (default: what a picture's EXIF says, else the "
        "picture's diagonal)",
    )
    camera.add_argument(
        "--fov",
        dest="fov_deg",
        type=float,
        metavar="DEG",
        help="or the field of view across the picture's longer side, in degrees",
    )
    camera.add_argument(
        "--princpt", metavar="CX,CY", help="principal point in pixels (default: the picture's centre)"
    )
    camera.add_argument(
        "--depth",
        metavar="DIR",
        help="a depth camera's pictures of the frames, registered to them: PNG of 16 bits, 0 where nothing "
        "is measured, of the frames' names, or named by their times in seconds, or one a frame in order; for "
        "networks that take depth",
    )
    camera.add_argument(
        "--depth-unit",
        type=float,
        metavar="MM",
        help="millimetres of a unit in them (default %(default)g)",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    output = parser.add_argument_group("output")
    output.add_argument(
        "--no-overlay", dest="overlay", action="store_false", help="do not draw the hands over the input"
    )
    output.add_argument("--opacity", type=float, metavar="A", help="of the drawn mesh, 0 to 1 (default 0.8)")
    output.add_argument("--obj", action="store_true", help="also write every hand's mesh as .obj")

    computing = parser.add_argument_group("computing")
    computing.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="hands per network pass (default 4 on the CPU, 32 on a GPU)",
    )
    computing.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    computing.add_argument(
        "--runtime",
        choices=("torch", "onnx"),
        help="what computes: torch, or ONNX Runtime, twice as fast on a CPU and some seconds later to begin "
        "(pip install 'tempohand[onnx]'; default: onnx on a CPU where it is installed and the input has 200 "
        "frames or more, else torch)",
    )

    several = parser.add_argument_group("several inputs")
    several.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="what does them: processes of this machine, or the workers of a Ray cluster (docs/scale.md; "
        "default %(default)s)",
    )
    several.add_argument(
        "--workers", dest="processes", type=int, metavar="N", help="so many at once (default: one a core)"
    )
    several.add_argument(
        "--resume", action="store_true", help="leave out the inputs whose results are there already"
    )


def run(arguments: argparse.Namespace, load: Callable | None = None) -> Path:
    """Predicts, writes the results, prints what they are, and returns their folder; of several inputs that of
    theirs.

    load: reads the checkpoint of a single input (default: as predict_files). Where a part of an input could
    not be read, or one of several not at all, the program ends with EXIT_INCOMPLETE after that.
    """
    from tempohand.inference.predict_files import predict_files

    first, *others = arguments.input
    values = {name: getattr(arguments, name) for name in SETTINGS} | {"input": first}
    settings = PredictSettings(**values)
    if others:
        return _run_many(arguments, settings)
    summary = predict_files(settings, load=load, wording=lambda text: in_flags(text, arguments.flags))
    print("\n".join(summary.lines()))
    if summary.incomplete:
        raise SystemExit(EXIT_INCOMPLETE)
    return summary.out


def _run_many(arguments: argparse.Namespace, settings: PredictSettings) -> Path:
    from tqdm import tqdm

    from tempohand.data.parallel_jobs import open_engine
    from tempohand.inference.predict_many import left_of, many, predict_many

    gpus = 1 if settings.device == "cuda" else 0
    engine = open_engine(arguments.engine, arguments.processes, gpus=gpus)
    jobs = many(arguments.input, settings)
    todo = left_of(jobs) if arguments.resume else jobs
    incomplete = 0
    with tqdm(total=len(jobs), initial=len(jobs) - len(todo), unit="input") as bar:
        for job, made in predict_many(todo, engine):
            failed = isinstance(made, str)
            incomplete += failed or made.incomplete
            text = f"error: {in_flags(made, arguments.flags)}" if failed else made.lines()[0]
            part = "" if failed or not made.incomplete else " (a part of it could not be read)"
            bar.write(f"{job.input}: {text}{part}")
            bar.update()
    out = Path(settings.out or ".")
    print(f"{len(todo) - incomplete} of {len(todo)} inputs done; results in '{out}'")
    if incomplete:
        raise SystemExit(EXIT_INCOMPLETE)
    return out
