"""A hand's history in a stream: the frames that an estimate rests on, and when it begins anew. Its bounds in
time are data/clips.py's."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from tempohand.data.clips import (
    CLOCK_S,
    MAX_AGE_S,
    MAX_GAP_S,
    ClipPlan,
    clip_steps,
    lookback,
    previous_frames,
    see_clips,
    steps_back,
)

# A hand may cross a box side per step of the widest training clip, 2.25 m/s for a box of 150 mm; over less
# time, one side all the same.
MAX_SPEED = 15.0  # box sides a second
MIN_REACH = 1.0  # box sides


@dataclass(frozen=True)
class Seen:
    """What is kept of one frame of a hand."""

    given: dict[str, Tensor]  # by field of `Frames`: the network's features, or else crops of its inputs
    focal: Float[np.ndarray, "2"]  # px of the crop
    princpt: Float[np.ndarray, "2"]
    time: float  # s
    is_right: bool
    box: Float[
        np.ndarray, "4"
    ]  # xyxy, as rays: (px - princpt) / focal of the picture, which frames of any size share


def follow(
    history: tuple[Seen, ...], seen: Seen, num_frame: int, max_gap: float = MAX_GAP_S
) -> tuple[Seen, ...]:
    """The history with one more frame, oldest first: as far as clips of `num_frame` frames reach back, none
    older than MAX_AGE_S.

    It begins anew with `seen` after more than `max_gap` seconds, when the hand changes its side (crops of the
    other are mirrored), and when its box jumps: farther than `reach` of the time between, it is another hand.
    A frame with its predecessor's time stamp replaces it.
    """
    if not history:
        return (seen,)
    last = history[-1]
    elapsed = seen.time - last.time
    assert elapsed >= 0, "time was checked before"
    if (
        elapsed > max_gap + CLOCK_S
        or seen.is_right != last.is_right
        or displacement(last.box, seen.box) > reach(elapsed)
    ):
        return (seen,)
    kept = (
        *(
            one
            for one in (history[:-1] if elapsed == 0 else history)
            if seen.time - one.time <= MAX_AGE_S + CLOCK_S
        ),
        seen,
    )
    most = int(lookback(num_frame)[0]) + 1
    steps = steps_back(previous_frames(np.array([one.time for one in kept])), len(kept) - 1, most)
    return kept[steps[-1] :] if len(steps) == most else kept  # no later clip reaches farther than this one


def clip_of(history: tuple[Seen, ...], num_frame: int) -> ClipPlan:
    """The clip at a history's end (data/clips.py's rule), as places in the history."""
    time = np.array([one.time for one in history])
    steps = clip_steps(previous_frames(time), np.array([len(history) - 1]), num_frame)
    return ClipPlan.of(*see_clips(steps, np.ones_like(steps, bool), time))


def displacement(before: Float[np.ndarray, "4"], after: Float[np.ndarray, "4"]) -> float:
    """How far the box's farthest edge went, in longer sides of the smaller box: place and size in one
    number."""
    side = min(max(box[2] - box[0], box[3] - box[1]) for box in (before, after))
    return float(np.abs(after - before).max() / side)


def reach(elapsed: float) -> float:
    """How far a hand's box may go within `elapsed` seconds, in its sides."""
    return max(MIN_REACH, MAX_SPEED * elapsed)
