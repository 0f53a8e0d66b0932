"""Networks as ONNX graphs: PoseNet of either stage in two (a crop to its features, features to a hand), and
MediaPipe's two networks, which find hands.

What lies between the graphs is left to who runs them: cutting crops, turning them upright (`seen_upright`),
histories (data/clips.py), suppression of palms (`palms_of`).
"""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from tempohand.batch import ClipBatch, Frames
from tempohand.model.landmarks import SIZE, HandLandmarkNetwork
from tempohand.model.map_following import UNKNOWNS
from tempohand.model.network import Network
from tempohand.model.palms import STEP, PalmDetector
from tempohand.model.posenet import PoseNet

OPSET = 18
MANY = "n"  # an axis of any length
MM, PX = 100.0, 224.0  # what is of order 1 of lengths of a hand, and of places in a crop


@dataclass(frozen=True)
class Value:
    """An input or an output of a graph: its axes (a name: of any length), what it is, and how large a value
    of order 1 is in it, which differences are measured by."""

    name: str
    shape: tuple[int | str, ...]
    meaning: str
    unit: float = 1.0


@dataclass(frozen=True)
class Graph:
    """A module of tensors alone, with the names of what goes in and comes out. example: random inputs of so
    many crops, pictures or clips."""

    name: str
    module: nn.Module
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    example: Callable[[int], tuple[Tensor, ...]]

    def to_onnx(self) -> bytes:
        """The graph as an ONNX file, float32, its weights inside. The package onnx has to be there."""
        file = io.BytesIO()
        axes = {value.name: _free(value) for value in (*self.inputs, *self.outputs)}
        # The exporter that traces, in place of torch's newer one: that takes 5 to 200 times as long
        # (docs/log.md, 2026-11-30), and warns of each number that it takes for a constant.
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            for operator, symbol in _SYMBOLS.items():
                torch.onnx.register_custom_op_symbolic(operator, symbol, OPSET)
            torch.onnx.export(
                self.module,
                self.example(2),
                cast(Any, file),  # whose type names files alone, of either exporter
                dynamo=False,
                opset_version=OPSET,
                input_names=[value.name for value in self.inputs],
                output_names=[value.name for value in self.outputs],
                dynamic_axes=axes,
            )
        return file.getvalue()


class CropsToFeatures(nn.Module):
    """Crops to features: token and readings, of crops as they stand."""

    def __init__(self, network: PoseNet):
        super().__init__()
        self.spatial, self.size = network.spatial, network.crop.size

    def forward(
        self, image: UInt8[Tensor, "n 3 h w"], focal: Float[Tensor, "n 2"], princpt: Float[Tensor, "n 2"]
    ) -> Float[Tensor, "n f"]:
        """The packed features, without a turn."""
        time = focal[:, 0].double() * 0
        return self.spatial.see(Frames(self.size, focal, princpt, time, image=image)).packed()


class FeaturesToHand(nn.Module):
    """The features of clips to their last hands. Clips of one frame need no time and no mask."""

    names = ("pose", "rotation", "shape", "trans", "joints", "vertices", "joints2d")

    def __init__(self, network: PoseNet):
        super().__init__()
        self.network = network

    def forward(
        self,
        features: Float[Tensor, "n t f"],
        focal: Float[Tensor, "n t 2"],
        princpt: Float[Tensor, "n t 2"],
        time: Float[Tensor, "n t"] | None = None,
        frame_mask: Bool[Tensor, "n t"] | None = None,
    ) -> tuple[Tensor, ...]:
        """The fields of a HandPrediction, without the axis of 1."""
        if time is None or frame_mask is None:
            time = torch.zeros_like(focal[..., 0])
            frame_mask = time == 0
        prediction = self.network(clips_of(self.network, features, focal, princpt, time, frame_mask))
        return tuple(getattr(prediction, name)[:, 0] for name in self.names)


