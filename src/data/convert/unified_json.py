"""What `tempohand export-json` writes: one annotations.json beside pictures of right hands, joints in the
order of Boukhayma et al. (CVPR 2019).

    annotations.json           about (of whose hand model the parameters are), splits: {split: [entry, ...]}
    <split>/<row>.jpg, <split>/<row>_mask.png

docs/data.md ("A table as JSON") has an entry's keys; `image` and `joints2d` are enough. A hand that was
mirrored into a right one becomes the left one that it was. Orders of joints that others use (OpenPose's of
Panoptic and MPII, STB's) are recognised and refused.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from tempohand.data.convert.frame import (
    PER_UNIT,
    Camera,
    Converter,
    Frame,
    HandLabels,
    Recording,
    Unit,
    Unusable,
)
from tempohand.data.convert.joint_order import TITLES, check_order
from tempohand.data.convert.mano import ManoParameters
from tempohand.data.convert.orders import HAND3D_TO_OP
from tempohand.data.convert.read import DAMAGE, need, read_json, read_picture, read_png
from tempohand.geometry import mirror_pose
from tempohand.skeleton import NUM_JOINTS

JSON_NAME = "annotations.json"
REMEDY = "write it again with tempohand export-json"
LOOKED_AT = 1000  # hands that the order of joints is told by
SIDES = ("/right", "/left")  # which a table ends its sequences' names with


class JsonHand(NamedTuple):
    """A hand of the file, and where it stands in it."""

    split: str
    place: int
    values: dict[str, Any]

    @property
    def sequence(self) -> str:
        """Without the hand's side, which a table adds: of an entry without one its picture's name."""
        name = self.values.get("sequence", self.values["image"])
        return name[: name.rindex("/")] if name.endswith(SIDES) else name


class UnifiedJson(Converter):
    """Splits: those of the file."""

    name = "unified_json"
    title = "a table as JSON (tempohand export-json)"
    licence = "that of the data it was made of"
    url = "docs/data.md, A table as JSON"
    missing = f"has an {JSON_NAME} without a single hand: {REMEDY}"
    box_source = "as the file says; without that the bounds of the known joints"

    @cached_property
    def content(self) -> dict[str, Any]:
        """The file. Raises FileNotFoundError, or ValueError for another one."""
        path = need(self.root / JSON_NAME, f"root= is a folder that {self.title} wrote")
        content = read_json(path, remedy=REMEDY)
        splits = content.get("splits") if isinstance(content, dict) else None
        fine = isinstance(splits, dict) and all(isinstance(part, list) for part in splits.values())
        if not fine or not all(isinstance(values, dict) for part in splits.values() for values in part):
            raise ValueError(f"'{path}' has no splits with a list of hands each: {REMEDY}")
        return content

    @property
    def parameters_of(self) -> str | None:
        """The hand model that the file's parameters are of."""
        return (self.content.get("about") or {}).get("hand_model")

    def find_units(self) -> Iterator[Unit]:
        entries = {
            split: [JsonHand(split, place, values) for place, values in enumerate(part)]
            for split, part in self.content["splits"].items()
        }
        self._check_order([entry for part in entries.values() for entry in part])
        for split, part in entries.items():
            for some in _whole_sequences(part):
                digest = hashlib.sha256(json.dumps([entry.values for entry in some]).encode()).hexdigest()
                # other labels, another table
                yield Unit(f"{split}/{some[0].place:06d}/{digest[:8]}", len(some), (split,), some)

    def _check_order(self, entries: list[JsonHand]) -> None:
        """Raises ValueError where the joints clearly lie in another order."""
        for name, dim in (("joints3d", 3), ("joints2d", 2)):
            known = [points for entry in entries[:LOOKED_AT] for points in _readable(entry, name, dim)]
            wrong = check_order(np.stack(known), "hand3d") if known else None
            if wrong:
                raise ValueError(
                    f"{name} in '{self.root / JSON_NAME}' lie in another order, {TITLES[wrong]}, where "
                    f"{TITLES['hand3d']} is wanted: {REMEDY}, or put them in that order"
                )

    def open(self, unit: Unit) -> Recording:
        entries = {entry.place: entry for entry in unit.payload}
        return Recording(list(entries), lambda place: self._frame(entries[place]))

    def _frame(self, entry: JsonHand) -> Frame:
        values, mirrored = entry.values, bool(entry.values.get("mirrored"))
        path = self.root / values["image"]
        mask = None if values.get("mask") is None else read_png(self.root / values["mask"])
        picture: Path | np.ndarray = path
        if mirrored:
            picture = read_picture(path, values["image"])[1][:, ::-1]
            mask = None if mask is None else mask[:, ::-1]
        camera, width = None, values["size"][0] if mirrored else 0
        if values.get("camera") is not None:
            fx, fy, cx, cy = values["camera"]
            camera = Camera.of_values(fx, fy, width - 1 - cx if mirrored else cx, cy)
        return Frame(
            picture,
            entry.sequence,
            values.get("recording", entry.sequence),
            values.get("frame", 0),
            [_hand(entry, width, None if mask is None else mask > 0)],
            camera,
            values.get("time", 0.0),
        )


