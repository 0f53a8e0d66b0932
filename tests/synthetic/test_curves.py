import numpy as np

from tempohand.synthetic.curves import follow, minimum_jerk, parabola, random_walk, sample_timeline, wobble


def test_minimum_jerk_starts_and_stops_at_rest():
    p = np.linspace(-0.5, 1.5, 2001)
    value = minimum_jerk(p)
    speed, acceleration = np.gradient(value, p), np.gradient(np.gradient(value, p), p)
    assert value[0] == 0 and value[-1] == 1 and (np.diff(value) >= 0).all()
    for end in (0.0, 1.0):
        at = np.abs(p - end).argmin()
        assert abs(speed[at]) < 1e-4 and abs(acceleration[at]) < 0.1
    np.testing.assert_allclose(minimum_jerk(1 - p), 1 - value, atol=1e-12)


def test_following_keys_never_leaves_them():
    rng = np.random.default_rng(0)
    times = np.arange(60) / 30
    for _ in range(20):
        timeline = sample_timeline(rng, 2.0, (0.2, 0.6), (0.0, 0.3))
        keys = rng.normal(size=(timeline.num_keys, 4))
        path = follow(timeline, keys, times, lag=0.05)
        assert (path <= keys.max(0) + 1e-9).all() and (path >= keys.min(0) - 1e-9).all()
        # Before a move starts the path rests at that move's key.
        rest = follow(timeline, keys, timeline.starts - 1e-9)
        np.testing.assert_allclose(rest, keys[:-1], atol=1e-9)
        gaps = timeline.starts[1:] - timeline.starts[:-1] - timeline.durations[:-1]
        assert (
            (gaps >= -1e-9).all()
            and timeline.starts[0] <= 0
            and timeline.starts[-1] + timeline.durations[-1] + 0.3 >= 2.0
        )


def test_random_walk_and_wobble_keep_their_limits():
    rng = np.random.default_rng(1)
    keys = random_walk(rng, 500, np.array([1.0, 5.0]), np.array([3.0, 0.5]))
    assert (np.abs(keys) <= [1.0, 5.0]).all() and keys.std(0)[0] > 0.3
    unrest = wobble(rng, np.arange(300) / 30, 5, (0.5, 6.0))
    assert np.abs(unrest).max() <= 1 and unrest.std(0).min() > 0.05


def test_a_parabola_is_found_again_from_any_three_of_its_points():
    rng = np.random.default_rng(5)
    for _ in range(20):
        factors, times = rng.normal(size=(3, 4)), np.cumsum(rng.uniform(0.2, 2.0, 3))
        values = np.stack([np.polyval(factors, time) for time in times])
        time = rng.uniform(times[0], times[2])
        np.testing.assert_allclose(parabola(values, times, time), np.polyval(factors, time), atol=1e-9)
