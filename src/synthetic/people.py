"""People and places behind the hand: faces and clothes, so that skin is seen before skin. sRGB, 8 bits."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from tempohand.synthetic.backgrounds import in_the_light
from tempohand.synthetic.perspective import fill
from tempohand.synthetic.places import desk, outdoors
from tempohand.synthetic.rooms import room, wall_colour
from tempohand.synthetic.skin import TONES
from tempohand.synthetic.texture import colour, noise, pattern

# How often each kind of place is behind the hand, and how often a person is in it: people film themselves
# and each other.
PLACES = {"room": 0.42, "desk": 0.26, "outdoors": 0.16, "wall": 0.1, "skin": 0.06}
OWN_PROBABILITY = 0.65  # that it is the person whose hand it is, with the same skin
PERSON_PROBABILITY = {"room": 0.45, "desk": 0.1, "outdoors": 0.4, "wall": 0.5, "skin": 0.0}

HAIR = np.array(
    [(25, 20, 18), (50, 35, 25), (95, 65, 40), (170, 135, 85), (150, 150, 150), (110, 50, 25)], float
)


def _ellipse(centre, axes, turn: float = 0.0) -> Float[ndarray, "32 2"]:
    """Points of an ellipse: centre and half axes in px, turned by `turn` radians."""
    t = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    c, s = np.cos(turn), np.sin(turn)
    points = np.column_stack([axes[0] * np.cos(t), axes[1] * np.sin(t)])
    return np.asarray(centre) + points @ np.array([[c, s], [-s, c]])


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
    """Draws a person with skin of that colour (sRGB, 0..255) onto a picture and returns it: from a figure
    some way off to a face that fills the picture.

    face: its middle (column, row) and half its height, px; None: anywhere.
    """
    figure = _Figure(rng, canvas, skin, face)
    figure.draw_body()
    figure.draw_head()
    figure.draw_features()
    return canvas


class _Figure:
    """A person on a picture. Places (u, v) and lengths are in half heads, u to the right and v down from the
    middle of the face."""

    def __init__(self, rng, canvas, skin, face):
        size = len(canvas)
        self.rng = rng
        self.canvas = canvas
        self.skin = skin
        self.head = size * np.exp(rng.uniform(np.log(0.09), np.log(0.75)))  # half its height, px
        self.x, self.y = rng.uniform(0.1, 0.9, 2) * size * [1.0, 0.8]
        if face is not None:
            self.x, self.y, self.head = face
        self.lean = rng.normal(0, 0.15)
        self.shaded = rng.choice([-1.0, 1.0])  # the side away from the light
        self.hair = HAIR[rng.integers(len(HAIR))] * rng.uniform(0.6, 1.3)

    def at(self, u: float, v: float) -> Float[ndarray, "2"]:
        """The pixel of a place."""
        c, s = np.cos(self.lean), np.sin(self.lean)
        return np.array([self.x + self.head * (c * u - s * v), self.y + self.head * (s * u + c * v)])

    def polygon(self, *places: tuple[float, float]) -> Float[ndarray, "n 2"]:
        """Pixels of several places."""
        return np.array([self.at(u, v) for u, v in places])

    def ellipse(self, u: float, v: float, a: float, b: float) -> Float[ndarray, "32 2"]:
        """An ellipse about a place, leaning as the head does."""
        return _ellipse(self.at(u, v), (a * self.head, b * self.head), self.lean)

    def fill(self, points: Float[ndarray, "n 2"], rgb) -> None:
        fill(self.canvas, points, rgb)

    def blend(self, points: Float[ndarray, "n 2"], rgb, sigma: float, share: float = 1.0) -> None:
        _blend(self.canvas, points, rgb, sigma * self.head, share)

    def draw_body(self) -> None:
        """Long hair behind the shoulders, clothes, neck."""
        rng, side = self.rng, self.shaded
        size = len(self.canvas)
        if rng.random() < 0.5:
            self.blend(self.ellipse(0, 0.3, 0.95, rng.uniform(1.2, 1.9)), self.hair, 0.04)
        cloth = colour(rng, 0.4)
        shoulders = self.polygon((-0.4, 1.25), (-1.9, 1.7), (-2.3, 4.5), (2.3, 4.5), (1.9, 1.7), (0.4, 1.25))
        self.fill(shoulders, cloth)
        if rng.random() < 0.4 and self.head > 0.1 * size:
            mask = np.zeros((size, size, 3), np.uint8)
            fill(mask, shoulders, (1, 1, 1))
            printed = np.clip(pattern(rng, 128), 0, 255).astype(np.uint8)
            cv2.copyTo(cv2.resize(printed, (size, size)), mask[..., 0], self.canvas)
        shadow = self.polygon((0.1 * side, 1.3), (2.2 * side, 1.5), (2.4 * side, 4.5), (0.5 * side, 4.5))
        self.blend(shadow, cloth * 0.5, 0.3, 0.5)
        neck = self.polygon((-0.38, 0.5), (0.38, 0.5), (0.45, 1.5), (0, 1.75), (-0.45, 1.5))
        self.fill(neck, self.skin * 0.85)

    def draw_head(self) -> None:
        """Ears, the face with light and shadow on it, hair."""
        skin, side = self.skin, self.shaded
        for ear in (-1, 1):
            self.fill(self.ellipse(0.74 * ear, 0.1, 0.1, 0.2), skin * 0.85)
        self.fill(_ellipse(self.at(0, 0), (0.74 * self.head, self.head), self.lean), skin)
        self.blend(self.ellipse(0.55 * side, 0.1, 0.35, 0.85), skin * 0.55, 0.25, 0.7)
        highlight = np.minimum(skin * 1.25 + 15, 255)
        self.blend(self.ellipse(-0.3 * side, -0.35, 0.25, 0.3), highlight, 0.2, 0.5)
        if self.rng.random() < 0.85:  # the others are bald
            top = [(0.86 * np.cos(t), -0.32 - 0.85 * np.sin(t)) for t in np.linspace(0, np.pi, 14)]
            hairline = [(u, -0.5 - 0.25 * (1 - u * u)) for u in np.linspace(-0.75, 0.75, 8)]
            self.blend(self.polygon(*top, *hairline), self.hair, 0.04)

    def draw_features(self) -> None:
        """Eyes, brows, nose, mouth, glasses: moved to one side as the head turns."""
        rng = self.rng
        skin, head = self.skin, self.head
        turned = rng.uniform(-0.2, 0.2)
        for side in (-1, 1):
            eye = 0.3 * side + turned, -0.08
            self.blend(self.ellipse(*eye, 0.2, 0.13), skin * 0.7, 0.06, 0.6)
            self.fill(self.ellipse(*eye, 0.12, 0.05), (235, 230, 225))
            self.fill(_ellipse(self.at(*eye), (0.05 * head, 0.05 * head)), self.hair * 0.5)
            inner, outer = 0.13 * side + turned, 0.46 * side + turned
            self.fill(self.polygon((inner, -0.24), (outer, -0.27), (outer, -0.22)), self.hair * 0.8)
        nose = self.polygon((turned, -0.05), (turned + 0.14 * self.shaded, 0.32), (turned, 0.36))
        self.blend(nose, skin * 0.6, 0.04, 0.8)
        for side in (-1, 1):
            nostril = _ellipse(self.at(turned + 0.08 * side, 0.35), (0.04 * head, 0.02 * head))
            self.fill(nostril, skin * 0.4)
        lips = np.clip(skin * [0.95, 0.62, 0.62], 0, 255)
        self.fill(self.ellipse(turned, 0.58, 0.24, rng.uniform(0.05, 0.1)), lips)
        mouth = self.ellipse(turned, 0.58, 0.22, rng.uniform(0.005, 0.04))
        self.fill(mouth, (225, 215, 205) if rng.random() < 0.4 else lips * 0.5)
        if rng.random() < 0.15:  # glasses
            for side in (-1, 1):
                ring = np.rint(self.ellipse(0.3 * side + turned, -0.06, 0.24, 0.18)).astype(np.int32)
                cv2.polylines(self.canvas, [ring], True, (30, 30, 30), max(int(0.03 * head), 1), cv2.LINE_AA)


def skin_close(
    rng: np.random.Generator, size: int, skin: Float[ndarray, "3"]
) -> UInt8[ndarray, "size size 3"]:
    """Nothing but skin: a forehead, a chest, a leg."""
    wave = noise(rng, size, 4, rng.uniform(1, 3)) * rng.uniform(0.05, 0.25)
    wave = wave + noise(rng, size, 2, 1.0) * rng.uniform(0.0, 0.04)
    return np.clip(skin * (1 + wave[..., None] * [0.8, 1.0, 1.1]), 0, 255).astype(np.uint8)


def place(
    rng: np.random.Generator,
    size: int,
    blur: tuple[float, float],
    tone: Float[ndarray, "3"],
    face: tuple[float, float, float] | None = None,
) -> UInt8[ndarray, "size size 3"]:
    """A place where people film, sRGB, perhaps with a person in it: mostly the one whose hand it is.

    blur: range of the Gaussian's sigma in fractions of the edge. tone: the colour of the hand's skin, sRGB
    0..1. face: where a person's face must be (see `person`); None: perhaps nobody is there.
    """
    tone = tone if rng.random() < OWN_PROBABILITY else TONES[rng.integers(len(TONES))]
    skin = np.clip(255 * tone * rng.uniform(0.75, 1.1) * np.exp(rng.normal(0, 0.03, 3)), 0, 255)
    kind = str(rng.choice(list(PLACES), p=list(PLACES.values())))
    if kind == "skin":
        canvas = skin_close(rng, size, skin)
    elif kind == "wall":
        paint = np.ones((size, size, 3)) * wall_colour(rng)
        canvas = paint * np.linspace(*rng.uniform(0.5, 1.1, 2), size)[:, None, None]
        canvas = np.clip(canvas, 0, 255).astype(np.uint8)
    else:
        canvas = {"room": room, "desk": desk, "outdoors": outdoors}[kind](rng, size)
    if rng.random() < PERSON_PROBABILITY[kind] or face is not None:
        canvas = person(rng, canvas, skin, face)
    return in_the_light(rng, canvas.astype(np.float32), blur)
