"""The annotations that InterHand2.6M and AssemblyHands have in common: COCO's lists of pictures and
annotations, each of one or two hands before one of many cameras, with 42 joints in InterHand2.6M's order (21
of the right hand, then 21 of the left).

The lists have millions of entries, so each is made small while the file is read (`read_json`'s `compact`).
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from tempohand.data.convert.orders import INTERHAND_TO_OP
from tempohand.skeleton import NUM_JOINTS


class Picture(NamedTuple):
    """An entry of `images`. view: what tells cameras and sequences apart, camera last; frame: its number
    there; file: below the folder of pictures."""

    image: int
    view: tuple[str, ...]
    frame: int
    file: str


class Annotation(NamedTuple):
    """An entry of `annotations`. hands: what the data set says of the hands besides; valid: of the 42 joints,
    as bytes."""

    image: int
    hands: Any
    valid: bytes


# A view's pictures by their frames: the file, and the annotation or None.
Pictures = dict[int, tuple[str, Annotation | None]]


def packed(joint_valid: Any) -> bytes:
    """`joint_valid` [42] of an annotation, a byte a joint."""
    return bytes(bool(one) for one in np.ravel(joint_valid))


def views(images: Iterable, annotations: Iterable) -> dict[tuple[str, ...], Pictures]:
    """The pictures of every view, in the order of the lists. What was not made a Picture or an Annotation is
    left out."""
    annotated = {one.image: one for one in annotations if isinstance(one, Annotation)}
    found: dict[tuple[str, ...], Pictures] = defaultdict(dict)
    for picture in images:
        if isinstance(picture, Picture):
            found[picture.view][picture.frame] = picture.file, annotated.get(picture.image)
    return found


def joints_of_both(world_coord: Any) -> Float[np.ndarray, "2 21 3"]:
    """The stored joints [42, 3] of the two hands, in OpenPose's order and the file's unit and space."""
    return np.array(world_coord, float).reshape(2, NUM_JOINTS, 3)[:, INTERHAND_TO_OP]


def valid_of_both(valid: bytes) -> Bool[np.ndarray, "2 21"]:
    """Which joints of the two hands are valid, in OpenPose's order."""
    return np.frombuffer(valid, bool).reshape(2, NUM_JOINTS)[:, INTERHAND_TO_OP]
