"""Boxes over time to hands over time: who is who, which side, where a history begins. Causal: a frame's
answer never depends on later ones."""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from scipy.special import expit

from tempohand.data.clips import CLOCK_S, MAX_GAP_S
from tempohand.inference.history import displacement, reach
from tempohand.inference.resolution import rescale, scale_between

SMOOTHING = 0.3  # of detector boxes: the weight of the box before
_OTHER_SIDE = 0.5  # how much farther a hand counts that is said to be of the other side, in box sides
_CLEAR_SIDE = 1.0  # log odds from which on a hand's side is clear enough to tell it from another hand
_NEWEST_MOTION = 0.5  # weight of the newest motion in a hand's velocity


@dataclass(frozen=True)
class Detection:
    """A hand's box in one frame: xyxy in px, bounds of the 21 joints. `is_right` and `hand` (an id) are None
    where the source does not say."""

    box: Float[np.ndarray, "4"]
    is_right: bool | None = None
    hand: int | None = None


@dataclass(frozen=True)
class Sides:
    """What is known of sides beyond what detections say, as log odds that it is a right hand (0: unknown)."""

    hands: Mapping[int, float]  # of hands, by their numbers; those that are missing are unknown
    ask: Callable[
        [Detection], float
    ]  # of a detection of this frame; costly, so it is called where it counts alone


@dataclass(frozen=True)
class TrackedHand:
    """A detection with its identity: `starts` says that nothing earlier belongs to it, whatever the number,
    `told` that somebody said its side."""

    hand: int
    is_right: bool
    box: Float[np.ndarray, "4"]
    starts: bool
    told: bool


