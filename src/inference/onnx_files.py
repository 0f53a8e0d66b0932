"""ONNX graphs on disk: a folder with a network's graphs and those of the finder, and what is needed to run
them without Python, as JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from tempohand.batch import HandPrediction
from tempohand.data.clips import MAX_AGE_S, MAX_GAP_S, MIN_STEP_S, lookback
from tempohand.inference.runtime import OnnxRuntime, Session
from tempohand.model import graphs
from tempohand.model.graphs import Graph
from tempohand.model.heads import CERTAINTY
from tempohand.model.landmarks import HandLandmarkNetwork
from tempohand.model.palms import PalmDetector
from tempohand.model.posenet import PoseNet
from tempohand.model.registry import load_network
from tempohand.model.spatial import MOST_TURNS
from tempohand.model.upright import LEAST_TURN, TURN_STEPS
from tempohand.model.weights import MEDIAPIPE
from tempohand.writing import whole_folder

ABOUT = "tempohand.json"
FORMAT = 1  # of ABOUT
MOST_ERROR = 1e-4  # of a value's unit (`graphs.Value`)


@dataclass(frozen=True)
class Written:
    """A graph's file, and how far its answers to random inputs are from torch's, in units of its outputs."""

    path: Path
    megabytes: float
    error: float

    def line(self) -> str:
        """In words."""
        return f"wrote {self.path} ({self.megabytes:.1f} MB), at most {self.error:.1e} from torch"


def write_graphs(
    checkpoint: str | Path, out: str | Path, beside: Mapping[str, bytes] | None = None
) -> list[Written]:
    """Writes a checkpoint's graphs and the finder's into a folder, which appears when whole, after each was
    held against torch, with the licences that travel with them. beside: other files of the folder, by name.

    Raises ValueError for a network without graphs, where a package is missing, and for a graph whose answers
    differ by more than MOST_ERROR; FileNotFoundError where there is no checkpoint.
    """
    OnnxRuntime()  # is there
    network = graphs.checked(load_network(checkpoint, HandPrediction))
    made = [
        graphs.encoder(network),
        graphs.decoder(network),
        graphs.palms(PalmDetector.load()),
        graphs.landmarks(HandLandmarkNetwork.load()),
    ]
    others = {path.name: path.read_bytes() for path in network.notices()}
    others["LICENSE.mediapipe"] = (MEDIAPIPE / "LICENSE").read_bytes()
    written, errors = [], {}
    with whole_folder(out) as part:
        for name, content in (others | dict(beside or {})).items():
            (part / name).write_bytes(content)
        for graph in made:
            content = graph.to_onnx()
            error = errors[graph.name] = difference(graph, content)
            if not error <= MOST_ERROR:
                raise ValueError(
                    f"the graph '{graph.name}' of '{checkpoint}' differs from torch by {error:.1e}, at most "
                    f"{MOST_ERROR:.0e} is allowed: report it with the versions of torch and onnxruntime"
                )
            name = f"{graph.name}.onnx"
            (part / name).write_bytes(content)
            written.append(Written(Path(out) / name, len(content) / 1e6, error))
        (part / ABOUT).write_text(json.dumps(describe(network, made, errors)), encoding="utf-8")
    return written


@torch.inference_mode()
def difference(graph: Graph, content: bytes, count: int = 3) -> float:
    """The largest difference between a graph and its module over `count` random entries, in the outputs'
    units."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inputs = graph.example(count)
    expected = graph.module(*inputs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    found = Session(graph, content)(*inputs)
    parts = [
        (one - other).abs().max() / value.unit for one, other, value in zip(found, expected, graph.outputs)
    ]
    return float(torch.stack(parts).max())


def describe(network: PoseNet, made: list[Graph], errors: dict[str, float]) -> dict:
    """What a program has to know that runs the graphs: JSON values."""
    token = network.spatial.token_dim
    return {
        "format": FORMAT,
        "name": network.config.get("name"),
        "stage": network.stage,
        "crop": network.crop._asdict(),
        "num_frame": network.num_frame,
        "lookback": lookback(network.num_frame).tolist() if network.num_frame > 1 else [0],
        "history_s": {"most_age": MAX_AGE_S, "most_gap": MAX_GAP_S, "least_step": MIN_STEP_S},
        "features": {
            "token": token,
            "readings": [21, network.spatial.detail_dim // 21],
            "reading": {"u": 0, "v": 1, "depth": 2, "certainty": CERTAINTY},
        },
        "upright": {
            "turns": network.spatial.upright,
            "least_radians": LEAST_TURN,
            "steps_a_radian": TURN_STEPS,
            "most_times": MOST_TURNS,
        },
        "hand": "open hand" if network.config["network"].get("hand") is None else "a file of the user's",
        "faces": network.hand.faces.tolist(),
        "graphs": {
            graph.name: {
                "file": f"{graph.name}.onnx",
                "error": errors[graph.name],
                "inputs": [asdict(value) for value in graph.inputs],
                "outputs": [asdict(value) for value in graph.outputs],
            }
            for graph in made
        },
    }
