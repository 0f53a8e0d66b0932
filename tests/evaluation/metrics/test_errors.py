import math

import numpy as np
import pytest
import roma
import torch
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.transform import Rotation

from tempohand.evaluation.metrics import errors as metrics


def random_hands(count, seed, offset=(10.0, -20.0, 500.0)):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 21, 3, generator=generator, dtype=torch.float64) * 40 + torch.tensor(
        offset, dtype=torch.float64
    )


@pytest.fixture
def pair():
    return random_hands(9, 0), random_hands(9, 1)


@pytest.fixture
def mask():
    chosen = torch.rand(9, 21, generator=torch.Generator().manual_seed(2)) < 0.7
    chosen[0] = True
    chosen[1] = False
    chosen[2] = False
    chosen[2, :2] = True  # too few for an alignment
    return chosen


def with_rubbish(true, mask):
    return true.masked_fill(~mask[..., None], float("nan"))


def naive_similarity(source, target, allow_reflection):
    """Arun / Umeyama by scipy: the best similarity, by search over both determinants."""
    source_centred, target_centred = source - source.mean(0), target - target.mean(0)
    rotation, scale = orthogonal_procrustes(source_centred, target_centred)
    scale /= (source_centred**2).sum()
    if np.linalg.det(rotation) < 0 and not allow_reflection:
        turn = Rotation.align_vectors(target_centred, source_centred)[0]
        turned = turn.apply(source_centred)
        return turned * ((turned * target_centred).sum() / (source_centred**2).sum()) + target.mean(0)
    return source_centred @ rotation * scale + target.mean(0)


def naive(predicted, true, mask, error, least=1):
    values = []
    for p, t, m in zip(predicted.numpy(), true.numpy(), mask.numpy()):
        values.append(error(p[m], t[m]) if m.sum() >= least else None)
    return values


def same(errors, expected):
    assert errors.value.dtype == torch.float64
    assert errors.valid.tolist() == [value is not None for value in expected]
    for got, value in zip(errors.value.tolist(), expected):
        if value is not None:
            assert got == pytest.approx(value, rel=1e-9, abs=1e-9)


def mean_distance(p, t):
    return np.mean([math.dist(a, b) for a, b in zip(p, t)])


def test_mpjpe_is_the_mean_distance_of_valid_joints(pair, mask):
    predicted, true = pair
    same(
        metrics.mpjpe(predicted, with_rubbish(true, mask), mask), naive(predicted, true, mask, mean_distance)
    )


def test_root_error_is_the_wrists_distance(pair, mask):
    predicted, true = pair
    expected = [
        math.dist(p[0], t[0]) if m[0] else None
        for p, t, m in zip(predicted.tolist(), true.tolist(), mask.tolist())
    ]
    same(metrics.root_error(predicted, with_rubbish(true, mask), mask), expected)


def test_mpjpe_root_needs_the_wrist_and_ignores_translation(pair, mask):
    predicted, true = pair
    rooted = mask & mask[:, :1]
    expected = naive(predicted - predicted[:, :1], true - true[:, :1], rooted, mean_distance)
    assert None in expected
    same(metrics.mpjpe_root(predicted, with_rubbish(true, mask), mask), expected)
    moved = predicted + torch.randn(9, 1, 3, dtype=torch.float64) * 300
    same(metrics.mpjpe_root(moved, true, mask), expected)


@pytest.mark.parametrize("allow_reflection", [False, True])
def test_pa_mpjpe_is_scipys_alignment_of_the_valid_joints(pair, mask, allow_reflection):
    predicted, true = pair
    expected = naive(
        predicted,
        true,
        mask,
        lambda p, t: mean_distance(naive_similarity(p, t, allow_reflection), t),
        least=metrics.MIN_PROCRUSTES_JOINTS,
    )
    assert None in expected
    same(
        metrics.pa_mpjpe(predicted, with_rubbish(true, mask), mask, allow_reflection=allow_reflection),
        expected,
    )


def test_pa_mpjpe_forgives_similarities_and_only_the_official_form_forgives_mirrors(pair):
    _, true = pair
    everything = torch.ones(9, 21, dtype=torch.bool)
    turn = roma.random_rotmat(9, dtype=torch.float64)
    similar = 0.3 * true @ turn.mT + torch.randn(9, 1, 3, dtype=torch.float64) * 100
    assert metrics.pa_mpjpe(similar, true, everything).value.max() < 1e-9
    mirrored = similar * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    assert metrics.pa_mpjpe(mirrored, true, everything).value.min() > 10
    assert metrics.pa_mpjpe(mirrored, true, everything, allow_reflection=True).value.max() < 1e-9


