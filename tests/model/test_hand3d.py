"""Hand3D as a whole, its losses and what holds their traps."""

from dataclasses import replace

import pytest
import roma
import torch
from hand3d_support import LAYER, SIZE, SMALL, hand3d_batch, small_hand3d, truth, with_its_labels
from tests_support import compose_config

from tempohand.batch import ClipBatch, HandPrediction
from tempohand.geometry import normalise_pixels, project
from tempohand.model.backbone import loading_lines
from tempohand.model.hand3d_losses import TERMS, hand3d_terms, nearest_turn, z_scores
from tempohand.model.hand3d_parameters import WeakHand, framed, weak_hand
from tempohand.model.registry import build_network, load_network
from tempohand.model.weights import load_weights
from tempohand.training.checkpoint import save_weights
from tempohand.training.objective import combine, weights_at

ONE = dict.fromkeys(TERMS, 1.0)
WAYS = ("weak_perspective", "normalised", "normalised_not_detached")


def test_a_prediction_is_a_hand_in_camera_space():
    network, batch = small_hand3d().eval(), hand3d_batch()
    said = network(batch)
    joints, vertices = network.hand(said.rotation, said.shape, said.trans)
    torch.testing.assert_close(said.joints, joints, atol=1e-3, rtol=0)
    torch.testing.assert_close(said.vertices, vertices, atol=1e-3, rtol=0)
    pixels = project(said.joints, batch.focal, batch.princpt)
    torch.testing.assert_close(normalise_pixels(pixels, (SIZE, SIZE)), said.joints2d)
    assert said.terms["numbers"].shape == (4, 1, 22)
    centre = said.vertices[..., :2].mean(dim=2) / said.vertices[..., 2].mean(dim=2, keepdim=True)
    seen = centre * batch.focal + batch.princpt
    assert ((seen - SIZE / 2).abs() < 0.1 * SIZE).all()  # the mean hand, amid the crop


def test_the_whole_crop_is_seen():
    """Pooled over every cell: the last row and column of a picture change what is said."""
    network, batch = small_hand3d().eval(), hand3d_batch()
    before = network(batch).terms["numbers"]
    for corner in ((slice(None, 8), slice(None, 8)), (slice(-8, None), slice(-8, None))):
        other = hand3d_batch()
        other.frames.image[:, :, corner[0], corner[1]] = 255
        assert (network(other).terms["numbers"] != before).any(dim=-1).all()


def test_pictures_enter_in_0_to_1():
    encoder = small_hand3d().encoder
    grey = torch.full((1, 3, SIZE, SIZE), 51, dtype=torch.uint8)
    torch.testing.assert_close(encoder._normalised(grey), torch.full((1, 3, SIZE, SIZE), 0.2))


def test_the_truth_costs_nothing():
    batch = with_its_labels(hand3d_batch())
    terms = hand3d_terms(truth(batch), batch, LAYER)
    for name, term in terms.items():
        if name not in ("mask", "pose_prior", "shape_prior"):
            assert term.value.abs().max() < 0.05, name
    assert terms.keys() == TERMS.keys()
    said = truth(batch)
    numbers = WeakHand.unpacked(said.terms["numbers"])
    angle = numbers.rotation.norm(dim=-1, keepdim=True)
    beyond = replace(numbers, rotation=numbers.rotation * (1 - 2 * torch.pi / angle))
    terms = hand3d_terms(replace(said, terms={"numbers": beyond.packed()}), batch, LAYER)
    assert terms["rotation"].value.abs().max() < 0.05  # the same turn, written the other way round


def test_a_scale_that_is_none_is_a_far_hand_and_is_taught_nevertheless():
    """Below the least scale the hand stays before the camera, and the loss of the number pulls it back."""
    network, batch = small_hand3d(), hand3d_batch()
    numbers = truth(batch).terms["numbers"].clone()
    numbers[..., 0] = -30.0
    numbers.requires_grad_()
    said = network._hand(numbers, batch)
    assert (said.joints[..., 2] > 0).all() and said.joints2d.isfinite().all()
    network.criterion(said, batch)["scale"].value.sum().backward()
    assert (numbers.grad[..., 0] < 0).all()


def test_masked_labels_are_not_looked_at():
    network, batch = small_hand3d(), hand3d_batch(mask=False)
    network.train()
    target = batch.target
    target.joints2d_mask = target.joints2d_mask.clone()
    target.joints_mask = target.joints_mask.clone()
    target.hand_mask = target.hand_mask.clone()
    target.hand_mask[0], target.joints_mask[0], target.joints2d_mask[0] = False, False, False
    target.joints_mask[1, :, 5:] = False
    for name in ("joints2d", "joints", "pose", "shape", "trans"):
        getattr(target, name)[0] = torch.nan
    target.joints[1, :, 5:] = torch.nan
    loss, raw = combine(network.criterion(network(batch), batch), ONE)
    loss.backward()
    assert loss.isfinite() and all(value.isfinite() for value in raw.values())
    assert all(weight.grad.isfinite().all() for weight in network.parameters() if weight.grad is not None)


