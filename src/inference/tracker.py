"""Boxes over time to hands over time: who is who, which side, where a history begins. Causal: a frame's answer never depends on later ones."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from tempohand.data.clips import CLOCK_S, MAX_GAP_S
from tempohand.inference.history import displacement, reach

SMOOTHING = 0.3  # of detector boxes: the weight of the box before
_OTHER_SIDE = 0.5  # what a change of side costs, in box sides


@dataclass(frozen=True)
class Detection:
    """A hand's box in one frame: xyxy in px, bounds of the 21 joints. `is_right` and `hand` (an id) are None where the source does not say."""

    box: Float[np.ndarray, "4"]
    is_right: bool | None = None
    hand: int | None = None


@dataclass(frozen=True)
class TrackedHand:
    """A detection with its identity: `starts` says that nothing earlier belongs to it, whatever the number, `told` that somebody said its side."""

    hand: int
    is_right: bool
    box: Float[np.ndarray, "4"]
    starts: bool
    told: bool


@dataclass
class _Track:
    hand: int
    time: float
    box: np.ndarray
    is_right: bool
    votes: dict[bool, int] = field(default_factory=lambda: {False: 0, True: 0})


class Tracker:
    """Links detections of successive frames.

    A detection with an id belongs to that id. One without goes to the nearest known hand (of those whose box may have got here since:
    history.py's `reach`; another side makes it farther), or founds a new hand. A hand that was missing for more than `max_gap` seconds is
    forgotten, and a frame without a box has no hand: nothing is interpolated, since that would need the future.

    side: the side (is_right) of every hand whatever the detections say. Otherwise a hand's side is the majority of what its detections have
    said so far, a draw leaves it, and where none says it, it is right.
    smoothing: weight in [0, 1) of the hand's smoothed box before in the box now. Meant for detectors, whose boxes jitter with their
    landmarks while the network was trained on exact ones; boxes from a file are taken as they are.
    """

    def __init__(self, *, max_gap: float | int = MAX_GAP_S, smoothing: float = 0.0, side: bool | None = None):
        if not max_gap >= 0:
            raise ValueError(f"--max-gap is a number of seconds from 0, not {max_gap:g}")
        if not 0 <= smoothing < 1:
            raise ValueError(f"--smooth is a weight from 0 (off) to below 1, not {smoothing:g}")
        self.max_gap, self.smoothing, self.side = max_gap, smoothing, side
        self.reset()

    def reset(self) -> None:
        """Forgets every hand: what follows has nothing to do with what came before."""
        self._tracks: dict[int, _Track] = {}
        self._next = 0

    def forget(self, hand: int) -> None:
        """Takes a hand for one that never was: what is found in its place next is new."""
        self._tracks.pop(hand, None)

    def update(self, time: float | int, detections: list[Detection]) -> list[TrackedHand]:
        """The hands of the frame at `time` (s, rising), in the order of its detections. Frames without a box may be left out."""
        alive = {hand: track for hand, track in self._tracks.items() if time - track.time <= self.max_gap + CLOCK_S}
        named = {detection.hand for detection in detections if detection.hand is not None}
        found = self._associate(time, detections, [track for track in alive.values() if track.hand not in named])
        hands = []
        for index, detection in enumerate(detections):
            hand = detection.hand if detection.hand is not None else found.get(index)
            if hand is None:
                hand = self._new_id(named)
            hands.append(self._extend(alive.get(hand), hand, time, detection))
        return hands

    def _associate(self, time: float, detections: list[Detection], tracks: list[_Track]) -> dict[int, int]:
        pairs = []
        for index, detection in enumerate(detections):
            if detection.hand is not None:
                continue
            for track in tracks:
                distance = displacement(track.box, np.asarray(detection.box, np.float64))
                if distance < reach(time - track.time):
                    other = self.side is None and detection.is_right is not None and detection.is_right != track.is_right
                    pairs.append((distance + _OTHER_SIDE * other, index, track.hand))
        found, taken = {}, set()
        for _, index, hand in sorted(pairs):
            if index not in found and hand not in taken:
                found[index] = hand
                taken.add(hand)
        return found

    def _new_id(self, named: set[int]) -> int:
        while self._next in self._tracks or self._next in named:
            self._next += 1
        self._next += 1
        return self._next - 1

    def _extend(self, track: _Track | None, hand: int, time: float, detection: Detection) -> TrackedHand:
        starts, box = track is None, np.asarray(detection.box, np.float64)
        if track is None:
            track = _Track(hand, time, box, is_right=True)
        if detection.is_right is not None:
            track.votes[detection.is_right] += 1
        if self.side is not None:
            is_right = self.side
        elif track.votes[True] == track.votes[False]:
            is_right = track.is_right
        else:
            is_right = track.votes[True] > track.votes[False]
        box = self.smoothing * track.box + (1 - self.smoothing) * box
        track.time, track.box, track.is_right = time, box, is_right
        self._tracks[hand] = track
        return TrackedHand(hand, is_right, box, starts, told=self.side is not None or any(track.votes.values()))
