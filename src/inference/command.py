"""`tempohand predict`: a trained network on a video, a picture or a folder of pictures, from input files to
output files."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from tempohand.batch import HandPrediction
from tempohand.console import EXIT_INCOMPLETE, in_flags
from tempohand.inference import export
from tempohand.inference.box_propagation import FollowedHands
from tempohand.inference.boxes import ConstantBox, FileBoxes
from tempohand.inference.camera import CameraChoice
from tempohand.inference.detector import MAX_HANDS, HandDetector
from tempohand.inference.finder import HandFinder
from tempohand.inference.overlay import MESH_OPACITY, PictureOverlay, VideoOverlay, draw_hands, side_faces
from tempohand.inference.predict import BoxSource, predict_frames
from tempohand.inference.predictor import HandEstimate, StreamingPredictor
from tempohand.inference.settings import DETECTOR_MODEL
from tempohand.inference.source import Source, open_source
from tempohand.inference.staging import staged, staged_files
from tempohand.inference.tracker import SMOOTHING, Tracker


def run(arguments: argparse.Namespace, load: Callable | None = None) -> Path:
    """`tempohand predict`; returns the folder with the results. `load` reads the checkpoint (default:
    model/registry.py's load_network).

    Raises ValueError or FileNotFoundError with one clear line for bad input, and leaves no file then. Where a
    part of the input could not be read, the results of the rest are written and the program ends with
    EXIT_INCOMPLETE.
    """
    started = time.perf_counter()
    camera, tracker, opacity = _camera(arguments), _tracker(arguments), _opacity(arguments)
    source = open_source(arguments.input, arguments.fps)
    out = Path(arguments.out) if arguments.out else Path(f"{source.path.absolute().stem}-hands")
    with ExitStack() as stack:
        boxes = stack.enter_context(_boxes(arguments, source))
        boxes.check(source)
        network, device = _load(arguments.checkpoint, load), _device(arguments.device)
        predictor = StreamingPredictor(
            network, device=device, batch_size=arguments.batch_size, max_gap=tracker.max_gap
        )
        faces = predictor.network.hand.faces.cpu().numpy()
        stage = stack.enter_context(staged(out))
        with export.Rows(stage) as rows:
            num_frames, frames_with_hand = 0, 0
            with nullcontext() if arguments.no_overlay else _overlay(source, stage) as overlay:
                progress = tqdm(
                    predict_frames(source, boxes, tracker, camera, predictor),
                    total=source.expected_count,
                    unit="frame",
                )
                for frame, found in progress:
                    if not num_frames:
                        progress.write(in_flags(camera.describe(source.size), arguments.flags))
                    if overlay is not None:
                        overlay.write(frame, draw_hands(frame.image, found, faces, opacity=opacity))
                    if arguments.obj:
                        _write_meshes(stage / "meshes", found, faces)
                    rows.append(found)
                    num_frames += 1
                    frames_with_hand += bool(found)
            if isinstance(boxes, FileBoxes):
                boxes.check_count(source.count(), source.incomplete is not None)
            if source.incomplete:
                print(f"warning: '{source.path}' is incomplete: {source.incomplete.reason}", file=sys.stderr)
            if not len(rows):
                raise ValueError(_no_hand(source, boxes, num_frames))
            about = export.describe(
                source.path.name, source.names, source.count(), source.fps, source.incomplete
            )
            columns = rows.columns()
            export.write_npz(stage / export.PREDICTIONS, columns, faces, about)
            export.write_json(stage / "predictions.json", columns, about)
            num_hands = len(np.unique(columns["hand_id"]))
        written = [out / file.relative_to(stage) for file in staged_files(stage)]
    counts = {
        "frames": num_frames,
        "with_hand": frames_with_hand,
        "predictions": len(rows),
        "hands": num_hands,
    }
    _summarise(source, counts, time.perf_counter() - started, written)
    if source.incomplete:
        raise SystemExit(EXIT_INCOMPLETE)
    return out


def _camera(arguments: argparse.Namespace) -> CameraChoice:
    princpt = None
    if arguments.princpt is not None:
        try:
            cx, cy = (float(part) for part in arguments.princpt.split(","))
        except ValueError:
            raise ValueError(f"`princpt` is two numbers CX,CY in pixels, not '{arguments.princpt}'") from None
        princpt = (cx, cy)
    return CameraChoice(arguments.focal_px, arguments.fov_deg, princpt)


def _tracker(arguments: argparse.Namespace) -> Tracker:
    smoothing = (
        arguments.smoothing
        if arguments.smoothing is not None
        else SMOOTHING
        if arguments.boxes is arguments.box is None
        else 0.0
    )
    max_gap = {} if arguments.max_gap is None else {"max_gap": arguments.max_gap}
    return Tracker(
        **max_gap, smoothing=smoothing, side=None if arguments.side is None else arguments.side == "right"
    )


def _opacity(arguments: argparse.Namespace) -> float:
    opacity = MESH_OPACITY if arguments.opacity is None else arguments.opacity
    if not 0 <= opacity <= 1:
        raise ValueError(f"`opacity` is between 0 and 1, not {opacity:g}")
    return opacity


def _boxes(arguments: argparse.Namespace, source: Source):
    """The source of boxes, as a context manager."""
    max_hands = MAX_HANDS if arguments.max_hands is None else arguments.max_hands
    if max_hands < 1:
        raise ValueError(f"`max_hands` is at least 1, not {max_hands}")
    if arguments.boxes is not None:
        return nullcontext(FileBoxes.read(arguments.boxes))
    if arguments.box is not None:
        return nullcontext(ConstantBox.parse(arguments.box))
    if arguments.detect:
        return HandDetector(
            arguments.detector_model or DETECTOR_MODEL, video=not source.independent, max_hands=max_hands
        )
    tiles = arguments.tiles
    if (
        tiles is None
    ):  # a picture is worth the time, and a video has other frames in which a hand may be found
        tiles = 2 if source.independent else 1
    finder = HandFinder.load(
        arguments.finder, device=_device(arguments.device), tiles=tiles, max_hands=max_hands
    )
    every = arguments.every  # pictures of their own have nobody to follow
    return finder if every == 1 or source.independent else FollowedHands(finder, every)


def _load(checkpoint: str, load: Callable | None):
    if load is None:
        from tempohand.model.registry import load_network

        return load_network(checkpoint, HandPrediction)
    return load(checkpoint)


def _device(name: str | None) -> str:
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "`device` is cuda, but this torch sees no GPU: leave it out, or install a CUDA build of torch"
        )
    return name or ("cuda" if torch.cuda.is_available() else "cpu")


def _overlay(source: Source, stage: Path) -> VideoOverlay | PictureOverlay:
    if source.kind == "video":
        return VideoOverlay(stage / "overlay.mp4", source.fps)
    return PictureOverlay(stage, "overlay") if source.kind == "picture" else PictureOverlay(stage / "overlay")


def _no_hand(source: Source, boxes: BoxSource, num_frames: int) -> str:
    where = f"'{source.path}'" if num_frames == 1 else f"any of the {num_frames} frames of '{source.path}'"
    told = (
        ""
        if isinstance(boxes, FileBoxes | ConstantBox)
        else "; if there is one, say where with `box` X0,Y0,X1,Y1 or `boxes` FILE"
    )
    return f"no hand in {where}{told}"


def _write_meshes(folder: Path, estimates: list[HandEstimate], faces: np.ndarray) -> None:
    folder.mkdir(exist_ok=True)
    for estimate in estimates:
        name = f"{estimate.frame:06d}-hand{estimate.hand}.obj"
        export.write_obj(folder / name, estimate.vertices, side_faces(faces, estimate.is_right))


def _summarise(source: Source, counts: dict[str, int], seconds: float, written: list[Path]) -> None:
    hands = "" if source.independent else f" of {_counted(counts['hands'], 'hand')}"
    print(
        f"{_counted(counts['frames'], 'frame')}, {counts['with_hand']} with a hand, {_counted(counts['predictions'], 'prediction')}{hands}; "
        f"{counts['frames'] / seconds:.1f} frames/s with loading and writing"
    )
    top = min(len(path.parts) for path in written)
    folders = Counter(path.parent for path in written if len(path.parts) > top)
    for path in written:
        if len(path.parts) == top:
            print(f"wrote {path}")
    for folder, count in folders.items():
        print(f"wrote {folder} ({_counted(count, 'file')})")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
