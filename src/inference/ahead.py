"""Items of an iterator that a thread of its own makes before they are asked for."""

import threading
from collections import deque
from collections.abc import Generator, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T], most: int) -> Generator[T, None, None]:
    """The same items in their order, at most `most` of them waiting to be taken; with 0 no thread makes them.

    An error of `items` is raised where its item would have come. When the iteration is given up (`close`, an
    error, Ctrl-C), the thread ends after the item that it is at, and lets go of `items` itself: a generator
    is closed by the thread that it runs in.
    """
    if not most:
        yield from items
        return
    line = _Line(most)
    thread = threading.Thread(target=_make, args=(iter(items), line), name="tempohand ahead", daemon=True)
    thread.start()
    try:
        while line.wait():
            yield line.take()
    finally:
        line.leave()
        thread.join()
    if line.error is not None:
        raise line.error


class _Line:
    """Items between the thread that makes them and the one that takes them."""

    def __init__(self, most: int):
        self.most = most
        self.error: BaseException | None = None
        self._items: deque = deque()
        self._ended = self._left = False
        self._changed = threading.Condition()

    def put(self, item: object) -> bool:
        """Waits for a place in the line. False: nobody takes items any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._left or len(self._items) < self.most)
            self._items.append(item)
            self._changed.notify_all()
            return not self._left

    def end(self, error: BaseException | None) -> None:
        """No item follows."""
        with self._changed:
            self._ended, self.error = True, error
            self._changed.notify_all()

    def wait(self) -> bool:
        """Waits for an item. False: there is none, and none follows."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended)
            return bool(self._items)

    def take(self) -> Any:
        """The item that was put first."""
        with self._changed:
            self._changed.notify_all()
            return self._items.popleft()

    def leave(self) -> None:
        """Takes no item any more."""
        with self._changed:
            self._left = True
            self._items.clear()
            self._changed.notify_all()


def _make(items: Any, line: _Line) -> None:
    error = None
    try:
        for item in items:
            if not line.put(item):
                break
            del item  # else it would be held while the next one is made
        if hasattr(items, "close"):
            items.close()
    except BaseException as raised:  # of any kind: it belongs to who takes the items
        error = raised
    line.end(error)
