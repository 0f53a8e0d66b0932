"""The rasteriser against a naive per-pixel ray caster, analytic depth, and the projection of the vertices."""

import numpy as np
import pytest

from tempohand.render import NEAR_MM, Buffers, rasterise, render, shade, vertex_normals

FOCAL, PRINCPT, SIZE = (90.0, 95.0), (23.3, 17.8), (40, 48)


def depth_of(buffers):
    """Depth in mm along the optical axis, inf where nothing is seen."""
    with np.errstate(divide="ignore"):
        return 1 / buffers.inv_depth


def cast_rays(vertices, faces, focal, princpt, size):
    """Depth and face by intersecting every pixel's ray with every triangle (Moeller-Trumbore, float64): the
    oracle."""
    height, width = size
    depth, face = np.full(size, np.inf), np.full(size, -1)
    p0, p1, p2 = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    for v in range(height):
        for u in range(width):
            ray = np.array([(u - princpt[0]) / focal[0], (v - princpt[1]) / focal[1], 1.0])
            h = np.cross(ray, p2 - p0)
            a = ((p1 - p0) * h).sum(1)
            w1 = -(p0 * h).sum(1) / a
            q = np.cross(-p0, p1 - p0)
            w2 = (q @ ray) / a
            z = ((p2 - p0) * q).sum(1) / a
            z[(w1 < 0) | (w2 < 0) | (w1 + w2 > 1) | (z < NEAR_MM)] = np.inf
            depth[v, u] = z.min()
            face[v, u] = z.argmin() if np.isfinite(z.min()) else -1
    return depth, face


def triangle_soup(seed, count=30):
    rng = np.random.default_rng(seed)
    centres = rng.uniform([-80, -60, 150], [80, 60, 500], (count, 1, 3))
    vertices = (centres + rng.normal(0, 40, (count, 3, 3))).reshape(-1, 3).astype(np.float32)
    return vertices, np.arange(3 * count).reshape(-1, 3)


def sphere(n=24):
    theta, phi = np.linspace(0, np.pi, n), np.linspace(0, 2 * np.pi, n, endpoint=False)
    t, p = (x.ravel() for x in np.meshgrid(theta, phi, indexing="ij"))
    vertices = np.stack([np.sin(t) * np.cos(p), np.cos(t), np.sin(t) * np.sin(p)], 1)
    i, j = (x.ravel() for x in np.meshgrid(np.arange(n - 1), np.arange(n), indexing="ij"))
    a, b = i * n + j, i * n + (j + 1) % n
    return vertices, np.concatenate([np.stack([a, b, a + n], 1), np.stack([b, b + n, a + n], 1)])


@pytest.mark.parametrize("seed", [0, 1])
def test_equals_ray_casting(seed):
    vertices, faces = triangle_soup(seed)
    depth, face = cast_rays(vertices, faces, FOCAL, PRINCPT, SIZE)
    buffers = rasterise(vertices, faces, FOCAL, PRINCPT, SIZE)
    np.testing.assert_array_equal(buffers.face, face)
    np.testing.assert_allclose(depth_of(buffers), depth, rtol=1e-5)
    colour, seen = render(vertices, faces, (1.0, 0.5, 0.0), FOCAL, PRINCPT, SIZE), face >= 0
    np.testing.assert_allclose(colour[seen], [1.0, 0.5, 0.0] * np.ones((seen.sum(), 1)), atol=1e-6)
    assert seen.any() and not seen.all() and not colour[~seen].any()


def test_what_reaches_behind_the_camera_is_cut_at_the_near_plane():
    rng = np.random.default_rng(3)
    vertices = rng.uniform([-200, -200, -300], [200, 200, 400], (60, 3)).astype(np.float32)
    faces = np.arange(60).reshape(-1, 3)
    depth, face = cast_rays(vertices, faces, FOCAL, PRINCPT, SIZE)
    buffers = rasterise(vertices, faces, FOCAL, PRINCPT, SIZE)
    np.testing.assert_array_equal(buffers.face, face)
    np.testing.assert_allclose(depth_of(buffers), depth, rtol=1e-4)
    assert depth.min() >= NEAR_MM and np.any(vertices[faces[np.unique(face[face >= 0])]][..., 2] < 0)


def test_attributes_are_interpolated_in_perspective():
    # A steeply slanted plane, its attribute linear in space: at each pixel it must equal the value at the
    # point seen.
    vertices = np.array([[-200, -100, 200], [300, -120, 900], [-220, 150, 260], [310, 160, 950]], np.float32)
    faces = np.array([[0, 1, 2], [1, 3, 2]])
    buffers = rasterise(vertices, faces, FOCAL, PRINCPT, SIZE)
    points = render(
        vertices, faces, vertices, FOCAL, PRINCPT, SIZE, background=np.full((*SIZE, 3), -1, np.float32)
    )
    seen = buffers.face >= 0
    u, v = np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0]))
    projected = points[..., :2] / points[..., 2:] * FOCAL + PRINCPT
    np.testing.assert_allclose(projected[seen], np.stack([u, v], -1)[seen], atol=2e-3)
    np.testing.assert_allclose(points[..., 2][seen], 1 / buffers.inv_depth[seen], rtol=1e-5)
    assert seen.sum() > 300 and (points[~seen] == -1).all()


