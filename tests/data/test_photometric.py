"""Colour and noise of a clip: one draw, noise of each frame's own."""

import numpy as np

from tempohand.data.photometric import LUMA, Photometric


def drawn(**settings):
    """A draw in which every group acts."""
    return Photometric(**settings, probability=1.0).draw(np.random.default_rng(0))


def test_noise_follows_from_the_frames_number_alone():
    grey = np.full((16, 16, 3), 128, np.uint8)
    draw = drawn(blur=0.0)
    first, second, again = draw.apply([grey, grey, grey], np.array([4, 5, 4]))
    assert (first != second).any() and (first == again).all()
    alone = draw.apply([grey], np.array([5]))[0]
    assert (alone == second).all()  # whatever else is in the clip


def test_without_ranges_nothing_changes():
    picture = np.random.default_rng(1).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    none = dict.fromkeys(("brightness", "contrast", "saturation", "white_balance", "noise", "blur"), 0.0)
    assert (drawn(**none).apply([picture], np.arange(1))[0] == picture).all()


def test_saturation_leaves_luma_and_contrast_leaves_mid_grey():
    picture = np.random.default_rng(1).integers(60, 190, (8, 8, 3)).astype(np.uint8)
    none = dict.fromkeys(("brightness", "contrast", "white_balance", "noise", "blur"), 0.0)
    coloured = drawn(**none, saturation=0.3).apply([picture], np.arange(1))[0]
    assert (coloured != picture).any()
    assert np.abs(coloured @ LUMA - picture @ LUMA).max() <= 1.0
    none = dict.fromkeys(("brightness", "saturation", "white_balance", "noise", "blur"), 0.0)
    grey = np.full((8, 8, 3), 128, np.uint8)
    assert (drawn(**none, contrast=0.3).apply([grey], np.arange(1))[0] == grey).all()


def test_grey_clips_keep_luma_and_leave_the_other_draws_alone():
    """A draw without `grey` is what it was before there was one, and so are noise, blur and luma of a grey
    one without a tint."""
    picture = np.random.default_rng(1).integers(60, 190, (8, 8, 3)).astype(np.uint8)
    tints, greys, count = set(), 0, 400
    for seed in range(count):
        plain, never, sometimes = (
            Photometric(grey=grey).draw(np.random.default_rng(seed)) for grey in (0.0, 1e-9, 0.4)
        )
        assert (plain.noise, plain.blur, plain.seed) == (sometimes.noise, sometimes.blur, sometimes.seed)
        assert np.array_equal(plain.colour, never.colour)
        if np.array_equal(plain.colour, sometimes.colour):
            continue
        greys += 1
        assert np.linalg.matrix_rank(sometimes.colour[:, :3]) == 1
        shown = sometimes.colour[:, :3] @ picture.reshape(-1, 3).T + sometimes.colour[:, 3:]
        tint = (shown / shown[0])[:, 0]
        assert np.allclose(shown, tint[:, None] * shown[0]) and (np.abs(tint - 1) < 0.25).all()
        if np.allclose(tint, 1):
            expected = LUMA @ (plain.colour[:, :3] @ picture.reshape(-1, 3).T + plain.colour[:, 3:])
            assert np.allclose(shown, expected)
        tints.add(bool(np.allclose(tint, 1)))
    assert tints == {True, False} and 0.3 < greys / count < 0.5


def test_without_grey_nothing_is_drawn_for_it():
    """What a clip draws next (its mirror) is what it drew before there was a probability of grey: golden
    losses rest on it."""
    rng, before = np.random.default_rng(0), np.random.default_rng(0)
    draw = Photometric(probability=0.0).draw(rng)
    for _ in range(3):
        before.random()
    assert draw.seed == before.integers(2**31) and rng.random() == before.random()
