"""When a camera exposes: late frames and dropped ones. Labels and time stamps are those of the exposures that
are kept."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from numpy import ndarray


@dataclass(frozen=True)
class ClockConfig:
    """How unsteady the camera is. Ranges are (least, greatest)."""

    late_probability: float  # of a sequence whose exposures begin late
    late: tuple[float, float]  # by up to this fraction of the frame time, anew for every frame; less than 1
    drop_probability: float  # of a sequence in which frames get lost
    drop_rate: tuple[float, float]  # of losing the frames after a frame
    drop_frames: tuple[int, int]  # frames lost at a time


class Clock(NamedTuple):
    """Exposures of a camera: their moments [T] in frame times, rising, and which of them are stored [N],
    neither the first nor the last."""

    moments: Float[ndarray, "t"]
    kept: Integer[ndarray, "n"]


def sample_clock(rng: np.random.Generator, num_frames: int, config: ClockConfig) -> Clock:
    """A clock that keeps `num_frames` exposures; a steady one exposes at 0, 1, ..., num_frames + 1 and keeps
    all but the ends."""
    rate = rng.uniform(*config.drop_rate) if rng.random() < config.drop_probability else 0.0
    lost = (rng.random(num_frames) < rate) * rng.integers(
        config.drop_frames[0], config.drop_frames[1] + 1, num_frames
    )
    kept = 1 + np.arange(num_frames) + np.concatenate([[0], np.cumsum(lost)[:-1]])
    moments = np.arange(kept[-1] + 2, dtype=float)
    if rng.random() < config.late_probability:
        moments += rng.uniform(*config.late) * rng.random(len(moments))
    return Clock(moments, kept)
