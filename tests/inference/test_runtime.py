"""ONNX Runtime says what torch says: graph by graph, through the predictor and the finder, and from the
command line."""

import json
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tests_support import small_finder, small_network

import tempohand
from tempohand import cli
from tempohand.inference import onnx_files, runtime
from tempohand.inference.onnx_files import ABOUT, MOST_ERROR, difference, write_graphs
from tempohand.inference.palm_finder import PalmFinder
from tempohand.inference.predictor import HandInput, StreamingPredictor
from tempohand.inference.runtime import OnnxRuntime, Session, open_runtime
from tempohand.model import graphs
from tempohand.model.landmarks import HandLandmarkNetwork
from tempohand.model.palms import PalmDetector
from tempohand.model.registry import build_network
from tempohand.training.checkpoint import save_weights

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
golden = runpy.run_path(str(Path(__file__).parents[1] / "golden/mediapipe_hand.py"))
MOST_MM, MOST_PX = 0.01, 0.01


def dino(stage: int) -> dict:
    """As the DINO configurations, small: a transformer with class and register tokens, no heat maps."""
    network = small_network(stage, norm_by_hand=True)
    options = {"embed_dim": 48, "depth": 1, "num_heads": 3}
    network["spatial"] |= {
        "backbone": {"name": "vit_small_patch14_reg4_dinov2", "weights": None, "options": options},
        "heads": {"translation": "heatmap", "bins": 8},
        "heatmap": None,
        "side": False,
    }
    return network | {"size": 56}


def random_network(settings: dict):
    """With no weight at its zero start."""
    torch.manual_seed(0)
    network = build_network(settings)
    network.config = {"network": settings, "name": "random", "stage": network.stage}
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


NETWORKS = {"small": small_network, "dino": dino}


@pytest.mark.parametrize(("name", "stage"), [("small", 1), ("small", 2), ("dino", 2)])
def test_the_graphs_of_a_network_say_what_it_says(name, stage):
    network = random_network(NETWORKS[name](stage))
    for graph in (graphs.encoder(network), graphs.decoder(network)):
        content = graph.to_onnx()
        assert difference(graph, content) < MOST_ERROR
        for count in (1, 4):
            takes_at_once(graph, content, count)


