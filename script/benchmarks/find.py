"""Finding hands: how many are found at so many false boxes a picture, by their size, whether their sides are
right, and how long it takes.

Each picture is looked at by itself, by each finder as `tempohand predict` uses it: the palms' boxes have been
looked at by the landmark network, a trained finder's are by the network that predicts hands (its certainty is
then the score). Recall is given for the boxes that predict takes, and at FALSE_BOXES a picture by choosing
the score. A table has one labelled hand a picture: film it with person.both_probability=0, or the other hand
counts as found where nothing is. Photographs (--photographs) are tar files with a files.csv, whose
boxes_xyxy bound the skin of all hands in a picture. With --smaller N a picture lies somewhere in one N times
as wide, 16:9, of its own blurred colours.
"""

import argparse
import csv
import io
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from tqdm import tqdm

from tempohand.batch import HandPrediction
from tempohand.boxes import intersection_over_union
from tempohand.data.table import FrameTable
from tempohand.evaluation.validation import FOUND
from tempohand.inference.detector import MAX_HANDS
from tempohand.inference.finder import HandFinder
from tempohand.inference.palm_finder import PRESENCE, PalmFinder
from tempohand.inference.palms_and_finder import LEAST_SCORE, PalmsAndFinder
from tempohand.inference.predictor import HandInput, StreamingPredictor
from tempohand.inference.settings import BESIDE, FINDER, NETWORK, PICTURE_FINDER
from tempohand.inference.source import SourceFrame
from tempohand.inference.verification import LEAST_CERTAINTY, CloserLook
from tempohand.media.pictures import decode_picture
from tempohand.model.registry import load_network

from .report import Report

FALSE_BOXES = 0.05
FOUND_SKIN = 0.4  # overlap of a box around joints with one around skin
SIZES = (0, 1 / 20, 1 / 12, 1 / 8, 1 / 4, 1 / 2, np.inf)  # longer edge of a hand's box over the picture's


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which finders, and on what."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", help="frame table, as of tempohand prepare --config-name=synthetic-find")
    source.add_argument("--photographs", nargs="+", metavar="TAR", help="pictures with files.csv")
    parser.add_argument("--split", default="test", help="default %(default)s")
    parser.add_argument("--every", type=int, default=1, help="every so many-th picture")
    parser.add_argument("--smaller", type=float, default=1.0, metavar="N", help="in pictures N times as wide")
    parser.add_argument(
        "--finder",
        nargs="+",
        default=[f"{FINDER}:1", f"{FINDER}:3", f"{PICTURE_FINDER}:2"],
        metavar="NAME:TILES",
        help="finders as predict's, each with its tiles (default %(default)s)",
    )
    parser.add_argument(
        "--network",
        default=NETWORK,
        help="checkpoint or release that looks again at a trained finder's boxes",
    )


@dataclass(frozen=True)
class Example:
    """A picture with the boxes of its hands, xyxy px. is_right: of all; None where that is not known."""

    image: UInt8[np.ndarray, "h w 3"]
    boxes: Float[np.ndarray, "n 4"]
    is_right: bool | None = None


@dataclass(frozen=True)
class Found:
    """A box with its score, and the probability that it is a right hand's."""

    box: Float[np.ndarray, "4"]
    score: float
    side: float


@dataclass
class Tally:
    """What is counted over pictures. taken: the score from which on predict takes a box."""

    taken: float
    least: float  # overlap from which on a hand is found
    pictures: int = 0
    sizes: list[float] = field(default_factory=list)  # of each hand
    scores: list[float] = field(default_factory=list)  # of the box that shows it; -inf: none does
    sides: list[float] = field(default_factory=list)  # probability of the hand's side; nan: not known
    false: list[float] = field(default_factory=list)  # scores of boxes that show none
    seconds: list[float] = field(default_factory=list)

    def add(self, example: Example, found: list[Found], seconds: float) -> None:
        """A picture. Boxes take hands in the order of their scores, each the one that it overlaps most."""
        self.pictures += 1
        self.seconds.append(seconds)
        free = list(range(len(example.boxes)))
        shown: dict[int, Found] = {}
        for one in sorted(found, key=lambda one: -one.score):
            best = max(free, key=lambda hand: overlap(one.box, example.boxes[hand]), default=None)
            if best is not None and overlap(one.box, example.boxes[best]) >= self.least:
                shown[best] = one
                free.remove(best)
            else:
                self.false.append(one.score)
        for hand, box in enumerate(example.boxes):
            self.sizes.append(float((box[2:] - box[:2]).max() / max(example.image.shape[:2])))
            self.scores.append(shown[hand].score if hand in shown else -np.inf)
            side = shown[hand].side if hand in shown and example.is_right is not None else np.nan
            self.sides.append(1 - side if example.is_right is False else side)

    def numbers(self) -> dict[str, int | float]:
        """The benchmark's figures, by their keys in the file."""
        scores, sizes, false = (np.array(values) for values in (self.scores, self.sizes, self.false))
        allowed = np.sort(false)[::-1][int(FALSE_BOXES * self.pictures) :]
        at_limit = scores > (allowed[0] if len(allowed) else -np.inf)
        taken = scores >= self.taken
        sides = np.array(self.sides)[taken & np.isfinite(self.sides)]
        numbers = {
            "hands": len(scores),
            "found": float(taken.mean()),
            "false_boxes_a_picture": float((false >= self.taken).sum() / self.pictures),
            f"found_at_{FALSE_BOXES:g}": float((at_limit & np.isfinite(scores)).mean()),
            "wrong_side_of_frames": float((sides < 0.5).mean()) if len(sides) else np.nan,
            "sure_and_wrong_side": float((sides < 0.05).mean()) if len(sides) else np.nan,
            "cpu_ms": 1e3 * float(np.median(self.seconds)),
        }
        for low, high in zip(SIZES, SIZES[1:]):
            inside = (sizes >= low) & (sizes < high)
            name = f"found_at_{FALSE_BOXES:g}_from_{low:.3f}"
            numbers[name] = float(at_limit[inside].mean()) if inside.any() else np.nan
            numbers[f"hands_from_{low:.3f}"] = int(inside.sum())
        return numbers


