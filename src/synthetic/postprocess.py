"""What a phone and a network make of a developed picture: noise reduction, sharpening, too few pixels."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

CHROMA_EDGES = (3, 5, 7)  # px, of a box: colour noise is smoothed away first, and the eye does not miss it
SHARPEN = (0.25, 1.3), (0.7, 1.6)  # unsharp masking: amount, and sigma in px
MEDIAN_PROBABILITY = 0.6  # of strong noise reduction: fine texture goes as well
TINT = 0.12  # sigma of the log gain of each colour in a tinted picture
INTERPOLATIONS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)


@dataclass(frozen=True)
class FinishConfig:
    """How often. Ranges are (least, greatest)."""

    smooth_probability: float  # of noise reduction
    sharpen_probability: float
    small_probability: float  # of a picture that had too few pixels and was enlarged
    small: tuple[float, float]  # by this factor
    mosaic_probability: float  # of colours that a sensor's pixels saw one each, and that were filled in
    grey_probability: float  # of a picture without colour, or with one tint


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
        mosaic, grey, plain = rng.random(3) < [config.mosaic_probability, config.grey_probability, 0.5]
        self.mosaic = bool(mosaic)
        tint = np.exp(rng.normal(0.0, TINT, 3))
        self.grey = (np.ones(3) if plain else tint) if grey else None

    def __call__(self, picture: UInt8[ndarray, "h w 3"]) -> UInt8[ndarray, "h w 3"]:
        """The picture (RGB) as it arrives; nothing in it moves."""
        if self.mosaic:
            picture = demosaiced(picture)
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
        if self.grey is not None:
            luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None]
            picture = np.clip(np.rint(luma * self.grey), 0, 255).astype(np.uint8)
        return picture


def demosaiced(picture: UInt8[ndarray, "h w 3"]) -> UInt8[ndarray, "h w 3"]:
    """What is left of a picture (RGB) of which each pixel kept one colour, in Bayer's pattern, after filling
    in the others along edges."""
    mosaic = picture[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = picture[::2, ::2, 0], picture[1::2, 1::2, 2]
    # OpenCV names the pattern after its second row and column.
    return cv2.demosaicing(mosaic, cv2.COLOR_BayerBG2RGB_EA)
