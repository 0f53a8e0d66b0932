"""What was marked in a picture, whatever the tool: points with names, and boxes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

Box = tuple[float, float, float, float]  # xyxy, px


class Mark(NamedTuple):
    """A marked point, px, integers at pixel centres. hidden: something covers it; None: the tool does not
    say. A point without a name of its own is named by its place, "0" to "20"."""

    name: str
    x: float
    y: float
    hidden: bool | None = None


@dataclass(frozen=True)
class MarkedHand:
    """The points of a hand; `text` is what may tell its side (a label such as "right_hand"), `box` xyxy
    px."""

    marks: tuple[Mark, ...]
    text: str = ""
    box: Box | None = None


@dataclass(frozen=True)
class MarkedPicture:
    """A picture's hands. name: of its file, as the labels have it. size: (W, H) of the picture that was
    labelled, None: not told. content: the encoded picture, where the labels hold it. problem: why its labels
    cannot be used."""

    name: str
    hands: tuple[MarkedHand, ...]
    size: tuple[int, int] | None = None
    content: bytes | None = None
    problem: str | None = None


class LoosePoint(NamedTuple):
    """A point that a group (None: no group) holds together with others."""

    group: object
    mark: Mark


class LooseBox(NamedTuple):
    """A labelled box, as LoosePoint."""

    group: object
    text: str
    box: Box


def in_order(points: Iterable[tuple[float, float]]) -> tuple[Mark, ...]:
    """Points that are told apart by their places alone."""
    return tuple(Mark(str(place), x, y) for place, (x, y) in enumerate(points))


def hands_of_groups(points: list[LoosePoint], boxes: list[LooseBox]) -> tuple[MarkedHand, ...]:
    """Points of one group are a hand, with the group's box. Without groups all are one hand, and a box is
    its own where it is the only one."""
    found = []
    for group in dict.fromkeys(point.group for point in points):
        marks = tuple(point.mark for point in points if point.group == group)
        own = [box for box in boxes if box.group == group]
        own = own if len(own) == 1 else []
        found.append(MarkedHand(marks, own[0].text if own else "", own[0].box if own else None))
    return tuple(found)
