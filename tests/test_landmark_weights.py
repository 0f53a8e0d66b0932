"""script/landmark_weights.py: out of a wheel that is made here, and out of MediaPipe's own where it is."""

import json
import runpy
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tests_support import load_file
from tflite_support import tflite_of

from tempohand.evaluation.provenance import file_hash
from tempohand.model.landmarks import HandLandmarkNetwork
from tempohand.model.palms import PalmDetector
from tempohand.model.weights import MEDIAPIPE, released

ROOT = Path(__file__).parents[1]
WHEEL = runpy.run_path(str(ROOT / "tests/golden/mediapipe_hand.py"))["WHEEL"]


@pytest.fixture(scope="module")
def script():
    return load_file(ROOT / "script/landmark_weights.py")


@pytest.fixture(scope="module")
def made(script, tmp_path_factory):
    """A wheel of networks with random weights, and these."""
    torch.manual_seed(0)
    networks = {name: network().eval() for name, network in script.NETWORKS.items()}
    wheel = tmp_path_factory.mktemp("wheel") / "mediapipe.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, path in (script.FILES | script.LITE).items():
            archive.writestr(path, "the licence" if name == script.LICENCE else tflite_of(networks[name]))
    return wheel, networks


def test_networks_of_a_wheel_become_files(script, made, tmp_path, capsys):
    wheel, networks = made
    script.main([str(wheel), "--lite", "--folder", str(tmp_path / "out")])
    digests = json.loads(capsys.readouterr().out)
    assert digests.keys() == networks.keys()
    files = {name: tmp_path / "out" / f"{name}.safetensors" for name in networks}
    read = {
        "hand_landmark_full": HandLandmarkNetwork.load(files["hand_landmark_full"]),
        "hand_landmark_lite": HandLandmarkNetwork.load(files["hand_landmark_lite"], "lite"),
        "palm_detection_full": PalmDetector.load(files["palm_detection_full"]),
    }
    for name, network in networks.items():
        assert digests[name] == file_hash(files[name])
        for key, values in network.state_dict().items():
            assert read[name].state_dict()[key].equal(values.half().float()), (name, key)
    with safe_open(files["palm_detection_full"], "pt") as file:
        assert (
            "Apache-2.0" in file.metadata()["notice"] and "palm_detection_full" in file.metadata()["notice"]
        )
    assert (tmp_path / "out/LICENSE").read_text() == "the licence"


def test_a_wheel_of_another_version_is_refused(script, tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr("mediapipe/__init__.py", "")
    with pytest.raises(SystemExit):
        script.main([str(tmp_path / "other.whl"), "--folder", str(tmp_path / "out")])
    assert "has no hand networks" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.skipif(not WHEEL, reason="TEMPOHAND_MEDIAPIPE_WHEEL names no wheel of mediapipe 0.10.21")
def test_the_packages_files_are_those_of_the_wheel(script, tmp_path):
    script.main([str(WHEEL), "--folder", str(tmp_path / "out")])
    assert {path.name for path in MEDIAPIPE.iterdir()} == {path.name for path in (tmp_path / "out").iterdir()}
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (MEDIAPIPE / path.name).read_bytes(), path.name


def test_bare_weights_are_no_network_by_name():
    assert MEDIAPIPE.name not in released()
