"""MediaPipe's palm detector: where hands are in a picture, and which way they point.

Layers as in palm_detection_full.tflite of the package mediapipe 0.10.21 (Apache-2.0;
script/landmark_weights.py reads the weights out of it); anchors, decoding and suppression as in
palm_detection_cpu.pbtxt and the calculators SsdAnchorsCalculator, TensorsToDetectionsCalculator and
NonMaxSuppressionCalculator of github.com/google-ai-edge/mediapipe at 85c0cdc.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from tempohand.boxes import intersection_over_union
from tempohand.model.landmarks import as_float, same_convolution
from tempohand.model.weights import MEDIAPIPE, load_into

SIZE = 192  # px, the edge of the pictures that it was trained with
STEP = 32  # px; edges of pictures are multiples of it
NUM_KEYPOINTS = 7
STEM, STAGES = 32, (32, 64, 128, 256, 256)  # channels; each stage but the first halves the map
BLOCKS = 4  # of a stage, after the one that halves the map
HEADS = ((16, 6), (8, 2))  # px of a cell, and anchors in it; in the order of the layers
MIN_SCORE = 0.5
SAME_PALM_IOU = 0.3  # palms whose intersection over union is more are one
MAX_LOGIT = 100.0
FULL_WEIGHTS = MEDIAPIPE / "palm_detection_full.safetensors"


@dataclass(frozen=True)
class Palms:
    """Palms in a picture, in pixels of it as it was looked at, centres at integers, the surest first.

    box: xyxy, about as large as the palm (hand_crops.py makes a hand's crop of it). keypoints: 0 is the
    wrist's centre, 2 the middle finger's base; the others are knuckles and thumb joints.
    """

    score: Float[Tensor, "n"]
    box: Float[Tensor, "n 4"]
    keypoints: Float[Tensor, "n 7 2"]


class PalmBlock(nn.Module):
    """Depthwise 5 x 5 and 1 x 1 convolutions beside a shortcut, then PReLU. Where the channels become more
    the shortcut's new ones are 0; at stride 2 it has the largest of each 2 x 2."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.depthwise = same_convolution(inputs, inputs, 5, stride=stride, groups=inputs)
        self.project = nn.Conv2d(inputs, outputs, 1)
        self.activation = nn.PReLU(outputs)
        self.stride, self.more = stride, outputs - inputs

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d k l"]:
        shortcut = x if self.stride == 1 else F.max_pool2d(x, self.stride)
        shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, self.more))
        return self.activation(self.project(self.depthwise(x)) + shortcut)


class PalmHead(nn.Module):
    """A map enlarged to the next larger stage's, joined with it, and read at every anchor."""

    def __init__(self, inputs: int, outputs: int, anchors: int):
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.PReLU(outputs))
        self.blocks = nn.Sequential(PalmBlock(outputs, outputs), PalmBlock(outputs, outputs))
        self.score = nn.Conv2d(outputs, anchors, 1)
        self.coordinates = nn.Conv2d(outputs, anchors * 2 * (2 + NUM_KEYPOINTS), 1)

    def forward(
        self, x: Float[Tensor, "n c h w"], larger: Float[Tensor, "n d k l"]
    ) -> Float[Tensor, "n d k l"]:
        x = F.interpolate(x, larger.shape[-2:], mode="bilinear", align_corners=False)
        return self.blocks(self.enter(x) + larger)

    def read(self, x: Float[Tensor, "n d k l"]) -> tuple[Float[Tensor, "n a"], Float[Tensor, "n a 18"]]:
        """Scores and coordinates, row by row, cell by cell, the anchors of a cell side by side."""
        score, coordinates = (layer(x).permute(0, 2, 3, 1) for layer in (self.score, self.coordinates))
        return score.flatten(1), coordinates.reshape(x.shape[0], -1, 2 * (2 + NUM_KEYPOINTS))


