"""Maps over crops, read at places of the crops; and pictures of crops through homographies."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from tempohand.geometry import apply_homography, beside, normalise_pixels


def sample(
    maps: Float[Tensor, "n c h w"],
    places: Float[Tensor, "n v 2"],
    size: tuple[int, int],
    mode: str = "bilinear",
) -> Float[Tensor, "n v c"]:
    """What a map over crops of `size` (height, width) px holds at places of the crops (px / (W, H) - 0.5,
    pixel centres at integers), whatever the map's own raster; the edge's values beyond it.

    Cells of a map lie side by side from one edge of the crop to the other, and the first pixel's centre is
    half a pixel from the edge; grid_sample without align_corners counts edges from -1 to 1, x first.
    """
    grid = 2 * places + 1 / beside(places, size[::-1])
    sampled = F.grid_sample(maps, grid[:, :, None], mode=mode, padding_mode="border", align_corners=False)
    return rearrange(sampled, "n c v 1 -> n v c")


def warped(
    image: Float[Tensor, "n c h w"], homography: Float[Tensor, "n 3 3"], size: tuple[int, int]
) -> Float[Tensor, "n c k l"]:
    """Pictures of `size` (height, width) px, made of others through affine homographies to them; bilinear,
    the edge repeated beyond it."""
    v, u = torch.meshgrid(*(torch.arange(edge, device=image.device) for edge in size), indexing="ij")
    pixels = torch.stack([u, v], dim=-1).reshape(-1, 2).to(homography)
    source = apply_homography(homography.inverse(), pixels.expand(len(image), -1, -1))
    height, width = image.shape[-2:]
    grid = (2 * normalise_pixels(source + 0.5, (width, height))).to(image)  # counted from the border
    return F.grid_sample(image, grid.unflatten(1, size), padding_mode="border", align_corners=False)
