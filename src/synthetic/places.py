"""Desks and the outdoors behind the hand. sRGB, 8 bits."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from tempohand.synthetic.perspective import PlaceView, fill, level, upright
from tempohand.synthetic.rooms import floor, wall_colour
from tempohand.synthetic.texture import colour, cv2_colour, noise, pattern


class _Item(NamedTuple):
    """A thing on the table top: where its corner is (px), and unit vectors along its own sides."""

    canvas: UInt8[ndarray, "s s 3"]
    corner: Float[ndarray, "2"]
    across: Float[ndarray, "2"]
    down: Float[ndarray, "2"]

    def rectangle(self, u: float, v: float, w: float, h: float, rgb) -> None:
        """A rectangle w x h px large, (u, v) px from the corner along its sides."""
        corners = np.array([[u, v], [u + w, v], [u + w, v + h], [u, v + h]], float)
        fill(self.canvas, self.corner + corners[:, :1] * self.across + corners[:, 1:] * self.down, rgb)


def _paper(rng: np.random.Generator, item: _Item) -> None:
    item.rectangle(0, 0, 67, 95, rng.uniform(200, 250) * np.ones(3))
    for row in range(8, 88, int(rng.integers(5, 9))):
        item.rectangle(7, row, rng.uniform(20, 54), 2, rng.uniform(20, 140) * np.ones(3))


def _keyboard(rng: np.random.Generator, item: _Item) -> None:
    base, key = rng.uniform(20, 230), rng.uniform(20, 240)
    item.rectangle(0, 0, 140, 44, base * np.ones(3))
    for row in range(5):
        for column in range(15):
            shade = key * rng.uniform(0.95, 1.05) * np.ones(3)
            item.rectangle(3 + 9 * column, 3 + 8 * row, 7.5, 6.5, shade)


def _book(rng: np.random.Generator, item: _Item) -> None:
    item.rectangle(3, 3, rng.uniform(40, 80), rng.uniform(60, 100), np.full(3, 30.0))  # its shadow
    w, h = rng.uniform(40, 80), rng.uniform(60, 100)
    item.rectangle(0, 0, w, h, colour(rng, 0.5))
    item.rectangle(w * 0.2, h * 0.2, w * 0.6, h * 0.12, colour(rng, 0.3))


def _telephone(rng: np.random.Generator, item: _Item) -> None:
    item.rectangle(0, 0, 25, 50, rng.uniform(10, 60) * np.ones(3))
    item.rectangle(1.5, 3, 22, 44, colour(rng, 0.5))


def _cup(rng: np.random.Generator, item: _Item) -> None:
    radius, rim = rng.uniform(10, 16), colour(rng, 0.4)
    x, y = (int(c) for c in item.corner)
    for scale, rgb in ((1.0, rim), (0.82, rim * 0.6), (0.78, colour(rng, 0.5) * 0.5)):
        cv2.circle(item.canvas, (x, y), int(radius * scale), cv2_colour(rgb), -1, cv2.LINE_AA)


def _pen(rng: np.random.Generator, item: _Item) -> None:
    item.rectangle(0, 0, 45, 3, colour(rng, 0.6))


# How often each is what lies on a table.
ON_TABLES = {_paper: 0.25, _keyboard: 0.2, _book: 0.2, _telephone: 0.12, _cup: 0.13, _pen: 0.1}


def _desk_top(rng: np.random.Generator) -> UInt8[ndarray, "s s 3"]:
    """A table of 1.2 m from above, with some of ON_TABLES on it."""
    size = 384
    if rng.random() < 0.3:
        top = np.clip(pattern(rng, size), 0, 255)
    else:
        top = np.ones((size, size, 3)) * colour(rng, 0.3)
    if rng.random() < 0.5:  # wood
        contrast, frequency = rng.uniform(0.02, 0.07), rng.uniform(0.2, 0.9)
        phase = frequency * np.arange(size)[:, None] + 2.5 * noise(rng, size, 4, 2.0)
        top = top * (1 + contrast * np.sin(phase)[..., None])
    top = np.clip(top, 0, 255).astype(np.uint8)
    for _ in range(rng.integers(2, 16)):
        draw = list(ON_TABLES)[rng.choice(len(ON_TABLES), p=list(ON_TABLES.values()))]
        corner = rng.uniform(0, size, 2)
        turn = rng.normal(0, 0.3)
        across, down = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
        draw(rng, _Item(top, corner, across, down))
    return top


def desk(rng: np.random.Generator, size: int) -> UInt8[ndarray, "size size 3"]:
    """A desk before the camera, from above or from a seat, perhaps with a screen at its end."""
    down = rng.uniform(0.5, 1.5)  # radians that the camera looks down
    view = PlaceView(rng, size, down)
    height, far = rng.uniform(0.4, 1.1), rng.uniform(0.7, 1.3)
    middle = height / np.tan(max(down, 0.6))
    view.canvas[:] = cv2_colour(wall_colour(rng) * rng.uniform(0.4, 1.0))
    if rng.random() < 0.6:
        view.plane(floor(rng), level(-4, 4, height + 0.75, 6, -2))
    x, z = rng.uniform(-0.3, 0.3), middle + far * rng.uniform(0.3, 0.6)
    wide = rng.uniform(0.6, 1.2)
    view.plane(_desk_top(rng), level(x - wide, x + wide, height, z, z - far * 1.6))
    if rng.random() < 0.5:
        _screen(rng, view, x, height - 0.1, z - 0.05)
    for _ in range(rng.integers(0, 4)):  # things that stand on it
        place = np.array([x + rng.uniform(-wide, wide), height, z - rng.uniform(0, 0.8) * far])
        extent = np.array([rng.uniform(0.04, 0.25), rng.uniform(0.03, 0.3), rng.uniform(0.04, 0.2)])
        view.box(place - extent * [0, 1, 0], place + extent * [1, 0, 1], colour(rng, 0.45))
    return view.canvas


def _screen(rng: np.random.Generator, view: PlaceView, x: float, low: float, z: float) -> None:
    """A screen with a picture on it, its lower border's middle at (x, low, z)."""
    w, h = rng.uniform(0.3, 0.7), rng.uniform(0.2, 0.4)
    view.polygon(upright((x - w, z), (x + w, z), low - 2 * h, low), np.full(3, 25.0))
    shown = np.clip(pattern(rng, 96) * rng.uniform(0.7, 1.2), 0, 255).astype(np.uint8)
    w, h = w - 0.02, h - 0.02
    low = low - 0.02
    view.plane(shown, upright((x - w, z), (x + w, z), low - 2 * h, low))


