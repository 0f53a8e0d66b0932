"""FISHEYE624, the camera of Project Aria and of HOT3D, and pinhole pictures cut out of its own.

Model: a point's direction by its angle from the optical axis (equidistant), six radial, two tangential and
four thin-prism coefficients, then focal lengths and principal point; integers at pixel centres. Source:
Project Aria's documentation of camera intrinsic models, and facebookresearch/hand_tracking_toolkit
(camera_distortion.py), which reads HOT3D.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from tempohand.data.convert.frame import Camera, Unusable
from tempohand.data.pictures import BEYOND

NUM_PARAMETERS = (15, 16)  # with one focal length, and with two


@dataclass(frozen=True)
class Fisheye624:
    """focal, princpt [2]: px. radial [6], tangential [2], prism [4]: coefficients. limit: the angle (radians)
    from the optical axis up to which the model is one to one; what lies beyond is not seen."""

    focal: Float[np.ndarray, "2"]
    princpt: Float[np.ndarray, "2"]
    radial: Float[np.ndarray, "6"]
    tangential: Float[np.ndarray, "2"]
    prism: Float[np.ndarray, "4"]
    limit: float

    @classmethod
    def of_parameters(cls, parameters) -> "Fisheye624":
        """From f (or fx, fy), cx, cy, k0-k5, p0, p1, s0-s3. Raises Unusable for others."""
        values = np.asarray(parameters, float).reshape(-1)
        if (
            len(values) not in NUM_PARAMETERS
            or not np.isfinite(values).all()
            or (values[: len(values) - 14] <= 0).any()
        ):
            raise Unusable(
                "no camera",
                f"FISHEYE624 has 15 or 16 parameters and a positive focal length, not {values.tolist()}",
            )
        focal, rest = np.broadcast_to(values[: len(values) - 14], 2), values[-14:]
        angles = np.linspace(0, np.pi, 1000)
        falls = np.flatnonzero(np.diff(angles * _polynomial(angles**2, rest[2:8])) <= 0)
        limit = angles[falls[0]] if len(falls) else np.pi
        return cls(focal, rest[:2], rest[2:8], rest[8:10], rest[10:], float(limit))

    def project(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 2"]:
        """Pixels of points in camera space; nan for those that are not seen."""
        x, y, z = np.moveaxis(points, -1, 0)
        radius = np.hypot(x, y)
        angle = np.arctan2(radius, z)
        scale = angle * _polynomial(angle**2, self.radial) / np.maximum(radius, 1e-12)
        u, v = x * scale, y * scale
        square = u * u + v * v
        along = 2 * (self.tangential[0] * u + self.tangential[1] * v)
        s0, s1, s2, s3 = self.prism
        bent = (
            u + along * u + self.tangential[0] * square + square * (s0 + s1 * square),
            v + along * v + self.tangential[1] * square + square * (s2 + s3 * square),
        )
        pixels = np.stack(bent, axis=-1) * self.focal + self.princpt
        return np.where((angle < self.limit)[..., None], pixels, np.nan)

    def within(self, rays: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Directions (unit) of rays; those beyond the limit are bent toward the optical axis until they are
        just within it."""
        radius = np.maximum(np.hypot(rays[..., 0], rays[..., 1]), 1e-12)
        angle = np.minimum(np.arctan2(radius, rays[..., 2]), self.limit * (1 - 1e-9))
        return np.stack(
            [*(np.sin(angle) * rays[..., axis] / radius for axis in (0, 1)), np.cos(angle)], axis=-1
        )


def _polynomial(square: np.ndarray, coefficients: Float[np.ndarray, "6"]) -> np.ndarray:
    """1 + k0 s + k1 s^2 + ... by Horner's rule."""
    value = np.zeros_like(square)
    for coefficient in coefficients[::-1]:
        value = (value + coefficient) * square
    return 1 + value


def pinhole_picture(
    picture: UInt8[np.ndarray, "h w 3"],
    fisheye: Fisheye624,
    camera: Camera,
    turn: Float[np.ndarray, "3 3"],
    edge: int,
) -> UInt8[np.ndarray, "edge edge 3"]:
    """What a pinhole camera at the fisheye's place shows. turn: X_pinhole = turn X_fisheye. Where the fisheye
    sees nothing, its picture's edge is repeated."""
    places = np.clip(pinhole_places(fisheye, camera, turn, edge), -1, picture.shape[1::-1]).astype(np.float32)
    return cv2.remap(picture, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=BEYOND)


def pinhole_places(
    fisheye: Fisheye624, camera: Camera, turn: Float[np.ndarray, "3 3"], edge: int, step: int = 4
) -> Float[np.ndarray, "edge edge 2"]:
    """Where in the fisheye's picture each pixel of a pinhole camera's is; directions beyond its limit are
    where the limit is.

    The model is computed at every `step`-th pixel and linear between them, which is off by step^2 / (8 focal)
    px, some hundredth, at a quarter of the time."""
    nodes = step * np.arange(-(-edge // step) + 1)
    u, v = np.meshgrid(
        (nodes - camera.princpt[0]) / camera.focal[0], (nodes - camera.princpt[1]) / camera.focal[1]
    )
    places = fisheye.project(fisheye.within(np.stack([u, v, np.ones_like(u)], axis=-1) @ turn))
    lines = _between(places, step)[:edge]
    return _between(lines.transpose(1, 0, 2), step)[:edge].transpose(1, 0, 2)


def _between(nodes: Float[np.ndarray, "n m 2"], step: int) -> Float[np.ndarray, "k m 2"]:
    """Nodes along the first axis with step - 1 linear values after each; the last one is left out."""
    weight = (np.arange(step) / step)[:, None, None]
    return (nodes[:-1, None] + weight * (nodes[1:, None] - nodes[:-1, None])).reshape(-1, *nodes.shape[1:])
