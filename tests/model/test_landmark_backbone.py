"""The hand landmark network as a backbone: its levels as tokens, its landmarks in the token and under the
heat maps; frozen, its tokens stand for the picture."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tests_support import compose_config, random_batch

from tempohand.batch import ClipBatch
from tempohand.model.landmark_backbone import LANDMARK_DIM, landmark_vector, places_in_crop
from tempohand.model.landmarks import HandLandmarkNetwork
from tempohand.model.posenet import PoseNet
from tempohand.model.registry import build_network

SIZE = 224


def settings(stage: int = 1, **changes) -> dict:
    network = compose_config("stage1-small")["network"]
    if stage == 2:
        network = compose_config("stage2-small")["network"]
    return network | changes


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return build_network(settings()).eval()


@pytest.fixture(scope="module")
def batch() -> ClipBatch:
    return random_batch(2, 1, size=SIZE)


def test_tokens_are_the_networks_levels(net, batch):
    """Each level normalised where it is; finer ones folded; the landmarks the same everywhere."""
    backbone, image = net.spatial.backbone, batch.frames.image
    with torch.no_grad():
        tokens = backbone(image).unflatten(1, (7, 7))
        maps = HandLandmarkNetwork.load().features(image)
    assert backbone.lines == ["backbone: 102 of 102 weights from 'timm'"]
    assert backbone.grid == 7 and tokens.shape[-1] == 16 * 40 + 4 * 112 + 192 + 1152 + LANDMARK_DIM
    fine = maps[0][:, :, 8:12, 20:24].flatten(1)  # what lies over the place in row 2, column 5
    torch.testing.assert_close(tokens[:, 2, 5, : fine.shape[1]], F.layer_norm(fine, fine.shape[1:]))
    last = maps[-1][:, :, 2, 5]
    torch.testing.assert_close(
        tokens[:, 2, 5, -1152 - LANDMARK_DIM : -LANDMARK_DIM], F.layer_norm(last, last.shape[1:])
    )
    vector = landmark_vector(HandLandmarkNetwork.load().read(maps[-1]))
    torch.testing.assert_close(tokens[..., -LANDMARK_DIM:], vector[:, None, None].expand(-1, 7, 7, -1))


def test_heat_maps_start_at_the_landmarks(net, batch):
    """With the maps' own part at zero they have their expectation where the backbone sees a joint."""
    heatmaps = net.spatial.heatmaps
    places = torch.rand(2, 21, 2, generator=torch.Generator().manual_seed(0)) * 0.6 - 0.3
    tokens = torch.zeros(2, 49, 256)
    with torch.no_grad():
        heatmaps.map.bias.zero_()
        heatmaps.anchor_logit.fill_(30.0)
        readings = heatmaps(tokens, places)[2]
    torch.testing.assert_close(readings[..., :2], places, atol=0.01, rtol=0)
    assert places_in_crop(torch.arange(float(LANDMARK_DIM))[None])[0, 1].tolist() == [3, 4]


def test_landmarks_enter_the_hand(net, batch):
    tokens = net.encode(batch.frames)
    other = tokens.unflatten(1, (49, -1)).clone()
    other[..., -1] += 0.5
    with torch.no_grad():
        one, two = (
            net(replace(batch, frames=replace(batch.frames, image=None, features=features))).joints
            for features in (tokens, other.flatten(1))
        )
    assert not torch.equal(one, two)


def test_cached_tokens_give_what_the_picture_gives(net, batch):
    assert net.frozen is net.spatial.backbone and net.encode(batch.frames).shape[1] == net.feature_dim
    with torch.no_grad():
        online = net(batch)
        frames = replace(batch.frames, image=None, features=net.encode(batch.frames))
        cached = net(replace(batch, frames=frames))
    for name in ("joints", "joints2d"):
        assert torch.equal(getattr(online, name), getattr(cached, name))
    assert torch.equal(online.terms["heatmaps"], cached.terms["heatmaps"])


def test_a_frozen_backbone_does_not_learn(net, batch):
    learning = build_network(settings(frozen_backbone=False))
    assert learning.frozen is None and all(p.requires_grad for p in learning.spatial.backbone.parameters())
    assert not any(parameter.requires_grad for parameter in net.spatial.backbone.parameters())
    assert not net.train().spatial.backbone.training and net.spatial.decoder.training
    net.eval()


def test_parts_of_a_backbone_are_frozen_by_name(batch):
    part = ["stem", "stages.0"]
    network = build_network(settings(frozen_backbone=part)).train()
    assert network.frozen is None and not PoseNet.has_frozen_part(settings(frozen_backbone=part))
    said = network(batch)
    sum(term.value.mean() for term in network.criterion(said, batch).values()).backward()
    for name, parameter in network.spatial.backbone.net.named_parameters():
        fixed = name.startswith(("stem.", "stages.0."))
        assert parameter.requires_grad != fixed and (parameter.grad is None) >= fixed, name
    assert network.spatial.backbone.net.stages[1][0].project.weight.grad.abs().max() > 0
    modules = dict(network.spatial.backbone.net.named_modules())
    assert not any(modules[name].training for name in part) and modules["stages.1"].training
    with pytest.raises(ValueError, match="frozen_backbone: the backbone has no module 'blocks.0'; it has"):
        build_network(settings(frozen_backbone=["blocks.0"]))


def test_a_backbone_that_learns_is_held_to_the_labels(batch):
    """The term is 0 where the labels are what the backbone says, and reaches its landmark head and maps."""
    learning = build_network(settings(frozen_backbone=False)).train()
    said = learning(batch)
    places = said.terms["landmarks"]
    assert places.shape == (len(batch), 1, 21, 2)
    seen = places_in_crop(learning.spatial.backbone(batch.frames.image)[:, 0, -LANDMARK_DIM:])
    torch.testing.assert_close(places[:, 0], seen)
    as_said = replace(batch, target=replace(batch.target, joints2d=places.detach()))
    assert learning.criterion(said, as_said)["landmarks"].value.max() == 0
    learning.criterion(said, batch)["landmarks"].value.mean().backward()
    gradients = {name: p.grad for name, p in learning.spatial.backbone.named_parameters()}
    for part in ("stem", "screen"):
        assert any(g is not None and g.abs().max() > 0 for name, g in gradients.items() if part in name), part


def test_cached_tokens_are_for_networks_with_a_frozen_part():
    whole = compose_config("stage1-small")
    network = build_network(settings())
    network.check(whole)
    whole["network"]["frozen_backbone"] = False
    with pytest.raises(ValueError, match="tokens.mode=cached: a network with a frozen part"):
        network.check(whole)


def test_stage_2_starts_as_stage_1(net):
    torch.manual_seed(1)
    second = build_network(settings(2)).eval()
    second.spatial.load_state_dict(net.spatial.state_dict())
    batch = random_batch(3, 7, size=SIZE)
    with torch.no_grad():
        assert torch.equal(second(batch).joints, net(batch.last_frame()).joints)
        inside = second.spatial_only()
        assert inside.encode(batch.frames).shape[1] == inside.spatial.packed_dim
