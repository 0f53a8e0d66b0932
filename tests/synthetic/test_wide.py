"""The wide configuration, factor by factor: labels stay exact, and a factor changes what it is about and
nothing else."""

import cv2
import numpy as np
import pytest

from tempohand.render import rasterise
from tempohand.synthetic.generate import film_sequence
from tempohand.synthetic.given import Given
from tempohand.synthetic.render_sequence import SequenceRenderer
from tempohand.synthetic.scene import compose
from tempohand.synthetic.window import project

LABELS = ("joints", "joints2d", "pose", "shape", "trans", "focal", "princpt", "box", "is_right", "time")
# Each factor off and on. What is not named here is off.
FACTORS = {
    "both": "person.both_probability",
    "held": "occluder.held_probability",
    "glove": "look.glove_probability",
    "ring": "look.ring_probability",
    "band": "look.band_probability",
    "free": "motion.free_probability",
    "place": "background.place_probability",
    "smooth": "finish.smooth_probability",
    "sharpen": "finish.sharpen_probability",
    "small": "finish.small_probability",
}
STILL = (
    "film.shutter=[0.0001,0.0001]",
    "occluder.probability=0",
    "camera.border_probability=0",
    "film.low_light_probability=0",
)


@pytest.fixture
def wide(settings):
    """wide(*on): the wide configuration with those factors on, and the others off."""

    def build(*on, size=64, extra=()):
        switches = [f"{key}={float(name in on)}" for name, key in FACTORS.items()]
        return settings("synthetic-wide", *STILL, *switches, f"camera.image_size={size}", *extra)

    return build


@pytest.fixture
def shoot(kit):
    def build(config, seed):
        rng = np.random.default_rng(seed)
        scene = compose(rng, kit, 3, config)
        return SequenceRenderer(rng, scene, kit, config, Given())

    return build


@pytest.mark.parametrize("factor", [*FACTORS, "none"])
def test_labels_lie_on_the_hand(wide, shoot, factor):
    for seed in range(3):
        shot = shoot(wide(factor), seed)
        scene, size = shot.scene, shot.size
        points = project(scene.joints[[1]], scene.focal[[1]], scene.princpt[[1]])[0]
        np.testing.assert_allclose(scene.joints2d()[1], points, atol=1e-9)
        vertices, shape = scene.vertices[1][:778], (3 * size, 3 * size)
        faces = scene.body_faces[:1538]
        mask = rasterise(vertices, faces, scene.focal[1], scene.princpt[1] + size, shape).face >= 0
        near = cv2.dilate(
            mask.astype(np.uint8), np.ones((3, 3), np.uint8)
        )  # a tip is a vertex: on the border
        column, row = np.rint(points + size).astype(int).T
        assert near[row, column].all(), "every joint lies inside the hand's outline"


@pytest.mark.parametrize(
    "factor", ["glove", "ring", "band", "place", "smooth", "sharpen", "small", "both", "held", "free"]
)
def test_a_factor_changes_the_picture_and_no_label_but_its_own(wide, factor):
    changed = 0
    for index in range(3):
        on, off = (next(film_sequence(wide(*names), "train", index)) for names in ((factor,), ()))
        changed += on["image"] != off["image"]
        own = {
            "free": {"joints", "joints2d", "pose", "box", "focal", "princpt"},
            "held": {"joints", "joints2d", "pose", "box", "focal", "princpt"},
        }
        for name in set(LABELS) - own.get(factor, set()):
            np.testing.assert_array_equal(on[name], off[name])
        if factor in own:  # other fingers, the same hand in the same place
            np.testing.assert_array_equal(on["pose"][:3], off["pose"][:3])
        assert (on["hidden"] == off["hidden"]) or factor in ("both", "held", "free")
    assert changed >= (1 if factor == "ring" else 2), "a ring may be out of sight"


def test_finishing_leaves_what_was_filmed(wide, shoot):
    for seed in range(3):
        on, off = (shoot(wide(*names), seed) for names in (("smooth", "sharpen", "small"), ()))
        on.finish = off.finish
        np.testing.assert_array_equal(on.picture(1)[0], off.picture(1)[0])


def test_contact_only_darkens(wide, shoot):
    for seed in range(3):
        lit, dark = (shoot(wide("both"), seed) for _ in range(2))
        lit.contact, dark.contact = 0.0, 1.0
        assert (dark.lit(1) <= lit.lit(1) + 1e-6).all() and (dark.lit(1) < 0.97 * lit.lit(1)).any()


