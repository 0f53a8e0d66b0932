"""Procedural textures: noise, colours, and patterns for things."""

from functools import cache

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

NOISE_SIZE = 512
NOISE_SLOPES = (0.7, 1.0, 1.3, 1.6, 2.0)  # amplitude falls as frequency^-slope: from gravel to clouds
GRAIN_SIZE = 1024


@cache
def noise_fields() -> Float[ndarray, "n 512 512"]:
    """Periodic noise fields of growing smoothness, zero mean and unit variance; the same on every machine and
    in every process."""
    rng = np.random.default_rng(20)
    fy, fx = np.meshgrid(np.fft.fftfreq(NOISE_SIZE), np.fft.rfftfreq(NOISE_SIZE), indexing="ij")
    radius = np.hypot(fx, fy)
    radius[0, 0] = np.inf
    fields = []
    for slope in NOISE_SLOPES:
        field = np.fft.irfft2(
            np.fft.rfft2(rng.normal(size=(NOISE_SIZE, NOISE_SIZE))) * radius**-slope,
            s=(NOISE_SIZE, NOISE_SIZE),
        )
        fields.append((field - field.mean()) / field.std())
    return np.stack(fields).astype(np.float32)


@cache
def grain() -> Float[ndarray, "1024 1024"]:
    """White noise of unit variance, to be read at random offsets: a sensor's."""
    return np.random.default_rng(21).standard_normal((GRAIN_SIZE, GRAIN_SIZE), dtype=np.float32)


def noise(rng: np.random.Generator, size: int, field: int, zoom: float = 1.0) -> Float[ndarray, "size size"]:
    """A size x size piece of a noise field, somewhere, magnified `zoom` times."""
    edge = int(np.clip(round(size / zoom), 4, NOISE_SIZE))
    top, left = rng.integers(NOISE_SIZE, size=2)
    rows, columns = (top + np.arange(edge)) % NOISE_SIZE, (left + np.arange(edge)) % NOISE_SIZE
    piece = noise_fields()[field][rows[:, None], columns]
    piece = piece.T if rng.random() < 0.5 else piece
    return cv2.resize(np.ascontiguousarray(piece), (size, size), interpolation=cv2.INTER_LINEAR)


def colour(rng: np.random.Generator, vivid: float = 0.35) -> Float[ndarray, "3"]:
    """An RGB colour in 0..255 as things have them: dull more often than vivid, warm or blue more often than
    not; `vivid`: mean saturation."""
    hue, value = rng.random(), rng.beta(1.6, 1.3)
    if rng.random() < 0.7:
        hue = rng.normal(0.09, 0.03) % 1.0 if rng.random() < 0.65 else rng.normal(0.59, 0.04)
    saturation = np.clip(rng.beta(1.0, 1.0 / vivid - 0.9), 0.0, 1.0)
    shades = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return 255 * (0.04 + 0.93 * value) * (1 - saturation + saturation * shades)


def cv2_colour(rgb) -> tuple[float, ...]:
    """RGB values, cut to 0..255, as cv2's drawing functions take them."""
    return tuple(min(max(float(c), 0.0), 255.0) for c in rgb)


def mix(a, b, share: Float[ndarray, "h w"]) -> Float[ndarray, "h w 3"]:
    """Colour a where `share` is 0, b where it is 1."""
    return a + (b - a) * share[..., None]


def unit_range(field: Float[ndarray, "h w"], sharpness: float) -> Float[ndarray, "h w"]:
    """A field about zero brought to 0..1, with the contrast `sharpness`."""
    return np.clip(0.5 + 0.5 * sharpness * field, 0.0, 1.0)


def pattern(rng: np.random.Generator, size: int) -> Float[ndarray, "size size 3"]:
    """A thing's surface, RGB 0..255: plain, noisy, striped, checked, dotted, wooden, printed."""
    a, b = colour(rng, 0.4), colour(rng, 0.4)
    kind = rng.choice(
        ["plain", "noise", "stripes", "checks", "dots", "wood", "print"],
        p=[0.3, 0.2, 0.12, 0.1, 0.08, 0.1, 0.1],
    )
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    if kind == "plain":
        share = np.zeros((size, size), np.float32)
    elif kind == "noise":
        share = unit_range(
            noise(rng, size, int(rng.integers(len(NOISE_SLOPES))), rng.uniform(0.5, 4)), rng.uniform(0.3, 2.0)
        )
    elif kind == "stripes":
        turn = rng.choice([0, np.pi / 2, np.pi / 4])
        wave = np.sin(2 * np.pi * rng.integers(2, 9) * (x * np.cos(turn) + y * np.sin(turn)))
        share = unit_range(wave + rng.uniform(-0.5, 0.5), rng.uniform(2, 12))
    elif kind == "checks":
        n = rng.integers(2, 7)
        share = 0.5 * (np.sin(2 * np.pi * n * x) > 0) + 0.5 * (np.sin(2 * np.pi * n * y) > 0)
    elif kind == "dots":
        n = rng.integers(3, 9)
        share = unit_range(np.sin(2 * np.pi * n * x) + np.sin(2 * np.pi * n * y) - 0.8, 4)
    elif kind == "wood":
        share = unit_range(
            np.sin(2 * np.pi * (rng.integers(2, 8) * x + 0.35 * noise(rng, size, 4, 2.0))), 0.7
        )
    else:  # print: a page or a label with lines of text and a picture
        return _printed(rng, size)
    texture = mix(a, b, share.astype(np.float32))
    return texture * (1 + rng.uniform(0.01, 0.08) * noise(rng, size, 1)[..., None])


def _printed(rng: np.random.Generator, size: int) -> Float[ndarray, "size size 3"]:
    page = np.full((size, size, 3), rng.uniform(170, 250), np.float32)
    page *= 1 - 0.2 * rng.random(3).astype(np.float32)
    ink = cv2_colour(colour(rng, 0.2) * 0.5)
    step = int(rng.integers(max(size // 24, 3), max(size // 9, 4)))
    for row in range(step, size - step, step):
        left = size // 10
        while left < size * 0.9:
            word = int(rng.integers(step, 4 * step))
            cv2.rectangle(
                page, (left, row), (min(left + word, int(size * 0.92)), row + max(step // 2, 1)), ink, -1
            )
            left += word + step // 2 + 1
    if rng.random() < 0.5:
        x, y = rng.integers(size // 10, size // 2, 2)
        cv2.rectangle(
            page, (int(x), int(y)), (int(x + size // 3), int(y + size // 4)), cv2_colour(colour(rng)), -1
        )
    return page
