"""Skin: tones over the whole human range, paler palms, nails, creases, blotches, one RGB albedo per vertex of
the hand."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from tempohand.hand.layer import HandLayer
from tempohand.render import vertex_normals

# sRGB of skin from the palest to the darkest, about those of the Monk Skin Tone scale (Monk, 2019) in the
# light of a room.
TONES = (
    np.array(
        [
            (246, 218, 200),
            (232, 190, 164),
            (212, 163, 130),
            (184, 132, 98),
            (146, 98, 70),
            (105, 68, 48),
            (68, 45, 34),
        ],
        float,
    )
    / 255
)
# Vertices at the fingertips, in the order of MANO's last joints below: thumb, index, middle, pinky, ring.
FINGER_TIPS = (744, 320, 443, 671, 554)
LAST_JOINTS = (15, 3, 6, 9, 12)
THUMB_BACK = (0.25, 0.75, 0.60)  # about where the thumb's nail looks


def to_linear(srgb):
    """Linear light of sRGB values, both 0..1 (IEC 61966-2-1)."""
    srgb = np.asarray(srgb, float)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def to_srgb(linear):
    """sRGB values of linear light, both 0..1: the inverse of `to_linear`."""
    linear = np.asarray(linear, float)
    return np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    )


@dataclass(frozen=True)
class SkinMap:
    """Where on the template hand what is: computed once."""

    palm: Float[ndarray, "778"]  # 1 on the palm side, 0 on the back, smooth between
    nail: Bool[ndarray, "778"]
    crease: Float[ndarray, "778"]  # 1 at the lines where joints fold the skin
    tip: Float[ndarray, "778"]  # 1 at fingertips and knuckles, where blood shows
    uv: Float[ndarray, "778 2"]  # planar texture coordinates, one texture = 64 mm
    rest: Float[ndarray, "778 3"]  # template, mm

    @classmethod
    def of(cls, layer: HandLayer) -> "SkinMap":
        """The map of a hand model (MANO's frame: back of the hand +y)."""
        rest, faces = layer.template.numpy().astype(float), layer.faces.numpy()
        joints, weights = layer.rest_joints.numpy().astype(float), layer.weights.numpy()
        normals = vertex_normals(rest, faces)
        up = normals[:, 1].astype(float)
        owner = weights.argmax(1)
        nail, tip = np.zeros(len(rest), bool), np.zeros(len(rest))
        for last, vertex in zip(LAST_JOINTS, FINGER_TIPS):
            bone = rest[vertex] - joints[last]
            length = np.linalg.norm(bone)
            along = (rest - joints[last]) @ bone / length**2
            back = up if last != 15 else normals @ _thumb_back(bone / length)
            nail |= (owner == last) & (along > 0.45) & (along < 0.95) & (back > 0.75)
            tip = np.maximum(tip, (owner == last) * np.clip((along - 0.4) / 0.5, 0, 1))
        crease = np.zeros(len(rest))
        for joint in range(1, 16):
            gap = np.linalg.norm(rest - joints[joint], axis=1)
            child = joints[joint + 1] if joint % 3 else rest[FINGER_TIPS[LAST_JOINTS.index(joint)]]
            bone = child - joints[joint]
            along = (rest - joints[joint]) @ bone / np.linalg.norm(bone)
            crease = np.maximum(crease, np.exp(-((along / 2.2) ** 2)) * (gap < 18))
        knuckle = np.exp(
            -((np.linalg.norm(rest[:, None] - joints[[1, 4, 7, 10]], axis=-1).min(1) / 16) ** 2)
        ) * (up > 0.3)
        palm = np.clip(0.5 - 0.9 * up, 0.0, 1.0)
        return cls(palm, nail, crease, np.maximum(tip, 0.7 * knuckle), rest[:, [0, 2]] / 64.0, rest)


def _thumb_back(bone: Float[ndarray, "3"]) -> Float[ndarray, "3"]:
    back = np.array(THUMB_BACK)
    back = back - bone * (bone @ back)
    return back / np.linalg.norm(back)


def skin_colours(
    rng: np.random.Generator, skin: SkinMap
) -> tuple[Float[ndarray, "778 3"], Float[ndarray, "3"]]:
    """Albedo (linear RGB) of every hand vertex of one person, and of the arm."""
    place = rng.random() * (len(TONES) - 1)
    low = int(place)
    tone = TONES[low] + (place - low) * (TONES[min(low + 1, len(TONES) - 1)] - TONES[low])
    tone = np.clip(tone * (1 + rng.normal(0, 0.035, 3)) * rng.uniform(0.92, 1.06), 0.02, 0.97)
    dark = place / (len(TONES) - 1)
    # The palm has little melanin whatever the skin: it stays rosy and pale.
    pale = np.array([0.90, 0.68, 0.58]) * rng.uniform(0.92, 1.05)
    palm = tone + (pale - tone) * (0.2 + 0.42 * dark) * rng.uniform(0.6, 1.1)
    colours = tone + (palm - tone) * skin.palm[:, None]
    redness = rng.uniform(0.02, 0.12)
    colours = colours * (1 + redness * skin.tip[:, None] * [0.6, -0.8, -0.7])
    colours = colours * (1 - rng.uniform(0.05, 0.28) * skin.crease[:, None] * [0.7, 1.0, 1.0])
    nail = np.clip(palm * 0.6 + 0.4 * np.array([0.93, 0.75, 0.72]), 0, 1)
    if rng.random() < 0.12:  # varnish
        nail = rng.uniform(0.05, 0.9, 3)
    colours = np.where(skin.nail[:, None], nail, colours)
    # Blotches: a few smooth waves through the hand.
    waves, phase = rng.normal(0, 0.06, (6, 3)), rng.uniform(0, 6.3, 6)
    blotch = np.sin(skin.rest @ waves.T + phase).mean(1, keepdims=True)
    colours = colours * (1 + rng.uniform(0.02, 0.12) * blotch * [0.6, 1.0, 1.0])
    return to_linear(np.clip(colours, 0.0, 1.0)), to_linear(np.clip(tone, 0.0, 1.0))
