"""A hand's mask from its picture and 2D joints: GrabCut (Rother et al., 2004) seeded by the skeleton, as
Boukhayma et al. (CVPR 2019) made the masks that they train with.

They do it at 320 px; at half of that it takes a fifth of the time and is as good (docs/log.md). Widths are in
extents of the hand, so that they are theirs at any size.
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from tempohand.data.released_crop import EDGE, EXTENTS, moved, released_crop
from tempohand.data.view import warp
from tempohand.skeleton import BONES

WORK_EDGE = 160  # px
ITERATIONS = 5
# Width of what may be hand about a bone, in extents of the hand: their 70 px. Beyond it nothing is.
LINE = 70 / EDGE * EXTENTS
# What is hand surely, beside the bones themselves, a pixel wide: triangles of the palm.
PALM = ((0, 1, 2), (0, 1, 5), (0, 5, 9), (0, 9, 13), (0, 13, 17))
MIN_BONES = 4  # with both ends known, that a mask is made of
SEED = 0  # GrabCut draws the colours that it starts from
# A mask's area over the length of its skeleton and the hand's extent. That of true masks of drawn hands is
# within; thicker ones have something else in them, thinner ones are little more than the skeleton.
THICKNESS = 0.055, 0.165


class Segmented(NamedTuple):
    """A mask, and how thick it is along the bones, in extents of the hand."""

    mask: Bool[np.ndarray, "h w"]
    thickness: float

    @property
    def plausible(self) -> bool:
        """Whether a hand can look so."""
        return THICKNESS[0] <= self.thickness <= THICKNESS[1]


def segment(
    picture: UInt8[np.ndarray, "h w 3"], joints2d: Float[np.ndarray, "21 2"], known: Bool[np.ndarray, "21"]
) -> Segmented | None:
    """Where the hand is seen in a picture (RGB); joints2d: px, of which `known` are. None: fewer than
    MIN_BONES bones are known.

    What hides the hand is not known of: a thing before it is in the mask where its colours are the hand's.
    """
    bones = [(a, b) for a, b in BONES if known[a] and known[b]]
    if len(bones) < MIN_BONES or np.ptp(joints2d[known], axis=0).max() < 1:
        return None
    height, width = picture.shape[:2]
    matrix = released_crop(joints2d[known], (width, height), WORK_EDGE)
    points = moved(matrix, np.where(known[:, None], joints2d, 0.0))
    extent = float(np.ptp(points[known], axis=0).max())
    seeds = _seeds(points, known, bones, max(round(LINE * extent), 1))
    cv2.setRNGSeed(SEED)
    models = np.zeros((2, 1, 65))
    square = warp(picture, matrix, (WORK_EDGE, WORK_EDGE))
    cv2.grabCut(square, seeds, None, models[0], models[1], ITERATIONS, cv2.GC_INIT_WITH_MASK)
    hand = (seeds == cv2.GC_FGD) | (seeds == cv2.GC_PR_FGD)
    length = sum(float(np.linalg.norm(points[a] - points[b])) for a, b in bones)
    back = {"dsize": (width, height), "flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP}
    mask = cv2.warpAffine(hand.astype(np.float32), matrix[:2], **back) > 0.5
    return Segmented(mask, float(hand.sum() / (length * extent)))


def _seeds(
    points: Float[np.ndarray, "21 2"], known: Bool[np.ndarray, "21"], bones: list[tuple[int, int]], line: int
) -> UInt8[np.ndarray, "s s"]:
    """GrabCut's four kinds of pixels in the square."""
    seeds = np.full((WORK_EDGE, WORK_EDGE), cv2.GC_BGD, np.uint8)
    pixels = np.rint(np.clip(points, -1e4, 1e4)).astype(int)
    for kind, thickness in ((cv2.GC_PR_FGD, line), (cv2.GC_FGD, 1)):
        for a, b in bones:
            cv2.line(seeds, pixels[a].tolist(), pixels[b].tolist(), kind, thickness)
    for corners in PALM:
        if known[list(corners)].all():
            cv2.fillConvexPoly(seeds, pixels[list(corners)].astype(np.int32), cv2.GC_FGD)
    return seeds
