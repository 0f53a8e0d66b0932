"""Procedural pictures: noise, patterns for things, and backgrounds with the structure of rooms, desks and the
outdoors."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from tempohand.media.pictures import BadPicture, decode_picture, is_picture, read_head

NOISE_SIZE = 512
NOISE_SLOPES = (0.7, 1.0, 1.3, 1.6, 2.0)  # amplitude falls as frequency^-slope: from gravel to clouds
GRAIN_SIZE = 1024
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


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


def _mix(a, b, share: Float[ndarray, "h w"]) -> Float[ndarray, "h w 3"]:
    return a + (b - a) * share[..., None]


def _unit(field: Float[ndarray, "h w"], sharpness: float) -> Float[ndarray, "h w"]:
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
        share = _unit(
            noise(rng, size, int(rng.integers(len(NOISE_SLOPES))), rng.uniform(0.5, 4)), rng.uniform(0.3, 2.0)
        )
    elif kind == "stripes":
        turn = rng.choice([0, np.pi / 2, np.pi / 4])
        wave = np.sin(2 * np.pi * rng.integers(2, 9) * (x * np.cos(turn) + y * np.sin(turn)))
        share = _unit(wave + rng.uniform(-0.5, 0.5), rng.uniform(2, 12))
    elif kind == "checks":
        n = rng.integers(2, 7)
        share = 0.5 * (np.sin(2 * np.pi * n * x) > 0) + 0.5 * (np.sin(2 * np.pi * n * y) > 0)
    elif kind == "dots":
        n = rng.integers(3, 9)
        share = _unit(np.sin(2 * np.pi * n * x) + np.sin(2 * np.pi * n * y) - 0.8, 4)
    elif kind == "wood":
        share = _unit(np.sin(2 * np.pi * (rng.integers(2, 8) * x + 0.35 * noise(rng, size, 4, 2.0))), 0.7)
    else:  # print: a page or a label with lines of text and a picture
        return _printed(rng, size)
    texture = _mix(a, b, share.astype(np.float32))
    return texture * (1 + rng.uniform(0.01, 0.08) * noise(rng, size, 1)[..., None])


def _printed(rng: np.random.Generator, size: int) -> Float[ndarray, "size size 3"]:
    page = np.full((size, size, 3), rng.uniform(170, 250), np.float32)
    page *= 1 - 0.2 * rng.random(3).astype(np.float32)
    ink = tuple(float(c) for c in colour(rng, 0.2) * 0.5)
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
            page,
            (int(x), int(y)),
            (int(x + size // 3), int(y + size // 4)),
            tuple(map(float, colour(rng))),
            -1,
        )
    return page


def _stretch(rng: np.random.Generator, size: int) -> Float[ndarray, "size size"]:
    """0..1 across the picture in a random direction."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / (size - 1) - 0.5
    turn = rng.uniform(0, 2 * np.pi)
    return np.clip(0.5 + 0.8 * (x * np.cos(turn) + y * np.sin(turn)), 0, 1)


