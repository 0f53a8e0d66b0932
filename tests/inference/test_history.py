import dataclasses

import numpy as np
import pytest
import torch

from tempohand.data.clips import MAX_AGE_S, MAX_GAP_S, Clips, lookback
from tempohand.inference.history import Seen, clip_of, displacement, follow, reach


def seen(time: float, *, x: float = 0.0, side: float = 1.0, is_right: bool = True) -> Seen:
    box = np.array([x, 0.0, x + side, side])
    given = {"features": torch.zeros(2)}
    return Seen(given, np.ones(2, np.float32), np.ones(2, np.float32), time, is_right, box)


def grown(frames: list[Seen], num_frame: int = 7) -> tuple[Seen, ...]:
    history = ()
    for one in frames:
        history = follow(history, one, num_frame)
    return history


@pytest.mark.parametrize("num_frame", [1, 3, 7])
def test_a_history_holds_the_clip_that_the_loader_would_make(num_frame):
    frames = [seen(i / 30) for i in range(20)]
    for count in range(1, 21):
        history = grown(frames[:count], num_frame)
        clip, rows = clip_of(history, num_frame), count - 1 - lookback(num_frame)
        assert [history[place] for place in clip.rows] == [frames[row] for row in rows if row >= 0]
        assert clip.mask[0].tolist() == (rows >= 0).tolist() and len(history) <= 14


def test_a_history_forgets_what_is_old():
    history = grown([seen(0.3 * i) for i in range(9)])
    assert (
        history[-1].time == 0.3 * 8
        and history[-1].time - history[0].time == pytest.approx(MAX_AGE_S)
        and len(history) == 4
    )


@pytest.mark.parametrize("start", [0.0, 0.1, 0.7, 1234.567, 2.0**20])
def test_the_gap_is_bounded_whatever_the_clock_shows(start):
    for gap, length in ((MAX_GAP_S / 2, 2), (MAX_GAP_S, 2), (MAX_GAP_S + 1e-3, 1), (100, 1)):
        assert len(grown([seen(start), seen(start + gap)])) == length


def test_another_side_is_another_history():
    assert [len(grown([seen(0), seen(0.03), seen(0.06, is_right=side)])) for side in (True, False)] == [3, 1]


@pytest.mark.parametrize(
    ("elapsed", "sides"), [(0.01, 1.0), (1 / 30, 1.0), (1 / 15, 1.0), (0.2, 3.0), (0.4, 6.0)]
)
def test_a_hand_gets_as_far_as_its_speed_allows(elapsed, sides):
    assert reach(elapsed) == pytest.approx(sides)
    for x, length in ((0.99 * sides, 2), (1.01 * sides, 1), (-1.01 * sides, 1)):
        assert len(grown([seen(0), seen(elapsed, x=x)])) == length


def test_displacement_is_symmetric_sees_growth_and_has_no_unit():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = (
            np.concatenate([corner, corner + rng.uniform(1, 9, 2)]) for corner in rng.normal(0, 20, (2, 2))
        )
        assert (
            displacement(a, b)
            == pytest.approx(displacement(b, a))
            == pytest.approx(displacement(3 * a + 5, 3 * b + 5))
        )
    box = np.array([-1.0, -1, 1, 1])
    assert displacement(box, box) == 0
    assert displacement(box, 4 * box) == pytest.approx(1.5)


def test_the_same_moment_again_replaces_the_frame():
    frames = [seen(i / 30) for i in range(9)]
    again = dataclasses.replace(frames[8], time=frames[7].time)
    for count in (1, 4, 8):
        history = grown(frames[:count])
        replaced = follow(history, dataclasses.replace(again, time=frames[count - 1].time), 7)
        assert (
            len(replaced) == len(history)
            and replaced[:-1] == history[:-1]
            and replaced[-1] is not history[-1]
        )


@pytest.mark.parametrize("rate", [5, 12, 25, 30, 50, 60, 90, 120])
def test_at_every_frame_rate_the_stream_has_the_tables_clips(rate):
    time = np.arange(60) / rate + 0.001 * np.sin(np.arange(60))
    time[40:] += 2 * MAX_GAP_S  # nobody looked
    clips = Clips(np.zeros(60, int), time, 7)
    history = ()
    for row, moment in enumerate(time):
        history = follow(history, seen(float(moment)), 7)
        plan = clips.evaluation(row)
        expected = time[plan.rows[plan.clips[0, plan.mask[0]]]]
        places = clip_of(history, 7).rows
        assert [history[place].time for place in places] == expected.tolist()


@pytest.mark.parametrize(("rate", "reach"), [(30, 13 / 30), (60, 13 / 30), (120, 13 / 40), (5, 0.6)])
def test_a_clip_reaches_back_in_time_not_in_frames(rate, reach):
    time = np.arange(100) / rate
    plan = Clips(np.zeros(100, int), time, 7).evaluation(99)
    ages = time[99] - time[plan.rows[plan.clips[0, plan.mask[0]]]]
    assert ages.max() == pytest.approx(reach) and np.diff(ages).max() <= -0.0166
