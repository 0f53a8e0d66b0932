"""The newest picture in a window of this desktop, by OpenCV where it was built with one."""

import os
import sys

import cv2
import numpy as np
from jaxtyping import UInt8

TITLE = "tempohand live"
_ENDS = (27, ord("q"))  # the keys Esc and q
_HOW = "pip uninstall opencv-python-headless, then pip install opencv-python; or leave `window` out"


class Window:
    """Shows `show`'s pictures until it is closed, by its button, Esc or q: then it `has_ended`.

    Use as a context manager, in one thread. Raises ValueError where OpenCV has no windows or there is no
    desktop to show one on.
    """

    where = "in the window: Esc or q ends it"
    is_watched = True

    def __init__(self):
        if not cv2.currentUIFramework():
            raise ValueError(f"`window` needs an OpenCV with windows, this one has none: {_HOW}")
        # Without this the window's own library ends the process.
        if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
            raise ValueError("`window` needs a desktop, here is none: leave `window` out for the page")
        self.has_ended = False
        self._open = False

    def __enter__(self) -> "Window":
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        return self

    def __exit__(self, kind, error, trace) -> None:
        cv2.destroyAllWindows()

    def show(self, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """The next picture, RGB."""
        if not self._open:  # as large as the first picture
            cv2.resizeWindow(TITLE, picture.shape[1], picture.shape[0])
            self._open = True
        cv2.imshow(TITLE, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        pressed = cv2.pollKey() & 0xFF  # which also draws
        self.has_ended = pressed in _ENDS or cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1
