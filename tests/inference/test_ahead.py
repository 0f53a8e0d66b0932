"""Items made ahead by threads: the same items, never more of them than allowed, and no thread is left."""

import threading
import weakref
from contextlib import closing

import numpy as np
import pytest

from tempohand.inference.ahead import ahead
from tempohand.inference.boxes import ConstantBox
from tempohand.inference.camera import CameraChoice
from tempohand.inference.finder import HandFinder
from tempohand.inference.overlay import VideoOverlay
from tempohand.inference.predict import answers
from tempohand.inference.predictor import StreamingPredictor
from tempohand.inference.source import VideoSource, open_source
from tempohand.inference.tracker import Detection, Tracker

WAIT_S = 20.0  # at most; nothing here takes long


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "tempohand ahead"]


def within_time(work):
    """What `work` returns or raises, on a thread of its own, so that who waits for ever is found."""
    done: list = []

    def run():
        try:
            done.append((work(), None))
        except BaseException as error:
            done.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(15 * WAIT_S)
    assert done, "it waits for ever"
    value, error = done[0]
    if error is not None:
        raise error
    return value


@pytest.mark.parametrize("most", [0, 1, 3, 100])
def test_the_same_items_in_their_order(most):
    assert within_time(lambda: list(ahead(range(50), most))) == list(range(50)) and not threads()
    squares = [x * x for x in range(50)]
    assert within_time(lambda: list(ahead(ahead((x for x in squares), most), 2))) == squares


@pytest.mark.parametrize("most", [1, 4])
def test_no_more_items_are_made_than_there_are_places(most):
    """One more is made, which waits for its place."""
    made, changed = [], threading.Condition()

    def make():
        for item in range(60):
            with changed:
                made.append(item)
                changed.notify_all()
            yield item

    with closing(ahead(make(), most)) as items:
        for taken in range(1, 20):
            next(items)
            with changed:
                assert changed.wait_for(lambda taken=taken: len(made) == taken + most + 1, WAIT_S), len(made)
                assert not changed.wait_for(lambda taken=taken: len(made) > taken + most + 1, 0.01)
    assert len(made) <= 60 and not threads()


def test_an_error_comes_where_its_item_would_have():
    def make():
        yield from range(5)
        raise ValueError("the sixth is broken")

    taken = []
    with pytest.raises(ValueError, match="the sixth is broken"):
        taken.extend(ahead(ahead(make(), 2), 2))
    for item in (iterator := ahead(make(), 2)):
        taken.append(item)
        if item == 2:
            break
    iterator.close()
    assert not threads() and taken[-3:] == [0, 1, 2]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("most", [1, 3])
def test_an_error_of_any_kind_ends_the_line(error, most):
    """After the items before it, however late they are taken; and when a source cannot be closed."""

    def make():
        for item in range(5):
            if item > most:
                made.set()
            yield item
        raise error("no more")

    taken, made = [], threading.Event()

    def take():
        for item in ahead(make(), most):
            taken.append(item)
            if item == 0:
                made.wait(WAIT_S)  # all that have a place

    with pytest.raises(error, match="no more"):
        within_time(take)
    assert taken == list(range(5)) and not threads()

    def will_not_close():
        try:
            yield from range(5)
        finally:
            raise error("cannot be closed")

    with pytest.raises(error, match="cannot be closed"):
        within_time(lambda: list(ahead(will_not_close(), most)))
    assert not threads()


def test_a_full_line_goes_on_when_one_is_taken():
    """Whoever waits for a place is told of it."""
    with closing(ahead(iter(range(6)), 1)) as items:
        for wanted in range(6):
            assert within_time(lambda: next(items)) == wanted
        assert within_time(lambda: next(items, None)) is None


def test_who_gives_up_has_no_further_item_made():
    """At most the one that the thread is at; and nothing that waited is held."""
    made = []

    class Item:
        pass

    def make():
        for _ in range(1000):
            item = Item()
            made.append(weakref.ref(item))
            yield item
            del item

    with closing(ahead(make(), 3)) as items:
        for _ in range(4):
            next(items)
    assert 4 <= len(made) <= 4 + 3 + 2 and not threads()
    assert [item() for item in made] == [None] * len(made)


