"""Light on a scene: far lights and the surroundings' on vertices, cast shadows, and dark gaps."""

from typing import no_type_check

import cv2
import numpy as np
from jaxtyping import Float
from numba import njit
from numpy import ndarray

from tempohand.render import Buffers, rasterise


class Lights:
    """A few far lights and the light of the surroundings, drawn once a sequence.

    directions [K, 3]: unit vectors toward each light, camera space; colours [K, 3]; shadow: how much of light
    0 is missing where something is in its way."""

    def __init__(self, rng: np.random.Generator):
        count = int(rng.integers(1, 4))
        # Toward the light: mostly from above and from the camera's side.
        directions = rng.normal(0, 1, (count, 3)) * [1.0, 0.7, 0.7] + [0.0, -0.8, -0.9]
        self.directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        warmth = rng.normal(0, 0.12, (count, 1)) * [1.0, 0.0, -1.0]
        share = rng.dirichlet(np.full(count, 2.0))
        share[::-1].sort()  # light 0 is the strongest: it casts the shadow
        ambient = rng.uniform(0.2, 0.6)
        strength = rng.uniform(0.75, 1.2)
        self.colours = np.exp(warmth) * share[:, None] * strength * (1 - ambient) * 1.5
        sky = rng.uniform(0.9, 1.1, 3)
        self.sky = ambient * strength * sky
        self.ground = ambient * strength * rng.uniform(0.35, 0.95) * rng.uniform(0.85, 1.1, 3)
        up = np.array([0.0, -1.0, 0.0]) + rng.normal(0, 0.4, 3)
        self.up = up / np.linalg.norm(up)
        self.shadow = rng.uniform(0.3, 0.95)

    def ambient(self, normals: Float[ndarray, "v 3"]) -> Float[ndarray, "v 3"]:
        """Light of the surroundings on surfaces of these normals: from above and from below."""
        x, y, z = normals.T.astype(np.float64)
        height = 0.5 + 0.5 * (x * self.up[0] + y * self.up[1] + z * self.up[2])
        return self.ground + (self.sky - self.ground) * height[:, None]


@njit(cache=True)
@no_type_check
def light_vertices(albedo, normals, view, directions, colours, wrap, ambient, shadow, openness, gloss, out):
    """Lit colours [V, 3] (linear): the surroundings' light, wrapped Lambert per channel (light that enters
    skin leaves it redder), a highlight.

    albedo, normals, view (unit, toward the camera) [V, 3]; directions [K, 3] toward each light; colours [K,
    3]; wrap [V, 3] (0: plain Lambert); ambient [V, 3]: the surroundings' light; shadow [V]: how much of light
    0 arrives; openness [V]: how much of all other light arrives; gloss [V].
    """
    for i in range(albedo.shape[0]):
        for c in range(3):
            out[i, c] = ambient[i, c] * openness[i]
        shine = 0.0
        for k in range(directions.shape[0]):
            facing = (
                normals[i, 0] * directions[k, 0]
                + normals[i, 1] * directions[k, 1]
                + normals[i, 2] * directions[k, 2]
            )
            arrives = shadow[i] if k == 0 else openness[i]
            for c in range(3):
                w = wrap[i, c]
                out[i, c] += arrives * colours[k, c] * max(0.0, (facing + w) / (1.0 + w))
            hx, hy, hz = (
                directions[k, 0] + view[i, 0],
                directions[k, 1] + view[i, 1],
                directions[k, 2] + view[i, 2],
            )
            half = (normals[i, 0] * hx + normals[i, 1] * hy + normals[i, 2] * hz) / max(
                np.sqrt(hx * hx + hy * hy + hz * hz), 1e-6
            )
            if half > 0.0 and facing > 0.0:
                shine += arrives * colours[k, 1] * half**24
        for c in range(3):
            out[i, c] = out[i, c] * albedo[i, c] + gloss[i] * shine


@njit(cache=True)
@no_type_check
def _shadow_lookup(inv_depth, u, v, inv_z, bias, out):
    height, width = inv_depth.shape
    for i in range(len(u)):
        lit, taps = 0.0, 0.0
        for dv in range(-1, 2):
            for du in range(-1, 2):
                x, y = int(u[i] + 0.5) + du, int(v[i] + 0.5) + dv
                if x < 0 or y < 0 or x >= width or y >= height:
                    continue
                taps += 1.0
                if 1.0 / max(inv_depth[y, x], 1e-9) > 1.0 / inv_z[i] - bias:
                    lit += 1.0
        out[i] = lit / taps if taps > 0.0 else 1.0


def cast_shadow(
    vertices: Float[ndarray, "v 3"],
    faces: ndarray,
    receivers: int,
    direction: Float[ndarray, "3"],
    depth: float,
    size: int = 96,
) -> Float[ndarray, "receivers"]:
    """How much of a far light in `direction` reaches each of the first `receivers` vertices: 1 all, 1 - depth
    none (a shadow map)."""
    centre = vertices[:receivers].mean(0)
    z = -direction
    x = np.cross([0.31, 0.9, 0.3], z)
    x /= np.linalg.norm(x)
    frame = np.stack([x, np.cross(z, x), z])
    seen = (vertices - centre) @ frame.T + [0, 0, 5000.0]
    reach = np.abs(seen[:receivers, :2]).max() * 1.02
    focal, middle = size / 2 / reach * 5000.0, (size - 1) / 2
    buffers = rasterise(seen, faces, (focal, focal), (middle, middle), (size, size))
    uv = seen[:receivers, :2] / seen[:receivers, 2:] * focal + middle
    lit = np.empty(receivers, np.float32)
    _shadow_lookup(
        buffers.inv_depth, uv[:, 0], uv[:, 1], 1 / seen[:receivers, 2], 4.0 + 2.0 * reach / size, lit
    )
    return 1.0 - depth * (1.0 - lit)


def crevices(buffers: Buffers, factor: int, radius: float, strength: float) -> Float[ndarray, "h w"]:
    """Darkening 0..1 of what lies deeper than its surroundings, between fingers and behind things (depth
    darkening: Luft, Colditz and Deussen, "Image Enhancement by Unsharp Masking the Depth Buffer", 2006).
    radius in pixels; strength per mm, 1 at none."""
    inv_depth = buffers.inv_depth[factor // 2 :: factor, factor // 2 :: factor]
    seen = (inv_depth > 0).astype(np.float32)
    depth = seen / np.maximum(inv_depth, 1e-9)
    edge = 2 * int(radius) + 1
    near = cv2.blur(depth, (edge, edge)) / np.maximum(cv2.blur(seen, (edge, edge)), 1e-4)
    behind = np.maximum(depth - near, 0) * seen
    return np.exp(-strength * np.minimum(behind, 40.0)).astype(np.float32)
