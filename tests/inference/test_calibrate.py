"""Calibrating a checkpoint: what is learnt is kept with it, and used."""

import json

import numpy as np
import pytest
import torch
from tests_support import small_network

from tempohand import cli
from tempohand.data.table import FrameTable
from tempohand.inference import calibrate
from tempohand.inference.predictor import StreamingPredictor
from tempohand.manifest import verify
from tempohand.model.confidence import NEAR, Calibration
from tempohand.model.registry import build_network, load_network
from tempohand.training.checkpoint import save_weights


def checkpoint(folder, network: dict):
    torch.manual_seed(0)
    config = {"network": network, "stage": 1, "name": "x", "step": 1, "scores": {}}
    save_weights(folder, build_network(network).state_dict(), config)
    return folder


def test_rows_are_whole_sequences_evenly_chosen(table_root):
    table = FrameTable(table_root, "test")
    starts = table.sequence_starts()
    for most in (1, 10, len(table)):
        rows = calibrate.chosen_rows(table, most)
        kept = np.unique(starts[rows])
        assert np.array_equal(rows, np.flatnonzero(np.isin(starts, kept))) and len(rows)
    assert len(calibrate.chosen_rows(table, len(table))) == len(table)


def test_truth_is_a_distance_in_the_picture(table_root, fake_network, monkeypatch):
    monkeypatch.setattr(calibrate, "NEAR", 0.3)  # of the drawn errors some are below and some above
    network, table, read = fake_network(1), FrameTable(table_root, "test"), FrameTable.labels

    def upright_boxes(table, rows):
        labels = read(table, rows)
        labels["box"][:, 1] -= 0.5 * (labels["box"][:, 3] - labels["box"][:, 1])
        return labels

    monkeypatch.setattr(FrameTable, "labels", upright_boxes)
    rows = np.arange(len(table))
    certainty, near = calibrate.certainty_and_truth(network, table, rows, batch_size=3)
    labels = table.labels(rows)
    known = labels["joints2d_mask"]
    assert len(certainty) == len(near) == known.sum()
    edge = (labels["box"][:, 2:] - labels["box"][:, :2]).max(axis=1)
    said, predictor = [], StreamingPredictor(network)
    for k, row in enumerate(rows):
        hand = {name: labels[name][k] for name in ("box", "focal", "princpt")}
        hand |= {"image": table.image(int(row)), "time": 0.0, "hand": int(row)}
        said.append(predictor.push(**hand, is_right=bool(labels["is_right"][k])).joints2d)
    said = np.stack(said)
    away = np.linalg.norm(said - labels["joints2d"], axis=-1)
    np.testing.assert_array_equal(near, (away < 0.3 * edge[:, None])[known])
    assert 0.1 < near.mean() < 0.9


def test_the_command_keeps_it_in_the_checkpoint(table_root, tmp_path, capsys):
    folder = checkpoint(tmp_path / "best", small_network(1))
    before = (folder / "model.safetensors").read_bytes()
    splits = ["--fit", "train", "--test", "test", "--rows", "40"]
    cli.main(["calibrate", str(folder), "--data", str(table_root), *splits])
    assert "expected calibration error" in capsys.readouterr().out
    verify(folder)
    config = json.loads((folder / "config.json").read_text())
    assert config["confidence"]["within"] == NEAR and (folder / "model.safetensors").read_bytes() == before
    known = Calibration.of(load_network(folder).config)
    assert (np.diff(known.share) >= 0).all()


def test_the_packages_own_networks_stay_as_they_are(table_root, capsys):
    with pytest.raises(SystemExit):
        cli.main(["calibrate", "tempohand-small", "--data", str(table_root)])
    assert "is no checkpoint directory" in capsys.readouterr().err


def test_a_network_that_does_not_say_is_refused(table_root, fake_network):
    network = fake_network(1)
    network.certainty = lambda features: None
    network.title = "network"
    with pytest.raises(ValueError, match="does not say how certain"):
        calibrate.certainty_and_truth(network, FrameTable(table_root, "test"), np.arange(3))
