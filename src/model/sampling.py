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

    On a GPU the gradient of grid_sample is added up in any order, so under
    torch.use_deterministic_algorithms the four cells around a place are gathered instead.
    """
    grid = 2 * places + 1 / beside(places, size[::-1])
    if torch.are_deterministic_algorithms_enabled() and mode == "bilinear":
        return _gathered(maps, grid)
    sampled = F.grid_sample(maps, grid[:, :, None], mode=mode, padding_mode="border", align_corners=False)
    return rearrange(sampled, "n c v 1 -> n v c")


def _gathered(maps: Float[Tensor, "n c h w"], grid: Float[Tensor, "n v 2"]) -> Float[Tensor, "n v c"]:
    """grid_sample's bilinear reading, the edge repeated, in operations whose gradients have an order."""
    height, width = maps.shape[-2:]
    last = beside(grid, (width - 1, height - 1))
    cells = ((grid + 1) * (last + 1) / 2 - 0.5).clamp_min(0).minimum(last)
    low = cells.detach().floor()
    share = cells - low
    flat, found = maps.flatten(2), maps.new_zeros(())
    for right in (0, 1):
        for below in (0, 1):
            x, y = (low + beside(low, (right, below))).minimum(last).long().unbind(dim=-1)
            u, v = share.unbind(dim=-1)
            weight = (u if right else 1 - u) * (v if below else 1 - v)
            cell = (y * width + x)[:, None].expand(-1, maps.shape[1], -1)
            found = found + flat.gather(2, cell) * weight[:, None]
    return found.mT


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