def test_what_waits_is_let_go_before_the_thread_has_ended():
    """Which may take long over the item that it is at."""
    gone, full, goes_on = threading.Event(), threading.Event(), threading.Event()

    class Item:
        pass

    def make():
        yield Item()
        waits = Item()
        watch.append(weakref.ref(waits, lambda _: gone.set()))
        yield waits
        del waits
        full.set()
        assert goes_on.wait(WAIT_S)

    watch: list = []
    items = ahead(make(), 3)
    next(items)
    assert full.wait(WAIT_S)
    closer = threading.Thread(target=items.close)
    closer.start()
    try:
        assert gone.wait(WAIT_S)
    finally:
        goes_on.set()
        closer.join()
    assert not threads()


def test_an_item_is_held_by_who_took_it_alone():
    """While the next one is made, too."""
    taken, freed = threading.Event(), []

    class Item:
        pass

    def make():
        first = Item()
        gone = weakref.ref(first)
        yield first
        del first
        assert taken.wait(WAIT_S)
        freed.append(gone() is None)
        yield Item()

    with closing(ahead(make(), 2)) as items:
        next(items)
        taken.set()
        within_time(lambda: next(items))
    assert freed == [True]


def test_who_gives_up_leaves_no_thread_and_nothing_open():
    closed = []

    def make():
        try:
            yield from range(1000)
        finally:
            closed.append(threading.current_thread().name)

    def through():
        with closing(ahead(make(), 2)) as items:
            yield from items

    for error in (KeyboardInterrupt, RuntimeError):
        with pytest.raises(error), closing(ahead(through(), 2)) as items:
            for item in items:
                if item == 10:
                    raise error
    assert closed == ["tempohand ahead"] * 2 and not threads()


class Every(HandFinder):
    """Keeps count: a hand in two of three frames, in every third one two."""

    def __init__(self):
        self.seen = 0

    def detect(self, frame):
        assert frame.index == self.seen
        self.seen += 1
        boxes = [(20.0 + frame.index, 20, 52 + frame.index, 45), (70.0, 40, 100, 80)]
        return [Detection(np.array(box)) for box in boxes[: frame.index % 3]]


@pytest.mark.parametrize("batch_size", [1, 5])
def test_frames_read_ahead_give_the_same_hands(tmp_path, video_tools, fake_network, batch_size):
    moving_pictures, write_video = video_tools
    source = open_source(write_video(tmp_path / "clip.mkv", moving_pictures(30)))

    def run(most: int) -> list:
        predictor = StreamingPredictor(fake_network(), batch_size=batch_size)
        said = answers(source, Every(), Tracker(), CameraChoice(), predictor, most_ahead=most)
        return list(ahead(said, most))

    plain, threaded = run(0), run(4)
    assert [len(answer.hands) for answer in plain] == [0, 1, 2] * 10
    for answer, other in zip(plain, threaded, strict=True):
        assert answer.frame.time == other.frame.time and (answer.frame.image == other.frame.image).all()
        for one, two in zip(answer.hands, other.hands, strict=True):
            for name, value in vars(one).items():
                np.testing.assert_array_equal(getattr(two, name), value)


@pytest.mark.parametrize("part", ["reader", "finder", "network", "writer"])
def test_a_run_that_breaks_leaves_no_thread_and_no_file(part, tmp_path, video_tools, predict, monkeypatch):
    """Wherever it breaks, at its sixth frame: its error is what comes, while the others are at work."""
    moving_pictures, write_video = video_tools
    clip = write_video(tmp_path / "clip.mkv", moving_pictures(40))
    broken = {
        "reader": (VideoSource, "__iter__"),
        "finder": (ConstantBox, "detect"),
        "network": (StreamingPredictor, "push_all"),
        "writer": (VideoOverlay, "write"),
    }
    owner, name = broken[part]
    whole, calls = getattr(owner, name), []

    def one_more():
        calls.append(part)
        if len(calls) == 6:
            raise OSError(f"the {part} is broken")

    def function(*arguments):
        one_more()
        return whole(*arguments)

    def frames(source):
        for frame in whole(source):
            one_more()
            yield frame

    monkeypatch.setattr(owner, name, frames if part == "reader" else function)
    with pytest.raises(OSError, match=f"the {part} is broken"):  # whose traceback holds what it passed
        within_time(lambda: predict(clip, "--box", "20,15,60,45", "--batch-size", 1))
    assert not threads() and [path.name for path in tmp_path.iterdir()] == ["clip.mkv"]
