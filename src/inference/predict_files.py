"""A trained network on a video, a picture or a folder of pictures, from input files to output files."""

import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from tempohand.batch import HandPrediction
from tempohand.inference import export
from tempohand.inference.ahead import ahead
from tempohand.inference.box_propagation import FollowedHands
from tempohand.inference.boxes import ConstantBox, FileBoxes
from tempohand.inference.camera import CameraChoice
from tempohand.inference.depth_folder import DepthFolder
from tempohand.inference.detector import MAX_HANDS, HandDetector
from tempohand.inference.finder import HandFinder
from tempohand.inference.overlay import MESH_OPACITY, PictureOverlay, VideoOverlay, draw_hands, side_faces
from tempohand.inference.palm_finder import PICTURE_TILES, VIDEO_TILES, PalmFinder
from tempohand.inference.palm_following import LOOK_EVERY, FollowedPalms
from tempohand.inference.palms_and_finder import LEAST_SCORE, PalmsAndFinder
from tempohand.inference.predict import AHEAD, BoxSource, answers
from tempohand.inference.predictor import HandEstimate, StreamingPredictor
from tempohand.inference.runtime import Runtime, fitting, open_runtime
from tempohand.inference.settings import (
    BESIDE,
    DETECTOR_MODEL,
    FINDER,
    NETWORK,
    PICTURE_FINDER,
    PredictSettings,
)
from tempohand.inference.source import Source, VideoSource, open_source
from tempohand.inference.staging import staged, staged_files
from tempohand.inference.tracker import SMOOTHING, Tracker
from tempohand.inference.unfinished import Unfinished, key_of
from tempohand.model import registry
from tempohand.model.landmarks import HandLandmarkNetwork
from tempohand.model.palms import PalmDetector

# Hands in a pass of the network: on a CPU larger ones leave its cache, and hold up the steps around it.
BATCH_SIZES = {"cpu": 4, "cuda": 32}
FOLLOWERS = {"landmarks": FollowedPalms, "hand": FollowedHands}  # what follows the hands that palms found


@dataclass(frozen=True)
class Summary:
    """What a prediction on files made."""

    out: Path
    written: list[Path]
    frames: int
    frames_with_hand: int
    predictions: int
    hands: int | None  # None: pictures of their own, whose hands do not belong together
    seconds: float  # with loading and writing
    incomplete: bool  # a part of the input could not be read
    frames_with_depth: int | None = None  # None: no depth was given
    earlier: int = 0  # frames that an interrupted run had answered

    def lines(self) -> list[str]:
        """Frames and hands, then the files written; of a folder within the results their number."""
        hands = "" if self.hands is None else f" of {_counted(self.hands, 'hand')}"
        lines = [
            f"{_counted(self.frames, 'frame')}, {self.frames_with_hand} with a hand, "
            f"{_counted(self.predictions, 'prediction')}{hands}; "
            f"{self.frames / self.seconds:.1f} frames/s with loading and writing"
        ]
        if self.earlier:
            lines.append(
                f"{_counted(self.earlier, 'frame')} of them by an earlier run, which was interrupted"
            )
        if self.frames_with_depth is not None:
            lines.append(f"depth of {self.frames_with_depth} of {_counted(self.frames, 'frame')}")
        lines += [f"wrote {path}" for path in self.written if path.parent == self.out]
        folders = Counter(path.parent for path in self.written if path.parent != self.out)
        lines += [f"wrote {folder} ({_counted(count, 'file')})" for folder, count in folders.items()]
        return lines


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def predict_files(
    settings: PredictSettings, *, load: Callable | None = None, wording: Callable[[str], str] = str
) -> Summary:
    """Predicts and writes the results into a folder.

    load: reads the checkpoint (default: model/registry.py's load_network). wording: makes of a message, which
    names settings in backquotes, what the user is shown. Raises ValueError or FileNotFoundError with one
    clear line for bad input, and leaves no file then. Interrupted, it goes on from there when it is called
    with the same settings again. Where a part of the input could not be read, the
    results of the rest are written.
    """
    started = time.perf_counter()
    camera = _camera(settings)
    tracker = _tracker(settings)
    opacity = _opacity(settings)
    source, runtime = _opened(settings)
    out = Path(settings.out or f"{source.path.absolute().stem}-hands")
    with ExitStack() as stack:
        boxes = stack.enter_context(_boxes(settings, source, runtime))
        boxes.check(source)
        predictor = _predictor(settings, load, runtime, tracker.max_gap)
        depth = _depth(settings, source, predictor)
        faces = predictor.network.hand.faces.cpu().numpy()
        draw = partial(draw_hands, faces=faces, opacity=opacity)
        stage = stack.enter_context(staged(out))
        unfinished = stack.enter_context(Unfinished(stage, key_of(settings)))
        with unfinished.rows as rows:
            with _overlay(settings, source, stage) as overlay:
                said = answers(source, boxes, tracker, camera, predictor, depth, AHEAD, unfinished)
                said = stack.enter_context(closing(ahead(said, AHEAD)))
                progress = tqdm(said, total=source.expected_count, unit="frame")
                for answer in progress:
                    if not unfinished.taken:
                        progress.write(wording(camera.describe(source.size, answer.frame.focal)))
                    if overlay is not None:
                        overlay.write(answer.frame, draw(answer.frame.image, answer.hands))
                    if settings.obj:
                        _write_meshes(stage / "meshes", answer.hands, faces)
                    unfinished.keep(answer.hands, answer.state)
            _check_input(source, boxes, depth)
            if not len(rows):
                raise ValueError(_no_hand(source, boxes, unfinished.taken))
            columns = rows.columns()
            _write_predictions(stage, source, columns, faces)
            count = {name: len(np.unique(columns[name])) for name in ("frame", "hand_id")}
        written = [out / file.relative_to(stage) for file in staged_files(stage)]
    return Summary(
        out=out,
        written=written,
        frames=unfinished.taken,
        frames_with_hand=count["frame"],
        predictions=len(rows),
        hands=None if source.independent else count["hand_id"],
        seconds=time.perf_counter() - started,
        incomplete=source.incomplete is not None,
        earlier=unfinished.frames,
        frames_with_depth=None if depth is None else depth.frames,
    )


