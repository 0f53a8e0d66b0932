"""Pictures to put behind the hand: flat shapes with the structure of rooms, and photos. sRGB, 8 bits."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from tempohand.media.pictures import BadPicture, decode_picture, is_picture, read_head
from tempohand.synthetic.texture import NOISE_SLOPES, colour, cv2_colour, mix, noise, pattern, unit_range

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


class _Shape(NamedTuple):
    """Where a shape is drawn: the upper left corner and size of its box, px."""

    x: int
    y: int
    w: int
    h: int
    colour: tuple[float, ...]

    @property
    def box(self) -> tuple[tuple[int, int], tuple[int, int]]:
        return (self.x, self.y), (self.x + self.w, self.y + self.h)


def _box(rng: np.random.Generator, canvas: Float[ndarray, "h w 3"], shape: _Shape) -> None:
    cv2.rectangle(canvas, *shape.box, shape.colour, -1)
    if rng.random() < 0.5:  # the shaded side or front edge
        dark = tuple(c * rng.uniform(0.4, 0.85) for c in shape.colour)
        top = shape.y + int(shape.h * rng.uniform(0.6, 0.95))
        cv2.rectangle(canvas, (shape.x, top), shape.box[1], dark, -1)


def _frame(rng: np.random.Generator, canvas: Float[ndarray, "h w 3"], shape: _Shape) -> None:
    border = max(len(canvas) // int(rng.integers(40, 110)), 1)
    cv2.rectangle(canvas, *shape.box, shape.colour, -1)
    cv2.rectangle(canvas, *shape.box, cv2_colour(colour(rng, 0.2)), border)


def _shelf(rng: np.random.Generator, canvas: Float[ndarray, "h w 3"], shape: _Shape) -> None:
    size, bottom = len(canvas), shape.y + shape.h
    width = max(size // 26, 4)
    for left in range(shape.x, min(shape.x + 2 * shape.w, size), width):
        top = shape.y + int(rng.uniform(0, 0.4) * shape.h)
        right = left + int(width * rng.uniform(0.6, 1.0))
        cv2.rectangle(canvas, (left, top), (right, bottom), cv2_colour(colour(rng, 0.5)), -1)
    end = shape.x + 2 * shape.w, bottom + max(size // 60, 2)
    cv2.rectangle(canvas, (shape.x - 8, bottom), end, shape.colour, -1)


def _disc(rng: np.random.Generator, canvas: Float[ndarray, "h w 3"], shape: _Shape) -> None:
    axes = max(shape.w // 2, 2), max(shape.h // 2, 2)
    turn = float(rng.uniform(0, 180))
    cv2.ellipse(canvas, (shape.x, shape.y), axes, turn, 0, 360, shape.colour, -1)


def _line(rng: np.random.Generator, canvas: Float[ndarray, "h w 3"], shape: _Shape) -> None:
    size = len(canvas)
    turn = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
    dx, dy = int(np.cos(turn) * 2 * size), int(np.sin(turn) * 2 * size)
    start, end = (shape.x - dx, shape.y - dy), (shape.x + dx, shape.y + dy)
    cv2.line(canvas, start, end, shape.colour, max(size // int(rng.integers(20, 200)), 1))


def _polygon(rng: np.random.Generator, canvas: Float[ndarray, "h w 3"], shape: _Shape) -> None:
    offsets = rng.uniform(-0.5, 0.5, (int(rng.integers(3, 7)), 2)) * [shape.w * 1.5, shape.h * 1.5]
    points = np.array([shape.x, shape.y]) + offsets
    cv2.fillPoly(canvas, [points.astype(np.int32)], shape.colour)


def _patch(rng: np.random.Generator, canvas: Float[ndarray, "h w 3"], shape: _Shape) -> None:
    size = len(canvas)
    edge = int(np.clip(max(shape.w, shape.h), 16, size // 2))
    x, y = np.clip([shape.x, shape.y], 0, size - edge)
    canvas[y : y + edge, x : x + edge] = pattern(rng, edge)


def _person(rng: np.random.Generator, canvas: Float[ndarray, "h w 3"], shape: _Shape) -> None:
    """Clothes, and above them a head or an arm the colour of skin."""
    size = len(canvas)
    x, y = shape.x, shape.y
    skin = np.array([215, 160, 130]) * rng.uniform(0.3, 1.12)
    cv2.ellipse(canvas, (x, y + size // 3), (size // 5, size // 4), 0, 0, 360, shape.colour, -1)
    turn = float(rng.uniform(-20, 20))
    cv2.ellipse(canvas, (x, y), (size // 12, size // 9), turn, 0, 360, cv2_colour(skin), -1)
    hair = cv2_colour(rng.uniform(15, 110, 3))
    cv2.ellipse(canvas, (x, y - size // 20), (size // 11, size // 13), 0, 180, 360, hair, -1)


SHAPES = {
    _box: 0.27,
    _frame: 0.1,
    _shelf: 0.1,
    _disc: 0.12,
    _line: 0.14,
    _polygon: 0.09,
    _patch: 0.1,
    _person: 0.08,
}  # how often each is what stands there


def _draw_shape(rng: np.random.Generator, canvas: Float[ndarray, "h w 3"]) -> None:
    """Draws one of SHAPES somewhere."""
    size = len(canvas)
    tint = cv2_colour(colour(rng, 0.35))
    x, y = (int(v) for v in rng.uniform(-0.1, 1.0, 2) * size)
    w, h = (max(int(v), 3) for v in np.exp(rng.uniform(np.log(0.04), np.log(0.7), 2)) * size)
    draw = list(SHAPES)[rng.choice(len(SHAPES), p=list(SHAPES.values()))]
    draw(rng, canvas, _Shape(x, y, w, h, tint))


def _stretch(rng: np.random.Generator, size: int) -> Float[ndarray, "size size"]:
    """0..1 across the picture in a random direction."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / (size - 1) - 0.5
    turn = rng.uniform(0, 2 * np.pi)
    return np.clip(0.5 + 0.8 * (x * np.cos(turn) + y * np.sin(turn)), 0, 1)


