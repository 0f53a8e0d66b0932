"""From a rasterised scene to a stored picture: light on the vertices, textures and samples to linear light,
and the camera's own traces."""

from dataclasses import dataclass
from typing import no_type_check

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numba import njit
from numpy import ndarray

from tempohand.render import Buffers, rasterise
from tempohand.synthetic.texture import GRAIN_SIZE, grain


@dataclass(frozen=True)
class FilmConfig:
    """The camera's traces. Ranges are (least, greatest)."""

    exposure_stops: tuple[float, float]  # around a fair exposure
    low_light_probability: (
        float  # of too little light for a short exposure: darker, noisier, and blurred where something moves
    )
    low_light_stops: tuple[float, float]  # that the exposure then lacks
    low_light_noise: tuple[float, float]  # times the noise
    low_light_shutter: float  # times the time that the shutter is open, up to the whole frame time
    colour_cast: float  # one sigma of the log gain of red and of blue
    noise: tuple[float, float]  # standard deviation of the noise at mid grey, in 8-bit steps
    defocus: tuple[float, float]  # sigma of a Gaussian, stored pixels
    shutter: tuple[float, float]  # open fraction of the frame time: motion blur
    blur_steps: tuple[
        float, ...
    ]  # px that something moves meanwhile, rising: at each, two more moments than three are averaged
    jpeg_quality: tuple[int, int]


@njit(cache=True)
@no_type_check
def light_vertices(
    albedo, normals, view, directions, colours, wrap, sky, ground, up, shadow, openness, gloss, out
):
    """Lit colours [V, 3] (linear): hemisphere light, wrapped Lambert per channel (light that enters skin
    leaves it redder), a highlight.

    albedo, normals, view (unit, toward the camera) [V, 3]; directions [K, 3] toward each light; colours [K,
    3]; wrap [V, 3] (0: plain Lambert); sky, ground, up [3]; shadow [V]: how much of light 0 arrives; openness
    [V]: how much of all other light arrives; gloss [V].
    """
    for i in range(albedo.shape[0]):
        height = 0.5 + 0.5 * (normals[i, 0] * up[0] + normals[i, 1] * up[1] + normals[i, 2] * up[2])
        for c in range(3):
            out[i, c] = (ground[c] + (sky[c] - ground[c]) * height) * openness[i]
        shine = 0.0
        for k in range(directions.shape[0]):
            facing = (
                normals[i, 0] * directions[k, 0]
                + normals[i, 1] * directions[k, 1]
                + normals[i, 2] * directions[k, 2]
            )
            arrives = shadow[i] if k == 0 else openness[i]
            for c in range(3):
                w = wrap[i, c]
                out[i, c] += arrives * colours[k, c] * max(0.0, (facing + w) / (1.0 + w))
            hx, hy, hz = (
                directions[k, 0] + view[i, 0],
                directions[k, 1] + view[i, 1],
                directions[k, 2] + view[i, 2],
            )
            half = (normals[i, 0] * hx + normals[i, 1] * hy + normals[i, 2] * hz) / max(
                np.sqrt(hx * hx + hy * hy + hz * hz), 1e-6
            )
            if half > 0.0 and facing > 0.0:
                shine += arrives * colours[k, 1] * half**24
        for c in range(3):
            out[i, c] = out[i, c] * albedo[i, c] + gloss[i] * shine


@njit(cache=True)
@no_type_check
def _shadow_lookup(inv_depth, u, v, inv_z, bias, out):
    height, width = inv_depth.shape
    for i in range(len(u)):
        lit, taps = 0.0, 0.0
        for dv in range(-1, 2):
            for du in range(-1, 2):
                x, y = int(u[i] + 0.5) + du, int(v[i] + 0.5) + dv
                if x < 0 or y < 0 or x >= width or y >= height:
                    continue
                taps += 1.0
                if 1.0 / max(inv_depth[y, x], 1e-9) > 1.0 / inv_z[i] - bias:
                    lit += 1.0
        out[i] = lit / taps if taps > 0.0 else 1.0


def cast_shadow(
    vertices: Float[ndarray, "v 3"],
    faces: ndarray,
    receivers: int,
    direction: Float[ndarray, "3"],
    depth: float,
    size: int = 96,
) -> Float[ndarray, "receivers"]:
    """How much of a far light in `direction` reaches each of the first `receivers` vertices: 1 all, 1 - depth
    none (a shadow map)."""
    centre = vertices[:receivers].mean(0)
    z = -direction
    x = np.cross([0.31, 0.9, 0.3], z)
    x /= np.linalg.norm(x)
    frame = np.stack([x, np.cross(z, x), z])
    seen = (vertices - centre) @ frame.T + [0, 0, 5000.0]
    reach = np.abs(seen[:receivers, :2]).max() * 1.02
    focal, middle = size / 2 / reach * 5000.0, (size - 1) / 2
    buffers = rasterise(seen, faces, (focal, focal), (middle, middle), (size, size))
    uv = seen[:receivers, :2] / seen[:receivers, 2:] * focal + middle
    lit = np.empty(receivers, np.float32)
    _shadow_lookup(
        buffers.inv_depth, uv[:, 0], uv[:, 1], 1 / seen[:receivers, 2], 4.0 + 2.0 * reach / size, lit
    )
    return 1.0 - depth * (1.0 - lit)


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


def crevices(buffers: Buffers, factor: int, radius: float, strength: float) -> Float[ndarray, "h w"]:
    """Darkening 0..1 of what lies deeper than its surroundings, between fingers and behind things (depth
    darkening: Luft, Colditz and Deussen, "Image Enhancement by Unsharp Masking the Depth Buffer", 2006).
    radius in pixels; strength per mm, 1 at none."""
    inv_depth = buffers.inv_depth[factor // 2 :: factor, factor // 2 :: factor]
    seen = (inv_depth > 0).astype(np.float32)
    depth = seen / np.maximum(inv_depth, 1e-9)
    edge = 2 * int(radius) + 1
    near = cv2.blur(depth, (edge, edge)) / np.maximum(cv2.blur(seen, (edge, edge)), 1e-4)
    behind = np.maximum(depth - near, 0) * seen
    return np.exp(-strength * np.minimum(behind, 40.0)).astype(np.float32)


def expose(
    buffers: Buffers,
    faces,
    lit,
    uv,
    layer,
    textures,
    sizes,
    *,
    dark,
    num_dark: int,
    factor: int,
    share: float,
    background,
    out,
) -> None:
    """Adds a picture of the rasterised scene to `out` [H, W, 3] (linear light), `share` of the whole
    exposure.

    buffers: factor x factor samples a pixel. faces [F, 3]; lit [V, 3]; uv [V, 2] (texture coordinates); layer
    [F]: the texture of each face; textures [L, S, S, 3]: factors on the lit colour, of which each uses its
    first sizes [L] rows and columns, a power of two; dark [H, W] from `crevices`, for the first num_dark
    faces; background [H, W, 3] linear.
    """
    _expose(
        buffers.face,
        buffers.weights,
        faces,
        lit,
        uv,
        layer,
        textures,
        sizes,
        dark,
        num_dark,
        factor,
        np.float32(share),
        background,
        out,
    )


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
    """One camera's settings for one sequence, drawn once: every frame of it is developed alike, but for the
    grain."""

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
        # Tone curve: sRGB, with some contrast about mid grey and lifted or crushed blacks, as cameras differ
        # in.
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
