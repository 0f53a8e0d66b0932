"""Predictions drawn over the frames: a shaded mesh and the skeleton; as a video, a picture or a folder of
pictures."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from tempohand.draw import draw_skeleton
from tempohand.inference.predictor import HandEstimate
from tempohand.inference.source import SourceFrame
from tempohand.media.encode import VideoWriter
from tempohand.render import NEAR_MM, render, shade

ALBEDO = {True: (0.96, 0.72, 0.60), False: (0.60, 0.76, 0.96)}  # right hands warm, left hands cool
MESH_OPACITY = 0.8
LIGHTS = ((-0.4, -0.7, -1.0), (0.8, 0.2, -0.6))  # toward the light: from above the camera, and from its right
INTENSITIES = (0.75, 0.35)
JPEG_QUALITY = 95
_MARGIN = 2  # px around the mesh, for its anti-aliased rim


def side_faces(faces: Int[np.ndarray, "f 3"], is_right: bool) -> Int[np.ndarray, "f 3"]:
    """The faces of a hand of that side, wound so that they look outward: a mirrored mesh needs them
    reversed."""
    return faces if is_right else np.ascontiguousarray(faces[:, ::-1])


def draw_hands(
    image: UInt8[np.ndarray, "h w 3"],
    estimates: Sequence[HandEstimate],
    faces: Int[np.ndarray, "f 3"],
    *,
    opacity: float = MESH_OPACITY,
) -> UInt8[np.ndarray, "h w 3"]:
    """A copy of the picture with every hand's mesh, far ones first, and their skeletons over them."""
    picture = np.array(image, order="C")
    for estimate in sorted(estimates, key=lambda estimate: -float(estimate.trans[2])):
        _draw_mesh(picture, estimate, side_faces(faces, estimate.is_right), opacity)
    for estimate in estimates:
        side = float((estimate.box[2:] - estimate.box[:2]).max())
        draw_skeleton(picture, estimate.joints2d, thickness=min(max(side / 120, 1.0), 6.0))
    return picture


def mesh_window(
    vertices: Float[np.ndarray, "v 3"], focal: np.ndarray, princpt: np.ndarray, size: tuple[int, int]
) -> tuple[int, int, int, int] | None:
    """(x0, y0, x1, y1), x1 and y1 exclusive: the part of a picture of `size` (W, H) that a mesh can touch;
    None where it touches none.

    A mesh that reaches nearer than the near plane may touch anything.
    """
    width, height = size
    if vertices[:, 2].max() <= NEAR_MM:
        return None
    if vertices[:, 2].min() <= NEAR_MM:
        return 0, 0, width, height
    pixels = vertices[:, :2].astype(np.float64) / vertices[:, 2:] * focal + princpt
    low = np.clip(np.floor(pixels.min(axis=0)) - _MARGIN, 0, size).astype(int)
    high = np.clip(np.ceil(pixels.max(axis=0)) + _MARGIN + 1, 0, size).astype(int)
    return (*low.tolist(), *high.tolist()) if (high > low).all() else None


def _draw_mesh(picture: np.ndarray, estimate: HandEstimate, faces: np.ndarray, opacity: float) -> None:
    window = mesh_window(estimate.vertices, estimate.focal, estimate.princpt, estimate.image_size)
    if window is None:
        return
    x0, y0, x1, y1 = window
    part = picture[y0:y1, x0:x1]
    ground = part.astype(np.float32) / 255
    colours = shade(
        estimate.vertices, faces, ALBEDO[estimate.is_right], lights=LIGHTS, intensities=INTENSITIES
    )
    centre = estimate.princpt - np.array([x0, y0], np.float32)
    colour = render(
        estimate.vertices,
        faces,
        colours,
        estimate.focal,
        centre,
        part.shape[:2],
        background=ground,
        antialias=2,
    )
    blended = ground + opacity * (colour - ground)
    part[:] = np.clip(blended * 255 + 0.5, 0, 255).astype(np.uint8)


class VideoOverlay(VideoWriter):
    """Frames to an .mp4 at a constant `fps`, each at the place nearest to its time."""

    def __init__(self, path: Path, fps: Fraction):
        super().__init__(path, fps.limit_denominator(1001))
        self._last = -1  # place of the last frame, in frames

    def write(self, frame: SourceFrame, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """Appends a frame's picture."""
        self._last = max(self._last + 1, round(frame.time * self.fps))
        self.put(picture, self._last)


def overlay_name(name: str) -> str:
    """The file name of a drawn-over picture: its own, with .png added unless it is JPEG or PNG."""
    return name if _is_jpeg(name) or Path(name).suffix.lower() == ".png" else f"{name}.png"


def _is_jpeg(name: str) -> bool:
    return Path(name).suffix.lower() in (".jpg", ".jpeg")


class PictureOverlay:
    """Frames to pictures in `folder`: `fixed_stem` names the only one; without it each has its
    `overlay_name`."""

    def __init__(self, folder: Path, fixed_stem: str | None = None):
        self.folder, self.fixed_stem = folder, fixed_stem

    def __enter__(self) -> "PictureOverlay":
        return self

    def __exit__(self, kind, error, trace) -> None:
        pass

    def write(self, frame: SourceFrame, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """Writes a frame's picture."""
        name = overlay_name(frame.name)
        if self.fixed_stem is not None:
            name = self.fixed_stem + (".jpg" if _is_jpeg(name) else ".png")
        jpeg = _is_jpeg(name)
        options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if jpeg else []
        good, data = cv2.imencode(
            ".jpg" if jpeg else ".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options
        )
        assert good, f"encoding {name} failed"
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(data.tobytes())
