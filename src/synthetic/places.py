"""Places behind the hand, drawn in perspective: rooms with windows and furniture, desks from above, streets
and gardens. sRGB, 8 bits."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from tempohand.synthetic.texture import NOISE_SLOPES, colour, noise, pattern

SHIFT = 4  # of cv2's fixed-point coordinates, bits
NEAR = 0.25  # metres: what is nearer to the camera of a place is not drawn


def _tuple(rgb) -> tuple[float, ...]:
    return tuple(float(np.clip(c, 0, 255)) for c in rgb)


def fill(canvas: UInt8[ndarray, "h w 3"], points: Float[ndarray, "n 2"], rgb) -> None:
    """A filled polygon, points in px; what lies far outside is brought near, so that coordinates stay in
    range."""
    points = np.clip(points, -20 * len(canvas), 20 * len(canvas))
    cv2.fillPoly(canvas, [np.rint(points * 2**SHIFT).astype(np.int32)], _tuple(rgb), cv2.LINE_AA, SHIFT)


def wall_colour(rng: np.random.Generator) -> Float[ndarray, "3"]:
    """What walls and ceilings are painted in: pale and dull mostly."""
    if rng.random() < 0.25:
        return colour(rng, 0.3)
    return np.clip(rng.uniform(120, 245) * (1 + rng.normal(0, 0.04, 3)) * [1.02, 1.0, 0.96], 0, 255)


class Eye:
    """A camera of a place, metres: x right, y down, z forward, pitched and rolled a little; it draws on a
    canvas."""

    def __init__(self, rng: np.random.Generator, size: int, pitch: float):
        self.canvas = np.zeros((size, size, 3), np.uint8)
        self.focal, self.size = size * rng.uniform(0.6, 1.6), size
        c, s = np.cos(pitch), np.sin(pitch)
        turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
        yaw = rng.uniform(-0.7, 0.7)
        c, s = np.cos(yaw), np.sin(yaw)
        self.rotation = turn @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
        self.shading = rng.uniform(0.45, 1.0, 3)  # of faces that look along each axis

    def project(self, points: Float[ndarray, "n 3"]) -> Float[ndarray, "m 2"]:
        """Pixels of a polygon in space, cut at the near plane; empty when all of it lies behind."""
        seen = np.asarray(points, float) @ self.rotation.T
        cut = []
        for a, b in zip(seen, np.roll(seen, -1, axis=0)):
            if a[2] >= NEAR:
                cut.append(a)
            if (a[2] >= NEAR) != (b[2] >= NEAR):
                cut.append(a + (NEAR - a[2]) / (b[2] - a[2]) * (b - a))
        cut = np.array(cut).reshape(-1, 3)
        return cut[:, :2] / cut[:, 2:] * self.focal + self.size / 2

    def polygon(self, points: Float[ndarray, "n 3"], rgb) -> None:
        """Fills a polygon in space."""
        pixels = self.project(points)
        if len(pixels):
            fill(self.canvas, pixels, rgb)

    def box(self, low: Float[ndarray, "3"], high: Float[ndarray, "3"], rgb) -> None:
        """A box with its faces lit differently, the far ones first."""
        corners = np.array(
            [[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])]
        )
        quads = [
            (0, 1, 3, 2, 0),
            (4, 5, 7, 6, 0),
            (0, 1, 5, 4, 1),
            (2, 3, 7, 6, 1),
            (0, 2, 6, 4, 2),
            (1, 3, 7, 5, 2),
        ]
        quads.sort(key=lambda quad: -np.linalg.norm(corners[list(quad[:4])].mean(0)))
        for *corner, axis in quads[3:]:
            self.polygon(corners[corner], np.asarray(rgb) * self.shading[axis])

    def plane(self, picture: UInt8[ndarray, "h w 3"], corners: Float[ndarray, "4 3"]) -> None:
        """A picture on a quad in space (corners: its upper left, upper right, lower right, lower left); the
        part in front of the camera."""
        height, width = picture.shape[:2]
        a, b, d = corners[0], corners[1] - corners[0], corners[3] - corners[0]
        camera = np.array([[self.focal, 0, self.size / 2], [0, self.focal, self.size / 2], [0, 0, 1.0]])
        homography = camera @ self.rotation @ np.column_stack([b / width, d / height, a])
        mask = np.zeros((self.size, self.size), np.uint8)
        pixels = self.project(corners)
        if len(pixels) < 3 or abs(np.linalg.det(homography)) < 1e-9:
            return
        cv2.fillPoly(
            mask,
            [np.rint(np.clip(pixels, -20 * self.size, 20 * self.size) * 2**SHIFT).astype(np.int32)],
            1,
            cv2.LINE_8,
            SHIFT,
        )
        seen = cv2.warpPerspective(
            picture,
            homography,
            (self.size, self.size),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        cv2.copyTo(seen, mask, self.canvas)


def _floor(rng: np.random.Generator) -> UInt8[ndarray, "s s 3"]:
    """Boards, tiles or a carpet."""
    size = 192
    base, kind = colour(rng, 0.3), rng.choice(["boards", "tiles", "carpet"])
    floor = np.ones((size, size, 3), np.float32) * base
    step = int(rng.integers(10, 32))
    if kind == "boards":
        for row in range(0, size, step):
            floor[row : row + step] *= rng.uniform(0.85, 1.15)
            floor[row] *= 0.6
    elif kind == "tiles":
        floor[::step] *= 0.65
        floor[:, ::step] *= 0.65
    floor *= 1 + rng.uniform(0.01, 0.08) * noise(rng, size, int(rng.integers(len(NOISE_SLOPES))))[..., None]
    return np.clip(floor, 0, 255).astype(np.uint8)


def _on_wall(rng: np.random.Generator, eye: Eye, wall: int, room: Float[ndarray, "3 2"]) -> None:
    """A window, door, picture, board, cupboard or shelf on the far wall (0) or a side wall (1 left, 2
    right)."""

    def place(u, v):  # metres along the wall and down
        along = room[0 if wall == 0 else 2, 0] + u
        x, z = (along, room[2, 1] - 0.01) if wall == 0 else (room[0, wall - 1] * 0.995, along)
        return np.array([x, v, z])

    def rectangle(u, v, w, h, rgb):
        eye.polygon(np.array([place(u, v), place(u + w, v), place(u + w, v + h), place(u, v + h)]), rgb)

    kind = rng.choice(
        ["window", "door", "picture", "board", "shelf", "stripe"], p=[0.25, 0.15, 0.22, 0.12, 0.2, 0.06]
    )
    length, height = np.ptp(room[0 if wall == 0 else 2]), np.ptp(room[1])
    u, v = rng.uniform(0, 0.8) * length, room[1, 0] + rng.uniform(0.15, 0.45) * height
    w, h = rng.uniform(0.4, 1.8), rng.uniform(0.4, 1.4)
    frame = wall_colour(rng)
    if kind == "window":
        rectangle(u, v, w, h, frame * 0.9)
        light = rng.uniform(180, 255) * np.array([0.95, 1.0, 1.03])
        panes = int(rng.integers(1, 4))
        for k in range(panes):
            rectangle(u + 0.04 + k * w / panes, v + 0.05, w / panes - 0.06, h - 0.1, light)
            if rng.random() < 0.6:  # what is outside
                rectangle(
                    u + 0.04 + k * w / panes,
                    v + h * rng.uniform(0.4, 0.8),
                    w / panes - 0.06,
                    h * 0.2 - 0.05,
                    colour(rng, 0.4),
                )
        if rng.random() < 0.4:  # curtains
            for left in (u - 0.2, u + w - 0.1):
                rectangle(left, v - 0.1, 0.3, h + 0.5, colour(rng, 0.4))
    elif kind == "door":
        rectangle(u, room[1, 1] - 2.05, 0.95, 2.05, frame * 0.7)
        rectangle(u + 0.06, room[1, 1] - 2.0, 0.83, 2.0, colour(rng, 0.25))
    elif kind == "picture":
        rectangle(u, v, w * 0.6, h * 0.6, colour(rng, 0.3) * 0.6)
        corners = [
            place(u + 0.04, v + 0.04),
            place(u + w * 0.6 - 0.04, v + 0.04),
            place(u + w * 0.6 - 0.04, v + h * 0.6 - 0.04),
        ]
        corners.append(place(u + 0.04, v + h * 0.6 - 0.04))
        eye.plane(np.clip(pattern(rng, 64), 0, 255).astype(np.uint8), np.array(corners))
    elif kind == "board":
        rectangle(u, v, 2 * w, h, colour(rng, 0.1) * 0.6)
        rectangle(u + 0.03, v + 0.03, 2 * w - 0.06, h - 0.06, rng.choice([235.0, 45.0]) * np.ones(3))
    elif kind == "shelf":
        for row in range(int(rng.integers(1, 5))):
            rectangle(u, v + 0.4 * row + 0.33, 1.2, 0.04, frame * 0.7)
            x = u
            while x < u + 1.1:
                thick, tall = rng.uniform(0.02, 0.09), rng.uniform(0.15, 0.3)
                if rng.random() < 0.8:
                    rectangle(x, v + 0.4 * row + 0.33 - tall, thick, tall, colour(rng, 0.5))
                x += thick
    else:
        rectangle(0, v, length, rng.uniform(0.03, 0.4), frame * rng.uniform(0.6, 1.1))


def room(rng: np.random.Generator, size: int) -> UInt8[ndarray, "size size 3"]:
    """A room with a floor, four walls seen from inside, what hangs on them and what stands in it."""
    eye = Eye(rng, size, rng.uniform(-0.25, 0.4))
    half, tall, deep = rng.uniform(1.2, 4.0), rng.uniform(2.3, 3.2), rng.uniform(1.0, 7.0)
    height = rng.uniform(0.8, 1.8)  # of the camera above the floor
    walls = np.array([[-half, half], [height - tall, height], [-2.0, deep]])
    (left, right), (top, low), (front, far) = walls
    paint = wall_colour(rng)
    eye.canvas[:] = _tuple(paint * 0.9)
    side, other = paint * rng.uniform(0.6, 1.05), paint * rng.uniform(0.6, 1.05)
    eye.polygon(
        np.array([[left, top, far], [right, top, far], [right, top, front], [left, top, front]]),
        wall_colour(rng),
    )
    eye.polygon(np.array([[left, top, front], [left, top, far], [left, low, far], [left, low, front]]), side)
    eye.polygon(
        np.array([[right, top, far], [right, top, front], [right, low, front], [right, low, far]]), other
    )
    eye.polygon(np.array([[left, top, far], [right, top, far], [right, low, far], [left, low, far]]), paint)
    eye.plane(
        _floor(rng), np.array([[left, low, far], [right, low, far], [right, low, front], [left, low, front]])
    )
    for _ in range(rng.integers(0, 7)):
        _on_wall(rng, eye, int(rng.choice(3, p=[0.6, 0.2, 0.2])), walls)
    things = []
    for _ in range(rng.integers(0, 7)):  # tables, cupboards, beds, boxes: they stand on the floor
        x, z = rng.uniform(left, right), rng.uniform(0.7, max(far, 0.8))
        w, h, d = rng.uniform(0.3, 1.8), rng.uniform(0.25, 1.6), rng.uniform(0.3, 0.9)
        things.append((np.array([x, low - h, z]), np.array([x + w, low, z + d]), colour(rng, 0.35)))
    for lower, upper, rgb in sorted(things, key=lambda thing: -thing[0][2]):
        if rng.random() < 0.4:  # a table: a board on legs
            eye.box(
                np.array([lower[0], lower[1], lower[2]]), np.array([upper[0], lower[1] + 0.05, upper[2]]), rgb
            )
            for x in (lower[0], upper[0] - 0.05):
                eye.box(
                    np.array([x, lower[1] + 0.05, lower[2]]),
                    np.array([x + 0.05, low, lower[2] + 0.05]),
                    rgb * 0.8,
                )
        else:
            eye.box(lower, upper, rgb)
    return eye.canvas


def _desk_top(rng: np.random.Generator) -> UInt8[ndarray, "s s 3"]:
    """A table from above, 1.2 m wide: papers, a keyboard, books, a telephone, a cup, pens."""
    size = 384
    top = (
        np.clip(pattern(rng, size), 0, 255)
        if rng.random() < 0.3
        else np.ones((size, size, 3)) * colour(rng, 0.3)
    )
    if rng.random() < 0.5:  # wood
        top = top * (
            1
            + rng.uniform(0.02, 0.07)
            * np.sin(rng.uniform(0.2, 0.9) * np.arange(size)[:, None] + 2.5 * noise(rng, size, 4, 2.0))[
                ..., None
            ]
        )
    top = np.clip(top, 0, 255).astype(np.uint8)
    for _ in range(rng.integers(2, 16)):
        kind = rng.choice(
            ["paper", "keyboard", "book", "phone", "cup", "pen"], p=[0.25, 0.2, 0.2, 0.12, 0.13, 0.1]
        )
        x, y = rng.uniform(0, size, 2)
        turn = rng.normal(0, 0.3)
        across, down = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])

        def rectangle(u, v, w, h, rgb, x=x, y=y, across=across, down=down):
            corners = np.array([[u, v], [u + w, v], [u + w, v + h], [u, v + h]], float)
            fill(top, np.array([x, y]) + corners[:, :1] * across + corners[:, 1:] * down, rgb)

        if kind == "paper":
            rectangle(0, 0, 67, 95, rng.uniform(200, 250) * np.ones(3))
            for row in range(8, 88, int(rng.integers(5, 9))):
                rectangle(7, row, rng.uniform(20, 54), 2, rng.uniform(20, 140) * np.ones(3))
        elif kind == "keyboard":
            base, key = rng.uniform(20, 230), rng.uniform(20, 240)
            rectangle(0, 0, 140, 44, base * np.ones(3))
            for row in range(5):
                for column in range(15):
                    rectangle(
                        3 + 9 * column, 3 + 8 * row, 7.5, 6.5, key * rng.uniform(0.95, 1.05) * np.ones(3)
                    )
        elif kind == "book":
            rectangle(3, 3, rng.uniform(40, 80), rng.uniform(60, 100), np.full(3, 30.0))
            w, h, cover = rng.uniform(40, 80), rng.uniform(60, 100), colour(rng, 0.5)
            rectangle(0, 0, w, h, cover)
            rectangle(w * 0.2, h * 0.2, w * 0.6, h * 0.12, colour(rng, 0.3))
        elif kind == "phone":
            rectangle(0, 0, 25, 50, rng.uniform(10, 60) * np.ones(3))
            rectangle(1.5, 3, 22, 44, colour(rng, 0.5))
        elif kind == "cup":
            radius, rim = rng.uniform(10, 16), colour(rng, 0.4)
            for scale, rgb in ((1.0, rim), (0.82, rim * 0.6), (0.78, colour(rng, 0.5) * 0.5)):
                cv2.circle(top, (int(x), int(y)), int(radius * scale), _tuple(rgb), -1, cv2.LINE_AA)
        else:
            rectangle(0, 0, 45, 3, colour(rng, 0.6))
    return top


def desk(rng: np.random.Generator, size: int) -> UInt8[ndarray, "size size 3"]:
    """A desk before the camera, from above or from a seat, perhaps with a screen at its end."""
    down = rng.uniform(0.5, 1.5)  # radians that the camera looks down
    eye = Eye(rng, size, down)
    height, far = rng.uniform(0.4, 1.1), rng.uniform(0.7, 1.3)
    middle = height / np.tan(max(down, 0.6))
    eye.canvas[:] = _tuple(wall_colour(rng) * rng.uniform(0.4, 1.0))
    if rng.random() < 0.6:
        eye.plane(
            _floor(rng),
            np.array(
                [
                    [-4, height + 0.75, 6],
                    [4, height + 0.75, 6],
                    [4, height + 0.75, -2],
                    [-4, height + 0.75, -2.0],
                ]
            ),
        )
    x, z = rng.uniform(-0.3, 0.3), middle + far * rng.uniform(0.3, 0.6)
    wide = rng.uniform(0.6, 1.2)
    eye.plane(
        _desk_top(rng),
        np.array(
            [
                [x - wide, height, z],
                [x + wide, height, z],
                [x + wide, height, z - far * 1.6],
                [x - wide, height, z - far * 1.6],
            ]
        ),
    )
    if rng.random() < 0.5:  # a screen
        w, h = rng.uniform(0.3, 0.7), rng.uniform(0.2, 0.4)
        low, back = height - 0.1, z - 0.05
        eye.polygon(
            np.array(
                [
                    [x - w, low - 2 * h, back],
                    [x + w, low - 2 * h, back],
                    [x + w, low, back],
                    [x - w, low, back],
                ]
            ),
            np.full(3, 25.0),
        )
        shown = np.clip(pattern(rng, 96) * rng.uniform(0.7, 1.2), 0, 255).astype(np.uint8)
        w, h, low = w - 0.02, h - 0.02, low - 0.02
        eye.plane(
            shown,
            np.array(
                [
                    [x - w, low - 2 * h, back],
                    [x + w, low - 2 * h, back],
                    [x + w, low, back],
                    [x - w, low, back],
                ]
            ),
        )
    for _ in range(rng.integers(0, 4)):  # things that stand on it
        place = np.array([x + rng.uniform(-wide, wide), height, z - rng.uniform(0, 0.8) * far])
        extent = np.array([rng.uniform(0.04, 0.25), rng.uniform(0.03, 0.3), rng.uniform(0.04, 0.2)])
        eye.box(place - extent * [0, 1, 0], place + extent * [1, 0, 1], colour(rng, 0.45))
    return eye.canvas


def outdoors(rng: np.random.Generator, size: int) -> UInt8[ndarray, "size size 3"]:
    """Sky, trees or houses, and ground."""
    y = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    high, low = (
        rng.uniform(60, 220) * np.array([0.6, 0.8, 1.1]),
        rng.uniform(180, 255) * np.array([0.95, 0.98, 1.02]),
    )
    canvas = high + (low - high) * np.minimum(1.4 * y, 1.0) + np.zeros((size, size, 3), np.float32)
    clouds = np.clip(noise(rng, size, 4, 1.5) * rng.uniform(0.0, 0.7), 0, 1)[..., None]
    canvas = canvas + (245 - canvas) * clouds
    horizon = rng.uniform(0.25, 0.8) * size
    leaf = np.array([70, 95, 40]) * rng.uniform(0.4, 1.5) * np.exp(rng.normal(0, 0.15, 3))
    line = horizon - size * np.abs(rng.uniform(0.02, 0.25) + 0.06 * noise(rng, size, 2)[0]) * (
        rng.random() < 0.7
    )
    rows = np.arange(size)[:, None]
    trees = (rows > line) & (rows < horizon)
    rough = 1 + 0.35 * noise(rng, size, int(rng.integers(0, 3)), rng.uniform(0.6, 2.0))[..., None]
    canvas = np.where(trees[..., None], leaf * rough, canvas)
    ground = (leaf * [1.2, 1.3, 1.0] if rng.random() < 0.5 else colour(rng, 0.2)) * (
        1 + 0.15 * noise(rng, size, 1)[..., None]
    )
    canvas = np.where((rows >= horizon)[..., None], ground, canvas)
    canvas = np.clip(canvas, 0, 255).astype(np.uint8)
    for _ in range(rng.integers(0, 5)):  # houses with rows of windows
        x, w, top = (
            rng.uniform(-0.2, 1.0) * size,
            rng.uniform(0.1, 0.4) * size,
            horizon - rng.uniform(0.05, 0.45) * size,
        )
        wall, pane = (
            wall_colour(rng) * rng.uniform(0.5, 1.0),
            rng.uniform(30, 200) * np.array([0.8, 0.95, 1.1]),
        )
        cv2.rectangle(canvas, (int(x), int(top)), (int(x + w), int(horizon)), _tuple(wall), -1)
        step = max(int(size * rng.uniform(0.025, 0.07)), 5)
        for v in range(int(top) + step // 2, int(horizon) - step, step):
            for u in range(int(x) + step // 2, int(x + w) - step // 2, step):
                cv2.rectangle(canvas, (u, v), (u + step // 2, v + step // 2), _tuple(pane), -1)
    return canvas
