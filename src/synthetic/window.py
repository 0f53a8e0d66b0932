"""The window of the camera's frame that is stored: a square about the hand, with the intrinsics that
follow."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from tempohand.synthetic.motion import MovingCamera

SMOOTHING = 3.0  # sigma in frames, of the window's place and size over time


@dataclass(frozen=True)
class CameraConfig:
    """The camera and the stored picture. Ranges are (least, greatest)."""

    fps: float
    focal_per_width: tuple[float, float]  # focal length over the frame's width
    image_size: int  # edge of the stored square picture, px
    window: float  # edge of the stored window over that of the hand's box ...
    # ... times a factor of this range, log-uniform, constant over a sequence
    window_factor: tuple[float, float]
    # share of the window's free room, from its middle, over which the hand's place in it is drawn for a
    # sequence
    window_place: float
    # whether the window stays where it is for a whole sequence, as a filmed picture does; else it follows the
    # hand
    still: bool
    # the window's edge and place vary by this fraction of the box, constant over a sequence
    window_jitter: float
    # that the picture ends at the camera's frame, its edge repeated beyond; else the frame is as large as
    # necessary
    border_probability: float


def project(
    points: Float[ndarray, "t n 3"], focal: Float[ndarray, "t 2"], princpt: Float[ndarray, "t 2"]
) -> Float[ndarray, "t n 2"]:
    """Pinhole projection of each frame's points (in front of the camera), px."""
    return points[..., :2] / points[..., 2:] * focal[:, None] + princpt[:, None]


def window_track(
    rng: np.random.Generator,
    window_rng: np.random.Generator,
    joints2d: Float[ndarray, "t 21 2"],
    camera: MovingCamera,
    config: CameraConfig,
) -> tuple[Float[ndarray, "t 2"], Float[ndarray, "t 2"]]:
    """Focal length and principal point (px) of the stored picture over time: a square that follows the hand
    smoothly.

    The window moves over the frame, and with it only the intrinsics: the camera space stays that of the
    frame.
    """
    low, high = joints2d.min(1), joints2d.max(1)
    if config.still:
        low[:], high[:] = low.min(0), high.max(0)
    edge = (high - low).max(1, keepdims=True)
    jitter = rng.uniform(-1.0, 1.0, 3) * config.window_jitter
    # A near hand in a window many times its size would take a field of view that no lens has.
    widest = max(float(np.min(camera.focal) / (config.focal_per_width[0] * config.window * edge.max())), 1.0)
    wide = config.window * min(np.exp(window_rng.uniform(*np.log(config.window_factor))), widest)
    place = window_rng.uniform(-1.0, 1.0, 2) * config.window_place * (wide - 1) / 2  # in hand boxes
    centre = smooth((low + high) / 2) + smooth(edge) * (jitter[:2] + place)
    side = np.exp(smooth(np.log(edge))) * wide * (1 + jitter[2] / 2)
    scale = config.image_size / side
    return camera.focal * scale, (camera.princpt - centre) * scale + (config.image_size - 1) / 2


def smooth(values: Float[ndarray, "t d"], sigma: float = SMOOTHING) -> Float[ndarray, "t d"]:
    """Gaussian smoothing over time (sigma in frames), the ends repeated."""
    reach = int(3 * sigma) + 1
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="edge")
    # Not scipy's gaussian_filter1d: it adds up in another order, and tables keep their bytes.
    return np.stack([np.convolve(column, kernel / kernel.sum(), mode="valid") for column in padded.T], axis=1)
