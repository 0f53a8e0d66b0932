"""Real pictures of hands that nobody labelled, under the answers of a teacher network
(assemble/label_pictures.py) and the open hand fitted to these.

    <source>/<source>.tar       pictures
    <source>/files.csv          file, group, boxes_xyxy (px, boxes apart by ";", empty: none), and others

One row a picture; `group` is a person, a scene or a session. A source is any folder with these two files.
"""

import csv
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from tempohand.data.convert.frame import (
    Camera,
    Converter,
    Frame,
    HandLabels,
    Recording,
    Unit,
    Unusable,
    batches,
)
from tempohand.data.convert.mano import ManoParameters
from tempohand.data.convert.read import need, read_npz
from tempohand.hand.fit import FittedHands, fit_landmarks
from tempohand.hand.layer import HandLayer
from tempohand.skeleton import PRIOR_EXTENT_MM

LIST = "files.csv"
# What a file of answers holds of each hand; of a second round.
ANSWERS = ("picture", "size", "joints2d", "joints", "spread", "presence", "side")
SECOND_ANSWERS = ("picture", "joints2d", "joints")
# Sources of which neighbouring pictures are apart in people or scenes, so that a part can be held out; one
# person's, or those whose order says nothing, are for training alone.
HELD_OUT_SOURCES = ("asl_digits", "gestures_lebanon", "rps_kaust")
HELD_OUT = 1 / 8
# Standard deviations that the fit takes of the teacher's answers: pixels as a share of the hand's box, joints
# in space, mm (chosen on drawn hands: docs/log.md).
PIXEL_NOISE = 0.025
NOISE_MM = 10.0
# Of the mean of that fit and a second round's answers, which are of the hand model already.
SECOND_PIXEL_NOISE = 0.0125
SECOND_NOISE_MM = 5.0
LEAST_PRESENCE = 0.8
LEAST_SIDE = 0.75  # probability of the side that is taken
MOST_RESIDUAL = 0.05  # of the hand's box: mean distance of the fitted joints from the teacher's
# Pictures are crops of photographs that are not known: a hand is at least so far away (mm) if its box is as
# wide as hands' boxes are on average, or a camera as wide as its picture's diagonal saw it.
USUAL_DISTANCE = 500.0


@dataclass(frozen=True)
class ListedPicture:
    """A picture of a source: its name in the tar, the group that must not be split, and the boxes of its
    hands, xyxy px; none: it is a picture of one hand."""

    name: str
    group: str
    boxes: Float[np.ndarray, "n 4"]


def listed_pictures(source: Path) -> list[ListedPicture]:
    """What a source's list names. Raises ValueError for a row that is none."""
    with open(source / LIST, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        return [ListedPicture(row["file"], row["group"], _boxes(row["boxes_xyxy"])) for row in rows]
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"'{source / LIST}' is no list of pictures (file, group, boxes_xyxy): {error}"
        ) from error


def _boxes(text: str) -> Float[np.ndarray, "n 4"]:
    values = [[float(value) for value in box.split()] for box in text.split(";") if box.strip()]
    return np.array(values, float).reshape(-1, 4)


def sources(root: Path) -> list[Path]:
    """The folders below `root` that are sources, by name."""
    return sorted(path.parent for path in root.glob(f"*/{LIST}"))


def archive(source: Path) -> Path:
    """The tar of a source's pictures. Raises FileNotFoundError where it is missing."""
    return need(source / f"{source.name}.tar", f"the pictures that {source.name}/{LIST} names")


