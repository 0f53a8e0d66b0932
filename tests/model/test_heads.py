"""Properties of the heads: which axis is which, what a hand size means, and float32 from the token on."""

import pytest
import torch
from tests_support import random_batch, small_network, with_features

from tempohand.geometry import hand_size, normalise_pixels, project
from tempohand.model.heads import (
    DEPTH_RANGE,
    PRIOR_EXTENT_MM,
    UV_RANGE,
    Heads,
    JointHeatmaps,
    depth_prior,
    wrist_position,
)
from tempohand.model.losses import bins_cross_entropy, heatmap_cross_entropy
from tempohand.model.registry import build_network
from tempohand.model.temporal_posenet import TemporalPoseNet
from tempohand.skeleton import MEAN_HAND_SIZE_MM

GRID, UPSAMPLE = 4, 2


def network(stage: int, **changes):
    torch.manual_seed(0)
    return build_network(small_network(stage, **changes)).eval()


@pytest.mark.parametrize("row, column", [(0, 3), (2, 0), (3, 2)])
def test_a_joint_is_read_where_its_map_and_its_loss_have_it(row, column):
    """Every map has its only peak in one cell of the raster: u counts columns to the right, v rows
    downward."""
    heatmaps = JointHeatmaps(GRID**2, GRID, UPSAMPLE)
    tokens = torch.eye(GRID**2)[
        None
    ]  # row by row: token row * GRID + column is the only one with that channel
    with torch.no_grad():
        heatmaps.map.weight.zero_()
        heatmaps.map.bias.zero_()
        heatmaps.map.weight[:, row * GRID + column] = 50.0
        logits, _, readings = heatmaps(tokens)
    place = torch.tensor([column + 0.5, row + 0.5]) / GRID - 0.5
    torch.testing.assert_close(readings[0, :, :2], place.expand(21, 2), atol=1e-4, rtol=0)
    costs = [
        heatmap_cross_entropy(logits[:, None], where.expand(1, 1, 21, 2))[0].mean()
        for where in (place, place.flip(0))
    ]
    assert costs[0] + 1 < costs[1]


def test_the_translation_head_says_what_its_loss_asks_for():
    """Peaks over u, v and depth in bins of their own: the expectation is the place at which the cross-entropy
    is least, axis by axis."""
    heads, bins = Heads(1, translation="heatmap", bins=64), torch.tensor([40, 20, 50])
    with torch.no_grad():
        heads.translation.linear.weight.zero_()
        heads.translation.linear.bias.copy_(torch.nn.functional.one_hot(bins, 64).flatten() * 50.0)
        said = heads(torch.zeros(1, 1))
    wanted = bins / 63 * 2 - 1
    place = torch.cat([said.uv / UV_RANGE, said.log_depth[:, None] / DEPTH_RANGE], dim=-1)
    torch.testing.assert_close(place[0], wanted, atol=1e-3, rtol=0)
    logits = said.extra["translation_logits"][0]
    for axis in range(3):
        costs = torch.stack([bins_cross_entropy(logits[axis], where)[0] for where in wanted])
        assert costs.argmin() == axis


def test_the_wrist_is_seen_where_it_was_said_to_be():
    batch, uv = random_batch(4, 1), torch.tensor([[[0.1, -0.3]], [[-0.4, 0.2]], [[0.0, 0.45]], [[0.3, 0.0]]])
    focal = batch.focal * torch.tensor([1.0, 1.2])
    wrist = wrist_position(uv, torch.full((4, 1), 600.0), focal, batch.princpt, 64)
    torch.testing.assert_close(wrist[..., 2], torch.full((4, 1), 600.0))
    torch.testing.assert_close(
        normalise_pixels(project(wrist, focal[:, 0], batch.princpt[:, 0]), (64, 64)), uv, atol=1e-5, rtol=0
    )


def test_a_hand_at_the_prior_depth_fills_its_box():
    focal = torch.tensor([[100.0, 144.0], [700.0, 700.0]])
    depth = depth_prior(focal, 128, 2.0, norm_by_hand=False)
    torch.testing.assert_close(
        focal.prod(-1).sqrt() * PRIOR_EXTENT_MM / depth, torch.full((2,), 64.0)
    )  # px of a 128 px crop of 2 boxes


def test_a_prior_in_hand_sizes_is_that_of_a_hand_of_mean_size():
    focal = torch.tensor([[100.0, 144.0], [700.0, 700.0]])
    plain, sizes = (depth_prior(focal, 128, 2.0, norm_by_hand=norm) for norm in (False, True))
    torch.testing.assert_close(sizes * MEAN_HAND_SIZE_MM, plain)
    assert (sizes < 30).all(), "a depth in hand sizes"


def test_under_norm_by_hand_the_same_network_is_as_far_as_its_hand_is_large():
    batch = random_batch(3, 1)
    with torch.no_grad():
        plain, scaled = (network(1, norm_by_hand=norm)(batch) for norm in (False, True))
    size = hand_size(plain.joints) / MEAN_HAND_SIZE_MM
    torch.testing.assert_close(scaled.trans, plain.trans * size[..., None], atol=1e-2, rtol=1e-4)


def linear_layers_after_the_features(net) -> dict:
    """Those whose outputs are parameters of a hand, or changes of them."""
    heads = {
        "pose": net.spatial.heads.pose,
        "shape": net.spatial.heads.shape,
        "translation": net.spatial.heads.translation.linear,
    }
    if not isinstance(net, TemporalPoseNet):
        return heads | {"side": net.spatial.side}
    return heads | {"out": net.temporal.out, "correct": net.temporal.correct, "gate": net.temporal.mix.gate}


@pytest.mark.parametrize("stage, frames", [(1, 1), (2, 7)])
@pytest.mark.parametrize("translation", ["regression", "heatmap"])
def test_what_becomes_a_hand_is_float32_under_autocast(stage, frames, translation):
    settings = small_network(stage)
    settings["spatial"]["heads"] = {"translation": translation}
    torch.manual_seed(0)
    net, dtypes = build_network(settings).eval(), {}
    for name, layer in linear_layers_after_the_features(net).items():
        layer.register_forward_hook(
            lambda _, inputs, output, name=name: dtypes.setdefault(name, set()).add(output.dtype)
        )
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        net(random_batch(2, frames))
    assert dtypes == dict.fromkeys(linear_layers_after_the_features(net), {torch.float32})


def test_autocast_changes_features_and_nothing_behind_them():
    """Stage 1 from the same features: the same hand, to the last bit, with and without autocast."""
    net, batch = network(1), random_batch(4, 1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
        with torch.autocast("cpu", torch.bfloat16):
            features = net.encode(batch.frames)
        for dtype in (torch.float32, torch.bfloat16):
            given = features.to(dtype)
            with torch.autocast("cpu", torch.bfloat16):
                under = net(with_features(batch, given))
            outside = net(with_features(batch, given.float()))
            for name in ("trans", "joints", "shape", "rotation"):
                assert torch.equal(getattr(under, name), getattr(outside, name)), (name, dtype)
