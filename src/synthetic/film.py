"""From a rasterised and lit scene to a stored picture: exposure in linear light, noise, tone curve, JPEG."""

from dataclasses import dataclass
from typing import no_type_check

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numba import njit
from numpy import ndarray

from tempohand.render import Buffers
from tempohand.synthetic.texture import GRAIN_SIZE, grain


@dataclass(frozen=True)
class FilmConfig:
    """How a camera records light. Ranges are (least, greatest)."""

    exposure_stops: tuple[float, float]  # around a fair exposure
    # of too little light for a short exposure: darker, noisier, and blurred where something moves
    low_light_probability: float
    low_light_stops: tuple[float, float]  # that the exposure then lacks
    low_light_noise: tuple[float, float]  # times the noise
    low_light_shutter: float  # times the time that the shutter is open, up to the whole frame time
    colour_cast: float  # one sigma of the log gain of red and of blue
    noise: tuple[float, float]  # standard deviation of the noise at mid grey, in 8-bit steps
    defocus: tuple[float, float]  # sigma of a Gaussian, stored pixels
    shutter: tuple[float, float]  # open fraction of the frame time: motion blur
    # px that something moves meanwhile, rising: at each, two more moments than three are averaged
    blur_steps: tuple[float, ...]
    jpeg_quality: tuple[int, int]


@njit(cache=True)
@no_type_check
def _expose(
    face, weights, faces, lit, uv, layer, textures, sizes, dark, num_dark, factor, share, background, out
):
    """Adds `share` times the mean of every pixel's samples to out; a sample that sees nothing shows the
    background."""
    height, width, _ = out.shape
    one = np.float32(1.0)
    part = share / np.float32(factor * factor)
    # The background everywhere, and its share taken back where a sample sees something: most pixels see
    # nothing else.
    for v in range(height):
        for u in range(width):
            for c in range(3):
                out[v, u, c] += share * background[v, u, c]
    for sv in range(height * factor):
        v = sv // factor
        for su in range(width * factor):
            f = face[sv, su]
            if f < 0:
                continue
            u = su // factor
            w1, w2 = weights[sv, su, 0], weights[sv, su, 1]
            w0 = one - w1 - w2
            i0, i1, i2 = faces[f, 0], faces[f, 1], faces[f, 2]
            k = layer[f]
            size, wrap = np.float32(sizes[k]), sizes[k] - 1
            column = int((w0 * uv[i0, 0] + w1 * uv[i1, 0] + w2 * uv[i2, 0]) * size) & wrap
            row = int((w0 * uv[i0, 1] + w1 * uv[i1, 1] + w2 * uv[i2, 1]) * size) & wrap
            light = dark[v, u] if f < num_dark else one
            r = (w0 * lit[i0, 0] + w1 * lit[i1, 0] + w2 * lit[i2, 0]) * textures[k, row, column, 0] * light
            g = (w0 * lit[i0, 1] + w1 * lit[i1, 1] + w2 * lit[i2, 1]) * textures[k, row, column, 1] * light
            b = (w0 * lit[i0, 2] + w1 * lit[i1, 2] + w2 * lit[i2, 2]) * textures[k, row, column, 2] * light
            out[v, u, 0] += part * (r - background[v, u, 0])
            out[v, u, 1] += part * (g - background[v, u, 1])
            out[v, u, 2] += part * (b - background[v, u, 2])


def expose(
    buffers: Buffers,
    surfaces,
    lit: Float[ndarray, "v 3"],
    *,
    dark: Float[ndarray, "h w"],
    factor: int,
    share: float,
    background: Float[ndarray, "h w 3"],
    out: Float[ndarray, "h w 3"],
) -> None:
    """Adds a picture of the rasterised scene to `out` (linear light), `share` of the whole exposure.

    buffers: factor x factor samples a pixel. surfaces: faces, uv, layer, textures, sizes and num_hand_faces
    as `materials.Materials` has them. lit: colours of the vertices; dark: factor on the hand's light
    (`lighting.crevices`). lit and background are linear.
    """
    s = surfaces
    textured = (s.faces, lit, s.uv, s.layer, s.textures, s.sizes)
    camera = (dark, s.num_hand_faces, factor, np.float32(share), background, out)
    _expose(buffers.face, buffers.weights, *textured, *camera)


@njit(cache=True)
@no_type_check
def _develop(linear, gain, sigma_read, sigma_shot, grain_field, offsets, curve, out):
    height, width, _ = linear.shape
    steps = curve.shape[0] - 1
    for v in range(height):
        for u in range(width):
            for c in range(3):
                x = linear[v, u, c] * gain[c]
                noise = grain_field[offsets[c, 0] + v, offsets[c, 1] + u]
                x += noise * np.sqrt(
                    sigma_read * sigma_read + sigma_shot * sigma_shot * max(x, np.float32(0.0))
                )
                x = min(max(x, np.float32(0.0)), np.float32(1.0))
                out[v, u, c] = curve[int(x * steps + 0.5)]


class Film:
    """One camera's settings, drawn once a sequence: its frames differ in the noise alone."""

    def __init__(self, rng: np.random.Generator, config: FilmConfig):
        self.shutter = rng.uniform(*config.shutter)
        self.blur_steps = config.blur_steps
        self.defocus = rng.uniform(*config.defocus) * rng.random()
        stops = rng.uniform(*config.exposure_stops)
        noise = np.exp(rng.uniform(*np.log(config.noise)))
        if rng.random() < config.low_light_probability:
            stops -= rng.uniform(*config.low_light_stops)
            noise *= rng.uniform(*config.low_light_noise)
            self.shutter = min(self.shutter * config.low_light_shutter, 1.0)
        cast = rng.normal(0.0, config.colour_cast, 2)
        self.gain = (2.0**stops * np.exp([cast[0], 0.0, cast[1]])).astype(np.float32)
        # Noise at mid grey (0.21 linear) in 8-bit steps; the slope of the sRGB curve there is about 0.94.
        sigma = noise / 255 / 0.94
        self.read, self.shot = np.float32(sigma * 0.25), np.float32(sigma / np.sqrt(0.21))
        self.quality = int(rng.integers(config.jpeg_quality[0], config.jpeg_quality[1] + 1))
        # Tone curve: sRGB, with some contrast about mid grey and lifted or crushed blacks.
        x = np.linspace(0.0, 1.0, 4097)
        y = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
        contrast, lift = rng.uniform(-0.15, 0.35), rng.uniform(-0.02, 0.04)
        y = y + contrast * y * (1 - y) * (2 * y - 1)
        self.curve = np.clip(np.rint(255 * (lift + (1 - lift) * y)), 0, 255).astype(np.uint8)

    def develop(self, rng: np.random.Generator, linear: Float[ndarray, "h w 3"]) -> UInt8[ndarray, "h w 3"]:
        """Linear light to a noisy 8-bit picture (RGB)."""
        height, width, _ = linear.shape
        if self.defocus > 0.25:
            linear = cv2.GaussianBlur(linear, (0, 0), self.defocus)
        offsets = rng.integers(0, (GRAIN_SIZE - height, GRAIN_SIZE - width), (3, 2))
        out = np.empty(linear.shape, np.uint8)
        _develop(linear, self.gain, self.read, self.shot, grain(), offsets, self.curve, out)
        return out

    def encode(self, picture: UInt8[ndarray, "h w 3"]) -> bytes:
        """JPEG bytes of an RGB picture."""
        done, data = cv2.imencode(
            ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, self.quality]
        )
        assert done, "JPEG encoding failed"
        return data.tobytes()
