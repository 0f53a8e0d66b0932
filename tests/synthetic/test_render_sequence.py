import cv2
import numpy as np
import pytest

from tempohand.data.table import COLUMNS, OPTIONAL
from tempohand.render import Buffers, rasterise, supersampled_camera
from tempohand.synthetic.given import Given
from tempohand.synthetic.objects import sheet
from tempohand.synthetic.occluders import Track
from tempohand.synthetic.render_sequence import SequenceRenderer
from tempohand.synthetic.scene import compose
from tempohand.synthetic.window import project


@pytest.fixture
def build(settings, kit):
    """build(seed, *overrides, things=..., frames=...): a shot; `things` makes the scene's things from the
    scene."""

    def make(seed, *overrides, things=None, frames=3):
        config = settings("synthetic-demo", *overrides)
        rng = np.random.default_rng(seed)
        scene = compose(rng, kit, frames, config)
        if things is not None:
            scene.things = things(scene)
            own = scene.vertices[:, : scene.body_faces.max() + 1]
            scene.vertices = np.concatenate(
                [own, *(thing.vertices().astype(np.float32) for thing in scene.things)], axis=1
            )
        return SequenceRenderer(rng, scene, kit, config, Given())

    return make


ALONE = ("occluder.probability=0", "occluder.held_probability=0", "camera.border_probability=0")


def plate(scene, left, depth):
    """A sheet, 2 m wide, whose left border lies at window column `left` of frame 1, `depth` mm before the
    camera."""
    mesh = sheet(2000.0, 2000.0, 0.0)
    x = (left - scene.princpt[1, 0]) / scene.focal[1, 0] * depth + 1000.0
    frames = len(scene.joints)
    place = np.tile([x, 0.0, depth + 1.5], (frames, 1))
    return Track(
        mesh, np.tile(np.eye(3), (frames, 1, 1)), place, np.full((128, 128, 3), 0.3, np.float32), 0.0
    )


def hand_samples(shot, frame, factor):
    """The samples that the hand alone covers, as they lie in the window."""
    scene = shot.scene
    camera = supersampled_camera(scene.focal[frame], scene.princpt[frame], factor)
    size = shot.size * factor
    return rasterise(scene.vertices[frame], scene.body_faces[:1538], *camera, (size, size), cull=True)


@pytest.mark.parametrize("still", [True, False])
def test_hidden_is_exact_for_a_plate_over_half_the_picture(build, still):
    shutter = "film.shutter=[0.0001,0.0001]" if still else "film.shutter=[1.0,1.0]"
    fast = "motion.move_seconds=[0.2,0.3]", "motion.hold_seconds=[0,0]", "motion.reach_step=300"
    border = 25.3
    for seed in range(3):
        shot = build(seed, *ALONE, *fast, shutter, things=lambda scene: [plate(scene, border, 150.0)])
        moments, factor = shot.moments(1)
        assert (factor == 2) == still and 0.0 in moments
        alone = hand_samples(shot, 1, factor).face >= 0
        columns = (np.arange(shot.size * factor) + 0.5) / factor - 0.5
        expected = alone[:, columns > border].sum() / alone.sum()
        _, hidden = shot.picture(1)
        assert 0.05 < expected < 0.95 and abs(hidden - expected) < 1e-9


def test_nothing_in_front_hides_nothing(build):
    # The forearm and the hand itself do not count; nor does a plate behind the hand.
    for seed in range(4):
        shot = build(
            seed, *ALONE, things=lambda scene: [plate(scene, 10.0, float(scene.vertices[..., 2].max()) + 50)]
        )
        assert shot.picture(1)[1] == 0.0
    shot = build(0, *ALONE, things=lambda scene: [plate(scene, -500.0, 100.0)])
    assert shot.picture(1)[1] == 1.0


