from dataclasses import replace

import numpy as np
import pytest
import torch

from tempohand.geometry import mirror_points, mirror_pose
from tempohand.synthetic.exposure_times import ClockConfig, sample_clock
from tempohand.synthetic.generate import film_sequence
from tempohand.synthetic.scene import compose

STEADY = ClockConfig(0.0, (0.0, 0.0), 0.0, (0.0, 0.0), (1, 3))
UNSTEADY = ClockConfig(1.0, (0.2, 0.9), 1.0, (0.3, 0.3), (1, 3))


def test_a_steady_clock_counts():
    clock = sample_clock(np.random.default_rng(0), 20, STEADY)
    np.testing.assert_array_equal(clock.moments, np.arange(22))
    np.testing.assert_array_equal(clock.kept, np.arange(1, 21))


def test_moments_rise_and_no_frame_is_kept_twice():
    lost, late = [], []
    for seed in range(100):
        moments, kept = sample_clock(np.random.default_rng(seed), 32, UNSTEADY)
        assert len(kept) == 32 and kept[0] == 1 and kept[-1] == len(moments) - 2
        assert (np.diff(moments) > 0).all() and (
            (moments - np.arange(len(moments)) >= 0) & (moments - np.arange(len(moments)) < 1)
        ).all()
        lost.extend(np.diff(kept) - 1)
        late.append(np.ptp(moments - np.arange(len(moments))))
    assert set(lost) == {0, 1, 2, 3} and 0.25 < np.mean(np.array(lost) > 0) < 0.35
    assert min(late) > 0.1 and 0.6 < max(late) < 0.9


def test_rows_carry_the_exposure_of_their_labels(settings, kit):
    """The hand at a row's time stamp is the one of the labels: the motion of a steady camera, read at those
    moments, passes through them."""
    config = settings(
        "synthetic-time",
        "occluder.probability=0",
        "cover.probability=0",
        "motion.handheld_probability=0",
        "frames_test=24",
    )
    config = replace(config, clock=UNSTEADY)
    rows = list(film_sequence(config, "test", 0))
    time, frame = (np.array([row[name] for row in rows]) for name in ("time", "frame"))
    assert (
        len(rows) == 24
        and (np.diff(time) > 0).all()
        and (np.diff(frame) >= 1).all()
        and (np.diff(frame) > 1).any()
    )
    assert ((time * 30 - frame >= 0) & (time * 30 - frame < 1)).all()
    scene = compose(np.random.default_rng([config.seed, 2, 0]), kit, 24, config)
    np.testing.assert_array_equal(time, (scene.clock.moments[scene.clock.kept] - 1) / 30)
    # The hand model, posed with what the row says, stands where the row's picture was taken.
    for place, row in enumerate(rows[::6]):
        pose, trans = torch.from_numpy(row["pose"])[None], torch.from_numpy(row["trans"])[None]
        pose, trans = (pose, trans) if row["is_right"] else (mirror_pose(pose), mirror_points(trans))
        joints = kit.layer(pose.float(), torch.from_numpy(row["shape"]).float()[None], trans.float()).joints
        joints = joints if row["is_right"] else mirror_points(joints)
        np.testing.assert_allclose(joints[0], row["joints"], atol=2e-2)
        np.testing.assert_array_equal(row["joints"], scene.joints[scene.clock.kept[6 * place]])


def test_the_motion_follows_the_time_stamps(settings, kit):
    """Drawn alike but for the clock, a late exposure shows the hand where it is by then."""
    config = settings(
        "synthetic-time", "occluder.probability=0", "cover.probability=0", "motion.handheld_probability=0"
    )
    for seed in range(4):
        steady = compose(np.random.default_rng(seed), kit, 24, replace(config, clock=STEADY))
        late = compose(
            np.random.default_rng(seed),
            kit,
            24,
            replace(config, clock=replace(UNSTEADY, drop_probability=0.0)),
        )
        if steady.joints.shape != late.joints.shape or steady.camera.focal[0] != late.camera.focal[0]:
            continue  # the later end took one more key pose
        at, between = steady.clock.moments, late.clock.moments[:-1]
        expected = np.stack(
            [np.interp(between, at, coordinate) for coordinate in steady.joints.reshape(26, -1).T], axis=1
        )
        error = np.abs(late.joints.reshape(26, -1)[:-1] - expected).max()
        moved = np.abs(np.diff(steady.joints, axis=0)).max()
        assert error < 0.25 * moved


@pytest.mark.parametrize("name", ["synthetic-demo", "synthetic-wide"])
def test_off_factors_change_nothing(settings, name):
    """What the clock, the covers and low light would draw has no say where they are off."""
    config = settings(name)
    other = replace(
        config,
        clock=replace(config.clock, late=(0.1, 0.5), drop_rate=(0.1, 0.2), drop_frames=(2, 9)),
        cover=replace(config.cover, seen_frames=(1, 2), hidden_frames=(5, 9), size=(2.0, 3.0)),
    )
    for index in range(2):
        a, b = (list(film_sequence(c, "test", index)) for c in (config, other))
        assert [row["image"] for row in a] == [row["image"] for row in b] and [row["time"] for row in a] == [
            row["time"] for row in b
        ]


def test_the_same_seed_gives_the_same_rows(settings):
    config = settings("synthetic-time", "frames_test=8")
    for index in range(2):
        a, b = (list(film_sequence(config, "test", index)) for _ in range(2))
        for one, other in zip(a, b, strict=True):
            assert all(np.array_equal(one[name], other[name]) for name in one)