def _whole_sequences(entries: list[JsonHand]) -> Iterator[list[JsonHand]]:
    """Entries of neighbouring sequences together, until there are PER_UNIT."""
    part: list[JsonHand] = []
    for _, group in groupby(entries, lambda entry: entry.values.get("sequence", entry.place)):
        part += group
        if len(part) >= PER_UNIT:
            yield part
            part = []
    if part:
        yield part


def _points(entry: JsonHand, name: str, dim: int) -> Float[np.ndarray, "21 d"]:
    """Points in their order, nan where they are not known. Raises Unusable where there are none at all."""
    stored = entry.values.get(name)
    values = np.zeros((NUM_JOINTS, dim + 1)) if stored is None else np.array(stored, float)
    where = f"{name} of entry {entry.place} of '{entry.split}' ({entry.values['image']})"
    if values.shape != (NUM_JOINTS, dim + 1):
        raise Unusable("not 21 joints", f"{where} is {list(values.shape)}")
    if not values[:, dim].any():
        raise Unusable(f"no {dim}D labels", f"{where} has no known joint")
    return np.where(values[:, dim:] > 0, values[:, :dim], np.nan)


def _readable(entry: JsonHand, name: str, dim: int) -> Iterator[Float[np.ndarray, "21 d"]]:
    """The points, unless there are none or they are damaged, which is said when the hand's turn comes."""
    with suppress(*DAMAGE):
        yield _points(entry, name, dim)


def _hand(entry: JsonHand, width: int, mask: np.ndarray | None) -> HandLabels:
    """As it was before it was mirrored. width: of the picture; 0: it was not mirrored. mask: where the hand
    is seen in the picture as it was."""
    values, order = entry.values, list(HAND3D_TO_OP)
    joints2d = _points(entry, "joints2d", 2)[order]
    joints = None if values.get("joints3d") is None else _points(entry, "joints3d", 3)[order]
    box = None if values.get("box") is None else np.array(values["box"], float)
    parameters = None if values.get("hand") is None else _parameters(values["hand"], mirrored=width > 0)
    if width:
        joints2d[:, 0] = width - 1 - joints2d[:, 0]
        joints = None if joints is None else joints * (-1, 1, 1)
        box = None if box is None else np.array([width - 1 - box[2], box[1], width - 1 - box[0], box[3]])
    hidden = values.get("hidden")
    return HandLabels(
        not width, joints, joints2d, parameters, box, float("nan") if hidden is None else float(hidden), mask
    )


def _parameters(stored: dict[str, list[float]], *, mirrored: bool) -> ManoParameters:
    pose, shape, wrist = (np.array(stored[name], float) for name in ("pose", "shape", "wrist"))
    if mirrored:
        pose, wrist = mirror_pose(torch.from_numpy(pose)).numpy(), wrist * (-1, 1, 1)
    return ManoParameters(pose, shape, wrist)