def background(
    rng: np.random.Generator, size: int, things: int, blur: tuple[float, float]
) -> UInt8[ndarray, "size size 3"]:
    """A place to film in, sRGB: a wall, floor or sky with light and texture, up to `things` flat shapes in
    front of it, and defocus.

    blur: range of the Gaussian's sigma in fractions of the picture's edge.
    """
    canvas = mix(colour(rng, 0.25), colour(rng, 0.25), _stretch(rng, size)).astype(np.float32)
    if rng.random() < 0.25:  # a horizon: table before wall, ground before sky
        row = int(size * rng.uniform(0.2, 0.8))
        canvas[row:] = mix(colour(rng), colour(rng), _stretch(rng, size))[row:]
    if rng.random() < 0.5:
        share = unit_range(
            noise(rng, size, int(rng.integers(len(NOISE_SLOPES))), rng.uniform(0.5, 6)), rng.uniform(0.2, 1.5)
        )
        canvas = mix(canvas, colour(rng).astype(np.float32), share * np.float32(rng.uniform(0.1, 0.9)))
    elif rng.random() < 0.3:
        canvas = cv2.resize(pattern(rng, max(size // 2, 8)), (size, size)).astype(np.float32)
    canvas = np.ascontiguousarray(canvas, np.float32)
    for _ in range(rng.integers(things + 1)):
        _draw_shape(rng, canvas)
    return in_the_light(rng, canvas, blur)


def in_the_light(
    rng: np.random.Generator, canvas: Float[ndarray, "size size 3"], blur: tuple[float, float]
) -> UInt8[ndarray, "size size 3"]:
    """A drawn place (0..255) with defocus, roughness and uneven light; `blur` as for `background`."""
    size = len(canvas)
    sigma = size * rng.uniform(*blur) * rng.random()
    if sigma > 0.3:
        # Blurring a smaller copy is the same to the eye and much faster.
        factor = max(int(sigma / 2), 1)
        small = cv2.resize(canvas, (size // factor, size // factor), interpolation=cv2.INTER_AREA)
        canvas = cv2.resize(
            cv2.GaussianBlur(small, (0, 0), sigma / factor), (size, size), interpolation=cv2.INTER_LINEAR
        )
    rough = rng.uniform(0.0, 0.05) if rng.random() < 0.5 else 0.004
    texture = noise(rng, size, int(rng.integers(3)), rng.uniform(0.7, 2.0)) * np.float32(rough)
    light = noise(rng, size, 4, rng.uniform(2, 8)) * np.float32(rng.uniform(0.02, 0.2))
    canvas *= (1.0 + texture + light)[..., None]
    return np.clip(canvas, 0, 255).astype(np.uint8)


def list_photos(folder: str | Path) -> list[Path]:
    """The pictures under a folder, sorted. Raises ValueError when there is none that OpenCV reads."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"backgrounds={folder}: there is no such folder")
    photos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
    readable = [path for path in photos if is_picture(read_head(path))]
    if not readable:
        raise ValueError(
            f"backgrounds={folder}: none of its {len(photos)} files named as pictures "
            f"({' '.join(PICTURE_SUFFIXES)}) can be read"
        )
    return readable


def photo_background(
    rng: np.random.Generator, photos: list[Path], size: int
) -> UInt8[ndarray, "size size 3"]:
    """A random square of a random photo, sRGB. Raises ValueError naming a photo that does not decode."""
    path = photos[rng.integers(len(photos))]
    try:
        picture = decode_picture(path.read_bytes())
    except BadPicture as error:
        raise ValueError(
            f"the background '{path}' does not decode ({error}): remove it from the folder"
        ) from None
    edge = int(min(picture.shape[:2]) * rng.uniform(0.4, 1.0))
    top, left = (int(rng.integers(extent - edge + 1)) for extent in picture.shape[:2])
    square = picture[top : top + edge, left : left + edge]
    square = square[:, ::-1] if rng.random() < 0.5 else square
    return np.ascontiguousarray(
        cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if edge > size else cv2.INTER_CUBIC)
    )
