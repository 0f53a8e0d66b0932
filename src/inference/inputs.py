"""What a program hands a predictor: one hand in one frame, checked and brought into one form."""

import math
import operator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from tempohand.data.depth_files import in_metres
from tempohand.inference.boxes import check_box
from tempohand.inference.camera import CameraChoice

# What a caller may give; `check_input` refuses the rest with a TypeError or ValueError that says what it got.
Number = Any  # a number: Python's, or numpy's or torch's with one element
Whole = Any  # the same, whole
Truth = Any  # True or False, also numpy's or torch's
Numbers = Any  # a list, tuple, array or tensor of numbers
Picture = Any  # a uint8 array or tensor [h, w, 3]
Depth = Any  # an array or tensor [h, w] of numbers


@dataclass(frozen=True, kw_only=True)
class HandInput:
    """One hand in one frame: where it is and which camera sees it.

    The picture may have another size in every frame: box, focal and princpt are in its own pixels, and depth
    is registered to them. `starts` begins a new history.
    """

    image: Picture  # the whole picture, RGB, uint8 [h, w, 3]
    box: Numbers  # xyxy px, bounds of the 21 joints
    time: Number  # s
    hand: Whole = 0  # id
    is_right: Truth = True
    focal: Number | Numbers | None = None  # px, one or (fx, fy); None: the picture's diagonal
    princpt: Numbers | None = None  # px; None: the picture's centre
    depth: Depth | None = None  # mm along the optical axis, [h, w], 0 where nothing is measured
    frame: Whole = 0  # a number to know the estimate by
    starts: Truth = False


@dataclass(frozen=True)
class CheckedInput:
    """A HandInput of plain values (a numpy picture, Python's numbers) that make sense, with its box and its
    camera."""

    source: HandInput
    box: Float[np.ndarray, "4"]
    focal: Float[np.ndarray, "2"]
    princpt: Float[np.ndarray, "2"]


def check_input(hand: HandInput) -> CheckedInput:
    """Raises ValueError for values without meaning and TypeError for values of another kind, in one line that
    says which hand and frame."""
    number, frame = _whole(hand.hand, "`hand`, an id,"), _whole(hand.frame, "`frame`")
    where = f"hand {number} in frame {frame}"
    time = _number(hand.time, f"{where}: `time`, in seconds,")
    if not math.isfinite(time):
        raise ValueError(f"{where}: its time is {time} s, which is no time")
    is_right = _truth(
        hand.is_right, f"{where}: `is_right`", "; where nobody knows the side, look() asks the network"
    )
    starts = _truth(hand.starts, f"{where}: `starts`")
    image = _plain(hand.image)
    if (
        not isinstance(image, np.ndarray)
        or image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
        or not image.size
    ):
        what = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"{where}: its picture is {what}, not RGB as a uint8 array [height, width, 3]")
    size = (image.shape[1], image.shape[0])
    box = _numbers(hand.box, 4, f"{where}: the box")
    check_box(box, size, where)
    focal, princpt = CameraChoice().camera(size)
    if hand.focal is not None:
        given = _one(hand.focal)
        focal = _numbers([given, given] if np.ndim(given) == 0 else given, 2, f"{where}: the focal length")
    if hand.princpt is not None:
        princpt = _numbers(hand.princpt, 2, f"{where}: the principal point")
    if not (np.isfinite([focal, princpt]).all() and (focal > 0).all()):
        raise ValueError(
            f"{where}: focal length {focal.tolist()} and principal point {princpt.tolist()} px are those "
            "of no camera"
        )
    depth = None if hand.depth is None else _depth(hand.depth, size, f"{where}: its depth")
    plain = {"hand": number, "frame": frame, "time": time, "is_right": is_right, "starts": starts}
    return CheckedInput(replace(hand, image=image, depth=depth, **plain), box, focal, princpt)


def _depth(value: Depth, size: tuple[int, int], what: str) -> Float[np.ndarray, "h w"]:
    """Depth as a float32 array, mm, of a picture of `size` (W, H)."""
    depth = _plain(value)
    if not isinstance(depth, np.ndarray) or depth.ndim != 2 or depth.dtype.kind not in "uif":
        given = (
            f"{depth.dtype} {list(depth.shape)}" if isinstance(depth, np.ndarray) else type(depth).__name__
        )
        raise ValueError(f"{what} is {given}, not an array [height, width] of numbers, mm")
    if depth.shape != size[::-1]:
        raise ValueError(
            f"{what} is {depth.shape[1]} x {depth.shape[0]} px, its picture {size[0]} x {size[1]}: "
            "register depth to the colour picture"
        )
    if not (np.isfinite(depth).all() and (depth >= 0).all()):
        raise ValueError(f"{what} holds negative numbers, nan or infinity: write 0 where nothing is measured")
    if in_metres(depth):
        raise ValueError(f"{what} goes no farther than {depth.max():g} mm: is it in metres? Give millimetres")
    return depth.astype(np.float32)


def _plain(value):
    """A tensor as an array; other values as they are."""
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value


def _one(value):
    """The only element of an array or tensor without axes or with one element; other values as they are."""
    value = _plain(value)
    return value.item() if isinstance(value, np.ndarray | np.generic) and value.size == 1 else value


def _number(value, what: str) -> float:
    one = _one(value)
    if isinstance(one, bool) or not isinstance(one, int | float):
        raise TypeError(f"{what} is a number, not {_shown(value)}")
    return float(one)


def _whole(value, what: str) -> int:
    one = _one(value)
    try:
        if isinstance(one, bool):
            raise TypeError
        return operator.index(one)
    except TypeError:
        raise TypeError(f"{what} is a whole number, not {_shown(value)}") from None


def _truth(value, what: str, advice: str = "") -> bool:
    one = _one(value)
    if not isinstance(one, bool):
        raise TypeError(f"{what} is True or False, not {_shown(value)}{advice}")
    return one


def _numbers(values, count: int, what: str) -> Float[np.ndarray, "n"]:
    try:
        numbers = np.array(
            [_one(value) for value in values] if isinstance(values, list | tuple) else _plain(values),
            np.float64,
        )
    except (TypeError, ValueError):
        numbers = None
    if numbers is None or numbers.shape != (count,):
        raise ValueError(f"{what} is {count} numbers in pixels, not {_shown(values)}")
    return numbers


def _shown(value) -> str:
    """A value for a message of one line."""
    return " ".join(repr(value).split())[:80]