def test_the_hand_is_drawn_where_its_labels_are(wide, shoot):
    """A hand that shines before nothing is as bright as its mask, whatever the finish."""
    overlaps = []
    for seed in range(6):
        shot = shoot(
            wide(
                "free",
                "smooth",
                "sharpen",
                "small",
                size=96,
                extra=("finish.small=[1.2,1.8]", "film.defocus=[0,0]"),
            ),
            seed,
        )
        m, size = shot.materials, shot.size
        shot.backdrop.texture[:] = 0.0
        m.albedo[:], m.albedo[:778], m.gloss[:], m.textures[:], shot.contact = 0.0, 1.0, 0.0, 1.0, 0.0
        picture, _ = shot.picture(1)
        arm = rasterise(
            shot.scene.vertices[1],
            m.faces[: m.num_body_faces],
            shot.scene.focal[1],
            shot.scene.princpt[1],
            (size, size),
        )
        mask, bright = (arm.face >= 0) & (arm.face < m.num_hand_faces), picture.max(-1) > 80
        overlaps.append((mask & bright).sum() / (mask | bright).sum())
    assert np.median(overlaps) > 0.85


def test_the_other_hand_is_a_closed_hand_of_the_other_side_in_the_same_skin(wide, shoot, kit):
    sides, palm, back = set(), np.flatnonzero(kit.skin.palm > 0.95), np.flatnonzero(kit.skin.palm < 0.05)
    for seed in range(8):
        shot = shoot(wide("both"), seed)
        scene, m = shot.scene, shot.materials
        (thing,) = scene.things
        mesh, count = thing.mesh, m.num_body_vertices
        corners = mesh.vertices[mesh.faces]
        assert np.einsum("fc,fc->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6 > 1e5, (
            "mm^3, faces outward"
        )
        # From the index finger's knuckle to the little finger's is a turn about the palm's normal: the other
        # way round in the other hand.
        turns = [
            np.linalg.det(
                [joints[5] - joints[0], joints[17] - joints[0], hand[palm].mean(0) - hand[back].mean(0)]
            )
            for joints, hand in ((scene.joints[1], scene.vertices[1]), (thing.joints, mesh.vertices))
        ]
        assert turns[0] * turns[1] < 0
        sides.add(scene.is_right)
        np.testing.assert_array_equal(m.albedo[count : 2 * count], m.albedo[:count])
        np.testing.assert_array_equal(m.layer[len(scene.body_faces) :], m.layer[: len(scene.body_faces)])
        assert thing.vertices()[..., 2].min() > -300 and np.isfinite(thing.vertices()).all()
    assert sides == {True, False}


def test_what_is_held_fits_between_the_fingers_and_goes_with_the_hand(wide, shoot):
    for seed in range(8):
        scene = shoot(wide("held"), seed).scene
        (thing,) = scene.things
        rotation, _ = cv2.Rodrigues(scene.pose[1, :3])
        before, _ = cv2.Rodrigues(scene.pose[0, :3])
        np.testing.assert_allclose(rotation.T @ thing.rotation[1], before.T @ thing.rotation[0], atol=1e-5)
        local = [
            turn.T @ (thing.position[k] - scene.joints[k, 0]) for k, turn in ((0, before), (1, rotation))
        ]
        np.testing.assert_allclose(local[0], local[1], atol=1e-2)
        assert local[0][1] < 0, "on the palm's side"
        if np.allclose(np.ptp(thing.mesh.vertices, axis=0)[[0, 2]].max(), np.ptp(thing.mesh.vertices[:, 1])):
            continue  # a ball touches in one place only
        # Bones of index and ring finger stay out of the middle of the thing's axis.
        axis = thing.rotation[1][:, 1]
        away = scene.joints[1] - thing.position[1]
        distance = np.linalg.norm(away - (away @ axis)[:, None] * axis, axis=1)
        radius = np.percentile(np.linalg.norm(thing.mesh.vertices[:, [0, 2]], axis=1), 50)
        assert (distance[5:17] > 0.55 * radius).mean() > 0.8


def test_the_same_seed_films_the_same_with_everything_on(settings):
    config = settings("synthetic-wide", "camera.image_size=48")
    for index in range(3):
        a, b = ([row["image"] for row in film_sequence(config, "train", index)] for _ in range(2))
        assert a == b
