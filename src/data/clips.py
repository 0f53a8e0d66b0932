"""Which frames of a table are a clip, and which clips a training position draws: rows and masks, before anything is read."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

FRESH_VIEWS = 2**31  # numbers to draw from when every clip has a view of its own


def lookback(num_frame: int) -> Int[np.ndarray, "t"]:
    """How many frames before its last one each frame of a clip lies, oldest first: 0, 1, 2, 3, 5, 8, 13, ..., the Fibonacci numbers.

    Dense where motion is read, sparse where a hand is remembered that something has covered since: 7 frames reach back 13.
    """
    back = [0, 1, 2]
    while len(back) < num_frame:
        back.append(back[-1] + back[-2])
    return np.array(back[:num_frame][::-1])


def clip_rows(start: int, last: int, num_frame: int) -> tuple[Int[np.ndarray, "t"], Bool[np.ndarray, "t"]]:
    """Rows [T] of the clip that ends at row `last` of the sequence that starts at row `start`, and which of them are real.

    Where the sequence has no such frame yet, its earliest one in the clip is repeated and marked False.
    """
    return _within(start, last - lookback(num_frame))


def _within(start: int, rows: Int[np.ndarray, "n"]) -> tuple[Int[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
    """Rows that lie before `start` replaced by the first that does not, and which did not have to be."""
    real = rows >= start
    return np.where(real, rows, rows[real][0]), real


def eligible_rows(starts: Int[np.ndarray, "rows"], length: int) -> Int[np.ndarray, "n"]:
    """Rows that have at least `length` - 1 earlier frames in their sequence.

    Raises ValueError naming the longest sequence when there is none.
    """
    position = np.arange(len(starts)) - starts
    rows = np.flatnonzero(position >= length - 1)
    if not len(rows):
        raise ValueError(
            f"no sequence has {length} frames, the longest has {position.max() + 1}: Stage 2 needs clips of at least {length} frames; "
            "give it video, or train Stage 1 on this table"
        )
    return rows


@dataclass(frozen=True)
class ClipSampling:
    """How training clips vary in time: shortest history (frames kept), largest frame gap, clips per sample, and frames that go missing.

    With `consecutive` = c a sample is c clips, each one frame after the other, in one view: a velocity loss compares neighbours, and the
    frames that they share are encoded once. `drop` is the probability that a frame is missing from the history of the clips that it is in.
    """

    min_history: int = 1
    max_gap: int = 1
    consecutive: int = 1
    drop: float = 0.0

    def __post_init__(self):
        if min(self.min_history, self.max_gap, self.consecutive) < 1 or not 0 <= self.drop < 1:
            raise ValueError(f"sampling: min_history, max_gap and consecutive are at least 1 and drop lies in [0, 1), got {self}")


@dataclass(frozen=True)
class ClipPlan:
    """One sample: the frames that it shows, and its clips, oldest frame first, one frame after the other.

    `rows` are rows of the table, ascending, each once; `clips` are places in them. Frames that a clip lacks are masked, its earliest one
    stands in their place.
    """

    rows: Int[np.ndarray, "n"]
    clips: Int[np.ndarray, "c t"]
    mask: Bool[np.ndarray, "c t"]
    view: int  # number of the drawn view

    @classmethod
    def of(cls, rows: Int[np.ndarray, "m"], shown: Bool[np.ndarray, "m"], num_frame: int, history: int, view: int = 0) -> "ClipPlan":
        """Every clip of `num_frame` frames within the stretch `rows`, with the last `history` of them, as far as they are shown."""
        back = lookback(num_frame)
        windows = np.arange(back[0], len(rows))[:, None] - back
        mask = shown[windows] & (np.arange(num_frame) >= num_frame - history)
        mask[:, -1] = True
        earliest = np.take_along_axis(windows, mask.argmax(axis=1)[:, None], axis=1)
        used, clips = np.unique(rows[np.where(mask, windows, earliest)], return_inverse=True)
        return cls(used, clips.reshape(mask.shape), mask, view)

    @classmethod
    def single_frames(cls, rows: Int[np.ndarray, "n"], view: int) -> "ClipPlan":
        """Each of some frames of a sequence as a clip of its own."""
        return cls(rows, np.arange(len(rows))[:, None], np.ones((len(rows), 1), bool), view)


class Clips:
    """The clips of a table whose row r lies in the sequence that starts at row `starts[r]`.

    A training position decides its clips: gap, history, missing frames, and one of `views` fixed views of the sequence (None: a new one).
    """

    def __init__(
        self, starts: Int[np.ndarray, "rows"], num_frame: int, sampling: ClipSampling | None = None, seed: int = 0, views: int | None = None
    ):
        if views is not None and views < 1:
            raise ValueError(f"tokens.views={views} must be at least 1, or null for a new view of every sample")
        self.starts, self.num_frame, self.sampling, self.seed, self.views = starts, num_frame, sampling or ClipSampling(), seed, views

    def training_rows(self) -> Int[np.ndarray, "n"]:
        """Rows on which a training clip can end. Raises ValueError where sequences are too short for this num_frame."""
        eligible_rows(self.starts, self.num_frame + self.sampling.consecutive - 1)  # somewhere a whole clip must exist
        return eligible_rows(self.starts, self.sampling.consecutive)

    def training(self, position: int, row: int) -> ClipPlan:
        """The clips of a training position whose last one ends at `row`."""
        rng = np.random.default_rng([self.seed, position])
        count, start = self.sampling.consecutive, int(self.starts[row])
        largest_gap = min(self.sampling.max_gap, (row - start) // (count - 1)) if count > 1 else self.sampling.max_gap
        gap = int(rng.integers(1, largest_gap + 1))
        rows, real = _within(start, row - gap * np.arange(lookback(self.num_frame)[0] + count)[::-1])
        history = int(rng.integers(min(self.sampling.min_history, self.num_frame), self.num_frame + 1))
        kept = rng.random(len(rows)) >= self.sampling.drop
        return ClipPlan.of(rows, real & kept, self.num_frame, history, int(rng.integers(self.views or FRESH_VIEWS)))

    def evaluation(self, row: int) -> ClipPlan:
        """The clip that ends at `row`, with its full history."""
        stretch = row - np.arange(lookback(self.num_frame)[0] + 1)[::-1]
        return ClipPlan.of(*_within(int(self.starts[row]), stretch), self.num_frame, self.num_frame)

    def sequence(self, row: int) -> tuple[int, int]:
        """First row, and row after the last, of the sequence that a row is in."""
        start = self.starts[row]
        return int(start), int(np.searchsorted(self.starts, start, side="right"))
