import numpy as np

from tempohand.render import rasterise
from tempohand.synthetic.lighting import Lights, cast_shadow, crevices, light_vertices
from tempohand.synthetic.objects import sheet


def lit(normals, wrap=0.0, gloss=0.0, shadow=1.0, albedo=(1.0, 0.5, 0.25)):
    n = len(normals)
    out = np.empty((n, 3), np.float32)
    lights = Lights(np.random.default_rng(0))
    lights.sky, lights.ground, lights.up = np.full(3, 0.2), np.full(3, 0.1), np.array([0.0, -1.0, 0.0])
    ambient = lights.ambient(np.float32(normals))
    light_vertices(
        *(np.tile(np.float32(albedo), (n, 1)), np.float32(normals), np.tile([0.0, 0.0, -1.0], (n, 1))),
        *(np.array([[0.0, 0.0, -1.0]]), np.array([[1.0, 1.0, 1.0]]), np.full((n, 3), wrap, np.float32)),
        *(ambient, np.full(n, shadow, np.float32), np.ones(n, np.float32)),
        *(np.full(n, gloss, np.float32), out),
    )
    return out


def test_light_on_vertices():
    normals = np.array([[0, 0, -1], [0, 0, 1], [0, -1, 0], [0, 1, 0]], float)
    np.testing.assert_allclose(
        lit(normals)[:, 0], [0.15 + 1, 0.15, 0.2, 0.1], atol=1e-6
    )  # facing, away, up to the sky, down to the ground
    np.testing.assert_allclose(lit(normals)[:, 1], lit(normals)[:, 0] / 2, atol=1e-6)
    np.testing.assert_allclose(lit(normals, shadow=0.0)[0, 0], 0.15, atol=1e-6)
    assert (
        lit(normals, wrap=0.3)[2, 0] > lit(normals)[2, 0]
        and lit(normals, gloss=0.5)[0, 0] > lit(normals)[0, 0]
    )


def test_a_plate_shadows_what_is_behind_it():
    below, above = sheet(200.0, 200.0, 0.0), sheet(60.0, 60.0, 0.0)
    vertices = np.concatenate([below.vertices + [0, 0, 500], above.vertices + [0, 0, 400]])
    faces = np.concatenate([below.faces, above.faces + len(below.vertices)])
    grid = np.stack(
        [*np.meshgrid(np.linspace(-90, 90, 19), np.linspace(-90, 90, 19)), np.full((19, 19), 495.0)], -1
    ).reshape(-1, 3)
    everything, count = np.concatenate([grid, vertices]), len(grid)
    arrives = cast_shadow(everything, faces + count, count, np.array([0.0, 0.0, -1.0]), 0.8)
    inside, outside = np.abs(grid[:, :2]).max(1) < 25, np.abs(grid[:, :2]).max(1) > 35
    np.testing.assert_allclose(arrives[inside], 0.2, atol=1e-6)
    np.testing.assert_allclose(arrives[outside], 1.0, atol=1e-6)


def test_crevices_darken_what_lies_deeper_only():
    near, far = sheet(60.0, 200.0, 0.0), sheet(300.0, 300.0, 0.0)
    vertices = np.concatenate([near.vertices + [0, 0, 480], far.vertices + [0, 0, 500]])
    faces = np.concatenate([near.faces, far.faces + len(near.vertices)])
    buffers = rasterise(vertices, faces, (300, 300), (49.5, 49.5), (100, 100))
    dark = crevices(buffers, 1, 5, 0.03)
    assert dark[50, 50] == 1.0 and dark[50, 70] < 0.85 and dark[50, 95] > 0.999
