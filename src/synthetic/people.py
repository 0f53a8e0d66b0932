"""Somebody behind the hand: a face and clothes, drawn well enough that skin lies before skin. sRGB, 8
bits."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from tempohand.synthetic.places import desk, fill, outdoors, room, wall_colour
from tempohand.synthetic.skin import TONES
from tempohand.synthetic.texture import colour, in_the_light, noise, pattern

# What is behind hands in people's videos, and how often somebody is there as well: they film themselves, and
# each other.
PLACES = {"room": 0.42, "desk": 0.26, "outdoors": 0.16, "wall": 0.1, "skin": 0.06}
OWN_PROBABILITY = 0.65  # of that being the person whose hand it is: the same skin before itself
PERSON_PROBABILITY = {"room": 0.45, "desk": 0.1, "outdoors": 0.4, "wall": 0.5, "skin": 0.0}

HAIR = np.array(
    [(25, 20, 18), (50, 35, 25), (95, 65, 40), (170, 135, 85), (150, 150, 150), (110, 50, 25)], float
)


def _ellipse(centre, axes, turn: float = 0.0) -> Float[ndarray, "32 2"]:
    t = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    c, s = np.cos(turn), np.sin(turn)
    return np.asarray(centre) + np.column_stack([axes[0] * np.cos(t), axes[1] * np.sin(t)]) @ np.array(
        [[c, s], [-s, c]]
    )


def _blend(
    canvas: UInt8[ndarray, "h w 3"], points: Float[ndarray, "n 2"], rgb, sigma: float, share: float = 1.0
) -> None:
    """A polygon with a soft border, px."""
    reach, size = 2.5 * sigma + 2, len(canvas)
    left, top = (int(v) for v in np.clip(points.min(0) - reach, 0, size))
    right, low = (int(v) for v in np.clip(np.ceil(points.max(0) + reach), 0, size))
    if right - left < 1 or low - top < 1:
        return
    part = canvas[top:low, left:right]
    factor = max(int(sigma), 1)  # what is soft needs few pixels
    mask = np.zeros((-(-len(part) // factor), -(-part.shape[1] // factor)), np.uint8)
    cv2.fillPoly(
        mask,
        [np.rint((points - [left, top]) / factor * 16).astype(np.int32)],
        int(255 * share),
        cv2.LINE_AA,
        4,
    )
    mask = cv2.GaussianBlur(mask, (0, 0), max(sigma / factor, 0.3))
    mask = cv2.resize(mask, (part.shape[1], part.shape[0])).astype(np.float32)[..., None] / 255
    part[:] = (part + mask * (np.asarray(rgb, np.float32) - part)).astype(np.uint8)


def person(
    rng: np.random.Generator,
    canvas: UInt8[ndarray, "size size 3"],
    skin: Float[ndarray, "3"],
    face: tuple[float, float, float] | None = None,
) -> UInt8[ndarray, "size size 3"]:
    """Draws somebody with skin of that colour onto a place, from a figure some way off to a face that fills
    the picture.

    face: its middle (column, row) and half its height, px; None: anywhere."""
    size = len(canvas)
    head = size * np.exp(rng.uniform(np.log(0.09), np.log(0.75)))  # half a head's height
    x, y = rng.uniform(0.1, 0.9, 2) * size * [1.0, 0.8]
    if face is not None:
        x, y, head = face
    lean = rng.normal(0, 0.15)
    light = rng.choice([-1.0, 1.0])

    def at(u, v):  # heads to the right and down from the middle of the face
        c, s = np.cos(lean), np.sin(lean)
        return np.array([x + head * (c * u - s * v), y + head * (s * u + c * v)])

    hair = HAIR[rng.integers(len(HAIR))] * rng.uniform(0.6, 1.3)
    long = rng.random() < 0.5
    if long:
        _blend(
            canvas, _ellipse(at(0, 0.3), (0.95 * head, rng.uniform(1.2, 1.9) * head), lean), hair, 0.04 * head
        )
    cloth = colour(rng, 0.4)
    shoulders = np.array(
        [at(-0.4, 1.25), at(-1.9, 1.7), at(-2.3, 4.5), at(2.3, 4.5), at(1.9, 1.7), at(0.4, 1.25)]
    )
    fill(canvas, shoulders, cloth)
    if rng.random() < 0.4 and head > 0.1 * size:  # patterned clothes
        mask = np.zeros((size, size, 3), np.uint8)
        fill(mask, shoulders, (1, 1, 1))
        cv2.copyTo(
            cv2.resize(np.clip(pattern(rng, 128), 0, 255).astype(np.uint8), (size, size)),
            mask[..., 0],
            canvas,
        )
    _blend(
        canvas,
        np.array([at(0.1 * light, 1.3), at(2.2 * light, 1.5), at(2.4 * light, 4.5), at(0.5 * light, 4.5)]),
        cloth * 0.5,
        0.3 * head,
        0.5,
    )
    fill(
        canvas,
        np.array([at(-0.38, 0.5), at(0.38, 0.5), at(0.45, 1.5), at(0, 1.75), at(-0.45, 1.5)]),
        skin * 0.85,
    )
    for side in (-1, 1):
        fill(canvas, _ellipse(at(0.74 * side, 0.1), (0.1 * head, 0.2 * head), lean), skin * 0.85)
    fill(canvas, _ellipse(at(0, 0), (0.74 * head, head), lean), skin)
    _blend(
        canvas,
        _ellipse(at(0.55 * light, 0.1), (0.35 * head, 0.85 * head), lean),
        skin * 0.55,
        0.25 * head,
        0.7,
    )
    _blend(
        canvas,
        _ellipse(at(-0.3 * light, -0.35), (0.25 * head, 0.3 * head), lean),
        np.minimum(skin * 1.25 + 15, 255),
        0.2 * head,
        0.5,
    )
    if rng.random() < 0.85:  # not one who is bald
        top = np.array([at(0.86 * np.cos(t), -0.32 - 0.85 * np.sin(t)) for t in np.linspace(0, np.pi, 14)])
        line = np.array([at(u, -0.5 - 0.25 * (1 - u * u)) for u in np.linspace(-0.75, 0.75, 8)])
        _blend(canvas, np.concatenate([top, line]), hair, 0.04 * head)
    turned = rng.uniform(-0.2, 0.2)
    for side in (-1, 1):
        eye = at(0.3 * side + turned, -0.08)
        _blend(canvas, _ellipse(eye, (0.2 * head, 0.13 * head), lean), skin * 0.7, 0.06 * head, 0.6)
        fill(canvas, _ellipse(eye, (0.12 * head, 0.05 * head), lean), (235, 230, 225))
        fill(canvas, _ellipse(eye, (0.05 * head, 0.05 * head)), hair * 0.5)
        fill(
            canvas,
            np.array(
                [
                    at(0.13 * side + turned, -0.24),
                    at(0.46 * side + turned, -0.27),
                    at(0.46 * side + turned, -0.22),
                ]
            ),
            hair * 0.8,
        )
    _blend(
        canvas,
        np.array([at(turned, -0.05), at(turned + 0.14 * light, 0.32), at(turned, 0.36)]),
        skin * 0.6,
        0.04 * head,
        0.8,
    )
    for side in (-1, 1):
        fill(canvas, _ellipse(at(turned + 0.08 * side, 0.35), (0.04 * head, 0.02 * head)), skin * 0.4)
    lips = np.clip(skin * [0.95, 0.62, 0.62], 0, 255)
    fill(canvas, _ellipse(at(turned, 0.58), (0.24 * head, rng.uniform(0.05, 0.1) * head), lean), lips)
    fill(
        canvas,
        _ellipse(at(turned, 0.58), (0.22 * head, rng.uniform(0.005, 0.04) * head), lean),
        (225, 215, 205) if rng.random() < 0.4 else lips * 0.5,
    )
    if rng.random() < 0.15:  # glasses
        for side in (-1, 1):
            ring = np.rint(_ellipse(at(0.3 * side + turned, -0.06), (0.24 * head, 0.18 * head), lean)).astype(
                np.int32
            )
            cv2.polylines(canvas, [ring], True, (30, 30, 30), max(int(0.03 * head), 1), cv2.LINE_AA)
    return canvas


def skin_close(
    rng: np.random.Generator, size: int, skin: Float[ndarray, "3"]
) -> UInt8[ndarray, "size size 3"]:
    """Nothing but skin: a forehead, a chest, a leg."""
    wave = noise(rng, size, 4, rng.uniform(1, 3)) * rng.uniform(0.05, 0.25) + noise(
        rng, size, 2, 1.0
    ) * rng.uniform(0.0, 0.04)
    return np.clip(skin * (1 + wave[..., None] * [0.8, 1.0, 1.1]), 0, 255).astype(np.uint8)


def place(
    rng: np.random.Generator,
    size: int,
    blur: tuple[float, float],
    tone: Float[ndarray, "3"],
    face: tuple[float, float, float] | None = None,
) -> UInt8[ndarray, "size size 3"]:
    """Somewhere that people film in, sRGB, perhaps with somebody in it: mostly the one whose hand it is.

    blur: range of the Gaussian's sigma in fractions of the edge. tone: of the hand's skin, sRGB 0..1. face:
    somebody is there for sure, and that is where their face is (`person`).
    """
    tone = tone if rng.random() < OWN_PROBABILITY else TONES[rng.integers(len(TONES))]
    skin = np.clip(255 * tone * rng.uniform(0.75, 1.1) * np.exp(rng.normal(0, 0.03, 3)), 0, 255)
    kind = str(rng.choice(list(PLACES), p=list(PLACES.values())))
    if kind == "skin":
        canvas = skin_close(rng, size, skin)
    elif kind == "wall":
        canvas = (
            np.ones((size, size, 3))
            * wall_colour(rng)
            * np.linspace(*rng.uniform(0.5, 1.1, 2), size)[:, None, None]
        )
        canvas = np.clip(canvas, 0, 255).astype(np.uint8)
    else:
        canvas = {"room": room, "desk": desk, "outdoors": outdoors}[kind](rng, size)
    if rng.random() < PERSON_PROBABILITY[kind] or face is not None:
        canvas = person(rng, canvas, skin, face)
    return in_the_light(rng, canvas.astype(np.float32), blur)
