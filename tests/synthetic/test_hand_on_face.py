"""Hands before faces: the face is there, behind the hand, and nothing but the picture changes."""

import numpy as np
import pytest

from tempohand.synthetic import render_sequence as shoot
from tempohand.synthetic.generate import film_sequence
from tempohand.synthetic.given import Given
from tempohand.synthetic.hand_on_face import APART_MM, OFF, FaceBehind
from tempohand.synthetic.render_sequence import SequenceRenderer
from tempohand.synthetic.scene import compose

LABELS = (
    "joints",
    "joints2d",
    "pose",
    "shape",
    "trans",
    "focal",
    "princpt",
    "box",
    "is_right",
    "time",
    "hidden",
)


@pytest.fixture
def shots(settings, kit, monkeypatch):
    """Shots before a face, and the face that each asked for, texels."""
    asked = []

    def place(rng, size, blur, tone, face):
        asked.append(face)
        return np.full((size, size, 3), 128, np.uint8)

    monkeypatch.setattr(shoot, "place", place)
    config = settings(
        "synthetic-find",
        "background.place_probability=1",
        "background.face_probability=1",
        "motion.handheld_probability=1",
    )
    made = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        scene = compose(rng, kit, 3, config)
        made.append(SequenceRenderer(rng, scene, kit, config, Given()))
    return made, asked


def test_the_face_is_seen_close_behind_the_hand(shots):
    for shot, (x, y, half) in zip(*shots, strict=True):
        scene, backdrop = shot.scene, shot.backdrop
        middle = len(scene.joints) // 2
        farthest = scene.vertices[:, :778, 2].max()
        assert APART_MM[0] <= backdrop.anchor[2] - farthest <= APART_MM[1] and 95 < half * backdrop.step < 125
        # The backdrop's texels through the camera, against the projected hand.
        texel = backdrop.corner + (np.array([x, y]) * backdrop.step) @ backdrop.axes
        seen = (texel - scene.camera.position[middle]) @ scene.camera.rotation[middle]
        face = seen[:2] / seen[2] * scene.focal[middle] + scene.princpt[middle]
        hand = scene.joints[middle].mean(0)
        hand = hand[:2] / hand[2] * scene.focal[middle] + scene.princpt[middle]
        off = np.abs(face - hand) * seen[2] / scene.focal[middle] / (half * backdrop.step)
        assert (off <= np.array(OFF) + 0.02).all()


def test_a_face_changes_the_picture_and_no_label(settings):
    changed = 0
    for index in range(3):
        near, far = (
            next(
                film_sequence(
                    settings(
                        "synthetic-find", "background.place_probability=1", f"background.face_probability={p}"
                    ),
                    "train",
                    index,
                )
            )
            for p in (1, 0)
        )
        changed += near["image"] != far["image"]
        for name in LABELS:
            np.testing.assert_array_equal(near[name], far[name])
    assert changed == 3


def test_it_gets_dark_behind_the_hand_and_nowhere_else():
    background, covered = np.ones((60, 60, 3)), np.zeros((120, 120), bool)
    covered[50:70, 50:70] = True
    face = FaceBehind(np.random.default_rng(0))
    face.distance = 10.0
    shaded = face.shade(background, covered, 0.2, np.array([0.0, -1.0, 0.0]))
    assert shaded[29, 29, 0] < 1 - 0.4 * face.dark and shaded.min() >= 1 - face.dark and shaded.max() <= 1
    np.testing.assert_allclose(shaded[:10], 1.0, atol=1e-3)
    rows, columns = np.unravel_index(shaded[..., 0].argmin(), (60, 60))
    assert rows > 30 and abs(columns - 29.5) < 1, "light from above: the shadow falls below"
