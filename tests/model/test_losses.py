import math
from dataclasses import replace

import pytest
import torch
from tests_support import random_batch, small_network

from tempohand.batch import Term
from tempohand.geometry import denormalise_pixels, normalise_pixels
from tempohand.model.heads import DEPTH_RANGE, UV_RANGE
from tempohand.model.losses import bins_cross_entropy, heatmap_cross_entropy, l1, posenet_terms, wrist_targets
from tempohand.model.registry import build_network
from tempohand.skeleton import HAND_SIZE_CHAIN
from tempohand.training.objective import combine


def prediction_and_batch(norm_by_hand=False):
    torch.manual_seed(0)
    net, batch = build_network(small_network(1, norm_by_hand=norm_by_hand)).eval(), random_batch(6, 1)
    with torch.no_grad():
        return net(batch), batch


def test_the_truth_costs_nothing():
    """Target fed as prediction: every regression term is zero, so units, frames and normalisations agree on
    both sides."""
    prediction, batch = prediction_and_batch()
    import roma

    target = batch.target
    uv, log_depth = wrist_targets(batch, 2.0, False)
    for name in ("pose", "shape", "trans", "joints", "joints2d"):
        setattr(prediction, name, getattr(target, name))
    prediction.rotation = roma.rotvec_to_rotmat(target.pose.unflatten(-1, (16, 3)))
    prediction.terms = {"uv": uv, "log_depth": log_depth}
    for name, term in posenet_terms(prediction, batch, 2.0, False).items():
        assert term.value.abs().max() < 1e-5, name


@pytest.mark.parametrize("norm_by_hand", [False, True])
def test_wrist_targets_give_the_wrist_back(norm_by_hand):
    from tempohand.geometry import hand_size
    from tempohand.model.heads import depth_prior, wrist_position

    batch = random_batch(4, 1)
    uv, log_depth = wrist_targets(batch, 2.0, norm_by_hand)
    depth = depth_prior(batch.focal, 64, 2.0, norm_by_hand=norm_by_hand) * log_depth.exp()
    wrist = wrist_position(uv, depth, batch.focal, batch.princpt, 64)
    if norm_by_hand:
        wrist = wrist * hand_size(batch.target.joints)[..., None]
    torch.testing.assert_close(wrist, batch.target.trans, atol=1e-2, rtol=1e-5)


def test_joints_are_compared_relative_to_the_wrist():
    prediction, batch = prediction_and_batch()
    before = posenet_terms(prediction, batch, 2.0, False)["joints"].value
    prediction.joints = prediction.joints + 1000
    torch.testing.assert_close(
        posenet_terms(prediction, batch, 2.0, False)["joints"].value, before, atol=1e-3, rtol=0
    )


def test_masked_labels_are_not_looked_at():
    """Labels that do not exist may hold anything: no term, and no gradient, changes."""
    prediction, batch = prediction_and_batch()
    target = batch.target
    target.hand_mask[0] = target.camera_mask[1] = False
    target.joints_mask = target.joints_mask.clone()
    target.joints_mask[2, 0, 5:] = False
    target.joints2d_mask = target.joints2d_mask.clone()
    target.joints2d_mask[3] = False
    weights = {
        "orientation": 1.0,
        "pose": 1.0,
        "shape": 1.0,
        "uv": 1.0,
        "depth": 1.0,
        "joints": 1.0,
        "joints2d": 1.0,
        "velocity": 1.0,
    }
    before, raw = combine(posenet_terms(prediction, batch, 2.0, False), weights)
    target.pose[0], target.shape[0], target.trans[0] = 9.0, 9.0, 9.0
    target.joints[2, 0, 5:] = -1e6
    target.joints2d[3] = 1e6
    after, _ = combine(posenet_terms(prediction, batch, 2.0, False), weights)
    torch.testing.assert_close(after, before)


def test_velocity_compares_neighbouring_clips():
    prediction, batch = prediction_and_batch()
    terms = posenet_terms(prediction, batch, 2.0, False)
    assert terms["velocity"].mask.sum(dim=(1, 2)).tolist() == [0, 21, 0, 21, 0, 21]
    relative = [(j - j[..., :1, :]) for j in (prediction.joints, batch.target.joints)]
    expected = ((relative[0][3] - relative[0][2]) - (relative[1][3] - relative[1][2])).abs()
    torch.testing.assert_close(terms["velocity"].value[3], expected)
    batch.previous = None
    assert "velocity" not in posenet_terms(prediction, batch, 2.0, False)


