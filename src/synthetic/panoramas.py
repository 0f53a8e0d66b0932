"""Photographed surroundings: one panorama (equirectangular, linear radiance) gives the light on the hand and
what is seen behind it.

World space is that of the resting camera: x right, y down, z forward. A panorama's columns are longitude, its
rows latitude from the zenith down; its middle looks along +z.
"""

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from tempohand.synthetic.archive import Archive

MOST_ROWS = 512  # a larger panorama is made smaller: it is seen out of focus
LIGHT_ROWS = 32  # of the copy that light is summed up over
SUN_DEG = 14.0  # from the brightest direction, within which light counts as one far light's
LUMA = np.array([0.2126, 0.7152, 0.0722])
# What a cosine lobe leaves of each band of radiance, over pi (Ramamoorthi and Hanrahan, "An Efficient
# Representation for Irradiance Environment Maps", 2001, equation 8).
COSINE_LOBE = np.array([1.0] + [2 / 3] * 3 + [1 / 4] * 5)
TILT_DEG, ROLL_DEG = 14.0, 4.0  # sigma of the camera's, against the horizon
STRENGTH = 0.75, 1.25  # light on the hand after exposure; 1 shows a surface as bright as its own colour
FOR_THE_VIEW = 0.6  # of the exposure is chosen for what is behind the hand, not for the hand itself
HAND_LIGHT = 0.4, 2.0  # whatever the view, the hand gets no less and no more than this
WHITE_BALANCE = 0.4, 1.0  # share of the light's colour that the camera takes out
HALF_VIEW_DEG = 18.0, 45.0  # a narrower view would show a few of the panorama's pixels
SOFT = 0.7, 2.5  # sigma of the view's blur, in the panorama's pixels
BRIGHTEST = 12.0  # radiance in the view, over the panorama's mean: a lamp out of focus stays a disc
GRID = 5  # texels of the background between two directions that are looked up
SHADOW = 0.7, 1.0


def harmonics(directions: Float[ndarray, "*n 3"]) -> Float[ndarray, "*n 9"]:
    """The real spherical harmonics of degree 0 to 2 at unit vectors."""
    x, y, z = np.moveaxis(directions, -1, 0)
    return np.stack(
        [
            np.full_like(x, 0.282095),
            *(0.488603 * y, 0.488603 * z, 0.488603 * x),
            *(1.092548 * x * y, 1.092548 * y * z, 0.315392 * (3 * z * z - 1)),
            *(1.092548 * x * z, 0.546274 * (x * x - y * y)),
        ],
        axis=-1,
    )


def sphere(rows: int) -> tuple[Float[ndarray, "r c 3"], Float[ndarray, "r 1"]]:
    """Directions of the pixels of a panorama of `rows` rows and twice as many columns, and their solid
    angles."""
    edges = np.linspace(0, np.pi, rows + 1)
    theta = (np.arange(rows)[:, None] + 0.5) / rows * np.pi
    phi = (np.arange(2 * rows) + 0.5) / rows * np.pi - np.pi
    directions = np.stack(
        np.broadcast_arrays(np.sin(theta) * np.sin(phi), -np.cos(theta), np.sin(theta) * np.cos(phi)), axis=-1
    )
    return directions, (-np.diff(np.cos(edges)) * np.pi / rows)[:, None]


def irradiance(radiance: Float[ndarray, "r c 3"], rotation: Float[ndarray, "3 3"]) -> Float[ndarray, "9 3"]:
    """Coefficients on `harmonics` of irradiance over pi, under a panorama that `rotation` turns into the
    world."""
    directions, angle = sphere(len(radiance))
    basis = harmonics(directions @ rotation.T) * angle[..., None]
    return COSINE_LOBE[:, None] * np.einsum("rck,rcd->kd", basis, radiance)


class FarLight(NamedTuple):
    """The brightest part of a panorama as one far light."""

    direction: Float[ndarray, "3"]  # unit, toward it, in the panorama
    colour: Float[ndarray, "3"]  # irradiance over pi of a surface that faces it