def _check_input(source: Source, boxes: BoxSource, depth: DepthFolder | None) -> None:
    """What is known of the input once all of it was read."""
    if depth is not None:
        depth.check()
    if isinstance(boxes, FileBoxes):
        boxes.check_count(source.count(), source.incomplete is not None)
    if source.incomplete:
        print(f"warning: '{source.path}' is incomplete: {source.incomplete.reason}", file=sys.stderr)


def _write_predictions(
    stage: Path, source: Source, columns: dict[str, np.ndarray], faces: np.ndarray
) -> None:
    about = export.describe(source.path.name, source.names, source.count(), source.fps, source.incomplete)
    export.write_npz(stage / export.PREDICTIONS, columns, faces, about)
    export.write_json(stage / "predictions.json", columns, about)


def _camera(settings: PredictSettings) -> CameraChoice:
    princpt = None
    if settings.princpt is not None:
        try:
            cx, cy = (float(part) for part in settings.princpt.split(","))
        except ValueError:
            raise ValueError(f"`princpt` is two numbers CX,CY in pixels, not '{settings.princpt}'") from None
        princpt = (cx, cy)
    return CameraChoice(settings.focal_px, settings.fov_deg, princpt)


def _tracker(settings: PredictSettings) -> Tracker:
    given = settings.boxes is not None or settings.box is not None
    smoothing = settings.smoothing
    if smoothing is None:
        smoothing = 0.0 if given else SMOOTHING
    max_gap = {} if settings.max_gap is None else {"max_gap": settings.max_gap}
    side = None if settings.side is None else settings.side == "right"
    return Tracker(**max_gap, smoothing=smoothing, side=side)


def _depth(settings: PredictSettings, source: Source, predictor: StreamingPredictor) -> DepthFolder | None:
    if settings.depth is None:
        if "depth" in predictor.network.needed:
            raise ValueError(
                f"the network in '{settings.checkpoint}' was trained to have depth in every frame: give the "
                "folder of its pictures as `depth`"
            )
        return None
    if not predictor.takes_depth:
        raise ValueError(
            f"`depth` is given, but the network in '{settings.checkpoint}', a {predictor.network.title}, "
            "takes none: leave it out, or give the `checkpoint` of a network that takes depth"
        )
    return DepthFolder(settings.depth, source, settings.depth_unit)


def _opacity(settings: PredictSettings) -> float:
    opacity = MESH_OPACITY if settings.opacity is None else settings.opacity
    if not 0 <= opacity <= 1:
        raise ValueError(f"`opacity` is between 0 and 1, not {opacity:g}")
    return opacity


def _boxes(settings: PredictSettings, source: Source, runtime: Runtime):
    """The source of boxes, as a context manager."""
    max_hands = MAX_HANDS if settings.max_hands is None else settings.max_hands
    if max_hands < 1:
        raise ValueError(f"`max_hands` is at least 1, not {max_hands}")
    if settings.boxes is not None:
        return nullcontext(FileBoxes.read(settings.boxes))
    if settings.box is not None:
        return nullcontext(ConstantBox.parse(settings.box))
    if settings.detect:
        return HandDetector(
            settings.detector_model or DETECTOR_MODEL, video=not source.independent, max_hands=max_hands
        )
    name = settings.finder or (PICTURE_FINDER if source.independent else FINDER)
    if name == FINDER:
        return _followed_palms(settings, source, _palm_finder(settings, source, max_hands, runtime))
    if name.startswith(BESIDE):
        return _palms_and_finder(settings, source, _palm_finder(settings, source, max_hands, runtime), name)
    finder = _trained_finder(settings, source, name, max_hands=max_hands)
    if settings.every in (None, 1) or source.independent:
        return finder
    return FollowedHands(finder, settings.every)


