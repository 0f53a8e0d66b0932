"""What is drawn on the skin: flexion creases, palm lines, knuckle wrinkles, nails, veins, moles, a ring;
finer than the hand's vertices.

Two square textures, palm and back, are the hand at rest seen from below and from above (planar coordinates x
and z). They are factors on the skin's colour, in linear light.
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
# Half a finger's width at each of MANO's joints.
WIDTH_MM = np.array([0.0] + [8.5] * 6 + [7.0] * 3 + [8.0] * 3 + [10.0] * 3)
TIP_OF = dict(zip(LAST_JOINTS, FINGER_TIPS))
# Palm lines through weighted joints (wrist 0, MCPs of index 1, middle 4, pinky 7, ring 10, thumb's base 13
# and MCP 14).
PALM_LINES = (
    (
        {1: 0.8, 14: 0.2},
        {1: 0.5, 14: 0.3, 0: 0.1, 10: 0.1},
        {4: 0.45, 0: 0.4, 13: 0.15},
        {4: 0.2, 0: 0.8},
    ),  # about the thumb's ball
    (
        {1: 0.8, 14: 0.2},
        {4: 0.62, 0: 0.28, 1: 0.1},
        {10: 0.55, 0: 0.45},
        {7: 0.55, 0: 0.45},
    ),  # across the middle
    (
        {7: 1.05, 0: 0.1, 4: -0.15},
        {10: 0.86, 0: 0.14},
        {4: 0.93, 0: 0.07},
        {1: 0.55, 4: 0.5, 0: -0.05},
    ),  # under the fingers
)
METALS = (
    np.array([(222, 190, 110), (200, 200, 205), (150, 150, 155), (215, 160, 130), (40, 40, 42)], float) / 255
)


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

    def texels(self, points: Float[ndarray, "*n 3"]) -> Integer[ndarray, "*n 2"]:
        """Points on the hand at rest, mm, as cv2's fixed-point texels."""
        uv = (points[..., [0, 2]] - self.middle) / ATLAS_MM + 0.5
        return np.rint((uv * ATLAS_SIZE - 0.5) * 2**SHIFT).astype(np.int32)


def _frames() -> Float[ndarray, "16 3 3"]:
    """Unit vectors at each joint of the hand at rest: along the bone, across it, out of its back; zero for
    the wrist."""
    bones, across = AXES[:, TWIST], AXES[:, FLEXION].copy()
    across[12:] = np.cross(THUMB_BACK, bones[12:])  # the thumb's nail looks up more than its joints' axes say
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    frames = np.stack([bones, across, np.cross(bones, across)], axis=1)
    return np.concatenate([np.zeros((1, 3, 3)), frames])


FRAMES = _frames()
# Palm creases: one where a finger leaves the palm, beyond its knuckle, two at its middle joint, one at its
# last; the thumb's base has two.
PALM_CREASES = np.array(
    [1, 4, 7, 10, 13, 13] + [joint for last in LAST_JOINTS for joint in (last - 1, last - 1, last)]
)
# mm from the joint toward the tip
PALM_PLACES = np.array([18.0, 19.0, 13.5, 18.0, -1.5, 1.5] + [-1.5, 1.5, 0.0] * 5)
# Joints with wrinkles on the back.
WRINKLED = np.array([joint for last in LAST_JOINTS for joint in [last - 1] * 4 + [last] * 2] + [13, 13])


class _Ink:
    """An 8-bit sheet over a texture, to draw on."""

    def __init__(self, atlas: HandAtlas):
        self.atlas, self.sheet = atlas, np.zeros((ATLAS_SIZE, ATLAS_SIZE), np.uint8)

    def lines(self, points: Float[ndarray, "n k 3"], shades: Float[ndarray, "n"], thickness: int = 1) -> None:
        for line, shade in zip(self.atlas.texels(points), shades):
            cv2.polylines(self.sheet, [line], False, int(255 * shade), thickness, cv2.LINE_AA, SHIFT)

    def fill(self, points: Float[ndarray, "n 3"], shade: float = 1.0) -> None:
        cv2.fillPoly(self.sheet, [self.atlas.texels(points)], int(255 * shade), cv2.LINE_AA, SHIFT)

    def blurred(self, sigma: float) -> Float[ndarray, "s s"]:
        return cv2.GaussianBlur(self.sheet, (0, 0), sigma).astype(np.float32) / 255


