"""Things made of triangles: boxes, bottles, balls, sheets."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from numpy import ndarray

from tempohand.render import vertex_normals


class Mesh(NamedTuple):
    """A closed thing about its own origin, mm: faces counter-clockwise from outside, unit normals, texture
    coordinates (one texture = 0..1)."""

    vertices: Float[ndarray, "v 3"]
    faces: Integer[ndarray, "f 3"]
    normals: Float[ndarray, "v 3"]
    uv: Float[ndarray, "v 2"]


def box(size: Float[ndarray, "3"]) -> Mesh:
    """A box of the given edges."""
    corners, faces = [], []
    normals, uv = [], []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            across, up = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
            square = [
                sign * np.eye(3)[axis] + i * across + j * up for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))
            ]
            first = len(corners)
            corners += square
            for a, b in ((1, 2), (2, 3)) if sign > 0 else ((2, 1), (3, 2)):
                faces.append((first, first + a, first + b))
            normals += [sign * np.eye(3)[axis]] * 4
            uv += [(0, 0), (1, 0), (1, 1), (0, 1)]
    return Mesh(
        np.array(corners) * np.asarray(size) / 2, np.array(faces), np.array(normals), np.array(uv, float)
    )


def lathe(profile: list[tuple[float, float]], segments: int = 20) -> Mesh:
    """A body of revolution about y. profile: (radius, y) from its lowest y to its highest; radius 0 at both
    ends closes it."""
    radius, y = np.array(profile, float).T
    turn = np.linspace(0.0, 2 * np.pi, segments + 1)
    ring = np.stack([np.cos(turn), np.zeros_like(turn), np.sin(turn)], 1)
    vertices = (radius[:, None, None] * ring + y[:, None, None] * [0.0, 1.0, 0.0]).reshape(-1, 3)
    i, j = (x.ravel() for x in np.meshgrid(np.arange(len(profile) - 1), np.arange(segments), indexing="ij"))
    a = i * (segments + 1) + j
    c = a + segments + 1
    faces = np.concatenate([np.stack([a, c, a + 1], 1), np.stack([a + 1, c, c + 1], 1)])
    height = np.ptp(y)
    uv = np.stack(
        [
            np.tile(turn / np.pi, len(profile)),
            np.repeat((y - y.min()) / height, segments + 1),
        ],
        1,
    )
    normals = vertex_normals(vertices, faces)
    # The seam has two columns of vertices in one place: give both the mean.
    seam = np.arange(len(profile)) * (segments + 1)
    mean = normals[seam] + normals[seam + segments]
    normals[seam] = normals[seam + segments] = mean / np.maximum(
        np.linalg.norm(mean, axis=1, keepdims=True), 1e-9
    )
    return Mesh(vertices, faces, normals, uv)


def cylinder(radius: float, height: float, top: float = 1.0) -> Mesh:
    """A cylinder or cone stump about y, its upper radius `top` times the lower one."""
    h, upper = height / 2, radius * top
    # Rings at the rims are doubled (and a hair apart), so that the ends are flat and the rim is an edge.
    return lathe(
        [(0, -h), (radius * 0.97, -h), (radius, -h * 0.985), (upper, h * 0.985), (upper * 0.97, h), (0, h)]
    )


def bottle(radius: float, height: float, rng: np.random.Generator) -> Mesh:
    """A bottle: body, shoulder, neck, cap."""
    neck, shoulder = radius * rng.uniform(0.3, 0.6), rng.uniform(0.5, 0.75)
    places = [
        (0, 0),
        (0.96, 0),
        (1, 0.02),
        (1, shoulder),
        (0.85, shoulder + 0.06),
        (neck / radius, shoulder + 0.16),
        (neck / radius, 0.97),
        (0, 1),
    ]
    return lathe([(r * radius, (y - 0.5) * height) for r, y in places])


def ball(radius: float, rng: np.random.Generator | None = None) -> Mesh:
    """A ball; with `rng` a lump: a ball with smooth random dents."""
    turn = np.linspace(-np.pi / 2, np.pi / 2, 11)
    mesh = lathe([(np.cos(angle) * radius, np.sin(angle) * radius) for angle in turn])
    if rng is None:
        return mesh
    waves, phase = rng.normal(size=(3, 3)) * 1.5, rng.uniform(0, 6.3, 3)
    swell = 1.0 + 0.13 * np.sin(mesh.normals @ waves.T + phase).sum(1, keepdims=True)
    vertices = mesh.vertices * swell * rng.uniform(0.6, 1.2, 3)
    return mesh._replace(vertices=vertices, normals=vertex_normals(vertices, mesh.faces))


def sheet(width: float, height: float, bend: float) -> Mesh:
    """A book, board or sheet of paper, bent about y by `bend` (fraction of its width)."""
    n = 6
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, n), [-0.5, 0.5])
    z = bend * width * (4 * x**2 - 0.5)
    front = np.stack([x * width, y * height, z - 1.5], -1).reshape(-1, 3)
    back = front + [0, 0, 3.0]
    i = np.arange(n - 1)
    quads = np.concatenate([np.stack([i, i + n, i + 1], 1), np.stack([i + 1, i + n, i + n + 1], 1)])
    faces = np.concatenate([quads, quads[:, ::-1] + 2 * n])
    vertices = np.concatenate([front, back])
    uv = np.stack([x + 0.5, y + 0.5], -1).reshape(-1, 2)
    return Mesh(vertices, faces, vertex_normals(vertices, faces), np.concatenate([uv, uv]))
