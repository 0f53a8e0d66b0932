"""What a depth camera makes of the true distances in view: noise, steps, holes and shadows, as the two kinds
of such cameras have them. config/depth has the values and where they come from."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

STEP_MM, STEP_SHARE = 15.0, 0.02  # neighbours this far apart, or by this share of z, are an edge
NOTHING_MM = 1e5  # the distance of what is not there
SOFT = 0.8, 1.2  # times the cosine at which grazing incidence goes from seen to lost
PATCH_PX = 8  # size of the patches in which a dark surface is lost or not
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True)
class DepthConfig:
    """How a depth camera measures. Ranges are (least, greatest)."""

    probability: float  # of a sequence that was filmed with one
    focal: tuple[float, float]  # px of its own picture, log-uniform: how fine it sees
    reach: tuple[float, float]  # mm, outside which it measures nothing
    offset_ms: tuple[float, float]  # between colour and depth, either way
    bias: float  # mm, one sigma of an error that all of a sequence has
    noise: float  # mm, one sigma at any distance, and ...
    noise_per_z2: float  # 1/mm, times z squared
    grain: float  # px over which neighbours' noise is alike
    quantum: float  # mm, of steps at any distance, and ...
    quantum_per_z2: float  # 1/mm, steps of the disparity: of z times this times z
    lateral: float  # px, one sigma of where a pixel measures
    baseline: tuple[float, float]  # mm from what throws light to what sees: the shadow beside near things
    edge: int  # px on either side of an edge ...
    edge_lost: float  # ... of which this share is lost
    flying: float  # of an edge's own pixels that measure something between the surfaces
    grazing: float  # cosine of incidence below which nothing comes back
    dark: float  # brightness (0 to 1 of the picture's brightest) below which patches are lost
    dropout: float  # of single pixels


class DepthSensor:
    """One camera over a sequence. `used` is False for a sequence without depth."""

    def __init__(self, rng: np.random.Generator, config: DepthConfig):
        self.rng, self.config = rng, config
        self.used = bool(rng.random() < config.probability)
        self.focal = float(np.exp(rng.uniform(*np.log(config.focal))))
        side, early = rng.choice([-1.0, 1.0], 2)
        self.baseline = float(side * rng.uniform(*config.baseline))
        self.offset = float(early * rng.uniform(*config.offset_ms)) / 1000  # s after the colour picture
        self.bias = float(rng.normal(0.0, config.bias))

    def edge(self, size: int, focal: float) -> int:
        """Pixels of its own along the edge of a window of `size` px and this focal length."""
        return int(np.clip(round(size * self.focal / focal), 32, size))

    def measure(
        self, z: Float[ndarray, "n n"], focal: float, picture: UInt8[ndarray, "h w 3"]
    ) -> Float[ndarray, "n n"]:
        """What comes of the true z, mm (0: nothing there), of its own pixels: mm, 0 for a hole. focal: px of
        these pixels; picture: of the colour camera, RGB."""
        c, rng = self.config, self.rng
        z = np.where(z > 0, z, NOTHING_MM).astype(np.float32)
        lost = self._shadow(z, focal) | (rng.random(z.shape) < c.dropout)
        lost |= incidence(z, focal) < c.grazing * rng.uniform(*SOFT, z.shape)
        lost |= self._dark(z.shape, picture)
        near, far = cv2.erode(z, np.ones((3, 3))), cv2.dilate(z, np.ones((3, 3)))
        edge = far - near > np.maximum(STEP_MM, STEP_SHARE * near)
        border = cv2.dilate(edge.astype(np.uint8), np.ones((2 * c.edge + 1, 2 * c.edge + 1))) > 0
        lost |= border & (self._patches(z.shape, 2) < 2 * c.edge_lost - 1)
        flies = edge & (rng.random(z.shape) < c.flying)
        seen = np.where(flies, near + rng.random(z.shape, np.float32) * (far - near), self._nearby(z))
        lost &= ~flies
        sigma = np.hypot(c.noise, c.noise_per_z2 * seen**2)
        measured = self._steps(seen + sigma * self._noise(z.shape) + self.bias)
        inside = (measured >= c.reach[0]) & (measured <= c.reach[1])
        return np.where(inside & ~lost, measured, 0).astype(np.float32)

    def _shadow(self, z: Float[ndarray, "n n"], focal: float) -> Bool[ndarray, "n n"]:
        """What something nearer hides from the other end of the baseline: in its picture, which is shifted by
        the disparity focal * baseline / z, it lies on the wrong side of what is nearer."""
        turned = z if self.baseline > 0 else z[:, ::-1]
        place = np.arange(z.shape[1]) - focal * abs(self.baseline) / turned
        beyond = np.minimum.accumulate(place[:, ::-1], axis=1)[:, ::-1]
        hidden = np.zeros(z.shape, bool)
        hidden[:, :-1] = beyond[:, 1:] < place[:, :-1] - 0.5
        return hidden if self.baseline > 0 else hidden[:, ::-1]

    def _dark(self, shape: tuple[int, int], picture: UInt8[ndarray, "h w 3"]) -> Bool[ndarray, "n n"]:
        light = cv2.resize(picture, shape[::-1], interpolation=cv2.INTER_AREA) @ LUMA
        bright = max(float(np.percentile(light, 98)), 1.0)
        return light / bright < self.config.dark * (1 + 0.5 * self._patches(shape, PATCH_PX))

    def _nearby(self, z: Float[ndarray, "n n"]) -> Float[ndarray, "n n"]:
        if not self.config.lateral:
            return z
        rows, columns = np.indices(z.shape)
        moved = np.rint(self.rng.normal(0, self.config.lateral, (2, *z.shape))).astype(int)
        return z[np.clip(rows + moved[0], 0, z.shape[0] - 1), np.clip(columns + moved[1], 0, z.shape[1] - 1)]

    def _noise(self, shape: tuple[int, int]) -> Float[ndarray, "n n"]:
        noise = self.rng.standard_normal(shape, np.float32)
        if not self.config.grain:
            return noise
        noise = cv2.GaussianBlur(noise, (0, 0), self.config.grain)
        return noise * np.float32(2 * np.sqrt(np.pi) * self.config.grain)  # of unit variance again

    def _patches(self, shape: tuple[int, int], edge: int) -> Float[ndarray, "n n"]:
        """Uniform in [-1, 1], alike over some `edge` px."""
        coarse = self.rng.uniform(-1, 1, [-(-length // edge) for length in shape]).astype(np.float32)
        return cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_NEAREST)

    def _steps(self, z: Float[ndarray, "n n"]) -> Float[ndarray, "n n"]:
        c = self.config
        if c.quantum_per_z2:
            z = 1 / (np.maximum(np.rint(1 / (np.maximum(z, 1.0) * c.quantum_per_z2)), 1) * c.quantum_per_z2)
        return np.rint(z / c.quantum) * c.quantum if c.quantum else z


def incidence(z: Float[ndarray, "n n"], focal: float) -> Float[ndarray, "n n"]:
    """Cosine between surfaces' normals and the view, of a camera of this focal length (px). An edge beside a
    pixel is no slope: of the differences to either side the smaller one counts."""
    squared = np.ones_like(z)
    for axis in (0, 1):
        step = np.abs(np.diff(z, axis=axis))
        before = np.concatenate([np.take(step, [0], axis), step], axis=axis)
        after = np.concatenate([step, np.take(step, [-1], axis)], axis=axis)
        squared += (np.minimum(before, after) * focal / z) ** 2
    return 1 / np.sqrt(squared)
