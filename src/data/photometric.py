"""Colour and noise: one draw for a whole clip, applied to every frame of it."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Int, UInt8

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclass(frozen=True)
class Photometric:
    """Ranges to draw from. brightness, contrast, saturation and white balance are half-widths of a factor
    around 1; `probability` is per group.

    grey: probability of a clip without colours, whatever else was drawn; half of these have a tint, as wide
    as the white balance. Where it is 0 nothing is drawn for it, so that other settings' draws stay what they
    were.
    """

    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.3
    white_balance: float = 0.1
    noise: float = 0.03  # largest standard deviation, of full scale
    blur: float = 1.0  # largest Gaussian sigma, px of the crop
    probability: float = 0.5
    grey: float = 0.0

    def draw(self, rng: np.random.Generator) -> "PhotometricDraw":
        """One clip's colour and noise."""
        matrix, offset = np.eye(3), np.zeros(3)
        if rng.random() < self.probability:
            saturation = 1 + rng.uniform(-1, 1) * self.saturation
            contrast = 1 + rng.uniform(-1, 1) * self.contrast
            gains = (1 + rng.uniform(-1, 1) * self.brightness) * (
                1 + rng.uniform(-1, 1, 3) * self.white_balance
            )
            grey = np.tile(LUMA, (3, 1))
            matrix = contrast * gains[:, None] * (grey + saturation * (np.eye(3) - grey))
            offset = np.full(3, 128.0 * (1 - contrast))
        noise = rng.uniform(0, self.noise) * 255 if rng.random() < self.probability else 0.0
        blur = rng.uniform(0, self.blur) if rng.random() < self.probability / 2 else 0.0
        seed = int(rng.integers(2**31))
        if self.grey and rng.random() < self.grey:
            tint = 1 + (rng.uniform(-1, 1, 3) * self.white_balance if rng.random() < 0.5 else np.zeros(3))
            matrix, offset = np.outer(tint, LUMA @ matrix), tint * (LUMA @ offset)
        return PhotometricDraw(np.column_stack([matrix, offset]), noise, blur, seed)


@dataclass(frozen=True)
class PhotometricDraw:
    """A drawn change: 3 x 4 colour matrix (RGB, 0-255), noise in grey levels, blur sigma in px, and the seed
    of the noise."""

    colour: np.ndarray
    noise: float
    blur: float
    seed: int

    def apply(
        self, pictures: list[UInt8[np.ndarray, "h w 3"]], frames: Int[np.ndarray, "t"]
    ) -> list[UInt8[np.ndarray, "h w 3"]]:
        """The clip's pictures, changed alike; the noise differs from frame to frame, as a sensor's does, and
        follows from `frames`' numbers."""
        changed = []
        for picture, frame in zip(pictures, frames):
            picture = cv2.transform(picture, self.colour)
            if self.blur > 0.3:
                picture = cv2.GaussianBlur(picture, (0, 0), self.blur)
            if self.noise:
                rng = np.random.default_rng([self.seed, int(frame)])
                grain = rng.standard_normal(picture.shape, dtype=np.float32) * self.noise
                picture = np.clip(picture + grain, 0, 255).astype(np.uint8)
            changed.append(picture)
        return changed
