"""Heat maps of joints beside the picture: drawn where joints are, harmless where there are none."""

from dataclasses import replace

import pytest
import torch
from hand3d_support import SIZE, SMALL, hand3d_batch, small_hand3d
from tests_support import small_network

from tempohand.batch import HandPrediction
from tempohand.geometry import denormalise_pixels
from tempohand.model.hand3d_maps import SeenJoints, draw_joint_maps
from tempohand.model.network import Crop
from tempohand.model.registry import build_network, load_network
from tempohand.training.checkpoint import save_weights
from tempohand.training.objective import combine


def test_maps_are_highest_at_their_joints_x_by_width():
    joints2d = torch.rand(2, 21, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    known = torch.ones(2, 21, dtype=torch.bool)
    known[0, 3] = False
    maps = draw_joint_maps(joints2d, known, (48, 96))
    pixels = denormalise_pixels(joints2d, (96, 48))
    assert maps.shape == (2, 21, 48, 96) and not maps[0, 3].any() and maps.amax() <= 1
    peak = maps.flatten(2).argmax(dim=-1)
    found = torch.stack([peak % 96, peak // 96], dim=-1).float()
    inside = known & (pixels > 0).all(dim=-1) & (pixels < torch.tensor([95, 47])).all(dim=-1)
    assert inside.sum() > 30 and (found - pixels).abs()[inside].max() <= 0.5001


@pytest.fixture(scope="module")
def posenet(tmp_path_factory):
    """A checkpoint of a PoseNet with crops of its own."""
    torch.manual_seed(0)
    settings = small_network(1)
    folder = tmp_path_factory.mktemp("posenet") / "best"
    save_weights(folder, build_network(settings).state_dict(), {"network": settings, "view": {}})
    return folder


@pytest.mark.parametrize("source", ["labels", "posenet"])
def test_what_was_learnt_without_maps_is_as_before(source, posenet, tmp_path):
    """Begun from a checkpoint without maps, a network with them says the same, and begins to learn from
    them."""
    plain, batch = small_hand3d().eval(), hand3d_batch()
    save_weights(tmp_path / "plain", plain.state_dict(), {"network": SMALL, "view": {}})
    source = str(posenet) if source == "posenet" else source
    both = small_hand3d(seed=1, joint_maps=source)
    both.load_pretrained(tmp_path / "plain")
    assert torch.equal(both.eval()(batch).terms["numbers"], plain(batch).terms["numbers"])
    both.train()
    combine(both.criterion(both(batch), batch), {"joints2d": 1.0})[0].backward()
    lacking = [
        name for name, weight in both.named_parameters() if weight.requires_grad and weight.grad is None
    ]
    assert not lacking
    stem = next(module for name, module in both.encoder.named_modules() if name.endswith(".joints"))
    assert stem.weight.grad.abs().max() > 0


def trained(network):
    """With weights where training begins with none."""
    for name, module in network.encoder.named_modules():
        if name.endswith(".joints"):
            torch.nn.init.normal_(module.weight, std=0.05)
    return network.eval()


def test_a_frame_without_labels_is_one_of_rgb_alone():
    network, batch = trained(small_hand3d(joint_maps="labels")), hand3d_batch()
    some = hand3d_batch()
    some.target.joints2d_mask = some.target.joints2d_mask.clone()
    some.target.joints2d_mask[1] = False
    whole, part = (network(each).terms["numbers"] for each in (batch, some))
    alone = network(replace(batch, target=None)).terms["numbers"]
    torch.testing.assert_close(part[1], alone[1])
    torch.testing.assert_close(part[0], whole[0])
    assert (whole - alone).abs().amax() > 1e-3


def test_another_networks_joints_are_told_without_labels(posenet):
    """The same with labels and without: no truth comes in. They are where that network sees them in a view of
    its own, of another size and expansion."""
    network, batch = trained(small_hand3d(joint_maps=str(posenet))), hand3d_batch()
    said = network(batch).terms["numbers"]
    assert torch.equal(network(replace(batch, target=None)).terms["numbers"], said)
    finder = load_network(posenet, HandPrediction)
    same = SeenJoints(str(posenet), Crop(SIZE, SIZE, finder.expansion))
    places = same._found(batch)
    torch.testing.assert_close(places, finder(batch).joints2d[:, 0], atol=1e-3, rtol=0)
    assert network.train().joint_maps.finder.training is False
    assert not any(weight.requires_grad for weight in network.joint_maps.finder.parameters())


def test_a_hand_is_found_at_the_same_place_in_the_finders_own_crop(posenet):
    """A finder that says the middle of its crop says the middle of this one."""
    maps = SeenJoints(str(posenet), Crop(SIZE, SIZE, 2.2))

    class Middle(torch.nn.Module):
        crop = Crop(48, 32, 1.6)

        def forward(self, batch):
            assert batch.frames.size == (48, 32) and batch.target is None
            picture = batch.frames.image.float().mean(dim=(1, 2, 3))
            place = (torch.tensor([15.5, 23.5]) / torch.tensor([32.0, 48.0]) - 0.5).expand(
                len(batch), 1, 21, 2
            )
            return replace(self.said, joints2d=place + 0 * picture.view(-1, 1, 1, 1))

    batch = hand3d_batch()
    maps.finder = Middle()
    maps.finder.said = small_hand3d().eval()(batch)
    pixels = denormalise_pixels(maps._found(batch), (SIZE, SIZE))
    torch.testing.assert_close(pixels, torch.full_like(pixels, (SIZE - 1) / 2), atol=1e-3, rtol=0)


def test_a_checkpoint_with_maps_comes_back(posenet, tmp_path):
    network, batch = trained(small_hand3d(joint_maps=str(posenet))), hand3d_batch()
    settings = SMALL | {"joint_maps": str(posenet)}
    save_weights(tmp_path / "best", network.state_dict(), {"network": settings, "view": {}})
    again = load_network(tmp_path / "best", HandPrediction)
    assert torch.equal(again(batch).joints, network(batch).joints)
