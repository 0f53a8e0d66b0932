"""Finding hands: how many of a table's hands are found, how well their boxes fit, whether their sides are
told, and how long it takes.

The table has one labelled hand a picture: film it with person.both_probability=0, or the other hand counts as
found where nothing is. Every frame is looked at by itself; a sequence's side is what its frames' log odds add
up to. Boxes of the finder, and those that the network makes of them: the bounds of the joints that it sees
there, which is what following a hand goes on with. "Confirmed" boxes are those that predict takes: where the
network sees joints, too. A table's pictures are square; with --wide their upper and lower parts are cut off,
since what is filmed is wide, and the finder sees it in a square.
"""

import argparse
import time

import numpy as np
import torch
from jaxtyping import Float
from tqdm import tqdm

from tempohand.batch import HandPrediction
from tempohand.boxes import intersection_over_union
from tempohand.data.table import FrameTable
from tempohand.evaluation.validation import FOUND
from tempohand.inference.detector import MAX_HANDS
from tempohand.inference.finder import HandFinder
from tempohand.inference.predictor import HandInput, StreamingPredictor
from tempohand.inference.settings import FINDER, NETWORK
from tempohand.inference.source import Frame
from tempohand.inference.verification import LEAST_CERTAINTY, CloserLook
from tempohand.model.registry import load_network

from .report import Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which networks, and on what."""
    parser.add_argument(
        "--data", required=True, help="frame table, as of tempohand prepare --config-name=synthetic-find"
    )
    parser.add_argument("--wide", action="store_true", help="cut the pictures to 16:9")
    parser.add_argument("--split", default="test", help="default %(default)s")
    parser.add_argument("--finder", default=FINDER, help="checkpoint or release (default %(default)s)")
    parser.add_argument(
        "--network", default=NETWORK, help="checkpoint or release that tells sides (default %(default)s)"
    )


def run(arguments: argparse.Namespace) -> Report:
    """Shares of the labelled hands whose centre is in the picture; milliseconds a picture."""
    table = FrameTable(arguments.data, arguments.split)
    finder = HandFinder.load(arguments.finder, max_hands=MAX_HANDS)
    predictor = StreamingPredictor(load_network(arguments.network, HandPrediction))
    closer = CloserLook.of(predictor)
    labels, starts = table.labels(np.arange(len(table))), table.sequence_starts()
    overlaps, found_at_all, refined, told, taken, false_positives, wrong = [], [], [], [], [], 0, 0
    for row in tqdm(range(len(table)), unit="picture"):
        image, is_right = table.image(row), bool(labels["is_right"][row])
        cut = round(len(image) * (1 - 9 / 16) / 2) if arguments.wide else 0
        image, true = (
            np.ascontiguousarray(image[cut : len(image) - cut]),
            labels["box"][row] - [0, cut, 0, cut],
        )
        camera = {"focal": labels["focal"][row], "princpt": labels["princpt"][row] - [0, cut]}
        start = time.perf_counter()
        boxes = [found.box for found in finder.detect(Frame(row, 0.0, image, ""))]
        taken.append(time.perf_counter() - start)
        false_positives += sum(_overlap(box, true) < FOUND for box in boxes)
        looks = {
            tuple(box): closer.twice(HandInput(image=image, box=box, time=0.0, **camera))[0] for box in boxes
        }
        confirmed = [box for box in boxes if looks[tuple(box)].certainty >= LEAST_CERTAINTY]
        fits = [_overlap(box, true) for box in confirmed]
        wrong += sum(fit < FOUND for fit in fits)
        middle = (true[:2] + true[2:]) / 2
        if (middle < 0).any() or (middle > np.array([image.shape[1], image.shape[0]]) - 1).any():
            continue
        found_at_all.append(max((_overlap(box, true) for box in boxes), default=0.0))
        overlaps.append(max(fits, default=0.0))
        if overlaps[-1] < FOUND:
            continue
        box = confirmed[int(np.argmax(fits))]
        told.append((starts[row], looks[tuple(box)].right_logit * (1 if is_right else -1)))
        seen = predictor.push(image, box, 0.0, hand=row, is_right=is_right, **camera).joints2d
        predictor.reset(row)
        refined.append(_overlap(np.concatenate([seen.min(0), seen.max(0)]), true))
    found = np.array(overlaps) >= FOUND
    logits = np.array([logit for _, logit in told])
    sequence = np.array([start for start, _ in told])
    together = np.array([logits[sequence == start].sum() for start in np.unique(sequence)])
    numbers = {
        "hands": len(overlaps),
        "found": float((np.array(found_at_all) >= FOUND).mean()),
        "false_positives_a_picture": false_positives / len(table),
        "found_and_confirmed": float(found.mean()),
        "false_positives_confirmed": wrong / len(table),
        "overlap_of_confirmed": float(np.array(overlaps)[found].mean()),
        "overlap_seen_by_network": float(np.mean(refined)),
        "wrong_side_of_frames": float((logits < 0).mean()),
        "wrong_side_of_sequences": float((together < 0).mean()),
        "finder_ms": 1e3 * float(np.median(taken)),
    }
    rows = [
        [name.replace("_", " "), f"{value:.3f}" if isinstance(value, float) else str(value)]
        for name, value in numbers.items()
    ]
    return Report(["what", "measured"], rows, {}, {"find": numbers})


def _overlap(first: Float[np.ndarray, "4"], second: Float[np.ndarray, "4"]) -> float:
    return float(
        intersection_over_union(*(torch.from_numpy(np.asarray(box, np.float64)) for box in (first, second)))
    )
