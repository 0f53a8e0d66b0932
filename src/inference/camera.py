"""The camera of pictures that come without one: given by the user, or assumed."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tempohand.inference.resolution import rescale, scale_between


@dataclass(frozen=True)
class CameraChoice:
    """How to get focal length and principal point for a picture of any size.

    focal_px: focal length in pixels, or fov_deg: the field of view across the picture's longer side, in
    degrees. With neither it is what the picture's file tells (its EXIF), else the picture's diagonal: a
    diagonal field of view of 53 degrees, between a phone's and a normal lens (Kissos et al., "Beyond Weak
    Perspective for Monocular 3D Human Pose Estimation", 2020; also CLIFF, ECCV 2022). princpt: (cx, cy) in
    pixels; default the picture's centre. Raises ValueError for values that no camera has.
    """

    focal_px: float | int | None = None
    fov_deg: float | int | None = None
    princpt: tuple[float | int, float | int] | None = None

    def __post_init__(self):
        if self.focal_px is not None and self.fov_deg is not None:
            raise ValueError("give the focal length `focal_px` or the field of view `fov_deg`, not both")
        if self.focal_px is not None and not (math.isfinite(self.focal_px) and self.focal_px > 0):
            raise ValueError(f"`focal_px` is a positive number of pixels, not {self.focal_px:g}")
        if self.fov_deg is not None and not 0 < self.fov_deg < 180:
            raise ValueError(f"`fov_deg` is an angle between 0 and 180 degrees, not {self.fov_deg:g}")
        if self.princpt is not None and not all(map(math.isfinite, self.princpt)):
            raise ValueError(f"`princpt` is two finite numbers of pixels, not {self.princpt}")

    def camera(
        self, size: tuple[int, int], first: tuple[int, int] | None = None, told: float | None = None
    ) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
        """(focal, princpt) in pixels, float64, for a picture of `size` (W, H). first: the size of a
        sequence's first picture, in whose pixels focal_px and princpt are; they are scaled with the same
        view's resolution (resolution.py). told: focal length that the picture's own file tells, px."""
        scale = None if first is None or first == size else scale_between(first, size)
        if first is not None and scale is not None:
            focal, princpt = self.camera(first)
            return focal * scale, rescale(princpt, scale)
        width, height = size
        if self.focal_px is not None:
            focal = self.focal_px
        elif self.fov_deg is not None:
            focal = max(width, height) / 2 / math.tan(math.radians(self.fov_deg) / 2)
        else:
            focal = told or math.hypot(width, height)
        princpt = self.princpt if self.princpt is not None else ((width - 1) / 2, (height - 1) / 2)
        return np.array([focal, focal], np.float64), np.array(princpt, np.float64)

    def describe(self, size: tuple[int, int] | None, told: float | None = None) -> str:
        """One line for the user: the focal length and what hangs on it. size: (W, H) of all pictures; None
        where they may differ. told: the focal length that the first picture's file tells, px."""
        assumed = self.focal_px is None and self.fov_deg is None
        if size is not None:
            (focal, _), _ = self.camera(size, told=told)
            fov = math.degrees(2 * math.atan(max(size) / 2 / focal))
            what = f"focal length {focal:.1f} px (field of view {fov:.1f} degrees across {max(size)} px)"
        elif self.focal_px is not None:
            what = f"focal length {self.focal_px:.1f} px for every picture, whatever its size"
        elif self.fov_deg is not None:
            what = f"field of view {self.fov_deg:.1f} degrees across each picture's longer side"
        else:
            what = "focal length picture by picture"
        if assumed and told is not None:
            more = "" if size is not None else f" where it has one (the first: {told:.1f} px), else ASSUMED"
            return f"camera: {what}, from the picture's EXIF{more}; depth scales with it"
        if assumed:
            return (
                f"camera: {what}, ASSUMED from the picture's diagonal: depth scales with it, give "
                "`focal_px` or `fov_deg` for true distances"
            )
        return f"camera: {what}; depth scales with it"