def outdoors(rng: np.random.Generator, size: int) -> UInt8[ndarray, "size size 3"]:
    """Sky, trees or houses, and ground."""
    y = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    high = rng.uniform(60, 220) * np.array([0.6, 0.8, 1.1])
    low = rng.uniform(180, 255) * np.array([0.95, 0.98, 1.02])
    canvas = high + (low - high) * np.minimum(1.4 * y, 1.0) + np.zeros((size, size, 3), np.float32)
    clouds = np.clip(noise(rng, size, 4, 1.5) * rng.uniform(0.0, 0.7), 0, 1)[..., None]
    canvas = canvas + (245 - canvas) * clouds
    horizon = rng.uniform(0.25, 0.8) * size
    leaf = np.array([70, 95, 40]) * rng.uniform(0.4, 1.5) * np.exp(rng.normal(0, 0.15, 3))
    height = np.abs(rng.uniform(0.02, 0.25) + 0.06 * noise(rng, size, 2)[0])
    treetops = horizon - size * height * (rng.random() < 0.7)
    rows = np.arange(size)[:, None]
    trees = (rows > treetops) & (rows < horizon)
    rough = 1 + 0.35 * noise(rng, size, int(rng.integers(0, 3)), rng.uniform(0.6, 2.0))[..., None]
    canvas = np.where(trees[..., None], leaf * rough, canvas)
    ground = leaf * [1.2, 1.3, 1.0] if rng.random() < 0.5 else colour(rng, 0.2)
    ground = ground * (1 + 0.15 * noise(rng, size, 1)[..., None])
    canvas = np.where((rows >= horizon)[..., None], ground, canvas)
    canvas = np.clip(canvas, 0, 255).astype(np.uint8)
    for _ in range(rng.integers(0, 5)):
        _draw_house(rng, canvas, horizon)
    return canvas


def _draw_house(rng: np.random.Generator, canvas: UInt8[ndarray, "size size 3"], horizon: float) -> None:
    """A house with rows of windows; horizon: the row that it stands on."""
    size = len(canvas)
    x, width = rng.uniform(-0.2, 1.0) * size, rng.uniform(0.1, 0.4) * size
    left, right = int(x), int(x + width)
    bottom = int(horizon)
    top = int(horizon - rng.uniform(0.05, 0.45) * size)
    wall = wall_colour(rng) * rng.uniform(0.5, 1.0)
    pane = cv2_colour(rng.uniform(30, 200) * np.array([0.8, 0.95, 1.1]))
    cv2.rectangle(canvas, (left, top), (right, bottom), cv2_colour(wall), -1)
    step = max(int(size * rng.uniform(0.025, 0.07)), 5)
    for v in range(top + step // 2, bottom - step, step):
        for u in range(left + step // 2, right - step // 2, step):
            cv2.rectangle(canvas, (u, v), (u + step // 2, v + step // 2), pane, -1)
