"""UTNet as a whole: what comes out, with and without depth, its losses, its sizes."""

import copy
from contextlib import nullcontext
from dataclasses import fields, replace

import pytest
import roma
import torch
from tests_support import compose_config
from utnet_support import HEIGHT, SMALL, WIDTH, small_utnet, utnet_batch

from tempohand.batch import HandPrediction
from tempohand.doctor.learning import check_gradients
from tempohand.geometry import normalise_pixels, project
from tempohand.hand.layer import HandLayer
from tempohand.model.losses import wrist_targets
from tempohand.model.registry import build_network, inherit_settings, load_network
from tempohand.model.utnet_losses import COARSE, HAND_TERMS, TERMS, departure_from_orthogonality, utnet_terms
from tempohand.training.checkpoint import save_weights
from tempohand.training.objective import combine

ONE = dict.fromkeys(TERMS, 1.0)


def numbers(prediction: HandPrediction) -> dict[str, torch.Tensor]:
    return {name.name: getattr(prediction, name.name) for name in fields(prediction) if name.name != "terms"}


def test_coarse_and_refined_hands_are_one_frame_in_camera_space():
    network, batch = small_utnet().eval(), utnet_batch()
    said = network(batch)
    shapes = {
        "joints": (4, 1, 21, 3),
        "joints2d": (4, 1, 21, 2),
        "rotation": (4, 1, 16, 3, 3),
        "shape": (4, 1, 10),
    }
    for name, shape in shapes.items():
        assert getattr(said, name).shape == shape == said.terms[COARSE + name].shape
    assert said.vertices.shape == (4, 1, 778, 3) and said.trans.shape == (4, 1, 3)
    torch.testing.assert_close(said.joints[..., 0, :], said.trans)  # the wrist, as of every network
    joints, _ = network.hand(said.rotation, said.shape, said.trans)
    torch.testing.assert_close(said.joints, joints, atol=1e-3, rtol=0)
    for joints, joints2d in (
        (said.joints, said.joints2d),
        (said.terms["coarse_joints"], said.terms["coarse_joints2d"]),
    ):
        pixels = project(joints, batch.focal, batch.princpt)
        torch.testing.assert_close(normalise_pixels(pixels, (WIDTH, HEIGHT)), joints2d)
    assert (said.joints - said.terms["coarse_joints"]).abs().max() > 0.1


def test_the_refinement_changes_nothing_before_training():
    torch.manual_seed(0)
    said = build_network(SMALL).eval()(utnet_batch())
    torch.testing.assert_close(said.joints, said.terms["coarse_joints"], atol=1e-3, rtol=0)


def test_the_refinement_turns_the_coarse_hand():
    """Composed as rotations, not added: what it says stays a rotation, a turn of the coarse one."""
    said = small_utnet().eval()(utnet_batch())
    turn = said.rotation @ said.terms["coarse_rotation"].mT
    identity = torch.eye(3).expand_as(turn)
    torch.testing.assert_close(turn @ turn.mT, identity, atol=1e-5, rtol=0)
    assert (turn - identity).abs().max() > 1e-3 and (torch.linalg.det(turn) > 0).all()


@pytest.mark.parametrize("training", [False, True])
def test_no_depth_is_the_same_as_depth_of_zeros(training):
    network = small_utnet().train(training)
    torch.manual_seed(3)
    without = numbers(network(utnet_batch(depth=None)))
    torch.manual_seed(3)
    zeros = numbers(network(utnet_batch(depth="none")))
    for name, value in without.items():
        assert torch.equal(value, zeros[name]), name


def test_depth_is_told_frame_by_frame():
    network = small_utnet().eval()
    whole, none, some = (numbers(network(utnet_batch(depth=each))) for each in ("all", "none", "some"))
    torch.testing.assert_close(some["joints"][::2], none["joints"][::2])
    torch.testing.assert_close(some["joints"][1::2], whole["joints"][1::2])
    assert (whole["joints"] - none["joints"]).abs().amax(dim=(1, 2, 3)).min() > 1


