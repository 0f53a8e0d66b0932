"""Hands at a picture's edge: what a network says of them when the picture ends there, beside what it says of
them in the whole picture.

Every look is by itself, without a history, in the same camera. A picture is cut at each of the four sides in
turn, a fifth of the box beyond the box ("cut -0.2", which leaves the hand whole), at the box and within it
("cut 0.2": a fifth of the box is lost); the crop, wider than the box, reaches beyond what is left.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from tqdm import tqdm

from tempohand.batch import HandPrediction
from tempohand.evaluation.metrics.errors import mpjpe_root, pa_mpjpe
from tempohand.inference.boxes import FileBoxes
from tempohand.inference.camera import CameraChoice
from tempohand.inference.compare import Opinion
from tempohand.inference.detector import MAX_HANDS
from tempohand.inference.palm_finder import PICTURE_TILES, PalmFinder
from tempohand.inference.predictor import HandInput, StreamingPredictor
from tempohand.inference.settings import NETWORK
from tempohand.inference.source import open_source
from tempohand.inference.verification import CloserLook
from tempohand.model.registry import load_network
from tempohand.skeleton import NUM_JOINTS

from .report import Report

CUTS = (-0.2, 0.0, 0.2)  # of the box's edge


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which pictures, where their hands are, and what else is known of them."""
    parser.add_argument("input", nargs="+", metavar="INPUT", help="pictures, folders of them or videos")
    parser.add_argument(
        "--boxes",
        metavar="FILE",
        help="of the one INPUT, and in an .npz another tool's landmarks (default: hands are found)",
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="look at every N-th frame (default %(default)s)"
    )
    parser.add_argument("--network", default=NETWORK, help="checkpoint or release (default %(default)s)")


def run(arguments: argparse.Namespace) -> Report:
    """Mean joint distances, mm: after the best similarity (PA) and relative to the wrist."""
    predictor = StreamingPredictor(load_network(arguments.network, HandPrediction))
    landmarks = Opinion.read(arguments.boxes) if (arguments.boxes or "").endswith(".npz") else None
    far: dict[str, dict[str, list[float]]] = {}
    for hand in tqdm(_hands(arguments, predictor), unit="hand"):
        whole = _joints(predictor, hand)
        for name, looks in [("whole", [hand]), *((f"cut {share:g}", _cuts(hand, share)) for share in CUTS)]:
            lists = far.setdefault(
                name, {"pa": [], "relative": []} | ({"landmarks": []} if landmarks else {})
            )
            for look in looks:
                joints = _joints(predictor, look)
                lists["pa"].append(_distance(pa_mpjpe, joints, whole))
                lists["relative"].append(_distance(mpjpe_root, joints, whole))
                if landmarks:
                    lists["landmarks"].append(
                        _distance(pa_mpjpe, joints, landmarks.of(np.array([hand.frame])).joints[0])
                    )
    numbers = {
        name: {"looks": len(lists["pa"]), **{what: float(np.mean(v)) for what, v in lists.items()}}
        for name, lists in far.items()
    }
    header = [
        "picture",
        "looks",
        "PA to the whole, mm",
        "root-relative to the whole, mm",
        *(["PA to the landmarks, mm"] if landmarks else []),
    ]
    rows = [
        [name, *(str(v) if isinstance(v, int) else f"{v:.2f}" for v in one.values())]
        for name, one in numbers.items()
    ]
    return Report(header, rows, {}, {"border": numbers})


def _hands(arguments: argparse.Namespace, predictor: StreamingPredictor) -> Iterator[HandInput]:
    """Every hand to look at: of the boxes file, or found as predict does it."""
    boxes = (
        FileBoxes.read(arguments.boxes)
        if arguments.boxes
        else PalmFinder(max_hands=MAX_HANDS, tiles=PICTURE_TILES)
    )
    closer = CloserLook.of(predictor)
    for path in arguments.input:
        source = open_source(path)
        boxes.check(source)
        for frame in source:
            if frame.index % arguments.every:
                continue
            focal, princpt = CameraChoice().camera(frame.size)
            for box in [found.box for found in boxes.detect(frame)]:
                hand = HandInput(
                    image=frame.image,
                    box=box,
                    time=0.0,
                    frame=frame.index,
                    starts=True,
                    focal=focal,
                    princpt=princpt,
                )
                yield replace(hand, is_right=closer.ask(hand) >= 0)


def _cuts(hand: HandInput, share: float) -> Iterator[HandInput]:
    """The hand in its picture without what lies beyond the box, and without `share` of the box, at each
    side."""
    x0, y0, x1, y1 = np.asarray(hand.box)
    height, width = hand.image.shape[:2]
    lost = share * (x1 - x0), share * (y1 - y0)
    left, top, right, bottom = (
        round(v) for v in (x0 + lost[0], y0 + lost[1], x1 - lost[0] + 1, y1 - lost[1] + 1)
    )
    for u, v, end_u, end_v in (
        (left, 0, width, height),
        (0, top, width, height),
        (0, 0, right, height),
        (0, 0, width, bottom),
    ):
        u, v = max(u, 0), max(v, 0)
        box = np.asarray(hand.box) - [u, v, u, v]
        princpt = np.asarray(hand.princpt) - [u, v]
        yield replace(
            hand, image=np.ascontiguousarray(hand.image[v:end_v, u:end_u]), box=box, princpt=princpt
        )


def _joints(predictor: StreamingPredictor, hand: HandInput) -> Float[np.ndarray, "21 3"]:
    return predictor.push_all([hand])[0].joints


def _distance(measure, ours: Float[np.ndarray, "21 3"], other: Float[np.ndarray, "21 3"]) -> float:
    ours, other = (torch.from_numpy(np.asarray(joints, np.float64))[None] for joints in (ours, other))
    return float(measure(ours, other, torch.ones(1, NUM_JOINTS, dtype=torch.bool)).value)