def run(arguments: argparse.Namespace) -> Report:
    """Shares of the hands whose centre is in the picture; milliseconds of processor time a picture."""
    network = load_network(arguments.network, HandPrediction)
    finders = {name: _finder(name, network) for name in arguments.finder}
    least = FOUND if arguments.data else FOUND_SKIN
    tallies = {name: Tally(taken, least) for name, (_, taken) in finders.items()}
    for example in tqdm(_examples(arguments), unit="picture"):
        for name, (find, _) in finders.items():
            start = time.thread_time()
            found = find(example.image)
            tallies[name].add(example, found, time.thread_time() - start)
    numbers = {name: tally.numbers() for name, tally in tallies.items()}
    keys = next(iter(numbers.values()))
    rows = [[key.replace("_", " "), *(_shown(numbers[name][key]) for name in numbers)] for key in keys]
    return Report(["what", *numbers], rows, {}, {"find": numbers})


def overlap(first: Float[np.ndarray, "4"], second: Float[np.ndarray, "4"]) -> float:
    """Intersection over union."""
    boxes = (torch.from_numpy(np.asarray(box, np.float64)) for box in (first, second))
    return float(intersection_over_union(*boxes))


def smaller(example: Example, times: float, rng: np.random.Generator) -> Example:
    """The example somewhere in a picture `times` as wide, 16:9, whose ground is its own colours, blurred."""
    height, width = example.image.shape[:2]
    wide = round(times * max(height, width))
    tall = round(wide * 9 / 16)
    ground = cv2.GaussianBlur(cv2.resize(example.image, (wide, tall)), (0, 0), wide / 24)
    if height > tall:
        raise ValueError(f"a picture of {width} x {height} px does not fit: `smaller` has to be larger")
    x, y = int(rng.integers(0, wide - width + 1)), int(rng.integers(0, tall - height + 1))
    ground[y : y + height, x : x + width] = example.image
    return Example(ground, example.boxes + [x, y, x, y], example.is_right)


def _examples(arguments: argparse.Namespace) -> Iterator[Example]:
    rng = np.random.default_rng(0)
    every = _rows(arguments) if arguments.data else _photographs(arguments.photographs)
    for example in islice(every, 0, None, arguments.every):
        size = np.array(example.image.shape[1::-1])
        middle = (example.boxes[:, :2] + example.boxes[:, 2:]) / 2
        inside = ((middle >= 0) & (middle <= size - 1)).all(axis=1)
        one = Example(example.image, example.boxes[inside], example.is_right)
        yield one if arguments.smaller == 1 else smaller(one, arguments.smaller, rng)


def _rows(arguments: argparse.Namespace) -> Iterator[Example]:
    table = FrameTable(arguments.data, arguments.split)
    labels = table.labels(np.arange(len(table)))
    for row in range(len(table)):
        yield Example(table.image(row), labels["box"][row][None], bool(labels["is_right"][row]))


def _photographs(files: list[str]) -> Iterator[Example]:
    for file in files:
        with tarfile.open(file) as tar:
            text = io.TextIOWrapper(tar.extractfile("files.csv"), encoding="utf-8")
            for row in csv.DictReader(text):
                boxes = [[float(edge) for edge in box.split()] for box in row["boxes_xyxy"].split(";") if box]
                image = decode_picture(tar.extractfile(row["file"]).read())
                yield Example(image, np.array(boxes).reshape(-1, 4))


def _finder(name: str, network) -> tuple[Callable[[np.ndarray], list[Found]], float]:
    """What finds hands, and the score from which on predict takes them."""
    kind, _, tiles = name.partition(":")
    options = {"tiles": int(tiles or 1), "max_hands": MAX_HANDS}
    if kind == FINDER or kind.startswith(BESIDE):
        palms = PalmFinder(**options)
        both = None
        if kind != FINDER:
            trained = HandFinder.load(kind.removeprefix(BESIDE), threshold=LEAST_SCORE, **options)
            both = PalmsAndFinder(palms, trained, network)

        def find(image: np.ndarray) -> list[Found]:
            found = palms.find(image)
            values = zip(found.box.numpy(), found.presence.tolist(), found.side.tolist())
            boxes = [Found(*each) for each in values]
            if both is not None:  # which are taken from the same number on, and leave sides to PoseNet
                known = [one.box for one in boxes if one.score >= PRESENCE]
                boxes += [Found(*each, np.nan) for each in both.others(image, known)]
            return boxes

        return find, PRESENCE
    finder = HandFinder.load(kind, **options)
    closer = CloserLook.of(StreamingPredictor(network))

    def find_and_look(image: np.ndarray) -> list[Found]:
        found = []
        for one in finder.detect(SourceFrame(0, 0.0, image, "")):
            look = closer.look_twice(HandInput(image=image, box=one.box, time=0.0))[0]
            found.append(Found(one.box, look.certainty, 1 / (1 + np.exp(-look.right_logit))))
        return found

    return find_and_look, LEAST_CERTAINTY


def _shown(value: int | float) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