def clips_of(
    network: Network, features: Tensor, focal: Tensor, princpt: Tensor, time: Tensor, frame_mask: Tensor
) -> ClipBatch:
    """A batch of clips that share no frame, of each clip's values [n, T, ...], oldest first."""
    length = network.num_frame
    count = features.shape[0]
    by_age = [value.flip(1).transpose(0, 1).flatten(0, 1) for value in (features, focal, princpt)]
    clip = torch.arange(count, device=features.device)
    age = torch.arange(length - 1, -1, -1, device=features.device)
    return ClipBatch(
        frames=Frames(
            size=network.crop.size,
            features=by_age[0],
            focal=by_age[1],
            princpt=by_age[2],
            time=time.flip(1).mT.flatten().double(),
        ),
        index=age * count + clip[:, None],
        frame_mask=frame_mask,
        is_right=frame_mask[:, -1],
        row=clip,
    )


class Landmarks(nn.Module):
    """HandLandmarkNetwork with a tuple of tensors in place of HandLandmarks."""

    def __init__(self, network: HandLandmarkNetwork):
        super().__init__()
        self.network = network

    def forward(self, image: UInt8[Tensor, "n 3 224 224"]) -> tuple[Tensor, ...]:
        """screen, presence, side, world."""
        seen = self.network(image)
        return seen.screen, seen.presence, seen.side, seen.world


def checked(network: nn.Module) -> PoseNet:
    """The same network. Raises ValueError for one that has no graphs here."""
    if not isinstance(network, PoseNet) or network.frozen_backbone:
        name = type(network).__name__
        raise ValueError(f"ONNX graphs are of PoseNet, of Stage 1 or Stage 2: this is a {name}")
    return network


def encoder(network: PoseNet) -> Graph:
    """The graph of a network's features of crops."""
    height, width = network.crop.size
    dim = network.spatial.token_dim + network.spatial.detail_dim
    camera = "of the crop, px"

    def example(count: int) -> tuple[Tensor, ...]:
        image = torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8)
        return image, *_camera((count,), width)

    return Graph(
        "encode",
        CropsToFeatures(network).eval(),
        (
            Value("image", (MANY, 3, height, width), "RGB crops, 0 to 255; of left hands mirrored"),
            Value("focal", (MANY, 2), f"focal lengths {camera}"),
            Value("princpt", (MANY, 2), f"principal point {camera}"),
        ),
        (Value("features", (MANY, dim), "what is found in a crop"),),
        example,
    )


def decoder(network: PoseNet) -> Graph:
    """The graph from features to hands."""
    length, width = network.num_frame, network.crop.size[1]
    dim = network.spatial.packed_dim
    inputs = (
        Value("features", (MANY, length, dim), "of a clip's frames, oldest first; turns last in them"),
        Value("focal", (MANY, length, 2), "of the crops, px"),
        Value("princpt", (MANY, length, 2), "of the crops, px"),
        Value("time", (MANY, length), "s, 0 for the last frame, negative before"),
        Value("frame_mask", (MANY, length), "false for frames that do not exist"),
    )
    if length == 1:
        inputs = inputs[:3]

    def example(count: int) -> tuple[Tensor, ...]:
        crops = encoder(network)
        with torch.no_grad():
            features = crops.module(*crops.example(length)).expand(count, -1, -1)
            if network.spatial.upright:
                turn = torch.randint(-32, 33, (count, length, 1)) / 16
                features = torch.cat([features, turn], dim=-1)
        time = torch.arange(1 - length, 1).expand(count, -1) / 30
        mask = torch.arange(length).expand(count, -1) >= torch.arange(count)[:, None] % length
        values = features.contiguous(), *_camera((count, length), width), time, mask
        return values[: len(inputs)]

    return Graph(
        "decode",
        FeaturesToHand(network).eval(),
        inputs,
        (
            Value("pose", (MANY, 48), "of the clip's last hand: axis-angle of MANO's 16 joints, absolute"),
            Value("rotation", (MANY, 16, 3, 3), "the same as matrices"),
            Value("shape", (MANY, 10), "betas"),
            Value("trans", (MANY, 3), "the wrist in the crop's camera space, mm", MM),
            Value("joints", (MANY, 21, 3), "there, mm", MM),
            Value("vertices", (MANY, 778, 3), "there, mm", MM),
            Value("joints2d", (MANY, 21, 2), "in the crop, px / size - 0.5"),
        ),
        example,
    )


