"""Which rows of a table are a clip: the last frame and the frames before it in the same sequence."""

import numpy as np
from jaxtyping import Bool, Int


def clip_rows(start: int, last: int, num_frame: int, gap: int = 1) -> tuple[Int[np.ndarray, "t"], Bool[np.ndarray, "t"]]:
    """Rows [T] of the clip that ends at row `last` of the sequence that starts at row `start`, every `gap`-th frame, and which are real.

    Where the sequence has no such frame yet, its earliest one in the clip is repeated and marked False.
    """
    rows = last - gap * np.arange(num_frame - 1, -1, -1)
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