def test_motion_in_the_picture_does_not_depend_on_the_crops():
    """A crop that moves and grows sees the same joints elsewhere; the motion between two frames is the
    same, in widths of the later one's crop."""
    prediction, batch = prediction_and_batch()
    before = posenet_terms(prediction, batch, 2.0, False)["velocity2d"]
    size, scale, shift = batch.edge, 1.25, torch.tensor([11.0, -7.0])
    earlier = int(batch.previous[3])

    def moved(joints2d: torch.Tensor) -> torch.Tensor:
        joints2d = joints2d.clone()
        pixels = denormalise_pixels(joints2d[earlier], (size, size)) * scale + shift
        joints2d[earlier] = normalise_pixels(pixels, (size, size))
        return joints2d

    frames = batch.frames
    frames.focal, frames.princpt = frames.focal.clone(), frames.princpt.clone()
    last = batch.index[earlier, -1]
    frames.focal[last] *= scale
    frames.princpt[last] = frames.princpt[last] * scale + shift
    batch.target.joints2d = moved(batch.target.joints2d)
    prediction = replace(prediction, joints2d=moved(prediction.joints2d))
    after = posenet_terms(prediction, batch, 2.0, False)["velocity2d"]
    assert before.mask[3].all() and not before.mask[2].any() and before.value[3].max() > 1e-3
    torch.testing.assert_close(after.value[3], before.value[3], atol=1e-5, rtol=0)
    mask = batch.target.joints2d_mask = batch.target.joints2d_mask.clone()
    mask[earlier, 0, 5] = False
    after = posenet_terms(prediction, batch, 2.0, False)["velocity2d"]
    assert after.mask[3, 0].tolist() == [joint != 5 for joint in range(21)]


def test_motion_in_the_picture_is_in_widths_of_the_last_crop():
    prediction, batch = prediction_and_batch()
    joints2d = batch.target.joints2d.clone()
    joints2d[3] += torch.tensor([0.1, -0.2])
    value = posenet_terms(replace(prediction, joints2d=joints2d), batch, 2.0, False)["velocity2d"].value[3]
    torch.testing.assert_close(value, torch.tensor([0.1, 0.2]).expand_as(value), atol=1e-5, rtol=0)


@pytest.mark.parametrize("frame", ["earlier", "later"])
def test_a_motion_is_known_where_both_of_its_frames_are(frame):
    """Masks of the earlier frame count as those of the later one do, label by label; what a masked label
    holds changes nothing."""
    prediction, batch = prediction_and_batch()
    target, (masked, later) = (
        batch.target,
        ((2, 3) if frame == "earlier" else (3, 3)),
    )  # clip 3 follows clip 2
    target.joints_mask, target.hand_mask, target.camera_mask = (
        mask.clone() for mask in (target.joints_mask, target.hand_mask, target.camera_mask)
    )
    whole = posenet_terms(prediction, batch, 2.0, False)
    target.joints_mask[masked, 0, 7] = target.hand_mask[masked] = False
    terms = posenet_terms(prediction, batch, 2.0, False)
    assert whole["velocity"].mask[later].all() and whole["wrist_velocity"].mask[later].all()
    assert terms["velocity"].mask[later, 0].tolist() == [joint != 7 for joint in range(21)]
    assert not terms["wrist_velocity"].mask[later].any() and terms["velocity"].mask[[1, 5]].all()
    target.joints[masked, 0, 7], target.trans[masked] = -1e6, -1e6
    names = dict.fromkeys(("velocity", "wrist_velocity"), 1.0)
    torch.testing.assert_close(
        combine(posenet_terms(prediction, batch, 2.0, False), names)[0], combine(terms, names)[0]
    )
    target.hand_mask[masked], target.camera_mask[masked] = True, False
    assert not posenet_terms(prediction, batch, 2.0, False)["wrist_velocity"].mask[later].any()
    target.joints_mask[masked, 0, 0] = False  # a joint is known relative to the wrist
    assert not posenet_terms(prediction, batch, 2.0, False)["velocity"].mask[later].any()


def test_unequal_shapes_are_refused():
    with pytest.raises(AssertionError, match="against target"):
        l1(torch.zeros(2, 7, 48), torch.zeros(2, 1, 48))
    with pytest.raises(AssertionError, match="against mask"):
        Term(torch.zeros(2, 1, 3), torch.ones(2, 7, dtype=torch.bool))


def test_heatmap_cross_entropy_is_least_at_the_joint():
    joints2d = torch.tensor([[[[0.1, -0.3]]]]).expand(1, 1, 21, 2)
    maps = torch.zeros(1, 1, 21, 32, 32)
    column, row = int((0.1 + 0.5) * 32), int((-0.3 + 0.5) * 32)
    right, wrong = maps.clone(), maps.clone()
    right[..., row - 1 : row + 2, column - 1 : column + 2] = 4.0
    wrong[..., column - 1 : column + 2, row - 1 : row + 2] = 4.0  # x and y exchanged
    values = [heatmap_cross_entropy(m, joints2d)[0].mean() for m in (right, maps, wrong)]
    assert values[0] < values[1] < values[2]
    outside = heatmap_cross_entropy(maps, joints2d + 1)
    assert not outside[1].any() and outside[0].isfinite().all()


