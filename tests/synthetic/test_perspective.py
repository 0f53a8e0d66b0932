"""The camera that draws places: projection, the near plane, pictures on planes."""

import numpy as np

from tempohand.synthetic.perspective import NEAR, PlaceView


def test_polygons_are_cut_at_the_near_plane_and_project_exactly():
    view = PlaceView(np.random.default_rng(0), 100, 0.3)
    rng = np.random.default_rng(1)
    ahead = (
        np.array([[0.1, 0.2, 3.0], [1.0, -0.2, 4.0], [0.4, 0.5, 2.0]]) @ view.rotation
    )  # of camera coordinates
    seen = ahead @ view.rotation.T
    np.testing.assert_allclose(view.project(ahead), seen[:, :2] / seen[:, 2:] * view.focal + 50, atol=1e-9)
    for _ in range(50):
        quad = rng.normal(0, 1, (4, 3)) @ view.rotation
        pixels = view.project(quad)
        depths = (quad @ view.rotation.T)[:, 2]
        assert len(pixels) == 0 if (depths < NEAR).all() else np.isfinite(pixels).all()
    assert len(view.project(-ahead)) == 0


def test_a_picture_on_a_plane_lies_where_its_corners_project():
    view = PlaceView(np.random.default_rng(2), 200, 0.0)
    corners = (
        np.array([[-0.5, -0.4, 3.0], [0.6, -0.4, 3.2], [0.6, 0.5, 3.2], [-0.5, 0.5, 3.0]]) @ view.rotation
    )
    view.plane(np.full((40, 40, 3), 255, np.uint8), corners)
    rows, columns = np.nonzero(view.canvas[..., 0])
    pixels = view.project(corners)
    np.testing.assert_allclose(
        [columns.min(), columns.max()], [pixels[:, 0].min(), pixels[:, 0].max()], atol=1.5
    )
    np.testing.assert_allclose([rows.min(), rows.max()], [pixels[:, 1].min(), pixels[:, 1].max()], atol=1.5)
