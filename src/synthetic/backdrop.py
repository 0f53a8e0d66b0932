"""What is behind the hand: a plane with a picture on it, fixed in the world."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from tempohand.skeleton import NUM_VERTICES
from tempohand.synthetic.backgrounds import background, photo_background
from tempohand.synthetic.scene import Scene
from tempohand.synthetic.skin import to_linear

LINEAR = to_linear(np.arange(256) / 255).astype(np.float32)


@dataclass(frozen=True)
class BackgroundConfig:
    """What is behind the hand. Ranges are (least, greatest)."""

    things: int  # at most, in a procedural background
    blur: tuple[float, float]  # sigma over the picture's edge
    photo_probability: float  # where a folder of photos is given
    # of a place in perspective with people in it, where there is no photo; else one of flat shapes
    place_probability: float
    panorama_probability: float  # of a panorama, where there are some: it is the light, too
    face_probability: float  # of that place's being a face that the hand is laid before
    behind: tuple[float, float]  # mm from the hand to the background
    slant: float  # degrees that it leans away from facing the camera, at most


class Backdrop:
    """A textured plane behind the hand, fixed in the world, large enough for every frame's window.

    blank: unless there is a photo on it, it stays without a picture (texture None) until `show` brings one of
    `edge` x `edge` texels. distance: mm from the hand's farthest point to it, which then faces the camera;
    None: as the configuration says.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        scene: Scene,
        size: int,
        config: BackgroundConfig,
        photos: list[Path],
        *,
        blank: bool,
        distance: float | None = None,
    ):
        camera, drawn = scene.camera, rng.uniform(*config.behind)
        farthest = float(scene.vertices[:, :NUM_VERTICES, 2].max())
        depth = farthest + (drawn if distance is None else distance)
        corners = np.array([[u, v] for u in (-1, size) for v in (-1, size)], float)
        rays = (corners - scene.princpt[:, None]) / scene.focal[:, None]
        rays = np.concatenate([rays, np.ones((*rays.shape[:2], 1))], axis=-1)
        rays = rays @ camera.rotation.transpose(0, 2, 1)
        for slant in (config.slant, 0.0) if distance is None else (0.0,):
            lean = np.radians(rng.uniform(-slant, slant, 2))
            normal = np.array([np.sin(lean[0]), np.sin(lean[1]), 1.0])
            normal /= np.linalg.norm(normal)
            facing = rays @ normal
            if facing.min() > 0.25:
                break
        x = np.cross([0.0, 1.0, 0.0], normal)
        x /= np.linalg.norm(x)
        self.axes = np.stack([x, np.cross(normal, x)])  # (2, 3): along the texture's columns and rows
        self.anchor, self.normal = np.array([0.0, 0.0, depth]), normal
        reach = ((self.anchor - camera.position) @ normal)[:, None] / facing
        hits = camera.position[:, None] + rays * reach[..., None]
        places = (hits - self.anchor) @ self.axes.T
        low, high = places.reshape(-1, 2).min(0), places.reshape(-1, 2).max(0)
        extent = float((high - low).max())
        per_window = extent / float(np.ptp(places, axis=1).max(-1).mean())
        self.edge = edge = int(size * np.clip(per_window, 1.0, 2.5))
        self.texture: Float[ndarray, "e e 3"] | None = None
        if photos and rng.random() < config.photo_probability:
            self.show(photo_background(rng, photos, edge))
        elif not blank:
            self.show(background(rng, edge, config.things, config.blur))
        self.step = extent / (edge - 1)  # mm per texel
        self.corner = self.anchor + low @ self.axes

    def show(self, picture: UInt8[ndarray, "e e 3"]) -> None:
        """Puts an sRGB picture on it."""
        self.texture = LINEAR[picture]

    def corners(self) -> Float[ndarray, "2 2 3"]:
        """Its corner texels in world space, mm: down the picture, then across it."""
        far = self.step * (self.edge - 1) * self.axes
        return self.corner + np.array([[0 * far[0], far[0]], [far[1], far[0] + far[1]]])

    def texel_behind(self, point: Float[ndarray, "3"], position: Float[ndarray, "3"]) -> Float[ndarray, "2"]:
        """The texel (column, row) that a camera at `position` sees behind a point, both in world space,
        mm."""
        ray = point - position
        hit = position + ray * ((self.anchor - position) @ self.normal) / (ray @ self.normal)
        return self.axes @ (hit - self.corner) / self.step

    def seen(self, focal, princpt, rotation, position, size: int) -> Float[ndarray, "h w 3"]:
        """The picture in a window of a camera, linear light."""
        matrix = np.array([[focal[0], 0, princpt[0]], [0, focal[1], princpt[1]], [0, 0, 1.0]])
        plane = np.column_stack([self.axes[0] * self.step, self.axes[1] * self.step, self.corner - position])
        homography = matrix @ rotation.T @ plane
        return cv2.warpPerspective(
            self.texture, homography, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
