"""Software rasteriser: triangle meshes to colour, face index and depth, on one CPU core, without a display.

Camera: OpenCV (x right, y down, z forward), `focal` (fx, fy) and `princpt` (cx, cy) in pixels of the picture,
integer coordinates at pixel centres. Vertices are camera-space millimetres.

Triangles are rasterised in homogeneous coordinates (Olano and Greer, "Triangle Scan Conversion using 2D
Homogeneous Coordinates", 1997): with the ray r = ((u - cx) / fx, (v - cy) / fy, 1) of a pixel and a
triangle's vertices p0, p1, p2, the solution of b0 p0 + b1 p1 + b2 p2 = r gives the coverage (all b >= 0), the
depth (1 / sum b) and the perspective-correct weights (b / sum b) at once, also for a triangle that reaches
behind the camera: nothing needs clipping, and what lies nearer than the near plane is dropped pixel by pixel.
"""

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float, Integer
from numba import njit
from numpy import ndarray

NEAR_MM = 20.0
_WIDE = 8  # pixels of a row from which on it pays to look for the edges in it

# `no_type_check` on compiled functions: a type checker that wraps functions, as the tests' does, would hide
# their code from the compiler.


class Buffers(NamedTuple):
    """What every pixel sees: the nearest face and where on it."""

    inv_depth: Float[ndarray, "h w"]  # 1 / mm, 0 where nothing is seen
    face: Integer[ndarray, "h w"]  # index of the face, -1 where nothing is seen
    weights: Float[ndarray, "h w 2"]  # of its second and third vertex, perspective-correct

    @classmethod
    def empty(cls, size: tuple[int, int]) -> "Buffers":
        """Buffers of a picture of `size` (H, W) that sees nothing yet."""
        face = np.full(size, -1, np.int32)
        return cls(np.zeros(size, np.float32), face, np.empty((*size, 2), np.float32))

    def clear(self) -> None:
        """Sees nothing again."""
        self.inv_depth.fill(0.0)
        self.face.fill(-1)


@njit(cache=True, nogil=True)
@no_type_check
def _between(edges, dv, cx, u_min, u_max):
    """The first and the last pixel of a row that may lie within a triangle's edges: where a wide row meets
    them, and a pixel more."""
    low, high = np.float64(u_min), np.float64(u_max)
    if u_max - u_min >= _WIDE:
        for a, b, c in edges:
            if a > 0.0:
                low = max(low, cx - (b * dv + c) / a - 1.0)
            elif a < 0.0:
                high = min(high, cx - (b * dv + c) / a + 1.0)
    return int(min(low, u_max + 1.0)), int(max(high, u_min - 1.0))


