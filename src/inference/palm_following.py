"""Hands followed from frame to frame by the landmarks that are seen in them."""

from tempohand.inference.palm_finder import FoundHands, PalmFinder, detections
from tempohand.inference.source import Source, SourceFrame
from tempohand.inference.tracker import Detection

LOOK_EVERY = 5  # frames, where nothing is said


class FollowedPalms:
    """A PalmFinder whose palm detector looks at every `every`-th frame, and at those before which no hand is
    known. In all frames the landmark network looks for each known hand where its landmarks were in the frame
    before, once: a hand in which it sees none is let go.

    The object is of one input, and not for several threads. Use as a context manager. Raises ValueError for
    every < 1.
    """

    verified = True  # its boxes hold hands

    def __init__(self, finder: PalmFinder, every: int):
        if every < 1:
            raise ValueError(f"`every` is at least 1 frame, not {every}")
        self.finder, self.every = finder, every
        self.known: FoundHands | None = None
        self.size: tuple[int, int] | None = None  # of the picture that they are in
        self.since = 0  # frames since it looked

    def __enter__(self) -> "FollowedPalms":
        return self

    def __exit__(self, kind, error, trace) -> None:
        """Nothing to let go of."""

    def check(self, source: Source) -> None:
        """Nothing to hold against the input."""

    def detect(self, frame: SourceFrame) -> list[Detection]:
        """The hands of a frame, the surest first."""
        known = None
        if self.known is not None and len(self.known.joints) and self.size == frame.size:
            known = self.known.joints
        self.since += 1
        new = known is None or self.since >= self.every
        if new:
            self.since = 0
        self.known, self.size = self.finder.hands(frame.image, known=known, new=new), frame.size
        return detections(self.known)
