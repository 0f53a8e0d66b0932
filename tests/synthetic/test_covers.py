import numpy as np
import pytest

from tempohand.synthetic.covers import HALF_HIDDEN, runs
from tempohand.synthetic.generate import film_sequence
from tempohand.synthetic.given import Given
from tempohand.synthetic.render_sequence import SequenceRenderer
from tempohand.synthetic.scene import compose

STEADY = (
    "clock.drop_probability=0",
    "camera.border_probability=0",
    "occluder.probability=0",
    "cover.probability=1",
)


@pytest.fixture(scope="module")
def hidden(settings):
    """The hidden fraction over time of some sequences in which covers are sure."""
    config = settings(
        "synthetic-time",
        *STEADY,
        "frames_test=32",
        "film.shutter=[0.001,0.001]",
        "film.low_light_probability=0",
    )
    return [np.array([row["hidden"] for row in film_sequence(config, "test", index)]) for index in range(16)]


def test_runs():
    starts, stops = runs(np.array([1, 1, 0, 0, 1, 0, 1], bool))
    assert starts.tolist() == [0, 4, 6] and stops.tolist() == [2, 5, 7]
    assert all(len(part) == 0 for part in runs(np.zeros(5, bool)))


def test_a_hidden_run_lasts_3_to_15_frames_after_seen_ones(hidden, settings):
    lengths, config = [], settings("synthetic-time").cover
    for sequence in hidden:
        starts, stops = runs(sequence >= HALF_HIDDEN)
        seen = starts - np.concatenate([[0], stops[:-1]])[: len(starts)]
        assert (seen >= config.seen_frames[0] - 1).all(), "a history of seen frames before every cover"
        whole = (stops - starts)[stops < len(sequence)]
        # The rasters that choose a cover are coarse: an edge may be one frame off.
        assert (stops - starts <= config.hidden_frames[1] + 1).all() and (
            whole >= config.hidden_frames[0] - 1
        ).all()
        lengths.extend(whole)
    assert len(lengths) >= 8 and np.ptp(lengths) >= 4


def test_a_fifth_of_the_frames_is_half_hidden(hidden):
    share = np.mean(np.concatenate(hidden) >= HALF_HIDDEN)
    assert 0.12 < share < 0.32


def test_covers_come_and_go_quickly(hidden):
    for sequence in hidden:
        starts, stops = runs(sequence >= HALF_HIDDEN)
        for start, stop in zip(starts, stops, strict=True):
            before, after = sequence[max(start - 4, 0) : start], sequence[stop : stop + 4]
            assert before.min() < 0.2 and (len(after) < 4 or after.min() < 0.35)


def test_the_hand_moves_on_behind_the_cover(settings, kit):
    config = settings("synthetic-time", *STEADY)
    moved = []
    for seed in range(12):
        scene = compose(np.random.default_rng(seed), kit, 32, config)
        moved.append(np.linalg.norm(np.diff(scene.joints, axis=0), axis=-1).mean())
    assert np.median(moved) > 4.0, "mm a frame"


def test_nothing_reaches_into_the_hand(settings, kit):
    """Covers pass before the hand, they do not go through it."""
    config = settings("synthetic-time", *STEADY)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        scene = compose(rng, kit, 24, config)
        shot = SequenceRenderer(rng, scene, kit, config, Given())
        frames = [frame for frame in scene.clock.kept.tolist() if shot.picture(frame)[1] > HALF_HIDDEN]
        for thing in scene.things:
            deepest = thing.vertices()[frames][..., 2]
            size = np.ptp(thing.mesh.vertices, axis=0).min()
            assert size > 0 and (np.median(deepest, axis=1) < scene.vertices[frames][:, :778, 2].max(1)).all()
