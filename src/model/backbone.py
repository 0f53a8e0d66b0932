"""The image backbone: any timm network, as a map from RGB crops to a grid of tokens, or to feature maps at
some strides."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import timm
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from tempohand.model import landmark_backbone, palm_backbone, tinynet  # noqa: F401  register with timm
from tempohand.model.pretrained import fill
from tempohand.model.weights import load_weights, locate

# Licences of pretrained weights that allow every use, by timm's names; any other is named in
# `Backbone.lines`.
OPEN_LICENCES = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0")
DINOV3_LICENCE = "Meta's DINOv3 License, https://ai.meta.com/resources/models-and-libraries/dinov3-license"


class Backbone(nn.Module):
    """timm network `name` for crops of `size` px (an edge, or height and width for feature maps); its tokens
    come without class and register tokens.

    `weights`: None for random ones, "timm" for timm's pretrained ones (downloads), or the path of a
    safetensors or torch file (read with weights_only; `pretrained.fill` says in which layouts), or a network
    that comes with the package. Each gives the network every weight. `options` go to timm.create_model.
    `strides`: for feature maps (`pyramid`) in place of tokens.

    Of the numbers of a token the last `landmark_dim` are what the network says of joints besides
    (landmark_backbone.py); 0 for most networks.

    What the output does not depend on (a head that timm builds whatever its options) is not trained:
    distributed training stops at a parameter without a gradient. `lines` say what was loaded, and under which
    licence, where it is not an open one.

    Raises ValueError for an unknown name, one that does not take crops of this size, has no such strides, or
    whose weights do not fit; FileNotFoundError for a missing file.
    """

    net: Any  # of timm's, whose families have no class in common
    mean: Float[Tensor, "3 1 1"]
    std: Float[Tensor, "3 1 1"]

    def __init__(
        self,
        name: str,
        size: int | tuple[int, int],
        weights: str | None = None,
        options: dict | None = None,
        strides: Sequence[int] | None = None,
    ):
        super().__init__()
        self.frozen_modules: tuple[str, ...] = ()
        if not timm.is_model(name):
            raise ValueError(
                f"backbone.name: timm {timm.__version__} has no network '{name}'; close: "
                f"{timm.list_models(f'*{name[:6]}*')[:5]}"
            )
        if weights not in (None, "timm") and not locate(weights).exists():
            raise FileNotFoundError(
                f"backbone.weights: no file '{weights}' (give a safetensors or torch file, or timm, or null)"
            )
        options = dict(options or {})
        try:
            if getattr(
                timm.get_pretrained_cfg(name), "fixed_input_size", False
            ):  # timm's word for a network that takes img_size
                options.setdefault("img_size", size)
            net: Any = timm.create_model(name, num_classes=0, **options)  # whatever family it is of
        except (AssertionError, RuntimeError, TypeError) as error:
            raise ValueError(
                f"backbone: timm cannot build '{name}' for {size} px crops with options {options}: "
                f"{_line(error)}"
            ) from error
        self.net = net
        for unused in ("head", "head_drop", "fc_norm", "norm_head"):  # forward_features ends before them
            if any(True for _ in getattr(self.net, unused, nn.Identity()).parameters()):
                setattr(self.net, unused, nn.Identity())
        self.size, self.strides = size, tuple(strides or ())
        self.levels = self._levels()
        self.channels_last = getattr(self.net, "output_fmt", "NCHW") == "NHWC"
        self.prefix = getattr(self.net, "num_prefix_tokens", None) or 0
        self.landmark_dim = getattr(self.net, "landmark_dim", 0)
        for key in ("mean", "std"):
            statistic = torch.tensor(net.pretrained_cfg[key]).view(3, 1, 1)
            self.register_buffer(key, statistic, persistent=False)
        self.convolutional = getattr(self.net, "patch_embed", None) is None
        if self.convolutional:
            self.net.to(memory_format=torch.channels_last)
        self.by_maps = False
        unused = self._try(name)
        self.lines = list(self._load(name, weights, options, unused))

    def _try(self, name: str) -> set[str]:
        """One picture goes through: sizes are read off what comes out, and weights that it does not depend on
        are frozen. Their names."""
        was_training = self.training
        self.eval()
        try:
            with torch.enable_grad():
                outputs = self._try_pyramid() if self.strides else self._try_tokens(name)
        except (AssertionError, AttributeError, RuntimeError) as error:
            raise ValueError(
                f"backbone.name: '{name}' does not take {self.size} px crops ({_line(error)})"
            ) from error
        self.train(was_training)
        reached = _leaves(outputs)
        unused = {
            name: parameter for name, parameter in self.net.named_parameters() if parameter not in reached
        }
        for parameter in unused.values():
            parameter.requires_grad_(False)
        return set(unused)

    def _try_pyramid(self) -> list[Tensor]:
        maps = self.pyramid(self._blank())
        self.channels = [features.shape[1] for features in maps]
        return maps

    def _try_tokens(self, name: str) -> list[Tensor]:
        x = self._normalised(self._blank())
        features = self._read(x)
        if (
            not isinstance(features, Tensor)
            or features.ndim == 3
            and not hasattr(self.net, "num_prefix_tokens")
        ):
            # Several outputs, or a sequence of which the network does not say where the picture's begin: its
            # last map tells how many they are.
            self.by_maps = True
            last = self._read(x)
            self.by_maps = not isinstance(features, Tensor) or features.shape[1] != last[0, 0].numel()
            features = last if self.by_maps else features
        tokens = self._tokens(features)
        self.dim, self.grid = tokens.shape[-1], math.isqrt(tokens.shape[1])
        if self.grid**2 != tokens.shape[1]:
            raise ValueError(
                f"backbone.name: '{name}' gives {tokens.shape[1]} tokens for a {self.size} px crop, "
                "which is no square grid"
            )
        return [tokens]

    def _blank(self) -> UInt8[Tensor, "1 3 h w"]:
        height, width = (self.size, self.size) if isinstance(self.size, int) else self.size
        return torch.zeros(1, 3, height, width, dtype=torch.uint8)

    def _load(self, name: str, weights: str | None, options: dict, unused: set[str]) -> Iterator[str]:
        if weights == "timm":
            try:  # with its classifier: so timm asks for every weight
                donor = timm.create_model(name, pretrained=True, **options)
            except RuntimeError as error:
                raise ValueError(
                    f"backbone.weights=timm: timm has none that fit '{name}' with options {options}: "
                    f"{_line(error)}"
                ) from error
            yield from fill(self.net, donor.state_dict(), "timm", unused)
        elif weights is not None:
            yield from fill(self.net, load_weights(weights), weights, unused)
        licence = self.net.pretrained_cfg.get("license")
        if licence and licence not in OPEN_LICENCES:
            full = DINOV3_LICENCE if licence == "dinov3-license" else f"'{licence}'"
            yield (
                f"backbone: the published weights of {name} have a licence of their own, "
                f"which holds for what is trained from them: {full}"
            )

    def freeze(self, modules: Sequence[str]) -> None:
        """These modules of timm's network (names as timm's: `stem`, `stages.0`, `blocks.0`) do not learn, nor
        do their batch statistics. Raises ValueError for a name that it does not have."""
        for name in modules:
            try:
                self.net.get_submodule(name).requires_grad_(False)
            except AttributeError as error:
                raise ValueError(
                    f"network.frozen_backbone: the backbone has no module '{name}'; it has "
                    f"{', '.join(name for name, _ in self.net.named_children())}, and their parts"
                ) from error
        self.frozen_modules = tuple(modules)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Backbone":
        """Frozen modules stay in evaluation mode."""
        super().train(mode)
        for name in self.frozen_modules:
            self.net.get_submodule(name).eval()
        return self

    def forward(self, image: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n l c"]:
        """Tokens of a grid x grid raster, row by row."""
        return self._tokens(self._read(self._normalised(image)))

    def _read(self, x: Float[Tensor, "n c h w"]) -> Any:
        """What timm calls the network's features, a tensor or several; with `by_maps` the last of its feature
        maps, which timm gives in one form for all."""
        if self.by_maps:
            return self.net.forward_intermediates(x, indices=1, output_fmt="NCHW", intermediates_only=True)[
                -1
            ]
        return self.net.forward_features(x)

    def _tokens(self, features: Tensor) -> Float[Tensor, "n l c"]:
        if features.ndim == 4:
            last = self.channels_last and not self.by_maps
            return rearrange(features, "n h w c -> n (h w) c" if last else "n c h w -> n (h w) c")
        return features[:, self.prefix :]

    def pyramid(self, image: UInt8[Tensor, "n 3 h w"]) -> list[Float[Tensor, "n _ _ _"]]:
        """The feature maps at `strides`, in rising order: [n, c, h / stride, w / stride] each, c of
        `channels`."""
        return self.net.forward_intermediates(
            self._normalised(image), indices=self.levels, output_fmt="NCHW", intermediates_only=True
        )

    def _levels(self) -> list[int]:
        last = (
            {level["reduction"]: place for place, level in enumerate(self.net.feature_info)}
            if self.strides
            else {}
        )
        if missing := sorted(set(self.strides) - last.keys()):
            raise ValueError(
                f"backbone.name: this network has no features at stride {missing[0]}, "
                f"only at {sorted(last)}: take a convolutional one"
            )
        return [last[stride] for stride in self.strides]

    def _normalised(self, image: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        x = (image.float() / 255 - self.mean) / self.std
        return x.contiguous(memory_format=torch.channels_last) if self.convolutional else x


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _leaves(outputs: Sequence[Tensor]) -> set[Tensor]:
    """The parameters that outputs depend on, found in the graph that a forward pass has recorded."""
    seen, waiting = set(), [output.grad_fn for output in outputs]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]
    return {node.variable for node in seen if hasattr(node, "variable")}


def loading_lines(network: nn.Module) -> Iterator[str]:
    """The lines that loading left about a network's pretrained weights: `lines` of its parts."""
    for module in network.modules():
        yield from getattr(module, "lines", ())