@njit(cache=True, nogil=True)
@no_type_check
def _rasterise(vertices, faces, fx, fy, cx, cy, inv_near, cull, first_face, inv_depth, face_index, weights):
    height, width = inv_depth.shape
    for f in range(faces.shape[0]):
        i0, i1, i2 = faces[f, 0], faces[f, 1], faces[f, 2]
        # x and y scaled to pixels: an edge function is then linear in (u - cx, v - cy) with the cross
        # products below.
        x0, y0, z0 = vertices[i0, 0] * fx, vertices[i0, 1] * fy, np.float64(vertices[i0, 2])
        x1, y1, z1 = vertices[i1, 0] * fx, vertices[i1, 1] * fy, np.float64(vertices[i1, 2])
        x2, y2, z2 = vertices[i2, 0] * fx, vertices[i2, 1] * fy, np.float64(vertices[i2, 2])
        nearest = 1.0 / inv_near
        if z0 < nearest and z1 < nearest and z2 < nearest:
            continue
        # Row k of e is the cross product of the two other vertices: e_k . (u - cx, v - cy, 1) = det * b_k.
        a0, b0, c0 = y1 * z2 - y2 * z1, z1 * x2 - z2 * x1, x1 * y2 - x2 * y1
        a1, b1, c1 = y2 * z0 - y0 * z2, z2 * x0 - z0 * x2, x2 * y0 - x0 * y2
        a2, b2, c2 = y0 * z1 - y1 * z0, z0 * x1 - z1 * x0, x0 * y1 - x1 * y0
        det = x0 * a0 + y0 * b0 + z0 * c0
        # det > 0: the outward normal (counter-clockwise faces) points away from the camera.
        if not np.isfinite(det) or det == 0.0 or (cull and det > 0.0):
            continue
        if det < 0.0:
            a0, b0, c0 = -a0, -b0, -c0
            a1, b1, c1 = -a1, -b1, -c1
            a2, b2, c2 = -a2, -b2, -c2
            det = -det
        if z0 >= nearest and z1 >= nearest and z2 >= nearest:
            u0, u1, u2 = x0 / z0 + cx, x1 / z1 + cx, x2 / z2 + cx
            v0, v1, v2 = y0 / z0 + cy, y1 / z1 + cy, y2 / z2 + cy
            # Clamped before the cast: a float far outside the integers casts to garbage.
            u_min = int(np.ceil(max(min(u0, u1, u2), 0.0) - 1e-6))
            u_max = int(np.floor(min(max(u0, u1, u2), width - 1.0) + 1e-6))
            v_min = int(np.ceil(max(min(v0, v1, v2), 0.0) - 1e-6))
            v_max = int(np.floor(min(max(v0, v1, v2), height - 1.0) + 1e-6))
        else:
            u_min, u_max = 0, width - 1
            v_min, v_max = 0, height - 1
        inv_det = 1.0 / det
        edges = ((a0, b0, c0), (a1, b1, c1), (a2, b2, c2))
        for v in range(v_min, v_max + 1):
            dv = v - cy
            r0, r1, r2 = b0 * dv + c0, b1 * dv + c1, b2 * dv + c2
            low, high = _between(edges, dv, cx, u_min, u_max)
            for u in range(low, high + 1):
                du = u - cx
                e0, e1, e2 = a0 * du + r0, a1 * du + r1, a2 * du + r2
                # Edges belong to both neighbours: no holes, and the depth test settles who is seen.
                if e0 < 0.0 or e1 < 0.0 or e2 < 0.0:
                    continue
                total = e0 + e1 + e2
                inv_z = total * inv_det
                if inv_z > inv_depth[v, u] and inv_z <= inv_near:
                    inv_depth[v, u] = inv_z
                    face_index[v, u] = first_face + f
                    weights[v, u, 0] = e1 / total
                    weights[v, u, 1] = e2 / total


@njit(cache=True, nogil=True)
@no_type_check
def _accumulate_normals(vertices, faces, normals):
    for f in range(faces.shape[0]):
        i0, i1, i2 = faces[f, 0], faces[f, 1], faces[f, 2]
        x, y, z = vertices[i0, 0], vertices[i0, 1], vertices[i0, 2]
        ax, ay, az = vertices[i1, 0] - x, vertices[i1, 1] - y, vertices[i1, 2] - z
        bx, by, bz = vertices[i2, 0] - x, vertices[i2, 1] - y, vertices[i2, 2] - z
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        for i in (i0, i1, i2):
            normals[i, 0] += nx
            normals[i, 1] += ny
            normals[i, 2] += nz
    for i in range(normals.shape[0]):
        length = max(np.sqrt(normals[i, 0] ** 2 + normals[i, 1] ** 2 + normals[i, 2] ** 2), 1e-12)
        for c in range(3):
            normals[i, c] /= length


@njit(cache=True, nogil=True)
@no_type_check
def _resolve(face_index, weights, faces, attributes, factor, out):
    """Mean over factor x factor samples; a sample that sees nothing shows what `out` holds."""
    height, width, channels = out.shape
    share = np.float32(1.0 / (factor * factor))
    sums = np.empty(channels, np.float32)
    for v in range(height):
        for u in range(width):
            sums[:] = 0.0
            seen = 0
            for sv in range(v * factor, (v + 1) * factor):
                for su in range(u * factor, (u + 1) * factor):
                    f = face_index[sv, su]
                    if f < 0:
                        continue
                    seen += 1
                    w1, w2 = weights[sv, su, 0], weights[sv, su, 1]
                    w0 = np.float32(1.0) - w1 - w2
                    i0, i1, i2 = faces[f, 0], faces[f, 1], faces[f, 2]
                    for c in range(channels):
                        first, second, third = attributes[i0, c], attributes[i1, c], attributes[i2, c]
                        sums[c] += w0 * first + w1 * second + w2 * third
            if seen > 0:
                rest = np.float32(1.0) - seen * share
                for c in range(channels):
                    out[v, u, c] = out[v, u, c] * rest + sums[c] * share


def _floats(array) -> np.ndarray:
    return np.ascontiguousarray(array, np.float32)


def _indices(array) -> np.ndarray:
    return np.ascontiguousarray(array, np.int32)


