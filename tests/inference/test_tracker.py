import itertools
import threading

import numpy as np
import pytest

from tempohand.inference.tracker import Detection, Sides, Tracker


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
    assert all(
        [hand.hand for hand in tracked[frame]] == [first[who] for who in truth[frame]] for frame in frames
    )
    assert [hand.starts for frame in frames for hand in tracked[frame]] == [True] * 2 + [False] * 38


def test_the_future_changes_nothing():
    frames, _ = crossing_hands()
    whole = follow(Tracker(smoothing=0.4), frames)
    cut = follow(Tracker(smoothing=0.4), {frame: frames[frame] for frame in range(7)})
    for frame in cut:
        for a, b in zip(whole[frame], cut[frame], strict=True):
            assert (a.hand, a.is_right, a.starts) == (b.hand, b.is_right, b.starts) and np.array_equal(
                a.box, b.box
            )


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
    ids = [
        tracker.update(frame / 30, [Detection(box(x))])[0].hand for frame, x in enumerate((20, 60, 100, 140))
    ]
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
    assert [
        forced.update(frame / 30, [Detection(box(50), side)])[0].is_right for frame, side in enumerate(says)
    ] == [True] * 6
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


@pytest.mark.parametrize(
    "values", [{"max_gap": -1}, {"smoothing": 1.0}, {"smoothing": -0.1}, {"smoothing": float("nan")}]
)
def test_settings_without_meaning_are_refused(values):
    with pytest.raises(ValueError, match="`max_gap`|`smoothing`"):
        Tracker(**values)


SIZE = (640, 360)


def mirror(box: np.ndarray) -> np.ndarray:
    return np.array([639, 0, 639, 0]) + box[[2, 1, 0, 3]] * [-1, 1, -1, 1]


def passing(
    speed: float, sides: str = "both", gaps: bool = False, frames: int = 24, rows=(150.0, 175.0)
) -> list[list[tuple[int, Detection]]]:
    """Two hands of 80 px that pass each other, `speed` px a frame, (who, detection) in each frame. sides:
    whose are told. gaps: either is missed in some frames around the crossing, or both are."""
    clip, middle = [], (frames - 1) / 2
    for frame in range(frames):
        hands = []
        for who, (towards, y) in enumerate(zip((1, -1), rows)):
            missed = gaps and abs(frame - middle) < 3 and (frame + who) % 3 == 0
            if not missed:
                told = sides == "both" or (sides == "one" and who == 0)
                side = 80 + 10 * who
                hands.append(
                    (
                        who,
                        Detection(
                            box(320 + towards * speed * (frame - middle), y, side), who == 0 if told else None
                        ),
                    )
                )
        clip.append(hands)
    return clip


def identities(tracker: Tracker, clip, order=lambda hands: hands) -> dict[int, list[int]]:
    """The number that each hand has in its frames."""
    numbers = {0: [], 1: []}
    for frame, hands in enumerate(clip):
        hands = order(hands) if frame else hands  # the order of new hands decides their numbers
        for (who, _), one in zip(hands, tracker.update(frame / 30, [detection for _, detection in hands])):
            numbers[who].append(one.hand)
    return numbers


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("sides", ["both", "one", "none"])
@pytest.mark.parametrize("speed", [4.0, 10.0, 25.0, 38.0])
def test_hands_that_pass_each_other_keep_their_numbers(speed, sides, gaps):
    numbers = identities(Tracker(), passing(speed, sides, gaps))
    assert [len(set(one)) for one in numbers.values()] == [1, 1] and set(numbers[0]) != set(numbers[1])


@pytest.mark.parametrize("speed", [4.0, 10.0, 25.0])
def test_hands_that_turn_back_before_they_pass_keep_theirs_by_their_sides(speed):
    """Where motion says that they have passed each other."""
    there = passing(speed)[:12]
    numbers = identities(Tracker(), [*there, *there[::-1]])
    assert [len(set(one)) for one in numbers.values()] == [1, 1]


def test_a_box_of_the_other_side_does_not_join_a_hand_if_one_of_its_own_side_may():
    tracker = Tracker()
    for frame in range(5):
        first = tracker.update(
            frame / 30, [Detection(box(100, side=40), True), Detection(box(135, side=40), False)]
        )
    (only,) = tracker.update(5 / 30, [Detection(box(110, side=40), False)])  # nearer to the right hand
    assert only.hand == first[1].hand
    (only,) = tracker.update(6 / 30, [Detection(box(100, side=40), True)])
    assert only.hand == first[0].hand


