"""A hand in front of a face: a person close behind it, and the hand's shadow on the face."""

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from tempohand.synthetic.backdrop import Backdrop
from tempohand.synthetic.scene import Scene

APART_MM = (2.0, 45.0)  # from the hand's farthest point to the face
HALF_HEIGHT_MM = (98.0, 122.0)  # of a head, chin to crown
OFF = (0.6, 0.9)  # how far from its middle the hand is at most: half widths and half heights of the head
BLUR = (0.0, 0.003)  # sigma over the picture's edge: the face is about as sharp as the hand
DARK = (0.2, 0.7)  # how much less light arrives right behind the hand
SOFT_MM = (5.0, 16.0)  # sigma of the shadow's edge


class FaceBehind:
    """The face behind a hand, drawn once a sequence."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.distance = rng.uniform(*APART_MM)
        self.dark, self.soft = rng.uniform(*DARK), rng.uniform(*SOFT_MM)

    def place(self, scene: Scene, backdrop: Backdrop) -> tuple[float, float, float]:
        """Where the face is on the backdrop: its middle (column, row) and half its height, texels, as
        `people.person` takes them."""
        middle, camera = len(scene.joints) // 2, scene.camera
        hand = scene.joints[middle].mean(0) @ camera.rotation[middle].T + camera.position[middle]
        half = self.rng.uniform(*HALF_HEIGHT_MM) / backdrop.step
        centre = backdrop.texel_behind(hand, camera.position[middle])
        return (*(centre + self.rng.uniform(-1, 1, 2) * OFF * half), half)

    def shade(
        self,
        background: Float[ndarray, "h w 3"],
        covered: Bool[ndarray, "fh fw"],
        per_mm: float,
        toward: Float[ndarray, "3"],
    ) -> Float[ndarray, "h w 3"]:
        """The background as a window sees it, linear light, darkened around what is in front of it.

        covered: the samples that see a hand, an arm or a thing; per_mm: px a millimetre of the hand is;
        toward: the strongest light.
        """
        height, width = background.shape[:2]
        share = cv2.resize(covered.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        away = -toward[:2] * self.distance * per_mm
        share = cv2.warpAffine(share, np.array([[1, 0, away[0]], [0, 1, away[1]]]), (width, height))
        shadow = cv2.GaussianBlur(share, (0, 0), max(self.soft * per_mm, 0.5))
        return background * (1 - self.dark * shadow)[..., None]
