"""Hand boxes by MediaPipe's palm detector (model/palms.py), with a second look at each palm by its hand
landmark network (model/landmarks.py), which says whether there is a hand, where its joints are and which side
it is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from tempohand.boxes import (
    SAME_HAND_IOU,
    area,
    centre_inside,
    first_of_each,
    intersection_over_union,
    same_hand,
)
from tempohand.data.view import warp
from tempohand.geometry import apply_homography, crop_homography
from tempohand.inference.source import Source, SourceFrame
from tempohand.inference.tracker import Detection
from tempohand.model.hand_crops import TurnedSquare, square_of_landmarks, square_of_palm, to_picture
from tempohand.model.landmarks import SIZE as CROP_SIZE
from tempohand.model.landmarks import HandLandmarkNetwork
from tempohand.model.palms import SAME_PALM_IOU, SIZE, STEP, PalmDetector

NEAREST = 0.5  # of the detector's 192 px: so small is a picture that a hand fills
LARGER = (
    2.5  # from one look at the picture to the next at most: the detector sees hands of 1/6 to 1/2 of 192 px
)
PALM_SCORE = 0.4  # of a palm that is looked at again,
MOST_PALMS = 16  # the best so many
SAME_SQUARE = (
    0.25  # of a known hand's square: palms whose square's centre is nearer to its centre are its own
)
PRESENCE = 0.5  # of the hand that is seen there: below it there is none
CLEAR_SIDE = 0.8  # probability of the side from which on it is told,
SURE_SIDE = 0.95  # and from which on it is sure
VIDEO_TILES, PICTURE_TILES = 3, 4  # where nothing is said: for hands of 1/12 and 1/16 of the longer edge


@dataclass(frozen=True)
class FoundHands:
    """Hands in a picture, the surest first. joints: px of the picture, OpenPose order. presence: probability
    that it is a hand, side: that it is a right one."""

    joints: Float[Tensor, "n 21 2"]
    presence: Float[Tensor, "n"]
    side: Float[Tensor, "n"]

    @property
    def box(self) -> Float[Tensor, "n 4"]:
        """The joints' bounds, xyxy."""
        return torch.cat([self.joints.amin(dim=1), self.joints.amax(dim=1)], dim=1)

    def __getitem__(self, places: list[int] | slice | Tensor) -> "FoundHands":
        return FoundHands(self.joints[places], self.presence[places], self.side[places])


class PalmFinder:
    """MediaPipe's two networks as a source of boxes: bounds of 21 joints, with their sides, in every frame by
    itself.

    The palm detector looks at the picture at several sizes (`enlargements`): with tiles = 1 down to where a
    hand of 1/6 of the longer edge is still seen, with n to 1/n of that. Each palm's square goes through the
    landmark network, and so does the square around the joints that it sees there: a hand is in it again.

    palms, landmarks: the networks that find and that look again (None: those that come with the package).
    max_hands: the surest so many of a frame. Has no state. Use as a context manager. Raises ValueError for
    numbers below 1.
    """

    verified = True  # its boxes hold hands

    def __init__(
        self,
        palms: Any = None,
        landmarks: Any = None,
        *,
        device: str | torch.device = "cpu",
        tiles: int = 1,
        max_hands: int,
    ):
        if tiles < 1:
            raise ValueError(f"`tiles` is at least 1 (the whole picture), not {tiles}")
        if max_hands < 1:
            raise ValueError(f"`max_hands` is at least 1, not {max_hands}")
        self.device = torch.device(device)
        self.palms = (palms or PalmDetector.load()).to(device).eval()
        self.landmarks = (landmarks or HandLandmarkNetwork.load()).to(device).eval()
        self.enlargements = enlargements(tiles)
        self.max_hands = max_hands

    def __enter__(self) -> "PalmFinder":
        return self

    def __exit__(self, kind, error, trace) -> None:
        """Nothing to let go of."""

    def check(self, source: Source) -> None:
        """Nothing to hold against the input."""

    def detect(self, frame: SourceFrame) -> list[Detection]:
        """The hands of a frame, the surest first; those whose box's centre lies outside the picture are left
        out."""
        return detections(self.hands(frame.image))

    def hands(self, image: UInt8[np.ndarray, "h w 3"], **options) -> FoundHands:
        """Those of `find` that are hands, `max_hands` at most."""
        found = self.find(image, **options)
        return found[found.presence >= PRESENCE][: self.max_hands]

    @torch.inference_mode()
    def find(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        known: Float[Tensor, "k 21 2"] | None = None,
        new: bool = True,
        near: bool = True,
    ) -> FoundHands:
        """What may be hands in an RGB picture, whatever their presence; each once.

        known: joints, px, of hands of the frame before, which are looked for around them. new: whether other
        hands are looked for; near: at the largest size, too, for the smallest hands, where there are sizes
        beyond the detector's own picture (that costs four fifths of a look with three tiles).
        """
        joints = torch.zeros(0, 21, 2, dtype=torch.float64) if known is None else known
        if new:
            nearest = self.enlargements[-1] > 1 and not near  # is left out
            sizes = self.enlargements[: -1 if nearest else None]
            squares = self._squares(image, square_of_landmarks(joints), sizes)
            joints = torch.cat([joints, self._look(image, squares).joints])
        found = self._look(image, square_of_landmarks(joints))
        size = image.shape[1::-1]
        found = found[centre_inside(found.box, size) & (area(found.box) > 0)]
        return found[_each_once(found, size)]

    def _squares(
        self, image: UInt8[np.ndarray, "h w 3"], known: TurnedSquare, enlargements: list[float]
    ) -> TurnedSquare:
        """The squares around the hands of palms, the best ones first, but those that lie on a known one."""
        parts = []
        for enlargement in enlargements:
            looked_at, homography = fit(image, enlargement)
            palms = self.palms.find(looked_at.to(self.device), PALM_SCORE)[0]
            points = torch.cat([palms.box.unflatten(1, (2, 2)), palms.keypoints], dim=1).double()
            parts.append((palms.score, apply_homography(homography.inverse(), points)))
        score, points = (torch.cat(values) for values in zip(*parts))
        points = points[score.argsort(descending=True, stable=True)]
        box = points[:, :2].flatten(1)
        points = points[first_of_each(intersection_over_union(box[:, None], box[None]) > SAME_PALM_IOU)]
        squares = square_of_palm(points[:, :2].flatten(1), points[:, 2:])
        apart = (squares.centre[:, None] - known.centre).norm(dim=2) / known.side
        new = (apart > SAME_SQUARE).all(dim=1).nonzero()[:MOST_PALMS, 0]
        return TurnedSquare(squares.centre[new], squares.side[new], squares.angle[new])

    def _look(self, image: UInt8[np.ndarray, "h w 3"], squares: TurnedSquare) -> FoundHands:
        """What the landmark network sees in squares of the picture."""
        homographies = squares.homography()
        if not len(homographies):
            none = homographies.new_zeros(0)
            return FoundHands(none.new_zeros(0, 21, 2), none, none)
        crops = np.stack([warp(image, matrix, (CROP_SIZE, CROP_SIZE)) for matrix in homographies.numpy()])
        seen = self.landmarks(_channels_first(crops).to(self.device))
        told = torch.cat([seen.screen.flatten(1), seen.presence[:, None], seen.side[:, None]], dim=1)
        *screen, presence, side = told.cpu().double().unbind(dim=1)  # one copy: each waits for the device
        joints = to_picture(torch.stack(screen, dim=1).unflatten(1, (-1, 3)), homographies)
        return FoundHands(joints[..., :2], presence, side)


