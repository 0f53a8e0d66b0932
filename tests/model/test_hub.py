"""Networks as folders of the hub's kind: what is saved comes back, with its licences and a true card."""

import json

import huggingface_hub
import pytest
import torch
from tests_support import random_batch, small_network

from tempohand.manifest import verify
from tempohand.model import hub
from tempohand.model.finder import FinderNet
from tempohand.model.posenet import PoseNet
from tempohand.model.registry import build_network, load_network
from tempohand.model.temporal_posenet import TemporalPoseNet
from tempohand.training.checkpoint import save_weights


@pytest.fixture
def checkpoint(tmp_path):
    """A small Stage 2 checkpoint, with a licence beside it."""
    torch.manual_seed(0)
    config = {
        "network": small_network(2),
        "view": {"size": 64, "expansion": 2.0},
        "stage": 2,
        "name": "stage2-small",
        "step": 12,
        "scores": {"mpjpe_root": 23.456789, "raw/joints": 1.0},
    }
    save_weights(tmp_path / "best", build_network(small_network(2)).state_dict(), config)
    (tmp_path / "best/LICENSE").write_text("Apache-2.0")
    return tmp_path / "best"


def test_what_is_saved_is_the_network(checkpoint, tmp_path):
    network = TemporalPoseNet.from_pretrained(checkpoint)
    with torch.no_grad():
        next(network.parameters()).add_(0.25)  # it is not a copy of the file
    network.save_pretrained(tmp_path / "saved")
    verify(tmp_path / "saved")
    again = load_network(tmp_path / "saved")  # an ordinary checkpoint directory
    own = network.state_dict()
    assert own.keys() == again.state_dict().keys()
    assert all(own[name].equal(value) for name, value in again.state_dict().items())
    assert again.config == network.config and not again.training
    batch = random_batch(2, 7)
    with torch.no_grad():
        assert again(batch).joints.equal(network(batch).joints)


def test_stage_1_inside_is_saved_as_stage_1(checkpoint, tmp_path):
    inside = TemporalPoseNet.from_pretrained(checkpoint).spatial_only().eval()
    inside.save_pretrained(tmp_path / "one")
    again = PoseNet.from_pretrained(tmp_path / "one")
    batch = random_batch(2, 1)
    with torch.no_grad():
        assert again(batch).joints.equal(inside(batch).joints)
    assert again.config["stage"] == 1


def test_the_card_says_what_it_is(checkpoint, tmp_path):
    TemporalPoseNet.from_pretrained(checkpoint).save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved/LICENSE").read_text() == "Apache-2.0"
    card = huggingface_hub.ModelCard.load(tmp_path / "saved/README.md")
    assert card.data.library_name == "tempohand" and "hand-pose-estimation" in card.data.tags
    text = card.text
    for said in (
        "# stage2-small",
        "TemporalPoseNet.from_pretrained",
        "64 x 64 px",
        "7 frames",
        "| step | 12 |",
    ):
        assert said in text
    assert "mpjpe_root | 23.46 |" in text and "raw/joints" not in text and "LICENSE" in text
    (imports,) = (line.strip() for line in text.splitlines() if "import TemporalPoseNet" in line)
    exec(imports)  # the lines that it shows can be run


def test_a_package_name_needs_no_network(monkeypatch):
    monkeypatch.setattr(hub, "snapshot_download", lambda *a, **k: pytest.fail("it went to the hub"))
    assert TemporalPoseNet.from_pretrained("tempohand-small").config["name"] == "tempohand-small"


def test_a_repository_is_downloaded_whole(checkpoint, monkeypatch):
    asked = {}

    def download(name, **more):
        asked.update(name=name, **more)
        return str(checkpoint)

    monkeypatch.setattr(hub, "snapshot_download", download)
    network = TemporalPoseNet.from_pretrained("somebody/hands", revision="v2")
    assert asked["name"] == "somebody/hands" and asked["revision"] == "v2" and network.folder == checkpoint
    assert {"model.safetensors", "*.json", "LICENSE*", "NOTICE*"} == set(asked["allow_patterns"])


def test_push_to_hub_uploads_the_folder(checkpoint, monkeypatch):
    sent = {}

    class Api(huggingface_hub.HfApi):
        def create_repo(self, repo_id, **more):
            return huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}")

        def upload_folder(self, *, repo_id, folder_path, **more):
            sent.update(repo=repo_id, files={path.name for path in folder_path.iterdir()})

    monkeypatch.setattr(huggingface_hub.hub_mixin, "HfApi", Api)
    TemporalPoseNet.from_pretrained(checkpoint).push_to_hub("somebody/hands")
    files = {"model.safetensors", "config.json", "checksums.json", "README.md", "LICENSE"}
    assert sent == {"repo": "somebody/hands", "files": files}


def test_another_class_and_a_built_network_are_refused(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="holds a TemporalPoseNet, not a FinderNet: TemporalPoseNet.from_"):
        FinderNet.from_pretrained(checkpoint)
    with pytest.raises(ValueError, match="has no configuration"):
        build_network(small_network(1)).save_pretrained(tmp_path / "none")
    assert not list((tmp_path / "none").glob("*"))


def test_the_configuration_is_strict_json(checkpoint, tmp_path):
    TemporalPoseNet.from_pretrained(checkpoint).save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved/config.json").read_text()) == json.loads(
        (checkpoint / "config.json").read_text()
    )