def takes_at_once(graph, content: bytes, count: int) -> None:
    """As other programs run it: Session goes entry by entry."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    inputs = graph.example(count)
    with torch.inference_mode():
        expected = graph.module(*inputs)
    given = {value.name: tensor.numpy() for value, tensor in zip(graph.inputs, inputs)}
    found = session.run(None, given)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for value, one, other in zip(graph.outputs, found, expected, strict=True):
        assert one.shape == (count, *value.shape[1:])
        np.testing.assert_allclose(one / value.unit, other / value.unit, atol=MOST_ERROR)


@pytest.fixture(scope="module")
def released():
    """(the network, the same under ONNX Runtime)"""
    network = tempohand.load()
    return network, OnnxRuntime().network(network)


def film(angle: float, mirrored: bool) -> list[np.ndarray]:
    """A drawn hand that moves, in a wide picture; angle: degrees by which it is turned."""
    hand = golden["picture"](224)
    frames = []
    for step in range(4):
        place = cv2.getRotationMatrix2D((112, 112), angle + 2 * step, 1 + 0.02 * step)
        place[:, 2] += (60 + 6 * step, 30 - 3 * step)
        frame = cv2.warpAffine(hand, place, (400, 300), borderMode=cv2.BORDER_REPLICATE)
        frames.append(np.ascontiguousarray(frame[:, ::-1]) if mirrored else frame)
    return frames


@pytest.mark.parametrize("is_right", [True, False])
@pytest.mark.parametrize("angle", [0, 90, 180])
def test_a_stream_of_either_side_however_turned(released, angle, is_right):
    ways = [StreamingPredictor(network) for network in released]
    for step, image in enumerate(film(angle, not is_right)):
        x0 = 60 + 6 * step if is_right else 400 - 284 - 6 * step
        inputs = [
            HandInput(image=image, box=box, time=step / 30, hand=hand, is_right=is_right)
            for hand, box in enumerate(((x0 + 50, 70, x0 + 180, 240), (x0 + 40, 60, x0 + 160, 220)))
        ]
        for one, other in zip(*(way.push_all(inputs) for way in ways), strict=True):
            assert one.history == other.history
            for name, most in (("joints", MOST_MM), ("vertices", MOST_MM), ("joints2d", MOST_PX)):
                np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=most)
        looks = [way.look(inputs[0]) for way in ways]
        assert looks[0].certainty == pytest.approx(looks[1].certainty, abs=MOST_ERROR)
        assert looks[0].right_logit == pytest.approx(looks[1].right_logit, abs=10 * MOST_ERROR)
    turns = [way._histories[0][-1].given["features"][-1] for way in ways]
    assert turns[0] == turns[1] and (turns[0] != 0 or angle == 0)


def test_hands_are_found_where_torch_finds_them():
    onnx = OnnxRuntime()
    graph_finder = PalmFinder(
        onnx.palms(PalmDetector.load()), onnx.landmarks(HandLandmarkNetwork.load()), max_hands=2, tiles=2
    )
    finder = PalmFinder(max_hands=2, tiles=2)
    for image in (*film(0, False)[:2], *film(60, True)[:1]):
        one, other = finder.hands(image), graph_finder.hands(image)
        assert len(one.joints) == len(other.joints) >= 1
        # Crops are rounded to whole grey values, so that the second look may see another picture.
        np.testing.assert_allclose(one.joints, other.joints, atol=0.1)
        np.testing.assert_allclose(one.presence, other.presence, atol=0.01)


def test_no_frame_has_a_part_in_anothers_answer():
    graph = graphs.encoder(random_network(small_network(1)))
    session, inputs = Session(graph), graph.example(3)
    (together,) = session(*inputs)
    alone = [session(*(value[k : k + 1] for value in inputs))[0] for k in range(3)]
    assert torch.equal(together, torch.cat(alone))


@pytest.fixture
def checkpoint(tmp_path):
    """A folder with the smallest Stage 2 network."""
    network = random_network(small_network(2))
    save_weights(tmp_path / "checkpoint", network.state_dict(), network.config)
    return tmp_path / "checkpoint"


def test_the_command_writes_graphs_and_what_they_take(checkpoint, tmp_path, capsys):
    cli.main(["onnx", "--checkpoint", str(checkpoint), "--out", str(tmp_path / "graphs")])
    assert capsys.readouterr().out.count("from torch") == 4
    about = json.loads((tmp_path / "graphs" / ABOUT).read_text())
    assert sorted(path.name for path in (tmp_path / "graphs").iterdir()) == sorted(
        [ABOUT, "LICENSE.mediapipe", *(graph["file"] for graph in about["graphs"].values())]
    )
    assert about["num_frame"] == 7 and len(about["faces"]) == 1538
    for graph in about["graphs"].values():
        session = onnxruntime.InferenceSession(tmp_path / "graphs" / graph["file"])
        for said, there in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
            assert [value["name"] for value in graph[said]] == [value.name for value in there]
            assert [len(value["shape"]) for value in graph[said]] == [len(value.shape) for value in there]


def test_a_graph_that_differs_is_not_written(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_files, "difference", lambda *_: float("nan"))
    with pytest.raises(ValueError, match="'encode' of .* differs from torch by nan"):
        write_graphs(checkpoint, tmp_path / "graphs")
    assert not (tmp_path / "graphs").exists()


def test_predictions_are_those_of_torch(checkpoint, tmp_path):
    cv2.imwrite(str(tmp_path / "hand.png"), film(0, False)[0][..., ::-1])
    found = {}
    for name in runtime.NAMES:
        words = ["predict", tmp_path / "hand.png", "--box", "110,70,240,240", "--side", "left"]
        words += ["--checkpoint", checkpoint, "--out", tmp_path / name, "--runtime", name, "--no-overlay"]
        cli.main([str(word) for word in words])
        with np.load(tmp_path / name / "predictions.npz") as file:
            found[name] = file["joints"]
    np.testing.assert_allclose(found["onnx"], found["torch"], atol=MOST_MM)


@pytest.mark.parametrize("installed", [True, False])
def test_long_input_is_taken_by_onnx_runtime_where_it_is_installed(
    checkpoint, tmp_path, monkeypatch, installed
):
    """Of a network without graphs torch computes, unless ONNX Runtime is asked for."""
    monkeypatch.setattr(runtime, "_installed", lambda: installed)
    assert runtime.fitting("cpu", runtime.LONG) == ("onnx" if installed else "torch")
    assert runtime.fitting("cpu", runtime.LONG - 1) == runtime.fitting("cpu", None) == "torch"
    assert runtime.fitting("cuda", runtime.LONG) == "torch"
    cv2.imwrite(str(tmp_path / "hand.png"), film(0, False)[0][..., ::-1])
    made, network = [], OnnxRuntime.network
    monkeypatch.setattr(OnnxRuntime, "network", lambda self, one: made.append(network(self, one)) or made[-1])
    monkeypatch.setattr(runtime, "LONG", 1)
    words = ["predict", tmp_path / "hand.png", "--box", "110,70,240,240", "--out", tmp_path / "out"]
    for _ in range(2):
        cli.main([str(word) for word in (*words, "--checkpoint", checkpoint, "--no-overlay")])
        assert len(made) == installed
        monkeypatch.setattr(OnnxRuntime, "takes", lambda *_: False)


def test_what_cannot_be_run_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="`runtime` is torch or onnx, not 'tvm'"):
        open_runtime("tvm")
    finder = build_network(small_finder())
    with pytest.raises(ValueError, match="of PoseNet.*FinderNet"):
        OnnxRuntime().network(finder)
    monkeypatch.setattr(runtime, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs the packages onnx and onnxruntime: pip install"):
        tempohand.load(runtime="onnx")
