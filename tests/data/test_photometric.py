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
