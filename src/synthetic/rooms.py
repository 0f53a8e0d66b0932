"""Rooms behind the hand: floor, walls, what hangs on them and what stands in front of them. sRGB, 8 bits."""

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from tempohand.synthetic.perspective import PlaceView, level, upright
from tempohand.synthetic.texture import NOISE_SLOPES, colour, cv2_colour, noise, pattern


def wall_colour(rng: np.random.Generator) -> Float[ndarray, "3"]:
    """What walls and ceilings are painted in: pale and dull mostly."""
    if rng.random() < 0.25:
        return colour(rng, 0.3)
    return np.clip(rng.uniform(120, 245) * (1 + rng.normal(0, 0.04, 3)) * [1.02, 1.0, 0.96], 0, 255)


def floor(rng: np.random.Generator) -> UInt8[ndarray, "s s 3"]:
    """Boards, tiles or a carpet."""
    size = 192
    base, kind = colour(rng, 0.3), rng.choice(["boards", "tiles", "carpet"])
    boards = np.ones((size, size, 3), np.float32) * base
    step = int(rng.integers(10, 32))
    if kind == "boards":
        for row in range(0, size, step):
            boards[row : row + step] *= rng.uniform(0.85, 1.15)
            boards[row] *= 0.6
    elif kind == "tiles":
        boards[::step] *= 0.65
        boards[:, ::step] *= 0.65
    boards *= 1 + rng.uniform(0.01, 0.08) * noise(rng, size, int(rng.integers(len(NOISE_SLOPES))))[..., None]
    return np.clip(boards, 0, 255).astype(np.uint8)


class _Wall:
    """The far wall (0) or a side wall (1 left, 2 right) of a room. Places (u, v) in metres: u along the wall
    from its left or far end, v down in world space."""

    def __init__(self, view: PlaceView, number: int, bounds: Float[ndarray, "3 2"]):
        self.view = view
        self.number = number
        self.bounds = bounds
        self.along = bounds[0 if number == 0 else 2]
        self.length = np.ptp(self.along)
        self.floor = bounds[1, 1]

    def place(self, u: float, v: float) -> Float[ndarray, "3"]:
        """The point in world space, a little before the wall."""
        along = self.along[0] + u
        if self.number == 0:
            return np.array([along, v, self.bounds[2, 1] - 0.01])
        return np.array([self.bounds[0, self.number - 1] * 0.995, v, along])

    def corners(self, u: float, v: float, w: float, h: float) -> Float[ndarray, "4 3"]:
        """Of a rectangle w x h metres large, as `PlaceView.plane` takes them."""
        return np.array([self.place(*p) for p in ((u, v), (u + w, v), (u + w, v + h), (u, v + h))])

    def rectangle(self, u: float, v: float, w: float, h: float, rgb) -> None:
        self.view.polygon(self.corners(u, v, w, h), rgb)


def _window(rng: np.random.Generator, wall: _Wall, box: tuple, paint) -> None:
    u, v, w, h = box
    wall.rectangle(u, v, w, h, paint * 0.9)
    light = rng.uniform(180, 255) * np.array([0.95, 1.0, 1.03])
    panes = int(rng.integers(1, 4))
    for k in range(panes):
        left, wide = u + 0.04 + k * w / panes, w / panes - 0.06
        wall.rectangle(left, v + 0.05, wide, h - 0.1, light)
        if rng.random() < 0.6:  # what is outside
            wall.rectangle(left, v + h * rng.uniform(0.4, 0.8), wide, h * 0.2 - 0.05, colour(rng, 0.4))
    if rng.random() < 0.4:  # curtains
        for left in (u - 0.2, u + w - 0.1):
            wall.rectangle(left, v - 0.1, 0.3, h + 0.5, colour(rng, 0.4))


def _door(rng: np.random.Generator, wall: _Wall, box: tuple, paint) -> None:
    u = box[0]
    wall.rectangle(u, wall.floor - 2.05, 0.95, 2.05, paint * 0.7)
    wall.rectangle(u + 0.06, wall.floor - 2.0, 0.83, 2.0, colour(rng, 0.25))


def _framed_picture(rng: np.random.Generator, wall: _Wall, box: tuple, paint) -> None:
    u, v, w, h = box
    wall.rectangle(u, v, w * 0.6, h * 0.6, colour(rng, 0.3) * 0.6)
    left, right = u + 0.04, u + w * 0.6 - 0.04
    top, bottom = v + 0.04, v + h * 0.6 - 0.04
    corners = [wall.place(*p) for p in ((left, top), (right, top), (right, bottom), (left, bottom))]
    wall.view.plane(np.clip(pattern(rng, 64), 0, 255).astype(np.uint8), np.array(corners))


