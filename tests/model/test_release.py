"""A release: the same network in half precision, found by its name, with Stage 1 inside."""

import json
import resource

import pytest
import torch
from safetensors.torch import load_file
from tests_support import random_batch, small_network

import tempohand
from tempohand.model import release, weights
from tempohand.model.registry import build_network, load_network, load_stages
from tempohand.model.temporal_posenet import TemporalPoseNet
from tempohand.training.checkpoint import save_weights


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A small Stage 2 checkpoint and the folder of releases with its release."""
    torch.manual_seed(0)
    network = build_network(small_network(2)).eval()
    config = {
        "network": small_network(2),
        "view": {"size": 64, "expansion": 2.0},
        "stage": 2,
        "name": "x",
        "scores": {},
        "step": 3,
        "loss": {},
    }
    save_weights(tmp_path / "run/best", network.state_dict(), config)
    monkeypatch.setattr(weights, "RELEASED", tmp_path / "released")
    size = release.make_release(tmp_path / "run/best", tmp_path / "released", "small", {"data": "none"})
    return tmp_path, network, size


def test_a_release_is_the_network_to_half_precision(made):
    folder, network, size = made
    stored = load_file(folder / "released/small/model.safetensors")
    assert all(value.dtype == torch.float16 for value in stored.values() if value.is_floating_point())
    assert (
        size
        == (folder / "released/small/model.safetensors").stat().st_size
        < 0.6 * (folder / "run/best/model.safetensors").stat().st_size
    )
    batch, loaded = random_batch(2, 7), tempohand.load("small")
    assert all(parameter.dtype == torch.float32 for parameter in loaded.parameters()) and not loaded.training
    with torch.no_grad():
        torch.testing.assert_close(loaded(batch).joints, network(batch).joints, atol=1.0, rtol=0)  # mm
    config = json.loads((folder / "released/small/config.json").read_text())
    assert config["name"] == "small" and config["training"] == {"data": "none"} and "scores" not in config


def test_stage_1_is_inside_it(made):
    batch, network = random_batch(2, 7), made[1]
    with torch.no_grad():
        alone = tempohand.load("small", stage=1)
        torch.testing.assert_close(
            alone(batch.last_frame()).joints,
            network.spatial_only().eval()(batch.last_frame()).joints,
            atol=1.0,
            rtol=0,
        )
    fine_tuned = build_network(small_network(1))
    assert fine_tuned.load_pretrained("small")[0].startswith("inherited")


def test_a_name_stands_for_its_folder_and_a_folder_comes_first(made, monkeypatch):
    folder, _, _ = made
    assert weights.released() == ["small"] and weights.locate("small") == folder / "released/small"
    monkeypatch.chdir(folder)
    (folder / "small").mkdir()
    assert str(weights.locate("small")) == "small"
    with pytest.raises(FileNotFoundError, match="no checkpoint at 'smal'.*or one of small"):
        load_network("smal")


def test_notices_travel_with_a_release(made, tmp_path):
    folder, _, _ = made
    (tmp_path / "NOTICE").write_text("whose pictures it learnt from")
    release.make_release(folder / "run/best", tmp_path, "noted", {}, [tmp_path / "NOTICE"])
    assert (tmp_path / "noted/NOTICE").read_text() == "whose pictures it learnt from"
    assert "NOTICE" in json.loads((tmp_path / "noted/checksums.json").read_text())


def test_a_damaged_release_is_named(made):
    path = made[0] / "released/small/model.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        tempohand.load("small")


def test_what_is_no_release_is_refused(made, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="stage is 1 or 2"):
        tempohand.load("small", stage=3)
    one = build_network(small_network(1))
    config = {"network": small_network(1), "view": {}, "stage": 1, "name": "x"}
    save_weights(tmp_path / "one", one.state_dict(), config)
    with pytest.raises(ValueError, match="is of Stage 1"):
        release.make_release(tmp_path / "one", tmp_path, "y", {})
    huge = {name: value.clone() for name, value in made[1].state_dict().items()}
    next(value for value in huge.values() if value.is_floating_point())[...] = 1e6
    save_weights(tmp_path / "huge", huge, config | {"stage": 2, "network": small_network(2)})
    with pytest.raises(ValueError, match="half precision cannot hold 1 tensors"):
        release.make_release(tmp_path / "huge", tmp_path, "y", {})
    monkeypatch.setattr(release, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="a release at most"):
        release.make_release(tmp_path / "run/best", tmp_path, "y", {})
    assert not (tmp_path / "y").exists()


def test_a_full_disk_leaves_the_release_that_was_there(made):
    folder, _, _ = made
    before = {path: path.read_bytes() for path in (folder / "released").rglob("*") if path.is_file()}
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            release.make_release(folder / "run/best", folder / "released", "small", {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert caught.value.filename == str(folder / "released/small")
    assert {path: path.read_bytes() for path in (folder / "released").rglob("*") if path.is_file()} == before
    assert [path.name for path in (folder / "released").iterdir()] == ["small"]


def test_stage_2_without_a_network_of_single_frames_needs_stage_1_beside_it(monkeypatch):
    assert [network.stage for network in load_stages(None, "tempohand-tiny")] == [1, 2]
    monkeypatch.setattr(TemporalPoseNet, "spatial_only", lambda network: None)
    with pytest.raises(
        ValueError, match="stage2='tempohand-tiny' has no network of single frames inside: give"
    ):
        load_stages(None, "tempohand-tiny")