def test_targets_out_of_range_are_masked_not_lost():
    logits = torch.zeros(1, 1, 3, 64)
    value, within = bins_cross_entropy(logits, torch.tensor([[[0.2, 1.01, -5.0]]]))
    assert within.tolist() == [[[True, False, False]]] and value.isfinite().all()
    torch.testing.assert_close(
        value, torch.full((1, 1, 3), 64.0).log()
    )  # the target has all its mass, wherever it lies


def test_bins_cross_entropy_is_least_at_its_place():
    place = torch.linspace(-1, 1, 9)
    logits = torch.full((9, 33), -9.0)
    logits[torch.arange(9), ((place + 1) * 16).round().long()] = 3.0
    right, wrong = bins_cross_entropy(logits, place)[0], bins_cross_entropy(logits.flip(0), place)[0]
    assert (right[:4] < wrong[:4]).all() and (right[5:] < wrong[5:]).all()


@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -math.inf, 1e30])
@pytest.mark.parametrize("norm_by_hand", [False, True])
def test_masked_labels_may_hold_anything(nonsense, norm_by_hand):
    """Neither a term nor the gradient of any parameter changes with what a label that is masked out holds,
    non-finite values included."""
    torch.manual_seed(0)
    heads = {"translation": "heatmap"}
    net = build_network(
        small_network(1, norm_by_hand=norm_by_hand)
        | {"spatial": small_network(1)["spatial"] | {"heads": heads}}
    )
    batch = random_batch(6, 1)
    target = batch.target
    target.joints_mask, target.joints2d_mask = target.joints_mask.clone(), target.joints2d_mask.clone()
    target.hand_mask[0] = target.camera_mask[1] = False
    target.joints_mask[2, 0, 5:] = target.joints_mask[4, 0, 0] = target.joints2d_mask[3] = False

    def result():
        net.zero_grad()
        terms = net.criterion(net(batch), batch)
        loss, raw = combine(terms, dict.fromkeys(terms, 1.0))
        loss.backward()
        return raw, {name: parameter.grad.clone() for name, parameter in net.named_parameters()}

    before = result()
    target.pose[0], target.shape[0], target.trans[0] = nonsense, nonsense, nonsense
    target.joints[2, 0, 5:] = target.joints[4, 0, 0] = target.joints2d[3] = nonsense
    after = result()
    for first, second in zip(before, after):
        assert first.keys() == second.keys()
        for name in first:
            assert first[name].isfinite().all() and first[name].equal(second[name]), name


def test_the_translation_term_is_least_at_the_wrist_axis_by_axis():
    """Logits with a peak at the wrist's place, or at it with two of the three axes exchanged."""
    prediction, batch = prediction_and_batch()
    batch.target.joints2d[..., 0, :] = torch.tensor([0.3, -0.2])
    uv, log_depth = wrist_targets(batch, 2.0, False)
    place = torch.cat([uv / UV_RANGE, log_depth[..., None] / DEPTH_RANGE], dim=-1)
    bins, costs = torch.linspace(-1, 1, 64), {}
    for order in ((0, 1, 2), (1, 0, 2), (2, 1, 0), (0, 2, 1)):
        logits = -((bins - place[..., order, None]) ** 2) * 500
        prediction.terms["translation_logits"] = logits
        costs[order] = posenet_terms(prediction, batch, 2.0, False)["translation"].value.mean()
    assert min(costs, key=costs.get) == (0, 1, 2)


def test_a_depth_in_hand_sizes_needs_the_hand_s_size():
    prediction, batch = prediction_and_batch(norm_by_hand=True)
    batch.target.joints_mask = batch.target.joints_mask.clone()
    batch.target.joints_mask[2, 0, HAND_SIZE_CHAIN.start + 1] = False
    assert [
        posenet_terms(prediction, batch, 2.0, norm)["depth"].mask[2].item() for norm in (True, False)
    ] == [False, True]


def test_what_a_term_cannot_represent_is_told_from_what_has_no_label():
    """A joint outside the crop has a label and no place in its heat map."""
    torch.manual_seed(0)
    net, batch = build_network(small_network(1)), random_batch(4, 1)
    batch.target.joints2d[0, 0, :5] = 0.7
    batch.target.joints2d_mask = batch.target.joints2d_mask.clone()
    batch.target.joints2d_mask[1] = False
    term = net.criterion(net(batch), batch)["heatmap"]
    inside = (batch.target.joints2d.abs() <= 0.5).all(-1) & batch.target.joints2d_mask
    assert (
        term.known.equal(batch.target.joints2d_mask)
        and term.mask.equal(inside)
        and inside.sum() <= 3 * 21 - 5
    )
