from dataclasses import replace

import pytest
import torch
from tests_support import random_batch, small_network, with_features

from tempohand.batch import ClipBatch
from tempohand.data.loader import ClipDataset, ClipSampling, collate
from tempohand.data.table import FrameTable
from tempohand.data.view import View
from tempohand.geometry import normalise_pixels, project
from tempohand.model.posenet import PoseNet
from tempohand.model.registry import build_network, load_network, network_class
from tempohand.model.temporal_posenet import TemporalPoseNet
from tempohand.training.checkpoint import save_weights
from tempohand.training.objective import combine

SHAPES = {
    "pose": (48,),
    "shape": (10,),
    "trans": (3,),
    "joints": (21, 3),
    "vertices": (778, 3),
    "joints2d": (21, 2),
    "rotation": (16, 3, 3),
}


def network(stage: int, **changes):
    torch.manual_seed(0)
    return build_network(small_network(stage, **changes))


def store(weights, directory):
    save_weights(directory, weights, {"network": small_network(1), "stage": 1})


def nudge(net):
    """Away from the zero initialisations, so that nothing is exact by accident."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return net


@pytest.mark.parametrize("stage, frames", [(1, 1), (2, 7), (2, 1)])
@pytest.mark.parametrize("clips", [1, 2, 14])
def test_every_output_is_one_frame(stage, frames, clips):
    """Stage 2 on 14 clips of 7 frames must not scramble clips and frames into [B / 7, 7, d]."""
    prediction = network(stage).eval()(random_batch(clips, frames))
    for name, shape in SHAPES.items():
        assert getattr(prediction, name).shape == (clips, 1, *shape), name


@pytest.mark.parametrize("stage", [1, 2])
def test_clips_do_not_mix(stage):
    net, batch = nudge(network(stage)).eval(), random_batch(5, 1 if stage == 1 else 7)
    with torch.no_grad():
        together, alone = net(batch).joints, net(batch[3:4]).joints
    torch.testing.assert_close(together[3:4], alone, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("stage", [1, 2])
def test_a_mirror_image_has_the_other_side(stage):
    net, batch = nudge(network(stage)).eval(), random_batch(5, 1)
    frames = batch.frames
    mirrored = replace(
        frames,
        image=frames.image.flip(-1),
        princpt=frames.princpt * torch.tensor([-1, 1]) + torch.tensor([batch.edge - 1, 0]),
    )
    with torch.no_grad():
        (logit, certainty), (opposite, same) = net.look(frames), net.look(mirrored)
        torch.testing.assert_close(opposite, -logit, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(same, certainty, atol=1e-4, rtol=1e-4)
    assert logit.std() > 1e-3 and (certainty > 0).all() and (certainty < 1).all()


def test_the_side_head_learns_from_both_sides_and_the_rest_from_right_hands():
    net, batch = nudge(network(1)), random_batch(6, 1)
    terms = net.criterion(net(batch), batch)
    assert set(terms) - {"side"} == set(net.criterion(net(replace(batch, shows_right=None)), batch)) - {
        "side"
    }
    shows_right = torch.tensor([True, False] * 3)
    prediction = net(batch)
    logit = prediction.terms["side_logit"]
    value = net.criterion(prediction, replace(batch, shows_right=shows_right))["side"].value
    torch.testing.assert_close(value[:, 0], torch.where(shows_right, -logit[:, 0], logit[:, 0]).exp().log1p())
    loss, _ = combine(net.criterion(prediction, replace(batch, shows_right=shows_right)), {"side": 1.0})
    loss.backward()
    assert net.spatial.side.weight.grad.abs().sum() > 0 and net.spatial.heads.pose.weight.grad is None


def test_a_network_without_a_side_head_tells_no_side():
    settings = small_network(1)
    settings["spatial"].pop("side", None)
    net = build_network(settings).eval()
    assert not net.tells_sides and "side_logit" not in net(random_batch(2, 1)).terms
    with pytest.raises(ValueError, match="no side head"):
        net.look(random_batch(2, 1).frames)


def test_stage_2_starts_exactly_as_stage_1(tmp_path):
    stage1 = nudge(network(1)).eval()
    store(stage1.state_dict(), tmp_path)
    stage2 = network(2)
    stage2.load_pretrained(tmp_path)
    batch = random_batch(3, 7)
    with torch.no_grad():
        first, second = stage1(batch.last_frame()), stage2.eval()(batch)
    for name in SHAPES:
        assert torch.equal(getattr(first, name), getattr(second, name)), name


def test_the_name_and_a_temporal_part_decide_the_class():
    for stage, kind in ((1, PoseNet), (2, TemporalPoseNet)):
        assert network_class(small_network(stage)) is kind and type(network(stage)) is kind
    one, two = (set(network(stage).state_dict()) for stage in (1, 2))
    assert {name.split(".")[0] for name in two} == {"spatial", "temporal"} and one == {
        name for name in two if name.startswith("spatial.")
    }


@pytest.mark.parametrize("heatmap", [{"upsample": 2}, None])
def test_features_are_packed_and_unpacked_without_loss(heatmap):
    settings = small_network(1)
    settings["spatial"]["heatmap"] = heatmap
    net = build_network(settings).eval()
    with torch.no_grad():
        found = net.features(random_batch(3, 1).frames)
    again = net.spatial.unpacked(found.packed())
    assert found.packed().shape == (3, net.spatial.packed_dim)
    assert torch.equal(again.token, found.token)
    assert again.readings is None if heatmap is None else torch.equal(again.readings, found.readings)


def test_the_stage_1_network_inside_stage_2_is_stage_1():
    net, batch = nudge(network(2)).eval(), random_batch(2, 7)
    inner = net.spatial_only()
    assert type(inner) is PoseNet and inner.num_frame == 1 and net.num_frame == 7
    assert inner.state_dict().keys() == {name for name in net.state_dict() if name.startswith("spatial.")}
    with torch.no_grad():
        assert not torch.equal(inner(batch.last_frame()).joints, net(batch).joints)
        for layer in (net.temporal.out, net.temporal.correct, net.temporal.mix.gate):
            layer.weight.zero_()
            layer.bias.zero_()
        torch.testing.assert_close(inner(batch.last_frame()).joints, net(batch).joints, atol=1e-4, rtol=0)


@pytest.mark.parametrize("stage", [1, 2])
def test_frames_with_features_give_what_their_pictures_give(stage):
    net, batch = nudge(network(stage)).eval(), random_batch(3, 1 if stage == 1 else 7)
    with torch.no_grad():
        features = torch.cat(
            [net.encode(batch.frames[place : place + 1]) for place in range(len(batch.frames))]
        )
        said, wanted = net(with_features(batch, features)), net(batch)
        torch.testing.assert_close(said.joints, wanted.joints, atol=1e-3, rtol=0)
        twice = (
            torch.cat([net.encode(batch.frames[:3]), net.encode(batch.frames[3:])]) if stage == 2 else None
        )
        features = net.encode(batch.frames) if stage == 1 else twice
        assert torch.equal(net(with_features(batch, features)).joints, wanted.joints)


def neighbouring_clips(table_root) -> ClipBatch:
    """16 clips of 7 frames, of which each four share most."""
    sampling = ClipSampling(min_history=7, consecutive=4)
    dataset = ClipDataset(FrameTable(table_root, "train"), View(64), 7, sampling)
    return collate([dataset[(position, row)] for position, row in enumerate((9, 11, 23, 35))])


def test_shared_frames_are_encoded_once_and_change_nothing(table_root):
    """A batch whose clips share frames says what each of its clips says alone."""
    batch, net, encoded = neighbouring_clips(table_root), nudge(network(2)).eval(), []
    net.spatial.register_forward_pre_hook(lambda module, inputs: encoded.append(len(inputs[0])))
    with torch.no_grad():
        together = net(batch).joints
        assert encoded == [16, len(batch.frames) - 16] and sum(encoded) < 16 * 7 / 2
        alone = torch.cat([net(batch[place : place + 1]).joints for place in range(16)])
    torch.testing.assert_close(together, alone, atol=1e-3, rtol=0)


def test_frames_that_do_not_exist_change_nothing():
    net, batch = nudge(network(2)).eval(), random_batch(2, 7)
    batch.frame_mask[:, :4] = False
    with torch.no_grad():
        before = net(batch).joints
        batch.frames.image[batch.index[:, :4]] = 0
        batch.frames.focal[batch.index[:, :4]] *= 2
        assert torch.equal(net(batch).joints, before)
        batch.frames.image[batch.index[:, 5]] = 0
        assert not torch.equal(net(batch).joints, before)


def test_real_time_matters_and_its_origin_does_not():
    net, batch = nudge(network(2)).eval(), random_batch(2, 7)
    with torch.no_grad():
        before = net(batch).joints
        batch.frames.time += 1e6
        torch.testing.assert_close(net(batch).joints, before, atol=5e-3, rtol=0)  # differences alone are seen
        batch.frames.time *= 2
        assert (net(batch).joints - before).abs().max() > 1e-2


def test_another_focal_length_is_another_depth_and_projects_onto_the_same_pixels():
    net, batch = nudge(network(1)).eval(), random_batch(2, 1)
    with torch.no_grad():
        near = net(batch)
        batch.frames.focal *= 1.5
        far = net(batch)
    assert (far.trans[..., 2] > 1.3 * near.trans[..., 2]).all()
    pixels = project(far.joints, batch.focal, batch.princpt)
    torch.testing.assert_close(normalise_pixels(pixels, (64, 64)), far.joints2d)


@pytest.mark.parametrize("changes", [{}, {"norm_by_hand": True}])
@pytest.mark.parametrize("translation", ["regression", "heatmap"])
def test_frozen_means_frozen_and_everything_else_learns(changes, translation):
    for stage in (1, 2):
        settings = small_network(stage, **changes)
        settings["spatial"]["heads"] = {"translation": translation}
        torch.manual_seed(0)
        net = nudge(build_network(settings)).train()
        before = {name: tensor.clone() for name, tensor in net.spatial.state_dict().items()}
        batch = random_batch(4, settings["num_frame"])
        terms = net.criterion(net(batch), batch)
        loss, _ = combine(terms, dict.fromkeys(terms, 1.0))
        loss.backward()
        frozen = {name for name, parameter in net.named_parameters() if parameter.grad is None}
        if stage == 1:
            assert not frozen, "an unused parameter stops distributed training"
        else:
            assert frozen == {f"spatial.{name}" for name, _ in net.spatial.named_parameters()}
            assert not any(module.training for module in net.spatial.modules())
            assert all(torch.equal(before[name], tensor) for name, tensor in net.spatial.state_dict().items())
        for name, parameter in net.named_parameters():
            assert parameter.grad is None or parameter.grad.isfinite().all(), name


def test_dropout_waits_for_its_step():
    settings = small_network(1)
    settings["spatial"]["decoder"]["dropout"] = 0.5
    net = build_network(settings).train()
    dropouts = [module for module in net.modules() if isinstance(module, torch.nn.Dropout)]
    for step, active in ((0, False), (99, False), (100, True)):
        net.set_step(step, dropout_start=100)
        assert any(module.training and module.p == 0.5 for module in dropouts) == active


def test_dropout_of_a_frozen_network_stays_off():
    settings = small_network(2)
    settings["spatial"]["decoder"]["dropout"] = 0.5
    net = build_network(settings).train()
    net.set_step(10, dropout_start=0)
    assert not any(module.training for module in net.spatial.modules())


def test_checkpoints_hold_no_hand_tables_and_come_back(tmp_path):
    net, batch = nudge(network(2)).eval(), random_batch(2, 7)
    assert not [name for name in net.state_dict() if "hand" in name]
    save_weights(tmp_path / "best", net.state_dict(), {"network": small_network(2), "stage": 2})
    loaded = load_network(tmp_path / "best")
    assert loaded.num_frame == 7 and not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded(batch).joints, net(batch).joints)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_damaged_weights_are_refused(tmp_path, name):
    """One bit among the weights, or in what they are for: a number would be wrong and nothing would look
    so."""
    save_weights(tmp_path / "best", network(1).state_dict(), {"network": small_network(1), "stage": 1})
    file = tmp_path / "best" / name
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}' is damaged, its content is not what was written"):
        load_network(tmp_path / "best")
    if name == "model.safetensors":
        for path in (file, tmp_path / "best"):
            with pytest.raises(ValueError, match="is damaged"):
                network(2).load_pretrained(path)
    (tmp_path / "best" / "checksums.json").unlink()
    if name == "model.safetensors":
        load_network(tmp_path / "best")


@pytest.mark.parametrize("kind", ["directory", "safetensors", "torch", "training"])
def test_pretrained_weights_come_in_any_form(tmp_path, kind):
    weights = nudge(network(1)).state_dict()
    path = {"directory": tmp_path, "safetensors": tmp_path / "model.safetensors"}.get(
        kind, tmp_path / "weights.pt"
    )
    if path.suffix == ".pt":
        torch.save(weights if kind == "torch" else {"state_dict": weights}, path)
    else:
        store(weights, tmp_path)
    net = network(2)
    lines = net.load_pretrained(path)
    assert all(
        torch.equal(tensor, weights[f"spatial.{name}"]) for name, tensor in net.spatial.state_dict().items()
    )
    assert "inherited" in lines[0] and any("backbone" in line for line in lines)


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.module.", "teacher."])
def test_a_prefix_before_every_name_is_taken_off(tmp_path, prefix):
    weights = nudge(network(1)).state_dict()
    torch.save(
        {prefix + name: value for name, value in weights.items()} | {"optimizer.weight": torch.ones(2)},
        tmp_path / "weights.pt",
    )
    net = network(2)
    assert net.load_pretrained(tmp_path / "weights.pt")[0].endswith(f"under '{prefix}'")
    assert all(
        torch.equal(tensor, weights[f"spatial.{name}"]) for name, tensor in net.spatial.state_dict().items()
    )


def test_names_without_their_part_are_named_as_the_cause(tmp_path):
    torch.save(network(1).spatial.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"it has \d+ of them without 'spatial.'"):
        network(2).load_pretrained(tmp_path / "weights.pt")


def test_a_lacking_spatial_weight_is_refused_by_name(tmp_path):
    weights = network(1).state_dict()
    weights.pop("spatial.heads.shape.weight")
    store(weights, tmp_path)
    with pytest.raises(ValueError, match=r"1 of \d+ weights missing \['spatial.heads.shape.weight'\]"):
        network(2).load_pretrained(tmp_path)


def test_another_network_is_refused(tmp_path):
    settings = small_network(1)
    settings["spatial"]["decoder"]["dim"] = 48
    store(build_network(settings).state_dict(), tmp_path)
    with pytest.raises(ValueError, match="of another shape"):
        network(2).load_pretrained(tmp_path)


@pytest.mark.parametrize("name, content", [("model.safetensors", b"junk"), ("weights.pt", b"junk")])
def test_unreadable_weights_are_told_of(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="not"):
        network(2).load_pretrained(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        network(2).load_pretrained(tmp_path / "absent")


def test_a_stage_and_its_num_frame_agree():
    with pytest.raises(ValueError, match="num_frame=7 contradicts Stage 1"):
        network(1, num_frame=7)
    with pytest.raises(ValueError, match="num_frame=1 contradicts Stage 2"):
        network(2, num_frame=1)
    with pytest.raises(ValueError, match="use batch.last_frame"):
        network(1)(random_batch(1, 7))


def test_crops_that_are_no_squares_are_refused():
    with pytest.raises(ValueError, match=r"network.size=\[64, 48\]: this network takes square crops"):
        network(1, size=[64, 48])


def test_hand_kinematics_stay_float32_under_autocast():
    net, batch = nudge(network(2)).eval(), random_batch(2, 7)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        prediction = net(batch)
    for name in SHAPES:
        assert getattr(prediction, name).dtype == torch.float32, name
    joints, vertices = net.hand(prediction.rotation, prediction.shape, prediction.trans)
    torch.testing.assert_close(joints, prediction.joints, atol=1e-3, rtol=0)
    torch.testing.assert_close(vertices, prediction.vertices, atol=1e-3, rtol=0)
    torch.testing.assert_close(
        net.hand(prediction.pose, prediction.shape, prediction.trans)[0], prediction.joints, atol=1e-2, rtol=0
    )
