"""What runs the networks: torch, or ONNX Runtime, which on a CPU takes half the time. The choice is made
here and nowhere else: whoever is given the networks does not know it."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tempohand.batch import ClipBatch, Frames, HandPrediction
from tempohand.model import graphs
from tempohand.model.graphs import Graph
from tempohand.model.landmarks import HandLandmarkNetwork, HandLandmarks
from tempohand.model.palms import MIN_SCORE, PalmDetector, Palms, palms_of
from tempohand.model.posenet import PoseNet, look_twice
from tempohand.model.spatial import SpatialFeatures, seen_upright

NAMES = ("torch", "onnx")
LONG = 200  # frames from which on ONNX Runtime gains more than its graphs take to be made


class TorchRuntime:
    """The networks as they are."""

    def takes(self, network: nn.Module) -> bool:
        """Whether it runs a network that predicts hands."""
        return True

    def network(self, network: Any) -> Any:
        """One that predicts hands: a Network (model/network.py), or what answers as one."""
        return network

    def palms(self, network: PalmDetector) -> PalmDetector:
        """The palm detector."""
        return network

    def landmarks(self, network: HandLandmarkNetwork) -> HandLandmarkNetwork:
        """The hand landmark network."""
        return network


def fitting(device: str, frames: int | None) -> str:
    """The name of the runtime that is done first with so many frames (None: unknown) on a device."""
    pays = device == "cpu" and frames is not None and frames >= LONG
    return "onnx" if pays and _installed() else "torch"


def _installed() -> bool:
    return all(find_spec(name) for name in ("onnx", "onnxruntime"))


class OnnxRuntime:
    """ONNX Runtime on the CPU, with as many threads as torch has. Graphs are made when a network is given,
    which takes a second or two, and are in memory alone. Raises ValueError where a package is missing."""

    def __init__(self):
        if not _installed():
            raise ValueError(
                "`runtime` onnx needs the packages onnx and onnxruntime: pip install 'tempohand[onnx]'"
            )

    def takes(self, network: nn.Module) -> bool:
        """Whether a network that predicts hands has graphs."""
        try:
            graphs.checked(network)
        except ValueError:
            return False
        return True

    def network(self, network: Any) -> "OnnxPoseNet":
        """PoseNet of either stage. Raises ValueError for other networks."""
        posenet = graphs.checked(network)
        return OnnxPoseNet(posenet, Session(graphs.encoder(posenet)), Session(graphs.decoder(posenet)))

    def palms(self, network: PalmDetector) -> "OnnxPalms":
        """The palm detector."""
        return OnnxPalms(Session(graphs.palms(network)))

    def landmarks(self, network: HandLandmarkNetwork) -> "OnnxLandmarks":
        """The hand landmark network."""
        return OnnxLandmarks(Session(graphs.landmarks(network)))


Runtime = TorchRuntime | OnnxRuntime


def open_runtime(name: str) -> Runtime:
    """The runtime of a name. Raises ValueError for another one, and where its packages are missing."""
    if name not in NAMES:
        raise ValueError(f"`runtime` is {' or '.join(NAMES)}, not '{name}'")
    return OnnxRuntime() if name == "onnx" else TorchRuntime()


class Session:
    """A graph under ONNX Runtime: tensors in, tensors out. content: the graph's file (None: it is made).

    It runs entry by entry: all sizes are then known when the session begins, and half of a graph's operations
    are computed there.
    """

    def __init__(self, graph: Graph, content: bytes | None = None):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # several sessions wait
        options.add_free_dimension_override_by_name(graphs.MANY, 1)
        self.inputs = [value.name for value in graph.inputs]
        self.session = onnxruntime.InferenceSession(
            graph.to_onnx() if content is None else content, options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, *values: Tensor) -> list[Tensor]:
        """The graph's outputs, of inputs on the CPU, its own ones first."""
        arrays = [value.numpy() for value in values[: len(self.inputs)]]
        outputs = [
            self.session.run(None, {name: array[k : k + 1] for name, array in zip(self.inputs, arrays)})
            for k in range(len(arrays[0]))
        ]
        return [torch.cat([torch.from_numpy(part) for part in parts]) for parts in zip(*outputs)]


class OnnxPoseNet(nn.Module):
    """What StreamingPredictor asks of a PoseNet of either stage, by two graphs; the side head and turning
    crops upright stay in torch. Of the network's loss terms it gives none. On the CPU only."""

    def __init__(self, network: PoseNet, encode: Callable, decode: Callable):
        super().__init__()
        self.torch_network = network
        self.hand, self.crop = network.hand, network.crop
        self.num_frame = network.num_frame
        self.feature_dim, self.tells_sides = network.feature_dim, network.tells_sides
        self.stage, self.config = network.stage, network.config
        self.title, self.needed = network.title, network.needed
        self.inputs = network.inputs
        self._encode, self._decode = encode, decode

    def encode(self, frames: Frames) -> Float[Tensor, "n f"]:
        """As PoseNet's."""
        return self.features(frames).packed()

    def features(self, frames: Frames) -> SpatialFeatures:
        """As PoseNet's, of frames with pictures."""
        upright = self.torch_network.spatial.upright
        return seen_upright(self._see, frames) if upright else self._see(frames)

    def _see(self, frames: Frames) -> SpatialFeatures:
        (features,) = self._encode(frames.image, frames.focal, frames.princpt)
        return self.torch_network.spatial.unpacked(features)

    def forward(self, batch: ClipBatch) -> HandPrediction:
        """As the network's, of frames with pictures or with features."""
        frames = batch.frames
        features = self.encode(frames) if frames.features is None else frames.features
        clips = features[batch.index], batch.focal, batch.princpt, batch.time, batch.frame_mask
        values = self._decode(*clips)
        return HandPrediction(
            **{name: value[:, None] for name, value in zip(graphs.FeaturesToHand.names, values)}, terms={}
        )

    def certainty(self, features: Float[Tensor, "n f"]) -> Float[Tensor, "n 21"] | None:
        """As PoseNet's."""
        return self.torch_network.certainty(features)

    def look(self, frames: Frames) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        """As PoseNet's."""
        return look_twice(self.features, self.torch_network.spatial, frames)


class OnnxPalms(nn.Module):
    """PalmDetector's `find`, by its graph."""

    def __init__(self, session: Callable):
        super().__init__()
        self._session = session

    def find(self, image: Tensor, min_score: float = MIN_SCORE) -> list[Palms]:
        """The palms in each picture."""
        return palms_of(*self._session(image), (image.shape[-2], image.shape[-1]), min_score)


class OnnxLandmarks(nn.Module):
    """HandLandmarkNetwork, by its graph."""

    def __init__(self, session: Callable):
        super().__init__()
        self._session = session

    def forward(self, image: Tensor) -> HandLandmarks:
        """What is seen in crops of 224 px."""
        return HandLandmarks(*self._session(image))