def _palm_finder(settings: PredictSettings, source: Source, max_hands: int, runtime: Runtime) -> PalmFinder:
    """MediaPipe's networks. A single picture is worth the time; a video has other frames in which a hand may
    be found."""
    tiles = settings.tiles
    if tiles is None:
        tiles = PICTURE_TILES if source.independent else VIDEO_TILES
    return PalmFinder(
        runtime.palms(PalmDetector.load()),
        runtime.landmarks(HandLandmarkNetwork.load()),
        device=_device(settings),
        tiles=tiles,
        max_hands=max_hands,
    )


def _followed_palms(
    settings: PredictSettings, source: Source, finder: PalmFinder
) -> PalmFinder | FollowedPalms | FollowedHands:
    if source.independent:  # there is nothing to follow
        return finder
    follower = FOLLOWERS.get(settings.follow)
    if follower is None:
        raise ValueError(f"`follow` is {' or '.join(FOLLOWERS)}, not '{settings.follow}'")
    return follower(finder, LOOK_EVERY if settings.every is None else settings.every)


def _palms_and_finder(
    settings: PredictSettings, source: Source, palms: PalmFinder, name: str
) -> PalmsAndFinder | FollowedHands:
    """Both finders; in a video hands are followed by what is predicted of them."""
    options = {"max_hands": palms.max_hands, "threshold": LEAST_SCORE}
    trained = _trained_finder(settings, source, name.removeprefix(BESIDE), **options)
    looks = registry.load_network(NETWORK, HandPrediction)
    finder = PalmsAndFinder(palms, trained, looks, _device(settings))
    if source.independent:
        return finder
    return FollowedHands(finder, LOOK_EVERY if settings.every is None else settings.every)


def _trained_finder(settings: PredictSettings, source: Source, name: str, **options) -> HandFinder:
    tiles = settings.tiles
    if tiles is None:
        tiles = 2 if source.independent else 1
    return HandFinder.load(name, device=_device(settings), tiles=tiles, **options)


def _device(settings: PredictSettings) -> str:
    name = settings.device
    if settings.runtime == "onnx":
        if name == "cuda":
            raise ValueError("`runtime` onnx computes on the CPU: leave `device` out, or take torch")
        return "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "`device` is cuda, but this torch sees no GPU: leave it out, or install a CUDA build of torch"
        )
    return name or ("cuda" if torch.cuda.is_available() else "cpu")


def _opened(settings: PredictSettings) -> tuple[Source, Runtime]:
    """The input, and what computes; what is wrong with the latter is said first."""
    runtime = None if settings.runtime is None else open_runtime(settings.runtime)
    device = _device(settings)
    source = open_source(settings.input, settings.fps)
    return source, runtime or open_runtime(fitting(device, source.expected_count))


def _predictor(
    settings: PredictSettings, load: Callable | None, runtime: Runtime, max_gap: float
) -> StreamingPredictor:
    network = (
        load(settings.checkpoint) if load else registry.load_network(settings.checkpoint, HandPrediction)
    )
    if settings.runtime is not None or runtime.takes(network):
        network = runtime.network(network)
    device = _device(settings)
    batch_size = BATCH_SIZES[device] if settings.batch_size is None else settings.batch_size
    return StreamingPredictor(network, device=device, batch_size=batch_size, max_gap=max_gap)


def _overlay(settings: PredictSettings, source: Source, stage: Path):
    """What draws the hands over the input, as a context manager: of None where nothing is drawn."""
    if not settings.overlay:
        return nullcontext()
    if isinstance(source, VideoSource):
        return VideoOverlay(stage / "overlay.mp4", source.fps)
    if source.kind == "picture":
        return PictureOverlay(stage, "overlay")
    return PictureOverlay(stage / "overlay")


def _no_hand(source: Source, boxes: BoxSource, num_frames: int) -> str:
    where = f"'{source.path}'" if num_frames == 1 else f"any of the {num_frames} frames of '{source.path}'"
    if isinstance(boxes, FileBoxes | ConstantBox):
        return f"no hand in {where}"
    return f"no hand in {where}; if there is one, say where with `box` X0,Y0,X1,Y1 or `boxes` FILE"


def _write_meshes(folder: Path, estimates: list[HandEstimate], faces: np.ndarray) -> None:
    folder.mkdir(exist_ok=True)
    for estimate in estimates:
        name = f"{estimate.frame:06d}-hand{estimate.hand}.obj"
        export.write_obj(folder / name, estimate.vertices, side_faces(faces, estimate.is_right))
