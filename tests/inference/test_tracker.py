import numpy as np
import pytest

from tempohand.inference.tracker import Detection, Tracker


def box(x: float, y: float = 50.0, side: float = 20.0) -> np.ndarray:
    return np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2])


def follow(tracker: Tracker, frames: dict[int, list[Detection]]) -> dict[int, list]:
    return {frame: tracker.update(frame / 30, detections) for frame, detections in frames.items()}


def crossing_hands(seed: int = 0) -> tuple[dict[int, list[Detection]], dict[int, list[int]]]:
    """Two hands that pass each other at different heights, listed in a random order, and who is who."""
    rng = np.random.default_rng(seed)
    frames, truth = {}, {}
    for frame in range(20):
        hands = [Detection(box(20 + 5 * frame, 50), True), Detection(box(115 - 5 * frame, 62), False)]
        order = rng.permutation(2)
        frames[frame], truth[frame] = [hands[i] for i in order], order.tolist()
    return frames, truth


@pytest.mark.parametrize("seed", range(5))
def test_identity_survives_a_crossing_in_any_order(seed):
    frames, truth = crossing_hands(seed)
    tracked = follow(Tracker(), frames)
    first = {who: hand.hand for who, hand in zip(truth[0], tracked[0])}
    assert all([hand.hand for hand in tracked[frame]] == [first[who] for who in truth[frame]] for frame in frames)
    assert [hand.starts for frame in frames for hand in tracked[frame]] == [True] * 2 + [False] * 38


def test_the_future_changes_nothing():
    frames, _ = crossing_hands()
    whole = follow(Tracker(smoothing=0.4), frames)
    cut = follow(Tracker(smoothing=0.4), {frame: frames[frame] for frame in range(7)})
    for frame in cut:
        for a, b in zip(whole[frame], cut[frame], strict=True):
            assert (a.hand, a.is_right, a.starts) == (b.hand, b.is_right, b.starts) and np.array_equal(a.box, b.box)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(("gap", "starts"), [(0, False), (1, False), (3, False), (4, True), (30, True)])
def test_a_gap_longer_than_max_gap_forgets_the_hand(named, gap, starts):
    detection = Detection(box(50), hand=5 if named else None)
    tracker = Tracker(max_gap=4 / 30)
    before, after = tracker.update(7.3, [detection])[0], tracker.update(7.3 + (1 + gap) / 30, [detection])[0]
    assert before.starts and after.starts is starts
    assert (after.hand == before.hand) is (named or not starts)


def test_no_box_no_hand():
    tracker = Tracker()
    tracker.update(0, [Detection(box(50))])
    assert tracker.update(0.03, []) == []


def test_a_jump_is_another_hand_and_ids_are_not_reused():
    tracker = Tracker()
    ids = [tracker.update(frame / 30, [Detection(box(x))])[0].hand for frame, x in enumerate((20, 60, 100, 140))]
    assert len(set(ids)) == 4


def test_given_ids_win_over_places():
    tracker = Tracker()
    tracker.update(0, [Detection(box(20), hand=7), Detection(box(60), hand=0)])
    swapped = tracker.update(1 / 30, [Detection(box(60), hand=7), Detection(box(20), hand=0)])
    assert [(hand.hand, hand.starts) for hand in swapped] == [(7, False), (0, False)]


def test_a_new_hand_takes_no_given_id():
    hands = Tracker().update(0, [Detection(box(20)), Detection(box(60), hand=0), Detection(box(100))])
    assert hands[1].hand == 0 and len({hand.hand for hand in hands}) == 3
    tracker = Tracker()
    tracker.update(0, [Detection(box(20), hand=0)])
    assert tracker.update(1 / 30, [Detection(box(100))])[0].hand != 0


def test_the_side_is_the_majority_so_far():
    says = [False, True, False, True, True, True]
    tracker = Tracker()
    hands = [tracker.update(frame / 30, [Detection(box(50), side)])[0] for frame, side in enumerate(says)]
    assert [hand.is_right for hand in hands] == [False, False, False, False, True, True]
    assert [hand.starts for hand in hands] == [True] + [False] * 5
    forced = Tracker(side=True)
    assert [forced.update(frame / 30, [Detection(box(50), side)])[0].is_right for frame, side in enumerate(says)] == [True] * 6
    assert Tracker().update(0, [Detection(box(50))])[0].is_right


def test_smoothing_is_a_running_average_that_restarts():
    tracker, expected = Tracker(smoothing=0.25, max_gap=0.1), None
    for frame, x in enumerate((50, 54, 49, 52)):
        expected = box(x) if expected is None else 0.25 * expected + 0.75 * box(x)
        np.testing.assert_allclose(tracker.update(frame / 30, [Detection(box(x))])[0].box, expected)
    np.testing.assert_array_equal(tracker.update(0.5, [Detection(box(51))])[0].box, box(51))
    plain = Tracker()
    plain.update(0, [Detection(box(50))])
    np.testing.assert_array_equal(plain.update(1 / 30, [Detection(box(54))])[0].box, box(54))


@pytest.mark.parametrize("values", [{"max_gap": -1}, {"smoothing": 1.0}, {"smoothing": -0.1}, {"smoothing": float("nan")}])
def test_settings_without_meaning_are_refused(values):
    with pytest.raises(ValueError, match="--max-gap|--smooth"):
        Tracker(**values)
