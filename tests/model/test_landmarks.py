"""The hand landmark network is MediaPipe's: its answers, its padding, its weights."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tempohand.evaluation.provenance import file_hash
from tempohand.model.landmarks import FULL_WEIGHTS, HandLandmarkNetwork, HandLandmarks, same_convolution
from tempohand.model.tflite import read_operators, state_dict_of

golden = runpy.run_path(str(Path(__file__).parents[1] / "golden/mediapipe_hand.py"))
STORED = json.loads(golden["STORED"].read_text(encoding="utf-8"))
SHA256 = "f36650bd1e77ad4d61d38fb754e0b1d1f29ec18a9f8923a762becf8a0cd65602"


@pytest.fixture(scope="module")
def network():
    return HandLandmarkNetwork.load()


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield


def crops(*pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def assert_original(seen: HandLandmarks, outputs: dict) -> None:
    """px, probabilities, mm."""
    named = {"Identity": seen.screen, "Identity_3": seen.world / 1000}
    for name, most in (("Identity", 1e-3), ("Identity_3", 1e-5)):
        np.testing.assert_allclose(named[name].flatten(), np.array(outputs[name]).ravel(), atol=most, rtol=0)
    for name, value in (("Identity_1", seen.presence), ("Identity_2", seen.side)):
        np.testing.assert_allclose(value, np.array(outputs[name]), atol=1e-4, rtol=0)


def test_the_weights_are_the_ones_that_were_read():
    assert file_hash(FULL_WEIGHTS) == SHA256


def test_it_says_of_a_drawn_hand_what_the_original_says(network):
    seen = network(crops(golden["picture"](224)))
    assert_original(seen, STORED["hand_landmark_full"])
    assert seen.presence > 0.5


@pytest.mark.skipif(
    not golden["WHEEL"], reason="TEMPOHAND_MEDIAPIPE_WHEEL names no wheel of mediapipe 0.10.21"
)
@pytest.mark.parametrize("size", ["full", "lite"])
def test_it_says_of_any_picture_what_the_original_says(size):
    pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    name, wheel = f"hand_landmark_{size}", golden["WHEEL"]
    data = golden["read_wheel"](wheel, {name: golden["NETWORKS"][name][0]})[name]
    read = HandLandmarkNetwork(size).eval()
    read.load_state_dict(state_dict_of(read, read_operators(data, name), name))
    rng = np.random.default_rng(0)
    hand = golden["picture"](224) / 255
    assert_original(read(crops(hand.astype(np.float32))), STORED[name])
    for image in (hand[::-1], hand[:, ::-1], hand * 0.3, rng.random((224, 224, 3))):
        image = np.ascontiguousarray(image, np.float32)
        assert_original(read(crops(image)), golden["original"](name, image, wheel))


@pytest.mark.parametrize("kernel, before, behind", [(3, 0, 1), (5, 1, 2)])
def test_padding_at_stride_2_is_larger_behind(kernel, before, behind):
    layer = same_convolution(2, 3, kernel, stride=2)
    x = torch.randn(1, 2, 12, 12)
    padded = F.pad(x, (before, behind, before, behind))
    torch.testing.assert_close(layer(x), F.conv2d(padded, layer.weight, layer.bias, stride=2))


@pytest.mark.parametrize("size, channels", [("full", (40, 112, 192, 1152)), ("lite", (24, 64, 112, 672))])
def test_features_are_maps_of_four_layers(size, channels):
    network = HandLandmarkNetwork(size).eval()
    image = torch.rand(2, 3, 224, 224)
    maps = network.features(image)
    assert network.channels == channels
    assert [tuple(each.shape) for each in maps] == [
        (2, width, cells, cells) for width, cells in zip(channels, (28, 14, 7, 7))
    ]
    read, seen = network.read(maps[-1]), network(image)
    assert all(getattr(read, name).equal(getattr(seen, name)) for name in ("screen", "presence", "world"))


def test_bytes_are_shares_of_255(network):
    image = crops(golden["picture"](224))
    torch.testing.assert_close(network(image).screen, network(image.float() / 255).screen)


@pytest.mark.parametrize("size", [96, 128, 448])
def test_crops_of_other_sizes_are_brought_to_its_own(network, size):
    """The picture is drawn anew at that size, so the hand is in the same place: within 2 % of the crop."""
    own, other = (network(crops(golden["picture"](edge))) for edge in (224, size))
    assert (own.screen - other.screen)[..., :2].norm(dim=-1).mean() < 0.02 * 224
    assert (own.world - other.world).norm(dim=-1).mean() < 6


def test_a_mirrored_hand_is_the_other_side_in_the_mirrored_place(network):
    image = crops(golden["picture"](224))
    seen, mirrored = network(image), network(image.flip(-1))
    expected = 223 - mirrored.screen[..., 0]
    assert (seen.screen[..., 0] - expected).abs().mean() < 4
    assert (seen.side < 0.5) and (mirrored.side > 0.5)


def test_landmarks_are_float32_under_autocast(network):
    maps = network.features(crops(golden["picture"](224)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        seen = network.read(maps[-1])
    assert seen.screen.dtype == torch.float32 and seen.screen.equal(network.read(maps[-1]).screen)


def test_others_weights_are_refused(tmp_path):
    with pytest.raises(ValueError, match="does not fit HandLandmarkNetwork: 317 weights differ"):
        HandLandmarkNetwork.load("tempohand-tiny")
    with pytest.raises(ValueError, match="does not fit HandLandmarkNetwork: .* first .'stages.0.0.project"):
        HandLandmarkNetwork.load(size="lite")
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        HandLandmarkNetwork.load(tmp_path / "absent.safetensors")
