import cv2
import numpy as np
import pytest

from tempohand.render import rasterise
from tempohand.synthetic.archive import Archive
from tempohand.synthetic.given import Given
from tempohand.synthetic.panoramas import (
    LUMA,
    Panoramas,
    Surroundings,
    harmonics,
    irradiance,
    part_sun,
    sphere,
    turned,
)
from tempohand.synthetic.render_sequence import SequenceRenderer
from tempohand.synthetic.scene import compose

ROWS = 64


def sky(seed=0, sun=300.0):
    """A smooth panorama with a small bright spot."""
    rng = np.random.default_rng(seed)
    directions, _ = sphere(ROWS)
    radiance = 1 + 0.6 * np.sin(directions @ rng.normal(0, 1, (3, 3)))
    spot = rng.normal(size=3) * [1, 0.3, 1]
    spot /= np.linalg.norm(spot)
    radiance[directions @ spot > np.cos(np.radians(6))] += sun
    return radiance, spot


@pytest.fixture
def folder(tmp_path):
    for seed in range(3):
        cv2.imwrite(str(tmp_path / f"pano_{seed}.hdr"), np.float32(sky(seed)[0][..., ::-1]))
    return tmp_path


@pytest.fixture
def panoramas(folder):
    return Panoramas(Archive(folder, "panoramas"))


def test_harmonics_are_orthonormal_and_solid_angles_fill_the_sphere():
    directions, angle = sphere(ROWS)
    assert np.isclose((angle * np.ones((ROWS, 2 * ROWS))).sum(), 4 * np.pi)
    basis = harmonics(directions)
    gram = np.einsum("rck,rcl->kl", basis * angle[..., None], basis)
    np.testing.assert_allclose(gram, np.eye(9), atol=3e-3)


def test_nine_coefficients_are_the_integral_of_the_panorama():
    """Under light without a spot the sum over the sphere is met to a few per cent, in any turn."""
    radiance, _ = sky(sun=0.0)
    directions, angle = sphere(ROWS)
    rotation = turned(0.7, 0.3, -0.2)
    normals = np.random.default_rng(1).normal(size=(200, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    cosine = np.maximum(np.einsum("nd,rcd->nrc", normals @ rotation, directions), 0)
    expected = np.einsum("nrc,rcd->nd", cosine * angle, radiance) / np.pi
    got = harmonics(normals) @ irradiance(radiance, rotation)
    np.testing.assert_allclose(got, expected, atol=0.03 * expected.mean())


def test_the_far_light_is_where_the_panorama_is_brightest_and_no_light_is_lost():
    for seed in range(5):
        radiance, spot = sky(seed)
        _, angle = sphere(ROWS)
        sun, rest = part_sun(radiance)
        assert sun.direction @ spot > np.cos(np.radians(3))
        np.testing.assert_allclose(
            np.pi * sun.colour + (rest * angle[..., None]).sum((0, 1)),
            (radiance * angle[..., None]).sum((0, 1)),
        )
        assert (rest <= radiance).all() and rest.max() < 0.05 * radiance.max()


def test_a_turn_looks_to_the_right_and_down():
    def ahead(**turn):
        return turned(**({"yaw": 0.0, "tilt": 0.0, "roll": 0.0} | turn)).T @ [0, 0, 1]

    np.testing.assert_allclose(ahead(yaw=np.pi / 2), [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(ahead(tilt=np.pi / 2), [0, 1, 0], atol=1e-12)


def test_light_comes_from_where_it_is_seen(panoramas):
    """The brightest part, looked at through the view's own look-up, is where the far light is."""
    for seed in range(4):
        around = Surroundings(np.random.default_rng(seed), panoramas)
        (light,) = around.directions
        there = around._look((light + 0.01 * np.eye(3))[None]) @ LUMA
        assert there.min() > 0.5 * (around.radiance @ LUMA).max()
        assert np.isclose(np.linalg.norm(light), 1) and (around.colours > 0).all()
        assert (around.ambient(np.float32(np.eye(3))) >= 0).all()


def test_what_is_seen_behind_is_the_panorama_out_of_focus(panoramas):
    around = Surroundings(np.random.default_rng(0), panoramas)
    corners = np.array(
        [[[-900, -900, 1000], [900, -900, 1000]], [[-900, 900, 1000], [900, 900, 1000]]], float
    )
    seen = around.behind(corners, 101)
    around.half_view = 0.0  # the plane itself, then, whatever its size
    plane = around.behind(corners, 101)
    assert seen.shape == (101, 101, 3) and seen.dtype == np.float32 and (seen >= 0).all()
    x = np.linspace(-0.9, 0.9, 101)
    sharp = around._look(np.stack([*np.meshgrid(x, x), np.ones((101, 101))], -1)) * np.float32(around.gain)
    inner = slice(20, 80)
    np.testing.assert_allclose(
        plane[inner, inner].mean(), np.minimum(sharp, 12)[inner, inner].mean(), rtol=0.25
    )
    assert np.abs(np.diff(plane, axis=1)).max() < 0.7 * max(np.abs(np.diff(sharp, axis=1)).max(), 0.05)


def test_hand_and_background_are_lit_by_one_panorama(settings, kit, panoramas):
    config = settings(
        "synthetic-hands",
        "camera.image_size=64",
        "background.panorama_probability=1",
        "background.place_probability=1",
    )

    def shot(given, seed):
        rng = np.random.default_rng(seed)
        return SequenceRenderer(rng, compose(rng, kit, 3, config), kit, config, given)

    for seed in range(2):
        lit, plain = shot(Given(panoramas=panoramas), seed), shot(Given(), seed)
        assert isinstance(lit.lights, Surroundings) and not isinstance(plain.lights, Surroundings)
        np.testing.assert_array_equal(lit.scene.vertices, plain.scene.vertices)
        np.testing.assert_array_equal(lit.materials.albedo, plain.materials.albedo)
        rows = [list(shot(Given(panoramas=panoramas), seed).rows("a")) for _ in range(2)]
        assert [row["image"] for row in rows[0]] == [row["image"] for row in rows[1]]
        picture, _ = lit.picture(1)
        scene, size = lit.scene, lit.size
        hand = rasterise(
            scene.vertices[1], lit.materials.faces, scene.focal[1], scene.princpt[1], (size, size)
        )
        assert 20 < picture[hand.face >= 0].mean() < 235


def test_what_is_no_panorama_is_one_line(folder):
    def load(name):
        return Panoramas(Archive(folder, "panoramas")).load(name)

    cv2.imwrite(str(folder / "square.hdr"), np.ones((8, 8, 3), np.float32))
    cv2.imwrite(str(folder / "night.hdr"), np.zeros((8, 16, 3), np.float32))
    (folder / "broken.hdr").write_bytes(b"#?RADIANCE\n")
    for name, complaint in (
        ("square.hdr", "square.hdr is no panorama .*8 x 8"),
        ("night.hdr", "night.hdr is all black"),
        ("broken.hdr", "broken.hdr does not decode"),
    ):
        with pytest.raises(ValueError, match=complaint):
            load(name)
    with pytest.raises(ValueError, match="holds no file named"):
        Panoramas(Archive(folder.parent, "panoramas"))