def test_the_own_arm_does_not_hide_the_hand(build):
    for seed in range(3):
        shot = build(seed, *ALONE, things=lambda scene: [plate(scene, 25.3, 60.0)])
        _, before = shot.picture(1)
        # The forearm is brought before the hand: on the same rays as the hand's middle, at half its depth.
        vertices = shot.scene.vertices
        arm, hand = vertices[:, 778 : shot.materials.num_body_vertices], vertices[:, :778]
        arm += hand.mean(1, keepdims=True) - arm.mean(1, keepdims=True)
        arm *= 0.5
        _, after = shot.picture(1)
        faces = shot.buffers[shot.moments(1)[1]].face
        m = shot.materials
        assert ((faces >= m.num_hand_faces) & (faces < m.num_body_faces)).sum() > 0.02 * faces.size, (
            "the arm is in front"
        )
        assert after == before > 0


def test_hidden_equals_a_depth_comparison(build):
    seen = 0
    for seed in range(12):
        shot = build(
            seed,
            "occluder.probability=1",
            "occluder.held_probability=0.5",
            "film.shutter=[0.0001,0.0001]",
            "camera.border_probability=0",
        )
        frame = 2
        factor = shot.moments(frame)[1]
        hand = hand_samples(shot, frame, factor)
        m, scene = shot.materials, shot.scene
        camera = supersampled_camera(scene.focal[frame], scene.princpt[frame], factor)
        things = rasterise(
            scene.vertices[frame], m.faces[m.num_body_faces :], *camera, hand.face.shape, cull=True
        )
        covered = (hand.face >= 0) & (things.inv_depth > hand.inv_depth)
        expected = covered.sum() / (hand.face >= 0).sum()
        _, hidden = shot.picture(frame)
        assert abs(hidden - expected) < 1e-9
        seen += 0.05 < hidden < 0.95
    assert seen >= 2


