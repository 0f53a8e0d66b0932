"""Depth of synthetic scenes: the true distances are the renderer's, and each fault of the sensor is what its
setting says."""

from dataclasses import replace

import numpy as np
import pytest

from tempohand.data.pictures import decode_depth, decode_mask
from tempohand.synthetic.depth_sensor import DepthSensor, incidence
from tempohand.synthetic.given import Given
from tempohand.synthetic.render_sequence import SequenceRenderer
from tempohand.synthetic.scene import compose

WHITE = np.full((96, 96, 3), 255, np.uint8)
ALONE = ("occluder.probability=0", "occluder.held_probability=0", "camera.border_probability=0")
PRESETS = ("time_of_flight", "structured_light")


@pytest.fixture(scope="module")
def perfect(settings):
    """The settings of a sensor without any fault."""
    return replace(settings("synthetic-demo").depth, probability=1.0)


@pytest.fixture
def build(settings, kit):
    def make(seed, *overrides, frames=2):
        config = settings("synthetic-rgbd", "camera.image_size=96", *overrides)
        rng = np.random.default_rng(seed)
        return SequenceRenderer(rng, compose(rng, kit, frames, config), kit, config, Given())

    return make


def measured(config, z, focal=300.0, picture=WHITE, seed=0):
    return DepthSensor(np.random.default_rng(seed), config).measure(z, focal, picture)


def test_without_faults_what_is_true_is_measured(perfect):
    z = np.random.default_rng(0).uniform(300, 3000, (96, 96)).astype(np.float32)
    z[:5] = 0
    np.testing.assert_array_equal(measured(perfect, z), z)


def test_noise_grows_with_the_square_of_the_distance(perfect):
    config = replace(perfect, noise_per_z2=1.4e-6)
    spread = [measured(config, np.full((96, 96), z, np.float32)).std() for z in (500.0, 1000.0, 2000.0)]
    np.testing.assert_allclose(spread, [0.35, 1.4, 5.6], rtol=0.05)
    alike = measured(replace(config, grain=0.9), np.full((96, 96), 1000.0, np.float32))
    assert alike.std() == pytest.approx(1.4, rel=0.1)
    assert np.corrcoef(alike[:, 1:].ravel(), alike[:, :-1].ravel())[0, 1] > 0.5


def test_steps_are_those_of_the_disparity_or_whole_millimetres(perfect):
    z = np.linspace(950, 1050, 96 * 96).reshape(96, 96).astype(np.float32)
    found = np.unique(measured(replace(perfect, quantum_per_z2=2.85e-6), z))
    np.testing.assert_allclose(np.diff(found), 2.85e-6 * found[1:] * found[:-1], rtol=1e-2)
    whole = measured(replace(perfect, quantum=1.0), z)
    assert np.array_equal(whole, np.rint(whole)) and np.abs(whole - z).max() <= 0.5001


@pytest.mark.parametrize("seed", range(4))
def test_the_shadow_beside_a_near_thing_is_as_wide_as_the_parallax(perfect, seed):
    z = np.full((96, 96), 1000.0, np.float32)
    z[:, 40:60] = 500.0
    config = replace(perfect, baseline=(50.0, 50.0))
    sensor = DepthSensor(np.random.default_rng(seed), config)
    shadow = sensor.measure(z, 300.0, WHITE) == 0
    width = 300.0 * 50.0 * (1 / 500 - 1 / 1000)  # 15 px
    columns = np.flatnonzero(shadow.all(0))
    assert abs(len(columns) - width) <= 1 and shadow.sum() == 96 * len(columns)
    assert columns[-1] == 39 if sensor.baseline > 0 else columns[0] == 60