def _furniture(rng: np.random.Generator, canvas: Float[ndarray, "h w 3"]) -> None:
    """One thing of the room, drawn in place."""
    size = len(canvas)
    tint = tuple(float(c) for c in colour(rng, 0.35))
    x, y = (int(v) for v in rng.uniform(-0.1, 1.0, 2) * size)
    w, h = (max(int(v), 3) for v in np.exp(rng.uniform(np.log(0.04), np.log(0.7), 2)) * size)
    kind = rng.choice(
        ["box", "frame", "shelf", "ellipse", "line", "polygon", "patch", "person"],
        p=[0.27, 0.1, 0.1, 0.12, 0.14, 0.09, 0.1, 0.08],
    )
    if kind == "box":
        cv2.rectangle(canvas, (x, y), (x + w, y + h), tint, -1)
        if rng.random() < 0.5:  # the shaded side or front edge
            dark = tuple(c * rng.uniform(0.4, 0.85) for c in tint)
            cv2.rectangle(canvas, (x, y + int(h * rng.uniform(0.6, 0.95))), (x + w, y + h), dark, -1)
    elif kind == "frame":
        border = max(size // int(rng.integers(40, 110)), 1)
        cv2.rectangle(canvas, (x, y), (x + w, y + h), tint, -1)
        cv2.rectangle(canvas, (x, y), (x + w, y + h), tuple(map(float, colour(rng, 0.2))), border)
    elif kind == "shelf":
        for left in range(x, min(x + 2 * w, size), max(size // 26, 4)):
            top = y + int(rng.uniform(0, 0.4) * h)
            right = left + int(max(size // 26, 4) * rng.uniform(0.6, 1.0))
            cv2.rectangle(canvas, (left, top), (right, y + h), tuple(map(float, colour(rng, 0.5))), -1)
        cv2.rectangle(canvas, (x - 8, y + h), (x + 2 * w, y + h + max(size // 60, 2)), tint, -1)
    elif kind == "ellipse":
        cv2.ellipse(
            canvas, (x, y), (max(w // 2, 2), max(h // 2, 2)), float(rng.uniform(0, 180)), 0, 360, tint, -1
        )
    elif kind == "line":
        turn = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
        dx, dy = int(np.cos(turn) * 2 * size), int(np.sin(turn) * 2 * size)
        cv2.line(canvas, (x - dx, y - dy), (x + dx, y + dy), tint, max(size // int(rng.integers(20, 200)), 1))
    elif kind == "polygon":
        points = np.array([x, y]) + rng.uniform(-0.5, 0.5, (int(rng.integers(3, 7)), 2)) * [w * 1.5, h * 1.5]
        cv2.fillPoly(canvas, [points.astype(np.int32)], tint)
    elif kind == "patch":
        edge = int(np.clip(max(w, h), 16, size // 2))
        x, y = np.clip([x, y], 0, size - edge)
        canvas[y : y + edge, x : x + edge] = pattern(rng, edge)
    else:  # somebody in the room: clothes, and a head or an arm the colour of skin
        skin = np.array([215, 160, 130]) * rng.uniform(0.3, 1.12)
        cv2.ellipse(canvas, (x, y + size // 3), (size // 5, size // 4), 0, 0, 360, tint, -1)
        cv2.ellipse(
            canvas,
            (x, y),
            (size // 12, size // 9),
            float(rng.uniform(-20, 20)),
            0,
            360,
            tuple(map(float, skin)),
            -1,
        )
        cv2.ellipse(
            canvas,
            (x, y - size // 20),
            (size // 11, size // 13),
            0,
            180,
            360,
            tuple(float(c) for c in rng.uniform(15, 110, 3)),
            -1,
        )


def background(
    rng: np.random.Generator, size: int, things: int, blur: tuple[float, float]
) -> UInt8[ndarray, "size size 3"]:
    """A place to film in, sRGB: a wall, floor or sky with light and texture, up to `things` things before it,
    and defocus.

    blur: range of the Gaussian's sigma in fractions of the picture's edge.
    """
    canvas = _mix(colour(rng, 0.25), colour(rng, 0.25), _stretch(rng, size)).astype(np.float32)
    if rng.random() < 0.25:  # a horizon: table before wall, ground before sky
        row = int(size * rng.uniform(0.2, 0.8))
        canvas[row:] = _mix(colour(rng), colour(rng), _stretch(rng, size))[row:]
    if rng.random() < 0.5:
        share = _unit(
            noise(rng, size, int(rng.integers(len(NOISE_SLOPES))), rng.uniform(0.5, 6)), rng.uniform(0.2, 1.5)
        )
        canvas = _mix(canvas, colour(rng).astype(np.float32), share * np.float32(rng.uniform(0.1, 0.9)))
    elif rng.random() < 0.3:
        canvas = cv2.resize(pattern(rng, max(size // 2, 8)), (size, size)).astype(np.float32)
    canvas = np.ascontiguousarray(canvas, np.float32)
    for _ in range(rng.integers(things + 1)):
        _furniture(rng, canvas)
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
            f"backgrounds={folder}: none of its {len(photos)} files named as pictures ({' '.join(PICTURE_SUFFIXES)}) can be read"
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
