"""Finding hands: how many of a table's hands are found, how well their boxes fit, whether their sides are
right, and how long it takes.

The table has one labelled hand a picture: film it with person.both_probability=0, or the other hand counts as
found where nothing is. Every frame is looked at by itself; a sequence's side is what its frames' log odds add
up to. Boxes of the finder, and those that the network makes of them: the bounds of the joints that it sees
there, which is what following a hand goes on with. "Confirmed" boxes are those that predict takes: where the
network sees joints, too. A table's pictures are square; with --wide their upper and lower parts are cut off,
since what is filmed is wide, and the finder sees it in a square.
"""

import argparse
import time
from dataclasses import dataclass, field

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
from tempohand.inference.source import SourceFrame
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


@dataclass
class Tally:
    """What is counted over a table's pictures. Overlaps are of the labelled hands whose centre is in the
    picture: with the finder's best box, with the best confirmed one, and with the one that the network makes
    of that."""

    found: list[float] = field(default_factory=list)
    confirmed: list[float] = field(default_factory=list)
    refined: list[float] = field(default_factory=list)
    false_positives: int = 0  # boxes of the finder without a hand
    false_confirmed: int = 0
    # Of the confirmed hands: the row at which the sequence begins, log odds of the labelled side.
    sequences: list[int] = field(default_factory=list)
    side_logits: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def numbers(self, pictures: int) -> dict[str, int | float]:
        """The benchmark's figures, by their keys in the file."""
        confirmed = np.array(self.confirmed)
        is_confirmed = confirmed >= FOUND
        logits = np.array(self.side_logits)
        sequences = np.array(self.sequences)
        of_sequences = np.array([logits[sequences == start].sum() for start in np.unique(sequences)])
        return {
            "hands": len(self.found),
            "found": float((np.array(self.found) >= FOUND).mean()),
            "false_positives_a_picture": self.false_positives / pictures,
            "found_and_confirmed": float(is_confirmed.mean()),
            "false_positives_confirmed": self.false_confirmed / pictures,
            "overlap_of_confirmed": float(confirmed[is_confirmed].mean()),
            "overlap_seen_by_network": float(np.mean(self.refined)),
            "wrong_side_of_frames": float((logits < 0).mean()),
            "wrong_side_of_sequences": float((of_sequences < 0).mean()),
            "finder_ms": 1e3 * float(np.median(self.seconds)),
        }


def run(arguments: argparse.Namespace) -> Report:
    """Shares of the labelled hands whose centre is in the picture; milliseconds a picture."""
    table = FrameTable(arguments.data, arguments.split)
    finder = HandFinder.load(arguments.finder, max_hands=MAX_HANDS)
    predictor = StreamingPredictor(load_network(arguments.network, HandPrediction))
    closer = CloserLook.of(predictor)
    labels = table.labels(np.arange(len(table)))
    starts = table.sequence_starts()
    tally = Tally()
    for row in tqdm(range(len(table)), unit="picture"):
        image = table.image(row)
        cut = round(len(image) * (1 - 9 / 16) / 2) if arguments.wide else 0
        image = np.ascontiguousarray(image[cut : len(image) - cut])
        true = labels["box"][row] - [0, cut, 0, cut]
        camera = {"focal": labels["focal"][row], "princpt": labels["princpt"][row] - [0, cut]}
        start = time.perf_counter()
        boxes = [found.box for found in finder.detect(SourceFrame(row, 0.0, image, ""))]
        tally.seconds.append(time.perf_counter() - start)
        overlaps = [_overlap(box, true) for box in boxes]
        looks = [closer.look_twice(HandInput(image=image, box=box, time=0.0, **camera))[0] for box in boxes]
        confirmed = [number for number, look in enumerate(looks) if look.certainty >= LEAST_CERTAINTY]
        tally.false_positives += sum(overlap < FOUND for overlap in overlaps)
        tally.false_confirmed += sum(overlaps[number] < FOUND for number in confirmed)
        middle = (true[:2] + true[2:]) / 2
        if (middle < 0).any() or (middle > np.array([image.shape[1], image.shape[0]]) - 1).any():
            continue
        tally.found.append(max(overlaps, default=0.0))
        tally.confirmed.append(max((overlaps[number] for number in confirmed), default=0.0))
        if tally.confirmed[-1] < FOUND:
            continue
        best = max(confirmed, key=overlaps.__getitem__)
        is_right = bool(labels["is_right"][row])
        tally.sequences.append(int(starts[row]))
        tally.side_logits.append(looks[best].right_logit * (1 if is_right else -1))
        seen = predictor.push(image, boxes[best], 0.0, hand=row, is_right=is_right, **camera).joints2d
        predictor.reset(row)
        tally.refined.append(_overlap(np.concatenate([seen.min(0), seen.max(0)]), true))
    numbers = tally.numbers(len(table))
    rows = [
        [name.replace("_", " "), f"{value:.3f}" if isinstance(value, float) else str(value)]
        for name, value in numbers.items()
    ]
    return Report(["what", "measured"], rows, {}, {"find": numbers})


def _overlap(first: Float[np.ndarray, "4"], second: Float[np.ndarray, "4"]) -> float:
    return float(
        intersection_over_union(*(torch.from_numpy(np.asarray(box, np.float64)) for box in (first, second)))
    )