def test_rows_have_every_column_and_agree_with_the_scene(build):
    shot = build(3, frames=4)
    scene = shot.scene
    rows = list(shot.rows("name"))
    assert [row["frame"] for row in rows] == [0, 1, 2, 3]
    for k, row in enumerate(rows):
        assert set(row) == set(COLUMNS) - set(OPTIONAL)
        picture = cv2.imdecode(np.frombuffer(row["image"], np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (row["height"], row["width"], 3) == (48, 48, 3)
        uv = project(row["joints"][None], row["focal"][None], row["princpt"][None])[0]
        assert np.abs(uv - row["joints2d"]).max() < 1e-3
        np.testing.assert_array_equal(row["box"], [*uv.min(0), *uv.max(0)])
        np.testing.assert_array_equal(row["trans"], scene.joints[k + 1, 0])
        assert row["time"] == k / 30 and row["sequence"] == "name" and 0.0 <= row["hidden"] <= 1.0


def test_the_hand_is_drawn_where_its_labels_are(build):
    """A bright hand before a black wall lights the pixels of its own mask, and no others."""
    for seed in range(3):
        shot = build(
            seed,
            *ALONE,
            "person.sleeve_probability=0",
            "film.noise=[0.001,0.001]",
            "film.defocus=[0,0]",
            "film.shutter=[0.0001,0.0001]",
        )
        shot.backdrop.texture[:] = 0.0
        shot.materials.albedo[:] = 0.0
        shot.materials.albedo[:778] = 1.0
        shot.materials.gloss[:] = 0.0
        shot.film.curve = np.arange(4097) // 17
        shot.film.curve = np.clip(shot.film.curve, 0, 255).astype(np.uint8)
        picture, _ = shot.picture(1)
        m, size = shot.materials, shot.size
        buffers = Buffers.empty((size, size))
        rasterise(
            shot.scene.vertices[1],
            m.faces[: m.num_body_faces],
            shot.scene.focal[1],
            shot.scene.princpt[1],
            (size, size),
            into=buffers,
        )
        mask = (buffers.face >= 0) & (buffers.face < m.num_hand_faces)
        bright = picture.max(-1) > 25
        union = (mask | bright).sum()
        assert (mask & bright).sum() / union > 0.85


def test_beyond_the_frame_its_edge_is_repeated(build):
    bordered = []
    for seed in range(12):
        shot = build(seed, "camera.border_probability=1", "motion.distance=[250,300]", "film.defocus=[0,0]")
        u, v = shot.frame_bounds(1)
        outside = np.ones((shot.size, shot.size), bool)
        outside[v, u] = False
        picture, _ = shot.picture(1)
        rows, columns = (np.arange(shot.size).clip(bound.start, bound.stop - 1) for bound in (v, u))
        assert np.array_equal(picture, picture[rows][:, columns])
        bordered.append(outside.any())
        # The corners of the frame, projected into the window, are where the picture ends.
        camera, scene = shot.scene.camera, shot.scene
        last = (np.array([camera.width, camera.height]) - 0.5 - camera.princpt) / camera.focal * scene.focal[
            1
        ] + scene.princpt[1]
        assert (
            abs(np.clip(last[0] + 0.5, 0, shot.size) - u.stop) <= 0.5
            and abs(np.clip(last[1] + 0.5, 0, shot.size) - v.stop) <= 0.5
        )
    assert any(bordered)


def test_motion_between_frames_goes_through_the_frames(build):
    shot = build(0, "clock.late_probability=1", "clock.late=[0.6,0.6]")
    values, moments = np.random.default_rng(0).normal(size=(5, 7, 3)), shot.scene.clock.moments
    np.testing.assert_allclose(shot.between(values, 2, moments[3] - moments[2]), values[3])
    np.testing.assert_allclose(shot.between(values, 2, moments[1] - moments[2]), values[1])
    np.testing.assert_array_equal(shot.between(values, 2, 0.0), values[2])


def test_blur_lasts_as_long_as_the_shutter_is_open_whatever_the_clock(build):
    """Something that moves evenly leaves a trace as long as its way in the open time; its middle is the
    frame's own moment."""
    for late in (0.0, 0.8):
        shot = build(
            2,
            *ALONE,
            "film.shutter=[0.8,0.8]",
            "clock.late_probability=1",
            f"clock.late=[{late},{late}]",
            frames=6,
        )
        scene, velocity = shot.scene, np.array([30.0, -20.0, 0.0])  # mm per frame time
        scene.vertices = (scene.vertices[:1] + scene.clock.moments[:, None, None] * velocity).astype(
            np.float32
        )
        for frame in scene.clock.kept.tolist():
            moments, factor = shot.moments(frame)
            assert factor == 1 and 0.0 in moments and np.ptp(np.diff(moments)) < 1e-12
            np.testing.assert_allclose(np.ptp(moments) + moments[1] - moments[0], 0.8)
            for moment in moments:
                moved = shot.between(scene.vertices, frame, moment) - scene.vertices[frame]
                np.testing.assert_allclose(moved, np.broadcast_to(moment * velocity, moved.shape), atol=1e-2)


def test_the_wall_is_a_plane_fixed_in_the_world(build):
    """A texel seen by the moving camera appears where the plane's point projects."""
    shot = build(1, *ALONE, "motion.handheld_probability=1", "camera.image_size=96")
    wall, scene = shot.backdrop, shot.scene
    edge = len(wall.texture)
    row = column = edge // 2
    point = wall.corner + wall.step * (column * wall.axes[0] + row * wall.axes[1])
    for frame in (0, 4):
        wall.texture[:] = 0.0
        wall.texture[row - 2 : row + 3, column - 2 : column + 3] = 1.0
        rotation, position = scene.camera.rotation[frame], scene.camera.position[frame]
        picture = wall.seen(scene.focal[frame], scene.princpt[frame], rotation, position, shot.size)[..., 0]
        there = project(
            ((point - position) @ rotation)[None, None], scene.focal[[frame]], scene.princpt[[frame]]
        )[0, 0]
        v, u = np.mgrid[: shot.size, : shot.size]
        centre = np.array([(u * picture).sum(), (v * picture).sum()]) / picture.sum()
        np.testing.assert_allclose(centre, there, atol=0.3)