def vertex_normals(vertices: Float[ndarray, "v 3"], faces: Integer[ndarray, "f 3"]) -> Float[ndarray, "v 3"]:
    """Unit normals, area-weighted means over each vertex's faces; outward for counter-clockwise faces."""
    vertices = _floats(vertices)
    normals = np.zeros_like(vertices)
    _accumulate_normals(vertices, _indices(faces), normals)
    return normals


def supersampled_camera(focal, princpt, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """The camera of a picture with factor x factor samples per pixel; the pixels' borders coincide."""
    return np.asarray(focal, np.float64) * factor, (np.asarray(princpt, np.float64) + 0.5) * factor - 0.5


def rasterise(
    vertices: Float[ndarray, "v 3"],
    faces: Integer[ndarray, "f 3"],
    focal,
    princpt,
    size: tuple[int, int],
    *,
    cull: bool = False,
    into: Buffers | None = None,
    first_face: int = 0,
) -> Buffers:
    """Which face each pixel of a picture sees.

    vertices: camera space, mm; focal (fx, fy) and princpt (cx, cy) px; size (H, W). Nothing nearer than
    NEAR_MM is seen. `cull` skips faces whose outward side points away: faster, right for closed meshes only.
    `into`: buffers that hold other objects already; `first_face`: this mesh's offset in their faces.
    """
    buffers = Buffers.empty(size) if into is None else into
    assert buffers.face.shape == tuple(size), f"buffers {buffers.face.shape}, picture {tuple(size)}"
    fx, fy = (float(x) for x in focal)
    cx, cy = (float(x) for x in princpt)
    _rasterise(_floats(vertices), _indices(faces), fx, fy, cx, cy, 1.0 / NEAR_MM, cull, first_face, *buffers)
    return buffers


def shade(
    vertices: Float[ndarray, "v 3"],
    faces: Integer[ndarray, "f 3"],
    albedo,
    *,
    lights=((0.3, -0.6, -1.0),),
    intensities=None,
    ambient: float = 0.35,
    normals: Float[ndarray, "v 3"] | None = None,
) -> Float[ndarray, "v 3"]:
    """Lambert colours [V, 3] for `render`: albedo * (ambient + sum_k intensity_k * max(0, normal . light_k)),
    clipped to [0, 1].

    albedo: one RGB colour or [V, 3], in [0, 1]. lights [K, 3]: directions TOWARD each light, camera space, of
    any length. intensities: K numbers or RGB triples (default: 1 - ambient, shared evenly).
    """
    normals = vertex_normals(vertices, faces) if normals is None else _floats(normals)
    lights = np.atleast_2d(_floats(lights))
    lights = lights / np.linalg.norm(lights, axis=1, keepdims=True)
    if intensities is None:
        intensities = np.full(len(lights), (1.0 - ambient) / len(lights), np.float32)
    intensities = _floats(intensities).reshape(len(lights), -1)
    diffuse = np.maximum(normals @ lights.T, 0.0) @ intensities
    lit = np.broadcast_to(_floats(albedo), normals.shape) * (ambient + diffuse)
    return np.clip(lit, 0.0, 1.0).astype(np.float32)


def render(
    vertices: Float[ndarray, "v 3"],
    faces: Integer[ndarray, "f 3"],
    colours,
    focal,
    princpt,
    size: tuple[int, int],
    *,
    background: Float[ndarray, "h w 3"] | None = None,
    antialias: int = 1,
) -> Float[ndarray, "h w 3"]:
    """Colours [H, W, 3] of a mesh drawn over `background` (black by default).

    vertices: camera space, mm; colours [V, 3] or one RGB triple, in any range, which is that of the result;
    focal (fx, fy) and princpt (cx, cy) px; size (H, W); antialias x antialias samples a pixel. Raises
    ValueError when `antialias` is less than 1.
    """
    if antialias < 1:
        raise ValueError(f"antialias must be a whole number of samples, 1 or more, not {antialias}")
    vertices, faces = _floats(vertices), _indices(faces)
    colours = _floats(np.broadcast_to(_floats(colours), vertices.shape))
    height, width = size
    canvas = np.zeros((height, width, 3), np.float32) if background is None else _floats(background).copy()
    assert canvas.shape == (height, width, 3), f"background {canvas.shape}, picture {(height, width, 3)}"
    camera = supersampled_camera(focal, princpt, antialias)
    samples = rasterise(vertices, faces, *camera, (height * antialias, width * antialias))
    _resolve(samples.face, samples.weights, faces, colours, antialias, canvas)
    return canvas
