import numpy as np

from tempohand.hand.layer import HandLayer
from tempohand.synthetic.atlas import ATLAS_SIZE, FRAMES, draw_skin
from tempohand.synthetic.skin import TONES, to_linear, to_srgb

TONE = to_linear(TONES[2])


def draw(kit, seed=0, creases=0.6, veins=0.1, ring=False, tone=TONE):
    return draw_skin(np.random.default_rng(seed), kit.atlas, tone, creases, veins, ring)


def at(sheet, kit, vertices):
    """The texels of some vertices."""
    column, row = (kit.atlas.uv[vertices] * ATLAS_SIZE).astype(int).T
    return sheet[row, column]


def test_srgb_and_linear_light_are_inverse():
    x = np.linspace(0, 1, 101)
    np.testing.assert_allclose(to_linear(to_srgb(x)), x, atol=1e-6)


def test_the_whole_hand_lies_on_the_atlas_and_frames_are_turns(kit):
    assert kit.atlas.uv.min() > 0.02 and kit.atlas.uv.max() < 0.98
    np.testing.assert_allclose(
        FRAMES[1:] @ FRAMES[1:].transpose(0, 2, 1), np.broadcast_to(np.eye(3), (15, 3, 3)), atol=1e-9
    )
    # The back is up, and the tips lie along the bones.
    assert (FRAMES[1:, 2, 1] > 0.5).all()
    bones = kit.atlas.tips[1:] - kit.atlas.joints[1:]
    assert (np.einsum("jc,jc->j", bones, FRAMES[1:, 0]) / np.linalg.norm(bones, axis=1) > 0.8).all()


def test_factors_are_positive_and_the_same_seed_draws_the_same(kit):
    first, again, other = draw(kit), draw(kit), draw(kit, seed=1)
    for a, b, c in zip(first, again, other):
        np.testing.assert_array_equal(a, b)
        assert (a > 0).all() and not np.array_equal(a, c) and a.dtype == np.float32


def test_creases_darken_and_only_where_they_are(kit):
    with_, without = draw(kit, creases=0.9), draw(kit, creases=0.0)
    for a, b in zip(with_, without):
        assert (a <= b + 1e-6).all() and 0.005 < (a < 0.95 * b).any(-1).mean() < 0.15


def test_nails_lie_on_the_nails(kit):
    """Where the open hand's own table says nail, the drawn back has another colour than around it."""
    nails = []
    for seed in range(12):
        _, back = draw(kit, seed, creases=0.0, veins=0.0)
        ratio = at(back, kit, kit.skin.nail)[:, 2] / np.median(back[..., 2])
        nails.append(np.mean(np.abs(ratio - 1) > 0.1))
    assert np.mean(nails) > 0.5


def test_a_ring_changes_a_band_on_one_finger(kit):
    fingers = set()
    for seed in range(8):
        for with_, without in zip(draw(kit, seed, ring=True), draw(kit, seed)):
            changed = np.abs(with_ - without).max(-1) > 0.05
            assert 0.0005 < changed.mean() < 0.02
            row, column = np.argwhere(changed).mean(0)
            fingers.add(
                int(np.linalg.norm(kit.atlas.texels(kit.atlas.joints) / 16 - [column, row], axis=1).argmin())
            )
    assert len(fingers) > 1


def test_an_atlas_belongs_to_any_hand_file(kit):
    assert kit.atlas.back.shape == (1538,) and 0.4 < kit.atlas.back.mean() < 0.6
    layer = HandLayer()
    assert kit.atlas.joints.shape == tuple(layer.rest_joints.shape)
