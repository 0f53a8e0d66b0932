"""MediaPipe's hand landmark network (landmarks.py) as a backbone, registered with timm as
`hand_landmark_full` and `hand_landmark_lite`: its maps as tokens, and its landmarks.

Its pretrained weights come with the package (the full network's): `weights: timm` reads them from there.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor

from tempohand.geometry import normalise_pixels
from tempohand.model.landmarks import FULL_WEIGHTS, SIZE, HandLandmarkNetwork, HandLandmarks
from tempohand.skeleton import NUM_JOINTS

WORLD_UNIT_MM = 100.0  # so that all values are of the same order
LANDMARK_DIM = 6 * NUM_JOINTS + 2


def timm_settings(size: int, **more: str) -> dict:
    """What timm is told of a network of MediaPipe's for RGB pictures (0..1) of `size` px."""
    return {
        "url": "",
        "input_size": (3, size, size),
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "num_classes": 0,
        "license": "apache-2.0",
        "first_conv": "stem.0",
        "classifier": (),
        **more,
    }


default_cfgs = generate_default_cfgs(  # timm looks for this name
    {
        "hand_landmark_full": timm_settings(SIZE, file=str(FULL_WEIGHTS)),
        "hand_landmark_lite": timm_settings(SIZE),
    }
)


class LandmarkBackbone(HandLandmarkNetwork):
    """As timm's networks: `forward_features` gives a map of 7 x 7.

    A place's channels are the network's four levels there (finer maps folded in), each normalised by itself,
    for their scales differ, and after them, the same everywhere, the `landmark_dim` numbers of
    `landmark_vector`.
    """

    output_fmt = "NHWC"
    landmark_dim = LANDMARK_DIM

    def __init__(self, size: str, num_classes: int = 0, **_):
        super().__init__(size)
        self.num_classes = num_classes
        strides = (8, 16, 32, 32)
        self.feature_info = [{"num_chs": c, "reduction": s} for c, s in zip(self.channels, strides)]
        self.widths = [c * (max(strides) // s) ** 2 for c, s in zip(self.channels, strides)]

    def forward_features(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 7 7 c"]:
        """x: 0..1; crops of any size are brought to 224 x 224."""
        maps = self.features(x)
        grid = maps[-1].shape[-1]
        levels = [
            rearrange(level, "n c (h a) (w b) -> n h w (c a b)", h=grid, w=grid).float() for level in maps
        ]
        landmarks = landmark_vector(self.read(maps[-1]))
        repeated = landmarks[:, None, None].expand(-1, grid, grid, -1)
        normalised = [F.layer_norm(level, (width,)) for level, width in zip(levels, self.widths)]
        return torch.cat([*normalised, repeated], dim=-1)

    def forward_intermediates(
        self, x: Float[Tensor, "n 3 h w"], indices: Sequence[int], **_
    ) -> list[Float[Tensor, "n _ _ _"]]:
        """The maps of some levels, of crops (0..1) of any size that 32 divides, as they are."""
        maps = self.maps(x)
        return [maps[index] for index in indices]


def landmark_vector(landmarks: HandLandmarks) -> Float[Tensor, "n v"]:
    """LANDMARK_DIM numbers of order 1: the joints' x, y in the crop, [-0.5, 0.5] inside, and z on the same
    scale; world coordinates; presence and side, -0.5 to 0.5."""
    xy = normalise_pixels(landmarks.screen[..., :2], (SIZE, SIZE))
    screen = torch.cat([xy, landmarks.screen[..., 2:] / SIZE], dim=-1)
    probabilities = torch.stack([landmarks.presence, landmarks.side], dim=-1) - 0.5
    return torch.cat([screen.flatten(1), landmarks.world.flatten(1) / WORLD_UNIT_MM, probabilities], dim=-1)


def places_in_crop(vector: Float[Tensor, "n v"]) -> Float[Tensor, "n 21 2"]:
    """The joints' places in the crop, of a `landmark_vector`."""
    return vector[:, : 3 * NUM_JOINTS].unflatten(-1, (NUM_JOINTS, 3))[..., :2]


@register_model
def hand_landmark_full(pretrained: bool = False, **kwargs) -> LandmarkBackbone:
    """timm entry point: the network that the package has weights of."""
    return build_model_with_cfg(LandmarkBackbone, "hand_landmark_full", pretrained, size="full", **kwargs)


@register_model
def hand_landmark_lite(pretrained: bool = False, **kwargs) -> LandmarkBackbone:
    """timm entry point: the smaller one, for weights that script/landmark_weights.py reads."""
    return build_model_with_cfg(LandmarkBackbone, "hand_landmark_lite", pretrained, size="lite", **kwargs)
