"""What a phone and a network make of a developed picture: noise reduction, sharpening, too few pixels."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

CHROMA_EDGES = (3, 5, 7)  # px, of a box: colour noise is smoothed away first, and the eye does not miss it
SHARPEN = (0.25, 1.3), (0.7, 1.6)  # unsharp masking: amount, and sigma in px
MEDIAN_PROBABILITY = 0.6  # of strong noise reduction: fine texture goes as well
INTERPOLATIONS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)


@dataclass(frozen=True)
class FinishConfig:
    """How often. Ranges are (least, greatest)."""

    smooth_probability: float  # of noise reduction
    sharpen_probability: float
    small_probability: float  # of a picture that had too few pixels and was enlarged
    small: tuple[float, float]  # by this factor


class Finish:
    """One camera's and one transport's ways for one sequence."""

    def __init__(self, rng: np.random.Generator, config: FinishConfig):
        smooth, sharpen, small = rng.random(3) < [
            config.smooth_probability,
            config.sharpen_probability,
            config.small_probability,
        ]
        self.chroma = int(rng.choice(CHROMA_EDGES)) if smooth else 0
        self.median = bool(smooth and rng.random() < MEDIAN_PROBABILITY)
        self.amount, self.sigma = (rng.uniform(*span) for span in SHARPEN)
        self.amount = self.amount if sharpen else 0.0
        self.factor = np.exp(rng.uniform(*np.log(config.small))) if small else 1.0
        self.enlarge = INTERPOLATIONS[rng.integers(len(INTERPOLATIONS))]

    def __call__(self, picture: UInt8[ndarray, "h w 3"]) -> UInt8[ndarray, "h w 3"]:
        """The picture (RGB) as it arrives; nothing in it moves."""
        if self.chroma:
            luma, *chroma = cv2.split(cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb))
            luma = cv2.medianBlur(luma, 3) if self.median else luma
            chroma = [cv2.blur(plane, (self.chroma, self.chroma)) for plane in chroma]
            picture = cv2.cvtColor(cv2.merge([luma, *chroma]), cv2.COLOR_YCrCb2RGB)
        if self.amount:
            picture = cv2.addWeighted(
                picture, 1 + self.amount, cv2.GaussianBlur(picture, (0, 0), self.sigma), -self.amount, 0
            )
        if self.factor > 1.0:
            height, width = picture.shape[:2]
            small = cv2.resize(
                picture,
                (round(width / self.factor), round(height / self.factor)),
                interpolation=cv2.INTER_AREA,
            )
            picture = cv2.resize(small, (width, height), interpolation=self.enlarge)
        return picture