class RealHands(Converter):
    """Splits: train, val, and <source>_train, <source>_val of every source; val has the last eighth of the
    sources whose order keeps people or scenes apart.

    labels: folder of the teacher's answers. second: folder of a trained network's answers to the same hands;
    the hand is then fitted to the mean of both. spread: hands on whose joints the teacher's crops disagree by
    more than so many mm are left out.
    """

    name = "real_hands"
    title = "Real hands under a teacher's labels"
    licence = "each source's own (LICENSE beside it)"
    url = "docs/datasets.md, Real hands"
    missing = f"has no <source>/{LIST}"
    box_source = "bounds of the fitted hand's joints"

    def __init__(
        self,
        root: Path,
        hands=None,
        *,
        labels: str | None = None,
        second: str | None = None,
        spread: float = 10.0,
    ):
        super().__init__(root, hands)
        if labels is None:
            raise ValueError("options.labels: the folder of a teacher's answers (script/prepare.py makes it)")
        self.labels, self.spread = Path(labels), spread
        self.second = second and Path(second)

    @property
    def parameters_of(self) -> str:
        """The hand model that is fitted."""
        return "mano" if self.hands else "open"

    @cached_property
    def layer(self) -> HandLayer:
        """The right hand's."""
        return self.hands.layers[True].float() if self.hands else HandLayer()

    def find_units(self) -> Iterator[Unit]:
        for source in sources(self.root):
            pictures = listed_pictures(source)
            for split, part in zip(("train", "val"), _apart(pictures, source.name)):
                for few in batches(part):
                    key = f"{source.name}/{few[0].name}"
                    yield Unit(key, len(few), (split, f"{source.name}_{split}"), (source.name, few))

    def open(self, unit: Unit) -> Recording:
        """Numbers are those of the teacher's answers."""
        source, pictures = unit.payload
        answers = read_npz(self.labels / f"{source}.npz", ANSWERS)
        groups = {picture.name: picture.group for picture in pictures}
        numbers = np.flatnonzero(np.isin(answers["picture"], list(groups)))
        answers = {name: values[numbers] for name, values in answers.items()}
        fitted, cameras = self._fit(answers)
        if self.second:
            second = self._second(source, answers, numbers)
            answers, fitted = self._fit_again(answers, second, fitted, cameras)
        with tarfile.open(archive(self.root / source)) as tar:
            content = {name: tar.extractfile(name).read() for name in groups}

        def frame(number: int) -> Frame:
            place = int(np.searchsorted(numbers, number))
            name = str(answers["picture"][place])
            hand = self._hand({key: values[place] for key, values in answers.items()}, fitted, place)
            sequence = f"{source}/{name}/{number}"
            return Frame(content[name], sequence, f"{source}/{groups[name]}", number, [hand], cameras[place])

        return Recording(numbers.tolist(), frame)

    def _second(self, source: str, answers: dict, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """The second round's answers to the same hands. Raises ValueError where they are to others."""
        path = self.second / f"{source}.npz"
        second = read_npz(path, SECOND_ANSWERS)
        chosen = {name: second[name][numbers] for name in SECOND_ANSWERS if numbers.max() < len(second[name])}
        if len(chosen) < len(SECOND_ANSWERS) or (chosen["picture"] != answers["picture"]).any():
            raise ValueError(
                f"'{path}' answers to other hands than '{self.labels}': remove it and make it anew"
            )
        return chosen

    def _fit(self, answers: dict[str, np.ndarray]) -> tuple[FittedHands, list[Camera]]:
        """The hands that the answers mean, and the cameras that are taken for those that saw them."""
        focal, princpt = assumed_camera(answers["joints2d"], answers["size"])
        fitted = self._fit_by(answers, focal, princpt, PIXEL_NOISE, NOISE_MM)
        return fitted, [Camera(*both, known=False) for both in zip(focal, princpt)]

    def _fit_again(
        self, answers: dict, second: dict, fitted: FittedHands, cameras: list[Camera]
    ) -> tuple[dict[str, np.ndarray], FittedHands]:
        """The hands, and the answers that they are fitted to: means of the fitted hands and of the second
        round's answers to them."""
        joints = fitted.joints.double().numpy()
        pixels = np.stack([camera.project(hand) for camera, hand in zip(cameras, joints)])
        means = {
            "joints2d": (pixels + second["joints2d"]) / 2,
            "joints": (joints - joints.mean(axis=1, keepdims=True) + second["joints"]) / 2,
        }
        answers = answers | {name: value.astype(np.float32) for name, value in means.items()}
        camera = (np.stack([getattr(one, name) for one in cameras]) for name in ("focal", "princpt"))
        return answers, self._fit_by(answers, *camera, SECOND_PIXEL_NOISE, SECOND_NOISE_MM)

    def _fit_by(
        self, answers: dict, focal: np.ndarray, princpt: np.ndarray, pixel_noise: float, noise: float
    ) -> FittedHands:
        """noise: standard deviations, of pixels as a share of the hand's box, and in space, mm."""
        values = (answers["joints2d"], answers["joints"], focal, princpt)
        return fit_landmarks(
            self.layer,
            *(torch.from_numpy(value).float() for value in values),
            is_right=torch.from_numpy(answers["side"] > 0.5),
            noise=torch.from_numpy(pixel_noise * _edge(answers["joints2d"])).float(),
            relative_noise=noise,
        )

    def _hand(self, answer: dict[str, Any], fitted: FittedHands, place: int) -> HandLabels:
        """One fitted hand. Raises Unusable where the teacher is not sure, or the fit is off its answer."""
        if not answer["presence"] > LEAST_PRESENCE:
            raise Unusable("no hand there", f"the teacher's presence is {answer['presence']:.2f}")
        if not abs(answer["side"] - 0.5) > LEAST_SIDE - 0.5:
            raise Unusable("right or left is not clear", f"right with a probability of {answer['side']:.2f}")
        if not answer["spread"].mean() < self.spread:
            raise Unusable("the teacher's crops disagree", f"by {answer['spread'].mean():.1f} mm")
        pose, shape, wrist, joints, residual = (field[place].double().numpy() for field in fitted[:5])
        off = residual.mean() / _edge(answer["joints2d"])
        if not off < MOST_RESIDUAL:
            raise Unusable("the fitted hand is off", f"by {off:.1%} of its box")
        return HandLabels(bool(answer["side"] > 0.5), joints, parameters=ManoParameters(pose, shape, wrist))


def assumed_camera(
    joints2d: Float[np.ndarray, "n 21 2"], size: Float[np.ndarray, "n 2"]
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 2"]]:
    """(focal, princpt), px, taken for the camera that saw a hand in a picture of (width, height)."""
    focal = np.maximum(np.linalg.norm(size, axis=1), _edge(joints2d) * USUAL_DISTANCE / PRIOR_EXTENT_MM)
    return np.stack([focal, focal], axis=1), (size - 1) / 2


def _edge(joints2d: Float[np.ndarray, "*n 21 2"]) -> Float[np.ndarray, "*n"]:
    """The longer edge of the joints' bounds."""
    return np.asarray(np.ptp(joints2d, axis=-2).max(axis=-1))


def _apart(pictures: list[ListedPicture], source: str) -> tuple[list[ListedPicture], list[ListedPicture]]:
    """For training, and held out: from where a group begins on."""
    first = len(pictures)
    if source in HELD_OUT_SOURCES:
        first = round(len(pictures) * (1 - HELD_OUT))
        while first < len(pictures) and pictures[first].group == pictures[first - 1].group:
            first += 1
    groups = {picture.group for picture in pictures[first:]}
    return [picture for picture in pictures[:first] if picture.group not in groups], pictures[first:]