def palms(network: PalmDetector) -> Graph:
    """The graph of the palm detector, for pictures whose edges are multiples of 32 px."""
    return Graph(
        "palms",
        network,
        (Value("image", (MANY, 3, "height", "width"), f"RGB, 0 to 255; edges are multiples of {STEP}"),),
        (
            Value("scores", (MANY, "anchors"), "log odds of a palm at each anchor", 10.0),
            Value("coordinates", (MANY, "anchors", 18), "box and keypoints there, px", PX),
        ),
        lambda count: (torch.randint(0, 256, (count, 3, 4 * STEP, 6 * STEP), dtype=torch.uint8),),
    )


def landmarks(network: HandLandmarkNetwork) -> Graph:
    """The graph of the hand landmark network."""
    return Graph(
        "landmarks",
        Landmarks(network).eval(),
        (Value("image", (MANY, 3, SIZE, SIZE), "RGB crops, 0 to 255, fingers up"),),
        (
            Value("screen", (MANY, 21, 3), "joints in px of the crop", PX),
            Value("presence", (MANY,), "probability of a hand"),
            Value("side", (MANY,), "probability of a right one"),
            Value("world", (MANY, 21, 3), "joints in mm", MM),
        ),
        lambda count: (torch.randint(0, 256, (count, 3, SIZE, SIZE), dtype=torch.uint8),),
    )


def _camera(batch: tuple[int, ...], width: int) -> tuple[Tensor, Tensor]:
    focal = width * (1 + torch.rand(*batch, 1)).expand(*batch, 2)
    return focal.contiguous(), width * torch.rand(*batch, 2)


def _free(value: Value) -> dict[int, str]:
    return {place: axis for place, axis in enumerate(value.shape) if isinstance(axis, str)}


def _transposed(g, x):
    """ONNX of `.mT`."""
    order = list(range(x.type().dim()))
    order[-2:] = order[:-3:-1]
    return g.op("Transpose", x, perm_i=order)


def _leaky(g, x, slopes):
    """ONNX of PReLU, exactly: ONNX Runtime's own operator takes one value at a time, which made it two fifths
    of the palm detector."""
    below = g.op("Min", x, g.op("Constant", value_t=torch.zeros(1)))
    axes = g.op("Constant", value_t=torch.tensor([1, 2]))
    return g.op("Add", g.op("Relu", x), g.op("Mul", below, g.op("Unsqueeze", slopes, axes)))


def _solved(g, matrix, right, left):
    """ONNX of `linalg.solve` as map following asks it, for a positive definite matrix: elimination by Gauss
    and Jordan, without pivoting, which such a matrix does not need."""
    count = UNKNOWNS

    def constant(values) -> object:
        return g.op("Constant", value_t=torch.tensor(values))

    def part(x, axis: int, place: int):
        return g.op("Slice", x, constant([place]), constant([place + 1]), constant([axis]))

    joined = g.op("Concat", matrix, right, axis_i=-1)
    for place in range(count):
        row = part(joined, -2, place)
        row = g.op("Div", row, part(row, -1, place))
        unit = g.op("Constant", value_t=torch.eye(count)[:, place : place + 1])
        others = g.op("Sub", part(joined, -1, place), unit)
        joined = g.op("Sub", joined, g.op("Mul", others, row))
    return g.op("Slice", joined, constant([count]), constant([2**31]), constant([-1]))


_SYMBOLS = {"aten::mT": _transposed, "aten::linalg_solve": _solved, "aten::prelu": _leaky}
