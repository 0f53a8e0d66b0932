"""Which frames of a table are a clip, and which clips a training position draws: rows and masks, before
anything is read."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

FRESH_VIEWS = 2**31  # numbers to draw from when every clip has a view of its own
# What a history is, in seconds: the same in training, evaluation and streams, whatever the frame rate. Clips
# reach back 13 frames, up to 2 frames apart in training (config/stage/two.yaml), at some 30 frames/s.
MAX_AGE_S = 0.9
MAX_GAP_S = 0.4  # longer without a look at a hand, and what was known of it has passed
MIN_STEP_S = 0.017  # between a clip's frames: of 60 frames/s every second one, of 50 and fewer every one
CLOCK_S = 1e-6  # differences of time stamps below this are rounding


def lookback(num_frame: int) -> Int[np.ndarray, "t"]:
    """How many frames before its last one each frame of a clip lies, oldest first: 0, 1, 2, 3, 5, 8, 13, ...,
    the Fibonacci numbers.

    Dense where motion is read, sparse where a hand is remembered that something has covered since: 7 frames
    reach back 13.
    """
    back = [0, 1, 2]
    while len(back) < num_frame:
        back.append(back[-1] + back[-2])
    return np.array(back[:num_frame][::-1])


def steps_back(previous: Int[np.ndarray, "n"], last: int, count: int) -> Int[np.ndarray, "m"]:
    """Frame `last` and those one, two, ... steps before it, newest first: `count` of them, or as many as
    there are. previous: the frame one step before each (`previous_rows`), -1 where there is none."""
    frames = [last]
    while len(frames) < count and previous[frames[-1]] >= 0:
        frames.append(int(previous[frames[-1]]))
    return np.array(frames)


def clip_steps(
    previous: Int[np.ndarray, "n"], last: Int[np.ndarray, "c"], num_frame: int
) -> Int[np.ndarray, "c t"]:
    """For each clip, by its last frame, the frames that lie `lookback` steps before it; -1 where there is
    none."""
    back, chain = lookback(num_frame), [last]
    for _ in range(back[0]):
        chain.append(np.where(chain[-1] >= 0, previous[chain[-1]], -1))
    return np.stack([chain[steps] for steps in back], axis=1)


def see_clips(
    steps: Int[np.ndarray, "c t"], shown: Bool[np.ndarray, "c t"], time: Float[np.ndarray, "n"]
) -> tuple[Int[np.ndarray, "c t"], Bool[np.ndarray, "c t"]]:
    """What a clip is, wherever its frames come from: the frames of each, oldest first, and which are real.

    steps: the frames `lookback` steps before the last one, -1 where there is none. Real are those that exist,
    are `shown` and are at most MAX_AGE_S older than the last one, and always the last one itself. time: of
    every frame, s.
    """
    real = shown & (steps >= 0) & (time[steps[:, -1:]] - time[steps] <= MAX_AGE_S + CLOCK_S)
    real[:, -1] = True
    return fill_up(steps, real), real


def fill_up(frames: Int[np.ndarray, "c t"], real: Bool[np.ndarray, "c t"]) -> Int[np.ndarray, "c t"]:
    """The frames of each clip, its earliest real one in the place of those that are not real."""
    earliest = np.take_along_axis(frames, real.argmax(axis=1)[:, None], axis=1)
    return np.where(real, frames, earliest)


def previous_frames(time: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """For each frame of one sequence, whose times (s) rise, the newest that is at least a step (MIN_STEP_S)
    older; -1 where there is none."""
    return np.searchsorted(time, time - MIN_STEP_S, side="right") - 1


def previous_rows(
    starts: Int[np.ndarray, "rows"], time: Float[np.ndarray, "rows"]
) -> Int[np.ndarray, "rows"]:
    """`previous_frames` of every sequence of a table, as rows; -1 where there is none."""
    rows = np.arange(len(starts))
    previous = np.where(rows > starts, rows - 1, -1)
    close = (previous >= 0) & (time - time[previous] < MIN_STEP_S)
    for start in np.unique(starts[close]):
        end = np.searchsorted(starts, start, side="right")
        places = previous_frames(time[start:end])
        previous[start:end] = np.where(places >= 0, places + start, -1)
    return previous


def stretch_starts(
    starts: Int[np.ndarray, "rows"], time: Float[np.ndarray, "rows"]
) -> Int[np.ndarray, "rows"]:
    """The first row of each row's stretch: of its sequence, or since the last pause longer than MAX_GAP_S in
    it."""
    rows = np.arange(len(starts))
    begins = (rows == starts) | (np.diff(time, prepend=time[:1]) > MAX_GAP_S + CLOCK_S)
    return np.maximum.accumulate(np.where(begins, rows, 0))


def eligible_rows(starts: Int[np.ndarray, "rows"], length: int) -> Int[np.ndarray, "n"]:
    """Rows that have at least `length` - 1 earlier frames in their sequence.

    Raises ValueError naming the longest sequence when there is none.
    """
    position = np.arange(len(starts)) - starts
    rows = np.flatnonzero(position >= length - 1)
    if not len(rows):
        raise ValueError(
            f"no sequence has {length} frames, the longest has {position.max() + 1}: Stage 2 needs clips of "
            f"at least {length} frames; give it video, or train Stage 1 on this table"
        )
    return rows


@dataclass(frozen=True)
class ClipSampling:
    """How training clips vary in time: shortest history (frames kept), largest frame gap, clips per sample,
    and frames that go missing.

    With `consecutive` = c a sample is c clips, each one frame after the other, in one view: a velocity loss
    compares neighbours, and the frames that they share are encoded once. `drop` is the probability that a
    frame is missing from the history of the clips that it is in.
    """

    min_history: int = 1
    max_gap: int = 1
    consecutive: int = 1
    drop: float = 0.0

    def __post_init__(self):
        if min(self.min_history, self.max_gap, self.consecutive) < 1 or not 0 <= self.drop < 1:
            raise ValueError(
                "sampling: min_history, max_gap and consecutive are at least 1 and drop lies in [0, 1), "
                f"got {self}"
            )


@dataclass(frozen=True)
class ClipPlan:
    """Clips, oldest frame first, and the frames that they show.

    `rows` are rows of the table, ascending, each once; `clips` are places in them. Frames that a clip lacks
    are masked, its earliest one stands in their place.
    """

    rows: Int[np.ndarray, "n"]
    clips: Int[np.ndarray, "c t"]
    mask: Bool[np.ndarray, "c t"]
    view: int = 0  # number of the drawn view

    @classmethod
    def of(cls, frames: Int[np.ndarray, "c t"], mask: Bool[np.ndarray, "c t"], view: int = 0) -> "ClipPlan":
        """The plan of clips whose frames are rows (`see_clips`)."""
        rows, clips = np.unique(frames, return_inverse=True)
        return cls(rows, clips.reshape(frames.shape), mask, view)

    @classmethod
    def single_frames(cls, rows: Int[np.ndarray, "n"], view: int) -> "ClipPlan":
        """Each of some frames of a sequence as a clip of its own."""
        return cls(rows, np.arange(len(rows))[:, None], np.ones((len(rows), 1), bool), view)

    def without(self, missing: Collection[int]) -> "ClipPlan | None":
        """The plan as if the rows in `missing` did not exist: clips that end at one are gone, in the others
        they are missing frames. None where no clip is left."""
        usable = np.array([row not in missing for row in self.rows.tolist()])
        left = usable[self.clips[:, -1]]
        if not left.any():
            return None
        frames, real = self.clips[left], self.mask[left]
        real = real & usable[frames]
        return ClipPlan.of(self.rows[fill_up(frames, real)], real, self.view)


def join_clips(plans: Sequence[ClipPlan]) -> tuple[Int[np.ndarray, "c t"], Bool[np.ndarray, "c t"]]:
    """The clips and masks of several plans, as places among all their frames, one plan after the other."""
    offsets = np.cumsum([0] + [len(plan.rows) for plan in plans])
    clips = [plan.clips + offset for plan, offset in zip(plans, offsets)]
    return np.concatenate(clips), np.concatenate([plan.mask for plan in plans])


class Clips:
    """The clips of a table whose row r lies in the sequence that starts at row `starts[r]` and was seen at
    `time[r]` seconds.

    A training position decides its clips: gap, history, missing frames, and one of `views` fixed views of the
    sequence (None: a new one). A sequence ends where a pause is longer than MAX_GAP_S, and its steps last
    MIN_STEP_S at least.
    """

    def __init__(
        self,
        starts: Int[np.ndarray, "rows"],
        time: Float[np.ndarray, "rows"],
        num_frame: int,
        sampling: ClipSampling | None = None,
        seed: int = 0,
        views: int | None = None,
    ):
        if views is not None and views < 1:
            raise ValueError(
                f"tokens.views={views} must be at least 1, or null for a new view of every sample"
            )
        self.starts, self.time = stretch_starts(starts, time), time
        self.previous = previous_rows(self.starts, time)
        self.num_frame = num_frame
        self.sampling = sampling or ClipSampling()
        self.seed = seed
        self.views = views

    def training_rows(self) -> Int[np.ndarray, "n"]:
        """Rows on which a training clip can end. Raises ValueError where sequences are too short for this
        num_frame."""
        # somewhere a whole clip must exist
        eligible_rows(self.starts, self.num_frame + self.sampling.consecutive - 1)
        return np.flatnonzero(self.can_end(np.arange(len(self.starts))))

    def can_end(self, rows: Int[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
        """Whether a training sample can end at each row: there are enough steps before it for its consecutive
        clips."""
        for _ in range(self.sampling.consecutive - 1):
            rows = np.where(rows >= 0, self.previous[rows], -1)
        return rows >= 0

    def training(self, position: int, row: int) -> ClipPlan:
        """The clips of a training position whose last one ends at `row`."""
        rng = np.random.default_rng([self.seed, position])
        count, most = self.sampling.consecutive, self.sampling.max_gap
        back = lookback(self.num_frame)
        length = int(back[0]) + count  # steps in which all of the clips lie
        chain = steps_back(self.previous, row, most * (length - 1) + 1)
        largest_gap = min(most, (len(chain) - 1) // (count - 1)) if count > 1 else most
        steps = int(rng.integers(1, largest_gap + 1)) * np.arange(length)[::-1]
        rows = np.where(steps < len(chain), chain[np.minimum(steps, len(chain) - 1)], -1)
        history = int(rng.integers(min(self.sampling.min_history, self.num_frame), self.num_frame + 1))
        kept = rng.random(length) >= self.sampling.drop
        view = int(rng.integers(self.views or FRESH_VIEWS))
        places = np.arange(back[0], length)[:, None] - back
        shown = kept[places] & (np.arange(self.num_frame) >= self.num_frame - history)
        return ClipPlan.of(*see_clips(rows[places], shown, self.time), view)

    def evaluation(self, row: int) -> ClipPlan:
        """The clip that ends at `row`, with its full history."""
        steps = clip_steps(self.previous, np.array([row]), self.num_frame)
        return ClipPlan.of(*see_clips(steps, np.ones_like(steps, bool), self.time))

    def of_stream(
        self, rows: Int[np.ndarray, "n"], num_frame: int
    ) -> tuple[Int[np.ndarray, "n t"], Bool[np.ndarray, "n t"]]:
        """The clips of `num_frame` frames that end at each of `rows`, ascending, of one sequence, of which
        nothing else was seen: places among them, and which are real. As live, nothing from before a pause
        among them is in a clip."""
        steps = clip_steps(self.previous, rows, num_frame)
        begins = stretch_starts(np.zeros(len(rows), int), self.time[rows])
        shown = np.isin(steps, rows) & (steps >= rows[begins][:, None])
        frames, real = see_clips(steps, shown, self.time)
        return np.searchsorted(rows, frames), real

    def sequence(self, row: int) -> tuple[int, int]:
        """First row, and row after the last, of the sequence that a row is in."""
        start = self.starts[row]
        return int(start), int(np.searchsorted(self.starts, start, side="right"))