def test_one_word_of_the_other_side_is_overheard_where_nothing_else_fits():
    tracker = Tracker()
    hands = [tracker.update(frame / 30, [Detection(box(100), frame != 6)])[0] for frame in range(12)]
    assert len({one.hand for one in hands}) == 1 and all(one.is_right for one in hands)


def test_the_nearest_pairs_are_all_pairs_at_once():
    """The nearest detection of one hand is the only one of the other."""
    tracker = Tracker()
    first = tracker.update(0, [Detection(box(0, side=100)), Detection(box(80, side=100))])
    then = tracker.update(1 / 30, [Detection(box(45, side=100)), Detection(box(125, side=100))])
    assert [one.hand for one in then] == [one.hand for one in first]


@pytest.mark.parametrize("sides", ["both", "none"])
@pytest.mark.parametrize("gaps", [False, True])
def test_the_order_of_detections_changes_nothing(sides, gaps):
    clip = passing(17.0, sides, gaps)
    assert identities(Tracker(smoothing=0.3), clip) == identities(
        Tracker(smoothing=0.3), clip, order=lambda hands: hands[::-1]
    )


@pytest.mark.parametrize("sides", ["both", "none"])
@pytest.mark.parametrize("gaps", [False, True])
def test_a_mirrored_video_has_the_mirrored_hands(sides, gaps):
    clip, plain, mirrored = passing(17.0, sides, gaps), Tracker(smoothing=0.3), Tracker(smoothing=0.3)
    for frame, hands in enumerate(clip):
        detections = [one for _, one in hands]
        turned = [
            Detection(mirror(one.box), None if one.is_right is None else not one.is_right)
            for one in detections
        ]
        for a, b in zip(
            plain.update(frame / 30, detections), mirrored.update(frame / 30, turned), strict=True
        ):
            assert (a.hand, a.starts, a.has_side) == (b.hand, b.starts, b.has_side) and (
                not a.has_side or a.is_right != b.is_right
            )
            np.testing.assert_allclose(a.box[[0, 2]], 639 - b.box[[2, 0]])


def test_another_resolution_of_the_same_view_goes_on():
    """Half the size midway, and back: the same hands and, scaled, the same boxes."""
    clip, plain, changing = passing(17.0, "none", gaps=True), Tracker(smoothing=0.3), Tracker(smoothing=0.3)
    for frame, hands in enumerate(clip):
        scale = 0.25 if 8 <= frame < 14 else 1.0
        size = (round(SIZE[0] * scale), round(SIZE[1] * scale))
        detections = [one for _, one in hands]
        small = [Detection((one.box + 0.5) * scale - 0.5) for one in detections]
        for a, b in zip(
            plain.update(frame / 30, detections, SIZE), changing.update(frame / 30, small, size), strict=True
        ):
            assert (a.hand, a.starts) == (b.hand, b.starts)
            np.testing.assert_allclose((a.box + 0.5) * scale - 0.5, b.box)


def test_another_shape_of_picture_is_another_view():
    tracker = Tracker()
    first = tracker.update(0, [Detection(box(50))], (640, 360))[0]
    then = tracker.update(1 / 30, [Detection(box(50))], (360, 640))[0]
    assert then.starts and then.hand != first.hand


def test_hands_that_are_gone_are_dropped():
    tracker = Tracker()
    for frame in range(2000):  # a new hand every time, in another place; some with numbers of their own
        tracker.update(
            frame / 30, [Detection(box(1000.0 * frame), hand=5 * frame if frame % 3 == 0 else None)]
        )
        assert len(tracker.hands) <= 14
    tracker.update(1e6, [])
    assert tracker.hands == set()


def test_time_that_runs_back_is_refused_and_changes_nothing():
    tracker = Tracker()
    tracker.update(1.0, [Detection(box(50))])
    with pytest.raises(
        ValueError, match=r"time runs back, from 1 s to 0.5 s; reset\(\) begins another input"
    ):
        tracker.update(0.5, [Detection(box(50))])
    assert not tracker.update(1.03, [Detection(box(50))])[0].starts
    tracker.reset()
    assert tracker.update(0.5, [Detection(box(50))])[0].starts


