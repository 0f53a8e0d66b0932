"""Planted faults of networks, losses and settings: each is named by the check that is for it."""

import dataclasses

import pytest
import torch
from torch import nn

from tempohand.batch import Term
from tempohand.doctor.crops import check_crops
from tempohand.doctor.examine import check_samples, examine
from tempohand.doctor.learning import check_gradients, check_processes
from tempohand.doctor.network import check_losses, check_network, check_scale, check_stage2_starts_as_stage1
from tempohand.doctor.resources import check_disk
from tempohand.doctor.subject import Subject
from tempohand.model.spatial import SpatialFeatures


@pytest.fixture
def subject(settings, film_root):
    """subject(stage, *overrides)"""
    return lambda stage, *overrides: Subject(settings(stage, film_root, *overrides), lambda line: None)


def by_name(results):
    return {result.check: result for result in results}


def gradients(subject, network):
    return by_name(check_gradients(network, subject.batches, subject.settings["loss"], 1e-3))


def test_a_dominating_loss_weight_is_named(subject):
    s = subject(1, "loss.joints=20")
    result = by_name(check_losses(s.fresh_network(), s.batches, s.settings["loss"]))["no loss term dominates"]
    assert result.verdict == "FAILED" and "'joints'" in result.cause and "loss.joints (now 20" in result.cause


def test_a_single_term_may_be_all_of_the_loss(subject):
    s = subject(1)
    results = by_name(
        check_losses(
            s.fresh_network(), s.batches, {name: float(name == "joints") for name in s.settings["loss"]}
        )
    )
    assert all(result.verdict == "ok" for result in results.values())


def test_a_term_that_is_not_finite_or_has_no_label_is_named(subject):
    s = subject(1)
    for batch in s.batches:
        batch.target.shape[0] = torch.nan
        batch.target.joints_mask[:] = False
    result = by_name(check_losses(s.fresh_network(), s.batches, s.settings["loss"]))["loss terms are finite"]
    assert (
        result.verdict == "FAILED"
        and "Not finite: shape." in result.cause
        and "No label for: joints, joint_depth" in result.cause
    )


def test_a_trainable_parameter_that_is_cut_off_is_named(subject):
    s = subject(1)
    network = s.fresh_network()
    network.spatial.unused = nn.Linear(2, 2)
    result = gradients(s, network)["gradients reach what is trained"]
    assert (
        result.verdict == "FAILED"
        and "spatial.unused.weight, spatial.unused.bias" in result.cause
        and result.number == 2
    )


def test_a_result_that_is_detached_is_named(subject):
    s = subject(1)
    network = s.fresh_network()
    forward = network.spatial.decoder.forward
    network.spatial.decoder.forward = lambda features: forward(features.detach())
    network.spatial.heatmaps = None
    network.spatial.side = None
    s.settings["loss"] |= {"heatmap": 0, "joint_depth": 0, "side": 0}
    network.spatial.forward = lambda frames: SpatialFeatures(
        network.spatial.decoder(network.spatial.backbone(frames.image))
    )
    cause = gradients(s, network)["gradients reach what is trained"].cause
    assert "spatial.backbone" in cause


def test_a_frozen_parameter_that_gets_gradients_is_named(subject):
    s = subject(2)
    network = s.fresh_network()
    network.spatial.heads.shape.requires_grad_(True)
    result = gradients(s, network)["frozen means frozen"]
    assert (
        result.verdict == "FAILED"
        and "2 frozen tensors get gradients, 2 change" in result.cause
        and "spatial.heads.shape" in result.cause
    )


def test_frozen_statistics_that_move_are_named(subject):
    s = subject(2)
    network = s.fresh_network()
    network.spatial.train()
    result = gradients(s, network)["frozen means frozen"]
    assert (
        result.verdict == "FAILED"
        and "0 frozen tensors get gradients" in result.cause
        and "running_mean" in result.cause
    )


def test_a_temporal_encoder_that_does_not_start_at_zero_is_named(subject):
    s = subject(2)
    network = s.fresh_network().eval()
    nn.init.normal_(network.temporal.correct.weight, std=0.1)
    with torch.no_grad():
        result = check_stage2_starts_as_stage1(network, s.batches[0], network(s.batches[0]))
    assert result.verdict == "FAILED" and result.number > 1