def test_mpvpe_root_subtracts_each_hands_own_wrist(pair):
    predicted, true = pair
    vertices = torch.randn(2, 9, 778, 3, dtype=torch.float64) * 50
    valid = torch.arange(9) % 3 > 0
    unknown = vertices[1].masked_fill(~valid[:, None, None], float("nan"))
    errors = metrics.mpvpe_root(
        metrics.relative_to_wrist(predicted, vertices[0]), metrics.relative_to_wrist(true, unknown), valid
    )
    p, t = (vertices[0] - predicted[:, :1]).numpy(), (vertices[1] - true[:, :1]).numpy()
    same(errors, [mean_distance(p[i], t[i]) if valid[i] else None for i in range(9)])


def uneven(count, seed=3):
    """Time stamps of 30 frames/s, late by up to 10 ms, with dropped frames."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(
        1e6 + np.cumsum(rng.choice([1, 1, 1, 2], count)) / 30 + rng.uniform(0, 0.01, count)
    )


def test_accel_error_is_vibes_where_time_is_even(pair, mask):
    predicted, true = pair
    mask = mask | (torch.arange(9) > 2)[:, None]
    mask[5, 3:] = False
    time = torch.arange(9, dtype=torch.float64) / 30
    time[7:] += 1.0  # a pause after the seventh
    p, t, m = predicted.numpy(), true.numpy(), mask.numpy()
    expected = [None] * 9
    for i in range(1, 6):
        difference = (p[i - 1] - 2 * p[i] + p[i + 1]) - (t[i - 1] - 2 * t[i] + t[i + 1])
        joints = [j for j in range(21) if m[i - 1, j] and m[i, j] and m[i + 1, j]]
        if joints:
            expected[i] = np.mean([np.linalg.norm(difference[j]) for j in joints])
    assert expected[4] is not None and expected[1] is None
    same(metrics.accel_error(predicted, with_rubbish(true, mask), mask, time), expected)


def test_derivatives_are_exact_for_polynomials_at_any_times():
    time = uneven(12)
    x, coefficients = (
        time - time[0],
        torch.randn(4, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    )
    points = sum(c * (x**k)[:, None, None] for k, c in enumerate(coefficients))
    np.testing.assert_allclose(
        metrics.derivative(points, time, 3), (6 * coefficients[3]).expand(9, 5, 3), rtol=1e-4
    )
    parabola = points - coefficients[3] * (x**3)[:, None, None]
    np.testing.assert_allclose(
        metrics.derivative(parabola, time, 2), (2 * coefficients[2]).expand(10, 5, 3), rtol=1e-5
    )
    for late in (time.flip(0), time[[0, 1, 1]]):
        with pytest.raises(ValueError, match="must rise"):
            metrics.derivative(points[: len(late)], late, 1)


def test_dropped_and_late_frames_make_no_acceleration_and_no_jitter(pair):
    _, true = pair
    time, everything = uneven(9), torch.ones(9, 21, dtype=torch.bool)
    moving = true[:1] + (time - time[0])[:, None, None] * torch.tensor(
        [500.0, -200.0, 900.0], dtype=torch.float64
    )
    braking = moving + ((time - time[0]) ** 2)[:, None, None] * 300
    assert metrics.accel_error(moving, true[:1].expand_as(moving), everything, time).value.max() < 1e-4
    assert metrics.accel_error(braking + 40, braking, everything, time).value.max() < 1e-4
    errors = metrics.jitter(braking, everything[:, 0], time)
    assert errors.valid.tolist() == [False] * 3 + [True] * 6 and errors.value.max() < 1e-3


def test_jitter_is_the_mean_jerk_in_si_units():
    time = torch.arange(40, dtype=torch.float64) / 100
    amplitude, turns = torch.rand(21, generator=torch.Generator().manual_seed(0)).double() * 10, 5.0
    points = torch.zeros(40, 21, 3, dtype=torch.float64)
    points[..., 1] = amplitude * torch.sin(turns * time)[:, None]
    errors = metrics.jitter(points, torch.ones(40, dtype=torch.bool), time)
    middle = time[3:] - 0.015  # a third difference looks at the middle of its four frames
    expected = amplitude.mean() * 1e-3 * turns**3 * torch.cos(turns * middle).abs()
    np.testing.assert_allclose(errors.value[3:], expected, rtol=2e-3, atol=1e-5)


def test_jitter_needs_four_valid_frames_without_a_pause(pair):
    predicted, _ = pair
    time, valid = torch.arange(9, dtype=torch.float64) / 30, torch.ones(9, dtype=torch.bool)
    assert metrics.jitter(predicted, valid, time).valid.tolist() == [False] * 3 + [True] * 6
    valid[4] = False
    assert metrics.jitter(predicted, valid, time).valid.tolist() == [False] * 3 + [True] + [False] * 4 + [
        True
    ]
    time[5:] += 1
    assert metrics.jitter(predicted, valid | True, time).valid.tolist() == [False] * 3 + [
        True,
        True,
        False,
        False,
        False,
        True,
    ]


def test_speed_is_that_of_real_time_and_silent_where_nothing_is_known():
    time = uneven(9)
    velocity = torch.randn(21, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 100
    points, mask = (time - time[0])[:, None, None] * velocity, torch.ones(9, 21, dtype=torch.bool)
    np.testing.assert_allclose(
        metrics.speed(points, mask, time), float(velocity.norm(dim=-1).mean()), rtol=1e-5
    )
    mask[:, 5:] = False
    mask[3] = False
    known = metrics.speed(points.masked_fill(~mask[..., None], torch.nan), mask, time)
    assert known.isnan().tolist() == [False] * 3 + [True] + [False] * 5
    np.testing.assert_allclose(known[~known.isnan()], float(velocity[:5].norm(dim=-1).mean()), rtol=1e-5)
    assert metrics.speed(points[:1], mask[:1], time[:1]).isnan().all()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_short_sequences_have_no_acceleration(count):
    hands, time = random_hands(count, 0), torch.arange(count).double()
    errors = metrics.accel_error(hands, hands, torch.ones(count, 21, dtype=torch.bool), time)
    assert errors.valid.shape == (count,) and not errors.valid.any()
    assert not metrics.jitter(hands, torch.ones(count, dtype=torch.bool), time).valid.any()


def test_auc_areas_are_the_trapezoids_of_every_joints_curve(pair, mask):
    predicted, true = pair
    predicted = true + 0.4 * (predicted - true)
    predicted[0, :2] = true[0, :2] + predicted[0, :1] - true[0, :1]  # exactly right
    joints = predicted, with_rubbish(true, mask), mask
    area, known = metrics.auc_areas(*joints)
    d, k = metrics.joint_errors_root(*joints)[0].numpy(), known.numpy()
    thresholds = np.linspace(0, 50, 100)
    areas = []
    for joint in range(21):
        if k[:, joint].any():
            curve = [np.mean([d[i, joint] <= tau for i in range(9) if k[i, joint]]) for tau in thresholds]
            areas.append(np.trapezoid(curve, thresholds) / 50)
            assert area[known[:, joint], joint].mean() == pytest.approx(areas[-1], rel=1e-12)
    assert 0.05 < np.mean(areas) < 0.95


def test_a_diverged_prediction_is_an_error_and_never_dropped(pair):
    predicted, true = pair
    predicted[3, 2, 1] = float("nan")
    with pytest.raises(ValueError, match="1 of 9 predictions are not finite"):
        metrics.mpjpe(predicted, true, torch.zeros(9, 21, dtype=torch.bool))


TIMES = torch.arange(9.0, dtype=torch.float64)
ERRORS_OF_JOINTS = {
    "mpjpe": metrics.mpjpe,
    "mpjpe_root": metrics.mpjpe_root,
    "pa_mpjpe": metrics.pa_mpjpe,
    "root_error": metrics.root_error,
    "accel_error": lambda joints, true, mask: metrics.accel_error(
        joints, true, mask, TIMES.to(joints.device)
    ),
    "jitter": lambda joints, _, mask: metrics.jitter(joints, mask[:, 0], TIMES.to(joints.device)),
    "speed": lambda joints, _, mask: metrics.Errors(
        metrics.speed(joints, mask, TIMES.to(joints.device)), mask[:, 0]
    ),
}


@pytest.mark.parametrize("name", ERRORS_OF_JOINTS)
def test_errors_are_computed_where_their_joints_are(name, monkeypatch):
    """On the device "meta", which knows shapes alone: values of another device written into it, or the
    reverse, raise."""
    monkeypatch.setattr(metrics, "refuse_not_finite", lambda _: None)  # asks for a value, which is not there
    monkeypatch.setattr(metrics, "refuse_falling_time", lambda _: None)
    monkeypatch.setattr(metrics, "median_step", lambda _: 1.0)
    joints, mask = torch.empty(9, 21, 3, device="meta"), torch.empty(9, 21, dtype=torch.bool, device="meta")
    errors = ERRORS_OF_JOINTS[name](joints, joints, mask)
    assert errors.value.device.type == errors.valid.device.type == "meta"
    assert errors.value.shape == errors.valid.shape == (9,)


def test_a_prediction_that_is_not_finite_is_counted_and_refused(pair):
    predicted, true = pair
    predicted[3, 5, 0] = float("nan")
    for error in (metrics.mpjpe, metrics.pa_mpjpe):
        with pytest.raises(ValueError, match="1 of 9 predictions are not finite"):
            error(predicted, true, torch.ones(9, 21, dtype=torch.bool))
