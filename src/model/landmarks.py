"""MediaPipe's hand landmark network: 21 joints of a hand in a crop, in the picture and in space, from one
pass through an EfficientNet-like backbone whose maps can be used as features.

Layers as in hand_landmark_full.tflite and hand_landmark_lite.tflite of the package mediapipe 0.10.21
(Apache-2.0; script/landmark_weights.py reads the weights out of it), outputs as in hand_landmark_cpu.pbtxt of
github.com/google-ai-edge/mediapipe at 85c0cdc. Batch normalisation is folded into the convolutions.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from timm.layers import create_conv2d
from torch import Tensor, nn

from tempohand.model.weights import MEDIAPIPE, load_into
from tempohand.skeleton import NUM_JOINTS

SIZE = 224  # px, the edge of the crops that the network was trained with
STEM = (24, 16)
STAGES = ((3, 2, 2), (5, 2, 2), (3, 2, 3), (5, 1, 3), (5, 2, 4))  # kernel, stride of the first block, blocks
CHANNELS = {"full": (24, 40, 80, 112, 192), "lite": (16, 24, 48, 64, 112)}  # of the stages
FEATURE_STAGES = (1, 3, 4)  # whose maps are features; those of the last layers are, too
FULL_WEIGHTS = MEDIAPIPE / "hand_landmark_full.safetensors"


@dataclass(frozen=True)
class HandLandmarks:
    """What the network says of crops. Joints in OpenPose order.

    screen: x, y in pixels of the crop at 224 x 224, pixel centres at integers (x of a crop and of its mirror
    image sum to 223.1 on average: docs/log.md); z is relative to the wrist, smaller is nearer, and has a
    scale of its own (`hand_crops.to_picture`). presence: probability that there is a hand. side: probability
    that it is a right one, in a picture that is not mirrored. world: mm along the crop's axes (x right, y
    down, z away from the camera), from an origin near the hand's centre.
    """

    screen: Float[Tensor, "n 21 3"]
    presence: Float[Tensor, "n"]
    side: Float[Tensor, "n"]
    world: Float[Tensor, "n 21 3"]


def same_convolution(inputs: int, outputs: int, kernel: int, **options) -> nn.Conv2d:
    """A convolution with TensorFlow's SAME padding: the smaller half before, so that at stride 2 an even map
    of kernel 3 is padded behind alone."""
    return create_conv2d(inputs, outputs, kernel, padding="same", bias=True, **options)


def depthwise(channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """One kernel a channel, and ReLU6."""
    return nn.Sequential(
        same_convolution(channels, channels, kernel, stride=stride, groups=channels), nn.ReLU6(inplace=True)
    )


def expansion(channels: int, factor: int) -> nn.Sequential:
    """From `channels` to `factor` times as many, and ReLU6."""
    return nn.Sequential(nn.Conv2d(channels, channels * factor, 1), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection (MobileNetV2); the input is added where the channels are
    as many, at stride 2 the largest of each 2 x 2."""

    def __init__(self, inputs: int, outputs: int, factor: int, kernel: int, stride: int):
        super().__init__()
        self.expand = expansion(inputs, factor)
        self.depthwise = depthwise(inputs * factor, kernel, stride)
        self.project = nn.Conv2d(inputs * factor, outputs, 1)
        self.shortcut = inputs == outputs
        self.stride = stride

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d k l"]:
        out = self.project(self.depthwise(self.expand(x)))
        if not self.shortcut:
            return out
        return out + (x if self.stride == 1 else F.max_pool2d(x, self.stride))


class HandLandmarkNetwork(nn.Module):
    """The hand landmark network. size: "full" or "lite". Its weights are random: `load` gives the trained
    ones. `channels`: of the maps that `features` gives."""

    def __init__(self, size: str = "full"):
        super().__init__()
        widths = CHANNELS[size]
        first, inputs = STEM
        self.stem = nn.Sequential(
            same_convolution(3, first, 3, stride=2),
            nn.ReLU6(inplace=True),
            depthwise(first, 3),
            nn.Conv2d(first, inputs, 1),
        )
        self.stages = nn.ModuleList()
        for (kernel, stride, blocks), width in zip(STAGES, widths):
            stage = nn.Sequential()
            for block in range(blocks):
                factor = 6 if self.stages or block else 4
                stage.append(InvertedResidual(inputs, width, factor, kernel, 1 if block else stride))
                inputs = width
            self.stages.append(stage)
        dim = inputs * 6
        self.last = nn.Sequential(expansion(inputs, 6), depthwise(dim, 3))
        self.side = nn.Linear(dim, 1)  # the heads' order is the file's
        self.presence = nn.Linear(dim, 1)
        self.screen = nn.Linear(dim, 3 * NUM_JOINTS)
        self.world = nn.Linear(dim, 3 * NUM_JOINTS)
        self.channels = (*(widths[stage] for stage in FEATURE_STAGES), dim)
        self.to(memory_format=torch.channels_last)

    @classmethod
    def load(cls, path: str | Path = FULL_WEIGHTS, size: str = "full") -> "HandLandmarkNetwork":
        """The network with the weights of a safetensors file (the full one's come with the package), in
        single precision and evaluation mode. Raises FileNotFoundError, or ValueError for others' weights."""
        network = cls(size)
        load_into(network, path)
        return network.eval()

    def forward(self, image: UInt8[Tensor, "n 3 h w"] | Float[Tensor, "n 3 h w"]) -> HandLandmarks:
        """The hands in RGB crops, uint8 or 0..1; other sizes than 224 x 224 are brought to it."""
        return self.read(self.features(image)[-1])

    def features(
        self, image: UInt8[Tensor, "n 3 h w"] | Float[Tensor, "n 3 h w"]
    ) -> tuple[Float[Tensor, "n _ _ _"], ...]:
        """Feature maps at strides 8, 16, 32, 32 of the 224 px crop: [n, c, 28, 28], [n, c, 14, 14],
        [n, c, 7, 7] and [n, c, 7, 7], c of `channels`; `read` takes the last."""
        return self.maps(to_size(image, SIZE))

    def maps(self, x: Float[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "n _ _ _"], ...]:
        """The same of crops (0..1) of any size that strides of 32 divide, as they are; what `read` says is
        only true of 224 x 224."""
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return *(maps[stage] for stage in FEATURE_STAGES), self.last(x)

    def read(self, features: Float[Tensor, "n c 7 7"]) -> HandLandmarks:
        """The landmarks, from the last map of `features`; float32 whatever autocast says."""
        with torch.autocast(features.device.type, enabled=False):
            mean = features.float().mean(dim=(2, 3))
            return HandLandmarks(
                screen=self.screen(mean).unflatten(-1, (NUM_JOINTS, 3)),
                presence=self.presence(mean)[:, 0].sigmoid(),
                side=self.side(mean)[:, 0].sigmoid(),
                world=self.world(mean).unflatten(-1, (NUM_JOINTS, 3)) * 1000,  # from metres
            )


def to_size(
    image: UInt8[Tensor, "n 3 h w"] | Float[Tensor, "n 3 h w"], size: int
) -> Float[Tensor, "n 3 k k"]:
    """Pictures as 0..1, channels last, of size x size px: bilinear, antialiased where they shrink."""
    x = as_float(image)
    if x.shape[-2:] == (size, size):
        return x
    return F.interpolate(x, (size, size), mode="bilinear", antialias=True)


def as_float(image: UInt8[Tensor, "n 3 h w"] | Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """Pictures as 0..1, channels last."""
    x = image.float() / 255 if image.dtype == torch.uint8 else image
    return x.contiguous(memory_format=torch.channels_last)