def part_sun(radiance: Float[ndarray, "r c 3"]) -> tuple[FarLight, Float[ndarray, "r c 3"]]:
    """The far light in a panorama, and the panorama without it."""
    directions, angle = sphere(len(radiance))
    luminance = radiance @ LUMA
    wide = np.concatenate([luminance[:, -2:], luminance, luminance[:, :2]], axis=1)
    peak = np.argmax(cv2.GaussianBlur(wide, (0, 0), 0.7)[:, 2:-2] * np.ones_like(angle))
    middle = directions.reshape(-1, 3)[peak]
    near = directions @ middle > np.cos(np.radians(SUN_DEG))
    level = np.median(luminance[directions @ middle > np.cos(np.radians(2.5 * SUN_DEG))])
    kept = np.minimum(1.0, level / np.maximum(luminance, 1e-9))
    share = np.where(near, 1.0 - kept, 0.0)[..., None]
    taken = radiance * share * angle[..., None]
    direction = np.einsum("rcd,rc->d", directions, taken @ LUMA) + 1e-9 * middle
    return FarLight(direction / np.linalg.norm(direction), taken.sum((0, 1)) / np.pi), radiance * (1 - share)


def turned(yaw: float, tilt: float, roll: float) -> Float[ndarray, "3 3"]:
    """Rotation from a panorama into the camera's space: the camera looks `yaw` to the right in it, `tilt`
    down, and is rolled; radians."""
    (cy, sy), (ct, st), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (yaw, tilt, roll))
    turn = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    down = np.array([[1, 0, 0], [0, ct, -st], [0, st, ct]])
    return np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]]) @ down @ turn


class Panoramas:
    """The panoramas (*.hdr) of an archive. Raises ValueError when it holds none."""

    def __init__(self, archive: Archive):
        self.archive, self.names = archive, archive.names("", ".hdr")
        self.load = lru_cache(64)(self._load)

    def _load(self, name: str) -> Float[ndarray, "h w 3"]:
        """Radiance, of mean luminance 1. Raises ValueError for what is no panorama."""
        radiance = self.archive.picture(name)
        height, width = radiance.shape[:2]
        if radiance.dtype != np.float32 or width != 2 * height or not np.isfinite(radiance).all():
            raise ValueError(
                f"{self.archive.setting}={self.archive.path}: {name} is no panorama "
                f"(linear radiance, twice as wide as high); it is {width} x {height}, {radiance.dtype}"
            )
        if height > MOST_ROWS:
            radiance = cv2.resize(radiance, (2 * MOST_ROWS, MOST_ROWS), interpolation=cv2.INTER_AREA)
        _, angle = sphere(len(radiance))
        mean = float((radiance @ LUMA * angle).sum() / (4 * np.pi))
        if mean <= 0:
            raise ValueError(f"{self.archive.setting}={self.archive.path}: {name} is all black")
        return np.maximum(radiance, 0) / np.float32(mean)


