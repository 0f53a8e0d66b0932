"""Drawing of places in perspective: polygons, boxes and pictures in space on an sRGB picture of 8 bits."""

import cv2
import numpy as np
from jaxtyping import Float, Int32, UInt8
from numpy import ndarray

from tempohand.synthetic.texture import cv2_colour

SHIFT = 4  # of cv2's fixed-point coordinates, bits
# Corners (x, y, z as three bits) of a box's faces: a pair of faces across each axis.
BOX_QUADS = (
    ((0, 1, 3, 2), (4, 5, 7, 6)),
    ((0, 1, 5, 4), (2, 3, 7, 6)),
    ((0, 2, 6, 4), (1, 3, 7, 5)),
)
NEAR = 0.25  # metres: what is nearer to the camera of a place is not drawn


def fill(canvas: UInt8[ndarray, "h w 3"], points: Float[ndarray, "n 2"], rgb) -> None:
    """A filled polygon, points in px."""
    cv2.fillPoly(canvas, [_fixed(points, len(canvas))], cv2_colour(rgb), cv2.LINE_AA, SHIFT)


def _fixed(points: Float[ndarray, "n 2"], size: int) -> Int32[ndarray, "n 2"]:
    """Points in cv2's fixed-point coordinates; what lies far outside a picture of that edge is brought near,
    so that they stay in range."""
    return np.rint(np.clip(points, -20 * size, 20 * size) * 2**SHIFT).astype(np.int32)


def level(left: float, right: float, y: float, far: float, near: float) -> Float[ndarray, "4 3"]:
    """Corners of a level rectangle, the far ones first."""
    return np.array([[left, y, far], [right, y, far], [right, y, near], [left, y, near]])


def upright(
    start: tuple[float, float], end: tuple[float, float], top: float, low: float
) -> Float[ndarray, "4 3"]:
    """Corners of an upright rectangle from `start` to `end` (x, z), the upper ones first."""
    (x0, z0), (x1, z1) = start, end
    return np.array([[x0, top, z0], [x1, top, z1], [x1, low, z1], [x0, low, z0]])


class PlaceView:
    """A camera in a place and the picture it draws on. World space in metres: x right, y down, z forward from
    the camera; it is pitched by `pitch` radians and turned to a side."""

    def __init__(self, rng: np.random.Generator, size: int, pitch: float):
        self.canvas = np.zeros((size, size, 3), np.uint8)
        self.focal, self.size = size * rng.uniform(0.6, 1.6), size
        c, s = np.cos(pitch), np.sin(pitch)
        turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
        yaw = rng.uniform(-0.7, 0.7)
        c, s = np.cos(yaw), np.sin(yaw)
        self.rotation = turn @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
        self.shading = rng.uniform(0.45, 1.0, 3)  # of faces that look along each axis

    def project(self, points: Float[ndarray, "n 3"]) -> Float[ndarray, "m 2"]:
        """Pixels of a polygon in space, cut at the near plane; empty when all of it lies behind."""
        seen = np.asarray(points, float) @ self.rotation.T
        cut = []
        for a, b in zip(seen, np.roll(seen, -1, axis=0)):
            if a[2] >= NEAR:
                cut.append(a)
            if (a[2] >= NEAR) != (b[2] >= NEAR):
                cut.append(a + (NEAR - a[2]) / (b[2] - a[2]) * (b - a))
        cut = np.array(cut).reshape(-1, 3)
        return cut[:, :2] / cut[:, 2:] * self.focal + self.size / 2

    def polygon(self, points: Float[ndarray, "n 3"], rgb) -> None:
        """Fills a polygon in space."""
        pixels = self.project(points)
        if len(pixels):
            fill(self.canvas, pixels, rgb)

    def box(self, low: Float[ndarray, "3"], high: Float[ndarray, "3"], rgb) -> None:
        """A box with its faces lit differently, the far ones first."""
        corners = np.array(
            [[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])]
        )
        quads = [(axis, list(quad)) for axis, pair in enumerate(BOX_QUADS) for quad in pair]
        quads.sort(key=lambda quad: -np.linalg.norm(corners[quad[1]].mean(0)))
        for axis, quad in quads[3:]:
            self.polygon(corners[quad], np.asarray(rgb) * self.shading[axis])

    def plane(self, picture: UInt8[ndarray, "h w 3"], corners: Float[ndarray, "4 3"]) -> None:
        """A picture on a quad in space (corners: its upper left, upper right, lower right, lower left); the
        part in front of the camera."""
        height, width = picture.shape[:2]
        across = (corners[1] - corners[0]) / width
        down = (corners[3] - corners[0]) / height
        camera = np.array([[self.focal, 0, self.size / 2], [0, self.focal, self.size / 2], [0, 0, 1.0]])
        homography = camera @ self.rotation @ np.column_stack([across, down, corners[0]])
        pixels = self.project(corners)
        if len(pixels) < 3 or abs(np.linalg.det(homography)) < 1e-9:
            return
        shape = (self.size, self.size)
        mask = np.zeros(shape, np.uint8)
        cv2.fillPoly(mask, [_fixed(pixels, self.size)], 1, cv2.LINE_8, SHIFT)
        seen = cv2.warpPerspective(
            picture, homography, shape, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        cv2.copyTo(seen, mask, self.canvas)