def test_threads_never_share_a_number():
    """Every thread founds hands of its own, at one moment."""
    tracker, numbers, start = Tracker(), [], threading.Barrier(4)

    def found(thread: int) -> None:
        start.wait()
        for turn in range(50):
            numbers.append(
                [one.hand for one in tracker.update(0, [Detection(box(1e5 * (thread + 4 * turn)))])]
            )

    threads = [threading.Thread(target=found, args=(thread,)) for thread in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(itertools.chain(*numbers)) == list(range(200))


TURNED = {0: 3.0, 1: -3.0}  # log odds of the right and the left hand


def meeting(turn_back: bool = True, merged: int = 3, apart: int = 10) -> list[list[tuple[int, Detection]]]:
    """Two hands of 80 px that come together at 20 px a frame, are one box for `merged` frames, in turns
    around the one and the other, and go back, or on past each other. No box says its side."""
    clip = []
    for step in range(apart, 0, -1):
        clip.append(
            [
                (who, Detection(box(320 + towards * (30 + 20 * step), 150, 80)))
                for who, towards in enumerate((-1, 1))
            ]
        )
    together = [[(frame % 2, Detection(box(320, 150, 90)))] for frame in range(merged)]
    return [
        *clip,
        *together,
        *(clip if turn_back else [[(1 - who, one) for who, one in hands] for hands in clip])[::-1],
    ]


def numbers_by_sides(clip, says=TURNED, known=TURNED, turned=False) -> tuple[list[list[int]], list[int]]:
    """The numbers of each frame's hands where `says` is answered for a box and `known` is what was summed,
    and the questions of each frame. turned: the video and its sides are mirrored."""
    tracker, numbers, questions = Tracker(smoothing=0.3), [], []
    sign, odds = (-1 if turned else 1), {}
    for frame, hands in enumerate(clip):
        detections = [Detection(mirror(one.box)) if turned else one for _, one in hands]
        asked, answers = [], {id(one): sign * says[who] for (who, _), one in zip(hands, detections)}

        def ask(one: Detection, asked=asked, answers=answers) -> float:
            asked.append(one)
            return answers[id(one)]

        tracked = tracker.update(frame / 30, detections, SIZE, Sides(odds, ask))
        if not frame:
            odds = {one.hand: sign * known[who] for (who, _), one in zip(hands, tracked)}
        numbers.append([one.hand for one in tracked])
        questions.append(len(asked))
    return numbers, questions


def by_motion(clip) -> list[list[int]]:
    tracker = Tracker(smoothing=0.3)
    return [
        [one.hand for one in tracker.update(frame / 30, [one for _, one in hands])]
        for frame, hands in enumerate(clip)
    ]


def expected_numbers(clip) -> list[list[int]]:
    return [[who for who, _ in hands] for hands in clip]


@pytest.mark.parametrize(
    ("turn_back", "merged"), [(True, 0), (True, 1), (True, 3), (True, 6), (False, 4), (False, 6)]
)
def test_hands_that_merge_and_part_again_keep_their_numbers_by_their_sides(turn_back, merged):
    """Whichever way they part: motion alone gives one answer to both."""
    clip = meeting(turn_back, merged)
    assert numbers_by_sides(clip)[0] == expected_numbers(clip)


def test_motion_alone_would_swap_the_hands_that_turn_back():
    clip = meeting()
    assert by_motion(clip)[-1] == expected_numbers(clip)[-1][::-1]


def test_boxes_are_asked_for_their_side_only_where_two_hands_may_be_in_them():
    clip = meeting(merged=3)
    questions = numbers_by_sides(clip)[1]
    near = [len(hands) == 1 or abs(np.subtract(*(one.box[0] for _, one in hands))) < 140 for hands in clip]
    assert not any(count for count, close in zip(questions, near) if not close)
    assert questions[10:14] == [1, 1, 1, 2], "a merged box is asked about, and both when they part"
    assert sum(questions) <= 2 * sum(near) < len(clip)


@pytest.mark.parametrize("known", [{0: 3.0, 1: 3.0}, {0: 3.0, 1: 0.0}, {0: 0.5, 1: -0.5}, {0: 0.0, 1: 0.0}])
def test_nothing_is_asked_where_the_sides_of_hands_do_not_differ_clearly(known):
    assert sum(numbers_by_sides(meeting(), known=known)[1]) == 0


def test_an_answer_that_tells_nothing_leaves_what_motion_says():
    clip = meeting()
    numbers, questions = numbers_by_sides(clip, says={0: 0.0, 1: 0.0})
    assert numbers == by_motion(clip) and sum(questions)


def test_one_wrong_answer_of_two_changes_nothing_where_motion_is_plain():
    """Hands that rest beside each other; the left one looks like a right one, and less like it than the right
    one does."""
    clip = [[(0, Detection(box(280, 150, 80))), (1, Detection(box(345, 150, 80)))]] * 8
    numbers, questions = numbers_by_sides(clip, says={0: 3.0, 1: 2.0})
    assert numbers == [[0, 1]] * 8 and questions[1:] == [2] * 7


@pytest.mark.parametrize("turn_back", [True, False])
def test_a_mirrored_video_has_the_mirrored_sides_and_the_same_numbers(turn_back):
    clip = meeting(turn_back, merged=4)
    assert (
        numbers_by_sides(clip, turned=True)
        == numbers_by_sides(clip)
        == (expected_numbers(clip), numbers_by_sides(clip)[1])
    )


def test_sides_that_detections_say_are_not_asked_for():
    def never(one: Detection) -> float:
        raise AssertionError("asked")

    for tracker, says in ((Tracker(), lambda who: who == 0), (Tracker(side=True), lambda who: None)):
        for frame, hands in enumerate(meeting()):
            detections = [Detection(one.box, says(who)) for who, one in hands]
            tracker.update(frame / 30, detections, SIZE, Sides({0: 3.0, 1: -3.0}, never))


def test_motion_goes_on_in_the_pixels_of_another_resolution():
    """Of two hands of which one moves, the one box that follows belongs to whoever is expected there, at a
    quarter of the size too."""
    for scale in (1.0, 0.25):
        tracker = Tracker()
        for frame in range(6):
            tracker.update(
                frame / 30,
                [Detection(box(100.0 + 40 * frame, 150, 80)), Detection(box(390.0, 150, 80))],
                SIZE,
            )
        size = (round(SIZE[0] * scale), round(SIZE[1] * scale))
        seen = [Detection((box(x, 150, 80) + 0.5) * scale - 0.5) for x in (338.0,)]  # moving: expected at 340
        assert [one.hand for one in tracker.update(6 / 30, seen, size)] == [0]
        track = tracker._tracks[0]
        assert track.velocity[0] == pytest.approx(40 * 30 * scale, rel=0.05)


def test_a_hand_of_the_other_side_does_not_join_where_both_are_sure():
    """A left hand comes up where the right one was seen last, which comes back later."""
    for sure, words, others in ((True, 5, 1), (False, 5, 0), (True, 2, 0)):
        tracker = Tracker()
        for frame in range(words):
            first = tracker.update(frame / 30, [Detection(box(50), True, sure=True)])[0]
        other = tracker.update(words / 30, [Detection(box(51), False, sure=sure)])[0]
        assert (other.hand != first.hand) == bool(others), (sure, words)
        back = tracker.update((words + 1) / 30, [Detection(box(50), True, sure=True)])[0]
        assert back.hand == first.hand and not back.starts


@pytest.mark.parametrize("hidden", [1, 3, 6])
def test_a_hand_that_is_hidden_by_the_other_while_they_cross_comes_back_as_itself(hidden):
    """The right hand is not seen around the middle, where the left one is in its place; sides are sure."""
    clip, tracker, numbers = passing(10.0, "both", rows=(150.0, 150.0)), Tracker(), {0: set(), 1: set()}
    for frame, hands in enumerate(clip):
        seen = [(who, one) for who, one in hands if who or abs(frame - 11.5) > hidden / 2]
        detections = [Detection(one.box, one.is_right, sure=True) for _, one in seen]
        for (who, _), one in zip(seen, tracker.update(frame / 30, detections)):
            numbers[who].add(one.hand)
    assert [len(one) for one in numbers.values()] == [1, 1] and numbers[0] != numbers[1]