def enlargements(tiles: int) -> list[float]:
    """Sizes at which a picture is looked at, its longer edge over the detector's 192 px: from NEAREST to
    `tiles` in equal ratios of at most LARGER."""
    count = int(np.ceil(np.log(tiles / NEAREST) / np.log(LARGER) - 1e-9)) + 1
    return np.geomspace(NEAREST, tiles, count).tolist()


def fit(
    image: UInt8[np.ndarray, "h w 3"], enlargement: float
) -> tuple[UInt8[Tensor, "1 3 k l"], Float[Tensor, "3 3"]]:
    """The picture with its longer edge `enlargement` times the detector's, in the middle of the smallest
    picture of whole steps that holds it, its edge repeated beside it; and the homography to there."""
    size = image.shape[1::-1]
    scale = enlargement * SIZE / max(size)
    width, height = (int(np.ceil(edge * scale / STEP - 1e-9)) * STEP for edge in size)
    centre = (torch.tensor(size, dtype=torch.float64) - 1) / 2
    homography = crop_homography(centre, centre.new_tensor(min(width, height) / scale), height, width)
    return _channels_first(warp(image, homography.numpy(), (height, width))[None]), homography


def _channels_first(images: UInt8[np.ndarray, "n h w 3"]) -> UInt8[Tensor, "n 3 h w"]:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def detections(found: FoundHands) -> list[Detection]:
    """Hands as the tracker takes them: with their sides, where these are clear."""
    sides = [(side > 0.5, max(side, 1 - side)) for side in found.side.tolist()]
    return [
        Detection(box.numpy(), is_right if certainty >= CLEAR_SIDE else None, sure=certainty >= SURE_SIDE)
        for box, (is_right, certainty) in zip(found.box, sides)
    ]


def _each_once(found: FoundHands, size: tuple[int, int]) -> list[int]:
    """Places of the hands that are no surer one's again, the surest first. Two whose boxes show the same hand
    are one, but a right and a left hand laid on each other, of which either is sure, are two unless their
    boxes are nearly the same."""
    order = found.presence.argsort(descending=True, stable=True)
    box, side = found.box[order], found.side[order]
    same = same_hand(box[:, None], box[None], size)
    sure = (side - 0.5).abs() >= SURE_SIDE - 0.5
    opposite = ((side[:, None] > 0.5) != (side[None] > 0.5)) & sure[:, None] & sure[None]
    same &= ~opposite | (intersection_over_union(box[:, None], box[None]) > SAME_HAND_IOU)
    return order[first_of_each(same)].tolist()