def _creases(
    rng: np.random.Generator,
    atlas: HandAtlas,
    joint: Integer[ndarray, "n"],
    along: Float[ndarray, "n"],
    half: Float[ndarray, "n"],
    side: float,
) -> Float[ndarray, "n 5 3"]:
    """Lines across fingers, each `along` mm from a joint toward the tip and 2 `half` mm long, on the back
    (side 1) or the palm side (-1)."""
    s = np.linspace(-1.0, 1.0, 5)
    n, half = len(joint), half[:, None, None]
    wave = (
        rng.normal(0.0, 0.35, (n, 5))
        + rng.normal(0.0, 0.5, (n, 1)) * s
        + rng.normal(0.0, 0.6, (n, 1)) * (1 - s * s)
    )
    bone, across, back = FRAMES[joint].transpose(1, 0, 2)[:, :, None]
    # The surface curves away: its edge lies below its middle.
    round_ = side * half * np.sqrt(1 - 0.85 * s * s)[:, None]
    return (
        atlas.joints[joint][:, None]
        + (along[:, None] + wave)[..., None] * bone
        + half * s[:, None] * across
        + round_ * back
    )


def _curves(points: Float[ndarray, "n 4 3"]) -> Float[ndarray, "n 24 3"]:
    """Smooth curves near four points each: cubic Bezier curves, the inner control points moved so that they
    pass close to them."""
    a, b, c, d = (points[:, k : k + 1] for k in range(4))
    b, c = b + 0.5 * (b - (2 * a + d) / 3), c + 0.5 * (c - (a + 2 * d) / 3)
    t = np.linspace(0, 1, 24)[:, None]
    return (1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * b + 3 * t * t * (1 - t) * c + t**3 * d


def _palm_lines(rng: np.random.Generator, atlas: HandAtlas) -> Float[ndarray, "s s"]:
    ink, count = _Ink(atlas), len(PALM_CREASES)
    creases = _creases(
        rng, atlas, PALM_CREASES, PALM_PLACES + rng.normal(0, 0.5, count), 1.05 * WIDTH_MM[PALM_CREASES], -1.0
    )
    ink.lines(creases, rng.uniform(0.4, 1.0, count))
    points = np.array(
        [
            [sum(weight * atlas.joints[joint] for joint, weight in point.items()) for point in line]
            for line in PALM_LINES
        ]
    )
    ink.lines(
        _curves(points + rng.normal(0.0, 2.0, points.shape)),
        rng.uniform(0.5, 1.0, len(points)),
        int(rng.integers(1, 3)),
    )
    small = int(rng.integers(3, 9))  # anywhere on the palm
    middle = rng.dirichlet(np.ones(6), small) @ atlas.joints[[0, 1, 4, 7, 10, 13]]
    points = (
        middle[:, None]
        + np.linspace(-1, 1, 4)[:, None] * rng.normal(0, 7.0, (small, 1, 3))
        + rng.normal(0, 1.0, (small, 4, 3))
    )
    ink.lines(_curves(points), rng.uniform(0.15, 0.6, small))
    return ink.blurred(0.7)


def _wrinkles(rng: np.random.Generator, atlas: HandAtlas) -> Float[ndarray, "s s"]:
    ink, count = _Ink(atlas), len(WRINKLED)
    half = WIDTH_MM[WRINKLED] * rng.uniform(0.5, 0.9, count)
    ink.lines(
        _creases(rng, atlas, WRINKLED, rng.normal(0.0, 2.5, count), half, 1.0), rng.uniform(0.1, 0.9, count)
    )
    return ink.blurred(0.7)


def _veins(rng: np.random.Generator, atlas: HandAtlas) -> Float[ndarray, "s s"]:
    """From the wrist to the gaps between the knuckles."""
    ink, knuckles = _Ink(atlas), atlas.joints[[1, 4, 10, 7]]
    count = int(rng.integers(3, 6))
    gap = rng.uniform(0.0, 3.0, count)
    far = np.stack([np.interp(gap, np.arange(4), knuckles[:, axis]) for axis in range(3)], axis=1)[:, None]
    near = atlas.joints[0] + rng.uniform([-15, 0, -20], [5, 0, 20], (count, 3))[:, None]
    points = near + np.linspace(0, 0.95, 4)[:, None] * (far - near) + rng.normal(0, 5.0, (count, 4, 3))
    ink.lines(_curves(points), rng.uniform(0.3, 1.0, count), int(rng.integers(2, 4)))
    return ink.blurred(1.6)


def _nails(
    rng: np.random.Generator, atlas: HandAtlas
) -> tuple[Float[ndarray, "s s"], Float[ndarray, "s s"], Float[ndarray, "s s"]]:
    """Shares of nail, of its white free edge, and of the dark line about it."""
    plate, edge, rim = (_Ink(atlas) for _ in range(3))
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)[:, None]
    long, wide = rng.uniform(0.8, 1.15), rng.uniform(0.85, 1.05)
    free = rng.uniform(0.0, 0.35) if rng.random() < 0.6 else 0.0
    for last in LAST_JOINTS:
        (bone, across, back), half = FRAMES[last], WIDTH_MM[last]
        length = np.linalg.norm(atlas.tips[last] - atlas.joints[last])
        middle = atlas.joints[last] + 0.69 * length * bone + 0.5 * half * back
        # A rounded rectangle: cosines drawn toward +-1.
        a, b = (np.sign(w) * np.abs(w) ** 0.6 for w in (np.cos(turn), np.sin(turn)))
        outline = middle + 0.21 * length * long * a * bone + 0.68 * half * wide * b * across
        plate.fill(outline)
        rim.lines(np.concatenate([outline, outline[:1]])[None], np.ones(1))
        if free:
            edge.fill(outline[(a > 1 - 2 * free)[:, 0]])
    return plate.blurred(0.5), edge.blurred(0.5), rim.blurred(0.6)


