"""Boxes over time to hands over time: who is who, which side, where a history begins. Causal: a frame's
answer never depends on later ones."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from scipy.special import expit

from tempohand.data.clips import CLOCK_S, MAX_GAP_S
from tempohand.inference.history import displacement, reach
from tempohand.inference.resolution import rescale, scale_between

SMOOTHING = 0.3  # of detector boxes: the weight of the box before
_OTHER_SIDE = 0.5  # how much farther a hand of the other side counts, in box sides
_CLEAR_SIDE = 1.0  # log odds from which on a hand's side is clear enough to tell it from another hand
_SURE_VOTES = 3  # boxes that came with one side, less those with the other, from which on a hand's is sure
_NEWEST_MOTION = 0.5  # weight of the newest motion in a hand's velocity


@dataclass(frozen=True)
class Detection:
    """A hand's box in one frame: xyxy in px, bounds of the 21 joints. `is_right` and `hand` (an id) are None
    where the source does not say. sure: it cannot be a hand of the other side."""

    box: Float[np.ndarray, "4"]
    is_right: bool | None = None
    hand: int | None = None
    sure: bool = False


@dataclass(frozen=True)
class Sides:
    """What is known of sides beyond what detections say, as log odds that it is a right hand (0: unknown)."""

    hands: Mapping[int, float]  # of hands, by their numbers; those that are missing are unknown
    # of a detection of this frame; costly, so it is called only where the answer counts
    ask: Callable[[Detection], float]


@dataclass(frozen=True)
class TrackedHand:
    """A detection with its identity. starts: nothing earlier belongs to it, whatever its id. has_side: the
    user or one of its detections gave its side; otherwise `is_right` is a default."""

    hand: int
    is_right: bool
    box: Float[np.ndarray, "4"]
    starts: bool
    has_side: bool


@dataclass
class _Track:
    hand: int
    time: float
    seen: Float[np.ndarray, "4"]  # the last box as it came
    box: Float[np.ndarray, "4"]  # the same, smoothed
    is_right: bool = True
    votes: int = 0  # boxes of a right hand, less boxes of a left one
    has_side: bool = False  # whether any box came with a side
    velocity: Float[np.ndarray, "2"] | None = None  # of the box's centre, px/s

    def expected(self, time: float) -> Float[np.ndarray, "4"]:
        """Where its box is by then if it keeps its velocity."""
        if self.velocity is None:
            return self.seen
        return self.seen + np.tile(self.velocity * (time - self.time), 2)

    def contradicts(self, is_right: bool | None) -> bool:
        """Whether more of its boxes came with the other side than with this one."""
        return is_right is not None and self.votes != 0 and (self.votes > 0) != is_right

    def excludes(self, detection: Detection) -> bool:
        """Whether the detection is of the other side, and that of either is sure."""
        return detection.sure and abs(self.votes) >= _SURE_VOTES and self.contradicts(detection.is_right)

    def move(self, time: float, seen: Float[np.ndarray, "4"]) -> None:
        """Its box at a later time."""
        if time > self.time:
            newest = ((seen - self.seen)[:2] + (seen - self.seen)[2:]) / 2 / (time - self.time)
            before = newest if self.velocity is None else self.velocity
            self.velocity = _NEWEST_MOTION * newest + (1 - _NEWEST_MOTION) * before
        self.time, self.seen = time, seen


class Tracker:
    """Links detections of successive frames. Safe to share among threads, but of one input: its times rise.

    A detection with an id belongs to that id. The others are assigned to known hands, each to one, so that
    all in all they lie nearest to where these are expected at constant velocity; a hand whose last box is
    farther than `reach` (history.py) is none of them. Two rounds: first without pairs whose sides contradict
    each other (most of the hand's boxes so far came with the other side); what is left then with all pairs,
    where another side counts as farther, unless the sides of both are sure: these stay apart. A detection
    without a side is contested if it may belong to a hand
    that is clearly a right one and to one that is clearly a left one. `Sides` are then asked for its side,
    and each hand counts as the farther from it the more likely the two are of opposite sides, by up to a
    whole `reach`. What fits nowhere founds a new hand. The order of detections decides the numbers of new
    hands and nothing else. A hand that was missing for more than `max_gap` seconds is forgotten, and a frame
    without a box has no hand: nothing is interpolated, since that would need the future.

    A picture of another size in the same shape (resolution.py) is the same view: known boxes are scaled with
    it. Another shape forgets all hands.

    side: the side (is_right) of every hand whatever the detections say. Otherwise a hand's side is the
    majority of its detections' sides so far; a draw leaves it, and without any it is right.
    smoothing: weight in [0, 1) of the hand's smoothed box before in the box now. Meant for detectors, whose
    boxes jitter with their landmarks while the network was trained on exact ones; boxes from a file are taken
    as they are.
    """

    def __init__(self, *, max_gap: float | int = MAX_GAP_S, smoothing: float = 0.0, side: bool | None = None):
        if not max_gap >= 0:
            raise ValueError(f"`max_gap` is a number of seconds from 0, not {max_gap:g}")
        if not 0 <= smoothing < 1:
            raise ValueError(f"`smoothing` is a weight from 0 (off) to below 1, not {smoothing:g}")
        self.max_gap = max_gap
        self.smoothing = smoothing
        self.side = side
        self._lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        """Forgets every hand: what follows has nothing to do with what came before."""
        with self._lock:
            self._tracks: dict[int, _Track] = {}
            self._next = 0
            self._time = None
            self._size = None

    @property
    def state(self) -> tuple:
        """What is known of the hands, as it is until the next call."""
        return self._tracks, self._next, self._time, self._size

    @state.setter
    def state(self, state: tuple) -> None:
        with self._lock:
            self._tracks, self._next, self._time, self._size = state

    def forget(self, hand: int) -> None:
        """Takes a hand for one that never was: what is found in its place next is new."""
        with self._lock:
            self._tracks.pop(hand, None)

    @property
    def hands(self) -> set[int]:
        """The ids of the hands that are known; those of the others come back for new hands only where
        detections give them."""
        with self._lock:
            return set(self._tracks)

    def update(
        self,
        time: float | int,
        detections: list[Detection],
        size: tuple[int, int] | None = None,
        sides: Sides | None = None,
    ) -> list[TrackedHand]:
        """The hands of the frame at `time` (s), in the order of its detections. Frames without a box may be
        left out. size: (W, H) of the picture; None for one that never changes. sides: without them detections
        and motion alone say who is who.

        Raises ValueError, and changes nothing, for a time before the last frame's: `reset` begins another
        input. Raises what `sides` raise.
        """
        with self._lock:
            if self._time is not None and time < self._time:
                raise ValueError(
                    f"time runs back, from {self._time:g} s to {time:g} s; reset() begins another input"
                )
            self._time = time
            self._resize(size)
            self._tracks = {
                hand: track
                for hand, track in self._tracks.items()
                if time - track.time <= self.max_gap + CLOCK_S
            }
            named = {detection.hand for detection in detections if detection.hand is not None}
            self._next = max([self._next, *(hand + 1 for hand in named)])
            found = self._associate(time, detections, named, sides)
            hands = []
            for index, detection in enumerate(detections):
                hand = detection.hand if detection.hand is not None else found.get(index)
                if hand is None:
                    hand = self._next
                    self._next += 1
                hands.append(self._extend(hand, time, detection))
            return hands

    def _resize(self, size: tuple[int, int] | None) -> None:
        if size is not None and self._size not in (None, size):
            scale = scale_between(self._size, size)
            if scale is None:
                self._tracks = {}
            else:
                for track in self._tracks.values():
                    track.seen = rescale(track.seen, scale)
                    track.box = rescale(track.box, scale)
                    track.velocity = None if track.velocity is None else track.velocity * scale
        self._size = size if size is not None else self._size

    def _associate(
        self, time: float, detections: list[Detection], named: set[int], sides: Sides | None
    ) -> dict[int, int]:
        """index of a detection without an id -> the known hand that it belongs to, where there is one. Hands
        whose ids (`named`) came with a detection take no part."""
        indices = [index for index, detection in enumerate(detections) if detection.hand is None]
        tracks = [track for hand, track in self._tracks.items() if hand not in named]
        odds: dict[int, float] = {}  # of each known hand to be a right one
        if sides is not None:
            odds = {track.hand: float(track.votes or sides.hands.get(track.hand, 0)) for track in tracks}

        def contradicts(index: int, track: _Track) -> bool:
            return self.side is None and track.contradicts(detections[index].is_right)

        def distance(index: int, track: _Track, before: np.ndarray) -> float:
            """From a box of the track to the detection's, farther where the sides disagree; box sides."""
            return displacement(before, _box(detections[index])) + _OTHER_SIDE * contradicts(index, track)

        def possible(index: int, track: _Track) -> bool:
            if self.side is None and track.excludes(detections[index]):
                return False
            return distance(index, track, track.seen) < reach(time - track.time)

        def contested(index: int) -> bool:
            candidates = [odds[track.hand] for track in tracks if possible(index, track)]
            return min(candidates, default=0) <= -_CLEAR_SIDE and max(candidates, default=0) >= _CLEAR_SIDE

        asked: dict[int, float] = {}  # log odds of contested detections
        if self.side is None and sides is not None:
            without_side = [index for index in indices if detections[index].is_right is None]
            asked = {index: sides.ask(detections[index]) for index in without_side if contested(index)}

        def cost(index: int, track: _Track) -> float:
            """Of a detection as the track's next box, below 1 and the more the farther from where it is
            expected; infinite where it cannot be."""
            if not possible(index, track):
                return np.inf
            far = distance(index, track, track.expected(time)) / reach(time - track.time)
            opposite = _opposite_sides(asked[index], odds[track.hand]) if index in asked else 0.0
            return np.tanh(far + opposite)

        def cost_if_sides_agree(index: int, track: _Track) -> float:
            return np.inf if contradicts(index, track) else cost(index, track)

        found: dict[int, int] = {}
        for cost_of in (cost_if_sides_agree, cost):
            free = [track for track in tracks if track.hand not in found.values()]
            found |= _assign([index for index in indices if index not in found], free, cost_of)
        return found

    def _extend(self, hand: int, time: float, detection: Detection) -> TrackedHand:
        """The hand with a detection that belongs to it as its newest box."""
        box = _box(detection)
        starts = hand not in self._tracks
        track = self._tracks.setdefault(hand, _Track(hand, time, box, box))
        track.move(time, box)
        track.box = self.smoothing * track.box + (1 - self.smoothing) * box
        if detection.is_right is not None:
            track.votes += 1 if detection.is_right else -1
            track.has_side = True
        if self.side is not None:
            track.is_right = self.side
        elif track.votes:
            track.is_right = track.votes > 0
        has_side = self.side is not None or track.has_side
        return TrackedHand(hand, track.is_right, track.box, starts, has_side)


def _box(detection: Detection) -> Float[np.ndarray, "4"]:
    return np.asarray(detection.box, np.float64)


def _opposite_sides(first: float, second: float) -> float:
    """The probability that one of two hands, whose log odds to be right ones these are, is a right hand and
    the other a left one."""
    return float(expit(first) * expit(-second) + expit(-first) * expit(second))


def _assign(indices: list[int], tracks: list[_Track], cost: Callable[[int, _Track], float]) -> dict[int, int]:
    """index of a detection -> the hand of the track that it is assigned to: the pairs whose costs have the
    least sum, where leaving a detection and a track apart costs 1 (Kuhn's assignment problem, with a dummy
    track for each detection)."""
    count = len(indices)
    costs = [[cost(index, track) for track in tracks] for index in indices]
    costs = np.array(costs, np.float64).reshape(count, len(tracks))
    rows, columns = linear_sum_assignment(np.c_[np.minimum(costs, 2.0), np.ones((count, count))])
    return {
        indices[row]: tracks[column].hand
        for row, column in zip(rows, columns)
        if column < len(tracks) and np.isfinite(costs[row, column])
    }
