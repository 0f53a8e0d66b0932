import numpy as np
import pytest

from tempohand.synthetic import people
from tempohand.synthetic.people import PERSON_PROBABILITY, PLACES, person, place, skin_close
from tempohand.synthetic.places import desk, outdoors
from tempohand.synthetic.rooms import room

SKIN = np.array([200.0, 150.0, 120.0])


@pytest.mark.parametrize("draw", [room, desk, outdoors])
def test_a_place_is_a_picture_that_its_seed_determines(draw):
    pictures = [draw(np.random.default_rng(seed), 96) for seed in (0, 0, 1, 2, 3)]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert all(picture.shape == (96, 96, 3) and picture.dtype == np.uint8 for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == 4


def test_a_person_has_the_skin_that_was_asked_for():
    shown = 0
    for seed in range(12):
        canvas = person(np.random.default_rng(seed), np.zeros((128, 128, 3), np.uint8), SKIN)
        shown += (np.abs(canvas - SKIN).max(-1) < 25).mean() > 0.01
    assert shown >= 9
    close = skin_close(np.random.default_rng(0), 64, SKIN).reshape(-1, 3)
    np.testing.assert_allclose(np.median(close, axis=0), SKIN, rtol=0.25)


def test_every_kind_of_place_is_made(monkeypatch):
    assert set(PLACES) == set(PERSON_PROBABILITY) and abs(sum(PLACES.values()) - 1) < 1e-9
    for kind in PLACES:
        monkeypatch.setattr(people, "PLACES", {kind: 1.0})
        a, b = (place(np.random.default_rng(5), 80, (0.0, 0.03), np.array([0.8, 0.6, 0.5])) for _ in range(2))
        np.testing.assert_array_equal(a, b)
        assert a.shape == (80, 80, 3) and a.std() > 0.5
