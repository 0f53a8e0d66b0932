"""How much of the data each loss term could use: shares for the log, and a warning when a term goes without
labels."""

from collections.abc import Callable
from dataclasses import dataclass

# What switches a term's labels on; columns of the frame table (docs/data.md).
LABELS = {
    "orientation": "has_hand",
    "pose": "has_hand",
    "shape": "has_hand",
    "depth": "has_hand and has_camera",
    "translation": "has_hand and has_camera",
    "uv": "joints2d_mask of the wrist",
    "joints2d": "joints2d_mask",
    "heatmap": "joints2d_mask",
    "joints": "joints_mask, of the wrist too",
    "joint_depth": "joints_mask, of the wrist too",
    "velocity": "joints_mask of neighbouring frames, of the wrist too",
    "wrist_velocity": "has_hand and has_camera of neighbouring frames",
    "centre": "joints2d_mask of all joints",
    "offset": "joints2d_mask of all joints, of hands whose centre is in the crop,",
    "size": "joints2d_mask of all joints, of hands whose centre is in the crop,",
}
OUT_OF_RANGE = 0.25  # share of a term's labels, in a log interval, from which on it is warned of


@dataclass
class Count:
    """Of a term's entries, how many were valid (what the mean is over), had a label at all, and existed; over
    all processes."""

    valid: float
    known: float
    entries: float

    def __add__(self, other: "Count") -> "Count":
        return Count(self.valid + other.valid, self.known + other.known, self.entries + other.entries)


class Tally:
    """Adds up what loss terms could use since the last log line, and warns, once a term, in one line through
    `warn`.

    A term with a weight is warned of when nothing of it was valid for `warn_after` batches in a row or in a
    whole log interval, and when more than OUT_OF_RANGE of its labels lie where it cannot represent them.
    Terms that this network or data does not have at all are left alone.
    """

    def __init__(self, weights: dict[str, float], warn_after: int, warn: Callable[[str], None] = print):
        if warn_after < 1:
            raise ValueError(f"debug.warn_after={warn_after} must be at least 1 batch")
        self.weights, self.warn_after, self.warn = weights, warn_after, warn
        self.interval: dict[str, Count] = {}
        self.batches, self.empty, self.warned = 0, {}, set()

    def add(self, counts: dict[str, Count]) -> None:
        """One batch of all processes."""
        self.batches += 1
        for name, count in counts.items():
            self.interval[name] = self.interval.get(name, Count(0, 0, 0)) + count
            self.empty[name] = self.empty.get(name, 0) + 1 if count.entries and not count.valid else 0
            if self.empty[name] == self.warn_after:
                self._nothing_valid(name, f"{self.warn_after} batches in a row")

    def close_interval(self) -> dict[str, float]:
        """The shares since the last call, for the log: valid/<term>, and out_of_range/<term> where a term has
        a range."""
        shares = {}
        for name, count in self.interval.items():
            if not count.entries:
                continue
            shares[f"valid/{name}"] = count.valid / count.entries
            if not count.valid:
                self._nothing_valid(name, f"all {self.batches} batches since the last log line")
            if count.known != count.valid:
                shares[f"out_of_range/{name}"] = out = 1 - count.valid / count.known
                if out > OUT_OF_RANGE and self._first(f"out of range {name}"):
                    self.warn(
                        f"warning: {out:.0%} of the labels of the loss term '{name}' lie outside what it can represent and teach it nothing: "
                        "do boxes enclose their hands, is the augmentation (view.augmentation.shift, scale) too strong, are units mm and px?"
                    )
        self.interval, self.batches = {}, 0
        return shares

    def _nothing_valid(self, name: str, where: str) -> None:
        if self.weights.get(name) and self._first(name):
            cause = (
                f"the table's {LABELS[name]} switch it on"
                if name in LABELS
                else "its labels' masks are all False"
            )
            self.warn(
                f"warning: the loss term '{name}' (weight {self.weights[name]:g}) had no valid entry in {where}: {cause}"
            )

    def _first(self, what: str) -> bool:
        new = what not in self.warned
        self.warned.add(what)
        return new