def test_a_dropped_samples_depth_has_no_part_in_anything():
    """Modality dropout is of whole samples: tokens, centre, camera and refinement are those of no depth."""
    network = small_utnet(fusion={"widths": [8], "dropout": 0.5}).train()
    batch, other = utnet_batch(40), utnet_batch(40)
    other.frames.depth = other.frames.depth * 1.3
    torch.manual_seed(4)
    first = network(batch).joints
    torch.manual_seed(4)
    second = network(other).joints
    same = (first == second).flatten(1).all(dim=1)
    assert 8 < same.sum() < 32
    without = network(utnet_batch(40, depth=None)).joints
    torch.testing.assert_close(first[same], without[same], atol=1e-2, rtol=0)
    network.eval()
    assert not (network(batch).joints == network(other).joints).flatten(1).all(dim=1).any()


def test_a_network_of_colour_alone_does_not_look_at_depth():
    network = small_utnet(fusion={"widths": [], "dropout": 1.0}).eval()
    assert torch.equal(network(utnet_batch()).joints, network(utnet_batch(depth=None)).joints)


def test_measured_depth_moves_the_hand_with_it():
    """The absolute place comes from the measured centre: all depths 100 mm farther are a hand 100 mm farther,
    relative depths and the refinement's residuals being the same."""
    network = small_utnet(refinement=SMALL["refinement"] | {"kind": None}).eval()
    with torch.no_grad():
        network.hand_tokens.camera.weight.zero_()  # it may look at the distance besides
        batch, farther = utnet_batch(), utnet_batch()
        farther.frames.depth = torch.where(farther.frames.depth > 0, farther.frames.depth + 100, 0.0)
        moved = network(farther).trans[..., 2] - network(batch).trans[..., 2]
    torch.testing.assert_close(moved, torch.full_like(moved, 100.0), atol=0.5, rtol=0)


@pytest.mark.parametrize("depth", ["some", None])
def test_every_trained_weight_has_a_gradient(depth):
    """Also of batches without depth: distributed training waits for each."""
    network, batch = small_utnet().train(), utnet_batch(depth=depth)
    combine(network.criterion(network(batch), batch), ONE)[0].backward()
    lacking = [name for name, weight in network.named_parameters() if weight.grad is None]
    assert not lacking, lacking


@pytest.mark.parametrize("kind", ["max", None])
def test_other_refinements_learn_too(kind):
    network, batch = small_utnet(refinement=SMALL["refinement"] | {"kind": kind}), utnet_batch()
    combine(network.criterion(network(batch), batch), ONE)[0].backward()
    assert not [name for name, weight in network.named_parameters() if weight.grad is None]


def test_the_truth_costs_nothing():
    network, batch = small_utnet().eval(), utnet_batch()
    target, said = batch.target, network(batch)
    uv, log_depth = wrist_targets(batch, network.expansion, norm_by_hand=False)
    rotation = roma.rotvec_to_rotmat(target.pose.unflatten(-1, (16, 3)))
    truth = {
        "rotation": rotation,
        "shape": target.shape,
        "joints": target.joints,
        "joints2d": target.joints2d,
    }
    terms = {
        "uv": uv,
        "log_depth": log_depth,
        "columns": torch.tensor([1.0, 0, 0, 0, 1, 0]).expand(4, 1, 16, 6),
    }
    terms |= {COARSE + name: value for name, value in (truth | {"uv": uv, "log_depth": log_depth}).items()}
    costs = utnet_terms(replace(said, **truth, terms=terms), batch, network.expansion)
    assert costs.keys() == TERMS.keys() - {"heatmap"}
    for name, term in costs.items():
        assert name == "prior" or term.value.abs().max() < 1e-5, name


def test_masked_labels_may_hold_anything():
    network, batch = small_utnet().eval(), utnet_batch()
    target = batch.target
    for name in ("hand_mask", "camera_mask", "joints_mask", "joints2d_mask"):
        setattr(target, name, getattr(target, name).clone())
    target.hand_mask[0] = target.camera_mask[1] = target.joints_mask[2] = target.joints2d_mask[3, 0, 5:] = (
        False
    )
    before, raw = combine(network.criterion(network(batch), batch), ONE)
    target.pose[0] = target.shape[0] = target.trans[0] = torch.nan
    target.joints[2], target.joints2d[3, 0, 5:] = torch.inf, torch.nan
    after, _ = combine(network.criterion(network(batch), batch), ONE)
    after.backward()
    torch.testing.assert_close(after, before)
    assert all(weight.grad.isfinite().all() for weight in network.parameters()) and len(raw) == len(TERMS)