class Surroundings:
    """One panorama about a scene, drawn for a sequence: its turn against the camera, its exposure.

    directions [1, 3], colours [1, 3], shadow: its brightest part, as `lighting.Lights` has them.
    """

    def __init__(self, rng: np.random.Generator, panoramas: Panoramas):
        self.radiance = panoramas.load(panoramas.names[rng.integers(len(panoramas.names))])
        yaw, tilt, roll = rng.uniform(-np.pi, np.pi), *np.radians(rng.normal(0.0, [TILT_DEG, ROLL_DEG]))
        self.rotation = turned(yaw, tilt, roll)
        self.half_view = np.tan(np.radians(rng.uniform(*HALF_VIEW_DEG)))
        self.soft = np.exp(rng.uniform(*np.log(SOFT)))
        small = cv2.resize(self.radiance, (2 * LIGHT_ROWS, LIGHT_ROWS), interpolation=cv2.INTER_AREA)
        sun, rest = part_sun(small.astype(float))
        self.coefficients = irradiance(rest, self.rotation)
        self.directions = (self.rotation @ sun.direction)[None]
        self.colours = sun.colour[None]
        self.shadow = rng.uniform(*SHADOW)
        self._expose(rng)

    def _expose(self, rng: np.random.Generator) -> None:
        """Scales all light by what a camera would choose for hand and view, and balances its colour."""
        facing = np.array([[0, 0, -1], [0, -0.7, -0.7], [0.7, 0, -0.7], [-0.7, 0, -0.7], [0, 0.7, -0.7]])
        facing = facing / np.linalg.norm(facing, axis=1, keepdims=True)
        direct = np.maximum(facing @ self.directions[0], 0)[:, None] * self.colours
        on_hand = (self.ambient(facing) + direct).mean(0)
        view = np.minimum(self._look(self._ahead(24)) @ LUMA, 4.0).mean()
        light = float(on_hand @ LUMA)
        strength, balance = rng.uniform(*STRENGTH), rng.uniform(*WHITE_BALANCE)
        scale = strength / (light ** (1 - FOR_THE_VIEW) * max(2.0 * view, 1e-3) ** FOR_THE_VIEW)
        scale = np.clip(scale * light, *HAND_LIGHT) / light
        self.gain = scale * (light / np.maximum(on_hand, 1e-3 * light)) ** balance
        self.coefficients = self.coefficients * self.gain
        self.colours = self.colours * self.gain

    def ambient(self, normals: Float[ndarray, "v 3"]) -> Float[ndarray, "v 3"]:
        """Light of the surroundings, but for the far light, on surfaces of these normals: irradiance over
        pi."""
        return np.maximum(harmonics(normals.astype(np.float64)) @ self.coefficients, 0.0)

    def _ahead(self, count: int) -> Float[ndarray, "n n 3"]:
        """Directions of a grid over the view straight ahead."""
        x = np.linspace(-self.half_view, self.half_view, count)
        return np.stack([*np.meshgrid(x, x), np.ones((count, count))], axis=-1)

    def _look(self, directions: Float[ndarray, "h w 3"]) -> Float[ndarray, "h w 3"]:
        """Radiance from where directions of the world look."""
        x, y, z = np.moveaxis(directions @ self.rotation, -1, 0)  # into the panorama's own space
        rows, columns = self.radiance.shape[:2]
        u = (np.arctan2(x, z) / (2 * np.pi) + 0.5) * columns - 0.5
        v = np.arctan2(np.hypot(x, z), -y) / np.pi * rows - 0.5
        v = np.clip(v, 0, rows - 1)
        maps = u.astype(np.float32), v.astype(np.float32)
        return cv2.remap(self.radiance, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)

    def behind(self, points: Float[ndarray, "2 2 3"], edge: int) -> Float[ndarray, "e e 3"]:
        """The picture, linear light, of a plane of edge x edge texels whose corners are at `points` (first
        axis: down the picture), seen from the origin.

        Where the plane fills less of the view than `half_view` it shows more than is behind it, as if that
        were nearer: too few of the panorama's pixels would be seen.
        """
        count = -(-edge // GRID)
        s = np.linspace(0, 1, count)[:, None]
        left, right = (points[0, k] + s * (points[1, k] - points[0, k]) for k in (0, 1))
        places = left[:, None] + s * (right - left)[:, None]
        middle = points.mean((0, 1))
        distance = np.linalg.norm(middle)
        extent = np.linalg.norm(points[0, 0] - points[1, 1]) / np.sqrt(8)
        wide = max(self.half_view * distance / extent, 1.0)
        seen = self._look(middle + wide * (places - middle))
        per_texel = 2 * np.arctan(wide * extent / distance) / count  # radians
        sigma = self.soft * np.pi / len(self.radiance) / per_texel
        seen = cv2.GaussianBlur(np.minimum(seen, BRIGHTEST), (0, 0), sigma) * np.float32(self.gain)
        return cv2.resize(seen, (edge, edge), interpolation=cv2.INTER_LINEAR)
