"""Joints in space out of joints in several calibrated views: robust triangulation, point by point.

Every pair of views proposes a point by the direct linear transform (Hartley & Zisserman, "Multiple View
Geometry", 12.2); the proposal that most views agree with best is kept (MSAC: Torr & Zisserman, 2000), and
Gauss-Newton brings it to the least reprojection error over the views that agree.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float

OUTLIER_PX = 15.0  # a view that a joint is farther from does not count for it
LEAST_ANGLE_DEG = 1.0  # between the rays of a joint: below it nothing is known of its distance
_ROUNDS = 3  # of choosing views and moving the point
_STEPS = 5
# Rounds of undoing lens distortion: OpenCV's default stops after five.
_EXACTLY = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-12)


@dataclass(frozen=True)
class PlacedCamera:
    """A camera of a calibrated rig: X_camera = R X + t (mm), px by K and OpenCV's lens distortion, of its
    fisheye model where `fisheye`. Raises ValueError for what is no such camera."""

    matrix: Float[np.ndarray, "3 3"]
    distortion: Float[np.ndarray, "d"]
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]
    fisheye: bool = False

    def __post_init__(self):
        focal = self.matrix[[0, 1], [0, 1]]
        if not (np.isfinite(self.matrix).all() and (focal > 0).all()):
            raise ValueError(f"K is {self.matrix.tolist()}, which is no camera's")
        known = (4,) if self.fisheye else (0, 4, 5, 8, 12, 14)
        if len(self.distortion) not in known or not np.isfinite(self.distortion).all():
            raise ValueError(
                f"{len(self.distortion)} coefficients of lens distortion, OpenCV has "
                f"{' or '.join(map(str, known))}"
            )
        turned = self.rotation @ self.rotation.T
        if not (np.allclose(turned, np.eye(3), atol=1e-3) and np.linalg.det(self.rotation) > 0):
            raise ValueError(f"R is {self.rotation.tolist()}, which is no rotation")
        if not np.isfinite(self.translation).all():
            raise ValueError(f"t is {self.translation.tolist()}")

    @property
    def focal(self) -> float:
        """px, the mean of both directions."""
        return float(self.matrix[[0, 1], [0, 1]].mean())

    def rays(self, pixels: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Directions (x / z, y / z) in the camera's space; nan for unknown pixels."""
        known = np.isfinite(pixels).all(1)
        found = np.full(pixels.shape, np.nan)
        if known.any():
            undistort = cv2.fisheye.undistortPoints if self.fisheye else cv2.undistortPoints
            given = (pixels[known][:, None], self.matrix, self._coefficients)
            found[known] = undistort(*given, criteria=_EXACTLY)[:, 0]
        return found

    def project(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
        """Pixels of points in the rig's space; nan for unknown points and those behind the camera."""
        turn = cv2.Rodrigues(self.rotation)[0]
        depth = points @ self.rotation[2] + self.translation[2]
        known = np.isfinite(points).all(1) & (np.nan_to_num(depth) > 0)
        found = np.full((len(points), 2), np.nan)
        if known.any():
            project = cv2.fisheye.projectPoints if self.fisheye else cv2.projectPoints
            given = (turn, self.translation, self.matrix, self._coefficients)
            found[known] = project(points[known][:, None], *given)[0].reshape(-1, 2)
        return found

    @property
    def _coefficients(self) -> Float[np.ndarray, "d"]:
        return self.distortion if len(self.distortion) else np.zeros(4)


class Triangulated(NamedTuple):
    """Points in the rig's space, mm; nan where fewer than two views agree, or their rays are parallel.

    error: px from each view's own point to the projected one, nan where the view has none, or there is no
    point. used: the views that agree.
    """

    points: Float[np.ndarray, "n 3"]
    error: Float[np.ndarray, "v n"]
    used: Bool[np.ndarray, "v n"]


def triangulate(
    cameras: list[PlacedCamera], pixels: Float[np.ndarray, "v n 2"], *, outlier: float = OUTLIER_PX
) -> Triangulated:
    """Points that several views saw at `pixels` (nan: not seen). outlier: px from where on a view does not
    count. Raises ValueError for fewer than two cameras or an `outlier` that is not positive."""
    if len(cameras) < 2:
        raise ValueError(f"triangulation needs two views or more, not {len(cameras)}")
    if not (np.isfinite(outlier) and outlier > 0):
        raise ValueError(f"`outlier` is a positive number of pixels, not {outlier}")
    rays = np.stack([camera.rays(seen) for camera, seen in zip(cameras, pixels)])
    rig = _Rig(cameras, rays)
    points = rig.proposed(outlier)
    for _ in range(_ROUNDS):
        used = rig.distance(points) < outlier
        points = rig.moved(points, used)
    used = rig.distance(points) < outlier
    points[(used.sum(0) < 2) | (rig.widest(points, used) < np.radians(LEAST_ANGLE_DEG))] = np.nan
    projected = np.stack([camera.project(points) for camera in cameras])
    error = np.linalg.norm(projected - pixels, axis=-1)
    return Triangulated(points, error, used & np.isfinite(points).all(1))


class _Rig:
    """The views' rays to n points, in units of their focal lengths."""

    def __init__(self, cameras: list[PlacedCamera], rays: Float[np.ndarray, "v n 2"]):
        self.rays = rays
        self.rotation = np.stack([camera.rotation for camera in cameras])
        self.translation = np.stack([camera.translation for camera in cameras])
        self.focal = np.array([camera.focal for camera in cameras])

    def seen(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "v n 3"]:
        """The points in each camera's space."""
        return np.einsum("vij,nj->vni", self.rotation, points) + self.translation[:, None]

    def distance(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "v n"]:
        """px, without distortion, between points and rays; infinite where one is unknown or behind."""
        seen = self.seen(points)
        with np.errstate(all="ignore"):
            off = np.linalg.norm(seen[..., :2] / seen[..., 2:] - self.rays, axis=-1) * self.focal[:, None]
        return np.where(np.isfinite(off) & (seen[..., 2] > 0), off, np.inf)

    def proposed(self, outlier: float) -> Float[np.ndarray, "n 3"]:
        """Of each pair's point the one that the views agree with best."""
        best, cost = np.full((self.rays.shape[1], 3), np.nan), np.full(self.rays.shape[1], np.inf)
        for pair in combinations(range(len(self.rays)), 2):
            points = self._linear(list(pair))
            missed = np.minimum(self.distance(points), outlier) ** 2
            total = np.where(np.isfinite(points).all(1), missed.sum(0), np.inf)
            better = total < cost
            best[better], cost[better] = points[better], total[better]
        return best

    def _linear(self, views: list[int]) -> Float[np.ndarray, "n 3"]:
        """The least algebraic error over some views."""
        rays = self.rays[views].transpose(1, 0, 2)  # n v 2
        known = np.all(np.isfinite(rays), (1, 2))
        matrix = np.concatenate([self.rotation, self.translation[..., None]], axis=-1)[views]
        rows = rays[known][..., None] * matrix[:, None, 2] - matrix[:, :2]  # n v 2 4
        scale = np.linalg.norm(self.translation, axis=1).max() or 1.0
        rows = rows.reshape(len(rows), -1, 4) * [1, 1, 1, 1 / scale]
        null = np.linalg.svd(rows)[2][:, -1]
        points = np.full((len(known), 3), np.nan)
        with np.errstate(all="ignore"):
            points[known] = null[:, :3] / (null[:, 3:] / scale)
        return np.where(np.isfinite(points), points, np.nan)

    def moved(
        self, points: Float[np.ndarray, "n 3"], used: Bool[np.ndarray, "v n"]
    ) -> Float[np.ndarray, "n 3"]:
        """Gauss-Newton on the distances in the views that are used."""
        points = points.copy()
        some = np.flatnonzero(used.sum(0) >= 2)
        for _ in range(_STEPS):
            seen = self.seen(points[some])
            x, z = seen[..., :2] / seen[..., 2:], seen[..., 2:]
            weight = used[:, some] * self.focal[:, None]
            off = np.where(used[:, some, None], x - self.rays[:, some], 0.0) * weight[..., None]
            along = self.rotation[:, None, :2] - x[..., None] * self.rotation[:, None, 2:]
            along = along / z[..., None] * weight[..., None, None]  # v n 2 3
            matrix = np.einsum("vnki,vnkj->nij", along, along)
            vector = np.einsum("vnki,vnk->ni", along, off)
            lift = 1e-12 * np.trace(matrix, axis1=1, axis2=2)[:, None, None] * np.eye(3)
            points[some] -= np.linalg.solve(matrix + lift, vector[..., None])[..., 0]
        return points

    def widest(
        self, points: Float[np.ndarray, "n 3"], used: Bool[np.ndarray, "v n"]
    ) -> Float[np.ndarray, "n"]:
        """The widest angle between rays that are used, radians."""
        centres = -np.einsum("vij,vi->vj", self.rotation, self.translation)
        to = points - centres[:, None]
        with np.errstate(all="ignore"):
            to = np.where(used[..., None], to / np.linalg.norm(to, axis=-1, keepdims=True), np.nan)
        cosine = np.einsum("vni,wni->vwn", to, to)
        return np.arccos(np.clip(np.fmin.reduce(cosine.reshape(-1, len(points)), axis=0), -1, 1))