@dataclass
class _Track:
    hand: int
    time: float
    seen: Float[np.ndarray, "4"]  # the last box as it came
    box: Float[np.ndarray, "4"]  # the same, smoothed
    is_right: bool = True
    votes: int = 0  # how many boxes said right, less how many said left
    told: bool = False  # any of them said it
    velocity: Float[np.ndarray, "2"] | None = None  # of the box's centre, px/s

    def expected(self, time: float) -> Float[np.ndarray, "4"]:
        """Where its box is by then if it keeps its velocity."""
        return (
            self.seen if self.velocity is None else self.seen + np.tile(self.velocity * (time - self.time), 2)
        )

    def contradicts(self, is_right: bool | None) -> bool:
        """Whether its boxes have said the other side more often than this one."""
        return is_right is not None and self.votes != 0 and (self.votes > 0) != is_right

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
    farther than `reach` (history.py) is none of them. First among those that agree about the side, that is,
    all but those of which the boxes so far have mostly said the other one; what is left then, among all,
    where another side counts as farther. A detection that says no side is contested if it may belong to a
    hand that is clearly a right one and to one that is clearly a left one. `Sides` are then asked for its
    side, and each hand counts as the farther from it the more likely the two are of opposite sides, by up to
    a whole `reach`. What fits nowhere founds a new hand. The order of detections decides the numbers of new
    hands and nothing else. A hand that was missing for more than `max_gap` seconds is forgotten, and a frame
    without a box has no hand: nothing is interpolated, since that would need the future.

    A picture of another size in the same shape (resolution.py) is the same view: known boxes are scaled with
    it. Another shape forgets all hands.

    side: the side (is_right) of every hand whatever the detections say. Otherwise a hand's side is the
    majority of what its detections have said so far, a draw leaves it, and where none says it, it is right.
    smoothing: weight in [0, 1) of the hand's smoothed box before in the box now. Meant for detectors, whose
    boxes jitter with their landmarks while the network was trained on exact ones; boxes from a file are taken
    as they are.
    """

    def __init__(self, *, max_gap: float | int = MAX_GAP_S, smoothing: float = 0.0, side: bool | None = None):
        if not max_gap >= 0:
            raise ValueError(f"`max_gap` is a number of seconds from 0, not {max_gap:g}")
        if not 0 <= smoothing < 1:
            raise ValueError(f"`smoothing` is a weight from 0 (off) to below 1, not {smoothing:g}")
        self.max_gap, self.smoothing, self.side = max_gap, smoothing, side
        self._lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        """Forgets every hand: what follows has nothing to do with what came before."""
        with self._lock:
            self._tracks: dict[int, _Track] = {}
            self._next, self._time, self._size = 0, None, None

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
                    hand, self._next = self._next, self._next + 1
                hands.append(self._extend(hand, time, detection))
            return hands

    def _resize(self, size: tuple[int, int] | None) -> None:
        if size is not None and self._size not in (None, size):
            scale = scale_between(self._size, size)
            if scale is None:
                self._tracks = {}
            for track in self._tracks.values():
                track.seen, track.box = rescale(track.seen, scale), rescale(track.box, scale)
                track.velocity = None if track.velocity is None else track.velocity * scale
        self._size = size if size is not None else self._size

    def _associate(
        self, time: float, detections: list[Detection], named: set[int], sides: Sides | None
    ) -> dict[int, int]:
        """The known hand of each detection (by its place) that has no id of its own and belongs to one."""
        places = [place for place, detection in enumerate(detections) if detection.hand is None]
        tracks = [track for hand, track in self._tracks.items() if hand not in named]
        found: dict[int, int] = {}
        odds = (
            {track.hand: float(track.votes or sides.hands.get(track.hand, 0)) for track in tracks}
            if sides is not None
            else {}
        )

        def farther(place: int, track: _Track) -> float:
            return _OTHER_SIDE * (self.side is None and track.contradicts(detections[place].is_right))

        def possible(place: int, track: _Track) -> bool:
            return displacement(track.seen, _box(detections[place])) + farther(place, track) < reach(
                time - track.time
            )

        def contested(place: int) -> bool:
            candidates = [odds[track.hand] for track in tracks if possible(place, track)]
            return min(candidates, default=0) <= -_CLEAR_SIDE and max(candidates, default=0) >= _CLEAR_SIDE

        asks = self.side is None and sides is not None
        unsaid = [place for place in places if asks and detections[place].is_right is None]
        asked = {place: sides.ask(detections[place]) for place in unsaid if contested(place)}

        def cost(place: int, track: _Track) -> float:
            """Of a detection as the track's next box, below 1 and the more the farther from where it is
            expected; infinite where it cannot be."""
            if not possible(place, track):
                return np.inf
            far = displacement(track.expected(time), _box(detections[place])) + farther(place, track)
            other = _other_side(asked[place], odds[track.hand]) if place in asked else 0.0
            return np.tanh(far / reach(time - track.time) + other)

        def agreed(place: int, track: _Track) -> float:
            contradicts = self.side is None and track.contradicts(detections[place].is_right)
            return np.inf if contradicts else cost(place, track)

        for one in (agreed, cost):
            free = [track for track in tracks if track.hand not in found.values()]
            found |= _assign([place for place in places if place not in found], free, one)
        return found

    def _extend(self, hand: int, time: float, detection: Detection) -> TrackedHand:
        box, starts = _box(detection), hand not in self._tracks
        track = self._tracks.setdefault(hand, _Track(hand, time, box, box))
        track.move(time, box)
        track.box = self.smoothing * track.box + (1 - self.smoothing) * box
        if detection.is_right is not None:
            track.votes += 1 if detection.is_right else -1
            track.told = True
        if self.side is not None:
            track.is_right = self.side
        elif track.votes:
            track.is_right = track.votes > 0
        return TrackedHand(hand, track.is_right, track.box, starts, told=self.side is not None or track.told)


def _box(detection: Detection) -> Float[np.ndarray, "4"]:
    return np.asarray(detection.box, np.float64)


def _other_side(first: float, second: float) -> float:
    """The probability that one of two hands, whose log odds to be right ones these are, is a right hand and
    the other a left one."""
    return float(expit(first) * expit(-second) + expit(-first) * expit(second))


def _assign(
    places: list[int], tracks: Iterable[_Track], cost: Callable[[int, _Track], float]
) -> dict[int, int]:
    """The hand of each place that is assigned to a track: the pairs whose costs have the least sum, where
    leaving a place and a track apart costs 1 (Kuhn's assignment problem, with a dummy track for each
    place)."""
    tracks = list(tracks)
    costs = np.array([[cost(place, track) for track in tracks] for place in places], np.float64).reshape(
        len(places), len(tracks)
    )
    rows, columns = linear_sum_assignment(np.c_[np.minimum(costs, 2.0), np.ones((len(places), len(places)))])
    return {
        places[row]: tracks[column].hand
        for row, column in zip(rows, columns)
        if column < len(tracks) and np.isfinite(costs[row, column])
    }
