"""The image backbone: any timm network, as a map from RGB crops to a grid of tokens."""

import math
from collections.abc import Sequence
from pathlib import Path

import timm
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from tempohand.model import tinynet  # noqa: F401  registers tempohand_tiny with timm


class Backbone(nn.Module):
    """timm network `name` for crops of `size` px; its tokens come without class and register tokens.

    `weights`: None for random ones, "timm" for timm's pretrained ones (downloads), or the path of a safetensors or torch file (read with
    weights_only). `options` go to timm.create_model. Raises ValueError for an unknown name, FileNotFoundError for a missing file.
    """

    def __init__(self, name: str, size: int, weights: str | None = None, options: dict | None = None):
        super().__init__()
        if not timm.is_model(name):
            raise ValueError(
                f"backbone.name: timm {timm.__version__} has no network '{name}'; close: {timm.list_models(f'*{name[:6]}*')[:5]}"
            )
        overlay = None
        if weights not in (None, "timm"):
            if not Path(weights).is_file():
                raise FileNotFoundError(f"backbone.weights: no file '{weights}' (give a safetensors or torch file, or timm, or null)")
            overlay = {"file": str(weights)}
        options = dict(options or {})
        if "vit" in name and "convnext" not in name:
            options.setdefault("img_size", size)
        self.net = timm.create_model(name, pretrained=weights is not None, pretrained_cfg_overlay=overlay, num_classes=0, **options)
        for unused in ("head", "head_drop", "fc_norm", "norm_head"):  # forward_features ends before them
            if any(True for _ in getattr(self.net, unused, nn.Identity()).parameters()):
                setattr(self.net, unused, nn.Identity())
        self.size, self.dim = size, self.net.num_features
        self.prefix = getattr(self.net, "num_prefix_tokens", 0)
        statistics = [torch.tensor(self.net.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std")]
        self.register_buffer("mean", statistics[0], persistent=False)
        self.register_buffer("std", statistics[1], persistent=False)
        self.convolutional = getattr(self.net, "patch_embed", None) is None
        if self.convolutional:
            self.net.to(memory_format=torch.channels_last)
        with torch.no_grad():
            was_training = self.net.training
            tokens = self.eval()(torch.zeros(1, 3, size, size, dtype=torch.uint8))
            self.train(was_training)
        self.dim, self.grid = tokens.shape[-1], math.isqrt(tokens.shape[1])
        if self.grid**2 != tokens.shape[1]:
            raise ValueError(f"backbone.name: '{name}' gives {tokens.shape[1]} tokens for a {size} px crop, which is no square grid")

    def forward(self, image: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n l c"]:
        """Tokens of a grid x grid raster, row by row."""
        features = self.net.forward_features(self._normalised(image))
        if features.ndim == 4:
            return rearrange(features, "n c h w -> n (h w) c")
        return features[:, self.prefix :]

    def channels(self, strides: Sequence[int]) -> list[int]:
        """Of the feature maps at these strides. Raises ValueError for a network that has none at one of them."""
        return [self.net.feature_info[level]["num_chs"] for level in self._levels(strides)]

    def pyramid(self, image: UInt8[Tensor, "n 3 h w"], strides: Sequence[int]) -> list[Float[Tensor, "n _ _ _"]]:
        """The feature maps at these strides, in rising order: [n, c, h / stride, w / stride] each."""
        return self.net.forward_intermediates(self._normalised(image), indices=self._levels(strides), intermediates_only=True)

    def _levels(self, strides: Sequence[int]) -> list[int]:
        last = {level["reduction"]: place for place, level in enumerate(self.net.feature_info)}
        if missing := sorted(set(strides) - last.keys()):
            raise ValueError(
                f"backbone.name: this network has no features at stride {missing[0]}, only at {sorted(last)}: take a convolutional one"
            )
        return [last[stride] for stride in strides]

    def _normalised(self, image: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        x = (image.float() / 255 - self.mean) / self.std
        return x.contiguous(memory_format=torch.channels_last) if self.convolutional else x