class PalmDetector(nn.Module):
    """The palm detector, full. Its weights are random: `load` gives the trained ones."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(same_convolution(3, STEM, 5, stride=2), nn.PReLU(STEM))
        self.stages = nn.ModuleList()
        inputs = STEM
        for width in STAGES:
            first = [PalmBlock(inputs, width, 2)] if self.stages else []
            self.stages.append(nn.Sequential(*first, *(PalmBlock(width, width) for _ in range(BLOCKS))))
            inputs = width
        self.heads = nn.ModuleList()
        for (_, anchors), width in zip(HEADS, (STAGES[3], STAGES[2])):
            self.heads.append(PalmHead(inputs, width, anchors))
            inputs = width
        self.to(memory_format=torch.channels_last)

    @classmethod
    def load(cls, path: str | Path = FULL_WEIGHTS) -> "PalmDetector":
        """The network with the weights of a safetensors file (which come with the package), in single
        precision and evaluation mode. Raises FileNotFoundError, or ValueError for others' weights."""
        network = cls()
        load_into(network, path)
        return network.eval()

    def forward(
        self, image: UInt8[Tensor, "n 3 h w"] | Float[Tensor, "n 3 h w"]
    ) -> tuple[Float[Tensor, "n a"], Float[Tensor, "n a 18"]]:
        """Scores before the sigmoid and raw coordinates at every anchor (`anchor_centres`), of RGB pictures,
        uint8 or 0..1, whose edges are multiples of 32 px.

        It was trained with 192 x 192 px (`letterbox` in hand_crops.py), but every layer is a convolution: of
        larger pictures it says of each place what it says of the 192 px around it.
        """
        larger, smaller, _ = self.maps(as_float(image))
        found = []
        for head, joined in zip(self.heads, (smaller, larger)):
            assert isinstance(head, PalmHead)
            found.append(head.read(joined))
        scores, coordinates = zip(*reversed(found))  # the larger map's first
        return torch.cat(scores, dim=1), torch.cat(coordinates, dim=1)

    def maps(self, x: Float[Tensor, "n 3 h w"]) -> list[Float[Tensor, "n _ _ _"]]:
        """What the heads read, at strides of 8 and 16 px, and the last stage's map, at 32 px, of pictures as
        0..1 whose edges are multiples of that."""
        assert not any(edge % STEP for edge in x.shape[-2:]), f"{tuple(x.shape)}: multiples of {STEP}"
        x = self.stem(x)
        stages = []
        for stage in self.stages:
            x = stage(x)
            stages.append(x)
        maps = stages[-1:]
        for head, same_size in zip(self.heads, (stages[3], stages[2])):
            maps.insert(0, head(maps[0], same_size))
        return maps

    @torch.inference_mode()
    def find(
        self, image: UInt8[Tensor, "n 3 h w"] | Float[Tensor, "n 3 h w"], min_score: float = MIN_SCORE
    ) -> list[Palms]:
        """The palms in each picture (taken as by `forward`), in its pixels, on the CPU."""
        return palms_of(*self(image), (image.shape[-2], image.shape[-1]), min_score)


@torch.inference_mode()
def palms_of(
    scores: Float[Tensor, "n a"],
    coordinates: Float[Tensor, "n a 18"],
    size: tuple[int, int],
    min_score: float = MIN_SCORE,
) -> list[Palms]:
    """The palms in each picture, of what PalmDetector says of pictures of `size` (height, width); on the
    CPU."""
    # To the CPU in one copy: to pick palms on the device is to wait for it again and again.
    scores, coordinates = torch.cat([scores[..., None], coordinates], dim=2).cpu().split([1, 18], dim=2)
    scores = scores[..., 0].clamp(-MAX_LOGIT, MAX_LOGIT).sigmoid()
    boxes, keypoints = decode(coordinates, anchor_centres(*size))
    seen = scores >= min_score
    return [
        suppress_weighted(Palms(*(values[one] for values in each)))
        for one, *each in zip(seen, scores, boxes, keypoints)
    ]


def anchor_centres(height: int = SIZE, width: int = SIZE) -> Float[Tensor, "a 2"]:
    """The anchors' centres x, y in pixels, the larger map's first: the cells' own centres. All of a cell are
    alike: their size, which is 1 (the edge of 192 px), has no part in decoding."""
    centres = []
    for step, anchors in reversed(HEADS):
        y, x = torch.meshgrid(
            *((torch.arange(edge // step) + 0.5) * step - 0.5 for edge in (height, width)), indexing="ij"
        )
        centres.append(torch.stack([x, y], dim=-1).reshape(-1, 2).repeat_interleave(anchors, dim=0))
    return torch.cat(centres)


def decode(
    coordinates: Float[Tensor, "*batch a 18"], anchors: Float[Tensor, "a 2"]
) -> tuple[Float[Tensor, "*batch a 4"], Float[Tensor, "*batch a 7 2"]]:
    """Boxes (xyxy) and keypoints, in pixels, of raw coordinates: the box's centre and the keypoints are
    relative to the anchor, the box's size is not."""
    pairs = coordinates.unflatten(-1, (2 + NUM_KEYPOINTS, 2))
    centre, half = pairs[..., 0, :] + anchors, pairs[..., 1, :] / 2
    return torch.cat([centre - half, centre + half], dim=-1), pairs[..., 2:, :] + anchors[:, None]


def suppress_weighted(palms: Palms) -> Palms:
    """Weighted non-maximum suppression: the best palm and all that overlap it become one, whose box and
    keypoints are their means weighted by score; its score is the best's."""
    order = palms.score.argsort(descending=True, stable=True)
    values = torch.cat([palms.box, palms.keypoints.flatten(1)], dim=1)
    overlap = intersection_over_union(palms.box[:, None], palms.box[None]) > SAME_PALM_IOU
    best, merged = [], []
    while len(order):
        same = overlap[order[0], order]
        same[0] = True  # also of a box without area
        weight = palms.score[order[same], None]
        best.append(palms.score[order[0]])
        merged.append((values[order[same]] * weight).sum(dim=0) / weight.sum())
        order = order[~same]
    values = torch.stack(merged) if merged else values
    score = torch.stack(best) if best else palms.score
    return Palms(score, values[:, :4], values[:, 4:].unflatten(1, (NUM_KEYPOINTS, 2)))