def test_sphere_depth_mask_and_culling():
    vertices, faces = sphere(40)
    placed = vertices * 60 + [10, -5, 400]
    buffers = rasterise(placed, faces, (300, 300), (60, 50), (100, 120))
    u, v = np.meshgrid(np.arange(120), np.arange(100))
    rays = np.stack([(u - 60) / 300, (v - 50) / 300, np.ones_like(u)], -1)
    along = rays @ [10, -5, 400] / (rays**2).sum(-1)
    gap = np.linalg.norm(along[..., None] * rays - [10, -5, 400], axis=-1)
    assert (buffers.face[gap < 58] >= 0).all() and (buffers.face[gap > 60] == -1).all()
    front = along - np.sqrt(np.maximum(60**2 - gap**2, 0) / (rays**2).sum(-1))
    assert np.abs(depth_of(buffers) - front)[gap < 50].max() < 1.0
    culled = rasterise(placed, faces, (300, 300), (60, 50), (100, 120), cull=True)
    np.testing.assert_array_equal(culled.inv_depth, buffers.inv_depth)


def test_bounds_agree_with_projected_vertices():
    vertices, faces = sphere()
    placed = vertices * 50 + [0, 0, 400]
    buffers = rasterise(placed, faces, (500, 500), (99.5, 99.5), (200, 200))
    projected = placed[:, :2] / placed[:, 2:] * 500 + 99.5
    rows, columns = np.nonzero(buffers.face >= 0)
    np.testing.assert_allclose(
        [columns.min(), columns.max()], [projected[:, 0].min(), projected[:, 0].max()], atol=1.0
    )
    np.testing.assert_allclose(
        [rows.min(), rows.max()], [projected[:, 1].min(), projected[:, 1].max()], atol=1.0
    )


def test_the_window_only_moves_intrinsics():
    vertices, faces = triangle_soup(5)
    shifted = (PRINCPT[0] - 7, PRINCPT[1] - 11)
    whole = render(vertices, faces, vertices, FOCAL, PRINCPT, SIZE)
    part = render(vertices, faces, vertices, FOCAL, shifted, (20, 30))
    np.testing.assert_allclose(whole[11:31, 7:37], part, rtol=1e-5)
    whole = rasterise(vertices, faces, FOCAL, PRINCPT, SIZE)
    part = rasterise(vertices, faces, FOCAL, shifted, (20, 30))
    np.testing.assert_array_equal(whole.face[11:31, 7:37], part.face)
    np.testing.assert_allclose(whole.inv_depth[11:31, 7:37], part.inv_depth, rtol=1e-5)


def test_antialiasing_blends_over_the_background_by_coverage():
    # A rectangle whose borders lie a quarter pixel inside pixel columns 10 and 20: 4 x 4 samples see exact
    # quarters.
    x = (np.array([9.75, 20.25, 9.75, 20.25]) - 16) * 2
    y = (np.array([5.5, 5.5, 15.5, 15.5]) - 16) * 2
    vertices = np.stack([x, y, np.full(4, 200.0)], 1)
    background = np.full((32, 32, 3), 8.0, np.float32)
    colour = render(
        vertices,
        np.array([[0, 1, 2], [1, 3, 2]]),
        (4, 4, 4),
        (100, 100),
        (16, 16),
        (32, 32),
        background=background,
        antialias=4,
    )
    np.testing.assert_allclose(
        colour[10, [9, 10, 11, 15, 20, 21]], np.array([8, 5, 4, 4, 5, 8])[:, None] * np.ones(3), atol=1e-5
    )
    assert (background == 8).all()


def test_drawing_into_buffers_keeps_the_nearest():
    vertices, faces = triangle_soup(7)
    together = rasterise(vertices, faces, FOCAL, PRINCPT, SIZE)
    buffers = Buffers.empty(SIZE)
    rasterise(vertices, faces[:12], FOCAL, PRINCPT, SIZE, into=buffers)
    rasterise(vertices, faces[12:], FOCAL, PRINCPT, SIZE, into=buffers, first_face=12)
    np.testing.assert_array_equal(together.face, buffers.face)


def test_nothing_to_draw_and_degenerate_triangles():
    vertices = np.array([[0, 0, 100], [0, 0, 100], [5, 5, 100], [np.nan, 0, 100], [0, 0, -100]], np.float32)
    buffers = rasterise(vertices, np.array([[0, 1, 2], [0, 2, 3], [4, 4, 4]]), FOCAL, PRINCPT, SIZE)
    assert (buffers.face == -1).all() and np.isinf(depth_of(buffers)).all()
    assert not render(vertices, np.zeros((0, 3), int), (1, 1, 1), FOCAL, PRINCPT, SIZE).any()
    with pytest.raises(ValueError, match="antialias"):
        render(vertices, np.array([[0, 1, 2]]), (1, 1, 1), FOCAL, PRINCPT, SIZE, antialias=0)


def test_shading():
    vertices, faces = sphere(40)
    np.testing.assert_allclose((vertex_normals(vertices, faces) * vertices).sum(1), 1, atol=2e-2)
    lit = shade(vertices, faces, (1.0, 0.5, 0.25), lights=[(0, 0, -2.0)], ambient=0.2, normals=vertices)
    facing = np.maximum(-vertices[:, 2], 0)
    np.testing.assert_allclose(lit, (0.2 + 0.8 * facing)[:, None] * [1, 0.5, 0.25], atol=1e-6)
    two = shade(
        vertices,
        faces,
        (1, 1, 1),
        lights=[(0, 0, -1), (0, -1, 0)],
        intensities=[(1, 0, 0), (0, 0, 1)],
        ambient=0,
    )
    np.testing.assert_allclose(two[:, 2], np.maximum(-vertices[:, 1], 0), atol=0.15)
