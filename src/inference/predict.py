"""A network over an input's frames: boxes to hands over time, hands of several frames to one network pass."""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from jaxtyping import Float

from tempohand.inference.ahead import ahead
from tempohand.inference.box_propagation import FollowedHands
from tempohand.inference.boxes import ConstantBox, FileBoxes
from tempohand.inference.camera import CameraChoice
from tempohand.inference.depth_folder import DepthFolder
from tempohand.inference.detector import HandDetector
from tempohand.inference.finder import HandFinder
from tempohand.inference.live_source import NewestFrames
from tempohand.inference.palm_finder import PalmFinder
from tempohand.inference.palm_following import FollowedPalms
from tempohand.inference.palms_and_finder import PalmsAndFinder
from tempohand.inference.predictor import HandEstimate, HandInput, StreamingPredictor
from tempohand.inference.source import Source, SourceFrame
from tempohand.inference.tracker import Detection, Sides, Tracker
from tempohand.inference.unfinished import Unfinished, packed
from tempohand.inference.verification import CloserLook

BUFFER_BYTES = 64 * 2**20  # decoded frames kept until a network pass is full
BUFFER_FRAMES = 256
AHEAD = 4  # frames that each step of a run on files may be ahead of the next one
Finder = PalmFinder | HandFinder | PalmsAndFinder
BoxSource = ConstantBox | FileBoxes | HandDetector | Finder | FollowedPalms | FollowedHands
# A frame's, and the state of their source behind it.
Boxes = tuple[SourceFrame, list[Detection], tuple | None]


@dataclass(frozen=True)
class Answer:
    """A frame's hands. state: where it was due, what is known behind this frame, for a run that goes on."""

    frame: SourceFrame
    hands: list[HandEstimate]
    state: bytes | None = None


def predict_frames(
    source: Source | NewestFrames,
    boxes: BoxSource,
    tracker: Tracker,
    camera: CameraChoice,
    predictor: StreamingPredictor,
    depth: DepthFolder | None = None,
) -> Iterator[tuple[SourceFrame, list[HandEstimate]]]:
    """Every frame of the input with its hands, as `answers` gives them, one step after the other."""
    for answer in answers(source, boxes, tracker, camera, predictor, depth):
        yield answer.frame, answer.hands


def answers(
    source: Source | NewestFrames,
    boxes: BoxSource,
    tracker: Tracker,
    camera: CameraChoice,
    predictor: StreamingPredictor,
    depth: DepthFolder | None = None,
    most_ahead: int = 0,
    unfinished: Unfinished | None = None,
) -> Generator[Answer, None, None]:
    """Every frame of the input with its hands (and its `depth`, where that is given), in order; frames
    without a box come with none.

    Hands of several frames share a network pass; frames wait for it in a buffer of limited size. Where hands
    are followed each frame has its own, since the next one's boxes come of it. Of hands that the tracker has
    forgotten nothing is kept, in the predictor neither.

    most_ahead: frames that are read, and in which boxes are found, before they are asked for, by threads of
    their own; the same hands come of it. unfinished: an earlier run, whose frames come with its hands, and
    which is asked when a state is due.
    """
    begins = 0 if unfinished is None else unfinished.frames
    closer = CloserLook.of(predictor) if predictor.tells_sides else None
    known = _Known(tracker, predictor, closer, boxes)
    if unfinished is not None and unfinished.state is not None and begins:
        known.restore(unfinished.state)
    follows = isinstance(boxes, FollowedHands)
    waiting: list[tuple[SourceFrame, list[HandInput]]] = []  # for a pass of the network

    def flush() -> Iterator[Answer]:
        estimates = iter(predictor.push_all([hand for _, hands in waiting for hand in hands]))
        answered = [Answer(frame, list(islice(estimates, len(hands)))) for frame, hands in waiting]
        waiting.clear()
        if follows:
            for answer in answered:
                boxes.follow(answer.hands)
        predictor.keep(tracker.hands)
        # What MediaPipe's own tracking knows cannot be had.
        goes_on = unfinished is not None and not isinstance(boxes, HandDetector)
        if answered and goes_on and unfinished.due():
            answered[-1] = replace(answered[-1], state=known.state())
        answered.reverse()
        while answered:  # whoever takes a frame is the last one to hold it
            yield answered.pop()

    with closing(_with_boxes(source, boxes, depth, most_ahead, begins)) as found_boxes:
        for count, (frame, detections, known.boxes_state) in enumerate(found_boxes):
            if count < begins:
                yield Answer(frame, unfinished.hands(frame.index))
                continue
            if source.independent:
                tracker.reset()
            known.first = frame.size if known.first is None or source.independent else known.first
            shared = _shared(frame, *camera.camera(frame.size, known.first, frame.focal))
            waiting.append((frame, _hands(shared, detections, tracker, closer, boxes.verified)))
            count_hands = sum(len(hands) for _, hands in waiting)
            full = follows or count_hands >= predictor.batch_size or len(waiting) >= BUFFER_FRAMES
            if full or sum(frame.nbytes for frame, _ in waiting) >= BUFFER_BYTES:
                yield from flush()
    yield from flush()


