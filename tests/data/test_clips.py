"""What a clip is: the one rule, against loops that say it in other words."""

import numpy as np
import pytest

from tempohand.data.clips import (
    MAX_AGE_S,
    MAX_GAP_S,
    ClipPlan,
    Clips,
    ClipSampling,
    clip_steps,
    eligible_rows,
    join_clips,
    lookback,
    previous_frames,
    see_clips,
)

EPSILON = 1e-6


def some_times(rng, count: int) -> np.ndarray:
    """Of one sequence: 30 or 60 frames/s, with pauses of all lengths."""
    steps = rng.choice([1 / 60, 1 / 30, 0.1, 0.35, 0.6], count, p=[0.3, 0.5, 0.1, 0.05, 0.05])
    return 100 + np.cumsum(steps)


def naive_clip(time, last: int, num_frame: int, shown) -> tuple[list[int], list[bool]]:
    """The clip that ends at frame `last` of one sequence, frame by frame; a frame counts as a step of its own
    once it is 17 ms older than the one before."""
    chain = [last]
    while chain[-1] > 0:
        older = [frame for frame in range(chain[-1]) if time[chain[-1]] - time[frame] >= 0.017]
        if not older or time[older[-1] + 1] - time[older[-1]] > MAX_GAP_S + EPSILON:
            break
        chain.append(older[-1])
    frames, real = [], []
    for back in lookback(num_frame).tolist():
        there = back < len(chain) and (back == 0 or shown(chain[back]))
        there = there and time[last] - time[chain[back]] <= MAX_AGE_S + EPSILON
        frames.append(chain[back] if there else None)
        real.append(there)
    earliest = next(frame for frame in frames if frame is not None)
    return [earliest if frame is None else frame for frame in frames], real


def shown_clips(plan: ClipPlan) -> list[list[int]]:
    return plan.rows[plan.clips].tolist()


def test_frames_of_a_clip_lie_ever_farther_back():
    assert lookback(7).tolist() == [13, 8, 5, 3, 2, 1, 0] and lookback(1).tolist() == [0]


@pytest.mark.parametrize("num_frame", [1, 3, 7])
def test_an_evaluation_clip_is_the_naive_one(num_frame):
    rng = np.random.default_rng(num_frame)
    for _ in range(20):
        times = [some_times(rng, count) for count in (1, 9, 25)]
        starts = np.repeat([0, 1, 10], [1, 9, 25])
        clips = Clips(starts, np.concatenate(times), num_frame)
        for time, start in zip(times, (0, 1, 10)):
            for last in range(len(time)):
                frames, real = naive_clip(time, last, num_frame, lambda _: True)
                plan = clips.evaluation(start + last)
                assert shown_clips(plan) == [[start + frame for frame in frames]]
                assert plan.mask.tolist() == [real]
                assert (np.diff(plan.rows) > 0).all() and set(plan.clips.ravel()) == set(
                    range(len(plan.rows))
                )


@pytest.mark.parametrize("num_frame", [1, 7])
def test_without_a_frame_a_clip_is_the_naive_one_that_never_saw_it(num_frame):
    rng = np.random.default_rng(num_frame)
    for _ in range(40):
        time, missing = some_times(rng, 20), set(np.flatnonzero(rng.random(20) < 0.3).tolist())
        clips = Clips(np.zeros(20, int), time, num_frame)
        for last in range(20):
            plan = clips.evaluation(last).without(missing)
            assert (plan is None) == (last in missing)
            if plan is not None:
                shown = set(range(20)) - missing
                frames, real = naive_clip(time, last, num_frame, shown.__contains__)
                assert shown_clips(plan) == [frames] and plan.mask.tolist() == [real]


def test_a_stream_s_clips_are_those_of_evaluation_where_nothing_is_missing():
    rng = np.random.default_rng(0)
    for _ in range(20):
        time = some_times(rng, 30)
        clips = Clips(np.repeat([0, 7], [7, 30]), np.concatenate([np.arange(7) / 30, time]), 7)
        places, real = clips.of_stream(np.arange(7, 37), 7)
        plans = [clips.evaluation(row) for row in range(7, 37)]
        assert (places + 7).tolist() == [shown_clips(plan)[0] for plan in plans]
        assert real.tolist() == [plan.mask[0].tolist() for plan in plans]


def test_a_stream_s_clips_lack_what_was_not_seen_and_end_at_a_pause_of_it():
    """Pauses are those between frames that were seen, so that frames left out may make one."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        time = some_times(rng, 40)
        rows = np.flatnonzero(rng.random(40) < 0.6)
        clips = Clips(np.zeros(40, int), time, 7)
        places, real = clips.of_stream(rows, 7)
        for place, row in enumerate(rows.tolist()):
            begins = place
            while begins and time[rows[begins]] - time[rows[begins - 1]] <= MAX_GAP_S + EPSILON:
                begins -= 1
            live = set(rows[begins : place + 1].tolist())
            frames, mask = naive_clip(time, row, 7, live.__contains__)
            assert rows[places[place]].tolist() == frames and real[place].tolist() == mask


def test_training_clips_are_naive_ones_of_frames_a_gap_apart():
    """Every clip of a sample, with the frames that it draws."""
    sampling = ClipSampling(min_history=2, max_gap=3, consecutive=4, drop=0.2)
    clips = Clips(np.zeros(120, int), np.arange(120) / 30, 7, sampling, seed=3)
    gaps, masked = set(), 0
    for position in range(200):
        plan = clips.training(position, 40 + position % 80)
        ends = plan.rows[plan.clips[:, -1]]
        (gap,) = set(np.diff(ends).tolist())
        gaps.add(gap)
        assert ends[-1] == 40 + position % 80 and len(ends) == 4
        for end, clip, mask in zip(ends, plan.rows[plan.clips], plan.mask):
            wanted = end - gap * lookback(7)
            assert (clip[mask] == wanted[mask]).all() and mask[-1]
            assert (clip[~mask] == clip[mask][0]).all()
            assert not mask[(wanted < 0) | (gap * lookback(7) / 30 > MAX_AGE_S + EPSILON)].any()
            masked += int((~mask).sum())
        seen = {
            row: set() for row in plan.rows.tolist()
        }  # a frame that goes missing is missing from every clip
        for end, mask in zip(ends, plan.mask):
            for row, there in zip(end - gap * lookback(7)[:-1], mask[:-1]):
                seen.setdefault(int(row), set()).add(bool(there))
    assert gaps == {1, 2, 3} and masked > 0


def test_joined_clips_are_each_plan_s_own():
    rng = np.random.default_rng(0)
    clips = Clips(np.zeros(40, int), np.arange(40) / 30, 7, ClipSampling(consecutive=3), seed=1)
    plans = [clips.training(position, int(rng.integers(2, 40))) for position in range(5)]
    joined, mask = join_clips(plans)
    rows = np.concatenate([plan.rows for plan in plans])
    assert rows[joined].tolist() == [clip for plan in plans for clip in shown_clips(plan)]
    assert mask.tolist() == [row for plan in plans for row in plan.mask.tolist()]


def test_a_history_that_was_seen_is_a_clip_by_the_same_rule():
    rng = np.random.default_rng(2)
    time = np.arange(30) / 30 + rng.random(30) * 1e-3
    steps = clip_steps(previous_frames(time), np.array([29]), 7)
    frames, real = see_clips(steps, np.ones_like(steps, bool), time)
    assert (frames[0].tolist(), real[0].tolist()) == naive_clip(time, 29, 7, lambda _: True)


def test_rows_with_enough_frames_before_them():
    assert eligible_rows(np.zeros(5, int), 5).tolist() == [4]