@pytest.mark.parametrize(
    ("name", "change", "check"),
    [
        ("joints", lambda x: x / 1000, "network: bone length"),
        ("joints", lambda x: x + torch.tensor([0.0, 0, 5000]), "network: depth"),
        ("joints2d", lambda x: x * 128, "network: 2D extent"),
        ("joints", lambda x: x * torch.nan, "network: outputs are finite"),
    ],
)
def test_outputs_on_another_scale_are_named(subject, name, change, check):
    s = subject(1)
    with torch.no_grad():
        predictions = [s.network(batch) for batch in s.batches]
    changed = [dataclasses.replace(each, **{name: change(getattr(each, name))}) for each in predictions]
    wrong = [result for result in check_scale(predictions, s.batches) if result.verdict != "ok"]
    assert not wrong, wrong
    assert by_name(check_scale(changed, s.batches))[check].verdict == "FAILED"


def processes(subject, spoil=lambda network: None):
    def make():
        network = subject.fresh_network()
        spoil(network)
        return network

    return check_processes(make, subject.samples[0], subject.settings["loss"])


def test_a_term_that_depends_on_the_batch_it_is_in_is_named(subject):
    def spoil(network):
        criterion = network.criterion
        network.criterion = lambda prediction, batch: {
            name: Term(term.value * len(batch.row), term.mask)
            for name, term in criterion(prediction, batch).items()
        }

    result = processes(subject(1), spoil)
    assert result.verdict == "FAILED" and "sums or averages by itself" in result.cause


def test_batch_statistics_of_a_process_are_a_warning(subject):
    options = "network.spatial.backbone.options={stem: 16, stages: [[16, 1], [32, 1]], norm_group: 16}"
    result = processes(subject(1, options))
    assert result.verdict == "warning" and "batch normalisation" in result.cause


def test_unequal_masks_do_not_disturb_the_agreement(subject):
    s = subject(1)
    for place, sample in enumerate(s.samples[0]):
        sample.labels["joints_mask"][:] = place % 3 > 0
        sample.labels["has_hand"][:] = place < 5
    assert processes(s).verdict == "ok"


def test_crops_that_miss_the_hand_and_joints_centred_twice_are_named(subject):
    s = subject(1)
    assert all(result.verdict == "ok" for result in check_crops(s.batches))
    for batch in s.batches:
        batch.target.joints2d += 0.6
    assert by_name(check_crops(s.batches))["crops: 2D in [-0.5, 0.5]"].verdict == "FAILED"
    for batch in s.batches:
        batch.target.joints[:] -= batch.target.trans[:, :, None]
    result = by_name(check_crops(s.batches))["crops: root-centred truth"]
    assert result.verdict == "FAILED" and "centred again" in result.cause


def test_a_table_without_a_usable_row_keeps_the_network_waiting(planted, settings):
    root = planted(lambda row: {"joints": row["joints"] / 1000, "trans": row["trans"] / 1000})
    results = by_name(examine(settings(1, root), say=lambda line: None))
    assert (
        results["samples can be drawn"].verdict == "FAILED" and "metres" in results["3D bone lengths"].cause
    )
    assert "network: depth" not in results and "disk for checkpoints" in results


def test_rows_to_leave_out_are_said(planted, settings):
    root = planted(
        lambda row: {"box": [5.0, 5, 5, 9]} if (row["sequence"][-1], row["frame"]) == ("2", 4) else {}
    )
    (result,) = check_samples(Subject(settings(1, root), lambda line: None))
    assert result.verdict == "warning" and result.number == pytest.approx(1 / 66)


def test_a_broken_hand_file_ends_the_examination(settings, film_root, tmp_path):
    (tmp_path / "MANO_RIGHT.pkl").write_bytes(b"not a hand")
    (result,) = examine(settings(1, film_root, f"network.hand={tmp_path / 'MANO_RIGHT.pkl'}"))
    assert result.verdict == "FAILED" and "MANO_RIGHT.pkl" in result.cause


def test_a_full_disk_is_foreseen(subject, monkeypatch):
    s = subject(2)
    assert [result.verdict for result in check_disk(s)] == ["ok", "ok"]
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("usage", (), {"free": 1000})())
    results = check_disk(s)
    assert [result.verdict for result in results] == ["FAILED", "FAILED"] and "tokens.folder" in results[
        1
    ].cause


def test_stage_2_without_stage_1_is_a_warning(settings, film_root):
    results = by_name(examine(settings(2, film_root, "init_from=null"), say=lambda line: None))
    assert (
        results["Stage 1 to start from"].verdict == "warning"
        and "init_from=" in results["Stage 1 to start from"].cause
    )


def test_every_check_of_the_network_is_in_its_family(subject):
    s = subject(2)
    names = by_name(check_network(s.network, s.fresh_network(), s.batches, s.settings["loss"])).keys()
    assert {
        "network: depth",
        "network: bone length",
        "network: 2D extent",
        "Stage 2 starts as Stage 1",
        "no loss term dominates",
    } <= names
