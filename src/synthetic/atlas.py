"""What is drawn on the skin: flexion creases, palm lines, knuckle wrinkles, nails, veins, moles, a ring; finer than the hand's vertices.

Two square textures, palm and back, are the hand at rest seen from below and from above (planar coordinates x and z). They are factors on the
skin's colour, in linear light.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Integer
from numpy import ndarray

from tempohand.hand.anatomy import AXES, FLEXION, TWIST
from tempohand.hand.layer import HandLayer
from tempohand.render import vertex_normals
from tempohand.synthetic.skin import FINGER_TIPS, LAST_JOINTS, THUMB_BACK, to_linear
from tempohand.synthetic.texture import noise

ATLAS_SIZE = 256
ATLAS_MM = 236.0  # its edge: the hand's length and a margin
SHIFT = 4  # of cv2's fixed-point coordinates, bits
FINGERS = range(1, 16, 3)  # first joints, MANO's order: index, middle, pinky, ring, thumb
WIDTH_MM = (8.5, 8.5, 7.0, 8.0, 10.0)  # half a finger's
TIP_OF = dict(zip(LAST_JOINTS, FINGER_TIPS))
# Palm lines through weighted joints (wrist 0, MCPs of index 1, middle 4, pinky 7, ring 10, thumb's base 13 and MCP 14).
PALM_LINES = (
    ({1: 0.8, 14: 0.2}, {1: 0.5, 14: 0.3, 0: 0.1, 10: 0.1}, {4: 0.45, 0: 0.4, 13: 0.15}, {4: 0.2, 0: 0.8}),  # about the thumb's ball
    ({1: 0.8, 14: 0.2}, {4: 0.62, 0: 0.28, 1: 0.1}, {10: 0.55, 0: 0.45}, {7: 0.55, 0: 0.45}),  # across the middle
    ({7: 1.05, 0: 0.1, 4: -0.15}, {10: 0.86, 0: 0.14}, {4: 0.93, 0: 0.07}, {1: 0.55, 4: 0.5, 0: -0.05}),  # under the fingers
)
METALS = np.array([(222, 190, 110), (200, 200, 205), (150, 150, 155), (215, 160, 130), (40, 40, 42)], float) / 255


@dataclass(frozen=True)
class HandAtlas:
    """Where on the textures the parts of a hand lie: computed once."""

    uv: Float[ndarray, "778 2"]
    back: Integer[ndarray, "1538"]  # of each face: 1 for the texture of the back, 0 for the palm's
    joints: Float[ndarray, "16 3"]  # at rest, mm
    tips: Float[ndarray, "16 3"]  # the bone's far end, at rest, mm; of the wrist: nothing
    middle: Float[ndarray, "2"]  # of the textures, (x, z) mm

    @classmethod
    def of(cls, layer: HandLayer) -> "HandAtlas":
        """The atlas of a hand model (MANO's frame: back of the hand +y)."""
        rest, faces = layer.template.numpy().astype(float), layer.faces.numpy()
        joints = layer.rest_joints.numpy().astype(float)
        tips = np.roll(joints, -1, axis=0)
        for last, vertex in TIP_OF.items():
            tips[last] = rest[vertex]
        flat = rest[:, [0, 2]]
        middle = (flat.min(0) + flat.max(0)) / 2
        back = vertex_normals(rest, faces)[faces].mean(1)[:, 1] > 0
        return cls((flat - middle) / ATLAS_MM + 0.5, back.astype(np.int32), joints, tips, middle)

    def texels(self, points: Float[ndarray, "n 3"]) -> Integer[ndarray, "n 2"]:
        """Points on the hand at rest, mm, as cv2's fixed-point texels."""
        uv = (points[..., [0, 2]] - self.middle) / ATLAS_MM + 0.5
        return np.rint((uv * ATLAS_SIZE - 0.5) * 2**SHIFT).astype(np.int32)


def _frame(joint: int) -> tuple[ndarray, ndarray, ndarray]:
    """Unit vectors of a finger at rest: along the bone, across it, out of its back."""
    bone, across = AXES[joint - 1, TWIST], AXES[joint - 1, FLEXION]
    if joint >= 13:  # the thumb's nail looks up more than its joints' axes say
        across = np.cross(THUMB_BACK, bone)
        across /= np.linalg.norm(across)
    return bone, across, np.cross(bone, across)


class _Ink:
    """An 8-bit sheet over a texture, to draw on."""

    def __init__(self, atlas: HandAtlas):
        self.atlas, self.sheet = atlas, np.zeros((ATLAS_SIZE, ATLAS_SIZE), np.uint8)

    def line(self, points: Float[ndarray, "n 3"], shade: float, thickness: int = 1) -> None:
        cv2.polylines(self.sheet, [self.atlas.texels(points)], False, int(255 * shade), thickness, cv2.LINE_AA, SHIFT)

    def fill(self, points: Float[ndarray, "n 3"], shade: float = 1.0) -> None:
        cv2.fillPoly(self.sheet, [self.atlas.texels(points)], int(255 * shade), cv2.LINE_AA, SHIFT)

    def blurred(self, sigma: float) -> Float[ndarray, "s s"]:
        return cv2.GaussianBlur(self.sheet, (0, 0), sigma).astype(np.float32) / 255


def _crease(rng: np.random.Generator, atlas: HandAtlas, joint: int, along: float, half: float, side: float) -> Float[ndarray, "5 3"]:
    """A line across a finger, `along` mm from a joint toward the tip, on its back (side 1) or its palm side (-1)."""
    bone, across, back = _frame(joint)
    s = np.linspace(-1.0, 1.0, 5)[:, None]
    wave = rng.normal(0.0, 0.35, (5, 1)) + rng.normal(0.0, 0.5) * s + rng.normal(0.0, 0.6) * (1 - s * s)
    # The surface curves away: seen from above, its edge lies below its middle.
    height = side * half * np.sqrt(1 - 0.85 * s * s)
    return atlas.joints[joint] + (along + wave) * bone + half * s * across + height * back


def _curve(points: Float[ndarray, "4 3"]) -> Float[ndarray, "24 3"]:
    """A smooth curve near four points: their cubic Bezier curve, its inner control points moved so that it passes close to them."""
    a, b, c, d = points
    b, c = b + 0.5 * (b - (2 * a + d) / 3), c + 0.5 * (c - (a + 2 * d) / 3)
    t = np.linspace(0, 1, 24)[:, None]
    return (1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * b + 3 * t * t * (1 - t) * c + t**3 * d


def _palm_lines(rng: np.random.Generator, atlas: HandAtlas) -> Float[ndarray, "s s"]:
    ink = _Ink(atlas)
    for joint in range(1, 16):
        first = joint % 3 == 1
        half = WIDTH_MM[(joint - 1) // 3] * (1.1 if first else 1.0)
        if first and joint != 13:  # where the finger leaves the palm, beyond the knuckle
            places = [0.45 * np.linalg.norm(atlas.tips[joint] - atlas.joints[joint])]
        else:
            places = [0.0] if joint % 3 == 0 else [-1.5, 1.5]
        for place in places:
            ink.line(_crease(rng, atlas, joint, place + rng.normal(0, 0.5), half, -1.0), rng.uniform(0.4, 1.0))
    for line in PALM_LINES:
        points = np.stack([sum(weight * atlas.joints[joint] for joint, weight in point.items()) for point in line])
        ink.line(_curve(points + rng.normal(0.0, 2.0, points.shape)), rng.uniform(0.5, 1.0), int(rng.integers(1, 3)))
    for _ in range(rng.integers(3, 9)):  # small ones anywhere on the palm
        weights = rng.dirichlet(np.ones(6))
        place = weights @ atlas.joints[[0, 1, 4, 7, 10, 13]]
        step = rng.normal(0, 7.0, 3)
        ink.line(_curve(place + np.linspace(-1, 1, 4)[:, None] * step + rng.normal(0, 1.0, (4, 3))), rng.uniform(0.15, 0.6))
    return ink.blurred(0.7)


def _wrinkles(rng: np.random.Generator, atlas: HandAtlas) -> Float[ndarray, "s s"]:
    ink = _Ink(atlas)
    for joint in range(1, 16):
        if joint % 3 == 1 and joint != 13:
            continue
        half = WIDTH_MM[(joint - 1) // 3]
        for _ in range(rng.integers(3, 6) if joint % 3 == 2 else 2):
            ink.line(_crease(rng, atlas, joint, rng.normal(0.0, 2.5), half * rng.uniform(0.5, 0.9), 1.0), rng.uniform(0.25, 0.9))
    return ink.blurred(0.7)


def _veins(rng: np.random.Generator, atlas: HandAtlas) -> Float[ndarray, "s s"]:
    ink, knuckles = _Ink(atlas), atlas.joints[[1, 4, 10, 7]]
    for _ in range(rng.integers(3, 6)):
        gap = rng.uniform(0.0, 3.0)
        low = int(min(gap, 2.0))
        far = knuckles[low] + (gap - low) * (knuckles[low + 1] - knuckles[low])
        near = atlas.joints[0] + [rng.uniform(-15, 5), 0, rng.uniform(-20, 20)]
        points = near + np.linspace(0, 0.95, 4)[:, None] * (far - near) + rng.normal(0, 5.0, (4, 3))
        ink.line(_curve(points), rng.uniform(0.3, 1.0), int(rng.integers(2, 4)))
    return ink.blurred(1.6)


def _nails(rng: np.random.Generator, atlas: HandAtlas) -> tuple[Float[ndarray, "s s"], Float[ndarray, "s s"], Float[ndarray, "s s"]]:
    """Shares of nail, of its white free edge, and of the dark line about it."""
    plate, edge, rim = _Ink(atlas), _Ink(atlas), _Ink(atlas)
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)[:, None]
    long, wide = rng.uniform(0.8, 1.15), rng.uniform(0.85, 1.05)
    free = rng.uniform(0.0, 0.35) if rng.random() < 0.6 else 0.0
    for last in LAST_JOINTS:
        bone, across, back = _frame(last)
        half = WIDTH_MM[(last - 1) // 3]
        length = np.linalg.norm(atlas.tips[last] - atlas.joints[last])
        middle = atlas.joints[last] + 0.69 * length * bone + 0.5 * half * back
        # A rounded rectangle: cosines drawn toward +-1.
        a, b = (np.sign(w) * np.abs(w) ** 0.6 for w in (np.cos(turn), np.sin(turn)))
        outline = middle + 0.21 * length * long * a * bone + 0.68 * half * wide * b * across
        plate.fill(outline)
        rim.line(np.concatenate([outline, outline[:1]]), 1.0)
        if free:
            edge.fill(outline[(a > 1 - 2 * free)[:, 0]])
    return plate.blurred(0.5), edge.blurred(0.5), rim.blurred(0.6)


def draw_skin(
    rng: np.random.Generator, atlas: HandAtlas, tone: Float[ndarray, "3"], creases: float, veins: float, ring: bool
) -> tuple[Float[ndarray, "s s 3"], Float[ndarray, "s s 3"]]:
    """The textures of a person's palm and back, factors in linear light. tone: the back's colour, linear; creases, veins: their depth, 0 none;
    ring: whether a finger wears one."""
    rough = rng.uniform(0.02, 0.06)
    palm, back = (1 + rough * noise(rng, ATLAS_SIZE, 1, 1.5) + 0.6 * rough * noise(rng, ATLAS_SIZE, 3, 1.0) for _ in range(2))
    palm, back = (np.repeat(sheet[..., None], 3, axis=-1).astype(np.float32) for sheet in (palm, back))
    # Folds lose blue and green light first: what comes out of a crease has met skin twice.
    fold = np.float32([0.75, 1.0, 1.05])
    palm *= np.exp(-creases * _palm_lines(rng, atlas)[..., None] * fold)
    back *= np.exp(-0.8 * creases * _wrinkles(rng, atlas)[..., None] * fold)
    back *= np.exp(-veins * _veins(rng, atlas)[..., None] * np.float32([1.0, 0.55, 0.35]))
    plate, edge, rim = (share[..., None] for share in _nails(rng, atlas))
    # Nails show the rosy bed; varnish has its own colour.
    pink = tone + (np.array([0.80, 0.52, 0.46]) - tone) * rng.uniform(0.15, 0.5)
    varnish = to_linear(rng.uniform(0.05, 0.95, 3))
    nail = np.float32((varnish if rng.random() < 0.08 else pink) / tone)
    back += plate * (nail - back)
    back += edge * (np.float32(np.array([0.80, 0.76, 0.68]) * rng.uniform(0.6, 1.0) / tone) - back)
    back *= 1 - rng.uniform(0.1, 0.45) * rim
    for _ in range(rng.integers(0, 5)):  # moles and freckles
        sheet = back if rng.random() < 0.8 else palm
        column, row = (int(v) for v in rng.integers(ATLAS_SIZE // 8, 7 * ATLAS_SIZE // 8, 2))
        sheet[row : row + 2, column : column + int(rng.integers(1, 3))] *= rng.uniform(0.35, 0.8)
    finger = int(rng.choice([1, 4, 10, 7], p=[0.15, 0.25, 0.5, 0.1]))
    metal, place, thick = (
        to_linear(METALS[rng.integers(len(METALS))]) * rng.uniform(0.7, 1.1),
        rng.uniform(0.5, 0.68),
        int(rng.integers(2, 5)),
    )
    if ring:
        length = np.linalg.norm(atlas.tips[finger] - atlas.joints[finger])
        for sheet, side in ((palm, -1.0), (back, 1.0)):
            band = _Ink(atlas)
            quiet = np.random.default_rng(0)
            band.line(_crease(quiet, atlas, finger, place * length, 12.0, side), 1.0, thick)
            share = band.blurred(0.5)[..., None]
            sheet += share * (np.float32(metal / tone) - sheet)
    return palm, back