def test_every_weight_learns():
    network, batch = small_hand3d().train(), hand3d_batch()
    combine(network.criterion(network(batch), batch), ONE)[0].backward()
    assert not [name for name, weight in network.named_parameters() if weight.grad is None]


def test_terms_follow_what_rows_have():
    """Without 2D labels a row counts in no 2D term, without a mask in no mask term."""
    network, batch = small_hand3d().eval(), hand3d_batch()
    batch.target.joints2d_mask = batch.target.joints2d_mask.clone()
    batch.target.joints2d_mask[1] = False
    batch.frames.mask[2] = False  # as the loader has it for a row without one
    terms = network.criterion(network(batch), batch)
    assert terms["joints2d"].mask.any(dim=-1)[:, 0].tolist() == [True, False, True, True]
    assert terms["mask"].mask[:, 0].tolist() == [True, True, False, True]
    assert "mask" not in network.criterion(network(batch), hand3d_batch(mask=False))


def test_the_mask_is_read_x_then_y_at_the_vertices_pixels():
    """Against a loop over vertices; a mask that is wide and flat tells x from y."""
    batch = with_its_labels(hand3d_batch())
    said = truth(batch)
    mask = torch.zeros(4, 1, SIZE, SIZE, dtype=torch.bool)
    mask[:, :, 20:40, 8:50] = True
    batch.frames.mask = mask
    pixels = project(said.vertices, batch.focal, batch.princpt)[:, 0]
    found = hand3d_terms(said, batch, LAYER)["mask"].value[:, 0]
    compared = 0
    for clip in range(4):
        for (u, v), value in zip(pixels[clip].tolist(), found[clip].tolist()):
            column, row = round(u), round(v)
            if 1 <= column < SIZE - 1 and 1 <= row < SIZE - 1:
                around = mask[clip, 0, row - 1 : row + 2, column - 1 : column + 2]
                if around.all() or not around.any():  # no edge near: nothing to interpolate
                    assert value == pytest.approx(1 - float(around.any()), abs=1e-5)
                    compared += 1
    assert compared > 1000 and 0 < found.mean() < 1


def test_a_turn_past_half_a_turn_is_near_its_truth():
    generator = torch.Generator().manual_seed(0)
    axis = torch.nn.functional.normalize(torch.randn(20, 3, generator=generator), dim=-1)
    true, said = 3.0 * axis, -3.2 * axis  # by -(2 pi - 3.0) = -3.28 it is the same
    nearest = nearest_turn(true, said)
    assert (nearest - said).norm(dim=-1).max() < 0.1
    torch.testing.assert_close(roma.rotvec_to_rotmat(nearest), roma.rotvec_to_rotmat(true), atol=1e-5, rtol=0)
    assert torch.equal(nearest_turn(true, 2.9 * axis), true)
    assert torch.equal(nearest_turn(torch.zeros(1, 3), torch.ones(1, 3)), torch.zeros(1, 3))


def gradient_of(way: str, joints: torch.Tensor, batch: ClipBatch, scale: float = 900.0):
    """(of the joints, of the predicted scale)."""
    numbers = torch.zeros(len(batch), 1, 22)
    numbers[..., 0] = scale
    joints, numbers = joints.clone().requires_grad_(), numbers.requires_grad_()
    said = replace(truth(batch), joints=joints, terms={"numbers": numbers})
    terms = hand3d_terms(said, batch, LAYER)
    terms[f"joints3d_{way}"].value.sum().backward()
    return joints.grad, numbers.grad if numbers.grad is not None else torch.zeros_like(numbers)


def test_the_three_3d_losses_differ_in_what_they_move():
    """z-scores do not change when a hand moves or is stretched along an axis. The loss whose statistics are
    not detached knows that: its gradient has no part that would move or stretch. The detached one's has, and
    pulls the size without any gain. The weak-perspective one reaches the predicted scale."""
    batch = with_its_labels(hand3d_batch())
    generator = torch.Generator().manual_seed(1)
    joints = batch.target.joints + 8 * torch.randn(batch.target.joints.shape, generator=generator)
    centred = joints - joints.mean(dim=2, keepdim=True)
    stretch = {way: (gradient_of(way, joints, batch)[0] * centred).sum(dim=2) for way in WAYS}
    move = {way: gradient_of(way, joints, batch)[0].sum(dim=2) for way in WAYS}
    size = stretch["normalised"].abs().max()
    assert stretch["normalised_not_detached"].abs().max() < 1e-4 * size
    assert move["normalised_not_detached"].abs().max() < 1e-4
    assert size > 1e-2
    for way in WAYS:
        reached = gradient_of(way, joints, batch)[1][..., 0].abs().max() > 0
        assert reached == (way == "weak_perspective"), way