def _board(rng: np.random.Generator, wall: _Wall, box: tuple, paint) -> None:
    u, v, w, h = box
    wall.rectangle(u, v, 2 * w, h, colour(rng, 0.1) * 0.6)
    wall.rectangle(u + 0.03, v + 0.03, 2 * w - 0.06, h - 0.06, rng.choice([235.0, 45.0]) * np.ones(3))


def _shelves(rng: np.random.Generator, wall: _Wall, box: tuple, paint) -> None:
    u, v = box[:2]
    for row in range(int(rng.integers(1, 5))):
        wall.rectangle(u, v + 0.4 * row + 0.33, 1.2, 0.04, paint * 0.7)
        x = u
        while x < u + 1.1:
            thick, tall = rng.uniform(0.02, 0.09), rng.uniform(0.15, 0.3)
            if rng.random() < 0.8:
                wall.rectangle(x, v + 0.4 * row + 0.33 - tall, thick, tall, colour(rng, 0.5))
            x += thick


def _stripe(rng: np.random.Generator, wall: _Wall, box: tuple, paint) -> None:
    wall.rectangle(0, box[1], wall.length, rng.uniform(0.03, 0.4), paint * rng.uniform(0.6, 1.1))


ON_WALLS = {
    _window: 0.25,
    _door: 0.15,
    _framed_picture: 0.22,
    _board: 0.12,
    _shelves: 0.2,
    _stripe: 0.06,
}  # how often each is what hangs on a wall


def _on_wall(rng: np.random.Generator, wall: _Wall) -> None:
    """Draws one of ON_WALLS somewhere on a wall."""
    draw = list(ON_WALLS)[rng.choice(len(ON_WALLS), p=list(ON_WALLS.values()))]
    top, bottom = wall.bounds[1]
    u, v = rng.uniform(0, 0.8) * wall.length, top + rng.uniform(0.15, 0.45) * (bottom - top)
    w, h = rng.uniform(0.4, 1.8), rng.uniform(0.4, 1.4)
    draw(rng, wall, (u, v, w, h), wall_colour(rng))


def room(rng: np.random.Generator, size: int) -> UInt8[ndarray, "size size 3"]:
    """A room with a floor, four walls seen from inside, what hangs on them and what stands in it."""
    view = PlaceView(rng, size, rng.uniform(-0.25, 0.4))
    half = rng.uniform(1.2, 4.0)
    tall = rng.uniform(2.3, 3.2)
    deep = rng.uniform(1.0, 7.0)
    height = rng.uniform(0.8, 1.8)  # of the camera above the floor
    walls = np.array([[-half, half], [height - tall, height], [-2.0, deep]])
    (left, right), (top, low), (front, far) = walls
    paint = wall_colour(rng)
    view.canvas[:] = cv2_colour(paint * 0.9)
    side, other = paint * rng.uniform(0.6, 1.05), paint * rng.uniform(0.6, 1.05)
    view.polygon(level(left, right, top, far, front), wall_colour(rng))
    view.polygon(upright((left, front), (left, far), top, low), side)
    view.polygon(upright((right, far), (right, front), top, low), other)
    view.polygon(upright((left, far), (right, far), top, low), paint)
    view.plane(floor(rng), level(left, right, low, far, front))
    for _ in range(rng.integers(0, 7)):
        _on_wall(rng, _Wall(view, int(rng.choice(3, p=[0.6, 0.2, 0.2])), walls))
    things = []
    for _ in range(rng.integers(0, 7)):  # tables, cupboards, beds, boxes: they stand on the floor
        x, z = rng.uniform(left, right), rng.uniform(0.7, max(far, 0.8))
        w, h, d = rng.uniform((0.3, 0.25, 0.3), (1.8, 1.6, 0.9))
        things.append((np.array([x, low - h, z]), np.array([x + w, low, z + d]), colour(rng, 0.35)))
    for lower, upper, rgb in sorted(things, key=lambda thing: -thing[0][2]):
        if rng.random() < 0.4:
            _table(view, lower, upper, rgb)
        else:
            view.box(lower, upper, rgb)
    return view.canvas


def _table(view: PlaceView, lower: Float[ndarray, "3"], upper: Float[ndarray, "3"], rgb) -> None:
    """A board on two legs, inside a box."""
    x, top, z = lower
    view.box(lower, np.array([upper[0], top + 0.05, upper[2]]), rgb)
    for leg in (x, upper[0] - 0.05):
        view.box(np.array([leg, top + 0.05, z]), np.array([leg + 0.05, upper[1], z + 0.05]), rgb * 0.8)
