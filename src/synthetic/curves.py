"""Curves over time: what moves here moves as people do, from one held place to the next without a jerk."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray


class Timeline(NamedTuple):
    """Moves between held keys: move k leads from key k to key k + 1, from starts[k] for durations[k] seconds;
    moves do not overlap."""

    starts: Float[ndarray, "k"]
    durations: Float[ndarray, "k"]

    @property
    def num_keys(self) -> int:
        return len(self.starts) + 1


def minimum_jerk(phase: Float[ndarray, "..."]) -> Float[ndarray, "..."]:
    """0 before phase 0, 1 after phase 1, and between them the reach of least jerk: 10 p^3 - 15 p^4 + 6 p^5
    (Flash and Hogan, 1985)."""
    p = np.clip(phase, 0.0, 1.0)
    return p**3 * (10.0 - 15.0 * p + 6.0 * p**2)


def sample_timeline(
    rng: np.random.Generator, seconds: float, move: tuple[float, float], hold: tuple[float, float]
) -> Timeline:
    """Moves (seconds each, a range) and holds (a range) that cover 0..seconds, begun at a random moment
    before 0."""
    starts, durations = [], []
    time = -rng.uniform(0.0, move[1] + hold[1])
    while time < seconds:
        starts.append(time)
        durations.append(rng.uniform(*move))
        time += durations[-1] + rng.uniform(*hold)
    return Timeline(np.array(starts), np.array(durations))


def follow(
    timeline: Timeline, keys: Float[ndarray, "n ..."], times: Float[ndarray, "t"], lag: float = 0.0
) -> Float[ndarray, "t ..."]:
    """The value at every time: it rests at a key, then moves to the next with minimum jerk; always between
    the two keys. `lag` in seconds."""
    assert len(keys) == timeline.num_keys, f"{len(keys)} keys for {timeline.num_keys} places"
    phase = (times[:, None] - lag - timeline.starts) / timeline.durations
    return keys[0] + np.tensordot(minimum_jerk(phase), np.diff(keys, axis=0), axes=1)


def parabola(
    values: Float[ndarray, "3 ..."], times: Float[ndarray, "3"], time: float
) -> Float[ndarray, "..."]:
    """The value at `time` of the parabola through three values at rising times (Lagrange's)."""
    before, here, after = values
    a, b, t = times[1] - times[0], times[2] - times[1], time - times[1]
    # As the central and second differences' weights: with even steps of 1 they are exactly t and t^2.
    slope = t * (t * (a - b) + (a * a + b * b)) / (a * b * (a + b))
    bend = t * (t * (a + b) + (a * a - b * b)) / (a * b * (a + b))
    return here + slope * (after - before) / 2 + bend * (after - 2 * here + before) / 2


def random_walk(rng: np.random.Generator, count: int, limit, step) -> Float[ndarray, "count d"]:
    """Keys [count, d] within +-limit [d]: the first uniform, each later one a normal step (sigma `step` [d])
    on, reflected at the limits."""
    limit, step = np.asarray(limit, float), np.asarray(step, float)
    keys = np.empty((count, len(limit)))
    keys[0] = rng.uniform(-limit, limit)
    for k in range(1, count):
        key = keys[k - 1] + rng.normal(0.0, 1.0, len(limit)) * step
        key = np.where(np.abs(key) > limit, np.sign(key) * 2 * limit - key, key)
        keys[k] = np.clip(key, -limit, limit)
    return keys


def wobble(
    rng: np.random.Generator, times: Float[ndarray, "t"], channels: int, hertz: tuple[float, float]
) -> Float[ndarray, "t channels"]:
    """Smooth unrest in [-1, 1]: three sinusoids a channel with frequencies in the range `hertz`."""
    share = rng.dirichlet(np.ones(3), channels)
    frequency = rng.uniform(*hertz, (channels, 3))
    phase = rng.uniform(0.0, 2 * np.pi, (channels, 3))
    return (share * np.sin(2 * np.pi * frequency * times[:, None, None] + phase)).sum(-1)