def test_z_scores_are_of_the_known_joints_alone():
    joints = torch.randn(2, 1, 21, 3, generator=torch.Generator().manual_seed(2)) * 30 + 400
    mask = torch.ones(2, 1, 21, dtype=torch.bool)
    mask[..., 10:] = False
    whole, same = z_scores(joints[..., :10, :], mask[..., :10]), z_scores(joints, mask)[..., :10, :]
    torch.testing.assert_close(whole, same)
    torch.testing.assert_close(whole.std(dim=2, correction=0), torch.ones(2, 1, 3))


def test_weak_perspective_truth_is_in_the_hands_own_size():
    """A labelled hand twice as large and twice as far looks the same, and costs the same: nothing."""
    batch = with_its_labels(hand3d_batch())
    said = truth(batch)
    batch.target.joints = 2 * batch.target.joints
    cost = hand3d_terms(said, batch, LAYER)["joints3d_weak_perspective"].value
    assert cost.abs().max() < 1e-5  # of metres squared: 3 mm, the depth of joints being their mean's


def test_a_checkpoint_comes_back_and_another_encoder_is_told(tmp_path):
    network, batch = small_hand3d().eval(), hand3d_batch()
    save_weights(tmp_path / "best", network.state_dict(), {"network": SMALL, "view": {}})
    again = load_network(tmp_path / "best", HandPrediction)
    assert torch.equal(again(batch).joints, network(batch).joints)
    assert not [name for name in network.state_dict() if name.startswith("hand.") or name == "units"]
    other = build_network(SMALL | {"encoder": {"name": "resnet18", "weights": None}})
    with pytest.raises(ValueError, match="has the encoder 'tempohand_tiny', this Hand3D 'resnet18': give a"):
        other.load_pretrained(tmp_path / "best")
    smaller = SMALL["encoder"]["options"] | {"stages": [[16, 1], [16, 1]]}
    other = build_network(SMALL | {"encoder": SMALL["encoder"] | {"options": smaller}})
    with pytest.raises(ValueError, match=r"does not fit this Hand3D: \d+ of \d+ weights differ"):
        other.load_pretrained(tmp_path / "best")


def test_components_that_the_hand_lacks_are_told():
    assert small_hand3d(components=45)(hand3d_batch()).terms["numbers"].shape[-1] == 61
    with pytest.raises(ValueError, match="network.components=50: the open hand has 1 to 45"):
        small_hand3d(components=50)


@pytest.mark.parametrize("name", ["hand3d", "hand3d-resnet50", "hand3d-tiny"])
def test_a_configurations_encoder_is_the_published_one(name):
    with torch.device("meta"):
        import timm

        settings = compose_config(name)["network"]["encoder"]
        net = timm.create_model(settings["name"], num_classes=0, **settings["options"])
    assert net.num_features == {"hand3d": 512, "hand3d-resnet50": 2048, "hand3d-tiny": 128}[name]


def test_the_tiny_one_begins_with_the_packages_backbone():
    network = build_network(compose_config("hand3d-tiny-pretrain")["network"])
    assert any("weights from 'tempohand-tiny'" in line for line in loading_lines(network))
    released = load_weights("tempohand-tiny")["spatial.backbone.net.stem.conv.weight"]
    assert torch.equal(network.encoder.net.stem.conv.weight, released)


def test_numbers_are_of_the_frame_whatever_the_crops_size():
    """The same picture in crops of 64 and 128 px has the same numbers: weights and means fit both."""
    batch = hand3d_batch()
    target = batch.target
    small = weak_hand(LAYER, target.pose, target.shape, target.trans, *framed(batch.focal, batch.princpt, 64))
    camera = 2 * batch.focal, 2 * (batch.princpt + 0.5) - 0.5
    large = weak_hand(LAYER, target.pose, target.shape, target.trans, *framed(*camera, 128))
    torch.testing.assert_close(small.packed(), large.packed())
    assert WeakHand.unpacked(small.packed()).pose.shape[-1] == 6


def test_the_weights_of_the_configurations_are_the_known_ones():
    pretrain = weights_at(compose_config("hand3d-pretrain")["loss"], 0, 100)
    assert pretrain == {"scale": 0.1, "translation": 0.2, "rotation": 5000, "pose": 1000, "shape": 1e5}
    loss = compose_config("hand3d")["loss"]
    early, late = weights_at(loss, 0, 100), weights_at(loss, 99, 100)
    assert early["mask"] == 100 and late["mask"] == 1 and 2 <= late["joints2d"] <= 4
    assert early["pose_prior"] == 10 and early["shape_prior"] == 10 * 1e4