@dataclass
class _Known:
    """What decides over later frames: hands, their histories and sides, and what their finder follows."""

    tracker: Tracker
    predictor: StreamingPredictor
    closer: CloserLook | None
    boxes: BoxSource
    boxes_state: tuple | None = None  # of boxes that are found ahead, behind the frame that was taken last
    first: tuple[int, int] | None = None  # size of a sequence's first picture

    def state(self) -> bytes:
        """As `restore` takes it, packed."""
        return packed(
            {
                "first": self.first,
                "tracker": self.tracker.state,
                "predictor": self.predictor.state,
                "closer": None if self.closer is None else self.closer.state,
                "boxes": self.boxes.state if isinstance(self.boxes, FollowedHands) else self.boxes_state,
            }
        )

    def restore(self, state: dict) -> None:
        """Goes on from there."""
        self.first, self.tracker.state, self.predictor.state = (
            state[name] for name in ("first", "tracker", "predictor")
        )
        if self.closer is not None:
            self.closer.state = state["closer"]
        if isinstance(self.boxes, FollowedPalms | FollowedHands):
            self.boxes.state = state["boxes"]


def _with_boxes(
    source: Source | NewestFrames, boxes: BoxSource, depth: DepthFolder | None, most_ahead: int, begins: int
) -> Generator[Boxes, None, None]:
    """The frames, with their depth, and what is found in them: from frame number `begins` on."""

    def read() -> Generator[SourceFrame, None, None]:
        for frame in source:
            yield frame if depth is None else replace(frame, depth=depth.of(frame))

    def find() -> Generator[Boxes, None, None]:
        with closing(ahead(read(), most_ahead // 2)) as frames:
            for count, frame in enumerate(frames):
                found = boxes.detect(frame) if count >= begins else []
                yield frame, found, boxes.state if isinstance(boxes, FollowedPalms) else None

    waits = isinstance(boxes, FollowedHands)  # for the hands of the frame before
    return find() if waits else ahead(find(), most_ahead)


def _hands(
    shared: dict, detections: list[Detection], tracker: Tracker, closer: CloserLook | None, verified: bool
) -> list[HandInput]:
    """A frame's hands, with the sides that the network sees where nothing else says them. shared: the
    frame's values. verified: its boxes hold hands."""
    image = shared["image"]
    sides = None if closer is None else _sides(closer, shared)
    tracked = tracker.update(shared["time"], detections, image.shape[1::-1], sides)
    if closer is not None:
        closer.keep(tracker.hands)
    hands: list[HandInput] = []
    for one in tracked:
        hand = HandInput(box=one.box, hand=one.hand, is_right=one.is_right, starts=one.starts, **shared)
        if closer is not None and not (verified and one.has_side):
            hand = _verified(hand, one.has_side, closer, not verified)
        if hand is None:
            tracker.forget(one.hand)
        else:
            hands.append(hand)
    return hands


def _shared(frame: SourceFrame, focal: Float[np.ndarray, "2"], princpt: Float[np.ndarray, "2"]) -> dict:
    """What all hands of a frame have in common, as HandInput takes it."""
    picture = {"image": frame.image, "depth": frame.depth, "focal": focal, "princpt": princpt}
    return picture | {"time": frame.time, "frame": frame.index}


def _verified(hand: HandInput, side_is_known: bool, closer: CloserLook, found: bool) -> HandInput | None:
    """A hand with the side that the network sees, where no side is known; None where it sees no hand.

    found: the box was found, and may hold something else.
    """
    is_right = closer.is_right(hand, found)
    if is_right is None:
        return None
    return hand if side_is_known else replace(hand, is_right=is_right)


def _sides(closer: CloserLook, shared: dict) -> Sides:
    """What the closer look knows of hands, and sees in boxes of the frame whose values are `shared`."""

    def ask(detection: Detection) -> float:
        return closer.ask(HandInput(box=detection.box, **shared))

    return Sides(closer.odds, ask)
