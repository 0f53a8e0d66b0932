"""UTNet's trunk: image tokens, and a vision transformer that sees them beside the tokens of the hand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float, UInt8
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from tempohand.model.attention import attention_kernel
from tempohand.model.backbone import Backbone
from tempohand.model.decoder import sincos_positions
from tempohand.model.pretrained import fill, from_transformers
from tempohand.model.weights import load_weights, of_network

PATCH = 16  # px of a crop that a token stands for
# Of timm's vision transformers: patches and nothing else, for the hand has tokens of its own.
ONLY_PATCHES = {"class_token": False, "reg_tokens": 0, "global_pool": "avg", "fc_norm": False}


class MapTokens(nn.Module):
    """Image tokens out of a convolutional network's maps at `strides`, each at the patches' raster (finer
    maps folded, coarser ones repeated) and normalised by itself, for their scales differ.

    backbone: Backbone's settings. frozen: it does not learn. Raises ValueError for maps that no whole number
    of cells brings to the raster, and what Backbone raises.
    """

    def __init__(
        self, size: tuple[int, int], dim: int, backbone: dict, strides: list[int], frozen: bool = False
    ):
        super().__init__()
        if unfit := [stride for stride in strides if PATCH % stride and stride % PATCH]:
            raise ValueError(
                f"trunk.image.strides: {unfit[0]} is neither a divisor nor a multiple of {PATCH}"
            )
        if any(edge % stride for edge in size for stride in strides):
            raise ValueError(f"network.size={list(size)}: strides of {max(strides)} must divide both edges")
        self.backbone = Backbone(size=size, strides=strides, **backbone)
        self.frozen = frozen
        if frozen:
            self.backbone.requires_grad_(False)
        folds = [max(1, PATCH // stride) for stride in self.backbone.strides]
        widths = [width * fold**2 for width, fold in zip(self.backbone.channels, folds)]
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.project = nn.Linear(sum(widths), dim)

    def train(self, mode: bool = True) -> "MapTokens":
        """Frozen means frozen: that part stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, image: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n l c"]:
        """Tokens row by row."""
        rows = image.shape[-2] // PATCH
        levels = []
        for level, norm in zip(self.backbone.pyramid(image), self.norms):
            if level.shape[-2] < rows:
                level = F.interpolate(level, scale_factor=rows // level.shape[-2])
            fold = level.shape[-2] // rows
            cells = rearrange(level, "n c (h a) (w b) -> n (h w) (c a b)", a=fold, b=fold)
            levels.append(norm(cells.float()))
        return self.project(torch.cat(levels, dim=-1))


class Trunk(nn.Module):
    """Crops [n, 3, h, w] -> tokens [n, l, c] (`image_tokens`), l = h w / 256 row by row; these with the
    hand's [n, k, c] through every block of a timm vision transformer (`forward`).

    name, options: of the transformer, as timm.create_model takes them. weights: a local file with all of its
    weights (`vision_transformer_weights`); None: random ones, and positions that start as sines and cosines,
    for learned ones that start as noise hold a small network back. image: MapTokens' settings in place of the
    transformer's own patches; None: those. patch_padding: px around a crop, of a transformer that was trained
    so.

    Raises ValueError for a network that is no plain vision transformer of patches of 16 px or does not take
    these crops, and what `fill` and Backbone raise; FileNotFoundError for a missing file.
    """

    net: VisionTransformer
    mean: Float[Tensor, "3 1 1"]
    std: Float[Tensor, "3 1 1"]

    def __init__(
        self,
        size: tuple[int, int],
        name: str,
        weights: str | None = None,
        options: dict | None = None,
        image: dict | None = None,
        patch_padding: int = 0,
    ):
        super().__init__()
        self.net = self._transformer(size, name, options or {})
        self.grid = (size[0] // PATCH, size[1] // PATCH)
        self.dim = self.net.embed_dim
        self.lines: list[str] = []
        if weights is None:
            with torch.no_grad():
                self.net.pos_embed.copy_(sincos_positions(*self.grid, self.dim)[None])
        else:
            given = vision_transformer_weights(load_weights(weights), self.net, weights)
            self.lines = fill(self.net, given, weights)
        self.maps = MapTokens(size, self.dim, **image) if image else None
        if image:
            self.net.patch_embed = nn.Identity()
        else:
            self.net.patch_embed.proj.padding = (patch_padding, patch_padding)
        cfg: Any = self.net.pretrained_cfg
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(cfg[name]).view(3, 1, 1), persistent=False)

    @staticmethod
    def _transformer(size: tuple[int, int], name: str, options: dict) -> VisionTransformer:
        if any(edge % PATCH for edge in size):
            raise ValueError(f"network.size={list(size)}: {PATCH} must divide both edges")
        known = timm.is_model(name)
        try:
            if not known:
                raise ValueError("timm has none of this name")
            settings: dict[str, Any] = ONLY_PATCHES | options
            net = timm.create_model(name, img_size=size, num_classes=0, **settings)
            patch = net.patch_embed.proj.kernel_size
            if type(net) is not VisionTransformer or patch != (PATCH, PATCH) or net.num_prefix_tokens:
                raise ValueError(f"patches of {patch} px")
        except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
            close = "" if known else f"; close: {timm.list_models(f'*{name[:6]}*')[:5]}"
            raise ValueError(
                f"trunk.name: '{name}' with options {options} is no plain vision transformer with patches "
                f"of {PATCH} px for crops of {size[0]} x {size[1]} px ({' '.join(str(error).split())[:200]})"
                f"{close}"
            ) from error
        return net

    def image_tokens(self, image: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n l c"]:
        """What RGB crops give, before any block."""
        if self.maps is not None:
            return self.maps(image)
        return self.net.patch_embed((image.float() / 255 - self.mean) / self.std)

    def forward(
        self, tokens: Float[Tensor, "n l c"], hand: Float[Tensor, "n k c"]
    ) -> tuple[Float[Tensor, "n k c"], Float[Tensor, "n c h w"]]:
        """The hand's tokens, and the image's as a map, after all blocks."""
        x = torch.cat([hand, tokens + self.net.pos_embed], dim=1)
        with attention_kernel(x):
            x = self.net.norm(self.net.blocks(self.net.norm_pre(x)))
        rows, columns = self.grid
        image = rearrange(x[:, hand.shape[1] :], "n (h w) c -> n c h w", h=rows, w=columns)
        return x[:, : hand.shape[1]], image


class HandTokens(nn.Module):
    """The hand's tokens before any block: of mean parameters (6D of 16 joints, betas, and for the camera what
    is known of it), each with an embedding of its own."""

    mean_columns: Float[Tensor, "16 6"]

    def __init__(self, dim: int, mean_columns: Float[Tensor, "16 6"], camera_facts: int):
        super().__init__()
        self.register_buffer("mean_columns", mean_columns, persistent=False)
        self.pose = nn.Linear(6, dim)
        self.camera = nn.Linear(camera_facts, dim)
        self.place = nn.Parameter(torch.randn(len(mean_columns) + 2, dim) * 0.02)  # the shape's mean is 0

    def forward(self, camera: Float[Tensor, "n f"]) -> Float[Tensor, "n 18 c"]:
        """16 of the pose, one of the shape, one of the camera."""
        count, dim = len(camera), self.place.shape[-1]
        pose = repeat(self.pose(self.mean_columns), "j c -> n j c", n=count)
        shape = pose.new_zeros(count, 1, dim)
        return torch.cat([pose, shape, self.camera(camera)[:, None].to(pose)], dim=1) + self.place


def vision_transformer_weights(
    weights: Mapping[str, Tensor], net: VisionTransformer, source: str | Path
) -> dict[str, Tensor]:
    """A file's weights for a transformer without a class token: of a human-pose ViT (ViTPose and its
    descendants: no class token, but its position, which is added to every patch's) and of others in any
    layout that `fill` reads (DINO, MAE: the class token and its position are left out).

    Raises ValueError for several networks in one file.
    """
    given, _ = of_network(from_transformers(weights), net.state_dict(), source)
    given = {name.replace("last_norm.", "norm."): value for name, value in given.items()}
    token, places = given.pop("cls_token", None), given.get("pos_embed")
    if places is not None and places.ndim == 3 and (token is not None or _begins_with_class(places, net)):
        given["pos_embed"] = places[:, 1:] if token is not None else places[:, 1:] + places[:, :1]
    return given


def _begins_with_class(places: Float[Tensor, "1 l c"], net: VisionTransformer) -> bool:
    """Whether there is one position more than patches, of the network's own raster or of a square one."""
    patches = places.shape[1] - 1
    return patches == net.patch_embed.num_patches or round(patches**0.5) ** 2 == patches
