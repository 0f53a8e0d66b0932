import math

import pytest
import torch

from tempohand.evaluation.hands import Hands, TrueHands
from tempohand.evaluation.metrics.lag import (
    FEWEST_FRAMES,
    LEAST_MOTION_2D,
    REACH,
    lag,
    lag_curves,
    lag_curves_2d,
)
from tempohand.evaluation.metrics.registry import METRICS, frame_errors
from tempohand.evaluation.scores import ScoreBoard, figures
from tempohand.geometry import project

FPS = 30.0


def path(time, seed=0, points=21, amplitude=20.0):
    """Points of which each swings in its own way, slowly enough for 30 frames/s: [n, points, 2]."""
    generator = torch.Generator().manual_seed(seed)
    shape = (3, 1, points, 2)
    turns = 0.3 + 1.2 * torch.rand(shape, generator=generator, dtype=torch.float64)  # Hz
    phase = 2 * math.pi * torch.rand(shape, generator=generator, dtype=torch.float64)
    return amplitude * torch.sin(2 * math.pi * turns * time.double()[:, None, None] + phase).sum(dim=0)


def lag_of(predicted, true, time, mask=None, least=1.0):
    mask = torch.ones(true.shape[:2], dtype=torch.bool) if mask is None else mask
    curve, valid = lag_curves(predicted, true, mask, time, least)
    return float(lag(curve[valid].mean(dim=0))), valid


EVEN = torch.arange(40).double() / FPS


@pytest.mark.parametrize("frames", [-2, -0.5, 0, 0.25, 1, 1.5, 2.75, 4])
def test_a_path_that_is_late_by_some_frames_has_that_lag(frames):
    found, valid = lag_of(path(EVEN - frames / FPS), path(EVEN), EVEN)
    assert found == pytest.approx(frames, abs=0.05)
    assert valid.nonzero()[:, 0].tolist() == list(range(REACH, 40 - REACH))


def test_noise_and_constant_differences_are_no_lag():
    generator = torch.Generator().manual_seed(3)
    time = torch.arange(200).double() / FPS
    noise = torch.randn(200, 21, 2, generator=generator, dtype=torch.float64) * 8
    offset = torch.randn(21, 2, generator=generator, dtype=torch.float64) * 30
    assert lag_of(path(time - 1 / FPS) + noise + offset, path(time), time)[0] == pytest.approx(1, abs=0.1)


def test_frames_may_come_late_or_not_at_all():
    generator = torch.Generator().manual_seed(1)
    time = torch.arange(90).double() / FPS
    time = time[torch.rand(90, generator=generator) > 0.15]
    time = time + 0.004 * torch.rand(len(time), generator=generator, dtype=torch.float64)
    assert lag_of(path(time - 1.5 / FPS), path(time), time)[0] == pytest.approx(1.5, abs=0.1)


def test_one_crop_of_another_zoom_changes_no_place_along_the_picture():
    """In a crop that is nearer, focal length and places from the axis grow alike; the middle box is the
    unit."""
    count = len(EVEN)
    axis, focal = torch.rand(count, 2).double(), torch.full((count, 2), 300.0).double()
    zoom = torch.ones(count, 1).double()
    zoom[4] = 10.0
    paths, everything = (path(EVEN - 1 / FPS), path(EVEN)), torch.ones(count, 21, dtype=torch.bool)
    plain, valid = lag_curves(*paths, everything, EVEN, LEAST_MOTION_2D)
    assert valid.any()
    places = (axis[:, None] + points / 100 * zoom[:, None] for points in paths)
    seen = lag_curves_2d(*places, everything, focal * zoom, axis, EVEN)
    torch.testing.assert_close(seen, (plain, valid))


def test_what_is_unknown_is_not_looked_at():
    mask = torch.rand(40, 21, generator=torch.Generator().manual_seed(2)) < 0.97
    mask[:, 5] = False
    true = path(EVEN).masked_fill(~mask[..., None], torch.nan)
    found, valid = lag_of(path(EVEN - 2 / FPS), true, EVEN, mask)
    assert found == pytest.approx(2, abs=0.1) and valid.any()


def test_after_a_pause_nothing_is_made_up():
    """No frame is compared with a place between two frames that are far from each other."""
    time = torch.cat([EVEN, EVEN + 100])
    _, valid = lag_of(path(time), path(time), time)
    assert valid.nonzero()[:, 0].tolist() == [*range(REACH, 40 - REACH), *range(40 + REACH, 80 - REACH)]


@pytest.mark.parametrize("change", ["mirrored", "scaled", "rotated"])
def test_the_same_lag_in_another_picture(change):
    angle = torch.tensor(0.7, dtype=torch.float64)
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    matrix = {
        "mirrored": torch.tensor([[-1.0, 0], [0, 1.0]]).double(),
        "scaled": 3 * torch.eye(2).double(),
        "rotated": turn,
    }[change]
    predicted, true = path(EVEN - 1.25 / FPS), path(EVEN)
    assert lag_of(predicted @ matrix.mT, true @ matrix.mT, EVEN)[0] == pytest.approx(
        lag_of(predicted, true, EVEN)[0], abs=1e-9
    )


