"""Hands followed from frame to frame by the landmarks that are seen in them."""

from jaxtyping import Float
from torch import Tensor

from tempohand.inference.palm_finder import PalmFinder, detections
from tempohand.inference.source import Source, SourceFrame
from tempohand.inference.tracker import Detection

LOOK_EVERY = 5  # frames, where nothing is said
NEAR_EVERY = 3  # of these looks one is from nearest, too


class FollowedPalms:
    """A PalmFinder whose palm detector looks at every `every`-th frame, and at those after a hand is lost or
    the picture's size changes. In all frames the landmark network looks for each known hand where its
    landmarks were in the frame before, once: a hand in which it sees none is lost. Every `near_every`-th of
    the regular looks is from nearest, too, and so is the look after a hand is lost.

    The object is of one input, and not for several threads. Use as a context manager. Raises ValueError for
    every < 1.
    """

    verified = True  # its boxes hold hands

    def __init__(self, finder: PalmFinder, every: int, near_every: int = NEAR_EVERY):
        if every < 1:
            raise ValueError(f"`every` is at least 1 frame, not {every}")
        self.finder, self.every = finder, every
        self.near_every = near_every
        self.known: Float[Tensor, "k 21 2"] | None = None  # joints in the frame before
        self.size: tuple[int, int] | None = None  # of its picture
        self.wait = 0  # frames until the palm detector looks
        self.far = 0  # looks until it looks from nearest

    @property
    def looks(self) -> bool:
        """Whether the palm detector looks at the next frame (of the same size)."""
        return self.wait == 0

    @property
    def state(self) -> tuple:
        """What it knows of the frames so far."""
        return self.known, self.size, self.wait, self.far

    @state.setter
    def state(self, state: tuple) -> None:
        self.known, self.size, self.wait, self.far = state

    def __enter__(self) -> "FollowedPalms":
        return self

    def __exit__(self, kind, error, trace) -> None:
        """Nothing to let go of."""

    def check(self, source: Source) -> None:
        """Nothing to hold against the input."""

    def detect(self, frame: SourceFrame) -> list[Detection]:
        """The hands of a frame, the surest first."""
        if self.size != frame.size:
            self.known = None
            self.wait = self.far = 0
            self.size = frame.size
        looks = self.looks
        found = self.finder.hands(frame.image, known=self.known, new=looks, near=self.far == 0)
        if looks:
            self.far = self.near_every - 1 if self.far == 0 else self.far - 1
        self.wait = self.every - 1 if looks else self.wait - 1
        if self.known is not None and len(found.joints) < len(self.known):
            self.wait = self.far = 0
        self.known = found.joints
        return detections(found)
