import numpy as np
import pytest
import torch

from tempohand.geometry import mirror_points, mirror_pose
from tempohand.render import rasterise
from tempohand.skeleton import NUM_VERTICES
from tempohand.synthetic.scene import compose
from tempohand.synthetic.window import project, smooth, window_track


@pytest.fixture(scope="module")
def scenes(settings, kit):
    """Sequences of the narrow and of the wide configuration, left and right hands among them."""
    made = []
    for name in ("synthetic-demo", "synthetic-wide"):
        config = settings(name)
        for seed in range(8):
            made.append(compose(np.random.default_rng(seed), kit, 6, config))
    assert {scene.is_right for scene in made} == {True, False}
    return made


def test_joints_project_to_their_pixels(scenes):
    for scene in scenes:
        uv = scene.joints[..., :2] / scene.joints[..., 2:] * scene.focal[:, None] + scene.princpt[:, None]
        np.testing.assert_allclose(scene.joints2d(), uv, atol=1e-9)
        assert (scene.joints[..., 2] > 50).all()


def test_the_parameters_give_the_joints_and_vertices(scenes, kit):
    for scene in scenes:
        pose, trans = torch.from_numpy(scene.pose), torch.from_numpy(scene.joints[:, 0])
        shape = torch.from_numpy(scene.shape).float().expand(len(pose), -1)
        if not scene.is_right:
            pose, trans = mirror_pose(pose), mirror_points(trans)
        joints, vertices = kit.layer(pose.float(), shape, trans.float())
        if not scene.is_right:
            joints, vertices = mirror_points(joints), mirror_points(vertices)
        np.testing.assert_allclose(scene.joints, joints, atol=2e-2)
        np.testing.assert_allclose(scene.vertices[:, :NUM_VERTICES], vertices, atol=2e-2)


def test_faces_look_outward_on_both_sides(scenes):
    for scene in scenes:
        triangles = scene.vertices[1][scene.body_faces].astype(float)
        volume = np.einsum("fc,fc->", triangles[:, 0], np.cross(triangles[:, 1], triangles[:, 2])) / 6
        assert volume > 1e5, "mm^3: a closed arm, its faces counter-clockwise from outside"


def test_the_window_holds_the_hand_and_its_mask(scenes, settings):
    size = settings().camera.image_size
    for scene in scenes:
        uv = scene.joints2d()[1:-1]
        assert uv.min() > -0.05 * size and uv.max() < 1.05 * size
        edge = np.ptp(uv, axis=1).max(-1)
        assert 1.7 < size / edge.mean() < 3.6
        frame = 2
        vertices = scene.vertices[frame][:NUM_VERTICES]
        points = project(vertices[None].astype(float), scene.focal[[frame]], scene.princpt[[frame]])[0]
        larger = (3 * size, 3 * size)  # so that nothing is cut off
        buffers = rasterise(
            vertices, scene.body_faces[:1538], scene.focal[frame], scene.princpt[frame] + size, larger
        )
        rows, columns = np.nonzero(buffers.face >= 0)
        np.testing.assert_allclose(
            [columns.min() - size, columns.max() - size], [points[:, 0].min(), points[:, 0].max()], atol=1.5
        )
        np.testing.assert_allclose(
            [rows.min() - size, rows.max() - size], [points[:, 1].min(), points[:, 1].max()], atol=1.5
        )


def test_the_window_moves_smoothly_and_only_the_intrinsics_with_it(scenes, settings):
    config = settings().camera
    for scene in scenes:
        scale = scene.focal / scene.camera.focal
        np.testing.assert_allclose(scale[:, 0], scale[:, 1])
        assert np.abs(np.diff(np.log(scale[:, 0]), 2)).max() < 0.05
    joints2d = np.tile(scenes[0].joints2d()[:1], (9, 1, 1))
    focal, princpt = window_track(
        np.random.default_rng(0), np.random.default_rng(1), joints2d, scenes[0].camera, config
    )
    assert np.ptp(focal, axis=0).max() < 1e-9 and np.ptp(princpt, axis=0).max() < 1e-9


def test_a_left_hand_is_the_mirror_image_of_a_right_one(settings, kit):
    for seed in range(3):
        pair = []
        for right in (1.0, 0.0):
            config = settings(
                "synthetic-demo", f"person.right_probability={right}", "motion.handheld_probability=0"
            )
            pair.append(compose(np.random.default_rng(seed), kit, 4, config))
        right, left = pair
        assert right.is_right and not left.is_right
        np.testing.assert_allclose(left.joints, right.joints * [-1, 1, 1], atol=1e-6)
        count = right.body_faces.max() + 1
        np.testing.assert_allclose(
            left.vertices[:, :count], right.vertices[:, :count] * [-1, 1, 1], atol=1e-3
        )
        np.testing.assert_allclose(left.pose, mirror_pose(torch.from_numpy(right.pose)), atol=1e-6)


def test_smoothing_keeps_constants_and_slopes():
    values = np.stack([np.full(30, 3.0), np.arange(30.0)], axis=1)
    np.testing.assert_allclose(smooth(values, 2.0)[:, 0], 3.0)
    np.testing.assert_allclose(smooth(values, 2.0)[8:-8, 1], values[8:-8, 1])