def test_a_hand_that_does_not_move_or_too_short_a_sequence_has_none():
    still = path(EVEN[:1]).expand(40, -1, -1)
    noise = torch.randn(40, 21, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for true in (still, still + 0.1 * noise, still + EVEN[:, None, None] * 30):  # at a constant velocity
        found, valid = lag_of(true + noise, true, EVEN)
        assert math.isnan(found) and not valid.any()
    short = EVEN[: 2 * REACH + FEWEST_FRAMES]
    assert lag_of(path(short), path(short), short)[0] == pytest.approx(0, abs=0.05)
    assert math.isnan(lag_of(path(short[1:]), path(short[1:]), short[1:])[0])
    for count in (0, 1, 2):
        assert math.isnan(lag_of(path(EVEN[:count]), path(EVEN[:count]), EVEN[:count])[0])


def test_a_lag_beyond_the_range_is_its_end():
    slow = torch.arange(120).double() / (4 * FPS)  # the same motion, seen by four times the frames
    assert lag_of(path(slow - 9 / (4 * FPS)), path(slow), slow)[0] == REACH
    assert lag_of(path(slow + 9 / (4 * FPS)), path(slow), slow)[0] == -REACH


def seen(late, crops=1.0, size=1.0, fast=slice(0, 0)):
    """(prediction, truth) of a hand that swings before a resting camera, in crops that follow it; the
    prediction repeats it `late` frames later.

    crops: edge of the crops' boxes over the hand's. size: of the pictures. fast: frames on which the
    prediction is late by another 2 frames.
    """
    count = 80
    time = torch.arange(count).double() / FPS
    hand = torch.randn(21, 3, generator=torch.Generator().manual_seed(4)).double() * 30
    hand[0] = 0

    def joints(when):
        wrist = torch.stack(
            [90 * torch.sin(5 * when), 60 * torch.sin(3 * when + 1), 500 + 40 * torch.cos(2 * when)], dim=-1
        )
        return wrist[:, None] + hand

    delay = torch.full((count,), late / FPS, dtype=torch.float64)
    delay[fast] += 2 / FPS
    true, predicted = joints(time), joints(time - delay)
    camera = torch.full((count, 2), 600.0 * size), torch.full((count, 2), 320.0 * size)
    pixels = project(true.float(), *camera)
    low, high = pixels.amin(dim=1), pixels.amax(dim=1)
    edge = (high - low).amax(dim=-1, keepdim=True) * crops
    everything = torch.ones(count, 21, dtype=torch.bool)
    vertices = torch.zeros(count, 778, 3)
    middle = (low + high) / 2
    truth = TrueHands(
        joints=true.float(),
        joints_mask=everything,
        vertices=vertices,
        hand_mask=everything[:, 0] & False,
        camera_mask=everything[:, 0],
        hidden=torch.zeros(count),
        frame=torch.arange(count),
        time=time,
        joints2d=(pixels - middle[:, None]) / edge[:, None],
        joints2d_mask=everything,
        focal=camera[0] / edge,
        princpt=(camera[1] - middle) / edge,
    )
    return Hands(predicted.float(), vertices), truth


def scored(*sequences, splits=None):
    board = ScoreBoard(["a"], list(splits or ["all"]), len(sequences))
    for number, (hands, true) in enumerate(sequences):
        board.add(
            "a", number, frame_errors(hands, true), splits or {"all": torch.ones(len(true), dtype=torch.bool)}
        )
    return board.compute()["a"]


@pytest.mark.parametrize("late", [-1, 0, 0.5, 2])
def test_hands_that_are_late_are_late_in_the_picture_and_in_space(late):
    """Though the crops follow the hand, in which it hardly moves."""
    result = scored(seen(late))["all"]
    assert result["lag_2d"] == pytest.approx(late, abs=0.05) and result["lag_wrist"] == pytest.approx(
        late, abs=0.05
    )


def test_2d_error_is_in_per_cent_of_the_box_whatever_the_size_of_pictures():
    once, large, wide = (scored(seen(2, **how))["all"] for how in ({}, {"size": 3.0}, {"crops": 2.0}))
    assert once["error_2d"] > 3
    assert large["error_2d"] == pytest.approx(once["error_2d"], rel=1e-4) and large[
        "lag_2d"
    ] == pytest.approx(once["lag_2d"], abs=1e-4)
    assert wide["error_2d"] == pytest.approx(once["error_2d"] / 2, rel=1e-4)
    hands, true = seen(0)
    true.joints2d = true.joints2d + torch.tensor([0.03, 0.04])
    assert scored((hands, true))["all"]["error_2d"] == pytest.approx(5.0, abs=1e-3)


def test_sequences_and_splits_have_their_own_lag():
    chosen = torch.zeros(80, dtype=torch.bool)
    chosen[40:60] = True
    result = scored(seen(0.5, fast=slice(40, 60)), splits={"rest": ~chosen, "fast": chosen})
    assert result["rest"]["lag_2d"] == pytest.approx(0.5, abs=0.2) and result["fast"][
        "lag_2d"
    ] == pytest.approx(2.5, abs=0.2)
    assert scored(seen(1), seen(2))["all"]["lag_2d"] == pytest.approx(1.5, abs=0.1)


def test_hands_without_a_real_camera_have_a_lag_in_the_picture_alone():
    hands, true = seen(1)
    true.camera_mask[:] = False
    result = scored((hands, true))["all"]
    assert result["lag_2d"] == pytest.approx(1, abs=0.05) and math.isnan(result["lag_wrist"])


def test_a_board_without_any_sample_has_no_lag():
    board = ScoreBoard(["a"], ["all"], 3)
    result = dict(zip(METRICS, figures(board.state)[0, 0, 0].tolist()))
    assert math.isnan(result["lag_2d"]) and math.isnan(result["error_2d"])