def draw_skin(
    rng: np.random.Generator,
    atlas: HandAtlas,
    tone: Float[ndarray, "3"],
    creases: float,
    veins: float,
    ring: bool,
    *,
    nails: bool = True,
) -> tuple[Float[ndarray, "s s 3"], Float[ndarray, "s s 3"]]:
    """The textures of a person's palm and back, factors in linear light. tone: the back's colour, linear;
    creases, veins: their depth, 0 none; ring: whether a finger wears one; nails: whether they are drawn."""
    rough = rng.uniform(0.02, 0.06)
    grain = np.float32(rough) * (
        noise(rng, ATLAS_SIZE, 1, 1.5) + np.float32(0.6) * noise(rng, ATLAS_SIZE, 3, 1.0)
    )
    # Folds lose blue and green light first: what comes out of a crease has met skin twice.
    fold, vein = np.array([[0.75, 1.0, 1.05], [1.0, 0.55, 0.35]], np.float32)
    palm = np.exp(grain[..., None] - np.float32(creases) * _palm_lines(rng, atlas)[..., None] * fold)
    wrinkles = np.float32(0.8 * creases) * _wrinkles(rng, atlas)
    veined = np.float32(veins) * _veins(rng, atlas)
    back = np.exp(grain[::-1, :, None] - wrinkles[..., None] * fold - veined[..., None] * vein)
    plate, edge, rim = (share[..., None] for share in _nails(rng, atlas))
    # Nails show the rosy bed; varnish has its own colour.
    pink = tone + (np.array([0.80, 0.52, 0.46]) - tone) * rng.uniform(0.15, 0.5)
    varnish = to_linear(rng.uniform(0.05, 0.95, 3))
    nail = np.float32((varnish if rng.random() < 0.08 else pink) / tone)
    plate, edge, rim = (np.float32(nails) * share for share in (plate, edge, rim))
    back += plate * (nail - back)
    back += edge * (np.float32(np.array([0.80, 0.76, 0.68]) * rng.uniform(0.6, 1.0) / tone) - back)
    back *= 1 - np.float32(rng.uniform(0.1, 0.45)) * rim
    for _ in range(rng.integers(0, 5)):  # moles and freckles
        sheet = back if rng.random() < 0.8 else palm
        column, row = (int(v) for v in rng.integers(ATLAS_SIZE // 8, 7 * ATLAS_SIZE // 8, 2))
        sheet[row : row + 2, column : column + int(rng.integers(1, 3))] *= rng.uniform(0.35, 0.8)
    finger = int(rng.choice([1, 4, 10, 7], p=[0.15, 0.25, 0.5, 0.1]))
    metal = to_linear(METALS[rng.integers(len(METALS))]) * rng.uniform(0.7, 1.1)
    place = rng.uniform(0.5, 0.68)
    thick = int(rng.integers(2, 5))
    if ring:
        length = np.linalg.norm(atlas.tips[finger] - atlas.joints[finger])
        for sheet, side in ((palm, -1.0), (back, 1.0)):
            band = _Ink(atlas)
            quiet = np.random.default_rng(0)  # the ring's form must not change later draws
            where = np.array([finger]), np.array([place * length]), np.array([12.0])
            band.lines(_creases(quiet, atlas, *where, side), np.ones(1), thick)
            share = band.blurred(0.5)[..., None]
            sheet += share * (np.float32(metal / tone) - sheet)
    return palm, back