def test_losses_are_means():
    """Twice the batch is the same loss: nothing is a sum over samples."""
    network, batch = small_utnet().eval(), utnet_batch(4, depth=None)
    terms = network.criterion(network(batch), batch)
    assert terms.keys() == network.terms.keys()
    doubled = {
        name: replace(term, value=torch.cat([term.value] * 2), mask=torch.cat([term.mask] * 2), known=None)
        for name, term in terms.items()
    }
    torch.testing.assert_close(combine(terms, ONE)[0], combine(doubled, ONE)[0])


def test_orthogonality_is_least_at_rotations():
    right = torch.tensor([1.0, 0, 0, 0, 1, 0])
    assert departure_from_orthogonality(right) == 0
    for place, value in ((0, 2.0), (3, 0.5), (4, 0.0)):
        wrong = right.clone()
        wrong[place] = value
        assert departure_from_orthogonality(wrong) > 0.1


def test_hands_are_float32_under_autocast():
    network, batch = small_utnet().eval(), utnet_batch()
    with torch.autocast("cpu", torch.bfloat16):
        said = network(batch)
    assert {value.dtype for value in numbers(said).values()} == {torch.float32}
    assert {said.terms[COARSE + name].dtype for name in HAND_TERMS if COARSE + name in said.terms} == {
        torch.float32
    }