def test_grazing_and_dark_surfaces_and_edges_are_lost(perfect):
    ramp = np.tile(np.linspace(500, 1500, 96, dtype=np.float32), (96, 1))  # 10.5 mm a pixel
    flat = np.full((96, 96), 600.0, np.float32)
    assert incidence(flat, 300.0).min() == 1.0
    assert incidence(ramp, 300.0)[0, 10] == pytest.approx(1 / np.hypot(1, 10.53 / (605 / 300)), rel=0.02)
    grazing = replace(perfect, grazing=0.6)
    assert (measured(grazing, ramp) == 0).mean() > 0.9 and (measured(grazing, flat) > 0).all()
    picture = WHITE.copy()
    picture[:48] = 5
    dark = measured(replace(perfect, dark=0.2), flat, picture=picture)
    assert not dark[:44].any() and dark[52:].all()
    step = np.where(np.arange(96) < 48, np.float32(500), np.float32(900)) * np.ones((96, 1), np.float32)
    lost = measured(replace(perfect, edge=2, edge_lost=1.0), step) == 0
    assert lost[:, 46:50].all() and not lost[:, :44].any() and not lost[:, 53:].any()
    flying = measured(replace(perfect, flying=1.0), step)
    between = (flying > 510) & (flying < 890)
    assert between[:, 47:49].mean() > 0.8 and not between[:, :46].any()


def test_true_depth_is_that_of_what_each_pixel_sees(build):
    """Under a joint that nothing hides lies skin, some millimetres nearer; beside the hand the plane behind
    it, wherever a ray meets it."""
    shot = build(3, *ALONE)
    scene, camera = shot.scene, shot.scene.camera
    z = shot.true_depth(1, 0.0, scene.focal[1], scene.princpt[1], 96)
    places = np.rint(scene.joints2d()[1]).astype(int)
    under = z[places[:, 1], places[:, 0]] - scene.joints[1, :, 2]
    assert -30 < np.median(under) < 0 and (under < 12).mean() > 0.85
    mask = shot.mask(1)
    assert mask[places[:, 1], places[:, 0]].mean() > 0.8
    ray = np.array(
        [(3 - scene.princpt[1, 0]) / scene.focal[1, 0], (5 - scene.princpt[1, 1]) / scene.focal[1, 1], 1]
    )
    point = camera.position[1] + camera.rotation[1] @ (ray * z[5, 3])
    assert abs((point - shot.backdrop.anchor) @ shot.backdrop.normal) < 1e-2 and not mask[5, 3]
    assert z[5, 3] > z[mask].max()


@pytest.mark.parametrize("preset", PRESETS)
def test_a_row_has_the_depth_of_its_own_hand(build, preset):
    shot = build(5, *ALONE, f"depth={preset}")
    for row in shot.rows("name"):
        depth, mask = decode_depth(row["depth"], 96, 96), decode_mask(row["mask"], 96, 96)
        hand = depth[mask]
        assert (hand > 0).mean() > 0.5 and (depth > 0).mean() > 0.4
        inside = np.abs(hand[hand > 0] - np.median(row["joints"][:, 2])) < 150
        assert inside.mean() > 0.85 and 0 < (depth == 0).mean() < 0.6


def test_colour_and_depth_are_taken_at_their_own_times(build):
    fast = "motion.move_seconds=[0.2,0.3]", "motion.hold_seconds=[0,0]", "motion.reach_step=300"
    shot = build(2, *ALONE, *fast)
    camera = shot.scene.focal[1], shot.scene.princpt[1], 96
    now, later = (shot.true_depth(1, moment, *camera) for moment in (0.0, 0.25))
    assert (np.abs(now - later) > 20).mean() > 0.002
    offset = shot.sensor.offset
    assert 0 < abs(offset) <= 0.008


def test_a_depth_camera_changes_neither_pictures_nor_labels_and_none_leaves_the_recipe(settings, kit):
    def rows(depth):
        config = settings("synthetic-demo", f"depth={depth}")
        rng = np.random.default_rng(4)
        return list(SequenceRenderer(rng, compose(rng, kit, 2, config), kit, config, Given()).rows("name"))

    for plain, deep in zip(rows("none"), rows("time_of_flight"), strict=True):
        assert deep.keys() - plain.keys() == {"depth", "mask"}
        assert plain["image"] == deep["image"] and np.array_equal(plain["joints"], deep["joints"])
    assert "depth" not in settings("synthetic-demo").recipe()
    assert settings("synthetic-demo", "depth=time_of_flight").recipe()["depth"]["probability"] == 1.0