def test_a_checkpoint_gives_the_same_hands_and_its_settings(tmp_path):
    network, batch = small_utnet().eval(), utnet_batch()
    save_weights(tmp_path, network.state_dict(), {"network": SMALL})
    again = load_network(tmp_path, HandPrediction)
    assert torch.equal(again(batch).joints, network(batch).joints)
    settings = SMALL | {"expansion": 2.0}
    inherit_settings(settings, tmp_path, say=lambda line: None)
    assert settings["expansion"] == 1.6
    names = network.state_dict().keys()
    assert not any(word in name for name in names for word in ("skin", "edges", "places", "rest", "mean_"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": [60, 48]}, "16 must divide both edges"),
        ({"depth": "sometimes"}, "network.depth=sometimes is none of optional, required"),
        ({"fusion": {"widths": [], "dropout": 1.5}}, "network.fusion.dropout=1.5 must lie between"),
        ({"refinement": SMALL["refinement"] | {"kind": "mean"}}, "'mean' is none of"),
        ({"refinement": SMALL["refinement"] | {"maps": [8, 8]}}, "give the channels of three maps"),
        ({"trunk": {"name": "resnet18"}}, "is no plain vision transformer with patches of 16 px"),
        ({"trunk": {"name": "vit_tiny_patch17"}}, "timm has none of this name.*; close"),
        ({"trunk": {"name": "vit_small_patch14_dinov2"}}, "is no plain vision transformer"),
        ({"num_frame": 7}, "contradicts Stage 1, where the UTNet sees 1 frame"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        build_network(SMALL | change)


def test_what_never_learns_without_depth_needs_it():
    kinds = ({}, {"depth": "required"}, {"fusion": {"widths": [4], "dropout": 0.0}})
    assert [small_utnet(**kind).needed for kind in kinds] == [(), ("depth",), ("depth",)]


def test_utnet_tiny_is_small_and_keeps_what_it_was_given():
    network = build_network(compose_config("utnet-tiny")["network"])
    assert sum(weight.numel() for weight in network.parameters()) <= 8e6
    given = HandLandmarkWeights(network)
    network.train()
    batch = utnet_batch(2, size=(256, 192))
    terms = network.criterion(network(batch), batch)
    loss, raw = combine(terms, compose_config("utnet-tiny")["loss"])
    loss.backward()
    assert raw.keys() == TERMS.keys() and compose_config("utnet-tiny")["loss"].keys() == TERMS.keys()
    assert given.untouched() and all(w.grad is not None for w in network.parameters() if w.requires_grad)


class HandLandmarkWeights:
    """Those of the frozen network under a trunk."""

    def __init__(self, network):
        self.weights = list(network.backbone.maps.backbone.parameters())

    def untouched(self) -> bool:
        return all(weight.grad is None and not weight.requires_grad for weight in self.weights)


@pytest.mark.parametrize(
    ("size", "blocks", "dim", "least"), [("base", 12, 768, 86e6), ("huge", 32, 1280, 600e6)]
)
def test_larger_sizes_build_and_step_without_memory(monkeypatch, size, blocks, dim, least):
    """12 blocks of 768 channels, 32 of 1280: forward, backward and a step of the optimizer, on the meta
    device, which knows no autocast."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    settings = compose_config(f"utnet-{size}")
    hand = HandLayer()
    with torch.device("meta"):
        network = build_network(settings["network"] | {"hand": hand})
    network.to("meta")
    transformer = network.backbone.net
    assert len(transformer.blocks) == blocks and transformer.embed_dim == dim
    assert sum(weight.numel() for weight in network.parameters()) > least
    batch = utnet_batch(2, size=(256, 192)).to("meta")
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5)
    terms = network.criterion(network.train()(batch), batch)
    loss = sum(settings["loss"][name] * term.value.float().mean() for name, term in terms.items())
    loss.backward()
    optimizer.step()
    assert all(weight.grad is not None and weight.grad.is_meta for weight in network.parameters())
    assert terms.keys() == TERMS.keys()


def test_doctors_gradients_ask_for_nothing_that_a_batch_cannot_teach():
    """Depth everywhere and never dropped leaves the stand-in idle, no depth the stem, and some of both
    nothing; what is cut off is named all the same."""
    colours = [utnet_batch(depth=None)]
    cases = [(0.0, "all", {"placeholder"}), (0.0, "some", set()), (0.4, "all", set())]
    for dropout, depth, idle in cases:
        network, batches = small_utnet(fusion={"widths": [4], "dropout": dropout}), [utnet_batch(depth=depth)]
        names = {id(each): name for name, each in network.fusion.named_parameters()}
        assert {names[id(each)] for each in network.idle(batches[0])} == idle
        for given in (batches, colours):
            torch.manual_seed(0)
            reach = check_gradients(copy.deepcopy(network).train(), given, ONE, 1e-3)[0]
            assert reach.verdict == "ok", (dropout, depth, reach.cause)
    network.heads["shape"].register_parameter("unused", torch.nn.Parameter(torch.ones(1)))
    assert "heads.shape.unused" in check_gradients(network.train(), batches, ONE, 1e-3)[0].cause


@pytest.mark.parametrize("training", [True, False])
def test_no_depth_costs_no_stem(training):
    """In training one frame of nothing keeps every weight's gradient; in use there is not even that."""
    network, seen = small_utnet().train(training), []
    network.fusion.tokens.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    with torch.set_grad_enabled(training):
        network(utnet_batch(6, depth=None))
        assert seen == ([1] if training else [])
        network(utnet_batch(6, depth="all"))
    assert seen[-1] == 6


def test_weights_of_another_network_are_refused_in_one_line(tmp_path):
    """As first weights, and as the checkpoint of a command that needs hands."""
    finder = compose_config("find-tiny")["network"]
    other = build_network(finder)
    save_weights(tmp_path / "finder", other.state_dict(), {"network": finder, "view": {}, "stage": 1})
    network = small_utnet()
    with pytest.raises(ValueError, match=r"does not fit this UTNet: \d+ of \d+ weights differ") as caught:
        network.load_pretrained(tmp_path / "finder")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="holds a network of the kind 'finder', here one of the kind"):
        load_network(tmp_path / "finder", HandPrediction)
    save_weights(tmp_path / "own", network.state_dict(), {"network": SMALL | {"expansion": 2.0}, "view": {}})
    said = []
    settings = SMALL | {}
    inherit_settings(settings, tmp_path / "own", said.append)
    assert settings["expansion"] == 2.0
    assert said == ["inherited network.expansion = 2.0 (the config says 1.6)"]
    assert network.load_pretrained(tmp_path / "own")[0].startswith("inherited ")
